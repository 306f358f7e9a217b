"""`/problems/<code>`: what a problem means and what to do about it, for people and programs.

These are the addresses that the `type` of a problem names (RFC 9457, 3.1.1). They are open.
"""

from html import escape
from typing import Any

from fastapi import APIRouter, Request, Response

from app.errors import InvalidInput, NotAcceptable, NotFound, ServiceError, by_code
from app.http.errors.catalogue import CATALOGUES
from app.http.errors.statuses import status_of
from app.http.fields import Output
from app.http.languages import Language, language_of
from app.http.legacy import CACHED
from app.http.negotiation import media_type_of
from app.http.openapi.responses import problems
from app.http.responses import json_response
from app.http.strict_query import OpenRoute

router = APIRouter(tags=["problems"], route_class=OpenRoute)

_PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}}
code{{background:#8883;padding:.1em .3em;border-radius:.2em}}</style></head>
<body><h1>{title}</h1>
{content}
</body></html>
"""
_FORMATS = ("application/json", "text/html")


class ProblemExplained(Output):
    """One kind of problem."""

    type: str
    code: str
    status: int
    title: str
    about: str


class ProblemsExplained(Output):
    """All of them."""

    items: list[ProblemExplained]


def _explained(problem: type[ServiceError], language: Language) -> ProblemExplained:
    texts = CATALOGUES[language].texts
    return ProblemExplained(
        type=f"/problems/{problem.code}",
        code=problem.code,
        status=status_of(problem),
        title=texts[f"problems.{problem.code}.title"],
        about=texts[f"problems.{problem.code}.about"],
    )


def _answer(request: Request, content: Output, title: str, html: str) -> Response:
    language = language_of(request)
    headers = {"Content-Language": language, "Cache-Control": "public, max-age=3600"}
    format_ = media_type_of(request, *_FORMATS)
    if format_ is None:
        raise NotAcceptable(_FORMATS)
    if format_ == "application/json":
        return json_response(request, content, headers=headers)
    page = _PAGE.format(language=language, title=escape(title), content=html)
    headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return json_response(request, page.encode(), headers=headers, media_type="text/html")


def _responses(*classes: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    page = {"content": {"text/html": {"schema": {"type": "string"}}}}
    return {**CACHED, 200: CACHED[200] | page, **problems(*classes)}


@router.get(
    "/problems",
    operation_id="list_problems",
    response_model=ProblemsExplained,
    responses=_responses(NotAcceptable, InvalidInput),
)
async def list_problems(request: Request) -> Response:
    """Every code of an error answer."""
    language = language_of(request)
    texts = CATALOGUES[language].texts
    items = [_explained(problem, language) for _, problem in sorted(by_code().items())]
    rows = "\n".join(
        f'<li><a href="/problems/{one.code}"><code>{one.code}</code></a> '
        f"{one.status} · {escape(one.title)}</li>"
        for one in items
    )
    html = f"<p>{escape(texts['page.intro'])}</p>\n<ul>\n{rows}\n</ul>"
    return _answer(request, ProblemsExplained(items=items), texts["page.heading"], html)


@router.get(
    "/problems/{code}",
    operation_id="explain_problem",
    response_model=ProblemExplained,
    responses=_responses(NotFound, NotAcceptable, InvalidInput),
)
async def explain_problem(request: Request, code: str) -> Response:
    """What one code means and what to do about it."""
    problem = by_code().get(code)
    if problem is None:
        raise NotFound
    language = language_of(request)
    texts = CATALOGUES[language].texts
    one = _explained(problem, language)
    html = (
        f"<p><code>{one.code}</code> · {escape(texts['page.status'])} {one.status}</p>\n"
        f"<p>{escape(one.about)}</p>\n"
        f'<p><a href="/problems">{escape(texts["page.heading"])}</a></p>'
    )
    return _answer(request, one, one.title, html)
