"""The sockets that the service listens on: its own, or those that systemd opened for it."""

import asyncio
import errno
import os
import socket
from collections.abc import MutableMapping
from ipaddress import ip_address

from app.settings import Settings

_FIRST_PASSED = 3
"""The first file descriptor that systemd passes (sd_listen_fds(3))."""
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class CannotListen(Exception):
    """The service cannot listen on an address; the message names the setting."""


_ADVICE = {
    errno.EADDRINUSE: "Choose another port, or stop the program that has this one",
    errno.EACCES: "Ports below 1024 need rights that this account does not have: choose another",
    errno.EADDRNOTAVAIL: "It must be an address of this machine",
}


def cannot_listen(which: str, host: str, port: int, error: OSError) -> CannotListen:
    """The error of the service's address (`which` is empty) or that of its metrics."""
    of_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
    setting = f"ASSISTENZA_{which}{'HOST' if of_host else 'PORT'}"
    known = error.errno if error.errno and error.errno > 0 else None
    reason = os.strerror(known) if known else error.strerror or str(error)
    if advice := _ADVICE.get(error.errno or 0):
        reason += f". {advice}"
    return CannotListen(f"{setting}: cannot listen on {host}:{port}: {reason}")


def passed(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd passed to this process; none if it was started in another way.

    Takes the variables out of the environment, so that no child process believes them its own.
    Raises CannotListen if one of them is not a socket that listens (`Accept=yes`, datagrams).
    """
    for_process = environment.pop("LISTEN_PID", "")
    number = environment.pop("LISTEN_FDS", "0")
    environment.pop("LISTEN_FDNAMES", None)
    if for_process != str(os.getpid()) or not number.isdecimal():
        return []
    return [_listener(_FIRST_PASSED + each) for each in range(int(number))]


def _listener(descriptor: int) -> socket.socket:
    try:
        passed_on = socket.socket(fileno=descriptor)
        listens = passed_on.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise CannotListen(f"LISTEN_FDS: {descriptor} is not a socket: {error.strerror}") from error
    if not listens or passed_on.family not in _FAMILIES:
        passed_on.close()
        raise CannotListen(
            f"LISTEN_FDS: the socket {descriptor} does not accept connections. The socket unit"
            " needs ListenStream= and Accept=no"
        )
    passed_on.set_inheritable(False)
    return passed_on


def check_ports(settings: Settings, sockets: list[socket.socket]) -> None:
    """Raise CannotListen if a port is taken, before any work is done on the database.

    With `sockets` the service has no port of its own to take.
    """

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
            raise cannot_listen(which, host, port, error) from error

    ours = set() if sockets else check("", settings.host, settings.port)
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


def port_of(sockets: list[socket.socket]) -> int | None:
    """The port of the first socket that has one."""
    for each in sockets:
        if each.family != socket.AF_UNIX:
            return int(each.getsockname()[1])
    return None
