"""Every type of event, with the shape of its data.

The data is stored as JSON: dates and instants are texts in ISO 8601, ids are texts.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NotRequired, TypedDict


def on_the_wire(instant: datetime) -> str:
    """An instant in UTC as the data of an event."""
    return instant.isoformat().replace("+00:00", "Z")


class DemoStarted(TypedDict):
    on: str
    """The civil date of the first start, on which the examples are based."""


class Nothing(TypedDict):
    """No data."""


class TokenIssued(TypedDict):
    scopes: list[str]
    expires_at: str


class Change(TypedDict):
    before: Any
    after: Any


class ContactChanges(TypedDict):
    """Ids alone: events are never deleted, and a deleted person's name must not remain in them."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class CustomerUpdated(TypedDict):
    """Either `created`, or what changed."""

    code: str
    created: NotRequired[bool]
    changed: NotRequired[dict[str, Change]]
    """By field."""
    contacts: NotRequired[ContactChanges]


class CustomerArchived(TypedDict):
    code: str
    archived: bool
    """False: restored."""
    reason: str


class MergedRecord(TypedDict):
    id: str
    code: str


class RecordsMerged(TypedDict):
    """Two records of one customer became one: one event for each of the two (R49)."""

    code: str
    """That of the record whose event it is."""
    merged: MergedRecord
    """The record that became part of the other."""
    into: MergedRecord
    reason: str
    before: NotRequired[Mapping[str, str | None]]
    """What changed of the record that became part of the other, as is `after`."""
    after: NotRequired[Mapping[str, str | None]]


class CustomerErased(TypedDict):
    """A person of the customer was replaced by a pseudonym (R43)."""

    pseudonym: str
    contacts: list[str]
    """Ids."""
    cases: list[str]
    """Numbers."""


class LicenceRegistered(TypedDict):
    """A new licence, or a correction: then `before` and `after` have the corrected fields only."""

    serial_number: str
    before: NotRequired[Mapping[str, str | None]]
    after: Mapping[str, str | None]


class LicenceCorrected(LicenceRegistered):
    """A licence that is now as if it had been so from the start (R40, R46)."""

    reason: str


class LicenceTransferred(LicenceCorrected):
    """A licence that passed to another customer: one event for each of the two (R44)."""

    transferred_on: str


class UpgradeReversed(LicenceCorrected):
    """An upgrade that never was (R40)."""

    upgrade_id: str


class UndoneYear(TypedDict):
    """A case whose service year a withdrawal has undone, and what it was bound to instead."""

    case_id: str
    year: str
    paid_by: str
    allowance_id: str | None
    bound: bool
    first: bool
    last_entry: NotRequired[int]
    """The customer's last ledger entry before."""


class LicenceUpgraded(TypedDict):
    serial_number: str
    version: str
    upgraded_on: str
    paid_by: str
    contract_id: str | None


class LicenceWithdrawn(TypedDict):
    serial_number: str
    withdrawn_on: str
    reason: str
    undone: NotRequired[list[UndoneYear]]
    """What is given back if the withdrawal is taken back (R46)."""


class ContractSigned(TypedDict):
    number: str
    starts_on: str
    ends_on: str
    included_minutes: int
    taken_over_minutes: NotRequired[int]
    """The overrun that it covered at once (R24)."""


class ContractRenewed(ContractSigned):
    """`number` is the successor's."""

    renews: str
    """The number of the contract that it succeeds."""


class GivenBack(TypedDict):
    """Minutes of a time entry that a contract had taken over."""

    time_entry_id: str
    minutes: int


class ContractCancelled(TypedDict):
    number: str
    cancelled_on: str
    reason: str
    given_back: NotRequired[list[GivenBack]]
    """What a contract cancelled as of its first day gave back, if it had taken anything over: it
    takes it over again when it is reinstated (R24, R46)."""


class TicketsPurchased(TypedDict):
    number: str
    quantity: int
    purchased_on: str
    expires_on: str


