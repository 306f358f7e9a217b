"""How fast `assistenza import` is, beside psql's COPY of the same file, in one run.

    python -m tests.benchmarks.importing [--customers 100000]

The import is the command as it is run, from its start to its end, on a PostgreSQL of the
benchmark's own: every row is checked, gets its contact, its reference, its event and its place in
the indexes. COPY puts the same lines, unchecked, as texts into a table without an index: what the
database could take at most. Meanwhile a client takes the lock of one customer after another, as
every write of a customer does: the longest wait is what an import costs the others.
"""

import argparse
import asyncio
import csv
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from rich.console import Console
from rich.table import Table

from app.store import migrations
from app.store.embedded.account import programs
from app.store.embedded.errors import DataDirectoryUnusable
from tests.benchmarks.common import postgres, say, scratch
from tests.conftest import Server

_HEADER = (
    *("code", "name", "country", "vat_number", "external_ref:crm"),
    *("contact_name", "contact_email", "contact_phone"),
)


def write(path: Path, customers: int, suffix: str = "") -> None:
    """A file of customers with one contact each; another suffix, another name of each."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        writer.writerows(
            (
                f"C-{n:07d}",
                f"Esempio Automazione {n} S.r.l.{suffix}",
                "IT",
                f"IT{n:011d}",
                f"crm-{n}",
                "Responsabile tecnico",
                f"tecnico@c{n}.example.com",
                f"059 {100_000 + n}",
            )
            for n in range(customers)
        )
    path.chmod(0o644)


def find_psql() -> str:
    """The embedded server's, or the system's."""
    try:
        own = Path(programs(None, Path())["postgres"]).with_name("psql")
    except DataDirectoryUnusable:
        own = None
    if own is not None and own.exists():
        return str(own)
    found = shutil.which("psql")
    if found is None:
        raise SystemExit("there is no psql, neither with the embedded PostgreSQL nor on the path")
    return found


def _timed(arguments: Sequence[str], **environment: str) -> float:
    started = time.monotonic()
    done = subprocess.run(
        arguments,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    took = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return took


async def measure(directory: Path, customers: int) -> None:
    files = [directory / name for name in ("customers.csv", "changed.csv", "once-more.csv")]
    for path, suffix in zip(files, ("", " (new)", " (newer)"), strict=True):
        write(path, customers, suffix)
    with postgres(directory) as server:
        name = server.prefix
        await server.run(f"CREATE DATABASE {name}")
        try:
            url = server.url(name)
            await migrations.upgrade(url.replace("postgresql://", "postgresql+asyncpg://", 1))
            role = f"CREATE ROLE {server.login} LOGIN PASSWORD '{server.password}'"
            await server.run(f"{role} IN ROLE assistenza_app")
            columns = ", ".join(f'"{column}" text' for column in _HEADER)
            await server.run_in(name, f"CREATE TABLE bare ({columns})")
            figures = await _run(server, name, customers, *files)
        finally:
            await server.run(
                f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE IF EXISTS {server.login}"
            )
    table = Table(title=f"{customers:,} customers with a contact each, {_size(files[0])} of CSV")
    for heading in ("", "seconds", "rows/s", "longest wait, s"):
        table.add_column(heading, justify="right" if heading else "left")
    for what, (seconds, wait) in figures.items():
        table.add_row(what, f"{seconds:.2f}", f"{customers / seconds:,.0f}", f"{wait:.2f}")
    Console(width=100).print(table)
    # In KiB on Linux, in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    mebibytes = peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    say(f"The largest process took {mebibytes:.0f} MiB.")


async def _run(
    server: Server, name: str, customers: int, path: Path, changed: Path, once_more: Path
) -> dict[str, tuple[float, float]]:
    """Of each step: how long it took, and the longest that a writer waited meanwhile, in s."""
    address = server.url(name, server.login)
    copy = f"\\copy bare FROM '{path}' WITH (FORMAT csv, HEADER)"
    psql = (find_psql(), "--no-psqlrc", "--set=ON_ERROR_STOP=1", server.url(name), "-c", copy)

    async def step(*arguments: str, **environment: str) -> tuple[float, float]:
        working = asyncio.create_task(asyncio.to_thread(_timed, arguments, **environment))
        wait = await _longest_wait(server.url(name), customers, working)
        return await working, wait

    async def ours(*arguments: str) -> tuple[float, float]:
        command = (sys.executable, "-m", "app.cli", "import", *arguments)
        return await step(*command, ASSISTENZA_DATABASE_URL=address)

    return {
        "psql \\copy, no index, no check": await step(*psql),
        "assistenza import, all new": await ours(str(path)),
        "the same again, nothing changes": await ours(str(path)),
        "every name another, all changed": await ours(str(changed)),
        "every name another, --batches": await ours(str(once_more), "--batches"),
        "psql \\copy once more": await step(*psql),
    }


async def _longest_wait(url: str, customers: int, working: asyncio.Task[float]) -> float:
    """Lock customers at random, one at a time, as long as a task runs."""
    lock = """SELECT FROM customers WHERE lower(code COLLATE "C") = $1 FOR NO KEY UPDATE"""
    longest = 0.0
    connection = await asyncpg.connect(url)
    try:
        while not working.done():
            started = time.monotonic()
            async with connection.transaction():
                await connection.execute(lock, f"c-{random.randrange(customers):07d}")
            longest = max(longest, time.monotonic() - started)
            await asyncio.sleep(0.01)
    finally:
        await connection.close()
    return longest


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--customers", type=int, default=100_000)
    options = parser.parse_args()
    with scratch() as directory:
        asyncio.run(measure(directory, options.customers))


if __name__ == "__main__":
    main()
