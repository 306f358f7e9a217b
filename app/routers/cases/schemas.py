"""Cases on the wire."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from app.http.corrections import Correction
from app.http.fields import (
    CUSTOMER,
    Code,
    Email,
    HttpUrl,
    Id,
    Input,
    Instant,
    Key,
    MergePatch,
    Minutes,
    Name,
    NotBlank,
    Output,
    QueryFlag,
    QueryInstant,
    ShortText,
    Sound,
    Text,
    absent,
)
from app.http.paging import PageQuery
from app.policy.cases import State
from app.policy.document import Channel
from app.policy.facts import CasePaidBy
from app.services.cases import Category, PayWith, Priority

Phone = Annotated[str, Field(min_length=1, max_length=60), Sound, NotBlank]


class RequesterFields(Input):
    """Who asks: a contact of the customer, or a person named for this case only."""

    contact_id: Id | None = None
    name: Name
    email: Email | None = None
    phone: Phone | None = None


class NewCase(Input):
    """A case to open."""

    customer_id: Key | None = Field(
        default=None, description=f"{CUSTOMER} Optional with a token bound to one customer."
    )
    requester: RequesterFields
    subject: ShortText
    description: Text
    channel: Channel = "email"
    category: Literal["problem", "question", "bug", "training"] = Field(
        default="problem", description="`training` is always refused: support does not include it."
    )
    priority_requested: Priority = "normal"
    pay_with: PayWith = "auto"
    serial_number: Code | None = None
    product: Name | None = None
    product_version: ShortText | None = None
    steps_to_reproduce: Text | None = None
    example_url: HttpUrl | None = None
    opened_at: Instant | None = Field(
        default=None,
        description="For staff: when the case was really opened, in the past. By default now.",
    )


class RequesterPatch(MergePatch):
    """Changes of the requester (RFC 7396)."""

    contact_id: Id | None = absent()
    name: Name = absent()
    email: Email | None = absent()
    phone: Phone | None = absent()


class CasePatch(MergePatch):
    """Changes of a case (RFC 7396): what is left out stays, null clears."""

    technician: Name | None = absent()
    priority: Priority = absent()
    category: Category = absent()
    product: Name | None = absent()
    product_version: ShortText | None = absent()
    subject: ShortText = absent()
    serial_number: Code | None = absent()
    requester: RequesterPatch = absent()

    def changes(self) -> dict[str, Any]:
        found = super().changes()
        if "requester" in found:
            found["requester"] = self.requester.changes()
        return found


class Move(Correction):
    """A case of the wrong customer, and whose it is."""

    customer_id: Key = Field(description="The right customer, by id or code.")
    serial_number: Code | None = Field(
        default=None, description="Of a licence of the right customer. By default the case's own."
    )
    as_overrun: bool = Field(
        default=False,
        description="Move it even if nothing there pays for it; its minutes are overrun then.",
    )


class Transition(Input):
    """A step of an open case."""

    to: Literal["in_progress", "waiting_for_customer"] = Field(
        description="The state to which the case goes."
    )


class NewComment(Input):
    """A comment on a case."""

    body: Text
    internal: bool = Field(
        default=False, description="For staff: hidden from tokens bound to a customer."
    )


class NewTimeEntry(Input):
    """Time worked on a case."""

    technician: Name
    minutes: Minutes
    worked_at: Instant | None = Field(
        default=None, description="When the work began. Default: now."
    )
    note: Text | None = None
    internal: bool = Field(
        default=False, description="The note is for staff: hidden from tokens bound to a customer."
    )


class ReasonGiven(Input):
    """Why something is done."""

    reason: ShortText


class Closure(Input):
    """The end of a case."""

    resolution: Text


class Binding(Input):
    """What is to pay for a case."""

    pay_with: PayWith = "auto"


class Requester(Output):
    """Who asked."""

    contact_id: UUID | None
    name: str
    email: str | None
    phone: str | None


class Payer(Output):
    """The allowance that pays: a contract or ticket pack by id and number, or a service year."""

    kind: CasePaidBy
    id: UUID | None = None
    number: str | None = None
    service_year_start: date | None = None


class Case(Output):
    """A support case."""

    id: UUID
    number: str
    customer_id: UUID
    requester: Requester
    serial_number: str | None
    serial_verified: bool = Field(
        description="The serial number is that of a licence that the customer held at opening."
    )
    product: str | None
    product_version: str | None
    channel: Channel
    category: Category
    priority_requested: Priority
    priority: Priority
    priority_support: bool
    subject: str
    description: str
    steps_to_reproduce: str | None
    example_url: str | None
    technician: str | None
    state: State
    paid_by: Payer
    worked_minutes: int
    charged_minutes: int
    overrun_minutes: int
    resolution: str | None
    opened_at: datetime
    closed_at: datetime | None
    moved_to: UUID | None = Field(
        description="The id of the right customer's case that this one became. Null with a token"
        " bound to a customer."
    )
    moved_from: UUID | None = Field(
        description="The id of the wrong customer's case that this one was. Null with a token bound"
        " to a customer."
    )

    @classmethod
    def of(cls, row: Any) -> "Case":
        stored = row._mapping
        return cls(
            requester=Requester(
                contact_id=row.requester_contact_id,
                name=row.requester_name,
                email=row.requester_email,
                phone=row.requester_phone,
            ),
            serial_verified=(
                row.serial_number is not None
                if row.serial_verified is None
                else row.serial_verified
            ),
            paid_by=Payer(**(row.payer or {"kind": "none"})),
            **{name: stored[name] for name in _OWN},
        )


_OWN = Case.model_fields.keys() - {"requester", "paid_by", "serial_verified"}


class Charge(Output):
    """What an allowance pays of a time entry."""

    allowance: Payer
    minutes: int


class TimeEntry(Output):
    """Time worked on a case, and what paid for it."""

    id: UUID
    case_id: UUID
    technician: str
    minutes: int
    worked_at: datetime
    note: str | None = Field(description="Null where it is internal and the token is bound.")
    internal: bool = Field(description="The note is for staff alone.")
    recorded_at: datetime
    reversed_at: datetime | None
    reversal_reason: str | None
    charges: list[Charge]
    overrun_minutes: int

    @classmethod
    def of(cls, row: Any) -> "TimeEntry":
        stored = row._mapping
        return cls(**{name: stored[name] for name in cls.model_fields})


class TimelineEntry(Output):
    """Something that happened to a case."""

    at: datetime = Field(description="When it happened.")
    type: str = Field(description="What happened, such as `case.opened`.")
    actor: str
    data: dict[str, Any] = Field(description="What changed, in members that depend on `type`.")

    @classmethod
    def of(cls, event: Any) -> "TimelineEntry":
        return cls(at=event.occurred_at, type=event.type, actor=event.actor, data=event.data)


class CasesQuery(PageQuery):
    customer_id: Key | None = Field(default=None, description=CUSTOMER)
    state: State | None = None
    technician: Name | None = Field(default=None, description="In upper or lower case.")
    serial_number: Code | None = Field(
        default=None, description="As the case names it, in upper or lower case."
    )
    channel: Channel | None = None
    category: Category | None = None
    opened_after: QueryInstant | None = None
    opened_before: QueryInstant | None = None
    q: Annotated[str, Field(min_length=1, max_length=200), Sound, NotBlank] | None = Field(
        default=None,
        description=(
            "Words of the number, subject, description, requester (name, e-mail address, telephone"
            " number) or serial number, or parts of words. A word of one or two characters is a"
            " beginning. All of them must occur."
        ),
    )
    queue: QueryFlag = Field(
        default=False,
        description="The work queue: open cases in the order in which to work on them.",
    )
