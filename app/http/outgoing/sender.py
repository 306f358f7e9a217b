"""Makes one delivery: an HTTP request to a receiver that nobody trusts.

It goes to an address that was checked for this attempt, follows no redirect, uses no proxy of the
environment, and ends after 15 s. Of the answer's body at most 1 kB is read, and nothing is kept.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from time import monotonic

import httpcore
import httpx

from app.http.outgoing.addresses import Address, Allowed, Refused, Resolver, Target
from app.services.deliveries import Answer, AttemptError

SECONDS = 15.0
"""For a whole attempt, up to the answer's status."""
MOST_READ = 1_024
_CONNECT_SECONDS = 5.0
# The answer's body tells nothing. It is read so that the connection can be used again.
_BODY_SECONDS = 1.0
_MOST_TRIED = 3
_MOST_POOLS = 64


class _Pool(httpcore.AsyncConnectionPool):
    """Connections to one host and port, at any of its addresses."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(
            ssl_context=context,
            max_connections=100,
            max_keepalive_connections=10,
            keepalive_expiry=5.0,
        )
        self.using = 0


class Sender:
    """Sends deliveries. Connections to a host are kept for a few seconds."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._resolver = Resolver()
        self._context: ssl.SSLContext | None = None
        # By scheme, host and port: a certificate was checked for its own host only.
        self._pools: OrderedDict[tuple[str, str, int], _Pool] = OrderedDict()

    async def close(self) -> None:
        """Close the connections that are kept."""
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.aclose()

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> Answer:
        """POST a body, and what came of it. `now` is when `Retry-After` was read. Never raises."""
        began = monotonic()
        status: int | None = None
        error: AttemptError | None = None
        retry_after: float | None = None
        read = 0
        try:
            async with asyncio.timeout(SECONDS):
                status, retry_after, read = await self._send(url, headers, body, now)
        except Refused:
            error = "address_refused"
        except (TimeoutError, httpcore.TimeoutException):
            error = "timeout"
        except httpcore.ConnectError as failed:
            error = "tls_failed" if _is_tls(failed) else "connection_failed"
        except httpcore.NetworkError:
            error = "connection_failed"
        except httpcore.ProtocolError:
            error = "bad_answer"
        except OSError:
            error = "name_not_found"
        duration = int(1000 * (monotonic() - began))
        return Answer(duration, status, error, retry_after, read)

    async def _send(
        self, url: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> tuple[int, float | None, int]:
        target = self._allowed.target(url)
        addresses = await self._resolver.addresses(target.host)
        self._allowed.check(target.host, addresses)
        pool = self._pool(target)
        pool.using += 1
        try:
            return await self._try_each(pool, target, addresses, headers, body, now)
        finally:
            pool.using -= 1

    def _pool(self, target: Target) -> _Pool:
        key = (target.scheme, target.host, target.port)
        pool = self._pools.get(key)
        if pool is None:
            if self._context is None:
                # It takes 20 ms, and most installations never need it.
                self._context = httpx.create_ssl_context()
            pool = self._pools[key] = _Pool(self._context)
        self._pools.move_to_end(key)
        return pool

    async def tidy(self) -> None:
        """Close the connections to hosts that were called least recently."""
        for key in list(self._pools)[:-_MOST_POOLS]:
            if not self._pools[key].using:
                await self._pools.pop(key).aclose()

    async def _try_each(
        self,
        pool: _Pool,
        target: Target,
        addresses: Sequence[Address],
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,
    ) -> tuple[int, float | None, int]:
        *others, last = addresses[:_MOST_TRIED]
        for address in others:
            try:
                return await self._post(pool, target, address, headers, body, now)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                # Nothing was sent.
                continue
        return await self._post(pool, target, last, headers, body, now)

    async def _post(
        self,
        pool: _Pool,
        target: Target,
        address: Address,
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,
    ) -> tuple[int, float | None, int]:
        """Post to this very address; the host's name is for `Host` and for the certificate."""
        sent = {"Host": target.authority, "Content-Length": str(len(body)), **headers}
        request = httpcore.Request(
            "POST",
            httpcore.URL(
                scheme=target.scheme, host=str(address), port=target.port, target=target.path
            ),
            headers=[(name.encode(), value.encode()) for name, value in sent.items()],
            content=body,
            extensions={
                "sni_hostname": target.host,
                "timeout": {"connect": _CONNECT_SECONDS, "read": SECONDS, "write": SECONDS},
            },
        )
        answer = await pool.handle_async_request(request)
        try:
            retry_after = _retry_after(answer.headers, now)
            return answer.status, retry_after, await _read(answer)
        finally:
            await answer.aclose()


async def _read(answer: httpcore.Response) -> int:
    """How many bytes the body has, at most MOST_READ. One that is longer, or slow, is left."""
    read = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in answer.aiter_stream():
                read += len(part)
                if read >= MOST_READ:
                    break
    except (TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        # The status has come.
        pass
    return min(read, MOST_READ)


def _retry_after(headers: Sequence[tuple[bytes, bytes]], now: datetime) -> float | None:
    """Seconds of the header `Retry-After` (RFC 9110, 10.2.3), which may be a date; None without."""
    value = next((v for name, v in headers if name.lower() == b"retry-after"), b"")
    text = value[:64].decode("latin-1").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max((at - now).total_seconds(), 0.0) if at.tzinfo is not None else None


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
