"""What the feed tells of each event: ids, numbers, dates and states, never a text of a person.

The audit trail (`store.events`) has what people wrote. Only members that are named here pass from
there to the feed, and of changed fields only the values of `_PLAIN`.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Literal, NamedTuple, TypedDict, get_type_hints
from uuid import UUID

from app.policy.document import Column, Service
from app.policy.usage import AllowanceKind
from app.store.event_types import EventType
from app.store.feed import Audited, Entry

# Fields whose values have a form of their own, so that no text fits in.
_PLAIN = frozenset(
    {
        "cancelled",
        "cancelled_on",
        "category",
        "channel",
        "code",
        "country",
        "expires_on",
        "help_desk",
        "included_minutes",
        "kind",
        "language",
        "number",
        "paid_by",
        "priority",
        "purchased_on",
        "quantity",
        "serial_number",
        "service_year_start",
        "starts_on",
        "ends_on",
        "state",
        "withdrawn_on",
    }
)


class Changes(TypedDict):
    """What a step changed. Of fields with texts that people write, the names alone are told."""

    changed: list[str]
    """The names of all fields that changed."""
    before: dict[str, Any]
    """The values of fields that hold no text of a person: texts, whole numbers, or null."""
    after: dict[str, Any]


class CustomerData(TypedDict):
    code: str


class CustomerUpdatedData(CustomerData, Changes):
    pass


class ContactData(TypedDict):
    contact_id: str


class CustomerArchivedData(CustomerData):
    archived: bool
    """False: restored."""


class RecordData(TypedDict):
    id: str
    code: str


class CustomerMergedData(CustomerData):
    merged: RecordData
    """The record that became part of the other."""
    into: RecordData


class CustomerErasedData(TypedDict):
    contact_ids: list[str]
    case_numbers: list[str]


class LicenceData(TypedDict):
    serial_number: str


class LicenceRegisteredData(LicenceData):
    kind: str
    purchased_on: str


class LicenceChangedData(LicenceData, Changes):
    pass


class LicenceTransferredData(LicenceData):
    transferred_on: str


class LicenceUpgradedData(LicenceData):
    upgraded_on: str
    paid_by: str
    contract_id: str | None


class UpgradeReversedData(LicenceData):
    upgrade_id: str


class LicenceWithdrawnData(LicenceData):
    withdrawn_on: str


class ContractSignedData(TypedDict):
    number: str
    starts_on: str
    ends_on: str
    included_minutes: int
    taken_over_minutes: int
    """Overrun that it covered at once."""


class ContractRenewedData(ContractSignedData):
    renews: str
    """The number of the contract before."""


class ContractCancelledData(TypedDict):
    number: str
    cancelled_on: str


class NumberedChangesData(Changes):
    number: str


class TicketsPurchasedData(TypedDict):
    number: str
    quantity: int
    purchased_on: str
    expires_on: str


class TicketsCancelledData(TypedDict):
    number: str
    quantity: int
    cancelled_on: str


class CaseData(TypedDict):
    number: str
    state: str
    paid_by: str


class CaseOpenedData(CaseData):
    channel: str


class CaseRefusedData(TypedDict):
    channel: str
    pay_with: str | None
    columns: list[str]
    reasons: list[str]
    """As `column:code`."""
    unlocked_by: list[str]


class CaseChangedData(CaseData, Changes):
    pass


class CaseMovedData(CaseData):
    moved_to: str
    """The number of the right customer's case."""


class CaseRespondedData(CaseData):
    """The first response. Minutes are working time of the customer's help desk (R42)."""

    responded_at: str
    response_minutes: int
    target_minutes: int | None
    """What the policy promises; null where it promises nothing, as is `met`."""
    met: bool | None


class CaseResponseMissedData(CaseData):
    target: Literal["first_response", "resolution"]
    target_minutes: int
    due_at: str
    """When the target was exceeded."""


class CommentData(TypedDict):
    number: str
    comment_id: str


class TimeRecordedData(CaseData):
    time_entry_id: str
    minutes: int
    worked_at: str
    charged_minutes: int
    overrun_minutes: int


class TimeReversedData(CaseData):
    time_entry_id: str
    minutes: int


class ClosureData(TypedDict):
    help_desk: str
    closure_id: str
    change: Literal["added", "removed"]
    starts_at: str
    ends_at: str


