"""What webhooks cost writes, and how many deliveries a second go beside them.

    python -m tests.benchmarks.webhooks --rate 100 --endpoints 3 --seconds 4 --rounds 20

Many short rounds go by turns, so that whatever else the machine does meets both. Every write is one
event, which each endpoint hears: 100 writes a second and three endpoints make 300 deliveries a
second, to a receiver in a process of its own. In the rounds without, the endpoints are disabled.
What is left when a round ends is delivered before the next one begins, and counted apart.
"""

import argparse
import asyncio
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.sharedctypes import Synchronized
from statistics import median
from typing import Any

import asyncpg
import orjson
import psutil
import uvloop

from app import clock
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
from tests.benchmarks.load import HOST
from tests.benchmarks.working import logging, opening

_CASES = 200
_SETTLING_SECONDS = 0.5
_LONGEST_SECONDS = 60.0
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class _Receiver(asyncio.Protocol):
    """Counts requests and answers each, without looking into it."""

    def __init__(self, count: "Synchronized[int]") -> None:
        self._count = count
        self._heard = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while (end := self._heard.find(b"\r\n\r\n")) >= 0:
            head = self._heard[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            whole = end + 4 + length
            if len(self._heard) < whole:
                return
            self._heard = self._heard[whole:]
            with self._count.get_lock():
                self._count.value += 1
            self._transport.write(_ANSWER)


def _receive(port: "Synchronized[int]", count: "Synchronized[int]") -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Receiver(count), HOST, 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    uvloop.run(serve())


@contextmanager
def _receiver() -> Iterator[tuple[int, "Synchronized[int]"]]:
    """A running receiver: its port, and how many requests it has had."""
    context = multiprocessing.get_context("spawn")
    port, count = context.Value("i", 0), context.Value("i", 0)
    process = context.Process(target=_receive, args=(port, count), daemon=True)
    process.start()
    try:
        while not port.value:
            time.sleep(0.05)
        yield port.value, count
    finally:
        process.kill()
        process.join()


async def _switch(owner: asyncpg.Connection, *, on: bool) -> None:
    """Enable or disable all endpoints; they hear what is published from now on."""
    await owner.execute(
        """UPDATE webhook_endpoints SET
            disabled_at = CASE WHEN $1 THEN NULL ELSE now() END,
            disabled_reason = CASE WHEN $1 THEN NULL ELSE 'gone' END,
            after_position = (SELECT position FROM feed_state)""",
        on,
    )
    await asyncio.sleep(_SETTLING_SECONDS)


async def _delivered(owner: asyncpg.Connection) -> float:
    """Wait until nothing waits: how many seconds that took."""
    began = time.monotonic()
    while time.monotonic() - began < _LONGEST_SECONDS:
        if not await owner.fetchval(
            """SELECT EXISTS (SELECT FROM unpublished_events) OR EXISTS (SELECT FROM webhook_lanes)
                OR (SELECT s.followed < f.position FROM webhook_state s, feed_state f)"""
        ):
            return time.monotonic() - began
        await asyncio.sleep(0.05)
    raise RuntimeError("deliveries do not keep up")


def _cpu_seconds(service: int) -> tuple[float, float]:
    """Of the service, and of PostgreSQL if it is ours."""
    ours = psutil.Process().children(recursive=True)
    serving = {service, *(one.pid for one in psutil.Process(service).children(recursive=True))}
    used = [0.0, 0.0]
    for one in ours:
        # A process of PostgreSQL may end meanwhile.
        with suppress(psutil.NoSuchProcess):
            if one.pid in serving or one.name() == "postgres":
                used[one.pid not in serving] += sum(one.cpu_times()[:2])
    return used[0], used[1]


async def _measure(
    database: Filled,
    served: tuple[int, int],
    hooks: tuple[int, "Synchronized[int]"],
    options: Any,
) -> None:
    port, pid = served
    scopes = ("cases:write", "cases:work", "webhooks:manage")
    token = await token_for(database.owner_url, clock.now(), *scopes)
    client = Client(port)
    await client.open()

    async def post(path: str, body: object) -> tuple[int, bytes]:
        return await client.send("POST", path, token, body)

    cases: list[str] = []
    for customer in range(1, _CASES + 1):
        path, body = opening(customer)
        status, answer = await post(path, body | {"serial_number": f"S-{customer}-0"})
        if status == 201:  # else a customer with nothing left
            cases.append(orjson.loads(answer)["id"])
    receiver, count = hooks
    for number in range(options.endpoints):
        url = {"url": f"http://{HOST}:{receiver}/{number}", "types": ["time.recorded"]}
        status, answer = await post("/v1/webhooks", url)
        if status != 201:
            raise RuntimeError(f"no webhook was made: {status} {answer!r}")

    async def write() -> tuple[int, bytes]:
        return await post(*logging(random.choice(cases)))

    owner = await asyncpg.connect(database.owner_url)
    found: dict[bool, list[float]] = {False: [], True: []}
    used: dict[bool, list[list[float]]] = {False: [], True: []}
    rates, late = [], []
    for number in range(2 * options.rounds):
        on = bool(number % 2)
        await _switch(owner, on=on)
        before, began, cpu = count.value, time.monotonic(), _cpu_seconds(pid)
        sample = await at_rate(options.rate, options.seconds, write)
        lasted = time.monotonic() - began
        rate = (count.value - before) / lasted
        busy = [
            1000 * (now - then) / lasted for then, now in zip(cpu, _cpu_seconds(pid), strict=True)
        ]
        found[on].append(sample.p50)
        used[on].append(busy)
        if on:
            rates.append(rate)
            late.append(await _delivered(owner))
        say(
            f"{'with' if on else 'without':7}  {sample.rate:6.1f}/s  p50 {sample.p50:5.2f} ms"
            f"  p99 {sample.p99:6.2f} ms  statuses {sample.statuses}  {rate:6.1f} deliveries/s"
            f"  CPU {busy[0]:.0f} + {busy[1]:.0f} ms/s"
        )
    states = await owner.fetch("SELECT state, count(*) FROM webhook_deliveries GROUP BY state")
    await owner.close()
    client.close()
    without, with_ = median(found[False]), median(found[True])
    pairs = median(on / off for off, on in zip(*found.values(), strict=True))
    say(
        f"p50 without {without:.2f} ms ({min(found[False]):.2f} to {max(found[False]):.2f}),"
        f" with {with_:.2f} ms ({min(found[True]):.2f} to {max(found[True]):.2f}):"
        f" {100 * (with_ / without - 1):+.1f} %, median of the pairs {100 * (pairs - 1):+.1f} %"
    )
    more = [
        median(one[part] for one in used[True]) - median(one[part] for one in used[False])
        for part in (0, 1)
    ]
    say(
        f"more CPU for each delivery: service {1000 * more[0] / median(rates):.0f} us,"
        f" PostgreSQL {1000 * more[1] / median(rates):.0f} us"
    )
    say(
        f"{median(rates):.0f} deliveries/s while it was written ({min(rates):.0f} to"
        f" {max(rates):.0f}), the rest {median(late):.2f} s later (most {max(late):.2f} s);"
        f" {dict(map(tuple, states))}"
    )


async def run(options: argparse.Namespace) -> None:
    with scratch() as directory, postgres(directory) as server, _receiver() as hooks:
        async with databases(server, options.customers) as (database,):
            chosen = {"ASSISTENZA_WEBHOOK_ALLOW": HOST, "ASSISTENZA_WORKERS": str(options.workers)}
            with service(directory, database, **chosen) as served:
                wait_until_idle(served[1])
                await _measure(database, served, hooks, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100, help="writes a second")
    parser.add_argument("--endpoints", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
