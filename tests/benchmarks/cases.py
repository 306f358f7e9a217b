"""How fast a case is opened, worked on and closed, beside pgbench with the same statements.

    python -m tests.benchmarks.cases [--customers 10000] [--calls 200]

The service is the real one on a PostgreSQL of the benchmark's own, as durable as a real one; load,
service and database share the machine. Each call is measured alone, then all three as a cycle, with
every connection on customers of its own; then the cycle with all connections on one customer, who
has one lock. pgbench sends what the service sent for the same calls at commit 48d63d9: a baseline
that stays the same while the service changes. Interleaved, and medians shown; the service's CPU
time is the least of the rounds.
"""

import argparse
import asyncio
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app import clock
from app.policy.civil import civil_date
from app.policy.document import load
from tests.benchmarks import pgbench
from tests.benchmarks.busy import add_busy
from tests.benchmarks.common import (
    databases,
    middle,
    postgres,
    say,
    scratch,
    service,
    token_for,
)
from tests.benchmarks.load import Sample
from tests.benchmarks.pgbench import CaseStatements
from tests.benchmarks.seen import count, watched
from tests.benchmarks.working import Step, Work, closing, do, logging, opening

_CONNECTIONS = (1, 8)
_ROUNDS = 5
_BUSY = 400
_STEPS: tuple[Step, ...] = ("open", "log", "close", "cycle")
_NAMES = {"open": "open", "log": "log time", "close": "close", "cycle": "cycle"}

Key = tuple[Step, bool, int]
"""A step, whether on one customer, the connections."""


@dataclass
class Runs:
    """Samples of ours and of pgbench."""

    ours: dict[Key, list[Sample]]
    alone: dict[Key, list[Sample]]


def _measure(
    port: int, pid: int, token: str, first: int, calls: int, alone: CaseStatements | None
) -> Runs:
    """`calls` of each kind in each round, whatever the connections."""
    runs = Runs({}, {})
    for round_number in range(-1, _ROUNDS):
        # The first warms up, and is shorter.
        share = calls if round_number >= 0 else max(8, calls // 4)
        for connections in _CONNECTIONS:
            each = max(1, share // connections)
            cases: list[list[str]] = []
            for shared in (False, True):
                for step in ("cycle",) if shared else _STEPS:
                    work = Work(
                        port=port,
                        credentials=f"Authorization: Bearer {token}",
                        step=step,
                        calls=each,
                        connections=connections,
                        first=first,
                        customers=1 if shared else _BUSY,
                        cases=cases if step in ("log", "close") else [],
                    )
                    done = do(work, pid)
                    cases = done.cases if step == "open" else cases
                    if round_number >= 0:
                        key = (step, shared, connections)
                        runs.ours.setdefault(key, []).append(done.samples[step])
            if alone is None:
                continue
            for shared in (False, True):
                for step in ("cycle",) if shared else _STEPS:
                    one = alone.run(step, connections, each, shared=shared)
                    if round_number >= 0:
                        runs.alone.setdefault((step, shared, connections), []).append(one)
    return runs


async def _count_statements(url: str, token: str, customer: int) -> None:
    """Says how many statements the calls send now, and how many more in other cases."""
    async with watched(url, token) as seen:
        # Once before, so that nothing is counted but what every call sends.
        for _ in range(2):
            case, opened = await seen.ask("POST", *opening(customer))
            _, logged = await seen.ask("POST", *logging(case["id"]))
            _, closed = await seen.ask("POST", *closing(case["id"]))
        path, body = opening(customer)
        _, repeatable = await seen.ask("POST", path, body, **{"Idempotency-Key": "benchmark"})
        _, ticket = await seen.ask("POST", path, {**body, "pay_with": "ticket"})
    say(
        "statements, with BEGIN and COMMIT besides:"
        f" open {count(opened)}, log time {count(logged)}, close {count(closed)};"
        f" open with an Idempotency-Key {count(repeatable)}, on a ticket {count(ticket)}"
    )


async def compare(directory: Path, customers: int, calls: int) -> None:
    first = customers + 1
    now = clock.now()
    program = pgbench.find()
    if program is None:
        say("pgbench is absent here: the statements alone are not measured")
    with postgres(directory) as server:
        async with databases(server, customers) as (database,):
            # One more, whom only `_count_statements` serves.
            last = customers + _BUSY + 1
            today = civil_date(now, load().zone)
            await add_busy(database.owner_url, first, last, today)
            scopes = ("cases:read", "cases:write", "cases:work")
            token = await token_for(database.owner_url, now, *scopes)
            await _count_statements(database.app_url, token, last)
            alone = None
            if program is not None:
                alone = CaseStatements(program, directory, database, str(today), first, _BUSY)
            with service(directory, database) as (port, pid):
                runs = await asyncio.to_thread(_measure, port, pid, token, first, calls, alone)
    _show(runs, customers, calls)


def _show(runs: Runs, customers: int, calls: int) -> None:
    ours = {key: middle(samples) for key, samples in runs.ours.items()}
    alone = {key: middle(samples) for key, samples in runs.alone.items()}
    table = Table(title=f"{customers:,} customers, {_ROUNDS} rounds of {calls} calls of each kind")
    for heading in (
        "",
        "conn.",
        "a second",
        "p50 ms",
        "p99 ms",
        "CPU ms",
        "pgbench/s",
        "p50 ms",
        "ratio",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    for (step, shared, connections), one in sorted(ours.items(), key=lambda item: item[0][2]):
        beside = alone.get((step, shared, connections))
        table.add_row(
            _NAMES[step] + (", one customer" if shared else ""),
            str(connections),
            f"{one.rate:,.0f}",
            f"{one.p50:.2f}",
            f"{one.p99:.2f}",
            f"{one.cpu / 1000:.2f}" if one.cpu is not None else "-",
            f"{beside.rate:,.0f}" if beside else "-",
            f"{beside.p50:.2f}" if beside else "-",
            f"{one.rate / beside.rate:.2f}" if beside else "-",
        )
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cases")
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=200, help="of each kind in each round")
    arguments = parser.parse_args()
    with scratch() as directory:
        asyncio.run(compare(directory, arguments.customers, arguments.calls))


if __name__ == "__main__":
    main()
