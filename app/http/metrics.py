"""Prometheus metrics: requests, their durations and refusals, and the use of database pools.

The number of time series is bounded: the labels are the templates of routes, the names of methods
and the codes of problems, never a path, a customer or a client. With several processes, each
writes its numbers to files in the folder PROMETHEUS_MULTIPROC_DIR, which must be set before they
start; each of them, and the process that started them, can then report the sum.
"""

import asyncio
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

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
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app import __version__, clock
from app.errors import Shortage
from app.services.deliveries import Result
from app.store import standings, webhooks
from app.store.database import Database
from app.store.failures import FAILURES

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SAMPLED_EVERY = 5.0

Observe = Callable[[float | None, int], None]

# Without the creation time of every series, the text is a quarter shorter.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics(CollectorRegistry):
    """The metrics of this process. Where there are several processes it reports those of all."""

    def __init__(self) -> None:
        super().__init__()
        self.beside: Path | None = None
        """The folder of the background process, whose metrics are reported too."""
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
        self.replica_reads = Counter(
            "assistenza_replica_reads",
            "Requests that the replica of ASSISTENZA_READ_DATABASE_URL answered.",
            registry=self,
        )
        self._shortages = Counter(
            "assistenza_database_shortages",
            "Requests that failed because a disk is full or a sequence has no free number.",
            ("of",),
            registry=self,
        )
        for shortage in get_args(Shortage):
            # An alert on an increase has to see the series before its first one.
            self._shortages.labels(shortage)
        self.in_progress = 0
        """Requests that have not been answered yet."""
        self._in_progress = Gauge(
            "assistenza_requests_in_progress",
            "Requests that have not been answered yet; of other processes up to 5 s ago.",
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
        self._budget = Gauge(
            "assistenza_connections_budget",
            "Database connections that all workers together may open (ASSISTENZA_CONNECTIONS).",
            multiprocess_mode="max",
            registry=self,
        )
        self._pool_idle = Gauge(
            "assistenza_pool_idle",
            "Database connections that are open and not in use.",
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
        self._feed_lag = Gauge(
            "assistenza_feed_lag_seconds",
            "How long the oldest event has been waiting for its publication; 0 if none waits.",
            multiprocess_mode="livemax",
            registry=self,
        )
        self._standing_lag = Gauge(
            "assistenza_standing_lag_seconds",
            "How long the oldest change of what a customer may use has been waiting to be told.",
            multiprocess_mode="livemax",
            registry=self,
        )
        self._delivery_lag = Gauge(
            "assistenza_webhook_lag_seconds",
            "How long the oldest event that was not delivered has been waiting, paused webhooks"
            " left out; 0 if none waits.",
            multiprocess_mode="livemax",
            registry=self,
        )
        Gauge(
            "assistenza_build_info",
            "Always 1; the labels name the running version.",
            ("version", "python"),
            multiprocess_mode="max",
            registry=self,
        ).labels(__version__, platform.python_version()).set(1)
        if FOLDER not in os.environ:
            ProcessCollector(registry=self)
            PlatformCollector(registry=self)
        # Looking up a child by its labels takes a lock, so each child is looked up once. The
        # number of routes and statuses bounds the size.
        self._known: dict[tuple[str, str | None, int], Observe] = {}
        self._database: Database | None = None

    def done(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float | None,
        statements: int | None,
        problem: str | None,
        shortage: Shortage | None = None,
    ) -> None:
        """Count an answered request.

        `route` is its template or None, `status` is 0 if the connection broke before the answer,
        `seconds` None for a stream, which lasts as long as its reader listens.
        """
        observe = self._known.get((method, route, status))
        if observe is None:
            name = method if method in _METHODS else "other"
            observe = self._known[name, route, status] = self._observer(name, route, status)
        observe(seconds, statements or 0)
        if problem is not None:
            self._problems.labels(problem).inc()
        if shortage is not None:
            self._shortages.labels(shortage).inc()

    def _observer(self, method: str, route: str | None, status: int) -> Observe:
        path = route or "none"
        count = self._requests.labels(method, path, str(status) if status else "none").inc
        observe = self._seconds.labels(method, path).observe
        sent = self._statements.labels(method, path).inc

        def each(seconds: float | None, statements: int) -> None:
            count()
            if seconds is not None:
                observe(seconds)
            if statements:
                sent(statements)

        return each

    async def watch(self, database: Database) -> None:
        """Report the pools of this database as well, until cancelled."""
        self._database = database
        while True:
            self._sample()
            await self.measure(database)
            # For the other processes, which read this one's files. `collect` samples by itself.
            await asyncio.sleep(_SAMPLED_EVERY)

    async def measure(self, database: Database) -> None:
        """Report how far behind the jobs are, whoever runs them."""
        # While the database does not answer, the last figures stand.
        with suppress(*FAILURES):
            async with asyncio.timeout(_SAMPLED_EVERY):
                lag = await standings.lag(database, clock.now())
                oldest = await webhooks.oldest(database)
            self._feed_lag.set(lag.feed)
            self._standing_lag.set(lag.standing)
            waiting = 0.0 if oldest is None else (clock.now() - oldest).total_seconds()
            self._delivery_lag.set(max(waiting, 0.0))

    def _sample(self) -> None:
        self._in_progress.set(self.in_progress)
        if self._database is not None:
            self._budget.set(self._database.budget)
            for name, counts in self._database.pools().items():
                self._pool_in_use.labels(name).set(counts.in_use)
                self._pool_idle.labels(name).set(counts.idle)
                self._pool_size.labels(name).set(counts.size)

    def collect(self) -> Iterable[Metric]:
        self._sample()
        if FOLDER in os.environ:
            return Together(Path(os.environ[FOLDER])).collect()
        beside = [] if self.beside is None else Together(self.beside).collect()
        return [*super().collect(), *beside]

    def render(self, accept: str) -> tuple[bytes, str]:
        """All metrics, and the media type that `accept` selects: OpenMetrics or Prometheus text."""
        encode, media_type = choose_encoder(accept)
        return encode(self), media_type


class JobMetrics:
    """The metrics of the jobs that run beside requests, in a registry that others share."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._deliveries = Counter(
            "assistenza_webhook_attempts",
            "Attempts to deliver an event to a webhook, by what came of them.",
            ("result",),
            registry=self.registry,
        )
        for result in get_args(Result):
            self._deliveries.labels(result)

    def delivery(self, result: Result) -> None:
        """Count an attempt to deliver an event to a webhook."""
        self._deliveries.labels(result).inc()


class Together(Collector):
    """The metrics of all processes, read from their files.

    Meanwhile processes start and create files, and others report and remove files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        # A killed process leaves its gauges in its file.
        for file in self._folder.glob("gauge_live*_*.db"):
            if not psutil.pid_exists(int(file.stem.rpartition("_")[2])):
                file.unlink(missing_ok=True)
        filled = [str(file) for file in self._folder.glob("*.db") if _has_content(file)]
        everything: Iterable[Metric] = MultiProcessCollector.merge(filled)  # type: ignore[no-untyped-call]
        return everything


def _has_content(file: Path) -> bool:
    """Whether it can be read: the library fails on a file that was created and not yet filled."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


@contextmanager
def served(what: Collector, host: str, port: int | None) -> Iterator[None]:
    """Serve the metrics on `port` without a token; do nothing if it is None.

    A thread serves them, so that they can be read while the event loop is blocked. Raises OSError
    if the port is in use.
    """
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
