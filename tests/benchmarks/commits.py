"""What `GET /v1/entitlements` costs after some commits beside what it cost before them.

    python -m tests.benchmarks.commits BEFORE [AFTER] [--customers 20000] [--seconds 10]

Each is a commit, or `.` for the work tree as it stands. Both are served by the same Python and the
same packages from databases of their own on one PostgreSQL, filled alike, and asked turn and turn
about. Asked for are customers at random with a token for all, and one customer again and again
with a token bound to it and with one that is not.
"""

import argparse
import asyncio
import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app import clock
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
    token_for,
)
from tests.benchmarks.load import HOST, Plan, Sample, customer_id

ROOT = Path(__file__).parents[2]
_PATH = "/v1/entitlements?customer_id="
_CONNECTIONS = 8
_ROUNDS = 10
_ONE = customer_id(7)

RANDOM, ONE, BOUND = "customers at random", "one customer", "one customer, bound token"


@dataclass(frozen=True)
class Side:
    """A tree that is served, and how it is asked."""

    name: str
    port: int
    pid: int
    requests: dict[str, str]


def extracted(revision: str, place: Path) -> Path:
    """The tree of a commit, laid under `place`; the work tree is where it is."""
    if revision == ".":
        return ROOT
    archive = subprocess.run(
        ["git", "archive", revision], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(place, filter="data")
    return place


@contextmanager
def served(
    directory: Path, revision: str, tree: Path, database: Filled, bound: str
) -> Iterator[Side]:
    environment = {"ASSISTENZA_DATABASE_URL": database.app_url, "PYTHONPATH": str(tree)}
    serve = ("-m", "app.cli", "serve", "--host", HOST)
    with process(directory, "/readyz", *serve, directory=tree, **environment) as (port, pid):
        requests = {
            RANDOM: get(port, _PATH + "{id}", database.token),
            ONE: get(port, _PATH + _ONE, database.token),
            BOUND: get(port, _PATH + _ONE, bound),
        }
        yield Side(revision, port, pid, requests)


async def compare(directory: Path, revisions: list[str], customers: int, seconds: float) -> None:
    trees = [
        extracted(revision, directory / f"tree-{number}")
        for number, revision in enumerate(revisions)
    ]
    sizes = [customers] * len(revisions)
    with postgres(directory) as server:
        async with databases(server, *sizes, trees=trees) as filled:
            now = clock.now()
            bound = [
                await token_for(one.owner_url, now, "entitlements:read", customer_id=_ONE)
                for one in filled
            ]
            await asyncio.to_thread(_turns, directory, revisions, trees, filled, bound, seconds)


def _turns(
    directory: Path,
    revisions: list[str],
    trees: list[Path],
    filled: list[Filled],
    bound: list[str],
    seconds: float,
) -> None:
    samples: dict[tuple[int, str], list[Sample]] = {}
    with ExitStack() as stack:
        sides = [
            stack.enter_context(served(directory, *each))
            for each in zip(revisions, trees, filled, bound, strict=True)
        ]
        for turn in range(_ROUNDS):
            for kind in (RANDOM, ONE, BOUND):
                order = list(enumerate(sides))
                for number, side in order[:: -1 if turn % 2 else 1]:
                    plan = Plan(
                        port=side.port,
                        request=side.requests[kind],
                        customers=filled[number].customers,
                        connections=_CONNECTIONS,
                        seconds=seconds / _ROUNDS,
                    )
                    samples.setdefault((number, kind), []).append(measure(plan, side.pid))
    figures = {key: middle(several) for key, several in samples.items()}
    for kind in (RANDOM, ONE, BOUND):
        for number, name in enumerate(revisions):
            one = figures[number, kind]
            cpu = f"{one.cpu:.0f} µs of CPU" if one.cpu else ""
            say(f"{kind}, {name}: {one.rate:,.0f}/s, p50 {one.p50:.2f} ms, {cpu}")
    for kind, base in ((RANDOM, RANDOM), (ONE, ONE), (BOUND, BOUND), (BOUND, ONE)):
        before, after = figures[0, base], figures[1, kind]
        by_cpu = f"; by CPU time {before.cpu / after.cpu:.2f}" if before.cpu and after.cpu else ""
        beside = "" if kind == base else f" beside {base}"
        say(f"{kind}{beside}: {after.rate / before.rate:.2f} of before{by_cpu}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.commits")
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default=".")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement, in all")
    arguments = parser.parse_args()
    revisions = [arguments.before, arguments.after]
    with scratch() as directory:
        asyncio.run(compare(directory, revisions, arguments.customers, arguments.seconds))


if __name__ == "__main__":
    main()
