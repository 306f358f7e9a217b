"""The driver's connections: how long a statement may take, and what ends a dead connection.

A server or a line may die without a word: a frozen machine, a firewall that forgot a flow. The
kernel goes on accepting what is sent, and the server's own `statement_timeout` cannot come back.
Hence a limit on this side, a little above the server's. A statement that reaches it shows that its
server is silent. Every connection that was silent for as long is then aborted, so that the wait is
paid once, and not by each connection in turn.
"""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any
from weakref import WeakSet

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.store.addresses import parse

# Time for the server's own refusal to arrive.
_GRACE_SECONDS = 0.5
_CONNECT_SECONDS = 10.0
# Probe an idle line after 10 s, and give up on one that acknowledges nothing for 20 s.
_TCP = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}

log = structlog.get_logger(__name__)


class DriverConnection(asyncpg.Connection):
    """A connection that knows when the server was last heard on it, in monotonic seconds, and whom
    to tell that a statement on it reached the limit."""

    silent: Callable[[], None]

    def __init__(self, protocol: Any, transport: Any, *more: Any) -> None:
        super().__init__(protocol, transport, *more)
        self.heard = monotonic()
        _watch_line(transport.get_extra_info("socket"))


def _watch_line(line: socket.socket | None) -> None:
    if line is None or line.family not in (socket.AF_INET, socket.AF_INET6):
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP.items():
        # Not every system has every option.
        with suppress(AttributeError, OSError):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Connector:
    """Connects to the server of an address, or to one of several.

    Of several the first is taken that answers and is of the kind that `target_session_attrs` says,
    and tried first from then on: a server that is silent costs its time once, and not for every
    connection.
    """

    def __init__(self) -> None:
        self._taken: dict[tuple[str, int], None] = {}
        """Servers that were taken, and have not failed since."""

    async def connect(
        self, *arguments: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Connect as `asyncpg.connect` does, and raise its errors.

        `timeout` is for each host: one that is silent must not use up the time of the others.
        Raises ConnectionError, which names all hosts, if none of several will do.
        """
        if not isinstance(host, list):
            return await asyncpg.connect(*arguments, host=host, port=port, **options)
        options["timeout"] = options.get("timeout") or _CONNECT_SECONDS
        kind = options.pop("target_session_attrs", "any")
        servers = list(zip(host, port, strict=True))
        servers.sort(key=lambda one: one not in self._taken)
        reasons: list[str] = []
        for wanted in ("standby", "any") if kind == "prefer-standby" else (kind,):
            reasons.clear()
            for one in servers:
                options |= {"host": one[0], "port": one[1], "target_session_attrs": wanted}
                try:
                    connection = await asyncpg.connect(*arguments, **options)
                except asyncpg.TargetServerAttributeNotMatched:
                    reason = f"target_session_attrs={wanted} does not fit"
                except (OSError, asyncpg.CannotConnectNowError) as error:
                    reason = str(error) or "it did not answer in time"
                else:
                    self._taken[one] = None
                    return connection
                self._taken.pop(one, None)
                reasons.append(f"{one[0]}:{one[1]}: {reason}")
        raise ConnectionError("; ".join(reasons))


def create_engine(address: str, arguments: Mapping[str, Any], **options: Any) -> AsyncEngine:
    """An engine on the server or servers of an address, with these arguments of the driver.

    Raises ValueError if the address is wrong.
    """
    url, of_hosts = parse(address)
    arguments = {"async_creator_fn": Connector().connect, **arguments, **of_hosts}
    return create_async_engine(url, connect_args=arguments, **options)


class OpenConnections:
    """Every open connection of one process, each with a limit on the time of a statement.

    `longest` is the longest time of a statement in the server, in seconds; None sets no limit.
    """

    def __init__(self, longest: float | None) -> None:
        self._limit = None if longest is None else longest + _GRACE_SECONDS
        self._connections: WeakSet[DriverConnection] = WeakSet()
        self._connector = Connector()

    async def connect(self, *arguments: Any, **options: Any) -> DriverConnection:
        """Connect as `Connector` does, and raise its errors."""
        connection: DriverConnection = await self._connector.connect(
            *arguments, connection_class=DriverConnection, command_timeout=self._limit, **options
        )
        connection.silent = self.silent
        self._connections.add(connection)
        return connection

    def silent(self) -> None:
        """Abort what was silent since a statement was sent that has now reached the limit.

        Requests that wait on these connections learn at once that they are lost.
        """
        if self._limit is None:
            return
        since = monotonic() - self._limit
        lost = [one for one in self._connections if one.heard <= since and not one.is_closed()]
        log.warning("database_silent", seconds=self._limit, connections=len(lost))
        for connection in lost:
            connection.terminate()

    def abandon(self) -> None:
        """Abort every connection."""
        for connection in list(self._connections):
            connection.terminate()
