"""The cost of a read and of a case after some commits, compared with the cost before them.

    python -m tests.benchmarks.commits BEFORE [AFTER] [--only read|case] [--turns 10]
        [--customers 20000] [--seconds 10] [--calls 400]

BEFORE and AFTER are commits, or `.` for the work tree. BEFORE is served twice. The difference
between its two copies is the spread: noise of the measurement. AFTER is slower only by what it
exceeds that. All three run on the same Python and packages, with a database each on one PostgreSQL,
filled alike. They are measured in turns, and each is the first in every third turn.

The read is `GET /v1/entitlements`: for random customers, and for one customer repeatedly, with a
token bound to it and with one that is not. A case is opened, gets a time entry, and is closed.
Rates are the median of the turns. CPU time is the least of the turns, because other programs can
only add to it; the kernel counts it in steps of 10 ms, so that few calls give coarse figures.

A short run, to check that it works:

    python -m tests.benchmarks.commits HEAD --customers 50 --turns 2 --seconds 0.4 --calls 8
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

from rich.console import Console
from rich.table import Table

from app import clock
from app.policy.civil import civil_date
from app.policy.document import load
from tests.benchmarks.busy import add_busy
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
    wait_until_idle,
)
from tests.benchmarks.load import HOST, Plan, Sample, customer_id
from tests.benchmarks.working import Step, Work, do

ROOT = Path(__file__).parents[2]
_PATH = "/v1/entitlements?customer_id="
_CONNECTIONS = 8
_BUSY = 400
_ONE = customer_id(7)
_ALLOWED_PERCENT = 3.0
"""What a change of no behaviour may cost beyond the spread."""

RANDOM, ONE, BOUND = "customers at random", "one customer", "one customer, bound token"
_STEPS: dict[Step, str] = {"open": "open a case", "log": "log time", "close": "close"}

Samples = dict[tuple[int, str], list[Sample]]
"""By the number of the side and what was measured."""


@dataclass(frozen=True)
class Options:
    only: str | None
    turns: int
    customers: int
    seconds: float
    calls: int


@dataclass(frozen=True)
class Side:
    """A tree that is served, and the tokens with which it is asked."""

    database: Filled
    bound: str
    """Bound to customer `_ONE`."""
    worker: str
    """For the calls about cases."""
    port: int
    pid: int

    def reads(self, options: Options) -> Iterator[tuple[str, Sample]]:
        for kind, path, token in (
            (RANDOM, "{id}", self.database.token),
            (ONE, _ONE, self.database.token),
            (BOUND, _ONE, self.bound),
        ):
            plan = Plan(
                port=self.port,
                request=get(self.port, _PATH + path, token),
                customers=self.database.customers,
                connections=_CONNECTIONS,
                seconds=options.seconds / options.turns,
            )
            yield kind, measure(plan, self.pid)

    def works(self, options: Options) -> Iterator[tuple[str, Sample]]:
        cases: list[list[str]] = []
        for step, name in _STEPS.items():
            work = Work(
                port=self.port,
                credentials=f"Authorization: Bearer {self.worker}",
                step=step,
                calls=max(1, options.calls // _CONNECTIONS),
                connections=_CONNECTIONS,
                first=self.database.customers + 1,
                customers=_BUSY,
                cases=cases,
            )
            done = do(work, self.pid)
            cases = cases or done.cases
            yield name, done.samples[step]


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
    directory: Path, tree: Path, database: Filled, bound: str, worker: str
) -> Iterator[Side]:
    environment = {"ASSISTENZA_DATABASE_URL": database.app_url, "PYTHONPATH": str(tree)}
    serve = ("-m", "app.cli", "serve", "--host", HOST)
    with process(directory, "/readyz", *serve, directory=tree, **environment) as (port, pid):
        yield Side(database, bound, worker, port, pid)


async def compare(directory: Path, before: str, after: str, options: Options) -> None:
    sides = [before, before, after]
    trees = [
        extracted(revision, directory / f"tree-{number}") for number, revision in enumerate(sides)
    ]
    now = clock.now()
    first = options.customers + 1
    with postgres(directory) as server:
        async with databases(server, *[options.customers] * len(sides), trees=trees) as filled:
            tokens = []
            for one in filled:
                url = one.owner_url
                await add_busy(url, first, first + _BUSY - 1, civil_date(now, load().zone))
                bound = await token_for(url, now, "entitlements:read", customer_id=_ONE)
                tokens.append((bound, await token_for(url, now, "cases:write", "cases:work")))
            samples = await asyncio.to_thread(_turns, directory, trees, filled, tokens, options)
    _show(samples, before, after)


def _turns(
    directory: Path,
    trees: list[Path],
    filled: list[Filled],
    tokens: list[tuple[str, str]],
    options: Options,
) -> Samples:
    samples: Samples = {}
    with ExitStack() as stack:
        sides = [
            stack.enter_context(served(directory, tree, database, *both))
            for tree, database, both in zip(trees, filled, tokens, strict=True)
        ]
        wait_until_idle(*(side.pid for side in sides))
        for only, ask in (("read", Side.reads), ("case", Side.works)):
            if options.only not in (None, only):
                continue
            # The first turn warms up.
            for turn in range(-1, options.turns):
                # Kind by kind, so that what is compared is measured within seconds.
                running = {number: ask(side, options) for number, side in enumerate(sides)}
                while running:
                    for number in [(turn + shift) % len(sides) for shift in range(len(sides))]:
                        measured = next(running[number], None)
                        if measured is None:
                            running = {}
                            break
                        kind, sample = measured
                        if turn >= 0:
                            samples.setdefault((number, kind), []).append(sample)
    return samples


def _show(samples: Samples, before: str, after: str) -> None:
    figures = {key: middle(several) for key, several in samples.items()}
    table = Table(title=f"CPU time of a call, {after} beside {before}")
    for heading in ("", "before µs", "again µs", "after µs", "spread", "change", "beyond", "rate"):
        table.add_column(heading, justify="right" if heading else "left")
    worst = 0.0
    for kind in dict.fromkeys(kind for _, kind in samples):
        one, again, changed = (figures[number, kind] for number in range(3))
        costs = [sample.cpu or 0.0 for sample in (one, again, changed)]
        base = (costs[0] + costs[1]) / 2
        if not base:
            raise RuntimeError(f"{kind}: no CPU time was measured, more calls are needed")
        spread = 100 * abs(costs[0] - costs[1]) / base
        change = 100 * (costs[2] / base - 1)
        beyond = max(0.0, change - spread)
        worst = max(worst, beyond)
        table.add_row(
            kind,
            *(f"{cost:,.0f}" for cost in costs),
            *(f"{spread:.1f} %", f"{change:+.1f} %", f"{beyond:.1f} %"),
            f"{one.rate:,.0f}/s, {again.rate:,.0f}/s, {changed.rate:,.0f}/s",
        )
    Console(width=120).print(table)
    say(f"at most {worst:.1f} % beyond the spread; allowed: {_ALLOWED_PERCENT:.0f} %")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.commits")
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default=".")
    parser.add_argument("--only", choices=("read", "case"))
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each read, in all turns")
    parser.add_argument(
        "--calls", type=int, default=400, help="of each kind about cases, in a turn"
    )
    arguments = vars(parser.parse_args())
    before, after = arguments.pop("before"), arguments.pop("after")
    with scratch() as directory:
        asyncio.run(compare(directory, before, after, Options(**arguments)))


if __name__ == "__main__":
    main()
