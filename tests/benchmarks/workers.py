"""What a second worker brings, and what the service has in memory, in one run.

    python -m tests.benchmarks.workers [--customers 20000] [--workers 1,2] [--rounds 5]

The same database, one service for each number of workers; lookups of random customers, and cycles
of cases, over 8 connections, by turns. The processor's time is shown of the service, of PostgreSQL
and of the load, because all three share the machine: cores that are busy with one are not there for
another. Memory is what the processes have for themselves (USS) and what they map in all (RSS), idle
before any request and after the load.
"""

import argparse
import asyncio
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from app import clock
from app.policy.civil import civil_date
from app.policy.document import load
from tests.benchmarks.busy import add_busy
from tests.benchmarks.common import (
    cpu_seconds,
    databases,
    postgres,
    postmaster,
    say,
    scratch,
    service,
    token_for,
    wait_until_idle,
)
from tests.benchmarks.mixed import Mix, mixed

_BUSY = 400
_CONNECTIONS = 8
_SCOPES = ("entitlements:read", "cases:read", "cases:write", "cases:work")
_LOADS = {"lookups": 0.0, "cases": 1.0}
_MIB = 2**20


class Turn(NamedTuple):
    """Requests a second, and cores that the service, PostgreSQL and the load used."""

    rate: float
    service: float
    database: float
    load: float


class Memory(NamedTuple):
    """Bytes that the processes of a service have for themselves alone, and that they map in all;
    how many processes."""

    own: int
    mapped: int
    processes: int


def memory(pid: int) -> Memory:
    whole = psutil.Process(pid)
    each = []
    for one in (whole, *whole.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            each.append(one.memory_full_info())
    return Memory(sum(one.uss for one in each), sum(one.rss for one in each), len(each))


def turn(mix: Mix, pid: int, database_pid: int | None) -> Turn:
    before, service_before, database_before = (
        perf_counter(),
        cpu_seconds(pid),
        cpu_seconds(database_pid),
    )
    done = mixed(mix)
    seconds = perf_counter() - before
    return Turn(
        done.rate,
        (cpu_seconds(pid) - service_before) / seconds,
        (cpu_seconds(database_pid) - database_before) / seconds,
        done.cpu / seconds,
    )


async def compare(directory: Path, customers: int, workers: list[int], rounds: int) -> None:
    first = customers + 1
    now = clock.now()
    with postgres(directory) as server:
        async with databases(server, customers) as (database,):
            today = civil_date(now, load().zone)
            await add_busy(database.owner_url, first, first + _BUSY, today)
            server_pid = await postmaster(database.owner_url)
            token = await token_for(database.owner_url, now, *_SCOPES)
            with ExitStack() as services:
                ours = {
                    number: services.enter_context(
                        service(directory, database, ASSISTENZA_WORKERS=str(number))
                    )
                    for number in workers
                }
                wait_until_idle(*(pid for _, pid in ours.values()))
                idle = {number: memory(pid) for number, (_, pid) in ours.items()}
                turns: dict[tuple[str, int], list[Turn]] = {}
                for _ in range(rounds):
                    for name, writes in _LOADS.items():
                        for number, (port, pid) in ours.items():
                            mix = Mix(
                                port=port,
                                token=token,
                                customers=customers,
                                first=first,
                                busy=_BUSY,
                                writes=writes,
                                connections=_CONNECTIONS,
                                seconds=2,
                            )
                            done = await asyncio.to_thread(turn, mix, pid, server_pid)
                            turns.setdefault((name, number), []).append(done)
                loaded = {number: memory(pid) for number, (_, pid) in ours.items()}
    _show(turns, idle, loaded)


def _show(
    turns: dict[tuple[str, int], list[Turn]], idle: dict[int, Memory], loaded: dict[int, Memory]
) -> None:
    table = Table(title=f"{_CONNECTIONS} connections, {os.cpu_count()} cores; cores used by each")
    for heading in ("", "workers", "a second", "service", "PostgreSQL", "load", "rounds"):
        table.add_column(heading, justify="right" if heading not in ("", "rounds") else "left")
    for (name, number), several in turns.items():
        middle = [median(figures) for figures in zip(*several, strict=True)]
        table.add_row(
            name,
            str(number),
            f"{middle[0]:,.0f}",
            *(f"{cores:.2f}" for cores in middle[1:]),
            ", ".join(f"{one.rate:,.0f}" for one in several),
        )
    Console(width=110).print(table)
    for number in idle:
        before, after = idle[number], loaded[number]
        say(
            f"{number} worker(s), {before.processes} processes: {before.own / _MIB:.0f} MiB idle"
            f" ({before.mapped / _MIB:.0f} mapped), {after.own / _MIB:.0f} after the load"
            f" ({after.mapped / _MIB:.0f} mapped)"
        )
    fewest, *more = idle
    for name in _LOADS:
        base = median(one.rate for one in turns[name, fewest])
        for number in more:
            ratio = median(one.rate for one in turns[name, number]) / base
            say(f"{name}: {number} workers {ratio:.2f} times the rate of {fewest}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.workers")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--workers", default="1,2", help="numbers of workers, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    numbers = [int(number) for number in arguments.workers.split(",")]
    with scratch() as directory:
        asyncio.run(compare(directory, arguments.customers, numbers, arguments.rounds))


if __name__ == "__main__":
    main()