class StandingData(TypedDict):
    """What a customer may use."""

    columns: list[Column]
    services: list[Service]
    """Those allowed."""
    valid_until: str | None
    """Until when that holds if nobody does anything."""


class EntitlementsChangedData(TypedDict):
    before: StandingData
    after: StandingData
    gained: list[Service]
    lost: list[Service]
    cause: Literal["write", "time"]
    valid_until: str | None
    """That of `after`."""


class ContractDaysData(TypedDict):
    number: str
    starts_on: str
    ends_on: str


class TicketsExpiredData(TypedDict):
    number: str
    quantity: int
    """Tickets that ended unused."""
    expired_on: str


class FreeHoursData(TypedDict):
    starts_on: str
    ends_on: str
    """The end of the service year."""


class WebhookFailingData(TypedDict):
    failing_since: str
    disabled_from: str


class WebhookDisabledData(TypedDict):
    reason: Literal["failing", "gone"]
    failing_since: str


class AllowanceData(TypedDict):
    kind: AllowanceKind
    id: str | None
    """Of a contract or a ticket pack."""
    number: str | None
    starts_on: str
    ends_on: str
    """The first day on which it pays for no new case."""


class AllowanceEventData(TypedDict):
    """Minutes for free hours and contracts, tickets for packs."""

    allowance: AllowanceData
    episode: int
    """Counts how often the notices of this allowance began anew."""
    granted: int
    used: int
    held: int
    left: int
    overrun: int


class AllowanceNoticeData(AllowanceEventData):
    kind: Literal["ending", "used"]
    level: int
    """Days before the end, or the per cent used."""


