"""`/problems/<code>`: what an error means and what to do about it, as a page and as JSON.

The `type` of every problem is one of these addresses (RFC 9457, 3.1.1). They need no token.
"""

from html import escape

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotAcceptable, NotFound, ServiceError, by_code
from app.http.errors.catalogue import CATALOGUES
from app.http.errors.statuses import status_of
from app.http.fields import Output
from app.http.languages import Language, language_of
from app.http.negotiation import negotiated
from app.http.openapi.responses import CACHED, Responses
from app.http.resource import Resource
from app.http.responses import json_response

problems = Resource("Problems", prefix="")

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
_LANGUAGE = ("Content-Language",)
_ALSO_HTML: Responses = {
    200: CACHED[200] | {"content": {"text/html": {"schema": {"type": "string"}}}}
}


class ProblemExplained(Output):
    """One kind of problem."""

    type: str = Field(description="The address of this explanation, relative to the service.")
    code: str = Field(description="The code of the problem.")
    status: int
    title: str
    about: str


class ProblemsExplained(Output):
    """Every kind of problem."""

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
    if negotiated(request, *_FORMATS) == "application/json":
        return json_response(request, content, headers=headers)
    page = _PAGE.format(language=language, title=escape(title), content=html)
    headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return json_response(request, page.encode(), headers=headers, media_type="text/html")


@problems.opens(
    "/problems", ProblemsExplained, NotAcceptable, sends=_LANGUAGE, responses=_ALSO_HTML
)
async def list_problems(request: Request) -> Response:
    """List the codes of errors.

    As JSON, or as a page for people by `Accept: text/html`.
    """
    language = language_of(request)
    texts = CATALOGUES[language].texts
    items = [_explained(problem, language) for _, problem in sorted(by_code().items())]
    rows = "\n".join(
        f'<li><a href="/problems/{one.code}"><code>{one.code}</code></a> '
        f"{one.status} · {escape(one.title)}</li>"
        for one in items
    )
    return _answer(
        request,
        ProblemsExplained(items=items),
        texts["page.heading"],
        f"<p>{escape(texts['page.intro'])}</p>\n<ul>\n{rows}\n</ul>",
    )


@problems.opens(
    "/problems/{code}", ProblemExplained, NotAcceptable, sends=_LANGUAGE, responses=_ALSO_HTML
)
async def explain_problem(request: Request, code: str) -> Response:
    """Read what a code of an error means.

    And what to do about it. As JSON, or as a page for people by `Accept: text/html`.
    """
    problem = by_code().get(code)
    if problem is None:
        raise NotFound
    language = language_of(request)
    texts = CATALOGUES[language].texts
    one = _explained(problem, language)
    return _answer(
        request,
        one,
        one.title,
        f"<p><code>{one.code}</code> · {escape(texts['page.status'])} {one.status}</p>\n"
        f"<p>{escape(one.about)}</p>\n"
        f'<p><a href="/problems">{escape(texts["page.heading"])}</a></p>',
    )
