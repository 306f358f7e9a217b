"""One customer's facts, read by one statement and so from one snapshot.

There are two forms of that statement. The one for the present, which serves future dates too, reads
one balance row for each allowance, however long the ledger is. The one for a past instant sums the
ledger (R13).
"""

import asyncio
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Literal, NamedTuple, TypeVar
from uuid import UUID

import orjson
from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.policy.document import Language
from app.policy.facts import (
    Contract,
    Facts,
    LengthenedTicket,
    Licence,
    OpenCase,
    Pack,
    ServiceYear,
)
from app.store.direct import DirectStatement

# A pack's tickets that a bug lengthened (R19): position, end and state. Few packs have any.
_LENGTHENED = """CASE WHEN b.lengthened_days > 0 THEN (
        SELECT json_agg(json_build_array(t.position, a.expires_on + t.days, t.state)
            ORDER BY t.position)
        FROM (
            SELECT e.ticket_position AS position, {days}::integer AS days,
                CASE WHEN sum(e.held){here} > 0 THEN 'held'
                    WHEN sum(e.consumed){here} > 0 THEN 'consumed'
                    WHEN sum(e.cancelled) > 0 THEN 'cancelled' END AS state
            FROM ledger e {case} WHERE e.allowance_id = a.id {then}
            GROUP BY e.ticket_position HAVING {days} > 0) t) END"""

# A pack that begins later begins without the tickets that were cancelled as of its first day (R45).
_RECORDED_BY_THEN = """AND CASE WHEN e.kind = 'cancellation'
                            THEN e.counts_on <= greatest(:on, a.purchased_on)
                        ELSE coalesce(e.as_of, e.recorded_at) <= :at END"""
# Days that a ticket got back count from their recording on, whatever its state counts from; if they
# are taken from it again, it never got them.
_DAYS_THEN = """coalesce(sum(e.lengthened_days)
                    FILTER (WHERE e.kind = 'hold' OR e.recorded_at <= :at), 0)"""
# A case that was moved away never had a ticket here (R47), even one that has served another since.
_CASE = "LEFT JOIN cases k ON k.id = e.case_id"
_HERE = " FILTER (WHERE k.moved_to IS NULL)"
# Tickets unused at that instant that are cancelled as of a later day: day and position (R13, R45).
_CANCELLED_LATER = f"""(
        SELECT json_agg(json_build_array(x.counts_on, x.ticket_position) ORDER BY x.id)
        FROM ledger x
        WHERE x.allowance_id = a.id AND x.kind = 'cancellation'
            AND x.counts_on > greatest(:on, a.purchased_on)
            AND coalesce((SELECT sum(e.held + e.consumed){_HERE} FROM ledger e {_CASE}
                WHERE e.allowance_id = a.id AND e.ticket_position = x.ticket_position
                    {_RECORDED_BY_THEN}), 0) <= 0)"""
_BALANCE = {
    "now": {
        "hours": "JOIN balances b ON b.allowance_id = a.id",
        "tickets": "JOIN balances b ON b.allowance_id = a.id",
        "lengthened": _LENGTHENED.format(then="", days="sum(e.lengthened_days)", here="", case=""),
        "cancelled": "b.cancelled",
        "later": "",
    },
    # Charges count for work begun by then, and minutes that a contract took over not before it
    # starts; until then they are overrun of the case's own allowance. A ticket is in the state
    # in which it was by then (R13); one that was cancelled as of that day or before is cancelled
    # unless a case used it at that instant (R45).
    "past": {
        "hours": """LEFT JOIN later ON later.allowance_id = a.id CROSS JOIN LATERAL (
                SELECT
                    coalesce(sum(e.used_minutes) FILTER (WHERE e.counts_on <= :on), 0)
                        AS used_minutes,
                    coalesce(sum(e.overrun_minutes), 0) + coalesce(later.minutes, 0)
                        AS overrun_minutes
                FROM ledger e JOIN time_entries t ON t.id = e.time_entry_id
                WHERE e.allowance_id = a.id AND t.worked_at <= :at) b""",
        "tickets": f"""CROSS JOIN LATERAL (
                -- Entries of earlier releases may show a ticket with two cases at one instant.
                SELECT count(*) FILTER (WHERE t.held > 0) AS held,
                    count(*) FILTER (WHERE t.held <= 0 AND t.consumed > 0) AS consumed,
                    count(*) FILTER (WHERE t.cancelled > 0 AND t.held + t.consumed = 0)
                        AS cancelled,
                    coalesce(sum(t.lengthened_days), 0) AS lengthened_days
                FROM (
                    SELECT coalesce(sum(e.held){_HERE}, 0) AS held,
                        coalesce(sum(e.consumed){_HERE}, 0) AS consumed,
                        sum(e.cancelled) AS cancelled, {_DAYS_THEN} AS lengthened_days
                    FROM ledger e {_CASE} WHERE e.allowance_id = a.id {_RECORDED_BY_THEN}
                    GROUP BY e.ticket_position) t) b""",
        "lengthened": _LENGTHENED.format(
            then=_RECORDED_BY_THEN, days=_DAYS_THEN, here=_HERE, case=_CASE
        ),
        "cancelled": f"b.cancelled, {_CANCELLED_LATER}",
        "later": """WITH later AS MATERIALIZED (
                SELECT k.allowance_id, sum(e.used_minutes) AS minutes
                FROM ledger e
                JOIN time_entries t ON t.id = e.time_entry_id
                JOIN cases k ON k.id = e.case_id
                WHERE e.customer_id = c.id AND e.counts_on > :on AND t.worked_at <= :at
                GROUP BY k.allowance_id)""",
    },
}

