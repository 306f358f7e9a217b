"""What stands in the ledger: charges and overrun net of their reversals, and tickets in use."""

from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

# Oldest work first, then what was recorded first. `own` is the allowance of the entry's case, null
# for a case that nothing pays for.
_STANDING = """
    SELECT l.id, l.kind, l.case_id, l.allowance_id, l.time_entry_id, l.counts_on, l.covers,
        t.worked_on, t.worked_at, k.number AS case_number, k.channel, k.paid_by,
        k.allowance_id AS own,
        l.used_minutes + r.used AS used_minutes,
        l.overrun_minutes + r.overrun AS overrun_minutes
    FROM ledger l
    JOIN time_entries t ON t.id = l.time_entry_id
    JOIN cases k ON k.id = l.case_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(used_minutes), 0) AS used, coalesce(sum(overrun_minutes), 0) AS overrun
        FROM ledger WHERE reverses = l.id) r
    WHERE l.kind IN ('charge', 'overrun') AND {which}
        AND l.used_minutes + r.used + l.overrun_minutes + r.overrun > 0
    ORDER BY t.worked_at, t.recorded_at, l.id"""
OF_TIME_ENTRIES = text(_STANDING.format(which="l.time_entry_id = ANY(:entries)"))
OVERRUN_OF_TIME_ENTRIES = text(
    _STANDING.format(which="l.kind = 'overrun' AND l.time_entry_id = ANY(:entries)")
)
OVERRUN_OF_CASE = text(_STANDING.format(which="l.kind = 'overrun' AND l.case_id = :case_id"))
OVERRUN_OF = text(_STANDING.format(which="l.kind = 'overrun' AND l.allowance_id = :allowance"))
OF_ALLOWANCES = text(_STANDING.format(which="l.allowance_id = ANY(:allowances)"))
# What a contract that renews no other may take over (R24).
OVERRUN_WITHOUT_CONTRACT = text(
    _STANDING.format(
        which="""l.kind = 'overrun' AND l.customer_id = :customer AND (l.allowance_id IS NULL
            OR EXISTS (SELECT FROM service_years y WHERE y.id = l.allowance_id))"""
    )
)
_TAKEN_OVER = """EXISTS (SELECT FROM ledger o
    WHERE o.id = l.covers AND o.allowance_id IS DISTINCT FROM l.allowance_id)"""
TAKEN_OVER_BY = text(_STANDING.format(which=f"l.allowance_id = :allowance AND {_TAKEN_OVER}"))
TAKEN_OVER_OF_TIME_ENTRIES = text(
    _STANDING.format(which=f"l.time_entry_id = ANY(:entries) AND {_TAKEN_OVER}")
)
# Of a pack's tickets that were not lengthened.
FREE_POSITION = text("""
    SELECT min(position) FROM generate_series(1, (
        SELECT quantity FROM ticket_packs WHERE id = :pack)) position
    WHERE position NOT IN (SELECT u.position FROM ticket_uses u WHERE u.pack_id = :pack)
        AND position NOT IN (SELECT l.ticket_position FROM ledger l
            WHERE l.allowance_id = :pack GROUP BY l.ticket_position
            HAVING sum(l.lengthened_days) > 0)""")
TICKET = text("""
    SELECT u.case_id, u.state, (
        SELECT max(l.counts_on) FROM ledger l
        WHERE l.allowance_id = u.pack_id AND l.ticket_position = u.position
            AND l.case_id = u.case_id AND l.kind = 'hold') AS taken_on
    FROM ticket_uses u WHERE u.pack_id = :pack AND u.position = :position""")


def given_back(condition: str) -> str:
    """SQL for the instants at which a case gave a ticket back, and the day on which that counts.

    What a case did that was moved away does not count: each step has a reverse step at the same
    instant. `condition` is trusted SQL on the `ledger`.
    """
    return f"""SELECT allowance_id, ticket_position, coalesce(as_of, recorded_at) AS at,
            max(counts_on) AS day
        FROM ledger WHERE {condition}
        GROUP BY 1, 2, 3 HAVING sum(held + consumed) < 0"""


LAST_GIVEN_BACK = text(f"""
    {given_back("allowance_id = :pack AND ticket_position = :position")}
    ORDER BY at DESC LIMIT 1""")

# All that a case did to tickets, the last step first. `free`: no other case uses the ticket, and it
# was not cancelled. `expires_on` is the ticket's own end.
TICKETS_OF_CASE = text("""
    SELECT l.kind, l.allowance_id AS pack_id, l.ticket_position AS position, l.held, l.consumed,
        l.lengthened_days, l.counts_on, coalesce(l.as_of, l.recorded_at) AS as_of,
        NOT EXISTS (SELECT FROM ticket_uses u WHERE u.pack_id = l.allowance_id
            AND u.position = l.ticket_position AND u.case_id IS DISTINCT FROM l.case_id) AS free,
        p.expires_on + (SELECT coalesce(sum(d.lengthened_days), 0)::integer FROM ledger d
            WHERE d.allowance_id = l.allowance_id AND d.ticket_position = l.ticket_position)
            AS expires_on
    FROM ledger l JOIN ticket_packs p ON p.id = l.allowance_id
    WHERE l.case_id = :case_id AND l.ticket_position IS NOT NULL
    ORDER BY l.id DESC""")

# A pack's tickets that no case uses and that were not cancelled, the one that ends last first.
UNUSED_TICKETS = text("""
    SELECT n.position, (p.expires_on + coalesce(l.days, 0)::integer) AS expires_on
    FROM ticket_packs p
    CROSS JOIN LATERAL generate_series(1, p.quantity) n(position)
    LEFT JOIN (SELECT ticket_position, sum(lengthened_days) AS days FROM ledger
        WHERE allowance_id = :pack GROUP BY ticket_position) l ON l.ticket_position = n.position
    WHERE p.id = :pack AND NOT EXISTS (
        SELECT FROM ticket_uses u WHERE u.pack_id = p.id AND u.position = n.position)
    ORDER BY 2 DESC, 1 DESC""")
# A pack's tickets in use: the case, the day on which it took the ticket, and the ticket's own days.
TAKEN_TICKETS = text("""
    SELECT k.number, u.position, max(l.counts_on) FILTER (WHERE l.kind = 'hold') AS taken_on,
        (SELECT coalesce(sum(d.lengthened_days), 0)::integer FROM ledger d
            WHERE d.allowance_id = u.pack_id AND d.ticket_position = u.position) AS lengthened_days
    FROM ticket_uses u
    JOIN cases k ON k.id = u.case_id
    JOIN ledger l ON l.allowance_id = u.pack_id AND l.ticket_position = u.position
        AND l.case_id = u.case_id
    WHERE u.pack_id = :pack
    GROUP BY k.number, u.pack_id, u.position
    ORDER BY u.position""")


class Work(NamedTuple):
    """One time entry, as far as the ledger is concerned."""

    id: UUID
    worked_on: date
    worked_at: datetime
    minutes: int
