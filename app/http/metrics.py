"""What Prometheus may ask: how many requests, how fast, how many refused, how full the pools are.

Labels are bounded: routes by their template, methods by name, problems by code; never a path, a
customer or a client. With several processes each writes its numbers into files in a folder that
the environment names (PROMETHEUS_MULTIPROC_DIR, set before they start); any of them, or the
process that started them, then tells the sum.
"""

import asyncio
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app import __version__
from app.store.database import Database

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SAMPLED_EVERY = 5.0

Observe = Callable[[float, int], None]

# The instant at which each series began: a quarter of the text, and nobody's question.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics(CollectorRegistry):
    """What one process counts, and what it tells: of all processes where there are several."""

    def __init__(self) -> None:
        super().__init__()
        self._requests = Counter(
            "assistenza_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self,
        )
        self._seconds = Histogram(
            "assistenza_request_duration_seconds",
            "From a request's headers to the end of its answer.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self,
        )
        self._statements = Counter(
            "assistenza_database_statements",
            "Statements sent to the database for requests.",
            ("method", "route"),
            registry=self,
        )
        self._problems = Counter(
            "assistenza_problems",
            "Requests answered with a problem, by its code.",
            ("code",),
            registry=self,
        )
        self.in_progress = Gauge(
            "assistenza_requests_in_progress",
            "Requests that have not been answered yet.",
            multiprocess_mode="livesum",
            registry=self,
        )
        self._pool_size = Gauge(
            "assistenza_pool_size",
            "Database connections that may be open at once.",
            ("pool",),
            multiprocess_mode="livesum",
            registry=self,
        )
        self._pool_in_use = Gauge(
            "assistenza_pool_in_use",
            "Database connections in use.",
            ("pool",),
            multiprocess_mode="livesum",
            registry=self,
        )
        Gauge(
            "assistenza_build_info",
            "Always 1; the labels say what runs.",
            ("version", "python"),
            multiprocess_mode="max",
            registry=self,
        ).labels(__version__, platform.python_version()).set(1)
        if FOLDER not in os.environ:
            ProcessCollector(registry=self)
            PlatformCollector(registry=self)
        # A child is looked up under a lock by the texts of its labels: once for each, not for
        # every request. The routes and statuses that there are bound it.
        self._known: dict[tuple[str, str | None, int], Observe] = {}
        self._by_code: dict[str, Counter] = {}
        self._database: Database | None = None

    def done(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        statements: int | None,
        problem: str | None,
    ) -> None:
        """A request is answered; `route` is its template, `status` 0 where the line was cut."""
        observe = self._known.get((method, route, status))
        if observe is None:
            name = method if method in _METHODS else "other"
            observe = self._known[name, route, status] = self._observer(name, route, status)
        observe(seconds, statements or 0)
        if problem is not None:
            counter = self._by_code.get(problem)
            if counter is None:
                counter = self._by_code[problem] = self._problems.labels(problem)
            counter.inc()

    def _observer(self, method: str, route: str | None, status: int) -> Observe:
        path = route or "none"
        count = self._requests.labels(method, path, str(status) if status else "none").inc
        observe = self._seconds.labels(method, path).observe
        sent = self._statements.labels(method, path).inc

        def each(seconds: float, statements: int) -> None:
            count()
            observe(seconds)
            if statements:
                sent(statements)

        return each

    async def watch(self, database: Database) -> None:
        """Tells of this database's pools too, until cancelled."""
        self._database = database
        while True:
            self._sample()
            # For what other processes tell of this one: asked itself, it looks at once.
            await asyncio.sleep(_SAMPLED_EVERY)

    def _sample(self) -> None:
        if self._database is not None:
            for name, (in_use, size) in self._database.pools().items():
                self._pool_in_use.labels(name).set(in_use)
                self._pool_size.labels(name).set(size)

    def collect(self) -> Iterable[Metric]:
        self._sample()
        return Together().collect() if FOLDER in os.environ else super().collect()

    def render(self, accept: str) -> tuple[bytes, str]:
        """Everything, and its media type: OpenMetrics or Prometheus' text, as `accept` says."""
        encode, media_type = choose_encoder(accept)
        return encode(self), media_type


class Together(Collector):
    """The numbers of all processes, out of their files."""

    def collect(self) -> Iterable[Metric]:
        folder = os.environ[FOLDER]
        # A killed process does not take back what it said was in use.
        for file in Path(folder).glob("gauge_live*_*.db"):
            pid = int(file.stem.rpartition("_")[2])
            if not psutil.pid_exists(pid):
                mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
        all_of_them = MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call]
        found: Iterable[Metric] = all_of_them.collect()  # type: ignore[no-untyped-call]
        return found


@contextmanager
def served(what: Collector, host: str, port: int | None) -> Iterator[None]:
    """Without a token, on a port of its own if there is one. In a thread: it answers while the
    service itself does not. Raises OSError where the port is taken."""
    if port is None:
        yield
        return
    server, thread = start_http_server(port, host, registry=what)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
