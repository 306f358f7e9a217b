"""Makes one delivery: an HTTP request to a receiver that nobody trusts.

It goes to an address that was checked for this attempt, follows no redirect, uses no proxy of the
environment, and ends after 15 s. Of the answer's body at most 1 kB is read, and nothing is kept.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import NamedTuple

import httpx

from app.http.outgoing.addresses import Allowed, Refused, Resolver, Target
from app.http.outgoing.connection import BadAnswer, Connection, Heard
from app.services.deliveries import Answer, AttemptError

SECONDS = 15.0
"""For a whole attempt, up to the answer's status."""
_CONNECT_SECONDS = 5.0
_MOST_TRIED = 3
_KEPT_SECONDS = 2.0
"""Less than the five seconds after which most servers close an idle connection."""
_MOST_KEPT = 500
_MOST_TARGETS = 100
_field = re.compile(r"[^\r\n\0]*")


class _UnknownName(Exception):
    """The name of the host was not found."""


class _Place(NamedTuple):
    """Whom a connection reaches. A certificate was checked for its own host only."""

    scheme: str
    host: str
    port: int
    address: str


class Sender:
    """Sends deliveries. Connections to a place are kept for a few seconds."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._resolver = Resolver()
        self._context: ssl.SSLContext | None = None
        self._targets: dict[str, Target] = {}
        self._kept: dict[_Place, dict[Connection, asyncio.TimerHandle]] = {}
        self._number_kept = 0

    async def close(self) -> None:
        """Close the connections that are kept."""
        for place in list(self._kept):
            while (connection := self._take(place)) is not None:
                connection.abort()
        # Their sockets are closed by the next turn of the event loop.
        await asyncio.sleep(0)

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> Answer:
        """POST a body, and what came of it. `now` is when `Retry-After` was read. Never raises."""
        began = monotonic()
        heard: Heard | None = None
        error: AttemptError | None = None
        try:
            async with asyncio.timeout(SECONDS):
                heard = await self._send(url, headers, body)
        except Refused:
            error = "address_refused"
        except _UnknownName:
            error = "name_not_found"
        except BadAnswer:
            error = "bad_answer"
        except TimeoutError:
            error = "timeout"
        except (ssl.SSLError, ValueError):
            # ValueError: a name that no certificate can have.
            error = "tls_failed"
        except OSError:
            error = "connection_failed"
        duration = int(1000 * (monotonic() - began))
        if heard is None:
            return Answer(duration, None, error, None, 0)
        retry_after = _retry_after(heard.retry_after, now)
        return Answer(duration, heard.status, None, retry_after, heard.body_bytes)

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> Heard:
        target = self._target(url)
        try:
            addresses = await self._resolver.addresses(target.host)
        except OSError as error:
            raise _UnknownName from error
        self._allowed.check(target.host, addresses)
        request = _request(target, headers, body)
        places = [
            _Place(target.scheme, target.host, target.port, str(address))
            for address in addresses[:_MOST_TRIED]
        ]
        for place in places[:-1]:
            try:
                connection = await self._connection(place)
            except OSError:
                # Nothing was sent.
                continue
            return await self._exchange(place, connection, request)
        return await self._exchange(places[-1], await self._connection(places[-1]), request)

    def _target(self, url: str) -> Target:
        """The parts of a URL, which say the same every time: its addresses are looked up apart."""
        known = self._targets.get(url)
        if known is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            known = self._targets[url] = self._allowed.target(url)
        return known

    async def _exchange(self, place: _Place, connection: Connection, request: bytes) -> Heard:
        heard = await connection.send(request)
        if connection.reusable:
            self._keep(place, connection)
        return heard

    async def _connection(self, place: _Place) -> Connection:
        """One that is kept, or a new one to this very address. Raises OSError.

        The host's name is for the certificate.
        """
        kept = self._take(place)
        if kept is not None:
            return kept
        secure = place.scheme == "https"
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, made = await asyncio.get_running_loop().create_connection(
                Connection,
                place.address,
                place.port,
                ssl=self._trusted() if secure else None,
                server_hostname=place.host if secure else None,
            )
        return made

    def _trusted(self) -> ssl.SSLContext:
        if self._context is None:
            # It takes 20 ms, and most installations never need it.
            self._context = httpx.create_ssl_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context

    def _keep(self, place: _Place, connection: Connection) -> None:
        if self._number_kept >= _MOST_KEPT:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_KEPT_SECONDS, self._expire, place, connection)
        self._kept.setdefault(place, {})[connection] = timer
        self._number_kept += 1

    def _expire(self, place: _Place, connection: Connection) -> None:
        del self._kept[place][connection]
        self._number_kept -= 1
        if not self._kept[place]:
            del self._kept[place]
        connection.abort()

    def _take(self, place: _Place) -> Connection | None:
        """A connection that is kept and still open, the one that was used last."""
        while (kept := self._kept.get(place)) is not None:
            connection, timer = kept.popitem()
            timer.cancel()
            self._number_kept -= 1
            if not kept:
                del self._kept[place]
            if connection.reusable and connection.is_quiet:
                return connection
            connection.abort()
        return None


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    """Raises Refused for a header that would be two."""
    sent = {"Host": target.authority, "Content-Length": str(len(body)), **headers}
    lines = [f"{name}: {value}" for name, value in sent.items()]
    if not all(map(_field.fullmatch, lines)):
        raise Refused
    head = "\r\n".join((f"POST {target.path} HTTP/1.1", *lines, "\r\n"))
    return head.encode() + body


def _retry_after(value: bytes, now: datetime) -> float | None:
    """Seconds of the header `Retry-After` (RFC 9110, 10.2.3), which may be a date; None without."""
    text = value[:64].decode("latin-1").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max((at - now).total_seconds(), 0.0) if at.tzinfo is not None else None
