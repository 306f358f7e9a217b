"""Reads by several lookups and steps of cases, mixed, as a load in a process of its own.

With a rate, requests come at fixed instants whatever the service does (an open loop), and the time
of each counts from its instant: a service that stalls makes all of them wait that come meanwhile.
Without one, each connection sends its next request when the last is answered: what the service can
do at most. It takes a `Mix` as JSON on standard input and prints a `Mixed`. On loopback only.
"""

import asyncio
import gc
import itertools
import random
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from time import perf_counter, process_time
from typing import Any, Literal

import orjson
import uvloop
from pydantic import BaseModel, Field

from tests.benchmarks.load import HOST, customer_id
from tests.benchmarks.working import closing, logging, opening

Kind = Literal["read", "write", "livez", "probe"]

_READS = (
    "/v1/entitlements?customer_id={id}",
    "/v1/entitlements?customer_code=C-{n}",
    "/v1/entitlements?serial_number=S-{n}-0",
    "/v1/entitlements?email=contact{n}@example.com",
    "/v1/entitlements?external_ref=crm:R-{n}",
    "/v1/entitlements/check?service=phone_support&phone=%2B39059{n:07}&called=%2B39059454224",
)
# Cases that wait to be worked on, and as many to be closed.
_WAITING = 8
_LONGEST_SECONDS = 30


class Mix(BaseModel):
    """Of all requests, `writes` (a share) open, log time on or close a case of one of `busy`
    customers from number `first` on, in turn, and as many of each; the rest are lookups of random
    customers up to `customers`. With `bare` all of them are `/livez` instead.

    `rate` is in requests a second; None for as fast as the connections allow. What is due in the
    first `warm_up` seconds does not count."""

    port: int
    token: str
    customers: int
    first: int
    busy: int
    writes: float = Field(default=0.1, ge=0, le=1)
    bare: bool = False
    probes: float = 0.0
    rate: float | None = None
    connections: int = Field(default=32, ge=1, le=256)
    seconds: float = Field(gt=0)
    warm_up: float = Field(default=1.0, ge=0)


class Mixed(BaseModel):
    """Milliseconds of each request by its kind, in no order; how late each was sent; answers a
    second; the processor's seconds that the load itself took."""

    times: dict[Kind, list[float]]
    late: list[float]
    rate: float
    cpu: float


class _Connection(asyncio.Protocol):
    """One request at a time over a connection that is kept."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """The status and body of the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end_of_head = self._buffer.find(b"\r\n\r\n")
        if end_of_head < 0 or self._answer is None:
            return
        head = self._buffer[:end_of_head].lower()
        at = head.index(b"content-length:") + 15
        end = end_of_head + 4 + int(head[at:].split(b"\r", 1)[0])
        if len(self._buffer) < end:
            return
        body, self._buffer = self._buffer[end_of_head + 4 : end], b""
        self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed a connection"))

    def close(self) -> None:
        self._transport.close()


