"""Customers by the hundred thousand, with what they own, in plain SQL.

Everything follows from a customer's number, so that two databases of one size are alike. Triggers
and foreign keys are off while the rows are inserted, and the indexes are built afterwards, because
both took most of the time. The statements therefore write the balances too.
"""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import asyncpg


def key(kind: int, copy: str = "i") -> str:
    """An id of version 7, in the order of making like the service's own; see `load.customer_id`."""
    return f"('019a0000-000{kind}-7000-800' || {copy} || '-' || lpad(n::text, 12, '0'))::uuid"


_CUSTOMER, _LICENCE, _CONTRACT, _PACK, _YEAR, _CASE = map(key, range(6))
_CUSTOMER = key(0, "0")
_HAS_EDITOR = "n % 10 <> 0"
_HAS_CONTRACT = "n % 5 < 3"
_HAS_PACK = "n % 2 = 0"
_HAS_YEAR = f"n % 5 < 2 AND {_HAS_EDITOR}"
_BOUGHT = "$2::date - 20 - n * 37 % 700"
_SIGNED = "$2::date - n % 330 - 400 * i"
_PREPAID = "$2::date - n % 400"
_MADE = "$2::date - 10"
# Every statement has both parameters.
_EVERYBODY = "$2::date IS NOT NULL"
_PHONE = "'+39059' || lpad(n::text, 7, '0')"


def _twelve_months(start: str) -> str:
    return f"({start} + interval '12 months')::date"


def _rows(table: str, columns: dict[str, str], condition: str = "true", copies: str = "0") -> str:
    return f"""INSERT INTO {table} ({", ".join(columns)}) SELECT {", ".join(columns.values())}
        FROM generate_series(1, $1::int) n, generate_series(0, {copies}) i WHERE {condition}"""


def _cases(kind: str, allowance: int, state: str, condition: str, copy: int) -> str:
    closed = state == "closed"
    binding = {
        "paid_by": f"'{kind}'",
        "allowance_id": key(allowance, "0"),
        "ticket_position": "1" if kind == "ticket" else "NULL::int",
    }
    return _rows(
        "cases",
        {
            "id": key(5, str(copy)),
            "customer_id": _CUSTOMER,
            "number": f"'2026-{copy}' || lpad(n::text, 7, '0')",
            "requester_name": "'Requester ' || n",
            "requester_email": "'requester' || n || '@example.com'",
            "requester_phone": _PHONE,
            "channel": "(ARRAY['email', 'phone'])[1 + n % 2]",
            "category": "(ARRAY['problem', 'question'])[1 + n % 2]",
            "priority_requested": "'normal'",
            "priority": "'normal'",
            "priority_support": "false",
            "serial_number": "'S-' || n || '-0'",
            "technician": "CASE WHEN n % 7 > 0 THEN 'Technician ' || n % 20 END",
            "subject": "'Subject ' || n",
            "description": "'The screen of plant ' || n || ' stays blank after the start.'",
            "state": f"'{state}'",
            **binding,
            **{f"first_{column}": value for column, value in binding.items()},
            "resolution": "'Solved.'" if closed else "NULL",
            "opened_on": _MADE,
            "opened_at": _MADE,
            "closed_at": "$2::date - 5" if closed else "NULL",
            "updated_at": "$2::date - 5",
        },
        condition,
    )


