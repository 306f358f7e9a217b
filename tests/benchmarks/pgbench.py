"""Statements alone, by PostgreSQL's own load generator: what the database could do at most."""

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from app.store.embedded.account import programs
from app.store.embedded.errors import DataDirectoryUnusable
from tests.benchmarks.bare_and_raw import statement
from tests.benchmarks.common import Filled
from tests.benchmarks.load import Sample, sample_of
from tests.benchmarks.working import Step

_FROZEN = Path(__file__).parent / "frozen"
# Each transaction is about a new case, whose customer is the next in turn.
_NEXT_CASE = """\\set i :i + 1
\\set c :first + (:i * :clients + :client_id) % :customers
"""
_CYCLE: tuple[Step, ...] = ("open", "log", "close")


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
    """The statement of an entitlement answer, prepared, each time for a random customer, for whole
    seconds."""
    text = statement(
        token_hash=f"'\\x{database.token_hash.hex()}'::bytea",
        now="now()",
        at="now()",
        # pgbench knows numbers only.
        key="('019a0000-0000-7000-8000-' || lpad(:n::text, 12, '0'))::uuid",
    )
    script = f"\\set n random(1, {database.customers})\n{' '.join(text.split())};\n"
    options = (f"--client={connections}", f"--time={seconds}")
    _, times = _execute(program, directory, database.app_url, script, *options, timeout=seconds)
    return sample_of(times, seconds, {})


@dataclass
class CaseStatements:
    """What the service sent for a case at commit 48d63d9, on one database.

    The statements are frozen in `frozen/`, so that a later service is compared with what an earlier
    one needed. Ids, the date and the token are variables. `today` is the date that entries count
    on; `token_hash` is the hash of any valid token.
    """

    program: str
    directory: Path
    database: Filled
    today: str
    first: int
    customers: int
    _start: int = field(default=0, init=False)
    """The number before those of the cases that were opened last."""
    _used: int = field(default=0, init=False)

    def run(self, step: Step, connections: int, calls: int, *, shared: bool = False) -> Sample:
        """`calls` on each connection, prepared. `log` and `close` go through as many cases as the
        `open` before them made.

        Raises RuntimeError where a statement fails.
        """
        steps = _CYCLE if step == "cycle" else (step,)
        texts = [(_FROZEN / f"{one}.sql").read_text() for one in steps]
        if "open" in steps:
            self._start, self._used = self._used, self._used + calls
        variables = {
            "i": self._start,
            "clients": connections,
            "first": self.first,
            "customers": 1 if shared else self.customers,
            "today": self.today,
            "token_hash": f"\\x{self.database.token_hash.hex()}",
        }
        output, times = _execute(
            self.program,
            self.directory,
            self.database.app_url,
            "".join((_NEXT_CASE, *texts)),
            *(f"--client={connections}", f"--transactions={calls}"),
            *(f"--define={name}={value}" for name, value in variables.items()),
        )
        rate = re.search(r"tps = ([\d.]+)", output)
        if rate is None or len(times) != calls * connections:
            raise RuntimeError(f"pgbench did not finish:\n{output}")
        return sample_of(times, len(times) / float(rate[1]), {})


def _execute(
    program: str, directory: Path, url: str, script: str, *options: str, timeout: int = 240
) -> tuple[str, list[float]]:
    """pgbench's output, and the milliseconds of each transaction.

    Raises RuntimeError where it fails, and TimeoutExpired a minute after `timeout` seconds.
    """
    file = directory / "script.sql"
    file.write_text(script)
    log = directory / "pgbench"
    done = subprocess.run(
        [
            program,
            *("--no-vacuum", "--protocol=prepared", "--log", f"--log-prefix={log}"),
            *(*options, f"--file={file}", url),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout + 60,
    )
    if done.returncode:
        raise RuntimeError(f"pgbench ended with {done.returncode}:\n{done.stderr[-2000:]}")
    times: list[float] = []
    for part in directory.glob("pgbench.*"):
        # client, transaction, microseconds, …
        times += [int(line.split()[2]) / 1000 for line in part.read_text().splitlines()]
        part.unlink()
    return done.stdout, times
