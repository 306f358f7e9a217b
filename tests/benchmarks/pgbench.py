"""The statement alone, by PostgreSQL's own load generator: what the database could do at most."""

import shutil
import subprocess
from pathlib import Path

from app.store.embedded.account import programs
from app.store.embedded.errors import DataDirectoryUnusable
from tests.benchmarks.common import Filled
from tests.benchmarks.load import Sample, sample_of
from tests.benchmarks.peers import statement


def find() -> str | None:
    """The program: the embedded server's, or one of the system's."""
    try:
        own = Path(programs(None, Path())["pgbench"])
    except DataDirectoryUnusable:
        own = None
    if own is not None and own.exists():
        return str(own)
    if (found := shutil.which("pgbench")) is not None:
        return found
    return next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))), None)


def run(program: str, directory: Path, database: Filled, connections: int, seconds: int) -> Sample:
    """Prepared, each time for a random customer, for whole seconds."""
    script = directory / "statement.sql"
    text = statement(
        token_hash=f"'\\x{database.token_hash.hex()}'::bytea",
        now="now()",
        # pgbench knows numbers only.
        key="('019a0000-0000-7000-8000-' || lpad(:n::text, 12, '0'))::uuid",
    )
    script.write_text(f"\\set n random(1, {database.customers})\n{' '.join(text.split())};\n")
    log = directory / "pgbench"
    subprocess.run(
        [
            program,
            *("--no-vacuum", "--protocol=prepared", "--log", f"--log-prefix={log}"),
            *(f"--client={connections}", f"--time={seconds}", f"--file={script}"),
            database.app_url,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=seconds + 60,
    )
    times: list[float] = []
    for file in directory.glob("pgbench.*"):
        # client, transaction, microseconds, …
        times += [int(line.split()[2]) / 1000 for line in file.read_text().splitlines()]
        file.unlink()
    return sample_of(times, seconds, {})
