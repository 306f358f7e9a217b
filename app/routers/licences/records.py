"""Licences on the wire and in the database."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import JSON, Select, insert, literal_column, update
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from app.http.fields import CivilDate, Id, Input, Name, Output, ShortText
from app.http.legacy import find, lock_customer_of, reachable
from app.http.responses import json_response
from app.ids import new_id
from app.policy.facts import LicenceKind
from app.services.unit_of_work import Caller
from app.store import events
from app.store.tables import licences


class LicenceFields(Input):
    customer_id: Id
    kind: LicenceKind
    product: Name
    version: ShortText
    purchased_on: CivilDate


class Upgrade(Output):
    version: str
    upgraded_on: date
    paid_by: Literal["purchase", "contract"]
    contract_id: UUID | None


class Licence(Output):
    id: UUID
    customer_id: UUID
    serial_number: str
    kind: LicenceKind
    product: str
    version: str
    purchased_on: date
    withdrawn_on: date | None
    withdrawal_reason: str | None
    upgrades: list[Upgrade]

    def withdrawn(self, on: date) -> bool:
        return self.withdrawn_on is not None and self.withdrawn_on <= on


_COLUMNS = [licences.c[name] for name in Licence.model_fields if name != "upgrades"]
_UPGRADES = literal_column(
    """coalesce((SELECT json_agg(json_build_object('version', version, 'upgraded_on', upgraded_on,
            'paid_by', paid_by, 'contract_id', contract_id) ORDER BY upgraded_on, created_at, id)
        FROM licence_upgrades WHERE licence_id = licences.id), '[]')""",
    JSON,
).label("upgrades")
_REPLACED = ("kind", "product", "version", "purchased_on")


def representations(caller: Caller) -> Select[Any]:
    """Whole licences within reach, one row each."""
    return reachable(caller, licences).with_only_columns(*_COLUMNS, _UPGRADES)


async def read(connection: AsyncConnection, caller: Caller, key: str | UUID) -> Licence:
    """The licence that an id or serial number names. Raises NotFound."""
    row = await find(connection, caller, licences, key, representations(caller))
    return Licence.model_validate(row._asdict())


async def lock(connection: AsyncConnection, caller: Caller, key: str) -> Licence:
    """The same, read under its customer's lock."""
    row = await lock_customer_of(connection, caller, licences, key)
    return await read(connection, caller, row.id)


async def answer(
    request: Request, connection: AsyncConnection, caller: Caller, id_: UUID, status: int = 200
) -> Response:
    # Read anew, so that the tag is the one that a GET will carry.
    licence = await read(connection, caller, id_)
    headers = {"Location": f"/v1/licences/{licence.id}"} if status == 201 else None
    return json_response(request, licence, status, headers)


async def record(
    connection: AsyncConnection,
    caller: Caller,
    now: datetime,
    happened: str,
    licence: Licence,
    data: Mapping[str, Any],
) -> None:
    """Append `licence.<happened>`."""
    await events.record(
        connection,
        f"licence.{happened}",
        caller.actor,
        now,
        customer_id=licence.customer_id,
        subject_id=licence.id,
        data={"serial_number": licence.serial_number, **data},
    )


async def register(
    connection: AsyncConnection, caller: Caller, now: datetime, serial: str, body: LicenceFields
) -> UUID:
    """Insert a licence, under its customer's lock. The database refuses a serial number taken."""
    fields = body.model_dump(include={"customer_id", *_REPLACED})
    licence = Licence(
        id=new_id(),
        serial_number=serial,
        withdrawn_on=None,
        withdrawal_reason=None,
        upgrades=[],
        **fields,
    )
    values = {**licence.model_dump(exclude={"upgrades"}), "created_at": now}
    await connection.execute(insert(licences).values(values))
    after = licence.model_dump(mode="json", include=set(_REPLACED))
    await record(connection, caller, now, "registered", licence, {"after": after})
    return licence.id


async def change(
    connection: AsyncConnection, caller: Caller, now: datetime, before: Licence, after: Licence
) -> None:
    """Write what differs, with its event; nothing at all where nothing does."""
    changed = {name for name in _REPLACED if getattr(after, name) != getattr(before, name)}
    if not changed:
        return
    values = after.model_dump(include=changed)
    await connection.execute(update(licences).where(licences.c.id == after.id).values(values))
    data = {
        "before": before.model_dump(mode="json", include=changed),
        "after": after.model_dump(mode="json", include=changed),
    }
    await record(connection, caller, now, "registered", after, data)
