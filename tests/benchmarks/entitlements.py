"""How fast `GET /v1/entitlements` is, beside what it is made of, all in one run.

    python -m tests.benchmarks.entitlements [--customers 100000] [--seconds 5]
    python -m tests.benchmarks.entitlements --sizes 1000,1000000

The service is the real one, with its token check, log and defaults, on a PostgreSQL of the
benchmark's own; load, service and database share the machine. The runs are interleaved and the
medians shown, for a shared machine is never quiet. The second form asks whether the read depends
on how many customers there are.
"""

import argparse
import asyncio
import os
import platform
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import pgbench
from tests.benchmarks.common import (
    Filled,
    databases,
    get,
    measure,
    middle,
    postgres,
    process,
    say,
    scratch,
    service,
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
        peers, peer_pid = servers.enter_context(
            process(
                directory,
                "/bare",
                *("-m", "tests.benchmarks.peers"),
                BENCHMARK_DATABASE_URL=database.app_url,
                BENCHMARK_TOKEN_HASH=database.token_hash.hex(),
            )
        )
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


async def sizes(directory: Path, numbers: list[int], seconds: float) -> None:
    with postgres(directory) as server:
        async with databases(server, *numbers) as filled:
            samples = await asyncio.to_thread(_by_size, directory, filled, seconds)
    medians = {customers: middle(several).p50 for customers, several in samples.items()}
    for customers, p50 in medians.items():
        several = ", ".join(f"{sample.p50:.3f}" for sample in samples[customers])
        say(f"{customers:>9,} customers: p50 {p50:.3f} ms at one connection (runs: {several})")
    smallest, largest = min(medians), max(medians)
    ratio = medians[largest] / medians[smallest]
    say(
        f"{largest:,} customers take {ratio:.2f} times what {smallest:,} take (wanted: at most 1.2)"
    )


def _by_size(directory: Path, filled: list[Filled], seconds: float) -> dict[int, list[Sample]]:
    samples: dict[int, list[Sample]] = {database.customers: [] for database in filled}
    with ExitStack() as servers:
        ports = [servers.enter_context(service(directory, database))[0] for database in filled]
        for round_number in range(_ROUNDS):
            # Turn and turn about, so that what happens meanwhile meets each alike.
            pairs = list(zip(ports, filled, strict=True))
            for port, database in pairs[:: -1 if round_number % 2 else 1]:
                plan = Plan(
                    port=port,
                    request=get(port, _PATH, database.token),
                    customers=database.customers,
                    connections=1,
                    seconds=seconds / _ROUNDS,
                    warm_up=1.0 if round_number else 10.0,
                )
                samples[database.customers].append(measure(plan))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.entitlements")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement, in all")
    parser.add_argument("--sizes", help="numbers of customers, with commas: compares these alone")
    arguments = parser.parse_args()
    say(
        f"Python {platform.python_version()}, {os.cpu_count()} cores"
        f" {platform.machine()} {platform.system()}"
    )
    with scratch() as directory:
        if arguments.sizes:
            numbers = [int(number) for number in arguments.sizes.split(",")]
            asyncio.run(sizes(directory, numbers, arguments.seconds))
        else:
            asyncio.run(beside(directory, arguments.customers, arguments.seconds))


if __name__ == "__main__":
    main()
