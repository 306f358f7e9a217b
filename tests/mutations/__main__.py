"""Takes clauses out of the code, one at a time, and shows the test that goes red.

    python -m tests.mutations [--seed N] [--count 10] [--clause R22]

Each runs in a copy of the tree, on one PostgreSQL of its own (or that of
`ASSISTENZA_TEST_DATABASE_URL`). `--count 0` runs them all. Exits with 1 if any goes unnoticed.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.store.embedded import EmbeddedPostgres
from tests.mutations.table import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
_TREE = ("app", "alembic", "openapi", "tests", "alembic.ini", "pyproject.toml", "README.md")
_RED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
_LONGEST_SECONDS = 600


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument(
        "--count", type=int, default=10, help="how many, chosen by the seed; 0: all"
    )
    parser.add_argument("--clause", help="only those of one clause, like R22")
    options = parser.parse_args(arguments)
    known = [one for one in MUTATIONS if options.clause in (None, one.clause)]
    count = options.count if 0 < options.count < len(known) else len(known)
    chosen = random.Random(options.seed).sample(known, count)
    print(f"seed {options.seed}: {count} of {len(known)} mutations", flush=True)

    survivors = 0
    with _database() as url, tempfile.TemporaryDirectory(prefix="mutations-") as place:
        tree = _copy(Path(place))
        paths = sorted({path for one in chosen for path in one.tests})
        if red := _first_red(tree, url, paths):
            print(f"red before anything is changed: {red}")
            return 1
        for one in sorted(chosen, key=MUTATIONS.index):
            red = _without(tree, url, one)
            survivors += red is None
            print(f"{one.clause:16}{one.what}: {red or 'SURVIVED'}", flush=True)
    print(f"{count - survivors} red, {survivors} survived (seed {options.seed})")
    return 1 if survivors else 0


@contextmanager
def _database() -> Iterator[str]:
    given = os.environ.get("ASSISTENZA_TEST_DATABASE_URL")
    if given:
        yield given
        return
    directory = Path(tempfile.mkdtemp(prefix="mutations-"))
    # As root the database runs as another account, which must be able to pass through.
    directory.chmod(0o755)
    try:
        with EmbeddedPostgres(
            directory / "data", durable=False, max_connections=200
        ).serve() as server:
            yield server.admin_dsn
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _copy(place: Path) -> Path:
    tree = place / "tree"
    tree.mkdir()
    for name in _TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, tree / name)
    return tree


def _without(tree: Path, url: str, mutation: Mutation) -> str | None:
    """The first test that is red without the clause; None where none is."""
    file = tree / mutation.file
    code = file.read_text()
    file.write_text(mutation.edit(code))
    try:
        return _first_red(tree, url, mutation.tests)
    finally:
        file.write_text(code)


def _first_red(tree: Path, url: str, paths: Sequence[str]) -> str | None:
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-rfE", "--tb=no", "--show-capture=no"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *paths],
        cwd=tree,
        env={**os.environ, "ASSISTENZA_TEST_DATABASE_URL": url, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    if done.returncode == 0:
        return None
    found = _RED.search(done.stdout)
    if done.returncode != 1 and not found:
        raise SystemExit(f"pytest did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found[1] if found else "a test that has no name"


if __name__ == "__main__":
    raise SystemExit(main())
