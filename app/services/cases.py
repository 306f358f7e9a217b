"""Cases as they are read and listed, the work queue (R31), the timeline and its comments."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    FromClause,
    Integer,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    column,
    false,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.errors import InsufficientScope, WrongState
from app.ids import new_id
from app.policy.allocate import Source, kind_of
from app.policy.cases import State
from app.policy.document import Channel
from app.policy.facts import CasePaidBy, Facts
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, find_locked, of_customer, visible, within
from app.store.event_types import CaseCommented, EventType
from app.store.keyset import Listing, Rare
from app.store.ledger import Ledger
from app.store.tables import cases, events
from app.store.tables.text_search import parts
from app.store.tables.work import CASE_TEXT, IS_OPEN, PRIORITY_ORDER

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

_OTHERS = ("moved_to", "moved_from")
"""Columns, and members of an event's data, that name a case of another customer (R47)."""
_KINDS: dict[str, tuple[str, ...]] = {
    "state": get_args(State),
    "channel": get_args(Channel),
    "category": get_args(Category),
}
"""Columns that the list filters by and that have few values, in the order of their index."""
# A case may have three texts of 10,000 characters.
_LONG = ("description", "steps_to_reproduce", "resolution", "example_url")
# The expressions of the indexes.
_TECHNICIAN = func.lower(cases.c.technician)
_SERIAL_NUMBER: ColumnElement[str] = func.lower(literal_column('cases.serial_number COLLATE "C"'))
_IS_OPEN: ColumnElement[bool] = literal_column(f"cases.{IS_OPEN}", Boolean)
_QUEUE_ORDER = (
    cases.c.priority_support.desc(),
    literal_column(PRIORITY_ORDER, Integer),
    cases.c.opened_at,
    cases.c.id,
)
_IS_COMMENT: ColumnElement[bool] = events.c.type == EventType.CASE_COMMENTED
COMMENT_ID: ColumnElement[Any] = literal_column(
    "coalesce(events.data->>'comment_id', CAST(md5(CAST(events.id AS text)) AS uuid)::text)", Text
)
"""The id of a comment. Comments of 0.1 have none in their data."""
_DATA: ColumnElement[Any] = case(
    (_IS_COMMENT, events.c.data.concat(func.jsonb_build_object("comment_id", COMMENT_ID))),
    else_=events.c.data,
).label("data")
_DATA_TO_BOUND: ColumnElement[Any] = _DATA.element.op("-", return_type=JSONB)(
    literal(_OTHERS, ARRAY(Text))
).label("data")
_NOT_INTERNAL = func.coalesce(events.c.data["internal"].as_boolean(), False).is_(False)


def whole(work: UnitOfWork) -> Select[Any]:
    """Every case in sight, as `WHOLE`.

    A bound token does not learn of another customer's case from one that was moved.
    """
    rows = visible(work.caller, cases)
    if work.caller.customer_id is not None:
        own = (c if c.name not in _OTHERS else null().label(c.name) for c in cases.c)
        rows = rows.with_only_columns(*own)
    return rows.add_columns(*_SUMS)


async def read(work: UnitOfWork, key: str | UUID) -> Row[Any]:
    """One case, by id or number, as `WHOLE`. Raises NotFound."""
    return await find(work, cases, key, whole(work))


class Filters(NamedTuple):
    """What to list; None for any."""

    customer_id: str | None = None
    """The id or code of one."""
    state: State | None = None
    technician: str | None = None
    serial_number: str | None = None
    channel: Channel | None = None
    category: Category | None = None
    opened_after: datetime | None = None
    """Exclusive, as is `opened_before`."""
    opened_before: datetime | None = None
    q: str | None = None
    """Parts of words of the number, subject, description, requester or serial number."""


def _conditions(work: UnitOfWork, given: Filters) -> list[ColumnElement[bool]]:
    """What an index answers."""
    where = [within(work.caller, cases)]
    if (customer := given.customer_id) is not None:
        where.append(of_customer(cases, customer))
    where += [
        cases.c[name] == getattr(given, name) for name in _KINDS if getattr(given, name) is not None
    ]
    if (technician := given.technician) is not None:
        where.append(func.lower(technician) == _TECHNICIAN)
    if (serial_number := given.serial_number) is not None:
        where.append(func.lower(serial_number) == _SERIAL_NUMBER)
    if (after := given.opened_after) is not None:
        where.append(cases.c.opened_at > after)
    if (before := given.opened_before) is not None:
        where.append(cases.c.opened_at < before)
    return where


def _has_words(q: str) -> Rare:
    words = parts(q)
    if words is None:
        return Rare(false(), false())
    return Rare(words.match(CASE_TEXT), words.indexed(CASE_TEXT))


def _is_of_few(work: UnitOfWork, given: Filters) -> bool:
    """The filters leave the cases of one customer or one licence: an index finds them all."""
    own = work.caller.customer_id or given.customer_id
    return own is not None or given.serial_number is not None