class _Load:
    def __init__(self, mix: Mix) -> None:
        self._mix = mix
        self._head = (
            f"Host: {HOST}:{mix.port}\r\nAuthorization: Bearer {mix.token}\r\nAccept: */*\r\n"
        )
        self._reads = itertools.cycle(_READS)
        self._writers = itertools.count()
        self._opened: deque[str] = deque()
        self._logged: deque[str] = deque()
        self._idle: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        self._probing = asyncio.Lock()
        self._share = 0.0
        self.times: dict[Kind, list[float]] = {}
        self.late: list[float] = []
        self.answered = 0

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._mix.connections):
            _, connection = await loop.create_connection(_Connection, HOST, self._mix.port)
            self._idle.put_nowait(connection)
        _, self._probe = await loop.create_connection(_Connection, HOST, self._mix.port)

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().close()
        self._probe.close()

    async def probe(self, due: float, counts: bool) -> None:
        """Ask for `/livez` on a connection of its own."""
        async with self._probing:
            await self._exchange(self._probe, "GET", "/livez")
        if counts:
            self.times.setdefault("probe", []).append((perf_counter() - due) * 1000)

    async def once(self, due: float | None, counts: bool) -> None:
        """Send one request, which was due at an instant, or is due once a connection is free."""
        mix = self._mix
        self._share += mix.writes
        writes = self._share >= 1
        self._share -= writes
        connection = await self._idle.get()
        began = perf_counter()
        if mix.bare:
            kind: Kind = "livez"
            await self._exchange(connection, "GET", "/livez")
        elif writes:
            kind = "write"
            await self._write(connection)
        else:
            kind = "read"
            number = random.randint(1, mix.customers)
            path = next(self._reads).format(id=customer_id(number), n=number)
            await self._exchange(connection, "GET", path)
        ended = perf_counter()
        self._idle.put_nowait(connection)
        if counts:
            self.answered += 1
            self.times.setdefault(kind, []).append((ended - (due or began)) * 1000)
            if due is not None:
                self.late.append((began - due) * 1000)

    async def _write(self, connection: _Connection) -> None:
        if len(self._logged) > _WAITING:
            await self._exchange(connection, "POST", *closing(self._logged.popleft()))
        elif len(self._opened) > _WAITING:
            case = self._opened.popleft()
            await self._exchange(connection, "POST", *logging(case))
            self._logged.append(case)
        else:
            customer = self._mix.first + next(self._writers) % self._mix.busy
            answer = await self._exchange(connection, "POST", *opening(customer))
            self._opened.append(orjson.loads(answer)["id"])

    async def _exchange(
        self, connection: _Connection, method: str, path: str, body: object = None
    ) -> bytes:
        head, content = self._head, b""
        if body is not None:
            content = orjson.dumps(body)
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        request = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content
        status, answer = await connection.send(request)
        if status not in (200, 201):
            raise RuntimeError(f"{method} {path} was answered {status}: {answer.decode()}")
        return answer


async def _at_rate(
    rate: float, mix: Mix, once: Callable[[float, bool], Coroutine[None, None, None]]
) -> None:
    """Call `once` at fixed instants, with each and whether it counts."""
    begin = perf_counter() + 0.05
    async with asyncio.TaskGroup() as group:
        for number in range(round((mix.warm_up + mix.seconds) * rate)):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - perf_counter()))
            group.create_task(once(due, due >= begin + mix.warm_up))


async def _at_most(load: _Load, mix: Mix) -> None:
    begin = perf_counter() + mix.warm_up
    end = begin + mix.seconds

    async def one() -> None:
        while (now := perf_counter()) < end:
            await load.once(None, now >= begin)

    async with asyncio.TaskGroup() as group:
        for _ in range(mix.connections):
            group.create_task(one())


async def _run(mix: Mix) -> Mixed:
    load = _Load(mix)
    await load.connect()
    # A collection here would delay requests, and be taken for the service's.
    gc.disable()
    before = perf_counter()
    async with asyncio.timeout(mix.warm_up + mix.seconds + _LONGEST_SECONDS):
        if mix.rate is None:
            await _at_most(load, mix)
        else:
            probing = _at_rate(mix.probes, mix, load.probe)
            await asyncio.gather(_at_rate(mix.rate, mix, load.once), probing)
    took = perf_counter() - before - mix.warm_up
    load.close()
    cpu = process_time()
    return Mixed(times=load.times, late=load.late, rate=load.answered / took, cpu=cpu)


def mixed(mix: Mix) -> Mixed:
    """Runs it in a process of its own. Raises CalledProcessError where an answer was no 2xx."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.mixed"],
        input=mix.model_dump_json().encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=mix.warm_up + mix.seconds + 2 * _LONGEST_SECONDS,
    )
    return Mixed.model_validate_json(done.stdout)


def main() -> None:
    mix = Mix.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(uvloop.run(_run(mix)).model_dump_json().encode())


if __name__ == "__main__":
    main()
