"""What a customer used, and every movement behind it: one statement each, so one snapshot."""

from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.entries import given_back
from app.store.facts import CASE_THEN, CUSTOMER, FACTS_NOW, FACTS_PAST, Known, known


class Totals(NamedTuple):
    """Numbers of cases by state, and minutes. `worked_minutes` leaves reversed entries out."""

    opened: int
    open: int
    closed: int
    cancelled: int
    worked_minutes: int
    charged_minutes: int
    overrun_minutes: int


def _usage(facts: str, cases: str, state: str, worked: str, minutes: str) -> TextClause:
    return text(f"""
        SELECT {CUSTOMER}, {facts}, n.*, w.*, l.*
        FROM customers c
        CROSS JOIN LATERAL (
            SELECT count(*) AS opened,
                count(*) FILTER (WHERE {state} NOT IN ('closed', 'cancelled')) AS open,
                count(*) FILTER (WHERE {state} = 'closed') AS closed,
                count(*) FILTER (WHERE {state} = 'cancelled') AS cancelled
            FROM cases k {cases}) n
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(t.minutes), 0) AS worked_minutes
            FROM cases k JOIN time_entries t ON t.case_id = k.id
            WHERE k.customer_id = c.id AND t.reversed_at IS NULL {worked}) w
        CROSS JOIN LATERAL (
            SELECT {minutes} WHERE e.customer_id = c.id) l
        WHERE c.id = :id""")


_MINUTES_NOW = """coalesce(sum(e.used_minutes), 0) AS charged_minutes,
                coalesce(sum(e.overrun_minutes), 0) AS overrun_minutes
            FROM ledger e"""
# R13: minutes that a contract took over are overrun until it starts.
_MINUTES_PAST = """coalesce(sum(e.used_minutes) FILTER (WHERE e.counts_on <= :on), 0)
                    AS charged_minutes,
                coalesce(sum(e.overrun_minutes), 0)
                    + coalesce(sum(e.used_minutes) FILTER (WHERE e.counts_on > :on), 0)
                    AS overrun_minutes
            FROM ledger e JOIN time_entries t ON t.id = e.time_entry_id AND t.worked_at <= :at"""
# R47: a case that was moved away was never here.
_HERE = "k.customer_id = c.id AND k.moved_to IS NULL"
_NOW = _usage(FACTS_NOW, f"WHERE {_HERE}", "k.state", "", _MINUTES_NOW)
# R13: work begun by then, as known now; cases in the state that they had at that instant.
_PAST = _usage(
    FACTS_PAST,
    f"{CASE_THEN} WHERE {_HERE} AND k.opened_at <= :at",
    "last.state",
    "AND t.worked_at <= :at",
    _MINUTES_PAST,
)


async def usage(
    connection: AsyncConnection, customer_id: UUID, past: tuple[datetime, date] | None
) -> tuple[Known, Totals]:
    """A customer's facts and totals as they are, or as of a past instant and its civil date."""
    parameters: dict[str, Any] = {"id": customer_id}
    if past is not None:
        parameters["at"], parameters["on"] = past
    found = await connection.execute(_NOW if past is None else _PAST, parameters)
    row = found.one()
    return known(row), Totals(*(row._mapping[name] for name in Totals._fields))


class Movement(NamedTuple):
    """One entry of the ledger, as the customer sees it."""

    allowance: str | None
    """As in `policy.usage.Allowance.key`; None for what no allowance bears."""
    entry: int
    """Its number among the customer's own entries. The ledger's ids would reveal how much other
    customers use."""
    reverses: int | None
    counts_on: date
    recorded_at: datetime
    kind: str
    case_number: str | None
    """None for a cancelled ticket, which no case used (R45)."""
    cause_case_number: str | None
    technician: str | None
    worked_at: datetime | None
    ticket_position: int | None
    used_minutes: int
    overrun_minutes: int
    held: int
    consumed: int
    cancelled: int


