"""The slowest answers of a mixed load at half of what the service can do, in one run.

    python -m tests.benchmarks.tails [--customers 20000] [--seconds 10] [--rounds 3]

First the mix (lookups, and steps of cases) is sent as fast as 8 connections allow: that is the
capacity. Then, at half of that and at fixed instants, by turns: the bare `/livez`, which waits for
the event loop and the machine alone; the mix; and the mix beside exports of everybody one after
another, beside an import of new customers, and beside both. A time counts from the instant at which
a request was due. In each phase `/livez` is asked 50 times a second besides (`probe`): no hold of
the event loop is longer than the longest of these. Load, service, import and database share the
machine; the processor's time of each is shown, and that of the whole machine, which tells whether
anything else ran.
"""

import argparse
import asyncio
import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil
from rich.console import Console
from rich.table import Table

from app import clock
from app.policy.civil import civil_date
from app.policy.document import load
from tests.benchmarks.busy import add_busy
from tests.benchmarks.common import (
    Filled,
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
from tests.benchmarks.importing import write
from tests.benchmarks.load import HOST
from tests.benchmarks.mixed import Mix, Mixed, mixed

_CONNECTIONS = 8
_BUSY = 400
_AIM = 25.0
_PROBES = 50.0
BARE, ALONE, BESIDE = "/livez alone", "mix", "mix, export, import"
PHASES = (BARE, ALONE, "mix, export", "mix, import", BESIDE)
_SCOPES = ("entitlements:read", "cases:read", "cases:write", "cases:work")


@dataclass
class Seen:
    """What came of a phase, over its rounds: times in ms, processor's seconds by whose they are."""

    times: dict[str, list[float]] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    exports: int = 0

    def add(self, one: Mixed) -> None:
        for kind, several in one.times.items():
            self.times.setdefault(kind, []).extend(several)
        self.late += one.late

    def used(self, whose: str, seconds: float) -> None:
        self.cpu[whose] = self.cpu.get(whose, 0.0) + seconds


@contextmanager
def exporting(port: int, token: str) -> Iterator[Callable[[], int]]:
    """One export of everybody after another, in a thread. Gives how many are complete."""
    ended = threading.Event()
    whole = 0

    def export() -> None:
        nonlocal whole
        while not ended.is_set():
            connection = http.client.HTTPConnection(HOST, port, timeout=60)
            authorization = {"Authorization": f"Bearer {token}"}
            connection.request("GET", "/v1/entitlements/export", headers=authorization)
            answer = connection.getresponse()
            last = b""
            while not ended.is_set() and (some := answer.read1(1 << 16)):
                last = some
            whole += last.rstrip().endswith(b"}") and b'"end":true' in last
            connection.close()

    thread = threading.Thread(target=export)
    thread.start()
    try:
        yield lambda: whole
    finally:
        ended.set()
        thread.join()


@contextmanager
def importing(directory: Path, database: Filled, customers: int) -> Iterator[None]:
    """`assistenza import` of so many new customers, begun at once and waited for at the end."""
    path = directory / f"import-{time.monotonic_ns()}.csv"
    # The codes differ from one round to the next, so that all are new.
    write(path, customers)
    text = path.read_text().replace("C-", f"I-{time.monotonic_ns()}-")
    path.write_text(text.replace("crm-", f"i-{time.monotonic_ns()}-"))
    running = subprocess.Popen(
        (sys.executable, "-m", "app.cli", "import", str(path)),
        env={**os.environ, "ASSISTENZA_DATABASE_URL": database.app_url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield
        _, said = running.communicate(timeout=120)
        if running.returncode:
            raise RuntimeError(said.decode())
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()


def _busy_seconds() -> float:
    """Seconds of processor time since the machine started, of all programs together."""
    times = psutil.cpu_times()._asdict()
    return float(
        sum(times[name] for name in ("user", "nice", "system", "irq", "softirq") if name in times)
    )


def _measure(
    directory: Path,
    database: Filled,
    port: int,
    pid: int,
    token: str,
    options: argparse.Namespace,
) -> dict[str, Seen]:
    most_of_it = Mix(
        port=port,
        token=token,
        customers=database.customers,
        first=database.customers + 1,
        busy=_BUSY,
        writes=options.writes,
        connections=_CONNECTIONS,
        seconds=options.seconds / 2,
        warm_up=2.0,
    )
    rate = options.rate
    if rate is None:
        capacity = mixed(most_of_it).rate
        rate = capacity / 2
        say(f"capacity {capacity:,.0f} requests/s; the rest at {rate:,.0f}/s")
    processes = {"service": pid, "PostgreSQL": asyncio.run(postmaster(database.owner_url))}
    at_half = {"rate": rate, "connections": 32, "seconds": options.seconds, "probes": _PROBES}
    plan = most_of_it.model_copy(update=at_half)
    phases = {name: Seen() for name in PHASES}
    for _ in range(options.rounds):
        for name, seen in phases.items():
            wait_until_idle(pid)
            before = {whose: cpu_seconds(one) for whose, one in processes.items()}
            machine, began = _busy_seconds(), time.perf_counter()
            with ExitStack() as beside:
                if "import" in name:
                    beside.enter_context(importing(directory, database, options.imported))
                if "export" in name:
                    exported = beside.enter_context(exporting(port, token))
                one = mixed(plan.model_copy(update={"bare": name == BARE}))
                if "export" in name:
                    seen.exports += exported()
            seen.add(one)
            for whose, process in processes.items():
                seen.used(whose, cpu_seconds(process) - before[whose])
            seen.used("load", one.cpu)
            seen.used("the whole machine", _busy_seconds() - machine)
            seen.seconds += time.perf_counter() - began
    return phases


def at(times: list[float], share: float) -> float:
    """The time that this share of all does not exceed; `times` are in order."""
    return times[min(len(times) - 1, int(len(times) * share))]


def _show(phases: dict[str, Seen]) -> None:
    table = Table(title="from the instant at which each was due, ms")
    for heading in ("", "what", "number", "p50", "p99", "p99.9", "longest"):
        table.add_column(heading, justify="right" if heading not in ("", "what") else "left")
    for name, seen in phases.items():
        rows = seen.times | {"sent late by": seen.late}
        for what, several in rows.items():
            times = sorted(several)
            figures = (at(times, share) for share in (0.5, 0.99, 0.999, 1))
            table.add_row(name, what, f"{len(times):,}", *(f"{one:.1f}" for one in figures))
    Console(width=110).print(table)
    for name, seen in phases.items():
        used = ", ".join(f"{whose} {cpu / seen.seconds:.2f}" for whose, cpu in seen.cpu.items())
        more = f"; {seen.exports} exports" if seen.exports else ""
        say(f"{name}: of {os.cpu_count()} cores {used}{more}")


async def _settle(url: str) -> None:
    """What PostgreSQL has to do after a fill, which it would do in the first phases otherwise."""
    owner = await asyncpg.connect(url)
    try:
        await owner.execute("VACUUM ANALYZE")
        await owner.execute("CHECKPOINT")
    finally:
        await owner.close()


async def run(options: argparse.Namespace) -> None:
    now = clock.now()
    with scratch() as directory, postgres(directory) as server:
        async with databases(server, options.customers) as (database,):
            first, last = options.customers + 1, options.customers + _BUSY
            await add_busy(database.owner_url, first, last, civil_date(now, load().zone))
            token = await token_for(database.owner_url, now, *_SCOPES)
            with service(directory, database) as (port, pid):
                wait_until_idle(pid)
                await _settle(database.owner_url)
                phases = await asyncio.to_thread(
                    _measure, directory, database, port, pid, token, options
                )
    _show(phases)
    beside = phases[BESIDE].times
    worst = max(at(sorted(beside[kind]), 0.999) for kind in ("read", "write"))
    say(f"p99.9 beside export and import: {worst:.1f} ms (aim: {_AIM:.0f} ms)")
    say(f"load average {psutil.getloadavg()[0]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tails")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--imported", type=int, default=20_000, help="customers of each import")
    parser.add_argument("--writes", type=float, default=0.1, help="share of all requests")
    parser.add_argument("--rate", type=float, help="a second, instead of half of the capacity")
    parser.add_argument("--seconds", type=float, default=10, help="of each phase in each round")
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
