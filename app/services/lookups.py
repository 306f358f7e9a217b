"""Lookups: how a question names its customer, and the statements that find it with its facts.

A single read, a batch and the export share the conditions below and the facts of `store.facts`, so
that they cannot disagree.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import TextClause, text

from app.errors import AmbiguousLookup, CustomerNotFound
from app.services.tokens import IS_VALID, admitted, hash_of, is_bound
from app.services.unit_of_work import Caller, UnitOfWork
from app.store.database import Connection, Database, count_statement
from app.store.facts import CUSTOMER, FACTS_NOW, FACTS_PAST, Known, known
from app.store.raw_reads import PreparedQuery, prepare

_When = Literal["now", "past"]
_FACTS: dict[_When, str] = {"now": FACTS_NOW, "past": FACTS_PAST}
# Rows of an export that are fetched and answered together: what it holds in memory.
_EXPORTED_TOGETHER = 50


class Lookup(NamedTuple):
    """One of `LOOKUPS`, and the value that is looked for."""

    kind: str
    key: Any


class _Kind(NamedTuple):
    """How one kind of lookup finds customers: a table, its column with the customer's id, and a
    condition on `{key}`, which an index answers."""

    table: str
    customer_id: str
    condition: str
    batch_key: str = "a.key"
    """The key in a batch, where the keys of all kinds come as text."""

    def single(self) -> str:
        """A condition on the customer `c`, with the parameter `key`."""
        condition = self.condition.format(key=":key")
        if self.table == "customers c":
            return condition
        return f"c.id IN (SELECT {self.customer_id} FROM {self.table} WHERE {condition})"

    def batch(self, kind: str) -> str:
        """The position of each lookup of a batch `asked a`, with the customers that it finds."""
        condition = self.condition.format(key=self.batch_key)
        return f"""SELECT a.position, {self.customer_id} AS id
            FROM asked a JOIN {self.table} ON {condition} WHERE a.kind = '{kind}'"""


_KINDS = {
    "customer_id": _Kind(
        "customers c",
        "c.id",
        "c.id = {key}",
        # Cast only the keys of this kind: others are not UUIDs.
        "CASE WHEN a.kind = 'customer_id' THEN a.key::uuid END",
    ),
    "customer_code": _Kind("customers c", "c.id", 'lower(c.code COLLATE "C") = lower({key})'),
    "serial_number": _Kind(
        "licences l", "l.customer_id", 'lower(l.serial_number COLLATE "C") = lower({key})'
    ),
    "phone": _Kind("contacts t", "t.customer_id", "t.phones @> ARRAY[{key}]"),
    "email": _Kind("contacts t", "t.customer_id", "lower(t.email) = lower({key})"),
    "external_ref": _Kind(
        "external_refs r",
        "r.customer_id",
        """r.system = split_part({key}, ':', 1)
            AND r.ref = substr({key}, strpos({key}, ':') + 1)""",
    ),
}
LOOKUPS = tuple(_KINDS)

_TOKEN = f"SELECT id, name, scopes, customer_id FROM tokens WHERE {IS_VALID}"
# For the bound role: the function lets the statement see one customer's rows. The rest of the
# statement depends on its row and is therefore evaluated after it.
_BOUND_TOKEN = "SELECT id, name, scopes, customer_id FROM admit_bound(:token_hash, :now)"  # noqa: S105


def single_statement(when: _When, condition: str, token: str = _TOKEN) -> TextClause:
    """The token, and the facts of every customer `c` that fulfils `condition`.

    There is no row without a valid token, and one whose `customer` is null if nobody is found. A
    token bound to one customer finds only that one.
    """
    return text(f"""
        WITH token AS MATERIALIZED ({token})
        SELECT token.*, found.*
        FROM token LEFT JOIN LATERAL (
            SELECT {CUSTOMER}, {_FACTS[when]} FROM customers c
            WHERE ({condition}) AND (token.customer_id IS NULL OR c.id = token.customer_id)
            ORDER BY c.code) found ON true""")


_SINGLE: dict[tuple[bool, str, _When], PreparedQuery] = {
    (bound, name, when): prepare(
        single_statement(when, kind.single(), _BOUND_TOKEN if bound else _TOKEN)
    )
    for name, kind in _KINDS.items()
    for when in _FACTS
    for bound in (False, True)
}
_ASKED = " UNION ".join(kind.batch(name) for name, kind in _KINDS.items())
_BATCH = {
    when: text(f"""
        WITH asked AS MATERIALIZED (
            SELECT * FROM unnest(CAST(:positions AS int[]), CAST(:kinds AS text[]),
                CAST(:keys AS text[])) a (position, kind, key)),
        found AS MATERIALIZED ({_ASKED})
        SELECT found.position, {CUSTOMER}, {facts}
        FROM found JOIN customers c ON c.id = found.id
        WHERE CAST(:customer_id AS uuid) IS NULL OR c.id = :customer_id
        ORDER BY found.position, c.code""")
    for when, facts in _FACTS.items()
}
_EXPORT = {
    when: text(f"""SELECT {CUSTOMER}, {facts} FROM customers c
        WHERE CAST(:customer_id AS uuid) IS NULL OR c.id = :customer_id ORDER BY c.id""")
    for when, facts in _FACTS.items()
}


def _when(at: datetime, now: datetime) -> _When:
    return "past" if at < now else "now"


async def find(
    database: Database,
    token: str,
    scope: str | None,
    lookup: Lookup,
    *,
    now: datetime,
    at: datetime,
    on: date,
) -> tuple[Caller, list[Known]]:
    """The caller, and the customers that a lookup finds, with their facts: one statement.

    `at` and `on`, its civil date, decide whether past or present facts are read (R13). Raises
    Unauthorized, InsufficientScope.
    """
    bound = is_bound(token)
    parameters = {"token_hash": hash_of(token), "now": now, "key": lookup.key, "at": at, "on": on}
    count_statement()
    pool = database.bound_raw if bound else database.raw
    rows = await pool.fetch(_SINGLE[bound, lookup.kind, _when(at, now)], parameters)
    caller = admitted(rows[0] if rows else None, scope)
    return caller, [known(row) for row in rows if row.customer is not None]


def only(found: Sequence[Known]) -> Known:
    """The one customer that a lookup found. Raises CustomerNotFound, AmbiguousLookup."""
    if not found:
        raise CustomerNotFound
    if len(found) > 1:
        raise AmbiguousLookup(
            [{"id": str(one.id), "code": one.code, "name": one.name} for one in found]
        )
    return found[0]


async def find_many(
    work: UnitOfWork, lookups: Iterable[tuple[int, Lookup]], at: datetime, on: date
) -> dict[int, list[Known]]:
    """The customers that each lookup finds, by the number given with it: one statement."""
    asked = list(lookups)
    parameters = {
        "positions": [position for position, _ in asked],
        "kinds": [lookup.kind for _, lookup in asked],
        "keys": [str(lookup.key) for _, lookup in asked],
        "customer_id": work.caller.customer_id,
        "at": at,
        "on": on,
    }
    found: dict[int, list[Known]] = {}
    for row in await work.connection.execute(_BATCH[_when(at, work.now)], parameters):
        found.setdefault(row.position, []).append(known(row))
    return found


async def every_customer(
    connection: Connection, caller: Caller, *, now: datetime, at: datetime, on: date
) -> AsyncGenerator[list[Known], None]:
    """Every customer in the caller's sight, some at a time, from one snapshot (a cursor).

    The connection is in a transaction; a bound caller's is one that sees its customer's rows.
    """
    parameters = {"customer_id": caller.customer_id, "at": at, "on": on}
    result = await connection.stream(_EXPORT[_when(at, now)], parameters)
    async for rows in result.partitions(_EXPORTED_TOGETHER):
        yield [known(row) for row in rows]
