"""How fast the standings catch up with customers that have all changed.

    python -m tests.benchmarks.standings [--customers 100000]

Every customer has an entry in the feed that was not followed, and a standing that is not the one of
its facts, so that each is read, decided, told and written. The walk that makes the rows of an
upgraded database is measured before. Below 60 s for 100,000 customers is what is promised.
"""

import argparse
import gc
from collections.abc import Awaitable, Callable
from time import monotonic

import asyncpg
import uvloop

from app import clock
from app.jobs.publishing import follow
from app.policy.document import load
from app.settings import Settings
from app.store import feed as store
from app.store import standings
from app.store.database import Database
from tests.benchmarks.common import databases, postgres, say, scratch

_CHANGED = (
    "INSERT INTO standing_kinds VALUES (1, '{NO_DEV}', '{}', 0)",
    "UPDATE standings SET kind_id = 1, valid_until = NULL",
    """UPDATE standing_kinds k SET customers = (
        SELECT count(*) FROM standings s WHERE s.kind_id = k.id)""",
    """INSERT INTO feed (position, type, customer_id, subject_id, occurred_at, data)
        SELECT f.position + row_number() OVER (ORDER BY md5(c.id::text)), 'licence.registered',
            c.id, c.id, now(), '{}'
        FROM customers c CROSS JOIN feed_state f""",
    "UPDATE feed_state SET position = (SELECT max(position) FROM feed)",
)


async def main(customers: int) -> None:
    policies = load()
    # As the service does before it answers (app.serving.server.settled).
    gc.collect()
    gc.freeze()
    with scratch() as directory, postgres(directory) as server:
        async with databases(server, customers) as (filled,):
            settings = Settings(database_url=filled.app_url)
            async with Database(settings) as database:

                async def followed() -> bool:
                    await follow(database, policies)
                    due, _ = await standings.due(database, clock.now())
                    return due

                await _timed("walk of an upgraded database", customers, followed)
                connection = await asyncpg.connect(filled.owner_url)
                try:
                    for statement in _CHANGED:
                        await connection.execute(statement)
                    await connection.execute("VACUUM ANALYZE")
                    before = await store.last_position(database)
                    await _timed("caught up", customers, followed)
                    told = await connection.fetchval(
                        "SELECT count(*) FROM feed WHERE position > $1"
                        " AND type = 'entitlements.changed'",
                        before,
                    )
                    say(f"{told:,} customers were told of")
                finally:
                    await connection.close()


async def _timed(what: str, customers: int, turn: Callable[[], Awaitable[bool]]) -> None:
    started = monotonic()
    while await turn():
        pass
    seconds = monotonic() - started
    say(f"{what}: {seconds:.1f} s for {customers:,} customers, {customers / seconds:,.0f} a second")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    uvloop.run(main(parser.parse_args().customers))
