"""Everything that a request can be answered with instead of what it asked for (RFC 9457).

    Problem
    ├── Unauthorized 401                  no valid token
    ├── InsufficientScope 403             a valid token that may not do this
    ├── NotFound 404
    │   └── CustomerNotFound 404          a lookup that finds nobody
    ├── MethodNotAllowed 405
    ├── NotAcceptable 406
    ├── RequestTimeout 408                a body that did not come in time
    ├── Conflict 409
    │   ├── AlreadyExists · WrongState · NotEntitled · EditorLicenceRequired · AlreadyRenewed
    │   ├── ContractHasLaterCharges · AlreadyReversed · CaseHasWork · AmbiguousLookup
    │   └── RequestInProgress · SecretAlreadyIssued
    ├── PreconditionFailed 412
    ├── PayloadTooLarge 413
    ├── UnsupportedMediaType 415
    ├── Unprocessable 422
    │   ├── InvalidInput                  with `errors`, one for each thing that is wrong
    │   ├── AnonymousCaller · IdempotencyKeyReused · TrainingNotCovered
    │   └── SerialNumberRequired · SerialNumberNotOfCustomer · WorkedBeforeOpening
    ├── InternalError 500
    └── ServiceUnavailable 503

Raise one; `app.http.answers` renders it, in the caller's language, from the catalogue. The class
carries the status and the code; keyword arguments fill the placeholders of the detail's text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

InputCode = Literal[
    "bad_cursor",
    "bad_format",
    "blank",
    "duplicate",
    "exactly_one",
    "forbidden_characters",
    "in_future",
    "invalid",
    "looks_like_id",
    "malformed_json",
    "missing",
    "not_a_phone_number",
    "not_allowed_value",
    "null_not_allowed",
    "offset_missing",
    "out_of_range",
    "repeated_parameter",
    "too_few",
    "too_large",
    "too_long",
    "too_many",
    "too_short",
    "too_small",
    "unknown_field",
    "unknown_parameter",
    "unknown_reference",
    "wrong_order",
    "wrong_type",
]


@dataclass(frozen=True, slots=True)
class InputError:
    """One thing that is wrong with the input.

    `pointer` is an RFC 6901 pointer into the body (`/contacts/0/name`; "" is the whole body), or
    names a parameter: `query/limit`, `path/customer`, `header/if-match`. What the caller sent is
    never repeated. `params` fill the placeholders of the code's message.
    """

    pointer: str
    code: InputCode
    params: Mapping[str, object] = field(default_factory=dict)


class Problem(Exception):
    """The base of all. `extra` is merged into the body, `headers` into the answer's."""

    status: ClassVar[int]
    code: ClassVar[str]

    def __init__(
        self,
        *,
        errors: Iterable[InputError] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **params: object,
    ) -> None:
        super().__init__(self.code)
        self.errors: Sequence[InputError] = tuple(errors)
        self.extra: dict[str, Any] = dict(extra or {})
        self.headers: dict[str, str] = dict(headers or {})
        self.params = params


class Unauthorized(Problem):
    """`token_sent` tells a wrong token from none at all (RFC 6750, 3.1)."""

    status, code = 401, "unauthorized"

    def __init__(self, *, token_sent: bool = False) -> None:
        challenge = 'Bearer error="invalid_token"' if token_sent else "Bearer"
        super().__init__(headers={"WWW-Authenticate": challenge})


class InsufficientScope(Problem):
    """The token is valid and lacks `scope`."""

    status, code = 403, "insufficient_scope"

    def __init__(self, scope: str) -> None:
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        super().__init__(scope=scope, headers={"WWW-Authenticate": challenge})


class NotFound(Problem):
    status, code = 404, "not_found"


class CustomerNotFound(NotFound):
    code = "customer_not_found"


class MethodNotAllowed(Problem):
    status, code = 405, "method_not_allowed"

    def __init__(self, allowed: Iterable[str]) -> None:
        allow = ", ".join(sorted(allowed))
        super().__init__(allowed=allow, headers={"Allow": allow})


