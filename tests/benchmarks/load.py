"""The load: a small HTTP/1.1 client in a process of its own, for a fixed time, on loopback only.

A general client would be slower than what it measures. This one keeps its connections as long as
the server does, sends a request when the answer before it is complete (no pipelining), and reads no
more of an answer than its status and its length. It takes a `Plan` as JSON on each line of standard
input and prints a `Sample` for it.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from math import inf
from time import perf_counter
from typing import cast

import orjson
import uvloop
from pydantic import BaseModel, Field

HOST = "127.0.0.1"


class Plan(BaseModel):
    """`request` is sent as it is. One of `PLACES` in it is filled for a random customer, of
    `customers` whose numbers are multiples of `step`; or `{value}` by one of `values`, of which
    there are as many as `customers`. What is answered in the first `warm_up` seconds does not
    count.

    With `once` each of the customers is asked about once instead, in order, and all answers count.
    """

    port: int
    request: str
    customers: int
    values: list[str] = Field(default_factory=list)
    step: int = Field(default=1, ge=1)
    connections: int = Field(ge=1, le=64)
    seconds: float = Field(gt=0, le=60)
    warm_up: float = Field(default=0.3, ge=0, le=30)
    once: bool = False


class Sample(BaseModel):
    """Answers a second, times in milliseconds, and the CPU microseconds an answer of the server's
    processes and of PostgreSQL's."""

    rate: float
    p50: float
    p99: float
    cpu: float | None = None
    database_cpu: float | None = None
    statuses: dict[int, int] = Field(default_factory=dict)


def customer_id(number: int) -> str:
    """The id that `fill` gives to a customer: of version 7, and in the order of making."""
    return f"019a0000-0000-7000-8000-{number:012d}"


PLACES: dict[str, Callable[[int], str]] = {
    "{id}": customer_id,
    "{n}": str,
    "{seven_digits}": lambda number: f"{number:07}",
}
"""What a request may leave open, and how it is filled from a customer's number."""


def sample_of(times: list[float], seconds: float, statuses: dict[int, int]) -> Sample:
    """`times` in milliseconds, in any order."""
    times.sort()
    last = len(times) - 1
    return Sample(
        rate=len(times) / seconds,
        p50=times[round(last * 0.5)],
        p99=times[round(last * 0.99)],
        statuses=statuses,
    )


def _numbers(plan: Plan) -> Iterator[int]:
    if plan.once:
        yield from range(plan.step, plan.step * plan.customers + 1, plan.step)
    else:
        while True:
            yield plan.step * random.randint(1, plan.customers)


class _Connection(asyncio.Protocol):
    def __init__(self, plan: Plan, numbers: Iterator[int], begin: float, end: float) -> None:
        places = PLACES | {"{value}": lambda number: plan.values[number - 1]}
        place = next((one for one in places if one in plan.request), "{id}")
        head, found, tail = plan.request.partition(place)
        self._head, self._tail = head.encode(), tail.encode()
        self._fill = places[place] if found else None
        self._numbers = numbers
        self._port, self._begin, self._end = plan.port, begin, end
        self._is_last_answer = self._is_done = False
        self._buffer = b""
        self._sent = 0.0
        self.times: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def _send(self) -> None:
        number = next(self._numbers, None)
        if number is None:
            self._close()
            return
        filled = self._fill(number) if self._fill else ""
        self._sent = perf_counter()
        self._transport.write(self._head + filled.encode() + self._tail)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end_of_head = self._buffer.find(b"\r\n\r\n")
        if end_of_head < 0:
            return
        head = self._buffer[:end_of_head].lower()
        # An answer without a body, as 304, states no length.
        _, _, rest = head.partition(b"content-length:")
        length = int(rest.partition(b"\r")[0] or 0)
        if len(self._buffer) < end_of_head + 4 + length:
            return
        now = perf_counter()
        if self._sent >= self._begin:
            self.times.append((now - self._sent) * 1000)
            self.statuses[int(head[9:12])] += 1
        self._buffer = b""
        self._is_last_answer = b"connection: close" in head
        if now >= self._end:
            self._close()
        elif self._is_last_answer:
            self._transport.close()
        else:
            self._send()

    def _close(self) -> None:
        self._is_done = True
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_done:
            if self._is_last_answer:
                loop = asyncio.get_running_loop()
                again = loop.create_connection(lambda: self, HOST, self._port)
                self._connecting = loop.create_task(again)
                return
            error = error or ConnectionError("the server closed a connection")
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


async def run(plan: Plan) -> Sample:
    started = perf_counter()
    begin, end = started + plan.warm_up, started + plan.warm_up + plan.seconds
    if plan.once:
        begin, end = started, inf
    loop = asyncio.get_running_loop()
    numbers = _numbers(plan)
    connections = [
        (
            await loop.create_connection(
                lambda: _Connection(plan, numbers, begin, end), HOST, plan.port
            )
        )[1]
        for _ in range(plan.connections)
    ]
    async with asyncio.timeout(plan.warm_up + plan.seconds + 30):
        await asyncio.gather(*(connection.done for connection in connections))
    statuses: Counter[int] = Counter()
    for connection in connections:
        statuses.update(connection.statuses)
    times = [time for connection in connections for time in connection.times]
    seconds = perf_counter() - started if plan.once else plan.seconds
    return sample_of(times, seconds, dict(statuses))


def main() -> None:
    for line in sys.stdin.buffer:
        sample = uvloop.run(run(Plan.model_validate_json(line)))
        done = orjson.dumps(sample.model_dump(), option=orjson.OPT_NON_STR_KEYS)
        sys.stdout.buffer.write(done + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
