"""Usage and statements on the wire."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from app.http.decisions import CustomerName
from app.http.fields import CivilDate, Output, Query, QueryInstant
from app.http.tables import Cell, Kind, Table, TableQuery
from app.policy.document import Column, Service
from app.policy.usage import Allowance, AllowanceKind, AllowanceState
from app.services import usage as service
from app.services.standings import Counts
from app.store.facts import Known


class UsageQuery(Query):
    at: QueryInstant | None = None


class ColumnsQuery(TableQuery):
    at: QueryInstant | None = None


class ColumnCount(Output):
    """How many customers stand in a column."""

    column: Column
    customers: int = Field(description="Those that stand in it.")


class ServiceCount(Output):
    """How many customers may use a service."""

    service: Service
    customers: int = Field(description="Those that may use it.")


class ColumnsBody(Output):
    """How many customers stand in each column and may use each service."""

    at: datetime
    customers: int = Field(description="All customers, archived ones included.")
    columns: list[ColumnCount] = Field(
        description="A customer may stand in several columns, so that they add up to more."
    )
    services: list[ServiceCount]

    @staticmethod
    def of(counts: Counts) -> dict[str, Any]:
        """The answer without `at`, ready to be serialised."""
        return {
            "customers": counts.customers,
            "columns": [
                {"column": column, "customers": number} for column, number in counts.columns.items()
            ],
            "services": [
                {"service": service, "customers": number}
                for service, number in counts.services.items()
            ],
        }


COLUMNS = Table("columns", dimension="text", value="text", customers="integer")


def column_rows(counts: Counts) -> Iterator[tuple[Cell, ...]]:
    """One row for each column, then one for each service."""
    for dimension, found in (("column", counts.columns), ("service", counts.services)):
        for value, customers in found.items():
            yield dimension, value, customers


class HoursUsage(Output):
    """Free hours, or a contract's: granted = used + remaining + lapsed."""

    kind: Literal["free_hours", "contract"]
    id: UUID | None = None
    number: str | None = None
    starts_on: date
    ends_on: date = Field(description="A cancelled contract's is the day of its cancellation.")
    state: AllowanceState
    granted_minutes: int
    used_minutes: int
    remaining_minutes: int = Field(description="What can still be used.")
    lapsed_minutes: int = Field(description="What was left when the allowance ended.")
    overrun_minutes: int


class TicketsUsage(Output):
    """A ticket pack: quantity = available + held + consumed + cancelled + expired."""

    kind: Literal["ticket_pack"]
    id: UUID
    number: str
    starts_on: date
    ends_on: date
    state: AllowanceState
    quantity: int
    available: int
    held: int
    consumed: int
    cancelled: int = Field(description="Tickets taken out of the pack unused.")
    expired: int


class CaseTotals(Output):
    """How many cases were opened, and how they stand."""

    opened: int = Field(description="All: open, closed and cancelled.")
    open: int = Field(description="How many are open, whoever has to act next.")
    closed: int
    cancelled: int


class TotalsBody(Output):
    """Totals over all cases and allowances."""

    cases: CaseTotals
    worked_minutes: int
    charged_minutes: int = Field(description="The part that allowances paid for.")
    overrun_minutes: int = Field(description="The part that no allowance paid for.")


class UsageBody(Output):
    """A customer's allowances and totals at an instant."""

    customer: CustomerName
    at: datetime
    on: date
    allowances: list[HoursUsage | TicketsUsage]
    totals: TotalsBody

    @staticmethod
    def of(usage: service.Usage) -> dict[str, Any]:
        """The answer without `at`, ready to be serialised."""
        totals = usage.totals
        return {
            "customer": _name_of(usage.customer),
            "on": usage.on,
            "allowances": [_allowance_usage(one) for one in usage.allowances],
            "totals": {
                "cases": {name: getattr(totals, name) for name in CaseTotals.model_fields},
                "worked_minutes": totals.worked_minutes,
                "charged_minutes": totals.charged_minutes,
                "overrun_minutes": totals.overrun_minutes,
            },
        }


class StatementQuery(TableQuery):
    """Civil dates, `to` excluded; at most ten years."""

    from_: CivilDate = Field(alias="from")
    to: CivilDate


class Balance(Output):
    """Where an allowance stands: minutes for free hours and contracts, tickets for packs."""

    used_minutes: int
    overrun_minutes: int
    held: int = Field(description="Tickets held by open cases.")
    consumed: int = Field(description="Tickets used up by closed cases.")
    cancelled: int = Field(description="Tickets taken out of their pack unused.")


