"""Cases as they are read and listed, the work queue (R31), the timeline and its comments."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import (
    JSON,
    ColumnElement,
    Row,
    Select,
    case,
    func,
    literal_column,
    or_,
    select,
)

from app.errors import InsufficientScope
from app.policy.allocate import Source, kind_of
from app.policy.cases import OPEN
from app.policy.facts import CasePaidBy, Facts
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, of_customer, visible, within
from app.store.event_types import CaseCommented, EventType
from app.store.keyset import Listing
from app.store.ledger import Ledger
from app.store.tables import cases, events

Category = Literal["problem", "question", "bug"]
Priority = Literal["high", "normal", "low"]
PayWith = Literal["auto", "free_hours", "contract", "ticket"]


class TimelineEntry(NamedTuple):
    """An event of a case: who did what and when."""

    case_id: UUID
    occurred_at: datetime
    type: str
    actor: str
    data: Mapping[str, Any]


PAYER = """(SELECT json_build_object('kind', b.kind,
        'id', coalesce(c.id, p.id), 'number', coalesce(c.number, p.number),
        'service_year_start', y.starts_on)
    FROM balances b
    LEFT JOIN contracts c ON c.id = b.allowance_id
    LEFT JOIN ticket_packs p ON p.id = b.allowance_id
    LEFT JOIN service_years y ON y.id = b.allowance_id
    WHERE b.allowance_id = {allowance})"""
"""SQL for an allowance as JSON: its kind, and its id and number or its first day."""
_SUMS: tuple[ColumnElement[Any], ...] = (
    literal_column(PAYER.format(allowance="cases.allowance_id"), JSON).label("payer"),
    literal_column(
        """(SELECT coalesce(sum(minutes), 0) FROM time_entries
            WHERE case_id = cases.id AND reversed_at IS NULL)"""
    ).label("worked_minutes"),
    literal_column(
        "(SELECT coalesce(sum(used_minutes), 0) FROM ledger WHERE case_id = cases.id)"
    ).label("charged_minutes"),
    literal_column(
        "(SELECT coalesce(sum(overrun_minutes), 0) FROM ledger WHERE case_id = cases.id)"
    ).label("overrun_minutes"),
)
WHOLE: tuple[Any, ...] = (cases, *_SUMS)
"""The columns of a case as it is read: its own, what pays for it (`payer`) and its sums."""

_EXACT = ("state", "technician", "channel", "category")
_PRIORITY_ORDER = case({"high": 0, "normal": 1, "low": 2}, value=cases.c.priority)
_QUEUE_ORDER = (cases.c.priority_support.desc(), _PRIORITY_ORDER, cases.c.opened_at, cases.c.id)
_NOT_INTERNAL = func.coalesce(events.c.data["internal"].as_boolean(), False).is_(False)


def whole(work: UnitOfWork) -> Select[Any]:
    """Every case in sight, as `WHOLE`."""
    return visible(work.caller, cases).add_columns(*_SUMS)


async def read(work: UnitOfWork, key: str | UUID) -> Row[Any]:
    """One case, by id or number, as `WHOLE`. Raises NotFound."""
    return await find(work, cases, key, whole(work))


def _matching(
    work: UnitOfWork,
    *,
    customer_id: str | None,
    opened_after: datetime | None,
    opened_before: datetime | None,
    q: str | None,
    **exact: Any,
) -> Select[Any]:
    rows = whole(work)
    if customer_id is not None:
        rows = rows.where(of_customer(cases, customer_id))
    for name in _EXACT:
        if exact[name] is not None:
            rows = rows.where(cases.c[name] == exact[name])
    if opened_after is not None:
        rows = rows.where(cases.c.opened_at > opened_after)
    if opened_before is not None:
        rows = rows.where(cases.c.opened_at < opened_before)
    if q is not None:
        in_subject = cases.c.subject.icontains(q, autoescape=True)
        rows = rows.where(or_(in_subject, cases.c.number.istartswith(q, autoescape=True)))
    return rows


def search(work: UnitOfWork, **filters: Any) -> Listing:
    """Cases as `read` gives them, newest first.

    `filters`, each of them None for any: `customer_id` (an id or code), `state`, `technician`,
    `channel`, `category`, `opened_after`, `opened_before` (both exclusive), and `q`, which is part
    of a subject or the beginning of a number.
    """
    order = (cases.c.opened_at, cases.c.id)
    return Listing("cases", _matching(work, **filters), order, descending=True)


async def queue(work: UnitOfWork, limit: int, **filters: Any) -> Sequence[Row[Any]]:
    """The first open cases in the order in which to work on them (R31); `filters` as `search`."""
    rows = _matching(work, **filters).where(cases.c.state.in_(OPEN))
    query = rows.order_by(*_QUEUE_ORDER).limit(limit)
    found: Sequence[Row[Any]] = (await work.connection.execute(query)).all()
    return found


async def timeline(work: UnitOfWork, key: str) -> Listing:
    """The events of a case as `TimelineEntry`, oldest first. Raises NotFound.

    A bound token does not see what staff write for themselves, and its pages are as long as if
    that were not there.
    """
    row = await find(work, cases, key)
    rows = select(events.c.id, *(events.c[name] for name in TimelineEntry._fields))
    rows = rows.where(events.c.case_id == row.id, within(work.caller, events))
    if work.caller.customer_id is not None:
        rows = rows.where(_NOT_INTERNAL)
    return Listing(f"timeline {row.id}", rows, (events.c.id,))


async def comment(work: UnitOfWork, key: str, *, body: str, internal: bool) -> TimelineEntry:
    """Add a comment to a case's timeline. Raises InsufficientScope, NotFound.

    An internal comment is for staff, and only staff write one.
    """
    if internal and not work.caller.may("cases:work"):
        raise InsufficientScope("cases:work")
    row = await find(work, cases, key)
    type_ = EventType.CASE_COMMENTED
    data: CaseCommented = {"number": row.number, "body": body, "internal": internal}
    await work.record(type_, data, customer_id=row.customer_id, subject_id=row.id, case_id=row.id)
    return TimelineEntry(row.id, work.now, type_, work.caller.name, data)


class Binding(NamedTuple):
    """What pays for a case, by the names of the columns."""

    paid_by: CasePaidBy = "none"
    allowance_id: UUID | None = None
    ticket_position: int | None = None

    @property
    def ticket(self) -> tuple[UUID, int] | None:
        """The pack and position of the ticket that pays."""
        if self.allowance_id is None or self.ticket_position is None:
            return None
        return self.allowance_id, self.ticket_position


async def binding(ledger: Ledger, facts: Facts, source: Source | None) -> Binding:
    """Bind a case to an allowance; to the ticket of a pack that comes first (R18)."""
    allowance_id = await ledger.allowance_id(facts, source)
    return Binding(kind_of(source), allowance_id, await ledger.position_of(source))
