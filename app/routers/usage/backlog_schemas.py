"""The backlog on the wire."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from app.http.fields import Output
from app.http.tables import Row, Table
from app.policy.cases import State
from app.policy.document import Channel
from app.services import backlog as service
from app.services.cases import Priority

Dimension = Literal["state", "channel", "priority", "technician", "age"]


class BacklogRow(Output):
    """How many open cases have a value of a dimension."""

    dimension: Dimension = Field(
        description=(
            "By what they are counted. Each open case counts once in each dimension; of "
            "technicians there are at most the 200 with most cases."
        )
    )
    value: str | None = Field(
        description=(
            "A state, channel or priority; a technician's name, null for cases that nobody has; "
            "of `age` the first and the last working minute, such as `60-239`, `2400-` for all "
            "older ones, null for cases that were opened just now and not measured yet."
        )
    )
    cases: int = Field(description="How many open cases.")
    unanswered: int = Field(description="How many of them have no first response yet.")


class OldCase(Output):
    """An open case, without a word of it."""

    number: str
    state: State
    channel: Channel
    priority: Priority
    priority_support: bool
    technician: str | None
    opened_at: datetime
    responded_at: datetime | None = Field(
        description="When staff first answered it. Null before that."
    )
    age_minutes: int | None = Field(
        description=(
            "For how long it has run, in working time of the customer's help desk: not while it "
            "waits for the customer. Null until it is measured, within a second or so."
        )
    )
    due_at: datetime | None = Field(
        description=(
            "Until when the next time that the policy promises is kept: that of the first "
            "response, then that of the resolution. Null where none is promised, while the case "
            "waits for the customer, and after the time has passed."
        )
    )
    overdue: bool = Field(description="Whether a time that the policy promises has passed.")


class BacklogBody(Output):
    """The open cases by what they have in common, and the oldest of them."""

    as_of: datetime = Field(
        description=(
            "The instant of the answer. First responses and ages follow a write within a second or "
            "so."
        )
    )
    open: int = Field(description="How many cases are open, whoever has to act next.")
    unanswered: int = Field(description="How many of them have no first response yet.")
    items: list[BacklogRow] = Field(
        description="By dimension. States, channels, priorities and ages are there with zeros too."
    )
    oldest: list[OldCase] = Field(description="The 200 that were opened first.")

    @staticmethod
    def of(found: service.Backlog) -> dict[str, Any]:
        """The answer without `as_of`, ready to be serialised."""
        return {
            "open": found.open,
            "unanswered": found.unanswered,
            "items": [one._asdict() for one in found.counts],
            "oldest": [_old_case(one) for one in found.oldest],
        }


def _old_case(one: service.Aged) -> dict[str, Any]:
    names = [name for name in OldCase.model_fields if name != "age_minutes"]
    return {name: getattr(one.case, name) for name in names} | {"age_minutes": one.age_minutes}


BACKLOG = Table("backlog", dimension="text", value="text", cases="integer", unanswered="integer")


def backlog_rows(found: service.Backlog) -> Iterator[Row]:
    """The counts; a workbook has no place for the oldest cases."""
    yield from found.counts
