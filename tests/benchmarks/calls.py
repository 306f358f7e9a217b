"""The phone system's question at a steady rate, beside a steady load of writes.

    python -m tests.benchmarks.calls --customers 1000000 --rate 200 --writes 10 --seconds 30

Calls come at fixed instants whatever the service does (an open loop), and a call's time counts from
its instant: a service that stalls makes all calls wait that come meanwhile. Every call is of a
random customer's telephone number. Each write is a time entry on an open case. Both loads share the
machine with the service and PostgreSQL.
"""

import argparse
import asyncio
import random
from collections.abc import Awaitable, Callable
from time import perf_counter

import httpx
import orjson
import uvloop

from app import clock
from tests.benchmarks.common import Filled, databases, postgres, say, scratch, service, token_for
from tests.benchmarks.load import HOST, Sample, sample_of
from tests.benchmarks.working import logging, opening

_WARM_UP = 2.0
_WRITERS = 8


async def _at_rate(
    rate: float, seconds: float, send: Callable[[], Awaitable[httpx.Response]]
) -> Sample:
    """Send `rate` requests a second. Raises RuntimeError if one is answered by an error."""
    begin = perf_counter()
    times: list[float] = []
    statuses: dict[int, int] = {}

    async def one(due: float) -> None:
        await asyncio.sleep(max(0.0, due - perf_counter()))
        answer = await send()
        if due >= begin + _WARM_UP:
            times.append((perf_counter() - due) * 1000)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1

    total = round((_WARM_UP + seconds) * rate)
    await asyncio.gather(*(one(begin + number / rate) for number in range(total)))
    if set(statuses) - {200, 201}:
        raise RuntimeError(f"not every answer was 200: {statuses}")
    return sample_of(times, seconds, statuses)


async def _measure(database: Filled, port: int, options: argparse.Namespace) -> None:
    writer = await token_for(database.owner_url, clock.now(), "cases:write", "cases:work")
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(
        base_url=f"http://{HOST}:{port}", limits=limits, timeout=10
    ) as client:
        asking = {"Authorization": f"Bearer {database.token}"}
        writing = {"Authorization": f"Bearer {writer}", "Content-Type": "application/json"}

        async def ask() -> httpx.Response:
            number = f"+39059{random.randint(1, database.customers):07}"
            query = {"service": "phone_support", "phone": number, "called": "+39059454224"}
            return await client.get("/v1/entitlements/check", params=query, headers=asking)

        async def post(path: str, body: object) -> httpx.Response:
            return await client.post(path, content=orjson.dumps(body), headers=writing)

        cases: list[str] = []
        for customer in range(1, _WRITERS + 1):
            path, body = opening(customer)
            answer = await post(path, body | {"serial_number": f"S-{customer}-0"})
            if answer.status_code == 201:
                cases.append(answer.json()["id"])
        if not cases:
            raise RuntimeError(f"no case could be opened: {answer.text}")

        async def write() -> httpx.Response:
            return await post(*logging(random.choice(cases)))

        calls, writes = await asyncio.gather(
            _at_rate(options.rate, options.seconds, ask),
            _at_rate(options.writes, options.seconds, write),
        )
    say(f"check  {calls.rate:6.1f}/s  p50 {calls.p50:6.2f} ms  p99 {calls.p99:6.2f} ms")
    say(f"write  {writes.rate:6.1f}/s  p50 {writes.p50:6.2f} ms  p99 {writes.p99:6.2f} ms")


async def run(options: argparse.Namespace) -> None:
    with scratch() as directory, postgres(directory) as server:
        async with databases(server, options.customers) as (database,):
            with service(directory, database) as (port, _):
                for _ in range(options.rounds):
                    await _measure(database, port, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=200, help="calls a second")
    parser.add_argument("--writes", type=float, default=10, help="time entries a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
