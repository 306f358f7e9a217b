"""Recompute balances, tickets, cases and time entries from the ledger and report differences.

Also report numbers that were given twice, and sequences that would give one a second time.

Each check is one statement over whole tables that returns only the differences, so that its cost is
a few scans whatever the number of customers. All checks read one snapshot, write nothing, and may
run while the service is in use.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Database
from app.store.numbers import GENERATED, TRIES
from app.store.sequences import STORED
from app.store.tables import metadata


class Difference(NamedTuple):
    """A stored value (`kept`) and the value that follows from the ledger."""

    check: str
    customer: str | None
    subject: str
    """What the value belongs to: its number, or its id if it has no number."""
    field: str
    kept: str | None
    ledger: str | None


# Each query returns: customer's id, subject, field, kept, ledger.

_BALANCES = """
    WITH granted AS (
        SELECT id, customer_id, 'contract' AS kind, included_minutes AS minutes,
            NULL::int AS quantity, number AS subject FROM contracts
        UNION ALL SELECT id, customer_id, 'free_hours', granted_minutes, NULL,
            'free hours from ' || starts_on FROM service_years
        UNION ALL SELECT id, customer_id, 'ticket', NULL, quantity, number FROM ticket_packs),
    sums AS (
        SELECT allowance_id, sum(used_minutes) AS used, sum(overrun_minutes) AS overrun,
            sum(held) AS held, sum(consumed) AS consumed, sum(cancelled) AS cancelled,
            sum(lengthened_days) AS lengthened
        FROM ledger WHERE allowance_id IS NOT NULL GROUP BY allowance_id)
    SELECT coalesce(b.customer_id, g.customer_id) AS customer_id,
        coalesce(g.subject, b.allowance_id::text, s.allowance_id::text) AS subject,
        v.field, v.kept, v.ledger
    FROM balances b
    FULL JOIN granted g ON g.id = b.allowance_id
    FULL JOIN sums s ON s.allowance_id = coalesce(b.allowance_id, g.id)
    CROSS JOIN LATERAL (VALUES
        ('customer', b.customer_id::text, g.customer_id::text),
        ('kind', b.kind, g.kind),
        ('granted_minutes', b.granted_minutes::text, g.minutes::text),
        ('quantity', b.quantity::text, g.quantity::text),
        ('used_minutes', b.used_minutes::text, coalesce(s.used, 0)::text),
        ('overrun_minutes', b.overrun_minutes::text, coalesce(s.overrun, 0)::text),
        ('held', b.held::text, coalesce(s.held, 0)::text),
        ('consumed', b.consumed::text, coalesce(s.consumed, 0)::text),
        ('cancelled', b.cancelled::text, coalesce(s.cancelled, 0)::text),
        ('lengthened_days', b.lengthened_days::text, coalesce(s.lengthened, 0)::text))
        v (field, kept, ledger)
    WHERE v.kept IS DISTINCT FROM v.ledger"""

# The state of each ticket that a case ever held or that was cancelled (then `case_id` is null),
# according to the ledger. Regular steps leave it held, consumed, released (NULL) or cancelled; any
# other sums are an error and are shown.
_TICKETS_OF_LEDGER = """
    SELECT allowance_id AS pack_id, ticket_position AS position, case_id,
        min(customer_id::text)::uuid AS customer_id,
        CASE WHEN case_id IS NULL THEN
                CASE sum(cancelled) WHEN 1 THEN 'cancelled'
                    ELSE format('cancelled %s', sum(cancelled)) END
            WHEN sum(held) = 0 AND sum(consumed) = 0 THEN NULL
            WHEN sum(held) = 1 AND sum(consumed) = 0 THEN 'held'
            WHEN sum(held) = 0 AND sum(consumed) = 1 THEN 'consumed'
            ELSE format('held %s, consumed %s', sum(held), sum(consumed)) END AS state
    FROM ledger WHERE ticket_position IS NOT NULL
    GROUP BY allowance_id, ticket_position, case_id"""

_TICKETS = f"""
    WITH moved AS ({_TICKETS_OF_LEDGER})
    SELECT coalesce(u.customer_id, m.customer_id) AS customer_id,
        format('ticket %s of %s', coalesce(u.position, m.position),
            coalesce(p.number, u.pack_id::text, m.pack_id::text)) AS subject,
        coalesce('state for case ' || coalesce(k.number, u.case_id::text, m.case_id::text),
            'state') AS field,
        u.state AS kept, m.state AS ledger
    FROM ticket_uses u
    FULL JOIN moved m
        ON (m.pack_id, m.position, coalesce(m.case_id, m.pack_id))
            = (u.pack_id, u.position, coalesce(u.case_id, u.pack_id))
    LEFT JOIN ticket_packs p ON p.id = coalesce(u.pack_id, m.pack_id)
    LEFT JOIN cases k ON k.id = coalesce(u.case_id, m.case_id)
    WHERE u.state IS DISTINCT FROM m.state"""

# R19: an open case holds its ticket, a closed case has consumed it, a cancelled case has none.
_CASES = f"""
    WITH moved AS ({_TICKETS_OF_LEDGER}),
    taken AS (
        SELECT case_id, string_agg(state || ' ' || pack_id || '/' || position, ', '
            ORDER BY pack_id, position) AS tickets
        FROM moved WHERE state IS NOT NULL AND case_id IS NOT NULL GROUP BY case_id)
    SELECT k.customer_id, k.number AS subject, 'ticket' AS field, k.ticket AS kept,
        t.tickets AS ledger
    FROM (
        SELECT id, customer_id, number, CASE WHEN paid_by = 'ticket' AND state <> 'cancelled' THEN
            CASE state WHEN 'closed' THEN 'consumed ' ELSE 'held ' END
            || allowance_id || '/' || ticket_position END AS ticket
        FROM cases) k
    FULL JOIN taken t ON t.case_id = k.id
    WHERE k.ticket IS DISTINCT FROM t.tickets
    UNION ALL
    SELECT k.customer_id, k.number, 'paid_by', k.paid_by, wanted.paid_by
    FROM cases k
    LEFT JOIN balances b ON b.allowance_id = k.allowance_id
    CROSS JOIN LATERAL (SELECT CASE WHEN k.category = 'bug' THEN 'none'
        ELSE coalesce(b.kind, 'none') END AS paid_by) wanted
    WHERE k.paid_by <> wanted.paid_by"""

# R20, R21: charges and overrun together equal the minutes worked. Reversed entries, and time on a
# bug or on a case paid by ticket, count as 0 (R16, R22, R30).
_TIME_ENTRIES = """
    WITH sums AS (
        SELECT time_entry_id AS id, min(l.customer_id::text)::uuid AS customer_id,
            sum(used_minutes + overrun_minutes) AS minutes,
            bool_and(l.case_id = t.case_id) AS own_case
        FROM ledger l LEFT JOIN time_entries t ON t.id = l.time_entry_id
        WHERE time_entry_id IS NOT NULL GROUP BY time_entry_id)
    SELECT coalesce(t.customer_id, s.customer_id) AS customer_id,
        format('%s, time entry %s', coalesce(k.number, 'no case'), coalesce(t.id, s.id)) AS subject,
        v.field, v.kept, v.ledger
    FROM time_entries t
    LEFT JOIN cases k ON k.id = t.case_id
    FULL JOIN sums s ON s.id = t.id
    CROSS JOIN LATERAL (VALUES
        ('minutes that count', CASE
            WHEN t.reversed_at IS NOT NULL OR k.category = 'bug' OR k.paid_by = 'ticket' THEN '0'
            ELSE t.minutes::text END, coalesce(s.minutes, 0)::text),
        ('case', 'its own', CASE WHEN s.own_case OR s.id IS NULL THEN 'its own' ELSE 'another' END))
        v (field, kept, ledger)
    WHERE v.kept IS DISTINCT FROM v.ledger"""

_REVERSALS = """
    WITH sums AS (
        SELECT reverses AS id, min(customer_id::text)::uuid AS customer_id,
            -sum(used_minutes) AS used, -sum(overrun_minutes) AS overrun
        FROM ledger WHERE reverses IS NOT NULL GROUP BY reverses)
    SELECT coalesce(o.customer_id, s.customer_id) AS customer_id,
        'ledger entry ' || s.id AS subject, v.field, v.kept::text, v.ledger::text
    FROM sums s LEFT JOIN ledger o ON o.id = s.id AND o.kind IN ('charge', 'overrun')
    CROSS JOIN LATERAL (VALUES
        ('used_minutes to reverse', coalesce(o.used_minutes, 0), s.used),
        ('overrun_minutes to reverse', coalesce(o.overrun_minutes, 0), s.overrun))
        v (field, kept, ledger)
    WHERE v.ledger > v.kept
    UNION ALL
    SELECT r.customer_id, 'ledger entry ' || r.id, v.field, v.kept, v.ledger
    FROM ledger r JOIN ledger o ON o.id = r.reverses
    CROSS JOIN LATERAL (VALUES
        ('allowance', o.allowance_id::text, r.allowance_id::text),
        ('case', o.case_id::text, r.case_id::text),
        ('time entry', o.time_entry_id::text, r.time_entry_id::text),
        ('counts_on', o.counts_on::text, r.counts_on::text)) v (field, kept, ledger)
    WHERE v.kept IS DISTINCT FROM v.ledger"""

# Only a lost or damaged index lets a number be given twice.
_NUMBERS = """
    SELECT min(customer_id::text)::uuid AS customer_id, min(number) AS subject,
        what || ' with this number' AS field, '1' AS kept, count(*)::text AS ledger
    FROM (SELECT 'cases' AS what, number, customer_id FROM cases
        UNION ALL SELECT 'contracts', number, customer_id FROM contracts
        UNION ALL SELECT 'ticket packs', number, customer_id FROM ticket_packs) n
    GROUP BY what, lower(number COLLATE "C") HAVING count(*) > 1"""

# Each returns a sequence's name, its last value, and the highest value in the data.
_NUMBERED = "SELECT '{sequence}', pg_sequence_last_value('{sequence}'), ({stored})"
_IDENTITY = """
    SELECT '{table}.{column}',
        pg_sequence_last_value(pg_get_serial_sequence('{table}', '{column}')), max({column})
    FROM {table}"""
# Callers may give numbers of the generated form themselves, and these are skipped. The sequence is
# behind if so many are in the way that none is generated.
_GENERATED = """
    SELECT '{sequence}', last, CASE WHEN count(*) >= {tries} THEN max(running) END
    FROM coalesce(pg_sequence_last_value('{sequence}'), 0) last
    LEFT JOIN (
        SELECT substring(lower(number) FROM '^{prefix}-[0-9]+-([0-9]+)$')::numeric AS running
        FROM {table} WHERE lower(number) LIKE '{prefix}-' || extract(year FROM now()) || '-%'
        ) taken ON running > last AND running <= last + {tries}
    GROUP BY last"""


def _sequences() -> str:
    identities = [
        _IDENTITY.format(table=table.name, column=column.name)
        for table in metadata.sorted_tables
        for column in table.columns
        if column.identity is not None
    ]
    generated = [
        _GENERATED.format(sequence=sequence.name, table=table, prefix=prefix.lower(), tries=TRIES)
        for table, (prefix, sequence) in GENERATED.items()
    ]
    numbered = [_NUMBERED.format(sequence=name, stored=stored) for name, stored in STORED.items()]
    every = " UNION ALL ".join([*numbered, *identities, *generated])
    return f"""
    SELECT NULL::uuid AS customer_id, name AS subject, 'last value' AS field,
        coalesce(last, 0)::text AS kept, found::text AS ledger
    FROM ({every}) s (name, last, found) WHERE found > coalesce(last, 0)"""


_CHECKS = {
    "balances": (_BALANCES, "SELECT count(*) FROM balances"),
    "tickets": (_TICKETS, "SELECT count(*) FROM ticket_uses"),
    "cases": (_CASES, "SELECT count(*) FROM cases"),
    "time entries": (_TIME_ENTRIES, "SELECT count(*) FROM time_entries"),
    "reversals": (_REVERSALS, "SELECT count(*) FROM ledger WHERE reverses IS NOT NULL"),
    "numbers": (
        _NUMBERS,
        """SELECT (SELECT count(*) FROM cases) + (SELECT count(*) FROM contracts)
            + (SELECT count(*) FROM ticket_packs)""",
    ),
    "sequences": (
        _sequences(),
        """SELECT count(*) FROM pg_class
            WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace""",
    ),
}
_NAMED = """
    SELECT '{check}', c.code, d.subject, d.field, d.kept, d.ledger
    FROM ({query}) d LEFT JOIN customers c ON c.id = d.customer_id
    ORDER BY c.code, d.subject, d.field"""


class Snapshot:
    """The database at one instant, for all checks."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def checked(self) -> dict[str, int]:
        """The number of rows that each check examines."""
        return {
            check: await self.connection.scalar(text(count)) or 0
            for check, (_, count) in _CHECKS.items()
        }

    async def differences(self) -> AsyncIterator[Difference]:
        """Yield every difference, one check after the other, as the database returns them."""
        for check, (query, _) in _CHECKS.items():
            statement = text(_NAMED.format(check=check, query=query))
            async with self.connection.stream(statement) as rows:
                async for row in rows:
                    yield Difference(*row)


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[Snapshot]:
    """A read-only transaction in which every statement sees the same instant.

    It takes no lock that would block a writer. It has no statement timeout, because the checks read
    whole tables.
    """
    async with database.writing.connect() as connection:
        await connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        async with connection.begin():
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield Snapshot(connection)