class Opening(NamedTuple):
    """The sums of the entries before a period."""

    allowance: str | None
    used_minutes: int
    overrun_minutes: int
    held: int
    consumed: int
    cancelled: int


_SUMS = "sum(used_minutes), sum(overrun_minutes), sum(held), sum(consumed), sum(cancelled)"
# The numbers change by a merge alone: entries are only added, under the customer's lock (R49).
# A ticket can be cancelled as of a day on which a case had it, or before one took it (R45). If a
# case gave it back later than that, its cancellation is shown on that day, so that no more tickets
# are used and cancelled than the pack has.
_STATEMENT = text(f"""
    WITH given_back AS (
        SELECT allowance_id, ticket_position, max(day) AS day
        FROM ({given_back("customer_id = :id AND ticket_position IS NOT NULL")}) each
        GROUP BY allowance_id, ticket_position),
    entries AS MATERIALIZED (
        SELECT l.*, row_number() OVER (ORDER BY l.id) AS entry,
            CASE WHEN l.kind = 'cancellation' THEN greatest(l.counts_on, g.day)
                ELSE l.counts_on END AS shown_on,
            coalesce(y.starts_on::text, l.allowance_id::text) AS allowance
        FROM ledger l LEFT JOIN service_years y ON y.id = l.allowance_id
        LEFT JOIN given_back g
            ON g.allowance_id = l.allowance_id AND g.ticket_position = l.ticket_position
        WHERE l.customer_id = :id)
    SELECT {CUSTOMER}, {FACTS_NOW}, json_build_array(
        ARRAY(SELECT json_build_array(allowance, {_SUMS})
            FROM entries WHERE shown_on < :from GROUP BY allowance),
        ARRAY(SELECT json_build_array(e.allowance, e.entry, r.entry, e.shown_on, e.recorded_at,
                e.kind, k.number, b.number, t.technician, t.worked_at, e.ticket_position,
                e.used_minutes, e.overrun_minutes, e.held, e.consumed, e.cancelled)
            FROM entries e
            LEFT JOIN cases k ON k.id = e.case_id
            LEFT JOIN entries r ON r.id = e.reverses
            LEFT JOIN cases b ON b.id = e.cause_case_id
            LEFT JOIN time_entries t ON t.id = e.time_entry_id
            WHERE e.shown_on >= :from AND e.shown_on < :to
            ORDER BY e.shown_on, e.id LIMIT :most)
        )::text AS entries
    FROM customers c WHERE c.id = :id""")


async def statement(
    connection: AsyncConnection, customer_id: UUID, start: date, end: date, most: int
) -> tuple[Known, str]:
    """A customer's facts, and what counts before and within the civil dates [start, end).

    The latter is for `read_entries`; it has at most `most` movements.
    """
    parameters = {"id": customer_id, "from": start, "to": end, "most": most}
    row = (await connection.execute(_STATEMENT, parameters)).one()
    return known(row), row.entries


def read_entries(entries: str) -> tuple[list[Opening], list[Movement]]:
    """What counts before a period and within it, as `statement` gives it.

    Movements come in the order of the days on which they count, then of recording.
    """
    openings, movements = orjson.loads(entries)
    return (
        [Opening(*opening) for opening in openings],
        [_movement(*movement) for movement in movements],
    )


def _movement(
    allowance: str | None,
    entry: int,
    reverses: int | None,
    counts_on: str,
    recorded_at: str,
    kind: str,
    case_number: str | None,
    cause_case_number: str | None,
    technician: str | None,
    worked_at: str | None,
    *rest: Any,
) -> Movement:
    return Movement(
        allowance,
        entry,
        reverses,
        date.fromisoformat(counts_on),
        datetime.fromisoformat(recorded_at),
        kind,
        case_number,
        cause_case_number,
        technician,
        None if worked_at is None else datetime.fromisoformat(worked_at),
        *rest,
    )
