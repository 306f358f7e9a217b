"""Licences: what a customer bought, withdrew and upgraded (R1, R2, R25)."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi import Query as FromQuery
from sqlalchemy import JSON, Select, insert, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from app.http.decisions import refusal_body
from app.http.documented import CACHED, acts, changes, posts, reads
from app.http.etags import (
    check_if_match,
    check_if_none_match,
    json_bytes,
    json_response,
    strong_etag,
)
from app.http.fields import (
    CivilDate,
    Code,
    Id,
    Input,
    Key,
    MergePatch,
    Name,
    Output,
    ShortText,
    absent,
)
from app.http.languages import language_of
from app.http.pages import Page, PageQuery, beyond, decode_cursor, encode_cursor, page_of
from app.http.problems import AlreadyExists, NotEntitled, NotFound, WrongState, invalid
from app.http.reach import called, lock_customer_of, lock_named_customer, reachable
from app.http.routes import Connection, CurrentCaller, Now, Route, needs
from app.http.tokens import Caller
from app.ids import new_id
from app.policy.civil import civil_date
from app.policy.decide import decide
from app.policy.facts import LicenceKind
from app.store import events, facts
from app.store.tables import licence_upgrades, licences

router = APIRouter(route_class=Route, tags=["Licences"])

_UPGRADES = literal_column(
    """coalesce((SELECT json_agg(json_build_object('version', version, 'upgraded_on', upgraded_on,
            'paid_by', paid_by, 'contract_id', contract_id) ORDER BY upgraded_on, created_at, id)
        FROM licence_upgrades WHERE licence_id = licences.id), '[]')""",
    JSON,
).label("upgrades")


class LicenceFields(Input):
    customer_id: Id
    kind: LicenceKind
    product: Name
    version: ShortText
    purchased_on: CivilDate


class NewLicence(LicenceFields):
    serial_number: Code


class LicencePatch(MergePatch):
    product: Name = absent()
    version: ShortText = absent()


class Withdrawal(Input):
    withdrawn_on: CivilDate
    reason: ShortText


class NewUpgrade(Input):
    version: ShortText
    upgraded_on: CivilDate | None = None
    paid_by: Literal["purchase", "contract"]


class LicencesQuery(PageQuery):
    customer_id: Id | None = None
    kind: LicenceKind | None = None
    serial_number: Code | None = None


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


def _today(request: Request, now: datetime) -> date:
    return civil_date(now, request.app.state.policies.zone)


def _representations(caller: Caller) -> Select[Any]:
    return reachable(caller, licences).with_only_columns(*_COLUMNS, _UPGRADES)


async def _read(connection: AsyncConnection, caller: Caller, key: str | UUID) -> Licence:
    query = _representations(caller).where(called(licences, key))
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound
    return Licence.model_validate(row._asdict())


async def _lock(connection: AsyncConnection, caller: Caller, key: str) -> Licence:
    row = await lock_customer_of(connection, caller, licences, key)
    return await _read(connection, caller, row.id)


async def _answer(
    request: Request, connection: AsyncConnection, caller: Caller, id_: UUID, status: int = 200
) -> Response:
    licence = await _read(connection, caller, id_)
    headers = {"Location": f"/v1/licences/{licence.id}"} if status == 201 else None
    return json_response(request, licence, status, headers)


async def _record(
    connection: AsyncConnection,
    caller: Caller,
    now: datetime,
    type_: str,
    licence: Licence,
    **data: Any,
) -> None:
    await events.record(
        connection,
        type_,
        caller.actor,
        now,
        customer_id=licence.customer_id,
        subject_id=licence.id,
        data={"serial_number": licence.serial_number, **data},
    )


async def _register(
    connection: AsyncConnection,
    caller: Caller,
    now: datetime,
    serial_number: str,
    body: LicenceFields,
) -> UUID:
    fields = body.model_dump(exclude={"serial_number"})
    id_ = new_id()
    await connection.execute(
        insert(licences).values(id=id_, serial_number=serial_number, created_at=now, **fields)
    )
    licence = await _read(connection, caller, id_)
    data = licence.model_dump(mode="json", include={"kind", "product", "version", "purchased_on"})
    await _record(connection, caller, now, "licence.registered", licence, after=data)
    return id_


async def _change(
    connection: AsyncConnection, caller: Caller, now: datetime, before: Licence, after: Licence
) -> None:
    """Write what differs, with its event; nothing at all where nothing does."""
    changed = {
        name: getattr(after, name)
        for name in ("kind", "product", "version", "purchased_on")
        if getattr(after, name) != getattr(before, name)
    }
    if not changed:
        return
    await connection.execute(update(licences).where(licences.c.id == after.id).values(changed))
    await _record(
        connection,
        caller,
        now,
        "licence.registered",
        after,
        before=before.model_dump(mode="json", include=set(changed)),
        after=after.model_dump(mode="json", include=set(changed)),
    )


@router.post(
    "/licences",
    status_code=201,
    operation_id="create_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=posts(AlreadyExists),
)
async def create_licence(
    request: Request, connection: Connection, caller: CurrentCaller, now: Now, body: NewLicence
) -> Response:
    """Register a licence. A purchase date in the future is refused."""
    await lock_named_customer(connection, caller, body.customer_id)
    if body.purchased_on > _today(request, now):
        raise invalid("/purchased_on", "in_future")
    id_ = await _register(connection, caller, now, body.serial_number, body)
    return await _answer(request, connection, caller, id_, 201)


@router.put(
    "/licences/by-serial/{serial_number}",
    operation_id="put_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=changes("put", AlreadyExists, WrongState),
)
async def put_licence(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    serial_number: Code,
    body: LicenceFields,
) -> Response:
    """Register a licence, or replace what is known of it; the same body again changes nothing.

    A serial number of another customer, or of a withdrawn licence, is refused.
    """
    await lock_named_customer(connection, caller, body.customer_id)
    today = _today(request, now)
    if body.purchased_on > today:
        raise invalid("/purchased_on", "in_future")
    query = select(licences.c.id, licences.c.customer_id).where(called(licences, serial_number))
    known = (await connection.execute(query)).one_or_none()
    if known is None:
        check_if_match(request, None)
        id_ = await _register(connection, caller, now, serial_number, body)
        return await _answer(request, connection, caller, id_, 201)
    if known.customer_id != body.customer_id:
        raise AlreadyExists("serial_number")
    before = await _read(connection, caller, known.id)
    etag = strong_etag(json_bytes(before))
    check_if_match(request, etag)
    check_if_none_match(request, etag)
    if before.withdrawn(today):
        raise WrongState("withdrawn", "in_force")
    if any(upgrade.upgraded_on < body.purchased_on for upgrade in before.upgrades):
        raise invalid("/purchased_on", "wrong_order")
    await _change(connection, caller, now, before, before.model_copy(update=body.model_dump()))
    return await _answer(request, connection, caller, before.id)


@router.get(
    "/licences",
    operation_id="list_licences",
    openapi_extra=needs("licences:read"),
    response_model=Page[Licence],
    responses=reads(),
)
async def list_licences(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    query: Annotated[LicencesQuery, FromQuery()],
) -> Response:
    """Licences in the order in which they were registered, withdrawn ones among them."""
    rows = _representations(caller)
    if query.customer_id is not None:
        rows = rows.where(licences.c.customer_id == query.customer_id)
    if query.kind is not None:
        rows = rows.where(licences.c.kind == query.kind)
    if query.serial_number is not None:
        rows = rows.where(called(licences, query.serial_number))
    if query.cursor is not None:
        rows = rows.where(beyond([licences.c.id], decode_cursor("licences", query.cursor, UUID)))
    rows = rows.order_by(licences.c.id).limit(query.limit + 1)
    shown, cursor = page_of(
        (await connection.execute(rows)).all(),
        query.limit,
        lambda row: encode_cursor("licences", row.id),
    )
    items = [Licence.model_validate(row._asdict()) for row in shown]
    return json_response(request, Page[Licence](items=items, next_cursor=cursor), etag=False)


@router.get(
    "/licences/{licence}",
    operation_id="get_licence",
    openapi_extra=needs("licences:read"),
    response_model=Licence,
    responses={**reads(NotFound), **CACHED},
)
async def get_licence(
    request: Request, connection: Connection, caller: CurrentCaller, licence: Key
) -> Response:
    """One licence, by id or serial number."""
    return json_response(request, await _read(connection, caller, licence))


@router.patch(
    "/licences/{licence}",
    operation_id="update_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=changes("patch", NotFound),
)
async def update_licence(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    licence: Key,
    body: LicencePatch,
) -> Response:
    """Correct a licence's product or version (JSON Merge Patch)."""
    before = await _lock(connection, caller, licence)
    check_if_match(request, strong_etag(json_bytes(before)))
    await _change(connection, caller, now, before, before.model_copy(update=body.changes()))
    return await _answer(request, connection, caller, before.id)


