"""Customers with their contacts: a row for each contact, the customer's own columns repeated.

What the file has a column for is made as the file says: an empty cell clears, and contacts that it
does not name are removed, as by `PUT /v1/customers/by-code/…`. What it has no column for stays.
"""

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import orjson

from app.errors import InputError, InvalidInput
from app.http.fields import Code
from app.ids import new_id
from app.importing.columns import REFERENCE, Columns
from app.importing.customer_changes import Changes
from app.importing.kinds import ACTOR, Counts, Kind, Moment, once, read_as, said
from app.importing.reading import BadRow, Row
from app.importing.staging import ROWS, Stage
from app.routers.customers.schemas import KnownCustomer
from app.services.contacts import MOST_CONTACTS, in_e164
from app.services.customers import own_fields
from app.store.events import record_each

_OWN = ("name", "country", "language", "vat_number", "help_desk")
_SAME = "same"
_BATCH = 500


class _CustomerRow(KnownCustomer):
    code: Code


class Customers(Kind):
    customers = "key"
    staged: ClassVar = {
        "line": "integer",
        "key": "text",
        "id": "uuid",
        "code": "text",
        **dict.fromkeys(_OWN, "text"),
        "refs": "jsonb",
        "contact_id": "uuid",
        "contact_name": "text",
        "contact_email": "text",
        "contact_phones": "text[]",
        "contact_key": "text",
    }

    def __init__(self, columns: Columns, moment: Moment) -> None:
        super().__init__(columns, moment)
        # Name and country are always there.
        self._own = [name for name in _OWN if name in columns]
        self._contact = [
            staged
            for staged, column in (
                ("contact_name", "contact_name"),
                ("contact_email", "contact_email"),
                ("contact_phones", "contact_phone"),
            )
            if column in columns
        ]

    def record(self, row: Row) -> tuple[Any, ...]:
        cells = row.cells
        given = read_as(_CustomerRow, _body(cells))
        errors: list[InputError] = []
        fields: dict[str, Any] = {}
        people = given.people()
        try:
            fields = own_fields(self.moment.policies, given.own())
        except InvalidInput as error:
            errors += error.errors
        try:
            people = in_e164(people, given.country)
        except InvalidInput as error:
            errors += error.errors
        if errors:
            raise InvalidInput(*errors)
        contact: tuple[Any, ...] = (None,) * 5
        if people:
            (one,) = people
            same = ":".join(map(str, one.matched_by))
            contact = (new_id(), one.name, one.email, one.phones, same)
        return (
            row.line,
            given.code.lower(),
            new_id(),
            given.code,
            *(fields[name] for name in _OWN),
            orjson.dumps(given.external_refs, option=orjson.OPT_SORT_KEYS).decode(),
            *contact,
        )

    async def check(self, stage: Stage) -> AsyncIterator[BadRow]:
        await self._resolve(stage)
        for found in (self._disagreeing, self._contacts, self._references):
            async for bad in found(stage):
                yield bad
        changes = Changes(self.columns, self._own, self._contact)
        async for bad in changes.stage(stage):
            yield bad

    async def _resolve(self, stage: Stage) -> None:
        """One row for each customer: who is known already, and whether anything differs."""
        own = ", ".join(f"i.{name} IS DISTINCT FROM c.{name}" for name in self._own)
        differs = own.replace(", ", " OR ")
        if self.columns.systems:
            differs += """ OR i.refs <> (SELECT coalesce(jsonb_object_agg(e.system, e.ref), '{}')
                FROM external_refs e WHERE e.customer_id = c.id
                    AND e.system = ANY(CAST(:systems AS text[])))"""
        if self._contact:
            kept = ", ".join(f"t.{name.removeprefix('contact_')}" for name in self._contact)
            given = ", ".join(f"r.{name}" for name in self._contact)
            differs += f""" OR
                (SELECT coalesce(jsonb_agg(jsonb_build_array({kept}) ORDER BY t.position, t.id),
                    '[]') FROM contacts t WHERE t.customer_id = c.id) <>
                (SELECT coalesce(jsonb_agg(jsonb_build_array({given}) ORDER BY r.line), '[]')
                    FROM {ROWS} r WHERE r.key = i.key AND r.contact_id IS NOT NULL)"""
        await stage.table_as(
            "import_customers",
            f"""SELECT i.*, c.id AS known, coalesce(c.id, i.id) AS customer_id,
                CASE WHEN c.id IS NULL THEN 'new' WHEN {differs} THEN 'differs' ELSE '{_SAME}' END
                    AS state
                FROM (SELECT DISTINCT ON (key) * FROM {ROWS} ORDER BY key, line) AS i
                LEFT JOIN customers c ON lower(c.code COLLATE "C") = i.key""",
            "key",
        )

    async def _disagreeing(self, stage: Stage) -> AsyncIterator[BadRow]:
        compared = {name: name for name in self._own}
        compared |= {REFERENCE + one: f"refs->>'{one}'" for one in self.columns.systems}
        differs = [f"r.{what} IS DISTINCT FROM i.{what}" for what in compared.values()]
        query = f"""SELECT r.line, i.line AS earlier, ARRAY[{", ".join(differs)}] AS differs
            FROM {ROWS} r JOIN import_customers i ON i.key = r.key AND i.line < r.line
            WHERE {" OR ".join(differs)}"""
        for row in await stage.fetch(query):
            for column, differs_here in zip(compared, row.differs, strict=True):
                if differs_here:
                    reason = f"differs from line {row.earlier}, which has the same code"
                    yield BadRow(row.line, column, reason)

    async def _contacts(self, stage: Stage) -> AsyncIterator[BadRow]:
        if not self._contact:
            return
        named = f"(SELECT * FROM {ROWS} WHERE contact_id IS NOT NULL) AS named"
        for row in await stage.fetch(once(named, "key, contact_key")):
            reason = f"is the same contact as on line {row.earlier}"
            yield BadRow(row.line, "contact_name", reason)
        crowded = await stage.fetch(
            f"""SELECT i.line FROM {named} JOIN import_customers i USING (key)
            WHERE i.state = 'new' GROUP BY i.line HAVING count(*) > :most""",
            most=MOST_CONTACTS,
        )
        for row in crowded:
            yield BadRow(row.line, "contact_name", said("too_many", limit=MOST_CONTACTS))

    async def _references(self, stage: Stage) -> AsyncIterator[BadRow]:
        if not self.columns.systems:
            return
        given = """(SELECT i.line, i.key, i.known, p.key AS system, p.value AS ref
            FROM import_customers i, jsonb_each_text(i.refs) p) AS given"""
        twice = f"""SELECT * FROM (SELECT line, system,
                min(line) OVER (PARTITION BY system, ref) AS earlier FROM {given}
            ) AS numbered WHERE line > earlier"""
        for row in await stage.fetch(twice):
            reason = f"is that of another customer on line {row.earlier}"
            yield BadRow(row.line, REFERENCE + row.system, reason)
        # One whose owner is in the file too is given up there, or is there twice.
        taken = f"""SELECT given.line, given.system, c.code FROM {given}
            JOIN external_refs e ON e.system = given.system AND e.ref = given.ref
                AND e.customer_id IS DISTINCT FROM given.known
            JOIN customers c ON c.id = e.customer_id
            WHERE NOT EXISTS (SELECT FROM import_customers o WHERE o.known = c.id)"""
        for row in await stage.fetch(taken):
            yield BadRow(row.line, REFERENCE + row.system, f"is that of the customer {row.code}")

    async def write(self, stage: Stage) -> Counts:
        created = await stage.run(
            """INSERT INTO customers (id, code, name, country, language, vat_number, help_desk,
                created_at, updated_at)
            SELECT id, code, name, country, language, vat_number, help_desk,
                CAST(:now AS timestamptz), CAST(:now AS timestamptz)
            FROM import_customers WHERE state = 'new' ORDER BY line"""
        )
        fields = ", ".join(f"{name} = i.{name}" for name in self._own)
        changed = await stage.run(
            f"""UPDATE customers c SET {fields}, updated_at = :now
            FROM import_customers i, import_changes h
            WHERE c.id = h.customer_id AND i.known = h.customer_id"""
        )
        await self._write_references(stage)
        await self._write_contacts(stage)
        await record_each(
            stage.connection,
            ACTOR,
            self.moment.now,
            """SELECT 'customer.updated' AS type, customer_id, customer_id AS subject_id, data
                FROM (
                    SELECT line, id AS customer_id,
                        jsonb_build_object('code', code, 'created', true) AS data
                    FROM import_customers WHERE state = 'new'
                    UNION ALL SELECT line, customer_id, data FROM import_changes
                ) AS written ORDER BY line""",
        )
        total = await stage.count("import_customers")
        return Counts(created, changed, total - created - changed)

    async def _write_references(self, stage: Stage) -> None:
        if not self.columns.systems:
            return
        # All that are given up before any is taken: two customers may have changed places.
        await stage.run(
            """DELETE FROM external_refs e USING import_customers i
            WHERE e.customer_id = i.known AND i.state = 'differs'
                AND e.system = ANY(CAST(:systems AS text[]))
                AND e.ref IS DISTINCT FROM i.refs->>e.system"""
        )
        await stage.run(
            f"""INSERT INTO external_refs (customer_id, system, ref)
            SELECT i.customer_id, p.key, p.value
            FROM import_customers i, jsonb_each_text(i.refs) p
            WHERE i.state <> '{_SAME}' AND NOT EXISTS (SELECT FROM external_refs e
                WHERE e.customer_id = i.known AND e.system = p.key)"""
        )

    async def _write_contacts(self, stage: Stage) -> None:
        if not self._contact:
            return
        await stage.run(
            f"""INSERT INTO contacts (id, customer_id, position, name, email, phones)
            SELECT r.contact_id, i.customer_id,
                row_number() OVER (PARTITION BY r.key ORDER BY r.line) - 1,
                r.contact_name, r.contact_email, r.contact_phones
            FROM {ROWS} r JOIN import_customers i ON i.key = r.key
            WHERE i.state = 'new' AND r.contact_id IS NOT NULL"""
        )
        await stage.run(
            """DELETE FROM contacts t USING import_changes h
            WHERE t.customer_id = h.customer_id AND h.contacts
                AND NOT EXISTS (SELECT FROM import_contacts n WHERE n.id = t.id)"""
        )
        await stage.run(
            """INSERT INTO contacts (id, customer_id, position, name, email, phones)
            SELECT id, customer_id, position, name, email, phones FROM import_contacts
            ON CONFLICT (id) DO UPDATE SET position = excluded.position, name = excluded.name,
                email = excluded.email, phones = excluded.phones"""
        )


def _body(cells: dict[str, str]) -> dict[str, Any]:
    """A row as the body of a PUT, with its code."""
    body: dict[str, Any] = {"external_refs": {}}
    contact: dict[str, Any] = {}
    for name, text in cells.items():
        if name.startswith(REFERENCE):
            body["external_refs"][name.removeprefix(REFERENCE)] = text
        elif name == "contact_phone":
            phones = [phone.strip() for phone in text.split(";")]
            contact["phones"] = [phone for phone in phones if phone]
        elif name.startswith("contact_"):
            contact[name.removeprefix("contact_")] = text
        else:
            body[name] = text
    if contact:
        body["contacts"] = [contact]
    return body
