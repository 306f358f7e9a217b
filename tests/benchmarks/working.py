"""Cases over HTTP, as a load: opened, worked on, closed; in a process of its own, on loopback only.

Like `load`, but a request depends on the answer before it. A number of calls, not a time: what is
opened is then worked on and closed. It takes a `Work` as JSON on standard input and prints a
`Done`.
"""

import asyncio
import sys
from time import perf_counter
from typing import Any, Literal, cast

import orjson
import uvloop
from pydantic import BaseModel, Field

from tests.benchmarks.common import run_client
from tests.benchmarks.load import HOST, Sample, customer_id, sample_of

Step = Literal["open", "log", "close", "cycle"]


def opening(customer: int) -> tuple[str, dict[str, Any]]:
    """The path and body that open a case for a busy customer."""
    return _opening(customer_id(customer), str(customer))


def _opening(customer: str, number: str) -> tuple[str, dict[str, Any]]:
    return "/v1/cases", {
        "customer_id": customer,
        "requester": {"name": "Requester", "email": "requester@example.com"},
        "subject": "The recipe is not stored",
        "description": "After the update the recipe of line 2 is gone when the panel restarts.",
        "serial_number": f"B-{number}",
        "product": "Product",
    }


def logging(case: str) -> tuple[str, dict[str, Any]]:
    entry = {"technician": "technician", "minutes": 15, "note": "Found in the project's log."}
    return f"/v1/cases/{case}/time-entries", entry


def closing(case: str) -> tuple[str, dict[str, Any]]:
    return f"/v1/cases/{case}/closure", {"resolution": "Solved by the next version."}


class Call(BaseModel):
    """A request with a JSON body. `{id}` and `{n}` in its body are the id and number of the case's
    customer; `{case}` in either is the case's id."""

    method: str = "POST"
    path: str
    body: str

    @classmethod
    def of(cls, path: str, body: dict[str, Any], method: str = "POST") -> "Call":
        return cls(method=method, path=path, body=orjson.dumps(body).decode())

    def request(self, customer: int, case: str, head: str) -> bytes:
        path = self.path.replace("{case}", case)
        body = self.body.replace("{case}", case).replace("{n}", str(customer))
        content = body.replace("{id}", customer_id(customer)).encode()
        return (
            f"{self.method} {path} HTTP/1.1\r\n{head}Content-Length: {len(content)}\r\n\r\n"
        ).encode() + content


class Calls(BaseModel):
    """How a system is asked to open, work on and close a case. An opening is answered with the
    case's id, in the member `answered_in` of the answer if that is not empty."""

    open: Call
    log: Call
    close: Call
    answered_in: str = ""

    def case_of(self, answer: bytes) -> str:
        content = orjson.loads(answer)
        return str((content[self.answered_in] if self.answered_in else content)["id"])


OURS = Calls(
    open=Call.of(*_opening("{id}", "{n}")),
    log=Call.of(*logging("{case}")),
    close=Call.of(*closing("{case}")),
)


class Work(BaseModel):
    """Each connection does `step` `calls` times, in turn for its share of `customers` customers
    from number `first` on; or all for the first of them if `shared`. `cases` are those that `log`
    and `close` go through, one list for each connection. `credentials` is a header, or more."""

    port: int
    credentials: str
    requests: Calls = OURS
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
    """One request at a time over a connection that is kept as long as the server keeps it."""

    def __init__(self, head: str, port: int) -> None:
        self._head = head
        self._port = port
        self._is_open = False
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._is_open = True

    async def send(self, call: Call, customer: int, case: str) -> bytes:
        """The answer's body. Raises RuntimeError unless it is 2xx."""
        loop = asyncio.get_running_loop()
        if not self._is_open:
            await loop.create_connection(lambda: self, HOST, self._port)
        self._answer = loop.create_future()
        self._transport.write(call.request(customer, case, self._head))
        status, answer = await self._answer
        if not 200 <= status < 300:
            raise RuntimeError(f"{call.path} was answered {status}: {answer.decode()}")
        return answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end_of_head = self._buffer.find(b"\r\n\r\n")
        if end_of_head < 0:
            return
        head = self._buffer[:end_of_head].lower()
        # A 204 has no body and tells no length.
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0] or 0)
        end = end_of_head + 4 + length
        if len(self._buffer) < end or self._answer is None:
            return
        body, self._buffer = self._buffer[end_of_head + 4 : end], b""
        if b"connection: close" in head:
            self.close()
        self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed a connection"))

    def close(self) -> None:
        self._is_open = False
        self._transport.close()


class _Worker:
    def __init__(self, work: Work, index: int, connection: _Connection) -> None:
        self._work = work
        self._index = index
        self._connection = connection
        self.cases: list[str] = []
        self.times: dict[Step, list[float]] = {}

    async def run(self) -> None:
        work, requests = self._work, self._work.requests
        for call in range(work.calls):
            begin = perf_counter()
            case = work.cases[self._index][call] if work.cases else ""
            number = 0 if work.shared else call * work.connections + self._index
            customer = work.first + number % work.customers
            if work.step in ("open", "cycle"):
                case = requests.case_of(await self._timed("open", requests.open, customer, case))
                self.cases.append(case)
            if work.step in ("log", "cycle"):
                await self._timed("log", requests.log, customer, case)
            if work.step in ("close", "cycle"):
                await self._timed("close", requests.close, customer, case)
            if work.step == "cycle":
                self.times.setdefault("cycle", []).append((perf_counter() - begin) * 1000)

    async def _timed(self, step: Step, call: Call, customer: int, case: str) -> bytes:
        begin = perf_counter()
        answer = await self._connection.send(call, customer, case)
        self.times.setdefault(step, []).append((perf_counter() - begin) * 1000)
        return answer


async def _run(work: Work) -> Done:
    head = (
        f"Host: {HOST}:{work.port}\r\n{work.credentials}\r\nAccept: */*\r\n"
        "Content-Type: application/json\r\n"
    )
    connections = [_Connection(head, work.port) for _ in range(work.connections)]
    workers = [_Worker(work, index, connection) for index, connection in enumerate(connections)]
    begin = perf_counter()
    await asyncio.gather(*(worker.run() for worker in workers))
    seconds = perf_counter() - begin
    for connection in connections:
        connection.close()
    times: dict[Step, list[float]] = {}
    for worker in workers:
        for step, several in worker.times.items():
            times.setdefault(step, []).extend(several)
    return Done(
        samples={step: sample_of(several, seconds, {}) for step, several in times.items()},
        cases=[worker.cases for worker in workers],
    )


def do(work: Work, pid: int, database_pid: int | None = None) -> Done:
    """Runs it in a process of its own; `pid` is the server's and `database_pid` PostgreSQL's, whose
    CPU time for each `step` is told. Raises CalledProcessError where an answer was not 2xx."""
    answer, used, database_used = run_client("working", work, 300, pid, database_pid)
    result = Done.model_validate_json(answer)
    sample, steps = result.samples[work.step], work.calls * work.connections
    sample.cpu = used * 1e6 / steps
    sample.database_cpu = database_used * 1e6 / steps if database_pid else None
    return result


def main() -> None:
    work = Work.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(uvloop.run(_run(work)).model_dump_json().encode())


if __name__ == "__main__":
    main()