class Corrected(TypedDict):
    """A fact that is now as if it had been so from the start (R40). Dates are texts."""

    number: str
    """As it was before."""
    reason: str
    before: Mapping[str, str | int | None]
    after: Mapping[str, str | int | None]


class TicketsCancelled(Corrected):
    """`before` and `after` say how many of the pack's tickets are cancelled (R45)."""

    quantity: int
    cancelled_on: str
    positions: list[int]


class DecisionRecord(TypedDict):
    """What is kept of a decision (R33)."""

    policy: str
    columns: Sequence[str]
    allowance_id: str | None
    """The allowance that pays; null if nothing is counted."""


class RefusalRecord(DecisionRecord):
    reasons: Sequence[str]
    """As `column:code`."""
    unlocked_by: Sequence[str]


class StateOfCase(TypedDict):
    at: str
    state: str


class CaseOpened(TypedDict):
    number: str
    state: str
    paid_by: str
    channel: str
    subject: str
    decision: DecisionRecord
    as_of: NotRequired[str]
    """The instant at which the case began, if that is earlier than the event (R47)."""
    moved_from: NotRequired[str]
    """The number of the wrong customer's case that it was before (R47)."""
    history: NotRequired[list[StateOfCase]]
    """The states of a moved case, each from its instant on, the present one last."""


class CaseRefused(TypedDict):
    """A case that was not opened (R33)."""

    channel: str
    pay_with: str | None
    decision: RefusalRecord


class CaseCommented(TypedDict):
    number: str
    comment_id: NotRequired[str]
    """Absent in comments of 0.1."""
    body: str | None
    """Null once it is taken out (R43)."""
    internal: bool


class CaseRedacted(TypedDict):
    """The text of a comment, or the note of a time entry, was taken out."""

    number: str
    comment_id: NotRequired[str]
    time_entry_id: NotRequired[str]
    reason: str
    internal: bool
    """What was taken out was for staff alone, and so is this."""


class CaseChanged(TypedDict):
    """The case after a step. Answers about past days read state and payer from here (R13)."""

    number: str
    state: str
    paid_by: str
    before: NotRequired[Mapping[str, Any]]
    """The fields that the step changed, if any, and their values before it."""
    after: NotRequired[Mapping[str, Any]]
    corrected: NotRequired[bool]
    """The payer was wrong from the start: answers about the past use the new one (R40)."""


class Covered(TypedDict):
    covered: NotRequired[list[dict[str, Any]]]
    """Overrun that the minutes given back have covered, if any (R22)."""


class Reason(TypedDict):
    reason: str


class Closing(TypedDict):
    resolution: str
    requester: Mapping[str, Any]
    """Whom to tell (R32)."""


class RecordedTime(TypedDict):
    time_entry_id: str
    technician: str
    minutes: int
    worked_at: str
    charges: list[dict[str, Any]]
    """What each allowance pays."""
    overrun_minutes: int


class ReversedTime(Covered):
    time_entry_id: str
    minutes: int
    reason: str


class Moving(Covered):
    moved_to: str
    """The number of the right customer's case (R47)."""
    reason: str


CaseDetails = Covered | Reason | Moving | Closing | RecordedTime | ReversedTime
"""What the event of a step has beyond `CaseChanged`."""


class CaseReclassified(CaseChanged, Covered):
    pass


class CaseClosed(CaseChanged, Closing):
    pass


class CaseReopened(CaseChanged, Reason):
    pass


class CaseCancelled(CaseChanged, Reason):
    pass


class CaseMoved(CaseChanged, Moving):
    pass


class TimeRecorded(CaseChanged, RecordedTime):
    pass


class TimeReversed(CaseChanged, ReversedTime):
    pass


class ClosureChanged(TypedDict):
    help_desk: str
    closure_id: str
    change: Literal["added", "removed"]
    starts_at: str
    ends_at: str
    hours: list[dict[str, str]] | None


class WebhookChanged(TypedDict):
    """Somebody changed where events are sent. Neither the URL nor a text, which events keep."""

    change: Literal["created", "changed", "rotated", "deleted"]
    fields: list[str]
    """The names of the fields that changed."""


