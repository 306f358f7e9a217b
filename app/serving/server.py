"""`serve`, and the factory of each worker's application."""

import multiprocessing
import os
import resource
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from prometheus_client.registry import Collector

from app.http import logs
from app.http.metrics import FOLDER, Together, served
from app.http.uvicorn_protocol import Connections, Protocol
from app.main import create_app
from app.serving.beside import Background
from app.serving.freezing import freeze
from app.serving.listening import CannotListen, cannot_listen, port_of
from app.serving.processes import GRACE_SECONDS, Server, Supervisor
from app.settings import Settings
from app.store.embedded.signals import termination_unwinds

Greeting = Callable[[str, int], str]


_OTHER_FILES = 1_200
"""File descriptors of a process besides its client connections: the database's, those to the
receivers of webhooks, logs, modules."""


def serve(
    settings: Settings,
    greeting: Greeting | None = None,
    sockets: Sequence[socket.socket] = (),
) -> bool:
    """Serve until stopped. Returns False if the service did not start. Raises CannotListen.

    On SIGTERM it drains, finishes the requests in progress and returns, so that the caller can stop
    the embedded database. `greeting` is called with host and port, and its text printed, once the
    service answers. `sockets` already listen; without any it opens its own.
    """
    options: dict[str, Any] = {
        "http": partial(
            Protocol,
            header_timeout=settings.header_timeout,
            send_timeout=settings.send_timeout,
            connections=Connections(_room_for(settings.client_connections)),
            origins=settings.cors_origins,
        ),
        "host": settings.host,
        "port": settings.port,
        "access_log": False,
        "proxy_headers": False,
        "log_config": None,
        "server_header": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": GRACE_SECONDS,
    }
    given = list(sockets)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="assistenza-metrics-"))
        )
        background = None
        if settings.background_process:
            background = stack.enter_context(Background(settings, folder))
        if settings.workers > 1:
            # The workers are new processes and read their settings from the environment.
            os.environ.update(settings.environment())
            os.environ[FOLDER] = str(folder)
            _serve_metrics(stack, settings, Together(folder))
            config = uvicorn.Config(
                "app.serving.server:worker", factory=True, workers=settings.workers, **options
            )
            listening = given or [config.bind_socket()]
            port = port_of(listening)
            if greeting and port is not None:
                _greet_once_it_answers(greeting, settings.host, port)
            freeze()
            return Supervisor(config, listening, settings.drain_seconds, background).run()

        def started(port: int | None) -> None:
            if background is not None:
                background.start()
            if greeting and port is not None:
                print(greeting(settings.host, port), flush=True)

        app = settled(create_app(settings))
        app.state.metrics.beside = None if background is None else folder
        _serve_metrics(stack, settings, app.state.metrics)
        server = Server(uvicorn.Config(app, **options), settings.drain_seconds, on_start=started)
        # uvicorn shuts down in order and then raises the signal that stopped it once more.
        stack.enter_context(termination_unwinds())
        try:
            server.run(given or None)
        except KeyboardInterrupt:
            if not server.started:
                raise
        except SystemExit as ended:
            if not server.started or ended.code != 128 + signal.SIGTERM:
                raise
        return server.started


def _greet_once_it_answers(greeting: Greeting, host: str, port: int) -> None:
    """Print the greeting once one of the workers accepts connections, without waiting for it."""

    def wait() -> None:
        while True:
            try:
                socket.create_connection((host, port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                break
        print(greeting(host, port), flush=True)

    threading.Thread(target=wait, name="greeting", daemon=True).start()


def _room_for(connections: int) -> int:
    """The number of client connections, and the file descriptors for them.

    Raises CannotListen if the operating system allows the process fewer.
    """
    wanted = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise CannotListen(
                f"ASSISTENZA_CLIENT_CONNECTIONS: {connections} connections need {wanted} open"
                f" files, and this process may have {hard} (ulimit -n)"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return connections


def worker() -> FastAPI:
    """The application of a worker process, which has its settings in the environment.

    The process ends when the one that started it has died. It finishes the requests in progress
    first, but does not drain: a worker that was left behind keeps the port.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        raise RuntimeError("a worker is started by a supervisor")

    def end() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(GRACE_SECONDS + 2)
        os._exit(1)

    threading.Thread(target=end, name="supervisor-watch", daemon=True).start()
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format)
    return settled(create_app(settings))


def settled(app: FastAPI) -> FastAPI:
    """The application, whose objects the garbage collector no longer visits."""
    freeze()
    return app


def _serve_metrics(stack: ExitStack, settings: Settings, what: Collector) -> None:
    host, port = settings.metrics_host, settings.metrics_port
    try:
        stack.enter_context(served(what, host, port))
    except OSError as error:
        raise cannot_listen("METRICS_", host, port or 0, error) from error
