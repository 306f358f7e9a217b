"""Every way in which the service refuses or fails, as one tree of classes.

    ServiceError
    ├── Unauthorized                      no valid token
    ├── InsufficientScope                 a valid token that may not do this
    ├── NotFound
    │   └── CustomerNotFound              a lookup that finds nobody
    ├── MethodNotAllowed · NotAcceptable · RequestTimeout
    ├── Conflict                          the request cannot be done as things stand
    │   ├── AlreadyExists · WrongState · NotEntitled · EditorLicenceRequired · AlreadyRenewed
    │   ├── TermOver · ContractHasLaterCharges · ContractHasLaterUpgrades · CorrectionConflicts
    │   ├── AlreadyReversed · CaseHasWork · ReopeningTooLate · AmbiguousLookup
    │   ├── NotEnoughTickets · TooManyOpenCases · NothingToRedact
    │   ├── AmbiguousPerson · CustomerMerged
    │   └── RequestInProgress · SecretAlreadyIssued · ImportInProgress · ImportsNotPermitted
    ├── PreconditionFailed · PayloadTooLarge · UnsupportedMediaType
    ├── MalformedRequest · HeadersTooLarge · UnsupportedContentEncoding
    ├── Unprocessable                     the request was understood, but its content is wrong
    │   ├── InvalidInput                  with `errors`, one for each fault
    │   ├── RowsRefused                   of a file to import, with `errors` too
    │   ├── AnonymousCaller · IdempotencyKeyReused · TrainingNotCovered
    │   └── SerialNumberRequired · SerialNumberNotOfCustomer · WorkedBeforeOpening
    ├── CursorExpired                     a place in the feed after which events are missing
    ├── LinkExpired                       a sign-in link that was used, or is too old
    ├── TooManyRequests
    │   └── TooManyWrites                 of a customer's own tokens
    ├── InternalError
    └── ServiceUnavailable
        └── RecordMerged                  a request that begins again

An error knows its code and parameters, and nothing of HTTP. `app.http.errors` maps a class to its
status and headers, and a code to its texts in three languages. The parameters fill the
placeholders of those texts.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar, Literal
from uuid import UUID

from app.policy.document import Language, Policy
from app.policy.facts import ServiceAnswer

MOST_ERRORS = 100
"""The most faults that an answer lists."""

InputCode = Literal[
    "already_on_line",
    "bad_cursor",
    "bad_format",
    "before_first_fact",
    "blank",
    "column_needed",
    "columns_missing",
    "columns_repeated",
    "columns_unknown",
    "customer_differs",
    "duplicate",
    "editor_licence_required",
    "exactly_one",
    "forbidden_characters",
    "free_upgrade",
    "in_future",
    "invalid",
    "looks_like_id",
    "malformed_json",
    "merged",
    "missing",
    "not_a_csv_file",
    "not_a_phone_number",
    "not_allowed_value",
    "not_csv",
    "not_edited",
    "not_public",
    "not_utf8",
    "null_not_allowed",
    "of_another_customer",
    "offset_missing",
    "out_of_range",
    "quotation_open",
    "read_only",
    "reference_on_line",
    "reference_taken",
    "repeated_parameter",
    "same_customer",
    "too_few",
    "too_large",
    "too_long",
    "too_many",
    "too_many_overlapping",
    "too_many_values",
    "too_short",
    "too_small",
    "unknown_customer",
    "unknown_field",
    "unknown_parameter",
    "unknown_reference",
    "withdrawn",
    "wrong_number_of_cells",
    "wrong_order",
    "wrong_type",
]


@dataclass(frozen=True, slots=True)
class InputError:
    """One fault of the input.

    `pointer` is an RFC 6901 pointer into the body (`/contacts/0/name`; "" is the whole body), or
    names a parameter: `query/limit`, `path/customer`, `header/if-match`, or a line of a file and
    one of its columns: `line/12/country`. `params` fill the placeholders of the code's message.
    Neither repeats a value that the caller sent, but they do repeat names: of members, parameters
    and systems (`line/12/external_ref:crm`), and of the first few unknown or repeated columns of a
    file, each cut short.
    """

    pointer: str
    code: InputCode
    params: Mapping[str, object] = field(default_factory=dict)


_BY_CODE: dict[str, "type[ServiceError]"] = {}


class ServiceError(Exception):
    """The base class. `details` are members that the error's body carries beyond RFC 9457's."""

    code: ClassVar[str]

    def __init_subclass__(cls, code: str | None = None) -> None:
        # A class without a code only groups others.
        if code is not None:
            cls.code = code
            _BY_CODE[code] = cls

    def __init__(
        self,
        *,
        errors: Iterable[InputError] = (),
        details: Mapping[str, Any] | None = None,
        **params: object,
    ) -> None:
        super().__init__(self.code)
        self.errors: Sequence[InputError] = tuple(errors)
        self.details: dict[str, Any] = dict(details or {})
        self.params = params
        self.language: Language | None = None
        """The language in which to explain it, where it is not for the request to say."""


class RecordedRefusal(Exception):
    """A refusal that leaves a record (R33): roll the work back, then commit `record`."""

    def __init__(self, error: ServiceError, record: Callable[[Any], Awaitable[None]]) -> None:
        super().__init__(error.code)
        self.error = error
        self.record = record
        """Writes the record on the connection that it is given."""


class Unauthorized(ServiceError, code="unauthorized"):
    """`token_sent` distinguishes a wrong token from a missing one (RFC 6750, 3.1)."""

    def __init__(self, *, token_sent: bool = False) -> None:
        super().__init__()
        self.token_sent = token_sent


class InsufficientScope(ServiceError, code="insufficient_scope"):
    """The token is valid and lacks `scope`."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope=scope)