class WebhookFailing(TypedDict):
    failing_since: str
    disabled_from: str
    """It is disabled by the first failure from this instant on."""


class WebhookDisabled(TypedDict):
    reason: Literal["failing", "gone"]
    """Nothing but failures for days, or the receiver answered 410."""
    failing_since: str


class EventType(StrEnum):
    """The types of events, each with the shape of its data as `data`."""

    data: type

    def __new__(cls, value: str, data: type = Nothing) -> "EventType":
        member = str.__new__(cls, value)
        member._value_ = value
        member.data = data
        return member

    DEMO_STARTED = "demo.started", DemoStarted
    DEMO_LOADED = "demo.loaded"
    TOKEN_ISSUED = "token.issued", TokenIssued
    CUSTOMER_UPDATED = "customer.updated", CustomerUpdated
    CUSTOMER_ARCHIVED = "customer.archived", CustomerArchived
    CUSTOMER_MERGED = "customer.merged", RecordsMerged
    CUSTOMER_ERASED = "customer.erased", CustomerErased
    LICENCE_REGISTERED = "licence.registered", LicenceRegistered
    LICENCE_CORRECTED = "licence.corrected", LicenceCorrected
    LICENCE_REINSTATED = "licence.reinstated", LicenceCorrected
    LICENCE_TRANSFERRED = "licence.transferred", LicenceTransferred
    LICENCE_UPGRADE_REVERSED = "licence.upgrade_reversed", UpgradeReversed
    LICENCE_UPGRADED = "licence.upgraded", LicenceUpgraded
    LICENCE_WITHDRAWN = "licence.withdrawn", LicenceWithdrawn
    CONTRACT_SIGNED = "contract.signed", ContractSigned
    CONTRACT_RENEWED = "contract.renewed", ContractRenewed
    CONTRACT_CANCELLED = "contract.cancelled", ContractCancelled
    CONTRACT_CORRECTED = "contract.corrected", Corrected
    CONTRACT_REINSTATED = "contract.reinstated", Corrected
    TICKETS_PURCHASED = "tickets.purchased", TicketsPurchased
    TICKETS_CANCELLED = "tickets.cancelled", TicketsCancelled
    TICKETS_CORRECTED = "tickets.corrected", Corrected
    CASE_OPENED = "case.opened", CaseOpened
    CASE_REFUSED = "case.refused", CaseRefused
    CASE_COMMENTED = "case.commented", CaseCommented
    CASE_REDACTED = "case.redacted", CaseRedacted
    CASE_CHANGED = "case.changed", CaseChanged
    CASE_ASSIGNED = "case.assigned", CaseChanged
    CASE_RECLASSIFIED = "case.reclassified", CaseReclassified
    CASE_CLOSED = "case.closed", CaseClosed
    CASE_REOPENED = "case.reopened", CaseReopened
    CASE_CANCELLED = "case.cancelled", CaseCancelled
    CASE_MOVED = "case.moved", CaseMoved
    TIME_RECORDED = "time.recorded", TimeRecorded
    TIME_REVERSED = "time.reversed", TimeReversed
    HELP_DESK_CLOSURE_CHANGED = "help_desk.closure_changed", ClosureChanged
    WEBHOOK_CHANGED = "webhook.changed", WebhookChanged
    WEBHOOK_FAILING = "webhook.failing", WebhookFailing
    WEBHOOK_DISABLED = "webhook.disabled", WebhookDisabled


EventData = (
    DemoStarted
    | Nothing
    | TokenIssued
    | CustomerUpdated
    | CustomerArchived
    | RecordsMerged
    | CustomerErased
    | LicenceRegistered
    | LicenceUpgraded
    | LicenceWithdrawn
    | ContractSigned
    | ContractCancelled
    | TicketsPurchased
    | Corrected
    | CaseOpened
    | CaseRefused
    | CaseCommented
    | CaseRedacted
    | CaseChanged
    | ClosureChanged
    | WebhookChanged
    | WebhookFailing
    | WebhookDisabled
)
"""The data of any event: a shape or one that extends it."""
