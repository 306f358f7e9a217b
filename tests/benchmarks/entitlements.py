"""How fast `GET /v1/entitlements` is, beside what it is made of, all in one run.

    python -m tests.benchmarks.entitlements [--customers 100000] [--seconds 5]
    python -m tests.benchmarks.entitlements --sizes 10000,1000000

The service is the real one, with its token check, log and defaults, on a PostgreSQL of the
benchmark's own; load, service and database share the machine. The runs are interleaved and the
medians shown, for a shared machine is never quiet. The second form asks whether a lookup, a list or
a filter depends on how many customers there are. It says "caches warm" when the measuring begins.
"""

import argparse
import asyncio
import os
import platform
from contextlib import ExitStack
from datetime import date, timedelta
from enum import Enum
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import asyncpg
from rich.console import Console
from rich.table import Table

from app import clock
from app.ids import new_id
from app.jobs import publishing, summing
from app.policy.civil import civil_date
from app.policy.document import load as load_policies
from app.settings import Settings
from app.store import leases
from app.store.database import Database
from tests.benchmarks import pgbench
from tests.benchmarks.common import (
    Filled,
    bare_and_raw,
    databases,
    get,
    loading,
    measure,
    middle,
    postgres,
    say,
    scratch,
    service,
    token_for,
)
from tests.benchmarks.load import Plan, Sample

_PATH = "/v1/entitlements?customer_id={id}"
_CONNECTIONS = (1, 8)
_ROUNDS = 5
# Published; measured with the facts supplied by the caller and without a database.
_CERBOS = 2_700.0

OURS, BARE, RAW, PGBENCH = "GET /v1/entitlements", "bare FastAPI", "FastAPI + asyncpg", "pgbench"
# As dashboards and phones ask: of a thousand customers, so that most questions were asked before.
OURS_AGAIN, RAW_AGAIN = f"{OURS}, asked again", f"{RAW}, asked again"
_ASKED_AGAIN = 1000
# Of the medians at the largest and the smallest size.
_WANTED_RATIO = 1.3
# Of each list and filter, in seconds; a lookup asks about everybody once.
_FIRST_WARM_UP = 0.5
_WARM_UP = 0.1
_LEASE_SECONDS = 86_400
LOOKUPS = {
    "customer_id": "{id}",
    "customer_code": "C-{n}",
    "serial_number": "S-{n}-0",
    "phone": "%2B39059{seven_digits}",
    "email": "contact{n}@example.com",
    "external_ref": "crm:R-{n}",
}
"""What a lookup asks for, by the name of its parameter."""
_SCOPES = (
    "cases:read",
    "contracts:read",
    "customers:read",
    "entitlements:read",
    "licences:read",
    "tickets:read",
)


async def beside(directory: Path, customers: int, seconds: float) -> None:
    with postgres(directory) as server:
        async with databases(server, customers) as (database,):
            samples = await asyncio.to_thread(_interleave, directory, database, seconds)
    figures = {key: middle(several) for key, several in samples.items()}
    table = Table(title=f"{customers:,} customers, {_ROUNDS} rounds of {seconds / _ROUNDS:g} s")
    for heading in ("", "connections", "requests/s", "p50 ms", "p99 ms", "its CPU µs"):
        table.add_column(heading, justify="right" if heading else "left")
    for (name, connections), one in sorted(figures.items(), key=lambda item: item[0][1]):
        figure = (f"{one.rate:,.0f}", f"{one.p50:.2f}", f"{one.p99:.2f}")
        table.add_row(name, str(connections), *figure, f"{one.cpu:.0f}" if one.cpu else "")
    Console(width=100).print(table)
    for connections in _CONNECTIONS:
        rate = figures[OURS, connections].rate
        ratios = [
            f"{rate / figures[name, connections].rate:.2f} of {name}"
            for name in (RAW, BARE, PGBENCH)
            if (name, connections) in figures
        ]
        say(f"{connections} connection(s): ours is {', '.join(ratios)}")
        again = figures[OURS_AGAIN, connections].rate / figures[RAW_AGAIN, connections].rate
        say(f"  and {again:.2f} of {RAW} where {_ASKED_AGAIN:,} customers are asked about again")
    ours, raw = (figures[name, _CONNECTIONS[-1]] for name in (OURS, RAW))
    if ours.cpu and raw.cpu:
        say(f"by its CPU time alone, whatever else runs: {raw.cpu / ours.cpu:.2f} of {RAW}")
    cerbos = f"Cerbos' {_CERBOS:,.0f}/s (a published figure, not measured here)"
    say(f"{ours.rate / _CERBOS:.2f} of {cerbos}")