class NotFound(ServiceError, code="not_found"):
    """What a path names does not exist, or the caller may not see it."""


class CustomerNotFound(NotFound, code="customer_not_found"):
    """A lookup, or the id in a body, that names no customer in the caller's sight."""


class MethodNotAllowed(ServiceError, code="method_not_allowed"):
    """`allowed` are the methods that the path answers."""

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__(allowed=", ".join(sorted(allowed)))


class NotAcceptable(ServiceError, code="not_acceptable"):
    """`offered` are the media types to choose from."""

    def __init__(self, offered: Iterable[str]) -> None:
        super().__init__(offered=", ".join(offered))


class RequestTimeout(ServiceError, code="request_timeout"):
    """The body did not arrive in time."""


class Conflict(ServiceError):
    """The request cannot be done as things stand."""


class AlreadyExists(Conflict, code="already_exists"):
    """`name` is the field whose value is taken: `code`, `serial_number`, `number`."""

    def __init__(self, name: str) -> None:
        super().__init__(field=name, details={"field": name})


class WrongState(Conflict, code="wrong_state"):
    """A step from `state` to `wanted` that is not allowed (R29)."""

    def __init__(self, state: str, wanted: str) -> None:
        super().__init__(
            state=state, wanted=wanted, details={"state": state, "wanted_state": wanted}
        )


class NotEntitled(Conflict, code="not_entitled"):
    """`answer` has every reason and what would change it (R12); `policy` has the sales contact."""

    def __init__(self, answer: ServiceAnswer, policy: Policy) -> None:
        super().__init__()
        self.answer = answer
        self.policy = policy


class EditorLicenceRequired(Conflict, code="editor_licence_required"):
    """Only holders of an Editor licence sign a contract (R15)."""


class AlreadyRenewed(Conflict, code="already_renewed"):
    """A contract has one successor at most."""


class TermOver(Conflict, code="term_over"):
    """A renewal whose twelve months would have passed already (R24)."""


class ContractHasLaterCharges(Conflict, code="contract_has_later_charges"):
    """A contract cannot end before a day on which time was charged to it."""


class ContractHasLaterUpgrades(Conflict, code="contract_has_later_upgrades"):
    """A contract cannot end before an upgrade that it paid for (R25)."""


