"""A state in SQL is what the policy says of it in Python, on every day around every boundary."""

from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import insert, select

from app.ids import new_id
from app.policy.facts import Contract, Licence, LicenceKind, Pack
from app.policy.standing import holds_editor
from app.store.states import contract_state, editor_held, tickets_available, tickets_expired
from app.store.tables import balances, contracts, customers, licences, ticket_packs
from tests.conftest import Service

START = date(2026, 3, 10)
DAYS = [START + timedelta(days=days) for days in range(-2, 10)]


def day(offset: int | None) -> date | None:
    return None if offset is None else START + timedelta(days=offset)


class Sold(NamedTuple):
    kind: LicenceKind
    bought: int
    withdrawn: int | None = None


HISTORIES: list[tuple[Sold, ...]] = [
    (),
    (Sold("runtime", 0), Sold("other", 0)),
    (Sold("editor", 0),),
    (Sold("editor", 2, 5),),
    (Sold("editor", 3, 3),),
    (Sold("editor", 0, 2), Sold("editor", 4)),
    (Sold("editor", 0, 4), Sold("runtime", 0), Sold("editor", 4, 7)),
]
# First day, day after the last, cancelled on: also on either end and not at all.
PERIODS = [(0, 6, c) for c in (None, 0, 1, 3, 5, 6)] + [(3, 5, c) for c in (None, 3, 4, 5)]
# First day, day after the last, tickets, of these held, consumed and cancelled.
PACKS = [
    (0, 3, 2, 0, 0, 0),
    (0, 3, 2, 1, 0, 0),
    (1, 5, 2, 1, 1, 0),
    (2, 6, 3, 0, 2, 0),
    (4, 8, 1, 0, 1, 0),
    (2, 6, 4, 1, 1, 1),
    (2, 6, 2, 0, 0, 2),
]


class Known(NamedTuple):
    """What was written, as the policy sees it."""

    contracts: dict[UUID, tuple[Contract, tuple[Licence, ...]]]
    packs: dict[UUID, Pack]


@pytest.fixture(scope="module")
async def known(service: Service) -> Known:
    known = Known({}, {})
    now = datetime(2026, 1, 1, tzinfo=UTC)
    async with service.database.writing.begin() as connection:
        for number, (history, period) in enumerate(product(HISTORIES, PERIODS)):
            owner, contract_id = new_id(), new_id()
            await connection.execute(
                insert(customers).values(
                    id=owner,
                    code=f"C{number}",
                    name="Plant builders",
                    country="IT",
                    language="it",
                    created_at=now,
                    updated_at=now,
                )
            )
            held = tuple(_licence(sold) for sold in history)
            for licence in held:
                await connection.execute(
                    insert(licences).values(
                        id=UUID(licence.id),
                        customer_id=owner,
                        serial_number=licence.serial_number,
                        kind=licence.kind,
                        product="Editor",
                        version="1",
                        purchased_on=licence.purchased_on,
                        withdrawn_on=licence.withdrawn_on,
                        withdrawal_reason=licence.withdrawn_on and "Returned",
                        created_at=now,
                    )
                )
            starts_on, ends_on, cancelled_on = map(day, period)
            assert starts_on is not None
            assert ends_on is not None
            contract = Contract(
                str(contract_id), f"N{number}", starts_on, ends_on, cancelled_on, 60
            )
            await connection.execute(
                insert(contracts).values(
                    id=contract_id,
                    customer_id=owner,
                    number=contract.number,
                    starts_on=starts_on,
                    ends_on=ends_on,
                    included_minutes=60,
                    cancelled_on=cancelled_on,
                    cancellation_reason=cancelled_on and "Agreed",
                    created_at=now,
                )
            )
            known.contracts[contract_id] = (contract, held)
        for number, (bought, expires, quantity, *uses) in enumerate(PACKS):
            held_now, consumed, cancelled = uses
            pack_id, purchased_on, expires_on = new_id(), day(bought), day(expires)
            assert purchased_on is not None
            assert expires_on is not None
            pack = Pack(
                str(pack_id),
                f"P{number}",
                purchased_on,
                expires_on,
                quantity,
                held_now,
                consumed,
                cancelled=cancelled,
            )
            await connection.execute(
                insert(ticket_packs).values(
                    id=pack_id,
                    customer_id=owner,
                    number=pack.number,
                    quantity=quantity,
                    purchased_on=purchased_on,
                    expires_on=expires_on,
                    created_at=now,
                )
            )
            known.packs[pack_id] = pack
    for pack_id, pack in known.packs.items():
        await service.server.run_in(
            service.database_name,
            "UPDATE balances SET held = $2, consumed = $3, cancelled = $4 WHERE allowance_id = $1",
            pack_id,
            pack.held,
            pack.consumed,
            pack.cancelled,
        )
    return known


def _licence(sold: Sold) -> Licence:
    id_, bought = str(new_id()), day(sold.bought)
    assert bought is not None
    return Licence(id_, f"S{id_[-12:]}", sold.kind, bought, day(sold.withdrawn))


def _state(contract: Contract, held: tuple[Licence, ...], on: date) -> str:
    """R4, from the policy's own words."""
    if contract.in_force(on):
        return "in_force" if holds_editor(held, on) else "suspended"
    if contract.cancelled_on is not None and contract.cancelled_on <= on:
        return "cancelled"
    return "upcoming" if on < contract.starts_on else "expired"


@pytest.mark.parametrize("on", DAYS, ids=str)
async def test_contracts(service: Service, known: Known, on: date) -> None:
    query = select(contracts.c.id, contract_state(on), editor_held(on).label("editor"))
    async with service.database.reading.connect() as connection:
        rows = (await connection.execute(query)).all()
    said = {row.id: (row.state, row.editor) for row in rows}
    assert said == {
        id_: (_state(contract, held, on), holds_editor(held, on))
        for id_, (contract, held) in known.contracts.items()
    }


async def test_the_days_show_every_state(known: Known) -> None:
    seen = {_state(*pair, on) for pair in known.contracts.values() for on in DAYS}
    assert seen == {"upcoming", "in_force", "suspended", "expired", "cancelled"}


@pytest.mark.parametrize("on", DAYS, ids=str)
async def test_ticket_packs(service: Service, known: Known, on: date) -> None:
    query = select(ticket_packs.c.id, tickets_available(on), tickets_expired(on)).join(
        balances, balances.c.allowance_id == ticket_packs.c.id
    )
    async with service.database.reading.connect() as connection:
        rows = (await connection.execute(query)).all()
    assert {row.id: (row.available, row.expired) for row in rows} == {
        id_: (pack.available(on), pack.unused if on >= pack.expires_on else 0)
        for id_, pack in known.packs.items()
    }
