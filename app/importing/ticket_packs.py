"""Ticket packs, known again by their numbers (R16, R17)."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from app.errors import InputError, InvalidInput
from app.http.fields import Code, Id
from app.ids import new_id
from app.importing.agreed import Agreed
from app.importing.kinds import ACTOR, Counts, number, read_as
from app.importing.licences import NOBODY
from app.importing.owned import OWNED
from app.importing.reading import BadRow, Row
from app.importing.staging import Stage
from app.routers.ticket_packs.schemas import NewTicketPack
from app.services.ticket_packs import expiry
from app.store.events import record_each


class _TicketPackRow(NewTicketPack):
    customer_id: Id = NOBODY
    customer_code: Code
    number: Code


class TicketPacks(Agreed):
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

    def record(self, row: Row) -> tuple[Any, ...]:
        body: dict[str, Any] = dict(row.cells)
        if "quantity" in body:
            body["quantity"] = number(body["quantity"])
        given = read_as(_TicketPackRow, body)
        if given.purchased_on > self.moment.today:
            raise InvalidInput(InputError("/purchased_on", "in_future"))
        return (
            row.line,
            given.number.lower(),
            given.customer_code.lower(),
            new_id(),
            given.number,
            given.quantity,
            given.purchased_on,
            expiry(self.moment.policies, given.purchased_on),
        )

    def facts(self) -> Mapping[str, str]:
        return {"quantity": "true", "purchased_on": "true"}

    async def new(self, stage: Stage) -> AsyncIterator[BadRow]:
        # With or without an Editor: whoever buys tickets has them.
        return
        yield

    async def write(self, stage: Stage) -> Counts:
        fields = "id, customer_id, number, quantity, purchased_on, expires_on"
        created = await stage.run(
            f"""INSERT INTO ticket_packs ({fields}, created_at)
            SELECT {fields}, CAST(:now AS timestamptz)
            FROM {OWNED} WHERE known IS NULL ORDER BY line"""
        )
        await record_each(
            stage.connection,
            ACTOR,
            self.moment.now,
            f"""SELECT 'tickets.purchased' AS type, customer_id, id AS subject_id,
                    jsonb_build_object('number', number, 'quantity', quantity,
                        'purchased_on', purchased_on, 'expires_on', expires_on) AS data
                FROM {OWNED} WHERE known IS NULL ORDER BY line""",
        )
        total = await stage.count(OWNED)
        return Counts(created, 0, total - created)