class CorrectionConflicts(Conflict, code="correction_conflicts"):
    """`conflicts` names the records that stand in the way of a correction (R40)."""

    def __init__(self, conflicts: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(details={"conflicts": list(conflicts)})


class NotEnoughTickets(Conflict, code="not_enough_tickets"):
    """A pack has only `available` tickets that can be taken out of it (R45)."""

    def __init__(self, available: int) -> None:
        super().__init__(available=available, details={"available": available})


class TooManyOpenCases(Conflict, code="too_many_open_cases"):
    """A bound token opens no more cases for a customer that has `limit` open ones."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)


class AlreadyReversed(Conflict, code="already_reversed"):
    """A time entry is reversed once."""


class NothingToRedact(Conflict, code="nothing_to_redact"):
    """A comment whose text was taken out before, or a time entry without a note (R43)."""


class CaseHasWork(Conflict, code="case_has_work"):
    """A case on which worked time stands cannot be cancelled."""


class ReopeningTooLate(Conflict, code="reopening_too_late"):
    """The case was closed too long ago: a new request is a new case (R29)."""


class AmbiguousLookup(Conflict, code="ambiguous_lookup"):
    """`candidates`: id, code and name of the first customers found; `more`: there are others."""

    def __init__(self, candidates: Sequence[Mapping[str, Any]], *, more: bool) -> None:
        super().__init__(details={"candidates": list(candidates), "more": more})


class AmbiguousPerson(Conflict, code="ambiguous_person"):
    """`people`: those of different names who have the address or number, by contact and name."""

    def __init__(self, people: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(details={"people": list(people)})


class CustomerMerged(Conflict, code="customer_merged"):
    """A record that became part of the customer with this id, code and name (R49)."""

    def __init__(self, id_: UUID, code: str, name: str) -> None:
        into = {"id": str(id_), "code": code, "name": name}
        super().__init__(into=code, details={"into": into})


class RequestInProgress(Conflict, code="request_in_progress"):
    """The first request with this `Idempotency-Key` is still running."""


class SecretAlreadyIssued(Conflict, code="secret_already_issued"):
    """A repeated request whose first answer showed a secret, which is not stored."""


class ImportInProgress(Conflict, code="import_in_progress"):
    """Files are imported one at a time."""


class ImportsNotPermitted(Conflict, code="imports_not_permitted"):
    """The service's role may not create temporary tables, which every import needs."""


class PreconditionFailed(ServiceError, code="precondition_failed"):
    """`If-Match` or `If-None-Match` is not fulfilled (RFC 9110, 13)."""


class PayloadTooLarge(ServiceError, code="payload_too_large"):
    """`limit` in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)


class UnsupportedMediaType(ServiceError, code="unsupported_media_type"):
    """`accepted` is the media type that a body must have."""

    def __init__(self, accepted: str = "application/json") -> None:
        super().__init__(accepted=accepted)


class MalformedRequest(ServiceError, code="malformed_request"):
    """The request is not valid HTTP, or leaves open for whom it is or who sends it."""


class HeadersTooLarge(ServiceError, code="headers_too_large"):
    """The request's head exceeds `limit` bytes or `fields` header fields (RFC 6585, 5)."""

    def __init__(self, limit: int, fields: int) -> None:
        super().__init__(limit=limit, fields=fields)


class UnsupportedContentEncoding(ServiceError, code="unsupported_content_encoding"):
    """The body is compressed or otherwise encoded (RFC 9110, 8.4)."""


class Unprocessable(ServiceError):
    """The request was understood, but its content is wrong."""


class InvalidInput(Unprocessable, code="invalid_input"):
    """`errors` has one entry for each fault of the input, up to MOST_ERRORS."""

    def __init__(self, *errors: InputError) -> None:
        super().__init__(errors=errors[:MOST_ERRORS])


class RowsRefused(Unprocessable, code="rows_refused"):
    """A file of which nothing is imported; `errors` has the first MOST_ERRORS faults by line."""

    def __init__(self, errors: Iterable[InputError], bad_rows: int) -> None:
        super().__init__(
            errors=tuple(errors)[:MOST_ERRORS], details={"bad_rows": bad_rows}, rows=bad_rows
        )


class AnonymousCaller(Unprocessable, code="anonymous_caller"):
    """The caller withholds the number by which to look for a customer."""


class IdempotencyKeyReused(Unprocessable, code="idempotency_key_reused"):
    """The `Idempotency-Key` belongs to another request."""


class TrainingNotCovered(Unprocessable, code="training_not_covered"):
    """Support solves definite problems; it gives no training."""


class SerialNumberRequired(Unprocessable, code="serial_number_required"):
    """Holders of an Editor licence name the licence that a case is about."""


class SerialNumberNotOfCustomer(Unprocessable, code="serial_number_not_of_customer"):
    """The case names a licence that is not the customer's."""


class WorkedBeforeOpening(Unprocessable, code="worked_before_opening"):
    """Time counts from the day on which the case was opened."""


class CursorExpired(ServiceError, code="cursor_expired"):
    """A place in the feed after which not all events are there any more.

    `place` is where to go on. `missed`: events between are gone, so what they told is to be read
    anew; otherwise nothing is missed.
    """

    def __init__(self, place: Any, *, missed: bool) -> None:
        super().__init__()
        self.place = place
        self.missed = missed


class LinkExpired(ServiceError, code="link_expired"):
    """A sign-in link that was used already, has expired or was revoked, or never was one."""


class TooManyRequests(ServiceError, code="too_many_requests"):
    """More than the service does at once for such requests (RFC 6585, 4).

    `retry_after`: seconds until the next try may succeed.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(seconds=retry_after)


class TooManyWrites(TooManyRequests):
    """The tokens of one customer have sent `quota` writes within a minute."""

    def __init__(self, retry_after: int, quota: int) -> None:
        super().__init__(retry_after)
        self.quota = quota


class InternalError(ServiceError, code="internal_error"):
    """A defect of the service."""


Shortage = Literal["disk", "sequence"]
"""What the database has run out of: room on its disk, or numbers that are not taken."""


class ServiceUnavailable(ServiceError, code="service_unavailable"):
    """The database cannot be used at present, or has run out of something."""

    def __init__(self, shortage: Shortage | None = None) -> None:
        super().__init__()
        self.shortage: Shortage | None = shortage


class RecordMerged(ServiceUnavailable):
    """A customer's record was merged while its lock was waited for: begin again (R49).

    A request does so by itself (`http.routes`).
    """


def invalid(pointer: str, code: InputCode, **params: object) -> InvalidInput:
    """The usual case of one fault: `raise invalid("/minutes", "too_small", limit=1)`."""
    return InvalidInput(InputError(pointer, code, params))


def out_of_range(pointer: str, earliest: date, latest: date) -> InvalidInput:
    """A day or an instant outside of a range. Of instants, the message names the first and the last
    whole second within, in UTC."""
    if isinstance(earliest, datetime) and earliest.microsecond:
        earliest += timedelta(seconds=1)
    return invalid(pointer, "out_of_range", earliest=_shown(earliest), latest=_shown(latest))


def _shown(day: date) -> str:
    if isinstance(day, datetime):
        return f"{day.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"
    return day.isoformat()


def by_code() -> dict[str, type[ServiceError]]:
    """Every error class that has a code."""
    return _BY_CODE
