"""Sequences: which number each has given last, and the highest one that is stored.

A restore, or a promotion that lost its last steps, may leave a sequence behind the data.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.store.event_types import EventType
from app.store.numbers import GENERATED, TRIES

STORED = {
    "case_numbers": """
        SELECT max(substring(number FROM '^[0-9]{4}-([0-9]+)$')::numeric) FROM cases""",
    "erasure_numbers": f"""
        SELECT max(substring(data->>'pseudonym' FROM '^erased-([0-9]+)$')::numeric) FROM events
        WHERE type = '{EventType.CUSTOMER_ERASED}'""",
}
"""SQL of the highest number stored, of sequences that belong to no column."""

# Callers may give numbers of the generated form themselves, perhaps far ahead; a generated number
# that is taken is skipped. So only those count that are reached without a gap of TRIES numbers:
# beyond them every try finds a free one.
_IN_THE_WAY = """
    SELECT max(running) FILTER (WHERE near) FROM (
        SELECT running, bool_and(running - before <= {tries}) OVER (ORDER BY running) AS near
        FROM (
            SELECT running,
                coalesce(lag(running) OVER (ORDER BY running), {last}) AS before
            FROM (
                SELECT substring(lower(number) FROM '^{prefix}-[0-9]+-([0-9]+)$')::numeric
                FROM {table}) numbers (running)
            WHERE running > {last}) ahead) runs"""
_GENERATED = {
    str(sequence.name): (table, prefix.lower()) for table, (prefix, sequence) in GENERATED.items()
}
_LAST = "coalesce(pg_sequence_last_value('{sequence}'), 0)"

# Every sequence of the schema, with the column that it numbers, if there is one.
_CATALOGUE = text("""
    SELECT quote_ident(s.relname), d.refobjid::regclass::text, quote_ident(a.attname)
    FROM pg_class s
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE s.relkind = 'S' AND s.relnamespace = 'public'::regnamespace
    ORDER BY s.relname""")


class UnknownSequence(Exception):
    """This version does not know which numbers a sequence of the database gives."""


class Advanced(NamedTuple):
    """A sequence that was, or is, behind the data."""

    sequence: str
    last: int
    """The number that it had given last; 0: none."""
    stored: int


async def behind(connection: AsyncConnection) -> tuple[int, list[Advanced]]:
    """How many sequences the database has, and those of them that are behind the data.

    Raises UnknownSequence.
    """
    rows = (await connection.execute(_CATALOGUE)).all()
    found = [await _behind(connection, *row) for row in rows]
    return len(found), [one for one in found if one is not None]


async def advance(engine: AsyncEngine) -> AsyncIterator[Advanced]:
    """Move each sequence that is behind the data to the highest number stored, never back.

    The engine logs in as the owner of the schema. Raises UnknownSequence.
    """
    async with engine.connect() as connection:
        rows = (await connection.execute(_CATALOGUE)).all()
    for row in rows:
        # A transaction for each: to wait for one sequence with another in hand could deadlock.
        async with engine.begin() as connection:
            # Nobody draws a number until the end of the transaction, because this takes the lock
            # of the sequence. It changes nothing: no sequence of ours starts again.
            await connection.execute(text(f"ALTER SEQUENCE {row[0]} NO CYCLE"))
            advanced = await _behind(connection, *row)
            if advanced is not None:
                await connection.execute(
                    text("SELECT setval(CAST(:sequence AS regclass), :stored)"),
                    {"sequence": advanced.sequence, "stored": advanced.stored},
                )
        if advanced is not None:
            yield advanced


async def _behind(
    connection: AsyncConnection, sequence: str, table: str | None, column: str | None
) -> Advanced | None:
    last = _LAST.format(sequence=sequence)
    if table is not None:
        stored = f"SELECT max({column}) FROM {table}"
    elif sequence in _GENERATED:
        table, prefix = _GENERATED[sequence]
        stored = _IN_THE_WAY.format(table=table, prefix=prefix, last=last, tries=TRIES)
    elif sequence in STORED:
        stored = STORED[sequence]
    else:
        raise UnknownSequence(f"the numbers of the sequence {sequence} are unknown to this version")
    row = (await connection.execute(text(f"SELECT {last}, ({stored})"))).one()
    if row[1] is None or row[1] <= row[0]:
        return None
    return Advanced(sequence, int(row[0]), int(row[1]))
