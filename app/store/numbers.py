"""Numbers of contracts and ticket packs: given by the caller, or generated here."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Sequence, Table, func, literal_column
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import ServiceUnavailable
from app.store.tables import contracts, ticket_packs

TRIES = 100
"""How many numbers in a row may be taken already before none is generated."""

log = structlog.get_logger(__name__)

GENERATED: dict[str, tuple[str, Sequence]] = {
    contracts.name: ("SA", Sequence("contract_numbers")),
    ticket_packs.name: ("TP", Sequence("ticket_pack_numbers")),
}
"""By table: the prefix of its numbers, and their sequence."""
_TAKEN = func.lower(literal_column('number COLLATE "C"'))


async def insert_numbered(
    connection: AsyncConnection, table: Table, values: Mapping[str, Any], today: date
) -> UUID:
    """Insert a row with its own `number`, or with the next generated one such as `SA-2026-000007`.

    The year is that of `today`; the sequence does not restart with the year. A generated number
    that a caller has already used is skipped. Returns the row's id. Raises ServiceUnavailable if
    the sequence is far behind the data; a repetition of the request goes on where this stopped.
    """
    if values.get("number") is not None:
        id_: UUID = values["id"]
        await connection.execute(insert(table).values(values))
        return id_
    prefix, sequence = GENERATED[table.name]
    for _ in range(TRIES):
        running = await connection.scalar(sequence.next_value())
        number = f"{prefix}-{today.year}-{running:06d}"
        id_made: UUID | None = await connection.scalar(
            insert(table)
            .values({**values, "number": number})
            .on_conflict_do_nothing(index_elements=[_TAKEN])
            .returning(table.c.id)
        )
        if id_made is not None:
            return id_made
    log.error("database_shortage", of="sequence", key=sequence.name)
    raise ServiceUnavailable("sequence")
