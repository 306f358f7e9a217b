"""Sessions that repeat what failed, so that it takes effect once."""

import asyncio
import random
import re
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from assistenza_client.generated import AuthenticatedClient

_KEY = "Idempotency-Key"
_POSITION = "X-Assistenza-Position"
_AGAIN = {429, 502, 503, 504}
_ONCE = "/v1/sign-in-links/redemption"
"""The only call that takes no key although a second one differs: a link opens once."""
_POSITION_SECONDS = 60.0
_position = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", re.ASCII | re.IGNORECASE)
_random = random.SystemRandom()


@dataclass(frozen=True)
class Retries:
    """How often a request is tried, and the pauses between, in seconds.

    A pause is chosen at random below a bound that doubles from `first` to `longest`. An answer with
    `Retry-After` is obeyed, unless it asks for more than `patience`: then it is the caller's.
    """

    attempts: int = 5
    first: float = 0.25
    longest: float = 8.0
    patience: float = 60.0

    def pause(self, attempt: int, answer: httpx.Response | None = None) -> float | None:
        """Seconds until the next attempt after number `attempt` (from 1); None for no other."""
        if attempt >= self.attempts:
            return None
        chosen = _random.uniform(0, min(self.longest, self.first * 2 ** (attempt - 1)))
        asked = None if answer is None else _retry_after(answer)
        if asked is None:
            return chosen
        return None if asked > self.patience else asked + chosen


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds of the header, which may be a date (RFC 9110, 10.2.3)."""
    sent = answer.headers.get("Retry-After", "")
    if sent.isascii() and sent.isdigit():
        return float(sent)
    try:
        at = parsedate_to_datetime(sent)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


@dataclass
class _Rules:
    retries: Retries
    _at: tuple[int, int] = (0, 0)
    _sent: str | None = None
    _until: float = field(default=0.0)

    def prepare(self, request: httpx.Request) -> None:
        """A key for a POST, and for a read the position of what was written last."""
        if request.method == "POST" and not request.url.path.endswith(_ONCE):
            request.headers.setdefault(_KEY, str(uuid.uuid4()))
        elif request.method == "GET" and self._sent and time.monotonic() < self._until:
            request.headers.setdefault(_POSITION, self._sent)

    def after(self, request: httpx.Request, answer: httpx.Response, attempt: int) -> float | None:
        """Seconds until the next attempt; None if this answer is the last."""
        self._remember(answer)
        # 409 has Retry-After where what is in the way ends by itself.
        waits = answer.status_code == 409 and "Retry-After" in answer.headers
        if not (answer.status_code in _AGAIN or waits):
            return None
        if request.url.path.endswith(_ONCE) and answer.status_code not in (429, 503):
            return None
        return self.retries.pause(attempt, answer)

    def after_error(
        self, request: httpx.Request, error: httpx.TransportError, attempt: int
    ) -> float | None:
        """Seconds before the next attempt after an error; None if there is none."""
        never_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
        if request.url.path.endswith(_ONCE) and not never_sent:
            return None
        if isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
            return None
        return self.retries.pause(attempt)

    def _remember(self, answer: httpx.Response) -> None:
        match = _position.fullmatch(answer.headers.get(_POSITION, ""))
        if match is None:
            return
        at = int(match[1], 16), int(match[2], 16)
        now = time.monotonic()
        # Answers to writes of several threads may come out of order.
        if at >= self._at or now > self._until:
            self._at, self._sent, self._until = at, match[0], now + _POSITION_SECONDS


class Session(httpx.Client):
    """An `httpx.Client` that repeats requests as `retries` says."""

    def __init__(self, *, retries: Retries = Retries(), **options: Any) -> None:
        super().__init__(**options)
        self._rules = _Rules(retries)

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        self._rules.prepare(request)
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = super().send(request, **options)
            except httpx.TransportError as error:
                pause = self._rules.after_error(request, error, attempt)
                if pause is None:
                    raise
            else:
                pause = self._rules.after(request, answer, attempt)
                if pause is None:
                    return answer
                answer.close()
            time.sleep(pause)


class AsyncSession(httpx.AsyncClient):
    """The same for asyncio."""

    def __init__(self, *, retries: Retries = Retries(), **options: Any) -> None:
        super().__init__(**options)
        self._rules = _Rules(retries)

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        self._rules.prepare(request)
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await super().send(request, **options)
            except httpx.TransportError as error:
                pause = self._rules.after_error(request, error, attempt)
                if pause is None:
                    raise
            else:
                pause = self._rules.after(request, answer, attempt)
                if pause is None:
                    return answer
                await answer.aclose()
            await asyncio.sleep(pause)


def connect(
    base_url: str,
    token: str,
    *,
    language: str | None = None,
    retries: Retries = Retries(),
    timeout: float = 40.0,
    **options: Any,
) -> AuthenticatedClient:
    """A client for the generated calls, for `sync` and `asyncio` alike.

    `language` is that of texts for people (`it`, `en`, `de`). `timeout` is seconds for each step of
    an attempt; a call that waits for news may wait 30 s. `options` are those of `httpx.Client`
    (`verify`, `proxy`, `limits`). A status that the document does not know raises
    `generated.errors.UnexpectedStatus`.
    """
    headers = {"Authorization": f"Bearer {token}"}
    if language is not None:
        headers["Accept-Language"] = language
    options = {"base_url": base_url, "headers": headers, "timeout": timeout, **options}
    client = AuthenticatedClient(base_url=base_url, token=token, raise_on_unexpected_status=True)
    client.set_httpx_client(Session(retries=retries, **options))
    client.set_async_httpx_client(AsyncSession(retries=retries, **options))
    return client