CASE_THEN = """CROSS JOIN LATERAL (
            SELECT coalesce((
                SELECT h.step->>'state'
                FROM jsonb_array_elements(e.data->'history') WITH ORDINALITY h (step, n)
                WHERE (h.step->>'at')::timestamptz <= :at ORDER BY h.n DESC LIMIT 1),
                e.data->>'state') AS state, (
                WITH RECURSIVE corrected AS (
                    SELECT e.id, e.data->>'paid_by' AS paid_by
                    UNION ALL
                    SELECT next.id, next.paid_by FROM corrected c CROSS JOIN LATERAL (
                        SELECT x.id, x.data->'after'->>'paid_by' AS paid_by FROM events x
                        WHERE x.case_id = k.id AND x.id > c.id AND x.occurred_at > :at
                            AND x.data ? 'corrected' AND x.data->'before'->>'paid_by' = c.paid_by
                        ORDER BY x.id LIMIT 1) next)
                SELECT paid_by FROM corrected ORDER BY id DESC LIMIT 1) AS paid_by
            FROM events e
            WHERE e.case_id = k.id AND e.data ? 'paid_by'
                AND coalesce((e.data->>'as_of')::timestamptz, e.occurred_at) <= :at
            ORDER BY e.id DESC LIMIT 1) last"""
"""SQL for the state and payer of a case `k` at a past instant (R13).

Every step that opens, closes or rebinds a case stores in its event the state and payer that result;
the last event up to the instant is read. One that counts from an earlier instant than its own says
so (`as_of`); that of a moved case has the states that it had before (`history`, R47). A payer that
was corrected since was wrong from the start (R40); it may have been corrected more than once."""

_CASES = {
    "now": """
        SELECT k.number, k.channel, k.paid_by FROM cases k
        WHERE k.customer_id = c.id AND k.state IN ('open', 'in_progress', 'waiting_for_customer')
        ORDER BY k.opened_at, k.id""",
    "past": f"""
        SELECT k.number, k.channel, last.paid_by FROM cases k {CASE_THEN}
        WHERE k.customer_id = c.id AND k.opened_at <= :at AND k.moved_to IS NULL
            AND last.state NOT IN ('closed', 'cancelled')
        ORDER BY k.opened_at, k.id""",
}


def _facts(when: Literal["now", "past"]) -> str:
    """An SQL expression: all facts of the customer `c` as one JSON text."""
    b = _BALANCE[when]
    return f"""json_build_array(
        ARRAY(SELECT json_build_array(a.id, a.serial_number, a.kind, a.purchased_on,
                a.withdrawn_on,
                ARRAY(SELECT u.upgraded_on FROM licence_upgrades u
                    WHERE u.licence_id = a.id AND u.paid_by = 'purchase'
                        AND u.reversed_at IS NULL),
                a.held_from, a.origin_id)
            FROM licences a WHERE a.customer_id = c.id ORDER BY a.id),
        ARRAY({b["later"]} SELECT json_build_array(a.id, a.number, a.starts_on, a.ends_on,
                a.cancelled_on, a.included_minutes, b.used_minutes, b.overrun_minutes,
                a.renews)
            FROM contracts a {b["hours"]} WHERE a.customer_id = c.id ORDER BY a.id),
        ARRAY(SELECT json_build_array(a.id, a.number, a.purchased_on, a.expires_on, a.quantity,
                b.held, b.consumed, {b["lengthened"]}, {b["cancelled"]})
            FROM ticket_packs a {b["tickets"]} WHERE a.customer_id = c.id ORDER BY a.id),
        ARRAY({b["later"]} SELECT json_build_array(a.starts_on, a.ends_on, a.granted_minutes,
                b.used_minutes, b.overrun_minutes)
            FROM service_years a {b["hours"]}
            WHERE a.customer_id = c.id AND a.superseded_by IS NULL),
        ARRAY(SELECT json_build_array(k.number, k.channel, k.paid_by) FROM ({_CASES[when]}) k)
        )::text AS facts"""


