"""Lookups: how a question names its customer, and the statements that find it with its facts.

A single read, a batch and the export share the conditions below and the facts of `store.facts`, so
that they cannot disagree.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

import orjson
from sqlalchemy import TextClause, text

from app.errors import AmbiguousLookup, CustomerNotFound
from app.policy.civil import Closures
from app.services.contacts import MOST_CONTACTS
from app.services.tokens import IS_VALID, admitted, hash_of, is_bound
from app.services.unit_of_work import Caller, UnitOfWork
from app.store import closures
from app.store.database import Connection, Database, count_statement
from app.store.facts import CUSTOMER, FACTS_NOW, FACTS_PAST, Known, known
from app.store.raw_reads import PreparedQuery, prepare

_When = Literal["now", "past"]
_FACTS: dict[_When, str] = {"now": FACTS_NOW, "past": FACTS_PAST}
# Rows of an export that are fetched and answered together: what it holds in memory.
_EXPORTED_TOGETHER = 50
MOST_CANDIDATES = 20
"""The customers that an ambiguous lookup names: the first by code."""
# A number can stand at thousands of customers, and at every contact of a customer. Reading so many
# contacts finds more customers than are named, without reading all who share the number.
_MOST_CONTACTS_READ = (MOST_CANDIDATES + 1) * MOST_CONTACTS


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
    shared: bool = False
    """Several customers may have the same key: it is a contact's."""

    @property
    def _hidden_key(self) -> str:
        """The parameter `key`, in a subquery that hides its value from the planner.

        A planner that sees the value estimates that it finds hardly any row, so that a plan made
        for any value seems dearer. PostgreSQL then plans the statement for each call, which took
        four fifths of its time.
        """
        return "(SELECT CAST(:key AS text))" if self.shared else ":key"

    def single(self) -> str:
        """A condition on the customer `c`, with the parameter `key`."""
        if self.table == "customers c":
            return self.condition.format(key=":key")
        # As an array the customers are few to the planner. It takes a phone number for one in two
        # hundred of all, and would read the whole table of customers for so many.
        return f"c.id = ANY(ARRAY({self._customers(self._hidden_key, 'token.customer_id')}))"

    def contact(self) -> str:
        """The contact of the customer `c` that has the key, as JSON text; null if several have."""
        if not self.shared:
            return "NULL::text"
        condition = self.condition.format(key=self._hidden_key)
        return f"""CASE WHEN c.among = 1 THEN (
            SELECT CASE WHEN count(*) = 1
                THEN json_build_object('id', min(t.id::text), 'name', min(t.name))::text END
            FROM (SELECT t.* FROM {self.table} WHERE t.customer_id = c.id AND {condition} LIMIT 2) t
            ) END"""

    def batch(self, kind: str) -> str:
        """The position of each lookup of a batch `asked a`, with the customers that it finds."""
        customers = self._customers(self.batch_key, "CAST(:customer_id AS uuid)")
        return f"""SELECT a.position, one.id
            FROM asked a CROSS JOIN LATERAL unnest(ARRAY({customers})) one (id)
            WHERE a.kind = '{kind}'"""

    def _customers(self, key: str, own: str) -> str:
        condition = self.condition.format(key=key)
        found = f"SELECT {self.customer_id} AS id FROM {self.table} WHERE {condition}"
        if not self.shared:
            return found
        return f"""SELECT DISTINCT id FROM ({found}
            AND ({own} IS NULL OR {self.customer_id} = {own}) LIMIT {_MOST_CONTACTS_READ}) found"""


# The id and the code of a merged customer are the survivor's (R49).
_SURVIVOR = """coalesce((
            SELECT m.survivor_id FROM merged_customers m WHERE m.customer_id = {id}), {id})"""
# A case that was moved away leads to whoever has it now: its requester knows the old number (R47).
_HAS_IT_NOW = """(
            WITH RECURSIVE way AS (
                SELECT k.customer_id, k.moved_to
                UNION ALL
                SELECT n.customer_id, n.moved_to FROM way JOIN cases n ON n.id = way.moved_to)
            SELECT customer_id FROM way WHERE moved_to IS NULL)"""
