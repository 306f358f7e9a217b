"""Every type of event, with the shape of its data.

The data is stored as JSON: dates and instants are texts in ISO 8601, ids are texts.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NotRequired, TypedDict


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


class LicenceRegistered(TypedDict):
    """A new licence, or a correction: then `before` and `after` have the corrected fields only."""

    serial_number: str
    before: NotRequired[Mapping[str, str]]
    after: Mapping[str, str]


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


class ContractSigned(TypedDict):
    number: str
    starts_on: str
    ends_on: str
    included_minutes: int


class ContractRenewed(ContractSigned):
    """`number` is the successor's."""

    renews: str
    """The number of the contract that it succeeds."""
    taken_over_minutes: int


class ContractCancelled(TypedDict):
    number: str
    cancelled_on: str
    reason: str


class TicketsPurchased(TypedDict):
    number: str
    quantity: int
    purchased_on: str
    expires_on: str


class Decision(TypedDict):
    """What is kept of a decision (R33)."""

    policy: str
    columns: list[str]
    allowance_id: str | None
    """What pays; null if nothing is counted."""


class Refusal(Decision):
    reasons: list[str]
    """As `column:code`."""
    unlocked_by: list[str]


class CaseOpened(TypedDict):
    number: str
    state: str
    paid_by: str
    channel: str
    subject: str
    decision: Decision


class CaseRefused(TypedDict):
    """A case that was not opened (R33)."""

    channel: str
    pay_with: str | None
    decision: Refusal


class CaseCommented(TypedDict):
    number: str
    body: str
    internal: bool


class CaseChanged(TypedDict):
    """Every step of a case says what the case is after it: past answers read it here (R13)."""

    number: str
    state: str
    paid_by: str
    before: NotRequired[dict[str, Any]]
    """The fields that the step changed, if any, and their values before it."""
    after: NotRequired[dict[str, Any]]


class Covered(TypedDict):
    """Overrun that minutes given back have covered (R22); left out if none was."""

    covered: NotRequired[list[dict[str, Any]]]


class Reason(TypedDict):
    reason: str


class Closing(TypedDict):
    resolution: str
    requester: Mapping[str, Any]
    """Whom to tell (R32)."""


class Work(TypedDict):
    time_entry_id: str
    technician: str
    minutes: int
    worked_at: str
    charges: list[dict[str, Any]]
    """What each allowance paid."""
    overrun_minutes: int


class Reversal(Reason, Covered):
    time_entry_id: str
    minutes: int


CaseDetails = Covered | Reason | Closing | Work | Reversal
"""What a step of a case says beyond `CaseChanged`."""


class CaseReclassified(CaseChanged, Covered):
    pass


class CaseClosed(CaseChanged, Closing):
    pass


class CaseReasoned(CaseChanged, Reason):
    """A case reopened or cancelled."""


class TimeRecorded(CaseChanged, Work):
    pass


class TimeReversed(CaseChanged, Reversal):
    pass


class EventType(StrEnum):
    """The types of events, each with the shape of its data as `data`."""

    data: type

    def __new__(cls, value: str, data: type) -> "EventType":
        member = str.__new__(cls, value)
        member._value_ = value
        member.data = data
        return member

    DEMO_STARTED = "demo.started", DemoStarted
    DEMO_LOADED = "demo.loaded", Nothing
    TOKEN_ISSUED = "token.issued", TokenIssued
    CUSTOMER_UPDATED = "customer.updated", CustomerUpdated
    LICENCE_REGISTERED = "licence.registered", LicenceRegistered
    LICENCE_UPGRADED = "licence.upgraded", LicenceUpgraded
    LICENCE_WITHDRAWN = "licence.withdrawn", LicenceWithdrawn
    CONTRACT_SIGNED = "contract.signed", ContractSigned
    CONTRACT_RENEWED = "contract.renewed", ContractRenewed
    CONTRACT_CANCELLED = "contract.cancelled", ContractCancelled
    TICKETS_PURCHASED = "tickets.purchased", TicketsPurchased
    CASE_OPENED = "case.opened", CaseOpened
    CASE_REFUSED = "case.refused", CaseRefused
    CASE_COMMENTED = "case.commented", CaseCommented
    CASE_CHANGED = "case.changed", CaseChanged
    CASE_ASSIGNED = "case.assigned", CaseChanged
    CASE_RECLASSIFIED = "case.reclassified", CaseReclassified
    CASE_CLOSED = "case.closed", CaseClosed
    CASE_REOPENED = "case.reopened", CaseReasoned
    CASE_CANCELLED = "case.cancelled", CaseReasoned
    TIME_RECORDED = "time.recorded", TimeRecorded
    TIME_REVERSED = "time.reversed", TimeReversed


EventData = (
    DemoStarted
    | Nothing
    | TokenIssued
    | CustomerUpdated
    | LicenceRegistered
    | LicenceUpgraded
    | LicenceWithdrawn
    | ContractSigned
    | ContractCancelled
    | TicketsPurchased
    | CaseOpened
    | CaseRefused
    | CaseCommented
    | CaseChanged
)
"""The data of any event: a shape or one that extends it."""