@router.post(
    "/licences/{licence}/withdrawal",
    operation_id="withdraw_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=acts(NotFound, WrongState),
)
async def withdraw_licence(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    licence: Key,
    body: Withdrawal,
) -> Response:
    """Withdraw a licence from a day on, past or future. No time charged moves."""
    before = await _lock(connection, caller, licence)
    if before.withdrawn_on is not None:
        raise WrongState("withdrawn", "withdrawn")
    if body.withdrawn_on < before.purchased_on:
        raise invalid("/withdrawn_on", "wrong_order")
    await connection.execute(
        update(licences)
        .where(licences.c.id == before.id)
        .values(withdrawn_on=body.withdrawn_on, withdrawal_reason=body.reason)
    )
    data = body.model_dump(mode="json")
    await _record(connection, caller, now, "licence.withdrawn", before, **data)
    return await _answer(request, connection, caller, before.id)


@router.post(
    "/licences/{licence}/upgrades",
    status_code=201,
    operation_id="upgrade_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=posts(NotFound, NotEntitled, WrongState),
)
async def upgrade_licence(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    licence: Key,
    body: NewUpgrade,
) -> Response:
    """Record an upgrade: a purchase, or one that a contract in force that day pays for."""
    before = await _lock(connection, caller, licence)
    today = _today(request, now)
    upgraded_on = body.upgraded_on or today
    if upgraded_on > today:
        raise invalid("/upgraded_on", "in_future")
    if upgraded_on < before.purchased_on:
        raise invalid("/upgraded_on", "wrong_order")
    if before.withdrawn(today):
        raise WrongState("withdrawn", "in_force")
    contract_id = None
    if body.paid_by == "contract":
        contract_id = await _paying_contract(request, connection, before, upgraded_on)
    upgrade = Upgrade(
        version=body.version,
        upgraded_on=upgraded_on,
        paid_by=body.paid_by,
        contract_id=contract_id,
    )
    await connection.execute(
        insert(licence_upgrades).values(
            id=new_id(),
            customer_id=before.customer_id,
            licence_id=before.id,
            created_at=now,
            **upgrade.model_dump(),
        )
    )
    # One that is recorded late does not take back a later one's version.
    if all(earlier.upgraded_on <= upgraded_on for earlier in before.upgrades):
        await connection.execute(
            update(licences).where(licences.c.id == before.id).values(version=body.version)
        )
    data = upgrade.model_dump(mode="json")
    await _record(connection, caller, now, "licence.upgraded", before, **data)
    return await _answer(request, connection, caller, before.id, 201)


async def _paying_contract(
    request: Request, connection: AsyncConnection, licence: Licence, on: date
) -> UUID:
    """The contract that pays for an upgrade on a date (R25, in R18's order). Raises NotEntitled."""
    known = (await facts.load(connection, licence.customer_id)).facts
    decision = decide(request.app.state.policies, known, on)
    standing = decision.standing
    (answer,) = (one for one in decision.answer.services if one.service == "editor_upgrades")
    granted = any(grant.column == "SA" for grant in answer.granted_by)
    if licence.kind != "editor" or not granted:
        raise NotEntitled(extra=refusal_body(answer, standing.policy, language_of(request)))
    return UUID(standing.contracts[0].id)