_STATEMENTS = [
    _rows(
        "customers",
        {
            "id": _CUSTOMER,
            "code": "'C-' || n",
            "name": "'Customer ' || n",
            "country": "(ARRAY['IT', 'DE', 'CH'])[1 + n % 3]",
            "language": "(ARRAY['it', 'de', 'en'])[1 + n % 3]",
            "vat_number": "'IT' || lpad(n::text, 11, '0')",
            "created_at": _MADE,
            "updated_at": _MADE,
        },
    ),
    _rows(
        "contacts",
        {
            "id": key(6),
            "customer_id": _CUSTOMER,
            "position": "i",
            "name": "'Contact ' || n",
            "email": "'contact' || n || '@example.com'",
            "phones": f"ARRAY[{_PHONE}]",
        },
        _EVERYBODY,
    ),
    _rows(
        "external_refs",
        {"customer_id": _CUSTOMER, "system": "'crm'", "ref": "'R-' || n"},
        _EVERYBODY,
    ),
    _rows(
        "licences",
        {
            "id": _LICENCE,
            "customer_id": _CUSTOMER,
            "serial_number": "'S-' || n || '-' || i",
            "kind": f"CASE WHEN i = 0 AND {_HAS_EDITOR} THEN 'editor' ELSE 'runtime' END",
            "product": "'Product'",
            "version": "'1.0'",
            "purchased_on": _BOUGHT,
            "created_at": _MADE,
        },
        copies="n % 3",
    ),
    _rows(
        "contracts",
        {
            "id": _CONTRACT,
            "customer_id": _CUSTOMER,
            "number": "'SA-' || n || '-' || i",
            "starts_on": _SIGNED,
            "ends_on": _twelve_months(_SIGNED),
            "included_minutes": "1200",
            "created_at": _MADE,
        },
        _HAS_CONTRACT,
        # The one in force, and for every second customer the one before it.
        copies="n % 2",
    ),
    _rows(
        "licence_upgrades",
        {
            "id": key(7),
            "customer_id": _CUSTOMER,
            "licence_id": _LICENCE,
            "version": "'2.' || i",
            "upgraded_on": f"{_BOUGHT} + 5",
            "paid_by": "'purchase'",
            "created_at": _MADE,
        },
        copies="n % 3",
    ),
    _rows(
        "ticket_packs",
        {
            "id": _PACK,
            "customer_id": _CUSTOMER,
            "number": "'T-' || n",
            "quantity": "5",
            "purchased_on": _PREPAID,
            "expires_on": _twelve_months(_PREPAID),
            "created_at": _MADE,
        },
        _HAS_PACK,
    ),
    _rows(
        "service_years",
        {
            "id": _YEAR,
            "customer_id": _CUSTOMER,
            "starts_on": _BOUGHT,
            "ends_on": _twelve_months(_BOUGHT),
            "granted_minutes": "300",
        },
        _HAS_YEAR,
    ),
    _cases("contract", 2, "closed", _HAS_CONTRACT, 0),
    _cases("contract", 2, "in_progress", f"{_HAS_CONTRACT} AND n % 4 = 0", 1),
    _cases("free_hours", 4, "closed", _HAS_YEAR, 2),
    _cases("ticket", 3, "open", "n % 20 = 0", 3),
    # Two pieces of work on cases that hours pay for, of every fourth customer.
    """INSERT INTO time_entries (id, customer_id, case_id, technician, minutes, worked_at,
            worked_on, recorded_at)
        SELECT gen_random_uuid(), customer_id, id, 'technician', 20, day, day, day
        FROM cases, (VALUES ($2::date - 9), ($2::date - 8)) worked (day)
        WHERE $1::int > 0 AND paid_by <> 'ticket' AND right(number, 7)::int % 4 = 0""",
    """INSERT INTO ledger (customer_id, case_id, allowance_id, kind, used_minutes, time_entry_id,
            counts_on, recorded_at)
        SELECT e.customer_id, k.id, k.allowance_id, 'charge', e.minutes, e.id, e.worked_on,
            e.recorded_at
        FROM time_entries e JOIN cases k ON k.id = e.case_id
        WHERE $1::int > 0 AND $2::date IS NOT NULL""",
    """INSERT INTO ledger (customer_id, case_id, allowance_id, kind, held, ticket_position,
            counts_on, recorded_at)
        SELECT customer_id, id, allowance_id, 'hold', 1, ticket_position, opened_on, opened_at
        FROM cases WHERE $1::int > 0 AND $2::date IS NOT NULL AND paid_by = 'ticket'""",
    """INSERT INTO ticket_uses (pack_id, position, quantity, customer_id, case_id, state)
        SELECT k.allowance_id, k.ticket_position, 5, k.customer_id, k.id, 'held'
        FROM cases k WHERE $1::int > 0 AND $2::date IS NOT NULL AND k.paid_by = 'ticket'""",
    """INSERT INTO balances (allowance_id, customer_id, kind, granted_minutes, quantity,
            used_minutes, held)
        SELECT a.id, a.customer_id, a.kind, a.granted_minutes, a.quantity,
            coalesce(moved.used_minutes, 0), coalesce(moved.held, 0)
        FROM (
            SELECT id, customer_id, 'contract' AS kind, included_minutes AS granted_minutes,
                NULL::int AS quantity FROM contracts
            UNION ALL SELECT id, customer_id, 'free_hours', granted_minutes, NULL
                FROM service_years
            UNION ALL SELECT id, customer_id, 'ticket', NULL, quantity FROM ticket_packs) a
        LEFT JOIN (
            SELECT allowance_id, sum(used_minutes) AS used_minutes, sum(held) AS held
            FROM ledger GROUP BY allowance_id) moved ON moved.allowance_id = a.id
        WHERE $1::int > 0 AND $2::date IS NOT NULL""",
]

