"""What publishing costs writes, and how far the feed and the standings are behind them.

    python -m tests.benchmarks.events --rate 100 --seconds 4 --rounds 20

Many short rounds go by turns, so that whatever else the machine does meets both. Without the feed,
the trigger that announces events is off and somebody else holds the lease: nothing is published,
and no standing is kept. Writes come at fixed instants (an open loop); each is a time entry on one
of many customers' open cases. The lag is the age of the oldest write that is not in the feed, and
of the oldest entry that the standings have not followed, looked at five times a second.
"""

import argparse
import asyncio
import random
from statistics import median, quantiles

import asyncpg
import orjson
import uvloop

from app import clock
from app.jobs.publishing import LEASE
from tests.benchmarks.calls import Client, at_rate
from tests.benchmarks.common import (
    Filled,
    databases,
    postgres,
    say,
    scratch,
    service,
    token_for,
    wait_until_idle,
)
from tests.benchmarks.working import logging, opening

_CASES = 200
_SETTLING_SECONDS = 1.5
_LOOKED_AT_EVERY = 0.2
_LAGS = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - (
            SELECT e.occurred_at FROM unpublished_events u JOIN events e ON e.id = u.event_id
            ORDER BY u.event_id LIMIT 1)), 0)::float8,
        coalesce(extract(epoch FROM clock_timestamp() - (
            SELECT to_timestamp(f.position / 1000000.0) FROM feed f CROSS JOIN standing_state s
            WHERE f.position > s.followed ORDER BY f.position LIMIT 1)), 0)::float8"""


async def _switch(owner: asyncpg.Connection, *, on: bool) -> None:
    """Let the service publish, or keep it from it."""
    await owner.execute(
        f"ALTER TABLE events {'ENABLE' if on else 'DISABLE'} TRIGGER announce_event"
    )
    await owner.execute(
        """INSERT INTO leases (name, holder, held_until)
        VALUES ($1, gen_random_uuid(), now() + $2 * interval '1 second')
        ON CONFLICT (name) DO UPDATE
        SET holder = excluded.holder, held_until = excluded.held_until""",
        LEASE,
        0 if on else 3_600,
    )
    # Until the service has noticed, and has published what it has.
    await asyncio.sleep(_SETTLING_SECONDS)


async def _look(owner: asyncpg.Connection, seen: list[tuple[float, float]]) -> None:
    """Note the lags until cancelled."""
    while True:
        [(feed, standing)] = await owner.fetch(_LAGS)
        seen.append((feed, standing))
        await asyncio.sleep(_LOOKED_AT_EVERY)


def _told(name: str, seconds: list[float]) -> str:
    cut = quantiles(seconds, n=100)
    return f"{name} p50 {cut[49]:.2f} s, p99 {cut[98]:.2f} s, most {max(seconds):.2f} s"


async def _measure(database: Filled, port: int, options: argparse.Namespace) -> None:
    writer = await token_for(database.owner_url, clock.now(), "cases:write", "cases:work")
    client = Client(port)
    await client.open()

    async def post(path: str, body: object) -> tuple[int, bytes]:
        return await client.send("POST", path, writer, body)

    cases: list[str] = []
    for customer in range(1, _CASES + 1):
        path, body = opening(customer)
        status, answer = await post(path, body | {"serial_number": f"S-{customer}-0"})
        if status == 201:  # else a customer with nothing left
            cases.append(orjson.loads(answer)["id"])

    async def write() -> tuple[int, bytes]:
        return await post(*logging(random.choice(cases)))

    owner = await asyncpg.connect(database.owner_url)
    found: dict[bool, list[float]] = {False: [], True: []}
    lags: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(2 * options.rounds):
        on = bool(number % 2)
        await _switch(owner, on=on)
        # Both rounds are looked at, so that looking costs both the same.
        looking = asyncio.create_task(_look(owner, lags[on]))
        sample = await at_rate(options.rate, options.seconds, write)
        looking.cancel()
        await asyncio.wait([looking])
        found[on].append(sample.p50)
        say(
            f"{'with' if on else 'without':7}  {sample.rate:6.1f}/s  p50 {sample.p50:5.2f} ms"
            f"  p99 {sample.p99:6.2f} ms  statuses {sample.statuses}"
        )
    for name, seconds in zip(("feed", "standing"), zip(*lags[True], strict=True), strict=True):
        say(_told(f"lag of the {name}:", list(seconds)))
    published = await owner.fetchval("SELECT count(*) FROM feed")
    waiting = await owner.fetchval("SELECT count(*) FROM unpublished_events")
    await owner.close()
    client.close()
    without, with_ = median(found[False]), median(found[True])
    pairs = median(on / off for off, on in zip(*found.values(), strict=True))
    say(
        f"p50 without {without:.2f} ms ({min(found[False]):.2f} to {max(found[False]):.2f}),"
        f" with {with_:.2f} ms ({min(found[True]):.2f} to {max(found[True]):.2f}):"
        f" {100 * (with_ / without - 1):+.1f} %, median of the pairs {100 * (pairs - 1):+.1f} %;"
        f" {published:,} published, {waiting} waiting"
    )


async def run(options: argparse.Namespace) -> None:
    with scratch() as directory, postgres(directory) as server:
        async with databases(server, options.customers) as (database,):
            with service(directory, database) as (port, pid):
                wait_until_idle(pid)
                await _measure(database, port, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100, help="writes a second")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=20)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
