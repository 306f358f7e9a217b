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
from collections import Counter
from collections.abc import Awaitable, Callable
from time import perf_counter

import orjson
import uvloop

from app import clock
from tests.benchmarks.common import Filled, databases, postgres, say, scratch, service, token_for
from tests.benchmarks.load import HOST, Sample, sample_of
from tests.benchmarks.working import logging, opening

_WARM_UP = 2.0
_WRITERS = 8
_CONNECTIONS = 64


class Client:
    """Connections that are kept, one request at a time on each. A general client costs more than
    what it measures."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        self._idle = asyncio.Queue()

    async def open(self) -> None:
        for _ in range(_CONNECTIONS):
            self._idle.put_nowait(await asyncio.open_connection(HOST, self._port))

    async def send(
        self, method: str, path: str, token: str, body: object = None
    ) -> tuple[int, bytes]:
        """The status and body of the answer."""
        content = b"" if body is None else orjson.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        reader, writer = await self._idle.get()
        writer.write(head.encode() + content)
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answered.partition(b"content-length:")[2].partition(b"\r")[0])
        answer = await reader.readexactly(length)
        self._idle.put_nowait((reader, writer))
        return int(answered[9:12]), answer

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait()[1].close()


async def at_rate(
    rate: float, seconds: float, send: Callable[[], Awaitable[tuple[int, bytes]]]
) -> Sample:
    """Send `rate` requests a second."""
    begin = perf_counter()
    times: list[float] = []
    statuses: Counter[int] = Counter()

    async def one(due: float) -> None:
        await asyncio.sleep(max(0.0, due - perf_counter()))
        status, _ = await send()
        statuses[status] += 1
        if due >= begin + _WARM_UP:
            times.append((perf_counter() - due) * 1000)

    total = round((_WARM_UP + seconds) * rate)
    await asyncio.gather(*(one(begin + number / rate) for number in range(total)))
    return sample_of(times, seconds, dict(statuses))


async def _measure(database: Filled, port: int, options: argparse.Namespace) -> None:
    writer = await token_for(database.owner_url, clock.now(), "cases:write", "cases:work")
    client = Client(port)
    await client.open()

    async def ask() -> tuple[int, bytes]:
        number = f"%2B39059{random.randint(1, database.customers):07}"
        query = f"service=phone_support&phone={number}&called=%2B39059454224"
        return await client.send("GET", f"/v1/entitlements/check?{query}", database.token)

    async def post(path: str, body: object) -> tuple[int, bytes]:
        return await client.send("POST", path, writer, body)

    cases: list[str] = []
    for customer in range(1, _WRITERS + 1):
        path, body = opening(customer)
        status, answer = await post(path, body | {"serial_number": f"S-{customer}-0"})
        if status == 201:  # else a customer with nothing left
            cases.append(orjson.loads(answer)["id"])

    async def write() -> tuple[int, bytes]:
        return await post(*logging(random.choice(cases)))

    calls, writes = await asyncio.gather(
        at_rate(options.rate, options.seconds, ask),
        at_rate(options.writes, options.seconds, write),
    )
    client.close()
    for name, sample in (("check", calls), ("write", writes)):
        say(
            f"{name}  {sample.rate:6.1f}/s  p50 {sample.p50:6.2f} ms  p99 {sample.p99:6.2f} ms"
            f"  statuses {sample.statuses}"
        )


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
