"""How fast `assistenza import` is, beside psql's COPY of the same file, in one run.

    python -m tests.benchmarks.importing [--customers 100000]

The import is the command as it is run, from its start to its end, on a PostgreSQL of the
benchmark's own: every row is checked, gets its contact, its reference, its event and its place in
the indexes. COPY puts the same lines, unchecked, as texts into a table without an index: what the
database could take at most.
"""

import argparse
import asyncio
import csv
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

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
    path, changed = directory / "customers.csv", directory / "changed.csv"
    write(path, customers)
    write(changed, customers, " (new)")
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
            figures = await asyncio.to_thread(_run, server, name, path, changed)
        finally:
            await server.run(
                f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE IF EXISTS {server.login}"
            )
    table = Table(title=f"{customers:,} customers with a contact each, {_size(path)} of CSV")
    for heading in ("", "seconds", "rows/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for what, seconds in figures.items():
        table.add_row(what, f"{seconds:.2f}", f"{customers / seconds:,.0f}")
    Console(width=100).print(table)
    # In KiB on Linux, in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    mebibytes = peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    say(f"The largest process took {mebibytes:.0f} MiB.")


def _run(server: Server, name: str, path: Path, changed: Path) -> dict[str, float]:
    address = server.url(name, server.login)
    ours = (sys.executable, "-m", "app.cli", "import")
    copy = f"\\copy bare FROM '{path}' WITH (FORMAT csv, HEADER)"
    psql = (find_psql(), "--no-psqlrc", "--set=ON_ERROR_STOP=1", server.url(name), "-c", copy)
    return {
        "psql \\copy, no index, no check": _timed(psql),
        "assistenza import, all new": _timed((*ours, str(path)), ASSISTENZA_DATABASE_URL=address),
        "the same again, nothing changes": _timed(
            (*ours, str(path)), ASSISTENZA_DATABASE_URL=address
        ),
        "every name another, all changed": _timed(
            (*ours, str(changed)), ASSISTENZA_DATABASE_URL=address
        ),
        "psql \\copy once more": _timed(psql),
    }


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