class NotAcceptable(Problem):
    status, code = 406, "not_acceptable"

    def __init__(self, offered: Iterable[str]) -> None:
        super().__init__(offered=", ".join(offered))


class RequestTimeout(Problem):
    """The rest of the body is not waited for, so the connection ends."""

    status, code = 408, "request_timeout"

    def __init__(self) -> None:
        super().__init__(headers={"Connection": "close"})


class Conflict(Problem):
    """What is asked cannot be done as things stand."""

    status = 409


class AlreadyExists(Conflict):
    """`name` is the field whose value is taken: `code`, `serial_number`, `number`."""

    code = "already_exists"

    def __init__(self, name: str) -> None:
        super().__init__(field=name, extra={"field": name})


class WrongState(Conflict):
    """A step from `state` to `wanted` that is not allowed (R29)."""

    code = "wrong_state"

    def __init__(self, state: str, wanted: str) -> None:
        super().__init__(state=state, wanted=wanted, extra={"state": state, "wanted_state": wanted})


class NotEntitled(Conflict):
    """`extra` has `reasons`, `unlocked_by` and what else the entitlement answer would show."""

    code = "not_entitled"


class EditorLicenceRequired(Conflict):
    code = "editor_licence_required"


class AlreadyRenewed(Conflict):
    code = "already_renewed"


class ContractHasLaterCharges(Conflict):
    code = "contract_has_later_charges"


class AlreadyReversed(Conflict):
    code = "already_reversed"


class CaseHasWork(Conflict):
    code = "case_has_work"


class AmbiguousLookup(Conflict):
    """`candidates`: id, code and name of every customer found."""

    code = "ambiguous_lookup"

    def __init__(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(count=len(candidates), extra={"candidates": list(candidates)})


class RequestInProgress(Conflict):
    """The first request with this `Idempotency-Key` is still running."""

    code = "request_in_progress"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class SecretAlreadyIssued(Conflict):
    code = "secret_already_issued"


class PreconditionFailed(Problem):
    status, code = 412, "precondition_failed"


class PayloadTooLarge(Problem):
    """`limit` in bytes. The rest of the body is not read, so the connection ends."""

    status, code = 413, "payload_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit, headers={"Connection": "close"})


class UnsupportedMediaType(Problem):
    status, code = 415, "unsupported_media_type"

    def __init__(self, accepted: str = "application/json") -> None:
        super().__init__(accepted=accepted, headers={"Accept": accepted})


class Unprocessable(Problem):
    """The request was understood and what it says cannot be."""

    status = 422


class InvalidInput(Unprocessable):
    code = "invalid_input"

    def __init__(self, *errors: InputError) -> None:
        super().__init__(errors=errors)


class AnonymousCaller(Unprocessable):
    code = "anonymous_caller"


class IdempotencyKeyReused(Unprocessable):
    code = "idempotency_key_reused"


class TrainingNotCovered(Unprocessable):
    code = "training_not_covered"


class SerialNumberRequired(Unprocessable):
    code = "serial_number_required"


class SerialNumberNotOfCustomer(Unprocessable):
    code = "serial_number_not_of_customer"


class WorkedBeforeOpening(Unprocessable):
    code = "worked_before_opening"


class InternalError(Problem):
    status, code = 500, "internal_error"


class ServiceUnavailable(Problem):
    """`retry_after` in seconds."""

    status, code = 503, "service_unavailable"

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__(headers={"Retry-After": str(retry_after)})


def invalid(pointer: str, code: InputCode, **params: object) -> InvalidInput:
    """The usual case of one error: `raise invalid("/minutes", "too_small", limit=1)`."""
    return InvalidInput(InputError(pointer, code, params))


def _concrete(base: type[Problem]) -> Iterable[type[Problem]]:
    for child in base.__subclasses__():
        if "code" in vars(child):
            yield child
        yield from _concrete(child)


def by_code() -> dict[str, type[Problem]]:
    """Every problem that has a code, those defined elsewhere included, in the tree's order."""
    return {problem.code: problem for problem in _concrete(Problem)}
