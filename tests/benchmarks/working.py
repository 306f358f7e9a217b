"""Cases over HTTP, as a load: opened, worked on, closed; in a process of its own, on loopback only.

Like `load`, but a request depends on the answer before it. A number of calls, not a time: what is
opened is then worked on and closed. It takes a `Work` as JSON on standard input and prints a
`Done`.
"""

import asyncio
import subprocess
import sys
from time import perf_counter
from typing import Any, Literal, cast

import orjson
import uvloop
from pydantic import BaseModel, Field

from tests.benchmarks.common import cpu_seconds
from tests.benchmarks.load import HOST, Sample, customer_id, sample_of

Step = Literal["open", "log", "close", "cycle"]


def opening(customer: int) -> tuple[str, dict[str, Any]]:
    """The path and body that open a case for a busy customer."""
    return "/v1/cases", {
        "customer_id": customer_id(customer),
        "requester": {"name": "Requester", "email": "requester@example.com"},
        "subject": "The recipe is not stored",
        "description": "After the update the recipe of line 2 is gone when the panel restarts.",
        "serial_number": f"B-{customer}",
        "product": "Product",
    }


def logging(case: str) -> tuple[str, dict[str, Any]]:
    entry = {"technician": "technician", "minutes": 15, "note": "Found in the project's log."}
    return f"/v1/cases/{case}/time-entries", entry


def closing(case: str) -> tuple[str, dict[str, Any]]:
    return f"/v1/cases/{case}/closure", {"resolution": "Solved by the next version."}


class Work(BaseModel):
    """Each connection does `step` `calls` times, in turn for its share of `customers` customers
    from number `first` on; or all for the first of them if `shared`. `cases` are those that `log`
    and `close` go through, one list for each connection."""

    port: int
    token: str
    step: Step
    calls: int = Field(ge=1)
    connections: int = Field(ge=1, le=64)
    first: int
    customers: int
    shared: bool = False
    cases: list[list[str]] = Field(default_factory=list)


class Done(BaseModel):
    """Samples by what was done, a cycle's calls apart too; the cases that were opened."""

    samples: dict[Step, Sample]
    cases: list[list[str]]


class _Connection(asyncio.Protocol):
    """One request at a time over a connection that is kept."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    async def post(self, path: str, body: dict[str, Any]) -> bytes:
        """The answer's body. Raises RuntimeError unless it is 200 or 201."""
        content = orjson.dumps(body)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(
            b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b"
            % (path.encode(), self._head, len(content), content)
        )
        status, answer = await self._answer
        if status not in (200, 201):
            raise RuntimeError(f"{path} was answered {status}: {answer.decode()}")
        return answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end_of_head = self._buffer.find(b"\r\n\r\n")
        if end_of_head < 0:
            return
        head = self._buffer[:end_of_head].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at:].split(b"\r", 1)[0])
        end = end_of_head + 4 + length
        if len(self._buffer) < end or self._answer is None:
            return
        body, self._buffer = self._buffer[end_of_head + 4 : end], b""
        self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed a connection"))

    def close(self) -> None:
        self._transport.close()


class _Worker:
    def __init__(self, work: Work, index: int, connection: _Connection) -> None:
        self._work = work
        self._index = index
        self._connection = connection
        self.cases: list[str] = []
        self.times: dict[Step, list[float]] = {}

    async def run(self) -> None:
        work = self._work
        for call in range(work.calls):
            begin = perf_counter()
            case = work.cases[self._index][call] if work.cases else ""
            if work.step in ("open", "cycle"):
                number = 0 if work.shared else call * work.connections + self._index
                answer = await self._timed("open", opening(work.first + number % work.customers))
                case = orjson.loads(answer)["id"]
                self.cases.append(case)
            if work.step in ("log", "cycle"):
                await self._timed("log", logging(case))
            if work.step in ("close", "cycle"):
                await self._timed("close", closing(case))
            if work.step == "cycle":
                self.times.setdefault("cycle", []).append((perf_counter() - begin) * 1000)

    async def _timed(self, step: Step, request: tuple[str, dict[str, Any]]) -> bytes:
        begin = perf_counter()
        answer = await self._connection.post(*request)
        self.times.setdefault(step, []).append((perf_counter() - begin) * 1000)
        return answer


async def _run(work: Work) -> Done:
    head = (
        f"Host: {HOST}:{work.port}\r\nAuthorization: Bearer {work.token}\r\nAccept: */*\r\n"
        "Content-Type: application/json\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    workers = []
    for index in range(work.connections):
        _, connection = await loop.create_connection(lambda: _Connection(head), HOST, work.port)
        workers.append((_Worker(work, index, connection), connection))
    begin = perf_counter()
    await asyncio.gather(*(worker.run() for worker, _ in workers))
    seconds = perf_counter() - begin
    for _, connection in workers:
        connection.close()
    times: dict[Step, list[float]] = {}
    for worker, _ in workers:
        for step, several in worker.times.items():
            times.setdefault(step, []).extend(several)
    return Done(
        samples={step: sample_of(several, seconds, {}) for step, several in times.items()},
        cases=[worker.cases for worker, _ in workers],
    )


def do(work: Work, pid: int) -> Done:
    """Runs it in a process of its own; `pid` is the server's, whose CPU time for each `step` is
    told. Raises CalledProcessError where an answer was not 2xx."""
    before = cpu_seconds(pid)
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.working"],
        input=work.model_dump_json().encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    used = cpu_seconds(pid) - before
    result = Done.model_validate_json(done.stdout)
    result.samples[work.step].cpu = used * 1e6 / (work.calls * work.connections)
    return result


def main() -> None:
    work = Work.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(uvloop.run(_run(work)).model_dump_json().encode())


if __name__ == "__main__":
    main()