_OPENED = "$2::date - (n * 131 + i * 365) % 730"
_ALLOWANCES = """INSERT INTO allowance_standings (
        customer_id, key, kind, number, starts_on, ends_on, stops_on, granted, used, held,
        overrun, cancelled, begun, ends)
    SELECT customer_id, {key}, '{kind}', {number}, {starts}, {ends}, {ends}, {granted}, 0, 0, 0, 0,
        true, {tickets}
    FROM {table} WHERE $1::int > 0 AND $2::date IS NOT NULL"""


def _by_then(day: str, otherwise: str) -> str:
    """SQL of a day that is not in the future: all days have about as many rows as the last one."""
    return f"CASE WHEN {day} > $2::date THEN {otherwise} ELSE {day} END"


class History(NamedTuple):
    """What each customer has done in the last two years, besides what `fill` makes anyway.

    Rows lie in the order of their days, as a service records them. In the order of customers each
    row of a day had a page of its own, so that figures told how fast PostgreSQL reads pages.
    """

    entries: int
    """Time entries, of two cases, by forty technicians."""
    movements: int
    """Rows of the ledger for each of them."""

    def statements(self) -> list[str]:
        """SQL with the parameters of `_STATEMENTS`; allowances as the follower would keep them."""
        return [
            f"""INSERT INTO cases (id, customer_id, number, requester_name, channel, category,
                    priority_requested, priority, priority_support, technician, subject,
                    description, state, paid_by, first_paid_by, resolution, opened_on, opened_at,
                    closed_at, updated_at)
                SELECT {key(5, "(4 + i)")}, {_CUSTOMER},
                    '2024-' || (4 + i) || lpad(n::text, 7, '0'), 'Requester',
                    (ARRAY['email', 'phone', 'remote'])[1 + n % 3],
                    (ARRAY['problem', 'question', 'bug'])[1 + n % 3], 'normal',
                    (ARRAY['high', 'normal', 'low'])[1 + (n + i) % 3], false,
                    'Technician ' || (n + i) % 40, 'Older subject', 'Older text', 'closed', 'none',
                    'none', 'Solved.', {_OPENED}, {_OPENED},
                    {_by_then(f"{_OPENED} + 5", _OPENED)}, {_by_then(f"{_OPENED} + 5", _OPENED)}
                FROM generate_series(1, $1::int) n, generate_series(0, 1) i
                ORDER BY {_OPENED}""",
            f"""INSERT INTO time_entries (id, customer_id, case_id, technician, minutes, worked_at,
                    worked_on, recorded_at)
                SELECT {key(8, "e")}, k.customer_id, k.id, 'Technician ' || (n + e) % 40, 20,
                    worked, worked, worked
                FROM generate_series(1, $1::int) n
                CROSS JOIN generate_series(0, {self.entries - 1}) e
                CROSS JOIN LATERAL (SELECT e % 2 AS i) copy
                JOIN cases k ON k.id = {key(5, "(4 + i)")}
                CROSS JOIN LATERAL (
                    SELECT {_by_then("k.opened_on + 3 * e", "k.opened_on")}) w (worked)
                ORDER BY worked""",
            f"""INSERT INTO ledger (customer_id, case_id, allowance_id, kind, used_minutes,
                    overrun_minutes, time_entry_id, counts_on, recorded_at)
                SELECT t.customer_id, t.case_id, CASE WHEN {_HAS_CONTRACT} THEN {key(2, "0")}
                        WHEN {_HAS_YEAR} THEN {key(4, "0")} END,
                    CASE WHEN paid THEN 'charge' ELSE 'overrun' END,
                    CASE WHEN paid THEN 10 ELSE 0 END, CASE WHEN paid THEN 0 ELSE 10 END, t.id,
                    t.worked_on, t.recorded_at
                FROM generate_series(1, $1::int) n
                CROSS JOIN generate_series(0, {self.entries - 1}) e
                CROSS JOIN generate_series(1, {self.movements // self.entries}) m
                JOIN time_entries t ON t.id = {key(8, "e")}
                CROSS JOIN LATERAL (SELECT {_HAS_CONTRACT} OR {_HAS_YEAR}) p (paid)
                WHERE $2::date IS NOT NULL
                ORDER BY t.worked_on""",
            _ALLOWANCES.format(
                table="contracts",
                key="id::text",
                kind="contract",
                number="number",
                starts="starts_on",
                ends="ends_on",
                granted="included_minutes",
                tickets="NULL",
            ),
            _ALLOWANCES.format(
                table="service_years",
                key="starts_on::text",
                kind="free_hours",
                number="NULL",
                starts="starts_on",
                ends="ends_on",
                granted="granted_minutes",
                tickets="NULL",
            ),
            _ALLOWANCES.format(
                table="ticket_packs",
                key="id::text",
                kind="ticket_pack",
                number="number",
                starts="purchased_on",
                ends="expires_on",
                granted="quantity",
                tickets="jsonb_build_object(expires_on::text, quantity)",
            ),
        ]


