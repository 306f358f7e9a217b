"""Successful answers: JSON rendered once, with entity tags and caching headers."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.errors import InputError, InvalidInput
from app.http.context import Context
from app.http.encoding import json_bytes
from app.http.etags import (
    CACHING,
    RAW_CACHING,
    check_if_match,
    check_if_none_match,
    if_none_match,
    strong_etag,
)
from app.http.fields import SentBack


class SecretResponse(Response):
    """An answer that shows a secret once. It is never stored for an Idempotency-Key."""


class TrialResponse(Response):
    """What a step would do, which was not done. It is never stored for an Idempotency-Key."""

    @classmethod
    def of(cls, content: Any, headers: Mapping[str, str]) -> "TrialResponse":
        """200 with `content` as JSON, and its strong tag."""
        body = json_bytes(content)
        sent = {**CACHING, **headers, "ETag": strong_etag(body)}
        return cls(body, 200, sent, "application/json")


def json_response(
    request: Request,
    content: bytes | BaseModel | Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    etag: bool | str = True,
    media_type: str = "application/json",
) -> Response:
    """The answer with `content`; 304 to a GET whose caller has it already.

    `etag=True` computes a strong tag of the body, a text is used as it is, False sends none.
    """
    body = json_bytes(content)
    # In bytes, because Starlette would encode the same names and values for every answer.
    sent = [*RAW_CACHING]
    for name, value in (headers or {}).items():
        if name in CACHING:
            sent = [one for one in sent if one[0] != name.lower().encode("latin-1")]
        sent.append((name.lower().encode("latin-1"), value.encode("latin-1")))
    response = Response(status_code=status)
    response.raw_headers = sent
    if etag:
        tag = etag if isinstance(etag, str) else strong_etag(body)
        sent.append((b"etag", tag.encode("latin-1")))
        if (
            status == 200
            and request.method in ("GET", "HEAD")
            and "if-none-match" in request.headers
            and if_none_match(request, tag)
        ):
            response.status_code = 304
            return response
    response.body = body
    sent.append((b"content-length", b"%d" % len(body)))
    sent.append((b"content-type", _content_type(media_type)))
    return response


@lru_cache(maxsize=64)
def _content_type(media_type: str) -> bytes:
    is_text = media_type.startswith("text/") and "charset=" not in media_type
    return (media_type + "; charset=utf-8" if is_text else media_type).encode("latin-1")


def ok(context: Context, content: bytes | BaseModel | Any, **options: Any) -> Response:
    """200 with `content`; `options` as for `json_response`."""
    return json_response(context.request, content, **options)


def created(
    context: Context, content: bytes | BaseModel | Any, location: str, *, secret: bool = False
) -> Response:
    """201 with `content`, and the address of the new resource. `secret`: it shows one, once."""
    headers = {"Location": location}
    if secret:
        return SecretResponse(json_bytes(content), 201, {**CACHING, **headers}, "application/json")
    return json_response(context.request, content, 201, headers)


def if_match(context: Context, shape: Callable[[Any], BaseModel]) -> Callable[[Any], None]:
    """The precondition of a PATCH or DELETE, for a service to check under the customer's lock.

    It takes what is stored, which `shape` turns into what a GET would send, and raises
    PreconditionFailed unless `If-Match` is absent or names it.
    """

    def check(stored: Any) -> None:
        check_if_match(context.request, strong_etag(json_bytes(shape(stored))))

    return check


def put_conditions(
    context: Context, shape: Callable[[Any], BaseModel], body: SentBack, **new: Any
) -> Callable[[Any], None]:
    """The preconditions of a PUT: `If-Match`, `If-None-Match`, and that the read-only fields of
    `body` say what is stored. `new` is what is known of those fields where nothing is stored yet.

    It takes what is stored, or None. Raises as `if_match`, and InvalidInput.
    """

    def check(stored: Any) -> None:
        shown = None if stored is None else shape(stored)
        etag = None if shown is None else strong_etag(json_bytes(shown))
        check_if_match(context.request, etag)
        check_if_none_match(context.request, etag)
        if repeated := body.repeated():
            known = new if shown is None else shown.model_dump()
            wrong = [name for name, value in repeated.items() if known.get(name, ...) != value]
            if wrong:
                raise InvalidInput(*(InputError(f"/{name}", "read_only") for name in wrong))

    return check
