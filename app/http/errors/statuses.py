"""The HTTP status and headers of each error class. A class without an entry inherits a status."""

from collections.abc import Mapping

from app.errors import (
    Conflict,
    CursorExpired,
    HeadersTooLarge,
    ImportInProgress,
    InsufficientScope,
    InternalError,
    LinkExpired,
    MalformedRequest,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
    RequestInProgress,
    RequestTimeout,
    ServiceError,
    ServiceUnavailable,
    TooManyRequests,
    TooManyWrites,
    Unauthorized,
    Unprocessable,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)

_STATUSES: dict[type[ServiceError], int] = {
    MalformedRequest: 400,
    Unauthorized: 401,
    InsufficientScope: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    RequestTimeout: 408,
    Conflict: 409,
    CursorExpired: 410,
    LinkExpired: 410,
    PreconditionFailed: 412,
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    UnsupportedContentEncoding: 415,
    Unprocessable: 422,
    TooManyRequests: 429,
    HeadersTooLarge: 431,
    InternalError: 500,
    ServiceUnavailable: 503,
}


def status_of(error: type[ServiceError]) -> int:
    """The HTTP status of an error class. Raises KeyError for a class that has none."""
    for base in error.__mro__:
        if base in _STATUSES:
            return _STATUSES[base]
    raise KeyError(error)


def headers_of(error: ServiceError) -> Mapping[str, str]:
    """The headers that an error's response carries besides the common ones."""
    match error:
        case Unauthorized():
            invalid = ' error="invalid_token"' if error.token_sent else ""
            return {"WWW-Authenticate": f"Bearer{invalid}"}
        case InsufficientScope():
            challenge = 'Bearer error="insufficient_scope", scope="{scope}"'
            return {"WWW-Authenticate": challenge.format_map(error.params)}
        case MethodNotAllowed():
            return {"Allow": str(error.params["allowed"])}
        case UnsupportedMediaType():
            return {"Accept": str(error.params["accepted"])}
        case UnsupportedContentEncoding():
            return {"Accept-Encoding": "identity"}
        case RequestTimeout() | PayloadTooLarge() | HeadersTooLarge():
            # The rest of the body stays unread, so the connection cannot be used again.
            return {"Connection": "close"}
        case RequestInProgress() | ImportInProgress() | ServiceUnavailable():
            return {"Retry-After": "1"}
        case TooManyWrites():
            # draft-ietf-httpapi-ratelimit-headers-10
            seconds = str(error.params["seconds"])
            return {
                "Retry-After": seconds,
                "RateLimit-Policy": f'"writes";q={error.quota};w=60',
                "RateLimit": f'"writes";r=0;t={seconds}',
            }
        case TooManyRequests():
            return {"Retry-After": str(error.params["seconds"])}
    return {}
