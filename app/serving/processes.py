"""A serving process, and the supervisor of several: how they start, drain and end."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from types import FrameType

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Process

from app.serving.beside import Background
from app.serving.freezing import pause_collection

GRACE_SECONDS = 20
"""Time for requests in progress, once the service accepts no more."""
_KILL_SECONDS = 5
"""Time beyond that in which a worker closes its connections to the database."""
# A worker answers the supervisor only once it has imported the program. On a busy machine that took
# longer than uvicorn's 5 s: the worker was killed and started anew, for ever.
_ANSWER_SECONDS = 60
_LOOK_SECONDS = 0.2

log = structlog.get_logger("serving")


class Server(uvicorn.Server):
    """Serves until a signal ends it.

    SIGTERM drains: `/readyz` answers 503 and every answer closes its connection, but the process
    accepts connections for `drain_seconds` more, while load balancers notice. SIGINT does not
    drain. Both then stop accepting and finish what is under way, GRACE_SECONDS at most. A second
    signal ends the process at once; in a `worker` it does not: a terminal sends SIGINT to all
    processes, and the supervisor again.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain_seconds: float,
        *,
        worker: bool = False,
        on_start: Callable[[int | None], None] | None = None,
    ) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._worker = worker
        self._on_start = on_start
        self._stopping: signal.Signals | None = None
        self._stops_at = 0.0
        self._told = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_start is not None:
            address = self.servers[0].sockets[0].getsockname()
            self._on_start(address[1] if isinstance(address, tuple) else None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first, self._stopping = self._stopping is None, signal.Signals(sig)
        if sig == signal.SIGTERM and self.started:
            self.lifespan.state["draining"].begin()
        if first and sig == signal.SIGTERM and self.started and self._drain_seconds > 0:
            self._stops_at = monotonic() + self._drain_seconds
        elif first or (self._worker and sig == signal.SIGINT):
            super().handle_exit(sig, frame)
        elif not self._worker:
            self.force_exit = True
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._stopping is not None and not self._told:
            self._told = True
            left = max(0.0, self._stops_at - monotonic())
            log.info("stopping", signal=self._stopping.name, drain_seconds=round(left, 1))
        drained = self._stopping is not None and monotonic() >= self._stops_at
        return await super().on_tick(counter) or drained

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state["draining"].close_connections()
        # Accept what is in the queue of the listening socket: closing it would reset them.
        await asyncio.sleep(0)
        await super().shutdown(sockets)

    async def _wait_tasks_to_complete(self) -> None:
        # From Python 3.12 on uvicorn would wait for open connections although it is to end at once.
        ending = asyncio.create_task(super()._wait_tasks_to_complete())
        try:
            while not ending.done() and not self.force_exit:
                await asyncio.wait([ending], timeout=0.1)
        finally:
            ending.cancel()


class Worker(Process):
    """A worker process, as its supervisor sees it."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], drain_seconds: float
    ) -> None:
        super().__init__(config, sockets)
        self._drain_seconds = drain_seconds
        self.serves = False
        """Whether it has said that it serves."""
        self._asked_at: float | None = None
        self._own_server: Server | None = None

    @property
    def server(self) -> Server:
        """The server in the worker process itself."""
        if self._own_server is None:
            self._own_server = Server(self.config, self._drain_seconds, worker=True)
        return self._own_server

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, in the worker process."""
        # A terminal that is closed sends it to all processes; the supervisor replaces its workers.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Until the application is made (`serving.server`).
        pause_collection()
        super().target(sockets)

    @property
    def runs(self) -> bool:
        return self.process.is_alive()

    def answers(self) -> bool:
        """Whether it answers within its time. Asks, and does not wait for the answer."""
        try:
            if self._asked_at is None:
                self.parent_conn.send(b"ping")
                self._asked_at = monotonic()
            if self.parent_conn.poll(0):
                self.serves = self.parent_conn.recv()
                self._asked_at = None
        except (OSError, EOFError):
            return False
        return self._asked_at is None or monotonic() - self._asked_at < _ANSWER_SECONDS

    def signal(self, number: int) -> None:
        if self.runs and self.pid is not None:
            os.kill(self.pid, number)


class Supervisor:
    """Keeps `config.workers` processes serving on the same sockets, until a signal ends them.

    SIGTERM and SIGINT end all workers, a second one at once. SIGHUP replaces them one by one: a new
    worker serves before an old one stops accepting, so that no connection is refused. It starts
    `background` too, replaces it with them, and leaves its end to the caller.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        drain_seconds: float,
        background: Background | None,
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._drain_seconds = drain_seconds
        self._background = background
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._workers: list[Worker] = []
        self._leaving: list[Worker] = []
        """Workers that were replaced and finish what they have under way."""

    def run(self) -> bool:
        """Serve until a signal ends it; False if a worker could not start."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _: self._signals.put(received))
        self._workers = [self._start() for _ in range(self._config.workers)]
        if self._background is not None:
            self._background.start()
        while True:
            received = self._next_signal()
            if received == signal.SIGHUP:
                received = self._replace_all()
            if received is not None:
                self._end(received)
                return True
            if not self._keep_alive():
                self._end(signal.SIGINT)
                return False

    def _next_signal(self) -> int | None:
        try:
            return self._signals.get(timeout=_LOOK_SECONDS)
        except Empty:
            return None

    def _start(self) -> Worker:
        worker = Worker(self._config, self._sockets, self._drain_seconds)
        worker.start()
        return worker

    def _keep_alive(self) -> bool:
        """Start workers anew that have died or are stuck; False if one of them cannot start."""
        for index, worker in enumerate(self._workers):
            if worker.runs and worker.answers():
                continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                log.error("worker_cannot_start", pid=worker.pid)
                return False
            log.error("worker_died", pid=worker.pid, exit_code=worker.exitcode)
            self._workers[index] = self._start()
        return True

    def _replace_all(self) -> int | None:
        """Replace the workers one by one; the signal that ends the service meanwhile, if any."""
        for index, old in enumerate(self._workers):
            new = self._start()
            ended_by = self._wait_for_start(new)
            if ended_by is not None or not new.serves:
                self._kill([new])
                if ended_by is None:
                    log.error("restart_aborted", pid=new.pid, exit_code=new.exitcode)
                return ended_by
            self._workers[index] = new
            self._leaving = [old]
            old.signal(signal.SIGINT)
            # The next one waits until this one has given back its connections to the database.
            ended_by = self._wait_for_end(old)
            if ended_by is not None:
                return ended_by
            self._kill(self._leaving)
            log.info("worker_replaced", pid=new.pid, replaced=old.pid)
        if self._background is not None:
            self._background.replace()
        return None

    def _wait_for_start(self, worker: Worker) -> int | None:
        def decided() -> bool:
            return not (worker.runs and worker.answers()) or worker.serves

        return self._wait_until(decided, _ANSWER_SECONDS)

    def _wait_for_end(self, worker: Worker) -> int | None:
        return self._wait_until(lambda: not worker.runs, GRACE_SECONDS + _KILL_SECONDS)

    def _wait_until(self, done: Callable[[], bool], seconds: float) -> int | None:
        """Wait until something is done, for so long at most; the signal that ends this wait."""
        gives_up_at = monotonic() + seconds
        while not done() and monotonic() < gives_up_at:
            received = self._next_signal()
            # Another SIGHUP asks for what is being done.
            if received is not None and received != signal.SIGHUP:
                return received
        return None

    def _end(self, number: int) -> None:
        """End all workers by this signal, and kill them on the next one."""
        running = self._workers + self._leaving
        for worker in running:
            worker.signal(number)
        drain = self._drain_seconds if number == signal.SIGTERM else 0
        if self._background is not None and not drain:
            self._background.end()
        gives_up_at = monotonic() + drain + GRACE_SECONDS + _KILL_SECONDS
        while any(worker.runs for worker in running) and monotonic() < gives_up_at:
            received = self._next_signal()
            if received is not None and received != signal.SIGHUP:
                if self._background is not None:
                    self._background.kill()
                break
        self._kill(running)

    @staticmethod
    def _kill(workers: list[Worker]) -> None:
        for worker in workers:
            worker.kill()
            worker.join()
        workers.clear()
