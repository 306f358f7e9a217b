"""Calls of the public API in this process, with the visitor's own token."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.context import record_of
from app.http.replicas import POSITION

_HOST = "assistenza"
_AT_ONCE = 4
# Of a list: 4,000 items.
_MOST_PAGES = 20
# What a browser may see of an answer that is passed on. The outermost layer adds the others again.
_PASSED_ON = {
    b"content-type",
    b"content-length",
    b"content-disposition",
    b"content-language",
    b"etag",
    b"x-accel-buffering",
}
_UNAVAILABLE = {"code": "service_unavailable", "title": "", "detail": ""}


class Problem(Exception):
    """The API's refusal: its status, and the members of its problem (RFC 9457)."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(body.get("code"))
        self.status = status
        self.body = body

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))

    @property
    def detail(self) -> str:
        """What happened and what to do, in the visitor's language."""
        return str(self.body.get("detail", ""))


class Answer(NamedTuple):
    """A successful answer."""

    status: int
    body: Any
    """Parsed JSON; None for an empty body."""
    headers: httpx.Headers


def path(template: str, *names: object) -> str:
    """A path with `{}` filled by names, each escaped: `path("/v1/cases/{}", number)`."""
    return template.format(*(quote(str(name), safe="") for name in names))


class Client:
    """The client of an application's own API, shared by all pages. It keeps no cookies.

    A page asks several things at once. All pages together have few calls under way, so that they
    wait for each other and not for database connections, which other clients need.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url=f"http://{_HOST}",
            trust_env=False,
            # The page that asks has a limit of its own.
            timeout=3600,
        )

    async def request(self, method: str, address: str, **options: Any) -> httpx.Response:
        async with self._places:
            return await self._http.request(method, address, **options)


class Api:
    """The API as one visitor may use it. Every call raises Problem for a refusal."""

    def __init__(
        self,
        client: Client,
        token: str | None,
        language: str,
        request_id: str | None,
        position: str | None = None,
    ) -> None:
        self.position = position
        """That of the visitor's last write, which every read has to see."""
        self._client = client
        self._token = token
        self.language = language
        self._request_id = request_id

    @property
    def headers(self) -> dict[str, str]:
        """What every call of this visitor sends."""
        headers = {"Accept-Language": self.language}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if self._request_id is not None:
            headers["X-Request-Id"] = self._request_id
        if self.position is not None:
            headers[POSITION] = self.position
        return headers

    async def get(self, address: str, **query: Any) -> Any:
        """The body of a GET. Parameters that are None are left out."""
        asked = {name: value for name, value in query.items() if value is not None}
        return (await self._call("GET", address, params=asked)).body

    async def find(self, address: str, **query: Any) -> Any:
        """As `get`; None where the token has not the scope, so that the page can say so."""
        try:
            return await self.get(address, **query)
        except Problem as problem:
            if problem.status == 403:
                return None
            raise

    async def whole_list(self, address: str, **query: Any) -> list[dict[str, Any]] | None:
        """Every item of a list, as far as a page can show them; None without the scope."""
        items: list[dict[str, Any]] = []
        cursor = None
        for _ in range(_MOST_PAGES):
            page = await self.find(address, limit=200, cursor=cursor, **query)
            if page is None:
                return None
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return items

    async def send(
        self,
        method: str,
        address: str,
        body: Mapping[str, Any],
        *,
        key: str | None = None,
        if_match: str | None = None,
    ) -> Answer:
        """POST, PUT or PATCH of a JSON body. `key` is the `Idempotency-Key`."""
        headers = {}
        if key is not None:
            headers["Idempotency-Key"] = key
        if if_match is not None:
            headers["If-Match"] = if_match
        return await self._call(method, address, json=body, headers=headers)

    async def delete(self, address: str, *, if_match: str | None = None) -> None:
        """DELETE; with `if_match`, only what the visitor has seen."""
        headers = {} if if_match is None else {"If-Match": if_match}
        await self._call("DELETE", address, headers=headers)

    async def read(self, address: str, **query: Any) -> Answer:
        """As `get`, with the headers: for the `ETag` that a later `send` names."""
        asked = {name: value for name, value in query.items() if value is not None}
        return await self._call("GET", address, params=asked)

    async def _call(
        self, method: str, address: str, *, headers: Mapping[str, str] = {}, **more: Any
    ) -> Answer:
        answer = await self._client.request(
            method, address, headers={**self.headers, **headers}, **more
        )
        try:
            body = answer.json() if answer.content else None
        except ValueError:
            body = None
        self.position = answer.headers.get(POSITION, self.position)
        if answer.is_success:
            return Answer(answer.status_code, body, answer.headers)
        raise Problem(answer.status_code, body if isinstance(body, dict) else _UNAVAILABLE)


class PassedOn(Response):
    """An answer of the API as it comes, such as a file or a stream of events.

    `refused` makes the answer where the API refuses.
    """

    def __init__(
        self,
        app: ASGIApp,
        address: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        refused: Callable[[Problem], Response],
    ) -> None:
        super().__init__()
        self._app = app
        self._address = address
        self._query = query
        self._sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # How long it takes depends on who reads it.
        record_of(scope).streams = True
        inner = {
            **{name: scope[name] for name in ("type", "asgi", "http_version", "server", "client")},
            "scheme": "http",
            "method": scope["method"],
            "path": self._address,
            "raw_path": self._address.encode(),
            "root_path": "",
            "query_string": urlencode(self._query).encode(),
            "headers": [(b"host", _HOST.encode()), *self._sent],
        }
        refused: int | None = None

        async def answer(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    refused = message["status"]
                    return
                kept = [one for one in message["headers"] if one[0].lower() in _PASSED_ON]
                names = {b"content-length", *(name for name, _ in kept)}
                own = [one for one in self.raw_headers if one[0] not in names]
                await send({**message, "headers": [*kept, *own]})
            elif refused is None:
                await send(message)

        await self._app(inner, receive, answer)
        if refused is not None:
            response = self._refused(Problem(refused, {"code": ""}))
            await response(scope, receive, send)