T = TypeVar("T")
# In characters: about a hundred packs, three milliseconds of work for each answer.
_MANY_FACTS = 16_384

CUSTOMER = "c.id AS customer, c.code, c.name AS customer_name, c.country, c.language, c.help_desk"
FACTS_NOW = _facts("now")
FACTS_PAST = _facts("past")

_LOAD = DirectStatement(text(f"SELECT {CUSTOMER}, {FACTS_NOW} FROM customers c WHERE c.id = :id"))
_LOAD_PAST = text(f"SELECT {CUSTOMER}, {FACTS_PAST} FROM customers c WHERE c.id = :id").bindparams(
    bindparam("at"), bindparam("on")
)


class Known(NamedTuple):
    """A customer with its facts as JSON text, as the database returned them.

    Answers are cached by it: customers that compare equal have the same answer.
    """

    id: UUID
    code: str
    name: str
    country: str
    language: Language
    help_desk: str | None
    document: str

    def facts(self) -> Facts:
        return parse(self.document)


def known(row: Any, first: int = 0) -> Known:
    """The customer in a row whose columns from `first` on are those of `CUSTOMER`, and the facts.

    By position, because the driver's rows look up each name in Python.
    """
    return Known(*row[first : first + 7])


async def load(
    connection: AsyncConnection, customer_id: UUID, past: tuple[datetime, date] | None = None
) -> Known:
    """A customer's facts as they are, or as of a past instant and its civil date (R13).

    In a transaction that decides, call it after the customer's lock is taken.
    """
    if past is None:
        return known(await _LOAD.one(connection, {"id": customer_id}))
    at, on = past
    result = await connection.execute(_LOAD_PAST, {"id": customer_id, "at": at, "on": on})
    return known(result.one())


async def computed(characters: int, compute: Callable[..., T], *arguments: Any) -> T:
    """What `compute(*arguments)` gives, which works on so many characters of facts or entries.

    A few customers have thousands of them. For these it runs in a thread, so that the event loop
    answers other requests meanwhile; for all others that would cost more than it saves.
    """
    if characters < _MANY_FACTS:
        return compute(*arguments)
    return await asyncio.to_thread(compute, *arguments)


def _date(value: str | None) -> date | None:
    return None if value is None else date.fromisoformat(value)


def _lengthened(tickets: list[Any]) -> tuple[LengthenedTicket, ...]:
    return tuple(
        LengthenedTicket(position, date.fromisoformat(expires_on), state)
        for position, expires_on, state in tickets
    )


def _held(rows: list[Any]) -> tuple[Licence, ...]:
    """Licences, those that came back to a customer as one with what it was before (R44)."""
    day = date.fromisoformat
    found: dict[str, Licence] = {}
    for key, serial, kind, bought, withdrawn, upgrades, held_from, origin in rows:
        licence = Licence(
            key, serial, kind, day(bought), _date(withdrawn), tuple(map(day, upgrades))
        )
        if origin is not None:
            before = found.get(origin)
            licence = licence._replace(held_from=day(held_from), bought=False)
            if before is not None:
                licence = licence.after(before)
        found[origin or key] = licence
    return tuple(found.values())


def parse(document: str) -> Facts:
    licences, contracts, packs, years, cases = orjson.loads(document)
    day = date.fromisoformat
    # A successor cancelled as of its first day frees its predecessor for renewal (R24).
    renewed = {
        renews for _, _, starts, _, cancelled, *_, renews in contracts if cancelled != starts
    }
    return Facts(
        _held(licences),
        tuple(
            Contract(
                key,
                number,
                day(starts),
                day(ends),
                _date(cancelled),
                granted,
                used,
                overrun,
                key in renewed,
            )
            for key, number, starts, ends, cancelled, granted, used, overrun, _ in contracts
        ),
        tuple(
            Pack(
                key,
                number,
                day(bought),
                day(expires),
                quantity,
                held,
                consumed,
                () if lengthened is None else _lengthened(lengthened),
                cancelled,
                tuple((day(on), position) for on, position in (later and later[0]) or ()),
            )
            for (
                key,
                number,
                bought,
                expires,
                quantity,
                held,
                consumed,
                lengthened,
                cancelled,
                *later,
            ) in packs
        ),
        {day(starts): ServiceYear(day(starts), day(ends), *rest) for starts, ends, *rest in years},
        tuple(OpenCase(*case) for case in cases),
    )