def _interleave(
    directory: Path, database: Filled, seconds: float
) -> dict[tuple[str, int], list[Sample]]:
    samples: dict[tuple[str, int], list[Sample]] = {}
    program = pgbench.find()
    if program is None:
        say("pgbench is absent here: the statement alone is not measured")
    with ExitStack() as servers:
        ours, our_pid = servers.enter_context(service(directory, database))
        peers, peer_pid = servers.enter_context(bare_and_raw(directory, database))
        targets = {
            OURS: (ours, our_pid, get(ours, _PATH, database.token)),
            RAW: (peers, peer_pid, get(peers, "/raw?customer_id={id}")),
            BARE: (peers, peer_pid, get(peers, "/bare")),
        }
        of_few = {
            OURS_AGAIN: targets[OURS],
            RAW_AGAIN: targets[RAW],
        }
        for _ in range(_ROUNDS):
            for connections in _CONNECTIONS:
                for name, (port, pid, request) in (targets | of_few).items():
                    few = min(_ASKED_AGAIN, database.customers)
                    plan = Plan(
                        port=port,
                        request=request,
                        customers=few if name in of_few else database.customers,
                        connections=connections,
                        seconds=seconds / _ROUNDS,
                    )
                    samples.setdefault((name, connections), []).append(measure(plan, pid))
                if program is not None:
                    whole = max(1, round(seconds / _ROUNDS))
                    alone = pgbench.run(program, directory, database, connections, whole)
                    samples.setdefault((PGBENCH, connections), []).append(alone)
    return samples


async def sizes(directory: Path, numbers: list[int], seconds: float, rounds: int) -> None:
    with postgres(directory) as server:
        async with databases(server, *numbers) as filled:
            now = clock.now()
            today = civil_date(now, load_policies().zone)
            tokens = [await token_for(one.owner_url, now, *_SCOPES) for one in filled]
            for one in filled:
                await _rest(one)
            questions = _questions(today)
            measured = await asyncio.to_thread(
                _by_size, directory, filled, tokens, questions, seconds, rounds
            )
            bounds = {bound: await _count(bound, filled, today) for bound in Bound}
    smallest, largest = min(numbers), max(numbers)
    table = Table(title=f"p50 at one connection, {rounds} rounds, {seconds:g} s in all for each")
    for heading in ("", *(f"{number:,} customers, ms" for number in numbers), "ratio", ""):
        table.add_column(
            heading, justify="right" if "," in heading or heading == "ratio" else "left"
        )
    above = 0
    for question in questions:
        p50 = {number: middle(measured[question, number]).p50 for number in numbers}
        ratio = p50[largest] / p50[smallest]
        wanted, notes = _WANTED_RATIO, []
        if question.reads is not None:
            rows = bounds[question.reads]
            wanted = max(wanted, rows[largest] / rows[smallest])
            counts = " and ".join(f"{rows[number]:,}" for number in numbers)
            notes.append(f"reads at most {question.reads.value}: {counts}")
        if ratio > wanted:
            above += 1
            notes.append("above")
        figures = (f"{p50[number]:.2f}" for number in numbers)
        table.add_row(question.name, *figures, f"{ratio:.2f}", "; ".join(notes))
    Console(width=160).print(table)
    say(
        f"{largest:,} customers beside {smallest:,}: {above} ratios above {_WANTED_RATIO}, or above"
        " that of what is read at most (wanted: none)"
    )


async def _rest(database: Filled) -> None:
    """Keep the background process from its work: another process seems to do it.

    It would look at each customer's standing first, for half an hour at a million customers, and
    would be what is measured: lookups took up to twice as long meanwhile. No question here reads
    what it makes.
    """
    settings = Settings(database_url=database.app_url)
    async with Database(settings) as opened, opened.operations.begin() as connection:
        for lease in (publishing.LEASE, summing.LEASE):
            if not await leases.hold(connection, lease, new_id(), _LEASE_SECONDS):
                raise RuntimeError(f"somebody else has the lease {lease}")


class Bound(Enum):
    """What an answer has to read at most, if that grows with the database."""

    CONTACTS = "the customers with a contact"
    CASES = "the cases"
    OPEN_CASES = "the open cases"
    CONTRACTS = "the contracts in force"
    PACKS = "the packs that still have a ticket"


_COUNTED = {
    Bound.CONTACTS: "contacts",
    Bound.CASES: "cases",
    Bound.OPEN_CASES: "cases WHERE state NOT IN ('closed', 'cancelled')",
    Bound.CONTRACTS: """contracts WHERE starts_on <= $1 AND ends_on > $1
        AND (cancelled_on IS NULL OR cancelled_on > $1)""",
    Bound.PACKS: "balances WHERE kind = 'ticket' AND quantity > held + consumed + cancelled",
}


async def _count(bound: Bound, filled: list[Filled], today: date) -> dict[int, int]:
    """The rows of a bound, by the number of customers."""
    query = f"SELECT count(*) FROM {_COUNTED[bound]}"
    counts = {}
    for one in filled:
        connection = await asyncpg.connect(one.owner_url)
        try:
            counts[one.customers] = await connection.fetchval(
                query, *([today] if "$1" in query else [])
            )
        finally:
            await connection.close()
    return counts


class Question(NamedTuple):
    name: str
    path: str
    reads: Bound | None = None
    """None if the answer must not take longer in a larger database."""

    @property
    def is_lookup(self) -> bool:
        return self.path.startswith("/v1/entitlements")


