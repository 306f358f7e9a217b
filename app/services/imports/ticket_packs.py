"""Imports of ticket packs, identified by their numbers (R16, R17).

Whoever buys tickets has them, with or without an Editor licence.
"""

from collections.abc import Mapping
from typing import ClassVar

from app.services.imports.owned import OWNED, Agreed
from app.services.imports.staging import Counts
from app.store.event_types import EventType


class TicketPackImport(Agreed):
    table = "ticket_packs"
    staged: ClassVar = {
        "line": "integer",
        "key": "text",
        "customer_key": "text",
        "id": "uuid",
        "number": "text",
        "quantity": "integer",
        "purchased_on": "date",
        "expires_on": "date",
    }

    def _facts(self) -> Mapping[str, str]:
        return {"quantity": "true", "purchased_on": "true"}

    async def write(self) -> Counts:
        fields = "id, customer_id, number, quantity, purchased_on, expires_on"
        created = await self.stage.run(
            f"""INSERT INTO ticket_packs ({fields}, created_at)
            SELECT {fields}, CAST(:now AS timestamptz)
            FROM {OWNED} WHERE known IS NULL ORDER BY line"""
        )
        await self.stage.record_each(
            f"""SELECT '{EventType.TICKETS_PURCHASED}' AS type, customer_id, id AS subject_id,
                    jsonb_build_object('number', number, 'quantity', quantity,
                        'purchased_on', purchased_on, 'expires_on', expires_on) AS data
                FROM {OWNED} WHERE known IS NULL ORDER BY line"""
        )
        return Counts(created, 0, await self.stage.count(OWNED) - created)
