"""A visitor without a browser: follows links, fills in forms, and reads what stands on a page."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx

from tests.conftest import Service

BROWSER = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
ADDRESS = "http://test"
_VOID = {"meta", "link", "input", "br", "hr", "img"}


@dataclass
class Form:
    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """What stands on a page. Raises AssertionError for tags that are not closed in order."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.answer = answer
        self.status = answer.status_code
        self.html = answer.text
        self.words: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.forms: list[Form] = []
        self.language: str | None = None
        self._open: list[str] = []
        self._area: str | None = None
        self._choice: str | None = None
        self._is_first = False
        self.feed(self.html)
        self.close()
        assert not self._open, self._open

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), (tag, attrs)
        self.tags.append((tag, given))
        if tag not in _VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self._open.append(tag)
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "html":
            self.language = given.get("lang")
        elif tag == "a":
            self.links.append(given.get("href") or "")
        elif tag in ("link", "script", "img"):
            self.sources.append(given.get("href") or given.get("src") or "")
        elif tag == "form":
            self.forms.append(Form(given.get("method") or "get", given.get("action") or ""))
        elif tag == "input" and name:
            ticked = given.get("type") != "checkbox" or "checked" in given
            self.forms[-1].fields[name] = value if ticked else ""
        elif tag == "textarea":
            self._area = name
            self.forms[-1].fields[name] = ""
        elif tag == "select":
            self._choice = name
            self._is_first = True
        elif tag == "option" and self._choice is not None:
            if self._is_first or "selected" in given:
                self.forms[-1].fields[self._choice] = value
            self._is_first = False

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        assert self._open, f"</{tag}>"
        assert self._open.pop() == tag, f"</{tag}> in {self._open}"
        if tag == "textarea":
            self._area = None
        elif tag == "select":
            self._choice = None

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            # The first line break belongs to the tag.
            self.forms[-1].fields[self._area] += data.removeprefix("\n")
        elif not {"style", "script"} & set(self._open):
            self.words.append(data)

    def form(self, action: str = "") -> Form:
        """The form whose address ends like this."""
        return next(one for one in self.forms if one.action.endswith(action))


class Visitor:
    """Somebody with a browser that keeps cookies."""

    def __init__(self, service: Service, **headers: str) -> None:
        self.service = service
        transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(
            transport=transport, base_url=ADDRESS, headers={**BROWSER, **headers}
        )

    async def open(self, path: str, status: int = 200, **headers: str) -> Page:
        answer = await self.client.get(path, headers=headers, follow_redirects=True)
        page = Page(answer)
        assert page.status == status, page.text
        return page

    async def post(self, path: str, fields: Any = None, **headers: str) -> httpx.Response:
        return await self.client.post(path, data=fields or {}, headers=headers)

    async def submit(
        self, page: Page, action: str = "", status: int = 200, /, **fields: str
    ) -> Page:
        """Fill in a form and send it; the page that comes of it."""
        form = page.form(action)
        named = {name.replace("__", "/"): value for name, value in fields.items()}
        assert named.keys() <= form.fields.keys()
        path = form.action or page.answer.url.path
        answer = await self.post(path, {**form.fields, **named})
        if answer.status_code == 303:
            return await self.open(answer.headers["location"], status)
        shown = Page(answer)
        assert shown.status == status, shown.text
        return shown

    async def enter(self, url: str) -> Page:
        """Follow a sign-in link and press its button."""
        return await self.submit(await self.open(url.removeprefix(ADDRESS)))
