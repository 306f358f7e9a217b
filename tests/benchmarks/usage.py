"""How fast `GET /v1/usage` answers, with sums by day and without, and what keeping them costs.

    python -m tests.benchmarks.usage [--sizes 1000,100000,1000000] [--calls 20]

Each customer has five time entries and ten rows of the ledger, spread over two years, and its
allowances. The service runs inside of the benchmark, without its jobs; durations are those of whole
calls to the application, warm, one after another, with no client or socket between. Promised: a
year by day and technician in less than 300 ms, a poll without news in less than 2 ms.
"""

import argparse
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from statistics import median
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlencode

import asyncpg
import orjson
import uvloop
from fastapi import FastAPI

from app import clock
from app.http import logs
from app.jobs.summing import sum_days
from app.main import create_app
from app.policy.civil import civil_date
from app.policy.document import load
from app.serving.server import settled
from app.settings import Settings
from app.store.database import Database
from tests.benchmarks.common import Filled, databases, postgres, say, scratch, token_for
from tests.benchmarks.fill import History

_HISTORY = History(entries=5, movements=10)
_DIRECT_CALLS = 3
_WANTED_MS, _WANTED_POLL_MS = 300, 2
# As if sums had been made by other rules: then all days are computed.
_WITHOUT = "UPDATE usage_state SET rules = 'none' || rules"
_WITH = "UPDATE usage_state SET rules = substr(rules, 5)"
_WRITE = """
    INSERT INTO time_entries (id, customer_id, case_id, technician, minutes, worked_at, worked_on,
        recorded_at)
    SELECT gen_random_uuid(), customer_id, id, 'Technician 1', 5, now(), current_date, now()
    FROM cases OFFSET $1 LIMIT 1"""
_TRIGGERS = "ALTER TABLE time_entries {} TRIGGER usage_time"


async def main(sizes: list[int], calls: int) -> None:
    with scratch() as directory, postgres(directory) as server:
        for size in sizes:
            async with databases(server, size, history=_HISTORY) as (filled,):
                await _measure(filled, calls)


async def _measure(filled: Filled, calls: int) -> None:
    policies = load()
    settings = Settings(
        database_url=filled.app_url, statement_timeout_ms=600_000, request_timeout=600.0
    )
    today = civil_date(clock.now(), policies.zone)
    owner = await asyncpg.connect(filled.owner_url)
    try:
        async with Database(settings) as database:
            started = monotonic()
            while await sum_days(database, policies):
                pass
            seconds = monotonic() - started
            days = await owner.fetchval("SELECT count(DISTINCT day) FROM usage_days")
            each = 1000 * seconds / days
            say(f"  sums of {days:,} days made in {seconds:.1f} s, {each:.0f} ms each")
            # Otherwise autovacuum would do so while calls are measured.
            await owner.execute("VACUUM ANALYZE")
            app = settled(create_app(settings, policies=policies, database=database))
            token = await token_for(filled.owner_url, clock.now(), "usage:read")
            await _ask(_Client(app, token), owner, today, calls)
            await _sum_one(database, owner, today, lambda: sum_days(database, policies))
        await _write(owner)
    finally:
        await owner.close()


class _Answer(NamedTuple):
    status: int
    tag: str
    content: bytes

    @property
    def items(self) -> list[Any]:
        found: list[Any] = orjson.loads(self.content)["items"]
        return found


class _Client(NamedTuple):
    app: FastAPI
    token: str

    async def get(self, question: dict[str, Any], tag: str | None) -> _Answer:
        """The answer of `/v1/usage`. Raises RuntimeError unless it is 200 or 304."""
        headers = [(b"host", b"benchmark"), (b"authorization", f"Bearer {self.token}".encode())]
        if tag is not None:
            headers.append((b"if-none-match", tag.encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/v1/usage",
            "raw_path": b"/v1/usage",
            "root_path": "",
            "query_string": urlencode(question, doseq=True).encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("benchmark", 80),
            "state": {},
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, *rest = sent
        content = b"".join(one["body"] for one in rest)
        if start["status"] not in (200, 304):
            raise RuntimeError(content.decode())
        return _Answer(start["status"], dict(start["headers"])[b"etag"].decode(), content)


async def _ask(client: _Client, owner: asyncpg.Connection, today: date, calls: int) -> None:
    year = {"from": str(today - timedelta(days=364)), "to": str(today + timedelta(days=1))}
    question = {**year, "window": "day", "group_by": "technician"}
    with_sums, answer = await _p50(client, question, calls)
    await owner.execute(_WITHOUT)
    without, same = await _p50(client, question, _DIRECT_CALLS)
    await owner.execute(_WITH)
    if same.items != answer.items:
        raise RuntimeError("the two answers differ")
    say(
        f"  a year by day and technician: {with_sums:.0f} ms (wanted: {_WANTED_MS}), without sums"
        f" {without:,.0f} ms, ratio {without / with_sums:.1f};"
        f" {len(answer.items):,} rows, {len(answer.content) / 1e6:.1f} MB"
    )
    poll, unchanged = await _p50(client, question, calls, answer.tag)
    if unchanged.status != 304:
        raise RuntimeError(f"a poll was answered {unchanged.status}")
    say(f"  a poll without news: {poll:.2f} ms (wanted: {_WANTED_POLL_MS})")
    month = {"from": str(today.replace(day=1)), "group_by": "channel", "window": "week"}
    customers = {**year, "group_by": "customer", "limit": 100}
    for name, asked in (
        ("this month by week and channel", month),
        ("this month by channel and payer", {**month, "group_by": ["channel", "paid_by"]}),
        ("the first hundred customers of a year", customers),
        ("the first hundred customers of today", {**customers, "from": str(today)}),
        ("a year by month of one customer", {**year, "window": "month", "customer": "C-42"}),
    ):
        duration, _ = await _p50(client, asked, calls)
        say(f"  {name}: {duration:.1f} ms")


async def _p50(
    client: _Client, question: dict[str, Any], calls: int, tag: str | None = None
) -> tuple[float, _Answer]:
    """The median duration in milliseconds, and the last answer."""
    answer = await client.get(question, tag)
    durations = []
    for _ in range(calls):
        started = monotonic()
        answer = await client.get(question, tag)
        durations.append(1000 * (monotonic() - started))
    return median(durations), answer


async def _sum_one(
    database: Database,
    owner: asyncpg.Connection,
    today: date,
    turn: Callable[[], Awaitable[bool]],
) -> None:
    durations = []
    for back in range(1, 6):
        day = today - timedelta(days=back)
        await owner.execute("INSERT INTO usage_changes (day) VALUES ($1)", day)
        started = monotonic()
        await turn()
        durations.append(1000 * (monotonic() - started))
        await turn()
    say(f"  a corrected day summed anew: {median(durations):.0f} ms")


async def _write(owner: asyncpg.Connection) -> None:
    """What the trigger adds to the insertion of a time entry, in rounds that alternate."""
    durations: dict[str, list[float]] = {"ENABLE": [], "DISABLE": []}
    for number in range(200):
        for state, found in durations.items():
            await owner.execute(_TRIGGERS.format(state))
            started = monotonic()
            for _ in range(5):
                await owner.execute(_WRITE, number)
            found.append(200 * (monotonic() - started))
    with_, without = (median(found) for found in durations.values())
    say(f"  an inserted time entry: {with_:.3f} ms, without the trigger {without:.3f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,100000,1000000")
    parser.add_argument("--calls", type=int, default=20)
    given = parser.parse_args()
    # A line for each request would bury the figures.
    logs.configure("warning")
    uvloop.run(main([int(size) for size in given.sizes.split(",")], given.calls))