class FeedType(StrEnum):
    """Every type of the feed, with the shape of its data, the collection of its subject, and the
    scope with which a bound token gets it (None: any; "" never)."""

    data: type
    subject: str
    scope: str | None

    def __new__(
        cls, value: str, data: type = dict, subject: str = "", scope: str | None = None
    ) -> "FeedType":
        member = str.__new__(cls, value)
        member._value_ = value
        member.data = data
        member.subject = subject
        member.scope = scope
        return member

    CUSTOMER_CREATED = "customer.created", CustomerData, "customers", "customers:read"
    CUSTOMER_UPDATED = "customer.updated", CustomerUpdatedData, "customers", "customers:read"
    CUSTOMER_MERGED = "customer.merged", CustomerMergedData, "customers", "customers:read"
    CUSTOMER_ARCHIVED = "customer.archived", CustomerArchivedData, "customers", "customers:read"
    CUSTOMER_ERASED = "customer.erased", CustomerErasedData, "customers", "customers:read"
    CONTACT_CREATED = "contact.created", ContactData, "customers", "customers:read"
    CONTACT_UPDATED = "contact.updated", ContactData, "customers", "customers:read"
    CONTACT_DELETED = "contact.deleted", ContactData, "customers", "customers:read"
    LICENCE_REGISTERED = (
        "licence.registered",
        LicenceRegisteredData,
        "licences",
        "licences:read",
    )
    LICENCE_UPDATED = "licence.updated", LicenceChangedData, "licences", "licences:read"
    LICENCE_UPGRADED = "licence.upgraded", LicenceUpgradedData, "licences", "licences:read"
    LICENCE_UPGRADE_REVERSED = (
        "licence.upgrade_reversed",
        UpgradeReversedData,
        "licences",
        "licences:read",
    )
    LICENCE_WITHDRAWN = "licence.withdrawn", LicenceWithdrawnData, "licences", "licences:read"
    LICENCE_REINSTATED = "licence.reinstated", LicenceChangedData, "licences", "licences:read"
    LICENCE_TRANSFERRED = (
        "licence.transferred",
        LicenceTransferredData,
        "licences",
        "licences:read",
    )
    LICENCE_CORRECTED = "licence.corrected", LicenceChangedData, "licences", "licences:read"
    CONTRACT_SIGNED = "contract.signed", ContractSignedData, "contracts", "contracts:read"
    CONTRACT_RENEWED = "contract.renewed", ContractRenewedData, "contracts", "contracts:read"
    CONTRACT_CANCELLED = (
        "contract.cancelled",
        ContractCancelledData,
        "contracts",
        "contracts:read",
    )
    CONTRACT_REINSTATED = (
        "contract.reinstated",
        NumberedChangesData,
        "contracts",
        "contracts:read",
    )
    CONTRACT_CORRECTED = (
        "contract.corrected",
        NumberedChangesData,
        "contracts",
        "contracts:read",
    )
    CONTRACT_SUSPENDED = "contract.suspended", ContractDaysData, "contracts", "contracts:read"
    CONTRACT_RESUMED = "contract.resumed", ContractDaysData, "contracts", "contracts:read"
    CONTRACT_EXPIRED = "contract.expired", ContractDaysData, "contracts", "contracts:read"
    TICKETS_PURCHASED = (
        "tickets.purchased",
        TicketsPurchasedData,
        "ticket-packs",
        "tickets:read",
    )
    TICKETS_CANCELLED = (
        "tickets.cancelled",
        TicketsCancelledData,
        "ticket-packs",
        "tickets:read",
    )
    TICKETS_CORRECTED = (
        "tickets.corrected",
        NumberedChangesData,
        "ticket-packs",
        "tickets:read",
    )
    TICKETS_EXPIRED = "tickets.expired", TicketsExpiredData, "ticket-packs", "tickets:read"
    FREE_HOURS_STARTED = (
        "free_hours.started",
        FreeHoursData,
        "customers",
        "entitlements:read",
    )
    FREE_HOURS_ENDED = "free_hours.ended", FreeHoursData, "customers", "entitlements:read"
    ALLOWANCE_NOTICE = (
        "allowance.notice",
        AllowanceNoticeData,
        "customers",
        "entitlements:read",
    )
    ALLOWANCE_EXHAUSTED = (
        "allowance.exhausted",
        AllowanceEventData,
        "customers",
        "entitlements:read",
    )
    ALLOWANCE_OVERRUN = (
        "allowance.overrun",
        AllowanceEventData,
        "customers",
        "entitlements:read",
    )
    ALLOWANCE_RECOVERED = (
        "allowance.recovered",
        AllowanceEventData,
        "customers",
        "entitlements:read",
    )
    CASE_OPENED = "case.opened", CaseOpenedData, "cases", "cases:read"
    CASE_REFUSED = "case.refused", CaseRefusedData, "customers", ""
    CASE_ASSIGNED = "case.assigned", CaseChangedData, "cases", "cases:read"
    CASE_STATE_CHANGED = "case.state_changed", CaseChangedData, "cases", "cases:read"
    CASE_CHANGED = "case.changed", CaseChangedData, "cases", "cases:read"
    CASE_RECLASSIFIED = "case.reclassified", CaseChangedData, "cases", "cases:read"
    CASE_COMMENTED = "case.commented", CommentData, "cases", "cases:read"
    CASE_RESPONDED = "case.responded", CaseRespondedData, "cases", "cases:read"
    CASE_RESPONSE_MISSED = (
        "case.response_missed",
        CaseResponseMissedData,
        "cases",
        "cases:read",
    )
    CASE_CLOSED = "case.closed", CaseData, "cases", "cases:read"
    CASE_REOPENED = "case.reopened", CaseData, "cases", "cases:read"
    CASE_CANCELLED = "case.cancelled", CaseData, "cases", "cases:read"
    CASE_MOVED = "case.moved", CaseMovedData, "cases", "cases:read"
    TIME_RECORDED = "time.recorded", TimeRecordedData, "cases", "cases:read"
    TIME_REVERSED = "time.reversed", TimeReversedData, "cases", "cases:read"
    ENTITLEMENTS_CHANGED = (
        "entitlements.changed",
        EntitlementsChangedData,
        "customers",
        "entitlements:read",
    )
    HELP_DESK_CLOSURE_CHANGED = "help_desk.closure_changed", ClosureData, "help-desk-closures"
    WEBHOOK_FAILING = "webhook.failing", WebhookFailingData, "webhooks", ""
    WEBHOOK_DISABLED = "webhook.disabled", WebhookDisabledData, "webhooks", ""


class UnknownEvent(Exception):
    """An event of a later release, which a process of that release has to publish."""


class _Told(NamedTuple):
    type: FeedType
    data: Mapping[str, Any]


def entries(event: Audited) -> list[Entry]:
    """What the feed tells of an event; nothing of some. Raises UnknownEvent."""
    try:
        tell = _TELLS[EventType(event.type)]
    except (KeyError, ValueError):
        raise UnknownEvent(event.type) from None
    return [
        Entry(
            told.type,
            event.customer_id,
            event.case_id,
            # A refused case has no record of its own.
            event.subject_id or event.customer_id,
            event.occurred_at,
            told.data,
        )
        for told in tell(event.data)
    ]


