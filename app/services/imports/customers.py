"""Imports of customers: one row for each contact, the customer's own columns repeated in each.

A row sets what the file has columns for: an empty cell clears a field, and contacts that the file
does not name are removed, as by `PUT /v1/customers/by-code/…`. What it has no column for stays.
"""

from typing import Any, ClassVar

from app.services.contacts import MOST_CONTACTS
from app.services.imports.customer_changes import Changes
from app.services.imports.staging import ROWS, Counts, Fault, Import
from app.store.event_types import EventType

OWN = ("name", "country", "language", "vat_number", "help_desk")
_CONTACT = ("contact_name", "contact_email", "contact_phones")
_SAME = "same"


class CustomerImport(Import):
    customers = "key"
    staged: ClassVar = {
        "line": "integer",
        "key": "text",
        "id": "uuid",
        "code": "text",
        **dict.fromkeys(OWN, "text"),
        "refs": "jsonb",
        "contact_id": "uuid",
        "contact_name": "text",
        "contact_email": "text",
        "contact_phones": "text[]",
    }

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # A file always has the name and the country.
        self._own = [name for name in OWN if name in self.fields]
        self._contact = [name for name in _CONTACT if name in self.fields]

    async def _faults(self) -> None:
        await self._resolve()
        await self.stage.faults(
            "merged",
            "/code",
            """SELECT i.line, s.code AS survivor FROM import_customers i
                JOIN merged_customers m ON m.customer_id = i.known
                JOIN customers s ON s.id = m.survivor_id""",
        )
        await self._disagreeing()
        if self._contact:
            await self._contacts()
        if self.systems:
            await self._references()
        await Changes(self.stage, self._own, self._contact, self.systems).find()

    def _together(self) -> str | None:
        # Customers between whom references move: the one must give up what the other gets.
        return """SELECT unnest(ARRAY[i.key, o.key])
            FROM import_customers i CROSS JOIN jsonb_each_text(i.refs) p
            JOIN external_refs e ON e.system = p.key AND e.ref = p.value
                AND e.customer_id IS DISTINCT FROM i.known
            JOIN import_customers o ON o.known = e.customer_id"""

    async def _resolve(self) -> None:
        """One row for each customer: whether it is stored, and whether anything differs."""
        own = ", ".join(f"i.{name} IS DISTINCT FROM c.{name}" for name in self._own)
        differs = own.replace(", ", " OR ")
        if self.systems:
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
        await self.stage.table_as(
            "import_customers",
            f"""SELECT i.*, c.id AS known, coalesce(c.id, i.id) AS customer_id,
                CASE WHEN c.id IS NULL THEN 'new' WHEN {differs} THEN 'differs' ELSE '{_SAME}' END
                    AS state
                FROM (SELECT DISTINCT ON (key) * FROM {ROWS} ORDER BY key, line) AS i
                LEFT JOIN customers c ON lower(c.code COLLATE "C") = i.key""",
            "key",
        )

    async def _disagreeing(self) -> None:
        compared = {f"/{name}": name for name in self._own}
        for place, system in enumerate(self.systems, 1):
            ref = f"refs->>(CAST(:systems AS text[]))[{place}]"
            compared[f"/external_refs/{system}"] = ref
        differs = [f"r.{what} IS DISTINCT FROM i.{what}" for what in compared.values()]
        query = f"""SELECT r.line, i.line AS earlier, ARRAY[{", ".join(differs)}] AS differs
            FROM {ROWS} r JOIN import_customers i ON i.key = r.key AND i.line < r.line
            WHERE {" OR ".join(differs)}"""
        async for row in self.stage.stream(query):
            for pointer, differs_here in zip(compared, row.differs, strict=True):
                if differs_here:
                    earlier = {"earlier": row.earlier}
                    self.stage.report(Fault(row.line, pointer, "customer_differs", earlier))

    async def _contacts(self) -> None:
        named = f"(SELECT * FROM {ROWS} WHERE contact_id IS NOT NULL) AS named"
        crowded = f"""SELECT i.line, {MOST_CONTACTS} AS "limit"
            FROM {named} JOIN import_customers i USING (key)
            WHERE i.state = 'new' GROUP BY i.line HAVING count(*) > {MOST_CONTACTS}"""
        await self.stage.faults("too_many", "/contact_name", crowded)

    async def _references(self) -> None:
        given = """(SELECT i.line, i.key, i.known, p.key AS system, p.value AS ref
            FROM import_customers i, jsonb_each_text(i.refs) p) AS given"""
        twice = f"""SELECT * FROM (SELECT line, system,
                min(line) OVER (PARTITION BY system, ref) AS earlier FROM {given}
            ) AS numbered WHERE line > earlier"""
        # If its owner is in the file too, the owner gives it up, or the file repeats it. One that a
        # record merged into the customer has kept is the customer's own.
        taken = f"""SELECT given.line, given.system, c.code FROM {given}
            JOIN external_refs e ON e.system = given.system AND e.ref = given.ref
                AND e.customer_id IS DISTINCT FROM given.known
            JOIN customers c ON c.id = e.customer_id
            WHERE NOT EXISTS (SELECT FROM import_customers o WHERE o.known = c.id)
                AND NOT EXISTS (SELECT FROM merged_customers m
                    WHERE m.customer_id = c.id AND m.survivor_id = given.known)"""
        await self.stage.faults("reference_on_line", "/external_refs/{system}", twice)
        await self.stage.faults("reference_taken", "/external_refs/{system}", taken)

    async def write(self) -> Counts:
        created = await self.stage.run(
            """INSERT INTO customers (id, code, name, country, language, vat_number, help_desk,
                created_at, updated_at)
            SELECT id, code, name, country, language, vat_number, help_desk,
                CAST(:now AS timestamptz), CAST(:now AS timestamptz)
            FROM import_customers WHERE state = 'new' ORDER BY line"""
        )
        fields = ", ".join(f"{name} = i.{name}" for name in self._own)
        changed = await self.stage.run(
            f"""UPDATE customers c SET {fields}, updated_at = :now
            FROM import_customers i, import_changes h
            WHERE c.id = h.customer_id AND i.known = h.customer_id"""
        )
        if self.systems:
            await self._write_references()
        if self._contact:
            await self._write_contacts()
        await self.stage.record_each(
            f"""SELECT '{EventType.CUSTOMER_UPDATED}' AS type,
                    customer_id, customer_id AS subject_id, data
                FROM (
                    SELECT line, id AS customer_id,
                        jsonb_build_object('code', code, 'created', true) AS data
                    FROM import_customers WHERE state = 'new'
                    UNION ALL SELECT line, customer_id, data FROM import_changes
                ) AS written ORDER BY line"""
        )
        total = await self.stage.count("import_customers")
        return Counts(created, changed, total - created - changed)

    async def _write_references(self) -> None:
        # First delete, then insert: two customers may have exchanged their references.
        await self.stage.run(
            """DELETE FROM external_refs e USING import_customers i, merged_customers m
            WHERE m.customer_id = e.customer_id AND m.survivor_id = i.known
                AND i.state = 'differs' AND i.refs->>e.system = e.ref"""
        )
        await self.stage.run(
            """DELETE FROM external_refs e USING import_customers i
            WHERE e.customer_id = i.known AND i.state = 'differs'
                AND e.system = ANY(CAST(:systems AS text[]))
                AND e.ref IS DISTINCT FROM i.refs->>e.system"""
        )
        await self.stage.run(
            f"""INSERT INTO external_refs (customer_id, system, ref)
            SELECT i.customer_id, p.key, p.value
            FROM import_customers i, jsonb_each_text(i.refs) p
            WHERE i.state <> '{_SAME}' AND NOT EXISTS (SELECT FROM external_refs e
                WHERE e.customer_id = i.known AND e.system = p.key)"""
        )

    async def _write_contacts(self) -> None:
        await self.stage.run(
            f"""INSERT INTO contacts (id, customer_id, position, name, email, phones)
            SELECT r.contact_id, i.customer_id,
                row_number() OVER (PARTITION BY r.key ORDER BY r.line) - 1,
                r.contact_name, r.contact_email, r.contact_phones
            FROM {ROWS} r JOIN import_customers i ON i.key = r.key
            WHERE i.state = 'new' AND r.contact_id IS NOT NULL"""
        )
        await self.stage.run(
            """DELETE FROM contacts t USING import_changes h
            WHERE t.customer_id = h.customer_id AND h.contacts
                AND NOT EXISTS (SELECT FROM import_contacts n WHERE n.id = t.id)"""
        )
        await self.stage.run(
            """INSERT INTO contacts (id, customer_id, position, name, email, phones)
            SELECT id, customer_id, position, name, email, phones FROM import_contacts
            ON CONFLICT (id) DO UPDATE SET position = excluded.position, name = excluded.name,
                email = excluded.email, phones = excluded.phones"""
        )