# Indexes that no constraint needs; they are built once the rows are there.
_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    WHERE c.relnamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)"""
# An entry of a GiST index takes half a millisecond in a large table, one at a time.
_EXCLUSIONS = """
    SELECT conrelid::regclass::text AS table, conname AS name,
        pg_get_constraintdef(oid) AS definition
    FROM pg_constraint WHERE contype = 'x' AND connamespace = 'public'::regnamespace"""


async def fill(
    url: str,
    customers: int,
    today: date,
    *,
    history: History | None = None,
    more: Sequence[str] = (),
    vacuum: bool = True,
) -> None:
    """Fill an empty, migrated database, as a superuser, and analyse it.

    `more`: further statements, run before the indexes are built.
    """
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SET synchronous_commit = off; SET timezone = 'UTC';"
            " SET session_replication_role = replica; SET maintenance_work_mem = '256MB'"
        )
        indexes = await connection.fetch(_INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        exclusions = await connection.fetch(_EXCLUSIONS)
        for one in exclusions:
            await connection.execute(f"ALTER TABLE {one['table']} DROP CONSTRAINT {one['name']}")
        for statement in (*_STATEMENTS, *(history.statements() if history else ())):
            await connection.execute(statement, customers, today)
        for statement in more:
            await connection.execute(statement)
        for index in indexes:
            await connection.execute(index["definition"])
        for one in exclusions:
            await connection.execute(
                f"ALTER TABLE {one['table']} ADD CONSTRAINT {one['name']} {one['definition']}"
            )
        if vacuum:
            await connection.execute("VACUUM (ANALYZE)")
            await connection.execute("CHECKPOINT")
        else:
            await connection.execute("ANALYZE")
    finally:
        await connection.close()
