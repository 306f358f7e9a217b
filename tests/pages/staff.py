"""Visitors of the pages of staff."""

from app.services.tokens import SCOPES
from tests.conftest import Service
from tests.pages.visitor import Page, Visitor

SCRIPT = "<script>alert(1)</script>'\"&<b>"
STAFF = SCOPES - {"tokens:issue", "webhooks:manage", "calls:write"}


async def sign_in(
    service: Service, *scopes: str, language: str = "en", name: str = "Ada", key: str | None = None
) -> Visitor:
    """Somebody who has signed in with a key of some scopes; by default of all that pages use."""
    visitor = Visitor(service, **{"Accept-Language": language})
    token = key or await service.token(*(scopes or STAFF))
    page = await visitor.open("/login")
    answer = await visitor.post(
        "/login", {**page.form("/login").fields, "key": token, "technician": name}
    )
    assert answer.status_code == 303, answer.text
    return visitor


def is_calm(page: Page) -> bool:
    """Whether a page shows stored text as text, loads nothing from elsewhere, and has no script."""
    scripts = [given for tag, given in page.tags if tag == "script"]
    inline = [given for _, given in page.tags if any(one.startswith("on") for one in given)]
    styled = [given for _, given in page.tags if "style" in given]
    return (
        all((one.get("src") or "").startswith("/assets/") for one in scripts)
        and all(source.startswith("/assets/") for source in page.sources)
        and not inline
        and not styled
        and SCRIPT not in page.html
    )
