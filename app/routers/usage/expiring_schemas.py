"""Allowances about to end, nearly spent or over, on the wire."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from app.http.decisions import CustomerName
from app.http.fields import Digits, Key, Output
from app.http.paging import PageQuery
from app.http.tables import Row, Table, TableQuery
from app.policy.facts import Step
from app.policy.remedies import Why
from app.policy.usage import AllowanceKind
from app.services.expiring import LEAST_PERCENT, Asked, Expiring, Page

LONGEST_DAYS = 3_660


class ExpiringQuery(PageQuery, TableQuery):
    within_days: Annotated[int, Field(ge=0, le=LONGEST_DAYS), Digits] = Field(
        default=30, description="`ending`: what ends within so many days."
    )
    used_percent: Annotated[int, Field(ge=LEAST_PERCENT, le=100), Digits] = Field(
        default=75, description="`nearly_spent`: what is used up to so many per cent, or more."
    )
    kind: AllowanceKind | None = Field(default=None, description="Only allowances of this kind.")
    renewed: bool | None = Field(
        default=None,
        description="Only those that have a successor which leaves no day uncovered, or none.",
    )
    customer_id: Key | None = None

    def asked(self) -> Asked:
        return Asked(self.within_days, self.used_percent, self.kind, self.renewed, self.customer_id)

    def text(self) -> str:
        """What was asked apart from the page, as one text."""
        page = {"limit", "cursor", "format", "dialect"}
        return f"expiring {self.model_dump_json(exclude=page, exclude_defaults=True)}"


class Successor(Output):
    """The allowance that leaves no day uncovered: a contract, a pack, or the next service year."""

    id: UUID | None = Field(description="Null for a service year.")
    number: str | None = Field(description="Null for a service year.")
    service_year_start: date | None = Field(description="Null for a contract or a pack.")


class AnnouncedLevels(Output):
    """The notices that were sent of an allowance (`allowance.notice`)."""

    episode: int = Field(description="Counts how often its notices began anew.")
    ending: list[int] = Field(description="Levels announced, in days before the end.")
    used: list[int] = Field(description="Levels announced in this episode, in per cent.")


class ExpiringAllowance(Output):
    """An allowance that ends soon, is nearly spent, or is overrun."""

    customer: CustomerName
    kind: AllowanceKind
    id: UUID | None = Field(description="Null for a service year.")
    number: str | None = Field(description="Null for a service year.")
    starts_on: date
    ends_on: date = Field(description="The first day on which it pays for no new case.")
    days_left: int = Field(description="Until `ends_on`; 0 once it has ended.")
    granted: int = Field(description="Minutes of free hours or a contract, tickets of a pack.")
    used: int = Field(description="Minutes charged, or tickets consumed.")
    held: int
    left: int = Field(description="What can still pay for cases.")
    used_percent: int | None = Field(
        description=(
            "What cannot pay for new cases any more, of what was not cancelled, rounded down. Null "
            "for a pack whose tickets were all cancelled."
        )
    )
    overrun_minutes: int
    why: list[Why] = Field(
        description="Why it is listed. One that has ended is listed for its overrun alone."
    )
    renewed_by: Successor | None = Field(description="Null if some day would be left uncovered.")
    step: Step | None = Field(
        description="The step that would help; null where none is needed, or none would."
    )
    announced: AnnouncedLevels = Field(description="The notices that were sent of it.")


class ExpiringBody(Output):
    """Allowances about to end, nearly spent or over, by the day on which they end."""

    on: date = Field(description="The civil date that the answer is about.")
    items: list[ExpiringAllowance]
    next_cursor: str | None

    @staticmethod
    def of(page: Page, next_cursor: str | None) -> dict[str, Any]:
        """The answer, ready to be serialised."""
        return {
            "on": page.on,
            "items": [_item(one) for one in page.items],
            "next_cursor": next_cursor,
        }


def _item(one: Expiring) -> dict[str, Any]:
    allowance, owner = one.allowance, one.customer
    year = allowance.kind == "free_hours"
    successor = allowance.renewed_by
    return {
        "customer": {"id": owner.customer, "code": owner.code, "name": owner.name},
        "kind": allowance.kind,
        "id": None if year else allowance.key,
        "number": allowance.number,
        "starts_on": allowance.starts_on,
        "ends_on": allowance.stops_on,
        "days_left": one.days_left,
        "granted": allowance.granted,
        "used": allowance.used,
        "held": allowance.held,
        "left": one.left,
        "used_percent": allowance.used_percent,
        "overrun_minutes": allowance.overrun,
        "why": list(one.why),
        "renewed_by": successor
        and {
            "id": None if year else successor,
            "number": owner.successor,
            "service_year_start": successor if year else None,
        },
        "step": one.step,
        "announced": {
            "episode": one.announced.episode,
            "ending": list(one.announced.ending),
            "used": list(one.announced.used),
        },
    }


EXPIRING = Table(
    "expiring",
    customer="text",
    customer_code="text",
    customer_name="text",
    allowance_kind="text",
    allowance_number="text",
    allowance_starts_on="date",
    allowance_ends_on="date",
    days_left="integer",
    allowance_granted="integer",
    used="integer",
    held="integer",
    remaining="integer",
    used_percent="integer",
    overrun_minutes="integer",
    why="text",
    renewed_by="text",
    step="text",
)


def expiring_rows(items: Iterable[Expiring]) -> Iterator[Row]:
    for one in items:
        allowance, owner = one.allowance, one.customer
        yield [
            owner.customer,
            owner.code,
            owner.name,
            allowance.kind,
            allowance.number,
            allowance.starts_on,
            allowance.stops_on,
            one.days_left,
            allowance.granted,
            allowance.used,
            allowance.held,
            one.left,
            allowance.used_percent,
            allowance.overrun,
            " ".join(one.why),
            owner.successor or allowance.renewed_by,
            one.step,
        ]