_Data = Mapping[str, Any]
_Tell = Callable[[_Data], Iterator[_Told]]


def _with(type_: FeedType, *members: str, changes: bool = False) -> _Tell:
    """Tells these members of the data, as they are."""

    def tell(data: _Data) -> Iterator[_Told]:
        told = {member: data[member] for member in members}
        yield _Told(type_, told | _changes(data) if changes else told)

    return tell


def _changes(data: _Data) -> Changes:
    before, after = data.get("before") or {}, data.get("after") or {}
    return {
        "changed": sorted(before.keys() | after.keys()),
        "before": _plain(before),
        "after": _plain(after),
    }


def _plain(fields: _Data) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in _PLAIN}


def _nothing(_: _Data) -> Iterator[_Told]:
    yield from ()


def _customer(data: _Data) -> Iterator[_Told]:
    code = {"code": data["code"]}
    if data.get("created"):
        yield _Told(FeedType.CUSTOMER_CREATED, code)
    elif changed := data.get("changed"):
        before, after = ({n: c[side] for n, c in changed.items()} for side in ("before", "after"))
        changes = _changes({"before": before, "after": after})
        yield _Told(FeedType.CUSTOMER_UPDATED, code | changes)
    contacts = data.get("contacts") or {}
    for change, type_ in _CONTACTS.items():
        for contact in contacts.get(change, ()):
            yield _Told(type_, {"contact_id": contact})


_CONTACTS = {
    "added": FeedType.CONTACT_CREATED,
    "changed": FeedType.CONTACT_UPDATED,
    "removed": FeedType.CONTACT_DELETED,
}


def _erased(data: _Data) -> Iterator[_Told]:
    told = {"contact_ids": data["contacts"], "case_numbers": data["cases"]}
    yield _Told(FeedType.CUSTOMER_ERASED, told)


def _licence(data: _Data) -> Iterator[_Told]:
    serial = {"serial_number": data["serial_number"]}
    if "before" in data:
        yield _Told(FeedType.LICENCE_UPDATED, serial | _changes(data))
    else:
        after = data["after"]
        told = {name: after[name] for name in ("kind", "purchased_on")}
        yield _Told(FeedType.LICENCE_REGISTERED, serial | told)


@cache
def _members(data: type) -> tuple[str, ...]:
    """The names of a type's data. Reading the annotations anew takes most of an event's time."""
    return tuple(get_type_hints(data))


def _signed(type_: FeedType) -> _Tell:
    def tell(data: _Data) -> Iterator[_Told]:
        told = {name: data[name] for name in _members(type_.data) if name in data}
        yield _Told(type_, {"taken_over_minutes": 0} | told)

    return tell


def _refused(data: _Data) -> Iterator[_Told]:
    decision = data["decision"]
    told = {name: data[name] for name in ("channel", "pay_with")}
    told |= {name: decision[name] for name in ("columns", "reasons", "unlocked_by")}
    yield _Told(FeedType.CASE_REFUSED, told)


def _commented(data: _Data) -> Iterator[_Told]:
    # Comments of 0.1 have no id; they were published before there was a feed, or never.
    if not data["internal"] and "comment_id" in data:
        told = {name: data[name] for name in ("number", "comment_id")}
        yield _Told(FeedType.CASE_COMMENTED, told)


_OF_CASE = ("number", "state", "paid_by")


def _case_changed(data: _Data) -> Iterator[_Told]:
    state_changed = "state" in (data.get("after") or {})
    type_ = FeedType.CASE_STATE_CHANGED if state_changed else FeedType.CASE_CHANGED
    yield from _with(type_, *_OF_CASE, changes=True)(data)


def _time_recorded(data: _Data) -> Iterator[_Told]:
    told = {name: data[name] for name in _members(TimeRecordedData) if name in data}
    charged = {"charged_minutes": sum(one["minutes"] for one in data["charges"])}
    yield _Told(FeedType.TIME_RECORDED, told | charged)