def _questions(today: date) -> list[Question]:
    instant = f"{today - timedelta(days=10)}T00:00:00Z"
    lists = {
        "customers": ["", "country=IT", "external_ref=crm:R-{n}", "q=customer"],
        "licences": ["", "customer_id={id}", "kind=editor", "kind=other", "serial_number=s-{n}-0"],
        "contracts": [
            "",
            "customer_id={id}",
            "state=in_force",
            "state=upcoming",
            "state=expired",
            "state=cancelled",
            f"ends_before={today}",
        ],
        "ticket-packs": ["", "customer_id={id}", "available=true"],
        "cases": [
            "",
            "customer_id={id}",
            "state=open",
            "state=closed",
            "state=cancelled",
            "technician=technician%203",
            "technician=nobody",
            "serial_number=s-{n}-0",
            "channel=phone",
            "channel=remote",
            "category=bug",
            "category=bug&state=closed",
            f"opened_after={instant}",
            f"opened_before={instant}",
            "q=subject",
            "queue=true",
        ],
    }
    bounded = {
        # The trigram index reads the lists of all that have three letters of the word in common.
        "customers?q=contact{n}": Bound.CONTACTS,
        "customers?q=nowhere": Bound.CONTACTS,
        "cases?q=requester{n}@example.com": Bound.CASES,
        "cases?q=nowhere": Bound.CASES,
        "cases?queue=true&technician=nobody": Bound.OPEN_CASES,
        "contracts?state=suspended": Bound.CONTRACTS,
        "ticket-packs?available=false": Bound.PACKS,
    }
    return [
        *(
            Question(f"entitlements by {name}", f"/v1/entitlements?{name}={value}")
            for name, value in LOOKUPS.items()
        ),
        *(
            Question(f"{kind}?{query}".rstrip("?"), f"/v1/{kind}?{query}".rstrip("?"))
            for kind, queries in lists.items()
            for query in queries
        ),
        *(Question(path, f"/v1/{path}", reads) for path, reads in bounded.items()),
    ]


def _by_size(
    directory: Path,
    filled: list[Filled],
    tokens: list[str],
    questions: list[Question],
    seconds: float,
    rounds: int,
) -> dict[tuple[Question, int], list[Sample]]:
    samples: dict[tuple[Question, int], list[Sample]] = {}
    smallest = min(one.customers for one in filled)
    with ExitStack() as servers:
        ports = [servers.enter_context(service(directory, database))[0] for database in filled]
        run = servers.enter_context(loading())
        places = list(zip(ports, filled, tokens, strict=True))

        def ask(place: tuple[int, Filled, str], question: Question, **how: Any) -> Sample:
            port, database, token = place
            step = _step(database.customers, smallest)
            plan = Plan(
                port=port,
                request=get(port, question.path, token),
                customers=database.customers // step,
                step=step,
                connections=1,
                **how,
            )
            return run(plan)

        # Ask about every customer once before measuring, so that both sizes answer from warm caches
        # as they would in the long run. Without it the large database reads pages from the disk,
        # while the small one has them all in PostgreSQL's buffers.
        started = monotonic()
        for question in questions:
            for place in places:
                if question.is_lookup:
                    ask(place, question, seconds=60, once=True)
                else:
                    ask(place, question, seconds=_FIRST_WARM_UP)
        say(f"caches warm after {monotonic() - started:.0f} s")
        # Rounds take turns, so that what else the machine does disturbs each size alike.
        for round_number in range(rounds):
            for question in questions:
                for place in places[:: -1 if round_number % 2 else 1]:
                    sample = ask(place, question, seconds=seconds / rounds, warm_up=_WARM_UP)
                    samples.setdefault((question, place[1].customers), []).append(sample)
        say(f"measured after {monotonic() - started:.0f} s")
    return samples


def _step(customers: int, smallest: int) -> int:
    """So that as many customers are asked about at each size, from all over the database.

    Otherwise more questions would be asked again at a smaller size, and the service remembers
    answers. What a customer owns follows from divisors of its number up to 37; the step has none.
    """
    step = customers // smallest
    while any(step % divisor == 0 for divisor in (2, 3, 5, 7, 11, 37)):
        step += 1
    return step


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.entitlements")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument(
        "--seconds", type=float, help="of each measurement, in all (5; with --sizes 2)"
    )
    parser.add_argument(
        "--sizes", help="numbers of customers, with commas: compares every lookup and list"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each question with --sizes")
    arguments = parser.parse_args()
    say(
        f"Python {platform.python_version()}, {os.cpu_count()} cores"
        f" {platform.machine()} {platform.system()}"
    )
    with scratch() as directory:
        if arguments.sizes:
            numbers = [int(number) for number in arguments.sizes.split(",")]
            asyncio.run(sizes(directory, numbers, arguments.seconds or 2.0, arguments.rounds))
        else:
            asyncio.run(beside(directory, arguments.customers, arguments.seconds or 5.0))


if __name__ == "__main__":
    main()
