"""The service beside programs of others and beside what it is made of, all in one run.

    python -m tests.benchmarks.peers --cerbos PROGRAM --helpdesk ENVIRONMENT [--redmine DIRECTORY]
        [--customers 100000] [--seconds 5] [--cycles 200] [--rounds 5]

Three questions, over eight connections: what a customer may use, for customers at random; a case's
cycle, which is an opening, a time entry and a closing; and reading a case that was opened and
closed here. Everything shares one machine and one PostgreSQL, as durable as a real one, with a
database for each program. Each has one worker. Rounds are interleaved and the medians shown; CPU
time is the least of the rounds, for a program's processes and for PostgreSQL's apart. The result is
printed as tables in Markdown.

Nothing is installed by it. A peer that is absent is skipped, with the reason:

    npm install @cerbos/cerbos-linux-x64   # PROGRAM is node_modules/@cerbos/*/cerbos-linux-x64
    python3 -m venv ENVIRONMENT
    ENVIRONMENT/bin/pip install django-helpdesk gunicorn 'psycopg[binary]' 'setuptools<81'
    apt-get install redmine redmine-pgsql puma   # Debian; no database needs to be configured for it

How each is configured stands in its module in `peer/`. A short run, to check that it works:

    python -m tests.benchmarks.peers --customers 1000 --seconds 1 --cycles 16 --rounds 1
"""

import argparse
import asyncio
import os
import platform
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from pathlib import Path

from app import clock
from app.policy.civil import civil_date
from app.policy.document import load as load_policies
from tests.benchmarks import pgbench
from tests.benchmarks.busy import add_busy
from tests.benchmarks.common import (
    Filled,
    bare_and_raw,
    cpu_seconds,
    databases,
    get,
    measure,
    middle,
    postgres,
    postmaster,
    say,
    scratch,
    service,
    token_for,
)
from tests.benchmarks.load import Plan, Sample
from tests.benchmarks.peer import Tracker, Unavailable, cerbos, django_helpdesk, redmine
from tests.benchmarks.working import OURS, Work, do
from tests.conftest import Server

_CONNECTIONS = 8
_BUSY = 400
_CERBOS_QUESTIONS = 1000
_OURS, _PGBENCH = "Assistenza", "pgbench"
_ENTITLEMENTS = "/v1/entitlements?customer_id={id}"
_CALLS_OF_A_CYCLE = 3


@dataclass(frozen=True)
class Options:
    cerbos: Path | None
    helpdesk: Path | None
    redmine: Path
    customers: int
    seconds: float
    cycles: int
    rounds: int

    @property
    def seconds_of_round(self) -> float:
        return self.seconds / self.rounds