_TELLS: dict[EventType, _Tell] = {
    EventType.DEMO_STARTED: _nothing,
    EventType.DEMO_LOADED: _nothing,
    EventType.TOKEN_ISSUED: _nothing,
    EventType.CUSTOMER_UPDATED: _customer,
    EventType.CUSTOMER_ARCHIVED: _with(FeedType.CUSTOMER_ARCHIVED, "code", "archived"),
    EventType.CUSTOMER_MERGED: _with(FeedType.CUSTOMER_MERGED, "code", "merged", "into"),
    EventType.CUSTOMER_ERASED: _erased,
    EventType.LICENCE_REGISTERED: _licence,
    EventType.LICENCE_CORRECTED: _with(FeedType.LICENCE_CORRECTED, "serial_number", changes=True),
    EventType.LICENCE_REINSTATED: _with(FeedType.LICENCE_REINSTATED, "serial_number", changes=True),
    EventType.LICENCE_TRANSFERRED: _with(
        FeedType.LICENCE_TRANSFERRED, "serial_number", "transferred_on"
    ),
    EventType.LICENCE_UPGRADE_REVERSED: _with(
        FeedType.LICENCE_UPGRADE_REVERSED, "serial_number", "upgrade_id"
    ),
    EventType.LICENCE_UPGRADED: _with(
        FeedType.LICENCE_UPGRADED, "serial_number", "upgraded_on", "paid_by", "contract_id"
    ),
    EventType.LICENCE_WITHDRAWN: _with(FeedType.LICENCE_WITHDRAWN, "serial_number", "withdrawn_on"),
    EventType.CONTRACT_SIGNED: _signed(FeedType.CONTRACT_SIGNED),
    EventType.CONTRACT_RENEWED: _signed(FeedType.CONTRACT_RENEWED),
    EventType.CONTRACT_CANCELLED: _with(FeedType.CONTRACT_CANCELLED, "number", "cancelled_on"),
    EventType.CONTRACT_CORRECTED: _with(FeedType.CONTRACT_CORRECTED, "number", changes=True),
    EventType.CONTRACT_REINSTATED: _with(FeedType.CONTRACT_REINSTATED, "number", changes=True),
    EventType.TICKETS_PURCHASED: _with(
        FeedType.TICKETS_PURCHASED, "number", "quantity", "purchased_on", "expires_on"
    ),
    EventType.TICKETS_CANCELLED: _with(
        FeedType.TICKETS_CANCELLED, "number", "quantity", "cancelled_on"
    ),
    EventType.TICKETS_CORRECTED: _with(FeedType.TICKETS_CORRECTED, "number", changes=True),
    EventType.CASE_OPENED: _with(FeedType.CASE_OPENED, *_OF_CASE, "channel"),
    EventType.CASE_REFUSED: _refused,
    EventType.CASE_COMMENTED: _commented,
    EventType.CASE_REDACTED: _nothing,
    EventType.CASE_CHANGED: _case_changed,
    EventType.CASE_ASSIGNED: _with(FeedType.CASE_ASSIGNED, *_OF_CASE, changes=True),
    EventType.CASE_RECLASSIFIED: _with(FeedType.CASE_RECLASSIFIED, *_OF_CASE, changes=True),
    EventType.CASE_CLOSED: _with(FeedType.CASE_CLOSED, *_OF_CASE),
    EventType.CASE_REOPENED: _with(FeedType.CASE_REOPENED, *_OF_CASE),
    EventType.CASE_CANCELLED: _with(FeedType.CASE_CANCELLED, *_OF_CASE),
    EventType.CASE_MOVED: _with(FeedType.CASE_MOVED, *_OF_CASE, "moved_to"),
    EventType.TIME_RECORDED: _time_recorded,
    EventType.TIME_REVERSED: _with(FeedType.TIME_REVERSED, *_OF_CASE, "time_entry_id", "minutes"),
    EventType.HELP_DESK_CLOSURE_CHANGED: _with(
        FeedType.HELP_DESK_CLOSURE_CHANGED,
        "help_desk",
        "closure_id",
        "change",
        "starts_at",
        "ends_at",
    ),
    EventType.WEBHOOK_CHANGED: _nothing,
    EventType.WEBHOOK_FAILING: _with(FeedType.WEBHOOK_FAILING, "failing_since", "disabled_from"),
    EventType.WEBHOOK_DISABLED: _with(FeedType.WEBHOOK_DISABLED, "reason", "failing_since"),
}


def types_for(scopes: frozenset[str]) -> list[FeedType]:
    """The types that a bound token with these scopes gets."""
    return [one for one in FeedType if one.scope is None or one.scope in scopes]


def subject_of(type_: FeedType, subject_id: UUID | None) -> str:
    """The path of what an event is about, after the version: `contracts/0190…`."""
    return f"{type_.subject}/{subject_id}"
