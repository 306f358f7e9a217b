"""One request of a visitor: session, language, texts, form and API; and how it is answered."""

import asyncio
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from app import clock
from app.http.context import record_of
from app.http.languages import LANGUAGES, Language, asked_language
from app.http.public_address import public_address
from app.pages import assets, sessions
from app.pages.api import Api, Client, PassedOn, Problem
from app.pages.charts import burn_down, days_left, share
from app.pages.forms import Form
from app.pages.languages import WORDINGS, Wording
from app.pages.sessions import DESK, Session
from app.settings import Settings

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals.update(burn_down=burn_down, days_left=days_left, share=share)


class Visit:
    """What a page works with."""

    def __init__(self, request: Request, client: Client, session: Session) -> None:
        self.request = request
        self.session = session
        self.settings: Settings = request.app.state.settings
        self.token = sessions.token_of(request, session)
        self.form = Form()
        self._chosen = _supported(sessions.chosen_language(request)) or asked_language(request)
        self._client = client
        self._position = sessions.position(request)
        self._speak(self._chosen or "en")

    def _speak(self, language: Language) -> None:
        self.language: Language = language
        self.t: Wording = WORDINGS[language]
        request_id = record_of(self.request.scope).request_id
        self.api = Api(self._client, self.token, language, request_id, self._position)

    def api_of(self, token: str) -> Api:
        """The API for the holder of another token than the session's."""
        return Api(self._client, token, self.language, record_of(self.request.scope).request_id)

    def prefer(self, language: str) -> None:
        """Speak this language, unless the visitor or the browser has named another."""
        supported = _supported(language)
        if self._chosen is None and supported is not None:
            self._speak(supported)

    @property
    def today(self) -> date:
        """The civil date where the vendor is, by which the API counts days."""
        return clock.now().astimezone(self.request.app.state.policies.zone).date()

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the address."""
        return self.request.query_params

    def url(self, path: str, **query: str) -> str:
        """The address of a path, also where a proxy serves it below another."""
        prefix = urlsplit(public_address(self.request)).path
        return f"{prefix}{path}?{urlencode(query)}" if query else f"{prefix}{path}"

    def asset(self, name: str) -> str:
        """The address of a file of `static/`."""
        return self.url(assets.PATH + assets.NAMES[name])

    def here(self, **query: str) -> str:
        """The address of this page with these parameters instead of its own."""
        return self.url(self.request.scope["path"], **{**self.query, **query})

    @property
    def form_token(self) -> str:
        """What a form of this session has to carry; see `sessions.refuse_forgery`."""
        return "" if self.token is None else sessions.form_token(self.token)

    async def receive_form(self, *, signed_in: bool, with_files: bool) -> None:
        """Receive the form, of a page that needs a session or not, and takes files or not.

        Raises HTTPException, and ForgedRequest.
        """
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                body = await self.request.body()
        except (TimeoutError, ClientDisconnect):
            raise HTTPException(408) from None
        content_type = self.request.headers.get("content-type", "")
        self.form = Form.parse(body, content_type, with_files=with_files)
        sessions.refuse_forgery(self.request, self.token if signed_in else None, self.form.token)

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """The page that a template makes of these values."""
        known = {"customer": None, "form": self.form, "languages": WORDINGS}
        html = _ENVIRONMENT.get_template(template).render(
            {**known, **values, "visit": self, "t": self.t}
        )
        return self.finish(HTMLResponse(html, status))

    def redirect(self, path: str, **query: str) -> Response:
        """Lead the browser to another page of the service, by GET."""
        location = self.url(path, **query)
        return self.finish(Response(status_code=303, headers={"Location": location}))

    def pass_on(self, address: str, **query: str) -> Response:
        """An answer of the API as it comes: a file, or a stream of events."""
        headers = self.api.headers
        for name in ("accept", "last-event-id", "if-none-match"):
            if name in self.request.headers:
                headers[name] = self.request.headers[name]
        return self.finish(PassedOn(self.request.app, address, query, headers, self.refused))

    def refused(self, problem: Problem) -> Response:
        """The page for a problem that no form takes."""
        # An address with a name that nothing can have is refused as wrong input.
        status = 404 if problem.status == 422 else problem.status
        if status not in _SHOWN:
            status = 500
        kind = _SHOWN.get(status, "crashed")
        if status == 401 and self.session == DESK:
            response = self.render("staff/login.html", 401, kind=kind, next=self._to_return_to())
        else:
            # Which permission a key lacks is for its holder to know.
            said = problem.detail if status == 403 and self.session == DESK else ""
            response = self.render(
                "failed.html", status, kind=kind, session=self.session, said=said
            )
        if status == 401:
            sessions.end(response, self.request, self.session)
        if status == 503:
            response.headers["Retry-After"] = "5"
        return response

    def _to_return_to(self) -> str:
        """The path and query to which signing in leads back; empty for a form that was sent."""
        if self.request.method == "POST":
            return ""
        query = urlencode(self.query)
        path: str = self.request.scope["path"]
        return f"{path}?{query}" if query else path

    def finish(self, response: Response) -> Response:
        """Add the headers that every answer has."""
        ancestors = " ".join(("'self'", *self.settings.frame_ancestors))
        response.headers["Content-Security-Policy"] = f"{_POLICY}; frame-ancestors {ancestors}"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        response.headers["Content-Language"] = self.language
        if self.api.position is not None and self.api.position != self._position:
            sessions.keep_position(response, self.request, self.api.position)
        return response


_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'"
)
_SHOWN = {
    400: "not_understood",
    401: "signed_out",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    408: "too_slow",
    410: "link_expired",
    413: "too_large",
    415: "not_understood",
    429: "too_many",
    503: "unavailable",
}
"""What the page says for each status."""


def _supported(language: str) -> Language | None:
    return next((one for one in LANGUAGES if one == language), None)