_KINDS = {
    "customer_id": _Kind(
        "customers c",
        "c.id",
        f"c.id = {_SURVIVOR.format(id='{key}')}",
        # Cast only the keys of this kind: others are not UUIDs.
        "CASE WHEN a.kind = 'customer_id' THEN a.key::uuid END",
    ),
    "customer_code": _Kind(
        "customers c",
        "c.id",
        f"""c.id = (SELECT {_SURVIVOR.format(id="o.id")} FROM customers o
            WHERE lower(o.code COLLATE "C") = lower({{key}}))""",
    ),
    "serial_number": _Kind(
        "licences l",
        "l.customer_id",
        # The holder on the day asked about, failing that the last (R44).
        """lower(l.serial_number COLLATE "C") = lower({key}) AND l.id = (
            SELECT h.id FROM licences h WHERE lower(h.serial_number COLLATE "C") = lower({key})
            ORDER BY coalesce(h.held_from, h.purchased_on) <= CAST(:on AS date)
                    AND (h.withdrawn_on IS NULL OR h.withdrawn_on > CAST(:on AS date)) DESC,
                coalesce(h.held_from, h.purchased_on) DESC, h.id DESC
            LIMIT 1)""",
    ),
    "case_number": _Kind("cases k", _HAS_IT_NOW, 'lower(k.number COLLATE "C") = lower({key})'),
    "phone": _Kind("contacts t", "t.customer_id", "t.phones @> ARRAY[{key}]", shared=True),
    # The spellings of one address, separated by spaces (`services.emails`).
    "email": _Kind(
        "contacts t",
        "t.customer_id",
        "lower(t.email) = ANY(string_to_array(lower({key}), ' '))",
        shared=True,
    ),
    "external_ref": _Kind(
        "external_refs r",
        # A merged customer keeps the references to systems that its survivor has one to.
        _SURVIVOR.format(id="r.customer_id"),
        """r.system = split_part({key}, ':', 1)
            AND r.ref = substr({key}, strpos({key}, ':') + 1)""",
    ),
}
LOOKUPS = tuple(_KINDS)

_TOKEN = f"SELECT id, name, scopes, customer_id FROM tokens WHERE {IS_VALID}"
# For the bound role: the function lets the statement see one customer's rows. The rest of the
# statement depends on its row and is therefore evaluated after it.
_BOUND_TOKEN = "SELECT id, name, scopes, customer_id FROM admit_bound(:token_hash, :now)"  # noqa: S105


def single_statement(
    when: _When,
    condition: str,
    token: str = _TOKEN,
    *,
    shared: bool = False,
    contact: str = "NULL::text",
) -> TextClause:
    """Read the token, each customer `c` that fulfils `condition` with its facts, and the closures.

    The statement returns no row if the token is invalid, and one row whose `customer` is null if no
    customer is found. A token bound to a customer finds that customer alone. With `shared` it
    returns up to `MOST_CANDIDATES` customers and one more, and reads facts only if it finds one.
    """
    found = f"({condition}) AND (token.customer_id IS NULL OR c.id = token.customer_id)"
    if shared:
        customers = f"""
            SELECT {CUSTOMER}, {_facts_alone(when)} AS facts, {contact} AS contact
            FROM (SELECT *, count(*) OVER () AS among FROM (
                SELECT * FROM customers c WHERE {found}
                ORDER BY c.code LIMIT {MOST_CANDIDATES + 1}) c) c"""
    else:
        customers = f"""SELECT {CUSTOMER}, {_FACTS[when]}, {contact} AS contact
            FROM customers c WHERE {found}"""
    return text(f"""
        WITH token AS MATERIALIZED ({token})
        SELECT token.*, found.*, {closures.CLOSURES} AS closures
        FROM token LEFT JOIN LATERAL ({customers} ORDER BY c.code) found ON true""")


def _facts_alone(when: _When) -> str:
    """The facts of a customer `c` that is alone `among` those found. Of several none is used."""
    return f"CASE WHEN c.among = 1 THEN {_FACTS[when].removesuffix(' AS facts')} END"


SINGLE: dict[tuple[bool, str, _When], PreparedQuery] = {
    (bound, name, when): prepare(
        single_statement(
            when,
            kind.single(),
            _BOUND_TOKEN if bound else _TOKEN,
            shared=kind.shared,
            contact=kind.contact(),
        )
    )
    for name, kind in _KINDS.items()
    for when in _FACTS
    for bound in (False, True)
}
"""The statement of each lookup, by whether the token is bound to a customer, its name, and when."""
_ASKED = " UNION ".join(kind.batch(name) for name, kind in _KINDS.items())
# One row for each customer that is found, whichever lookups find it, so that a batch of a thousand
# lookups of one customer reads its facts once. OFFSET 0 keeps the planner from joining all
# customers, as it would for an unknown number of them.
_BATCH = {
    when: text(f"""
        WITH asked AS MATERIALIZED (
            SELECT * FROM unnest(CAST(:positions AS int[]), CAST(:kinds AS text[]),
                CAST(:keys AS text[])) a (position, kind, key)),
        found AS MATERIALIZED ({_ASKED}),
        ranked AS (
            SELECT found.position, one.id,
                row_number() OVER (PARTITION BY found.position ORDER BY one.code) AS place,
                count(*) OVER (PARTITION BY found.position) AS among
            FROM found CROSS JOIN LATERAL (
                SELECT c.id, c.code FROM customers c
                WHERE c.id = found.id
                    AND (CAST(:customer_id AS uuid) IS NULL OR c.id = :customer_id)
                OFFSET 0) one),
        named AS MATERIALIZED (
            SELECT id, array_agg(position) AS positions, min(among) AS among
            FROM ranked WHERE place <= {MOST_CANDIDATES + 1} GROUP BY id)
        SELECT one.* FROM named CROSS JOIN LATERAL (
            SELECT named.positions, {CUSTOMER}, {_facts_alone(when)} AS facts
            FROM (SELECT *, named.among FROM customers WHERE id = named.id OFFSET 0) c) one
        ORDER BY one.code""")
    for when in _FACTS
}
_EXPORT = {
    when: text(f"""SELECT {CUSTOMER}, {facts} FROM customers c
        WHERE c.merged_at IS NULL
            AND (CAST(:customer_id AS uuid) IS NULL OR c.id = :customer_id) ORDER BY c.id""")
    for when, facts in _FACTS.items()
}


