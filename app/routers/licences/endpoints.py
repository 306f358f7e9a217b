"""Calls about licences."""

from functools import partial
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from app.errors import (
    AlreadyExists,
    AlreadyReversed,
    CorrectionConflicts,
    CustomerNotFound,
    NotEntitled,
    WrongState,
)
from app.http.context import Ctx
from app.http.corrections import Correction, corrected
from app.http.fields import Code, Id, Key
from app.http.paging import paginate
from app.http.resource import Resource
from app.http.responses import created, if_match, ok, put_conditions
from app.routers.licences.schemas import (
    Licence,
    LicenceCorrection,
    LicenceHistory,
    LicencePatch,
    LicencesQuery,
    NewLicence,
    NewUpgrade,
    SentLicence,
    Transfer,
    Withdrawal,
)
from app.services import licences as service

licences = Resource("Licences")


@licences.creates("/licences", Licence, "licences:write", CustomerNotFound, AlreadyExists)
async def create_licence(context: Ctx, body: NewLicence) -> Response:
    """Register a licence.

    A date of purchase in the future is refused, and so is a serial number that is registered.
    """
    row = await service.register(context, **body.model_dump())
    return created(context, Licence.of(row), f"/v1/licences/{row.id}")


@licences.puts(
    "/licences/by-serial/{serial_number}",
    Licence,
    "licences:write",
    CustomerNotFound,
    AlreadyExists,
    CorrectionConflicts,
    WrongState,
)
async def put_licence(context: Ctx, serial_number: Code, body: SentLicence) -> Response:
    """Register or correct a licence, by serial number.

    The same body again changes nothing. Another day of purchase or kind counts as if it had been
    right from the start: free hours and the cases that they pay for follow. A serial number of
    another customer is refused, and so is a change of a withdrawn licence. What was read can be
    sent back: `id`, `serial_number`, the withdrawal and `upgrades` may say what is stored, and
    nothing else.
    """
    new: dict[str, Any] = {"withdrawn_on": None, "withdrawal_reason": None, "upgrades": []}
    precondition = put_conditions(context, Licence.of, body, serial_number=serial_number, **new)
    row, is_new = await service.put(context, serial_number, precondition, **body.writable())
    licence = Licence.of(row)
    return created(context, licence, f"/v1/licences/{row.id}") if is_new else ok(context, licence)


@licences.lists("/licences", Licence, "licences:read")
async def list_licences(context: Ctx, query: Annotated[LicencesQuery, Query()]) -> Response:
    """List licences.

    In the order in which they were registered, withdrawn ones included.
    """
    listing = service.search(context, query.customer_id, query.kind, query.serial_number)
    return await paginate(context, query, listing, Licence.of)


@licences.reads("/licences/{licence}", Licence, "licences:read")
async def get_licence(context: Ctx, licence: Key) -> Response:
    """Read a licence.

    By id or serial number, with its upgrades.
    """
    return ok(context, Licence.of(await service.read(context, licence)))


@licences.patches("/licences/{licence}", Licence, "licences:write")
async def update_licence(context: Ctx, licence: Key, body: LicencePatch) -> Response:
    """Correct the product or version of a licence.

    What is left out stays as it is (JSON Merge Patch). To record an upgrade, use `upgrades`.
    """
    precondition = if_match(context, Licence.of)
    row = await service.change(context, licence, precondition, body.changes())
    return ok(context, Licence.of(row))


@licences.acts("/licences/{licence}/withdrawal", Licence, "licences:write", WrongState)
async def withdraw_licence(context: Ctx, licence: Key, body: Withdrawal) -> Response:
    """Withdraw a licence.

    From a day on, past or future. Time that was charged stays as it is, unless the licence never
    was: withdrawn as of the day of its purchase, it leaves no free hours behind.
    """
    row = await service.withdraw(context, licence, **body.model_dump())
    return ok(context, Licence.of(row))


@licences.creates(
    "/licences/{licence}/upgrades",
    Licence,
    "licences:write",
    AlreadyExists,
    NotEntitled,
    WrongState,
)
async def upgrade_licence(context: Ctx, licence: Key, body: NewUpgrade) -> Response:
    """Record an upgrade of a licence.

    A purchase, or one that a contract in force on that day pays for. The same version on the same
    day is recorded once. Answers with the licence.
    """
    row = await service.upgrade(context, licence, **body.model_dump())
    return created(context, Licence.of(row), f"/v1/licences/{row.id}")


@licences.corrects(
    "/licences/{licence}/correction",
    Licence,
    "licences:write",
    AlreadyExists,
    CorrectionConflicts,
    WrongState,
)
async def correct_licence(context: Ctx, licence: Key, body: LicenceCorrection) -> Response:
    """Correct a licence.

    As if it had been right from the start: free hours and the cases that they pay for follow
    another day of purchase or kind. One that is withdrawn is reinstated first.
    """
    lock = partial(service.lock, context, licence)
    step = partial(service.correct, context, licence)
    return await corrected(context, body, lock, step, Licence.of)


@licences.corrects(
    "/licences/{licence}/reinstatement",
    Licence,
    "licences:write",
    AlreadyExists,
    CorrectionConflicts,
    WrongState,
)
async def reinstate_licence(context: Ctx, licence: Key, body: Correction) -> Response:
    """Take back a withdrawal.

    Before or after its day, unless the serial number was registered anew. Free hours that it had
    undone pay for their cases again.
    """
    lock = partial(service.lock, context, licence)
    step = partial(service.reinstate, context, licence)
    return await corrected(context, body, lock, step, Licence.of)


@licences.corrects(
    "/licences/{licence}/upgrades/{upgrade_id}/reversal",
    Licence,
    "licences:write",
    AlreadyReversed,
    WrongState,
)
async def reverse_upgrade(context: Ctx, licence: Key, upgrade_id: Id, body: Correction) -> Response:
    """Reverse an upgrade.

    As if it had never been recorded: free hours that it began are undone, and cases that they paid
    for are paid by what else there was when they were opened.
    """
    lock = partial(service.lock, context, licence)
    step = partial(service.reverse_upgrade, context, licence, upgrade_id)
    return await corrected(context, body, lock, step, Licence.of)


@licences.corrects(
    "/licences/{licence}/transfer",
    Licence,
    "licences:write",
    CustomerNotFound,
    AlreadyExists,
    WrongState,
)
async def transfer_licence(context: Ctx, licence: Key, body: Transfer) -> Response:
    """Pass a licence on to another customer.

    From a day on the other customer holds it. A transfer is not a purchase and brings no
    free hours. Answers with the licence of the new holder, which has an id of its own.
    """
    lock = partial(service.lock_both, context, licence, body.to_customer_id)
    step = partial(service.transfer, context, licence)
    return await corrected(context, body, lock, step, Licence.of)


@licences.reads("/licences/{licence}/history", LicenceHistory, "licences:read")
async def get_licence_history(context: Ctx, licence: Key) -> Response:
    """Read who held a serial number.

    And what was recorded of it: registrations, changes, upgrades, withdrawals, corrections and
    transfers. A token bound to a customer reads that customer's part.
    """
    return ok(context, LicenceHistory.of(await service.history(context, licence)))
