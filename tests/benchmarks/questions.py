"""Questions by the thousand: `batch` beside single requests, and the `export` of everybody.

    python -m tests.benchmarks.questions [--customers 100000] [--seconds 10]

All on one service, with its defaults, on a PostgreSQL of the benchmark's own; load, service and
database share the machine. Batches of a thousand, one after another over one connection, are
interleaved with single requests over eight. Of the export, the service's memory is watched too.
"""

import argparse
import asyncio
import http.client
import os
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

from tests.benchmarks.common import (
    Filled,
    databases,
    get,
    measure,
    middle,
    postgres,
    say,
    scratch,
    service,
    wait_until_idle,
)
from tests.benchmarks.load import HOST, Plan, customer_id
from tests.benchmarks.seen import count, watched

_ROUNDS = 5
_BATCH = 1_000
_CONNECTIONS = 8
_WANTED_RATIO, _WANTED_STATEMENTS = 2, 3
_WANTED_SECONDS, _WANTED_MIB = 60, 150
_SAMPLED_EVERY = 0.01
_MIB = 2**20
_PATH = "/v1/entitlements"


def _lookups(customers: int) -> dict[str, list[dict[str, str]]]:
    """A thousand customers by chance, some twice where there are fewer."""
    numbers = random.choices(range(1, customers + 1), k=_BATCH)
    return {"lookups": [{"customer_id": customer_id(number)} for number in numbers]}


def _post(port: int, database: Filled) -> str:
    body = orjson.dumps(_lookups(database.customers)).decode()
    return (
        f"POST {_PATH}/batch HTTP/1.1\r\nHost: {HOST}:{port}\r\n"
        f"Authorization: Bearer {database.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )


@dataclass
class Exported:
    """Seconds, answers, and bytes; memory of the service before and at most."""

    seconds: float
    answers: int
    sent: int
    idle: int
    peak: int


class _Memory(threading.Thread):
    """The most memory a process holds, looked at every hundredth of a second."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self.peak = self.now()

    def now(self) -> int:
        return int(self._process.memory_info().rss)

    def run(self) -> None:
        while not self._ended.wait(_SAMPLED_EVERY):
            self.peak = max(self.peak, self.now())

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self.peak


def _export(port: int, pid: int, token: str) -> Exported:
    """Raises RuntimeError where the stream was cut or its count is wrong."""
    memory = _Memory(pid)
    idle = memory.now()
    memory.start()
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    lines, sent, last = 0, 0, b""
    begin = time.perf_counter()
    try:
        connection.request("GET", f"{_PATH}/export", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        while chunk := answer.read1(1 << 16):
            lines += chunk.count(b"\n")
            sent += len(chunk)
            last = (last + chunk)[-100:]
        seconds = time.perf_counter() - begin
    except (http.client.HTTPException, OSError) as error:
        raise RuntimeError(f"the export was cut after {lines:,} answers: {error!r}") from error
    finally:
        connection.close()
        peak = memory.stop()
    end = orjson.loads(last.splitlines()[-1])
    if answer.status != 200 or end != {"end": True, "count": lines - 1}:
        raise RuntimeError(f"the export was cut: {answer.status}, {lines} lines, {end}")
    return Exported(seconds, lines - 1, sent, idle, peak)


def _singly(port: int, database: Filled, seconds: float) -> Plan:
    return Plan(
        port=port,
        request=get(port, f"{_PATH}?customer_id={{id}}", database.token),
        customers=database.customers,
        connections=_CONNECTIONS,
        seconds=seconds,
    )


def _batch(port: int, database: Filled, seconds: float, statements: int) -> None:
    single, batched = [], []
    for _ in range(_ROUNDS):
        plan = _singly(port, database, seconds / _ROUNDS)
        single.append(measure(plan))
        changed = {"request": _post(port, database), "connections": 1}
        batched.append(measure(plan.model_copy(update=changed)))
    one, many = middle(single), middle(batched)
    # One after another: a window holds no whole number of batches, but each has its time.
    answers = _BATCH / many.p50 * 1000
    say(
        f"single, {_CONNECTIONS} connections: {one.rate:,.0f} answers/s,"
        f" p50 {one.p50:.2f} ms, p99 {one.p99:.2f} ms"
    )
    say(
        f"batches of {_BATCH:,}, 1 connection: {answers:,.0f} answers/s, p50 {many.p50:,.0f} ms,"
        f" p99 {many.p99:,.0f} ms a batch; {statements} statements a batch"
        f" (wanted: at most {_WANTED_STATEMENTS})"
    )
    say(f"ratio {answers / one.rate:.2f} (wanted: at least {_WANTED_RATIO})")


def _everybody(port: int, pid: int, token: str) -> None:
    exported = _export(port, pid, token)
    say(
        f"export: {exported.answers:,} answers, {exported.sent / _MIB:,.0f} MiB, in"
        f" {exported.seconds:.1f} s (wanted: at most {_WANTED_SECONDS} for 100,000),"
        f" {exported.answers / exported.seconds:,.0f} answers/s"
    )
    say(
        f"memory of the service: {exported.idle / _MIB:.0f} MiB idle,"
        f" {(exported.peak - exported.idle) / _MIB:.0f} MiB more at its peak"
        f" (wanted: at most {_WANTED_MIB})"
    )


def _measure(directory: Path, database: Filled, seconds: float, statements: int) -> None:
    # A service for each: one that has built batches holds memory that the export would reuse.
    with service(directory, database) as (port, pid):
        # After the fill it first looks at what each customer may use.
        wait_until_idle(pid)
        _batch(port, database, seconds, statements)
    with service(directory, database) as (port, pid):
        # What is idle has answered something already.
        measure(_singly(port, database, 1))
        wait_until_idle(pid)
        _everybody(port, pid, database.token)


async def compare(directory: Path, customers: int, seconds: float) -> None:
    with postgres(directory) as server:
        async with databases(server, customers) as (database,):
            async with watched(database.app_url, database.token) as seen:
                _, sent = await seen.ask("POST", f"{_PATH}/batch", _lookups(customers))
            await asyncio.to_thread(_measure, directory, database, seconds, count(sent))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.questions")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each kind, in all")
    arguments = parser.parse_args()
    say(f"{os.cpu_count()} cores")
    with scratch() as directory:
        asyncio.run(compare(directory, arguments.customers, arguments.seconds))


if __name__ == "__main__":
    main()