def _when(at: datetime, now: datetime) -> _When:
    return "past" if at < now else "now"


class Found(NamedTuple):
    """What a lookup finds."""

    customers: list[Known]
    """With their facts; if there are several, at most one more than `MOST_CANDIDATES`."""
    contact: Mapping[str, str] | None
    """`id` and `name` of the one contact by whom the one customer was found."""
    closures: Closures
    """Every help desk's closures that end after the instant asked about."""


NOBODY = Found([], None, {})


async def find(
    database: Database,
    token: str,
    scope: str | None,
    lookup: Lookup,
    *,
    now: datetime,
    at: datetime,
    on: date,
) -> tuple[Caller, Found]:
    """The caller and what a lookup finds: one statement.

    `at` and `on`, its civil date, decide whether past or present facts are read (R13). Raises
    Unauthorized, InsufficientScope.
    """
    bound = is_bound(token)
    parameters = {"token_hash": hash_of(token), "now": now, "key": lookup.key, "at": at, "on": on}
    count_statement()
    pool = database.bound_raw if bound else database.raw
    rows = await pool.fetch(SINGLE[bound, lookup.kind, _when(at, now)], parameters)
    caller = admitted(rows[0] if rows else None, scope)
    contact = rows[0]["contact"]
    return caller, Found(
        # After the token's four columns.
        [known(row, 4) for row in rows if row[4] is not None],
        None if contact is None else orjson.loads(contact),
        closures.parse(rows[0]["closures"]),
    )


def only(found: Sequence[Known]) -> Known:
    """The one customer that a lookup found. Raises CustomerNotFound, AmbiguousLookup."""
    if not found:
        raise CustomerNotFound
    if len(found) > 1:
        raise AmbiguousLookup(
            [
                {"id": str(one.id), "code": one.code, "name": one.name}
                for one in found[:MOST_CANDIDATES]
            ],
            more=len(found) > MOST_CANDIDATES,
        )
    return found[0]


async def find_many(
    work: UnitOfWork, lookups: Iterable[tuple[int, Lookup]], at: datetime, on: date
) -> dict[int, list[Known]]:
    """The customers that each lookup finds, by the number given with it: one statement.

    Of a lookup that finds several, at most one more than `MOST_CANDIDATES`. What is asked
    repeatedly is looked for once.
    """
    asked: dict[tuple[str, str], list[int]] = {}
    for number, lookup in lookups:
        asked.setdefault((lookup.kind, str(lookup.key)), []).append(number)
    numbers = list(asked.values())
    parameters = {
        "positions": list(range(len(asked))),
        "kinds": [kind for kind, _ in asked],
        "keys": [key for _, key in asked],
        "customer_id": work.caller.customer_id,
        "at": at,
        "on": on,
    }
    found: dict[int, list[Known]] = {}
    for row in await work.connection.execute(_BATCH[_when(at, work.now)], parameters):
        customer = known(row, 1)
        for position in row.positions:
            for number in numbers[position]:
                found.setdefault(number, []).append(customer)
    return found


async def every_customer(
    connection: Connection, caller: Caller, *, now: datetime, at: datetime, on: date
) -> AsyncGenerator[list[Known], None]:
    """Every customer in the caller's sight, some at a time, from one snapshot (a cursor).

    The connection is in a transaction; a bound caller's is one that sees its customer's rows.
    """
    parameters = {"customer_id": caller.customer_id, "at": at, "on": on}
    result = await connection.stream(
        _EXPORT[_when(at, now)],
        parameters,
        # Otherwise a thousand rows are read at once, which holds the event loop.
        execution_options={"yield_per": _EXPORTED_TOGETHER},
    )
    parts = result.partitions(_EXPORTED_TOGETHER)
    rows: Sequence[Any] | None = await anext(parts, None)
    while rows is not None:
        # The database reads the next ones while these are answered.
        following = asyncio.ensure_future(anext(parts, None))
        try:
            yield [known(row) for row in rows]
            rows = await following
        finally:
            # Whoever closes the connection must not meet a read that is still under way. It is not
            # cancelled, because the pool gives up a connection whose read was.
            await asyncio.gather(following, return_exceptions=True)