class StatementMovement(Output):
    """What a ledger entry adds to each part of the balance, and the balance after it."""

    entry: int = Field(
        description="The number of the entry among the customer's, in the order of recording."
    )
    kind: Literal[
        "charge",
        "overrun",
        "reversal",
        "hold",
        "consumption",
        "reopening",
        "release",
        "cancellation",
    ] = Field(
        description=(
            "What the entry records: minutes charged, minutes of overrun, the reversal of either; "
            "a ticket held at opening, consumed at closing, held again at reopening, released, or "
            "taken out of its pack unused."
        )
    )
    counts_on: date = Field(
        description="A reversal counts on the day of what it reverses. The cancellation of a ticket"
        " counts on the day as of which it was cancelled, or on that on which a case last gave the"
        " ticket back if that is later."
    )
    recorded_at: datetime
    case_number: str | None = Field(
        description="The case that used the minutes or the ticket. Null for a cancelled ticket."
    )
    cause_case_number: str | None = Field(
        description="The case that gave back the minutes which cover an overrun."
    )
    technician: str | None
    worked_at: datetime | None
    ticket_position: int | None
    reverses: int | None = Field(description="The `entry` that it takes back, in whole or in part.")
    used_minutes: int
    overrun_minutes: int
    held: int
    consumed: int
    cancelled: int = Field(description="Tickets taken out of their pack unused.")
    balance: Balance


class StatementAllowance(Output):
    """Minutes for free hours and contracts, tickets for packs."""

    kind: AllowanceKind
    id: UUID | None
    number: str | None
    starts_on: date
    ends_on: date
    state: AllowanceState = Field(description="On the period's last day.")
    granted: int
    remaining: int = Field(description="What can still be used after the period.")
    lapsed: int = Field(description="What was left when the allowance ended.")


class StatementGroup(Output):
    """Opening + movements = closing, in each part of the balance."""

    allowance: StatementAllowance | None = Field(
        description="Null for the overrun of cases that no allowance pays for."
    )
    opening: Balance
    movements: list[StatementMovement]
    closing: Balance


class Statement(Output):
    """Every movement that counts in [from, to)."""

    customer: CustomerName
    from_: date = Field(alias="from")
    to: date
    groups: list[StatementGroup]

    @staticmethod
    def of(statement: service.Statement) -> dict[str, Any]:
        """The answer, ready to be serialised."""
        return {
            "customer": _name_of(statement.customer),
            "from": statement.start,
            "to": statement.end,
            "groups": [_group(account) for account in statement.accounts],
        }


def _name_of(customer: Known) -> dict[str, Any]:
    return {"id": customer.id, "code": customer.code, "name": customer.name}


def _allowance_usage(one: Allowance) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": one.kind,
        "starts_on": one.starts_on,
        "ends_on": one.ends_on,
        "state": one.state,
    }
    if one.kind != "free_hours":
        body |= {"id": one.key, "number": one.number}
    if one.kind == "ticket_pack":
        return body | {
            "quantity": one.granted,
            "available": one.left,
            "held": one.held,
            "consumed": one.used,
            "cancelled": one.cancelled,
            "expired": one.lapsed,
        }
    return body | {
        "granted_minutes": one.granted,
        "used_minutes": one.used,
        "remaining_minutes": one.left,
        "lapsed_minutes": one.lapsed,
        "overrun_minutes": one.overrun,
    }


def _group(account: service.Account) -> dict[str, Any]:
    one = account.allowance
    return {
        "allowance": one
        and {
            "kind": one.kind,
            "id": None if one.kind == "free_hours" else one.key,
            "number": one.number,
            "starts_on": one.starts_on,
            "ends_on": one.ends_on,
            "state": one.state,
            "granted": one.granted,
            "remaining": one.left,
            "lapsed": one.lapsed,
        },
        "opening": account.opening._asdict(),
        "movements": [
            {name: value for name, value in movement._asdict().items() if name != "allowance"}
            | {"balance": balance._asdict()}
            for movement, balance in account.movements
        ],
        "closing": account.closing._asdict(),
    }


_PARTS: dict[str, Kind] = dict.fromkeys(service.Balance._fields, "integer")
_OF_ALLOWANCE: dict[str, Kind] = {
    "kind": "text",
    "number": "text",
    "starts_on": "date",
    "ends_on": "date",
    "granted": "integer",
}
_OF_MOVEMENT: dict[str, Kind] = {
    "entry": "integer",
    "reverses": "integer",
    "recorded_at": "instant",
    "case_number": "text",
    "cause_case_number": "text",
    "technician": "text",
    "worked_at": "instant",
    "ticket_position": "integer",
    **_PARTS,
}
MOVEMENTS = Table(
    "statement",
    **{f"allowance_{name}": kind for name, kind in _OF_ALLOWANCE.items()},
    line="text",
    counts_on="date",
    **_OF_MOVEMENT,
    **{f"balance_{name}": kind for name, kind in _PARTS.items()},
    remaining="integer",
    lapsed="integer",
)


def statement_rows(statement: service.Statement) -> Iterator[list[Cell]]:
    """One line for each movement, between an opening and a closing one for each allowance."""
    blank: list[Cell] = [None] * len(_OF_MOVEMENT)
    for one, opening, movements, closing in statement.accounts:
        first: list[Cell] = ["none", *blank[1 : len(_OF_ALLOWANCE)]]
        if one is not None:
            first = [getattr(one, name) for name in _OF_ALLOWANCE]
        yield [*first, "opening", statement.start, *blank, *opening, None, None]
        for movement, balance in movements:
            fields = [getattr(movement, name) for name in _OF_MOVEMENT]
            yield [*first, movement.kind, movement.counts_on, *fields, *balance, None, None]
        last = (one.left, one.lapsed) if one is not None else (None, None)
        yield [*first, "closing", statement.end, *blank, *closing, *last]
