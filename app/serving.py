"""The processes that serve: one, or several under one that watches them."""

import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import uvicorn
from prometheus_client.registry import Collector

from app.http.metrics import FOLDER, Together, served
from app.http.uvicorn_protocol import Protocol
from app.main import create_app
from app.settings import Settings
from app.store.embedded.signals import termination_unwinds

Greeting = Callable[[str, int], str]


class CannotListen(Exception):
    """Says which setting names an address that cannot be listened on."""


def serve(settings: Settings, greeting: Greeting | None = None) -> bool:
    """Serve until told to end; False where the service did not start. Raises CannotListen.

    Returns after SIGTERM too, once nothing is under way any more, so that whoever called can
    stop what is his. `greeting` is printed once the service answers, given its host and port.
    """
    options: dict[str, Any] = {
        "http": partial(
            Protocol, header_timeout=settings.header_timeout, send_timeout=settings.send_timeout
        ),
        "host": settings.host,
        "port": settings.port,
        "access_log": False,
        "proxy_headers": False,
        "log_config": None,
        "server_header": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": 20,
    }
    with ExitStack() as stack:
        if settings.workers > 1:
            # Processes of their own, which read their settings from the environment.
            for name, value in settings.model_dump(exclude_none=True, mode="json").items():
                os.environ[f"ASSISTENZA_{name.upper()}"] = str(value)
            os.environ[FOLDER] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="assistenza-metrics-")
            )
            _serve_metrics(stack, settings, Together())
            if greeting:
                print(greeting(settings.host, settings.port), flush=True)
            factory = "app.main:from_environment"
            uvicorn.run(factory, factory=True, workers=settings.workers, **options)
            return True
        app = create_app(settings)
        _serve_metrics(stack, settings, app.state.metrics)
        server = _Announcing(uvicorn.Config(app, **options))
        server.greeting = greeting
        # uvicorn ends in good order and then raises the signal that it was sent once more.
        stack.enter_context(termination_unwinds())
        try:
            server.run()
        except KeyboardInterrupt:
            if not server.started:
                raise
        except SystemExit as ended:
            if not server.started or ended.code != 128 + signal.SIGTERM:
                raise
        return server.started


def _serve_metrics(stack: ExitStack, settings: Settings, what: Collector) -> None:
    host, port = settings.metrics_host, settings.metrics_port
    try:
        stack.enter_context(served(what, host, port))
    except OSError as error:
        raise CannotListen(
            f"ASSISTENZA_METRICS_PORT: cannot listen on {host}:{port}: {error}"
        ) from error


class _Announcing(uvicorn.Server):
    """Says how to use the demo once the service answers."""

    greeting: Greeting | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started and self.greeting is not None:
            port = self.servers[0].sockets[0].getsockname()[1]
            print(self.greeting(self.config.host, port), flush=True)
