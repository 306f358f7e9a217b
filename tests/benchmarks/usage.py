"""How fast `GET /v1/usage` answers, with sums by day and without, and what keeping them costs.

    python -m tests.benchmarks.usage [--sizes 1000,100000,1000000] [--calls 20]

Each customer has five time entries and ten rows of the ledger, spread over two years, and its
allowances. The service runs inside of the benchmark, without its jobs; durations are those of whole
calls, warm, one after another. Promised: a year by day and technician in less than 300 ms, a poll
without news in less than 2 ms.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from statistics import median
from time import monotonic
from typing import Any

import asyncpg
import httpx

from app import clock
from app.jobs.summing import sum_days
from app.main import create_app
from app.policy.civil import civil_date
from app.policy.document import load
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
            await owner.execute("VACUUM ANALYZE usage_days")
            app = create_app(settings, policies=policies, database=database)
            token = await token_for(filled.owner_url, clock.now(), "usage:read")
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://benchmark",
                headers={"Authorization": f"Bearer {token}"},
                timeout=600,
            ) as client:
                await _ask(client, owner, today, calls)
            await _sum_one(database, owner, today, lambda: sum_days(database, policies))
        await _write(owner)
    finally:
        await owner.close()


async def _ask(
    client: httpx.AsyncClient, owner: asyncpg.Connection, today: date, calls: int
) -> None:
    year = {"from": str(today - timedelta(days=364)), "to": str(today + timedelta(days=1))}
    question = {**year, "window": "day", "group_by": "technician"}
    with_sums, answer = await _p50(client, question, calls)
    await owner.execute(_WITHOUT)
    without, same = await _p50(client, question, _DIRECT_CALLS)
    await owner.execute(_WITH)
    if same.json()["items"] != answer.json()["items"]:
        raise RuntimeError("the two answers differ")
    say(
        f"  a year by day and technician: {with_sums:.0f} ms (wanted: {_WANTED_MS}), without sums"
        f" {without:,.0f} ms, ratio {without / with_sums:.1f};"
        f" {len(answer.json()['items']):,} rows, {len(answer.content) / 1e6:.1f} MB"
    )
    poll, unchanged = await _p50(client, question, calls, answer.headers["ETag"])
    if unchanged.status_code != 304:
        raise RuntimeError(f"a poll was answered {unchanged.status_code}")
    say(f"  a poll without news: {poll:.2f} ms (wanted: {_WANTED_POLL_MS})")
    month = {"from": str(today.replace(day=1)), "group_by": "channel", "window": "week"}
    customers = {**year, "group_by": "customer", "limit": 100}
    for name, asked in (
        ("this month by week and channel", month),
        ("the first hundred customers of a year", customers),
        ("the first hundred customers of today", {**customers, "from": str(today)}),
        ("a year by month of one customer", {**year, "window": "month", "customer": "C-42"}),
    ):
        duration, _ = await _p50(client, asked, calls)
        say(f"  {name}: {duration:.1f} ms")


async def _p50(
    client: httpx.AsyncClient, question: dict[str, Any], calls: int, tag: str | None = None
) -> tuple[float, httpx.Response]:
    """The median duration in milliseconds, and the last answer."""
    headers = {} if tag is None else {"If-None-Match": tag}
    answer = await client.get("/v1/usage", params=question, headers=headers)
    durations = []
    for _ in range(calls):
        started = monotonic()
        answer = await client.get("/v1/usage", params=question, headers=headers)
        durations.append(1000 * (monotonic() - started))
    if answer.status_code not in (200, 304):
        raise RuntimeError(answer.text)
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
    asyncio.run(main([int(size) for size in given.sizes.split(",")], given.calls))
