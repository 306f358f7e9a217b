"""Calls about contracts."""

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.errors import (
    AlreadyExists,
    AlreadyRenewed,
    ContractHasLaterCharges,
    ContractHasLaterUpgrades,
    CorrectionConflicts,
    CustomerNotFound,
    EditorLicenceRequired,
    TermOver,
    WrongState,
)
from app.http.context import Ctx
from app.http.corrections import Correction, corrected
from app.http.fields import Key
from app.http.paging import paginate
from app.http.resource import Resource
from app.http.responses import created, ok
from app.routers.contracts.schemas import (
    Cancellation,
    Contract,
    ContractCorrection,
    ContractsQuery,
    NewContract,
    Renewal,
)
from app.services import contracts as service

contracts = Resource("Contracts")


@contracts.creates(
    "/contracts",
    Contract,
    "contracts:write",
    CustomerNotFound,
    AlreadyExists,
    EditorLicenceRequired,
)
async def create_contract(context: Ctx, body: NewContract) -> Response:
    """Sign a contract.

    For a customer who holds an Editor licence on the first day of the contract.
    """
    row = await service.sign(context, **body.model_dump())
    return created(context, Contract.of(row), f"/v1/contracts/{row.id}")


@contracts.lists("/contracts", Contract, "contracts:read")
async def list_contracts(context: Ctx, query: Annotated[ContractsQuery, Query()]) -> Response:
    """List contracts.

    In the order in which they were signed. Those of all customers with `state` or `ends_before`:
    in the order in which they end; upcoming ones in the order in which they start, cancelled ones
    in that of their cancellation.
    """
    listing = service.search(context, query.customer_id, query.state, query.ends_before)
    return await paginate(context, query, listing, Contract.of)


@contracts.reads("/contracts/{contract}", Contract, "contracts:read")
async def get_contract(context: Ctx, contract: Key) -> Response:
    """Read a contract.

    By id or number, with what was used and what is left.
    """
    return ok(context, Contract.of(await service.read(context, contract)))


@contracts.creates(
    "/contracts/{contract}/renewal",
    Contract,
    "contracts:write",
    AlreadyExists,
    AlreadyRenewed,
    EditorLicenceRequired,
    TermOver,
    WrongState,
)
async def renew_contract(context: Ctx, contract: Key, body: Renewal) -> Response:
    """Renew a contract.

    Signs its successor, and answers with it. Possible once, from the contract's first day on.
    """
    row = await service.renew(context, contract, **body.model_dump())
    return created(context, Contract.of(row), f"/v1/contracts/{row.id}")


@contracts.acts(
    "/contracts/{contract}/cancellation",
    Contract,
    "contracts:write",
    ContractHasLaterCharges,
    ContractHasLaterUpgrades,
    WrongState,
)
async def cancel_contract(context: Ctx, contract: Key, body: Cancellation) -> Response:
    """Cancel a contract.

    Ends it early, on a day within it on or after which nothing was charged to it.
    """
    return ok(context, Contract.of(await service.cancel(context, contract, **body.model_dump())))


@contracts.corrects(
    "/contracts/{contract}/correction",
    Contract,
    "contracts:write",
    AlreadyExists,
    CorrectionConflicts,
    EditorLicenceRequired,
    WrongState,
)
async def correct_contract(context: Ctx, contract: Key, body: ContractCorrection) -> Response:
    """Correct a contract.

    As if its first day, minutes and number had been right from the start. Refused where a charge or
    an upgrade that it paid for would lie outside it. One that is cancelled is reinstated first.
    """
    lock = partial(service.lock, context, contract)
    step = partial(service.correct, context, contract)
    return await corrected(context, body, lock, step, Contract.of)


@contracts.corrects(
    "/contracts/{contract}/reinstatement",
    Contract,
    "contracts:write",
    CorrectionConflicts,
    WrongState,
)
async def reinstate_contract(context: Ctx, contract: Key, body: Correction) -> Response:
    """Take back a cancellation.

    Before or after its day, unless another contract has taken its place.
    """
    lock = partial(service.lock, context, contract)
    step = partial(service.reinstate, context, contract)
    return await corrected(context, body, lock, step, Contract.of)