@dataclass
class Bench:
    """What runs, and what was measured: samples by the program's name."""

    directory: Path
    database: Filled
    postmaster: int | None
    today: date
    answering: dict[str, tuple[Plan, int]] = field(default_factory=dict)
    """Requests that answer what a customer may use, and the process that is asked."""
    trackers: list[Tracker] = field(default_factory=list)
    answers: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    cycles: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    reads: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))

    def measure(self, options: Options, alone: pgbench.CaseStatements | None) -> None:
        opened: dict[str, list[str]] = {}
        # The first round warms up, and is shorter.
        for number in range(options.rounds + 1):
            say(f"round {number} of {options.rounds}, load average {os.getloadavg()[0]:.2f}")
            cycles = options.cycles if number else max(_CONNECTIONS, options.cycles // 4)
            self._answers()
            if alone is not None:
                self._alone(alone, options.seconds_of_round, cycles)
            for tracker in self.trackers:
                work = Work(
                    port=tracker.port,
                    credentials=tracker.credentials,
                    requests=tracker.requests,
                    step="cycle",
                    calls=cycles // _CONNECTIONS,
                    connections=_CONNECTIONS,
                    first=self.database.customers + 1,
                    customers=_BUSY,
                )
                done = do(work, tracker.pid, self.postmaster)
                self.cycles[tracker.name].append(done.samples["cycle"])
                opened.setdefault(tracker.name, []).extend(chain(*done.cases))
            for tracker in self.trackers:
                cases = opened[tracker.name]
                plan = Plan(
                    port=tracker.port,
                    request=tracker.read(),
                    customers=len(cases),
                    values=cases,
                    connections=_CONNECTIONS,
                    seconds=options.seconds_of_round,
                    # Every answer counts: one of django-helpdesk may take longer than the round.
                    warm_up=0,
                )
                self.reads[tracker.name].append(measure(plan, tracker.pid, self.postmaster))
            if number == 0:
                for samples in (self.answers, self.cycles, self.reads):
                    samples.clear()

    def _answers(self) -> None:
        for name, (plan, pid) in self.answering.items():
            self.answers[name].append(measure(plan, pid, self.postmaster))

    def _alone(self, statements: pgbench.CaseStatements, seconds: float, cycles: int) -> None:
        before = cpu_seconds(self.postmaster)
        whole = max(1, round(seconds))
        sample = pgbench.run(statements.program, self.directory, self.database, _CONNECTIONS, whole)
        used = cpu_seconds(self.postmaster) - before
        sample.database_cpu = used * 1e6 / (sample.rate * whole)
        self.answers[_PGBENCH].append(sample)
        before = cpu_seconds(self.postmaster)
        each = cycles // _CONNECTIONS
        sample = statements.run("cycle", _CONNECTIONS, each)
        used = cpu_seconds(self.postmaster) - before
        sample.database_cpu = used * 1e6 / (each * _CONNECTIONS)
        self.cycles[_PGBENCH].append(sample)


@asynccontextmanager
async def _empty_databases(server: Server, *names: str) -> AsyncIterator[list[str]]:
    """Addresses of new databases, which are dropped at the end."""
    names = tuple(f"{server.prefix}_{name}" for name in names)
    await server.run(*(f"CREATE DATABASE {name}" for name in names))
    try:
        yield [server.url(name) for name in names]
    finally:
        await server.run(*(f"DROP DATABASE {name} WITH (FORCE)" for name in names))


def _start(bench: Bench, servers: ExitStack, options: Options, token: str, urls: list[str]) -> None:
    """Starts the service and each peer that is there; says which are not."""

    def plan(port: int, request: str, values: list[str] | None = None) -> Plan:
        return Plan(
            port=port,
            request=request,
            customers=len(values) if values else bench.database.customers,
            values=values or [],
            connections=_CONNECTIONS,
            seconds=options.seconds_of_round,
        )

    database, directory = bench.database, bench.directory
    port, pid = servers.enter_context(service(directory, database))
    credentials = f"Authorization: Bearer {token}"
    bench.answering[_OURS] = plan(port, get(port, _ENTITLEMENTS, database.token)), pid
    bench.trackers.append(Tracker(_OURS, port, pid, credentials, OURS, "/v1/cases/{value}"))
    port, pid = servers.enter_context(bare_and_raw(directory, database))
    bench.answering["FastAPI + asyncpg"] = plan(port, get(port, "/raw?customer_id={id}")), pid
    bench.answering["bare FastAPI"] = plan(port, get(port, "/bare")), pid
    try:
        port, pid = servers.enter_context(cerbos.serve(directory, options.cerbos))
    except Unavailable as reason:
        say(f"Cerbos is skipped: {reason}")
    else:
        questions = cerbos.questions(bench.today, _CERBOS_QUESTIONS)
        bench.answering["Cerbos"] = plan(port, cerbos.head(port), questions), pid
    peers: dict[str, AbstractContextManager[Tracker]] = {
        "django-helpdesk": django_helpdesk.serve(directory, urls[0], options.helpdesk),
        "Redmine": redmine.serve(directory, urls[1], options.redmine),
    }
    for name, peer in peers.items():
        try:
            bench.trackers.append(servers.enter_context(peer))
        except Unavailable as reason:
            say(f"{name} is skipped: {reason}")


def _run(bench: Bench, options: Options, token: str, urls: list[str]) -> None:
    database, alone = bench.database, None
    if (program := pgbench.find()) is None:
        say("pgbench is skipped: it is absent here")
    else:
        alone = pgbench.CaseStatements(
            program, bench.directory, database, str(bench.today), database.customers + 1, _BUSY
        )
    with ExitStack() as servers:
        _start(bench, servers, options, token, urls)
        bench.measure(options, alone)


async def compare(directory: Path, options: Options) -> None:
    with postgres(directory) as server:
        async with (
            databases(server, options.customers) as (database,),
            _empty_databases(server, "helpdesk", "redmine") as urls,
        ):
            now = clock.now()
            today = civil_date(now, load_policies().zone)
            first = options.customers + 1
            await add_busy(database.owner_url, first, options.customers + _BUSY, today)
            scopes = ("cases:read", "cases:write", "cases:work")
            token = await token_for(database.owner_url, now, *scopes)
            server_pid = await postmaster(database.owner_url)
            bench = Bench(directory, database, server_pid, today)
            await asyncio.to_thread(_run, bench, options, token, urls)
    say(
        f"\n{options.customers:,} customers, {_CONNECTIONS} connections,"
        f" medians of {options.rounds} rounds"
    )
    for title, samples, calls in (
        ("what a customer may use", bench.answers, 1),
        ("a case's cycle: open, log time, close", bench.cycles, _CALLS_OF_A_CYCLE),
        ("reading a case", bench.reads, 1),
    ):
        say(f"\n| {title} | requests/s | p50 ms | CPU µs | and in PostgreSQL | ours is |")
        say("|---|--:|--:|--:|--:|--:|")
        for row in _rows(samples, calls):
            say(f"| {' | '.join(row)} |")


def _rows(samples: dict[str, list[Sample]], calls: int) -> Iterator[tuple[str, ...]]:
    """For each program; rates and CPU times are of one of the `calls` that a sample counts as one,
    and p50 is of all of them together."""
    figures = {name: middle(several) for name, several in samples.items()}
    ours = figures[_OURS].rate
    for name, one in figures.items():
        yield (
            name,
            f"{one.rate * calls:,.0f}",
            f"{one.p50:,.2f}",
            *(
                f"{cpu / calls:,.0f}" if cpu is not None else ""
                for cpu in (one.cpu, one.database_cpu)
            ),
            "" if name == _OURS else f"{ours / one.rate:.2f} times",
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers")
    parser.add_argument("--cerbos", type=Path, metavar="PROGRAM")
    parser.add_argument("--helpdesk", type=Path, metavar="ENVIRONMENT")
    parser.add_argument(
        "--redmine", type=Path, metavar="DIRECTORY", default=Path("/usr/share/redmine")
    )
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement, in all")
    parser.add_argument("--cycles", type=int, default=200, help="in each round, of each program")
    parser.add_argument("--rounds", type=int, default=5, help="beside the first, which warms up")
    options = Options(**vars(parser.parse_args()))
    say(
        f"Python {platform.python_version()}, {os.cpu_count()} cores"
        f" {platform.machine()} {platform.system()}"
    )
    with scratch() as directory:
        asyncio.run(compare(directory, options))


if __name__ == "__main__":
    main()
