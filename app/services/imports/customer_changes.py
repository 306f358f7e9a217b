"""What changes of stored customers from which a file differs.

Decided customer by customer, by the functions that decide it for the API: as a rule few differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import Row

from app.errors import InvalidInput
from app.services.contacts import GivenContact, replaced
from app.services.customers import Customer, difference, load
from app.services.imports.staging import ROWS, Stage, faults_of

_BATCH = 500


@dataclass(frozen=True)
class Changes:
    stage: Stage
    own: Sequence[str]
    """The customer's own fields that the file has."""
    contact: Sequence[str]
    """The staged columns of a contact that the file has."""
    systems: Sequence[str]
    """The systems whose references the file has."""

    async def find(self) -> None:
        """Stage, as `import_changes` and `import_contacts`, what a PUT would write of each
        customer; report what is wrong with it."""
        await self.stage.table(
            "import_changes",
            {"line": "integer", "customer_id": "uuid", "contacts": "boolean", "data": "jsonb"},
        )
        await self.stage.table(
            "import_contacts",
            {
                "id": "uuid",
                "customer_id": "uuid",
                "position": "integer",
                "name": "text",
                "email": "text",
                "phones": "text[]",
            },
        )
        await self.stage.run("CREATE INDEX ON import_customers (line) WHERE state = 'differs'")
        last = 0
        while given := await self.stage.fetch(
            """SELECT * FROM import_customers WHERE state = 'differs' AND line > :last
            ORDER BY line LIMIT :most""",
            last=last,
            most=_BATCH,
        ):
            last = given[-1].line
            await self._compare(given)
        await self.stage.settle("import_changes", "customer_id")
        await self.stage.settle("import_contacts", "id")

    async def _compare(self, given: Sequence[Row[Any]]) -> None:
        before = await load(self.stage.connection, [one.known for one in given])
        rows = await self.stage.fetch(
            f"""SELECT key, contact_name AS name, contact_email AS email, contact_phones AS phones
            FROM {ROWS} WHERE key = ANY(CAST(:keys AS text[])) AND contact_id IS NOT NULL
            ORDER BY line""",
            keys=[one.key for one in given],
        )
        people: dict[str, list[Row[Any]]] = {}
        for row in rows:
            people.setdefault(row.key, []).append(row)
        changes: list[tuple[Any, ...]] = []
        contacts: list[tuple[Any, ...]] = []
        for one in given:
            known = before[one.known]
            try:
                after = self._after(known, one, people.get(one.key, []))
                data = difference(known, after)
            except InvalidInput as error:
                for fault in faults_of(one.line, error):
                    self.stage.report(fault)
                continue
            if data is None:
                continue
            moved = "contacts" in data
            changes.append((one.line, known.id, moved, orjson.dumps(data).decode()))
            if moved:
                contacts += [
                    (who.id, known.id, position, who.name, who.email, who.phones)
                    for position, who in enumerate(after.contacts)
                ]
        await self.stage.copy(
            "import_changes", ("line", "customer_id", "contacts", "data"), changes
        )
        await self.stage.copy(
            "import_contacts",
            ("id", "customer_id", "position", "name", "email", "phones"),
            contacts,
        )

    def _after(self, known: Customer, given: Row[Any], people: list[Row[Any]]) -> Customer:
        changes: dict[str, Any] = {name: getattr(given, name) for name in self.own}
        kept = {name: ref for name, ref in known.external_refs.items() if name not in self.systems}
        changes["external_refs"] = kept | given.refs
        if self.contact:
            named = [GivenContact(one.name, one.email, one.phones) for one in people]
            old = {contact.id: contact for contact in known.contacts}
            untold: dict[str, Any] = {"email": None, "phones": []}
            for name in ("email", "phones"):
                if f"contact_{name}" in self.contact:
                    del untold[name]
            # What the file has no column for tells nobody apart, and stays.
            alike = [replace(one, **untold) for one in known.contacts]
            changes["contacts"] = [
                replace(one, **{name: getattr(old[one.id], name) for name in untold})
                if one.id in old
                else one
                for one in replaced(named, alike)
            ]
        return replace(known, **changes)
