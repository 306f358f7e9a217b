"""Numbers of contracts and ticket packs: given by the caller, or generated here."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Sequence, Table, func, literal_column
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import contracts, ticket_packs

_GENERATED: dict[str, tuple[str, Sequence]] = {
    contracts.name: ("SA", Sequence("contract_numbers")),
    ticket_packs.name: ("TP", Sequence("ticket_pack_numbers")),
}
_TAKEN = func.lower(literal_column('number COLLATE "C"'))


async def insert_numbered(
    connection: AsyncConnection, table: Table, values: Mapping[str, Any], today: date
) -> UUID:
    """Insert a row with its own `number`, or with the next generated one such as `SA-2026-000007`.

    The year is that of `today`; the sequence does not restart with the year. A generated number
    that a caller has already used is skipped. Returns the row's id.
    """
    if values.get("number") is not None:
        id_: UUID = values["id"]
        await connection.execute(insert(table).values(values))
        return id_
    prefix, sequence = _GENERATED[table.name]
    id_made: UUID | None = None
    while id_made is None:
        running = await connection.scalar(sequence.next_value())
        number = f"{prefix}-{today.year}-{running:06d}"
        id_made = await connection.scalar(
            insert(table)
            .values({**values, "number": number})
            .on_conflict_do_nothing(index_elements=[_TAKEN])
            .returning(table.c.id)
        )
    return id_made
