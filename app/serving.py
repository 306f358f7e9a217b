"""Run the web server: one process, or several workers under a supervisor."""

import asyncio
import errno
import gc
import multiprocessing
import os
import resource
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from ipaddress import ip_address
from typing import Any

import uvicorn
from fastapi import FastAPI
from prometheus_client.registry import Collector
from uvicorn.supervisors import Multiprocess

from app.http.metrics import FOLDER, Together, served
from app.http.uvicorn_protocol import Connections, Protocol
from app.main import create_app, from_environment
from app.settings import Settings
from app.store.embedded.signals import termination_unwinds

_GRACE_SECONDS = 20

Greeting = Callable[[str, int], str]


_OTHER_FILES = 1_200
"""File descriptors of a process besides its client connections: the database's, those to the
receivers of webhooks, logs, modules."""


class CannotListen(Exception):
    """The service cannot listen on an address; the message names the setting."""


_ADVICE = {
    errno.EADDRINUSE: "Choose another port, or stop the program that has this one",
    errno.EACCES: "Ports below 1024 need rights that this account does not have: choose another",
    errno.EADDRNOTAVAIL: "It must be an address of this machine",
}


def _cannot_listen(which: str, host: str, port: int, error: OSError) -> CannotListen:
    """The error of the service's address (`which` is empty) or that of its metrics."""
    of_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
    setting = f"ASSISTENZA_{which}{'HOST' if of_host else 'PORT'}"
    known = error.errno if error.errno and error.errno > 0 else None
    reason = os.strerror(known) if known else error.strerror or str(error)
    if advice := _ADVICE.get(error.errno or 0):
        reason += f". {advice}"
    return CannotListen(f"{setting}: cannot listen on {host}:{port}: {reason}")


def check_ports(settings: Settings) -> None:
    """Raise CannotListen if a port is taken, before any work is done on the database."""

    async def bind(host: str, port: int) -> set[tuple[str, int]]:
        # Like uvicorn itself, but it does not listen: nobody can connect meanwhile.
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        bound = {each.getsockname()[:2] for each in server.sockets}
        server.close()
        return bound

    def check(which: str, host: str, port: int) -> set[tuple[str, int]]:
        try:
            return asyncio.run(bind(host, port))
        except OSError as error:
            raise _cannot_listen(which, host, port, error) from error

    ours = check("", settings.host, settings.port)
    if settings.metrics_port is None:
        return
    for metrics in check("METRICS_", settings.metrics_host, settings.metrics_port):
        if settings.port and any(_collide(metrics, each) for each in ours):
            raise CannotListen(
                f"ASSISTENZA_METRICS_PORT: {settings.metrics_port} is the port of the service"
                " itself (ASSISTENZA_PORT). Choose another port"
            )


def _collide(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether two sockets of these addresses cannot listen at once."""
    hosts = [ip_address(host.partition("%")[0]) for host, _ in (one, other)]
    same = hosts[0] == hosts[1] or any(host.is_unspecified for host in hosts)
    return one[1] == other[1] and hosts[0].version == hosts[1].version and same


def serve(settings: Settings, greeting: Greeting | None = None) -> bool:
    """Serve until stopped. Returns False if the service did not start. Raises CannotListen.

    On SIGTERM it finishes the requests in progress and returns, so that the caller can stop the
    embedded database. `greeting` is called with host and port, and its text printed, once the
    service answers.
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
        "timeout_graceful_shutdown": _GRACE_SECONDS,
        # A worker answers the supervisor only once it has imported the program. On a busy machine
        # that took longer than uvicorn's 5 s: the worker was killed and started anew, for ever.
        "timeout_worker_healthcheck": 60,
    }
    with ExitStack() as stack:
        if settings.workers > 1:
            # The workers are new processes and read their settings from the environment.
            os.environ.update(settings.environment())
            os.environ[FOLDER] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="assistenza-metrics-")
            )
            _serve_metrics(stack, settings, Together())
            config = uvicorn.Config(
                "app.serving:worker", factory=True, workers=settings.workers, **options
            )
            listening = config.bind_socket()
            if greeting:
                _greet_once_it_answers(greeting, settings.host, listening.getsockname()[1])
            Multiprocess(config, sockets=[listening]).run()
            return True
        app = settled(create_app(settings))
        _serve_metrics(stack, settings, app.state.metrics)
        server = _GreetingServer(uvicorn.Config(app, **options))
        server.greeting = greeting
        # uvicorn shuts down in order and then raises the signal that stopped it once more.
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
    """The application of a worker process, which ends when the process that started it has died.

    It finishes the requests in progress first, as on SIGTERM. A worker that was left behind would
    keep the port.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        raise RuntimeError("a worker is started by a supervisor")

    def end() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS + 2)
        os._exit(1)

    threading.Thread(target=end, name="supervisor-watch", daemon=True).start()
    return settled(from_environment())


def settled(app: FastAPI) -> FastAPI:
    """The application, whose objects the garbage collector no longer visits.

    They stay as long as the process does. A full collection that visited them all stopped the event
    loop for 0.1 s.
    """
    gc.collect()
    gc.freeze()
    return app


def _serve_metrics(stack: ExitStack, settings: Settings, what: Collector) -> None:
    host, port = settings.metrics_host, settings.metrics_port
    try:
        stack.enter_context(served(what, host, port))
    except OSError as error:
        raise _cannot_listen("METRICS_", host, port or 0, error) from error


class _GreetingServer(uvicorn.Server):
    """Prints the greeting once the service answers."""

    greeting: Greeting | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started and self.greeting is not None:
            port = self.servers[0].sockets[0].getsockname()[1]
            print(self.greeting(self.config.host, port), flush=True)
