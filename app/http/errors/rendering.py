"""An error as `application/problem+json` (RFC 9457): its body, and the whole response."""

from typing import Any

import orjson
from starlette.requests import HTTPConnection
from starlette.responses import Response

from app.errors import NotEntitled, ServiceError, ServiceUnavailable
from app.http.context import record_of
from app.http.decisions import refusal_body
from app.http.errors.catalogue import CATALOGUES
from app.http.errors.statuses import headers_of, status_of
from app.http.languages import Language, language_of

MEDIA_TYPE = "application/problem+json"


def body_of(error: ServiceError, language: Language, request_id: str | None) -> dict[str, Any]:
    """The members of the body, in the language of the answer."""
    catalogue = CATALOGUES[language]
    details = error.details
    if isinstance(error, NotEntitled):
        details = refusal_body(error.answer, error.policy, language) | details
    body: dict[str, Any] = {
        "type": f"/problems/{error.code}",
        "title": catalogue.text(f"problems.{error.code}.title"),
        "status": status_of(type(error)),
        "detail": catalogue.text(f"problems.{error.code}.detail", **error.params),
        "code": error.code,
        "request_id": request_id,
    }
    if error.errors:
        body["errors"] = [
            {
                "pointer": one.pointer,
                "code": one.code,
                "message": catalogue.text(f"input.{one.code}", **one.params),
            }
            for one in error.errors
        ]
    return {**details, **body}


def problem_response(connection: HTTPConnection, error: ServiceError) -> Response:
    """The whole response, also for plain ASGI code.

    Stores the error's code in the request's record, from which the middleware logs it.
    """
    language = error.language or language_of(connection)
    record = record_of(connection.scope)
    record.problem = error.code
    if isinstance(error, ServiceUnavailable):
        record.shortage = error.shortage
    return Response(
        orjson.dumps(body_of(error, language, record.request_id), option=orjson.OPT_UTC_Z),
        status_of(type(error)),
        {
            "Cache-Control": "no-store",
            "Vary": "Authorization, Accept, Accept-Language",
            **headers_of(error),
            "Content-Language": language,
        },
        MEDIA_TYPE,
    )