def _among(given: Filters) -> tuple[FromClause, ColumnElement[bool]] | None:
    """The values of `_KINDS` to look among, so that one index serves every choice of filters."""
    names = ["state"] if given.technician is not None else list(_KINDS)
    if given.technician is None and all(getattr(given, name) is None for name in names):
        return None
    choices = [
        _KINDS[name] if getattr(given, name) is None else (getattr(given, name),) for name in names
    ]
    kinds = values(*(column(name, Text) for name in names), name="kinds").data(
        list(product(*choices))
    )
    return kinds, and_(*(cases.c[name] == kinds.c[name] for name in names))


def _fixed(given: Filters) -> tuple[ColumnElement[str], ...]:
    if given.serial_number is not None:
        return (_SERIAL_NUMBER,)
    return () if given.technician is None else (_TECHNICIAN,)


def search(work: UnitOfWork, given: Filters) -> Listing:
    """Cases as `read` gives them, newest first."""
    few = _is_of_few(work, given)
    where = _conditions(work, given)
    rare = None if given.q is None else _has_words(given.q)
    if few and rare is not None:
        where.append(rare.condition)
        rare = None
    return Listing(
        "cases",
        whole(work),
        (cases.c.opened_at, cases.c.id),
        descending=True,
        where=tuple(where),
        among=None if few else _among(given),
        fixed=_fixed(given),
        rare=rare,
        long_columns=_LONG,
    )


async def queue(work: UnitOfWork, limit: int, given: Filters) -> Sequence[Row[Any]]:
    """The first open cases in the order in which to work on them (R31)."""
    where = _conditions(work, given)
    rare = None
    if given.q is not None:
        words = _has_words(given.q)
        rare = Rare(and_(*where, words.condition), and_(*where, words.indexed))
    elif len(where) > 1:
        rare = Rare(and_(*where), true())
    if rare is not None and _is_of_few(work, given):
        where.append(rare.condition)
        rare = None
    listing = Listing(
        "queue",
        whole(work),
        (cases.c.id,),
        where=(_IS_OPEN, *(where if rare is None else ())),
        rare=rare,
        sort=_QUEUE_ORDER,
        long_columns=_LONG,
    )
    return await listing.first(work.connection, limit)


async def timeline(work: UnitOfWork, key: str) -> Listing:
    """The events of a case as `TimelineEntry`, oldest first. Raises NotFound.

    A bound token does not see what staff write for themselves, and its pages are as long as if
    that were not there.
    """
    row = await find(work, cases, key)
    shown = (events.c[name] for name in TimelineEntry._fields if name != "data")
    bound = work.caller.customer_id is not None
    rows = select(events.c.id, *shown, _DATA_TO_BOUND if bound else _DATA)
    # The case is in sight, and so are its events. Those from before its customer was merged stand
    # under the customer that it had then (R49).
    rows = rows.where(events.c.case_id == row.id)
    if bound:
        rows = rows.where(_NOT_INTERNAL)
    return Listing(f"timeline {row.id}", rows, (events.c.id,), long_columns=("data",))


_TOUCH = (
    update(cases)
    .where(cases.c.id == bindparam("touched_case"))
    .values(updated_at=bindparam("now"), texts_cleared_at=None)
)


async def comment(work: UnitOfWork, key: str, *, body: str, internal: bool) -> TimelineEntry:
    """Add a comment to a case's timeline. Raises InsufficientScope, NotFound, and WrongState for a
    case that was moved away: nobody who works on it would see the comment (R47).

    An internal comment is for staff, and only staff write one.
    """
    if internal and not work.caller.may("cases:work"):
        raise InsufficientScope("cases:work")
    # Under the lock, so that an erasure or the clearing of old texts misses no comment (R43). They
    # go by the day of the last change.
    row = await find_locked(work, cases, key)
    if row.moved_to is not None:
        raise WrongState(row.state, "in_progress")
    await work.connection.execute(_TOUCH, {"touched_case": row.id, "now": work.now})
    type_ = EventType.CASE_COMMENTED
    data: CaseCommented = {
        "number": row.number,
        "comment_id": str(new_id()),
        "body": body,
        "internal": internal,
    }
    await work.record(type_, data, customer_id=row.customer_id, subject_id=row.id, case_id=row.id)
    return TimelineEntry(row.id, work.now, type_, work.caller.name, data)


def is_comment(comment_id: UUID) -> ColumnElement[bool]:
    """The event that is the comment with this id."""
    return and_(_IS_COMMENT, COMMENT_ID.op("=", is_comparison=True)(str(comment_id)))


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


def as_first(bound: Binding) -> dict[str, Any]:
    """The columns of the allowance to which a case returns if its bug proves to be none (R22)."""
    return {f"first_{name}": value for name, value in bound._asdict().items()}


async def binding(ledger: Ledger, facts: Facts, source: Source | None) -> Binding:
    """Bind a case to an allowance; to the ticket of a pack that comes first (R18)."""
    allowance_id = await ledger.allowance_id(facts, source)
    return Binding(kind_of(source), allowance_id, await ledger.position_of(source))
