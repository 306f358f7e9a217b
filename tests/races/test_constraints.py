"""What the database itself refuses, whoever writes (R19, R21), and that the refusal is its own."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import asyncpg
import httpx
import pytest

from app.services.tokens import SCOPES
from tests.api.build import Customer
from tests.conftest import Service

_HOLD = """INSERT INTO ledger (customer_id, case_id, allowance_id, kind, held, ticket_position,
        counts_on, recorded_at)
    SELECT $1::uuid, $2::uuid, $3::uuid, 'hold', 1, $4, current_date, now()"""
_CHARGE = """INSERT INTO ledger (customer_id, case_id, allowance_id, kind, used_minutes,
        time_entry_id, counts_on, recorded_at)
    SELECT $1::uuid, $2::uuid, $3::uuid, 'charge', $4, $5::uuid, current_date, now()"""


class _Scratch:
    """A service on a database of which constraints may be dropped."""

    def __init__(self, service: Service, client: httpx.AsyncClient, today: date) -> None:
        self.service = service
        self.client = client
        self.today = today

    async def drop(self, table: str, constraint: str) -> None:
        name = self.service.database_name
        await self.service.server.run_in(name, f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")

    async def write(self, statement: str, *values: Any) -> None:
        """As the role that serves requests."""
        server = self.service.server
        address = server.url(self.service.database_name, server.login)
        connection = await asyncpg.connect(address)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()


@pytest.fixture
async def scratch(new_service: Callable[..., Awaitable[Service]]) -> Any:
    service = await new_service(connections=16)
    async with await service.client_with(*SCOPES) as client:
        yield _Scratch(service, client, service.today())
    await service.database.close()


async def _a_ticket_serves_one_case(scratch: _Scratch) -> None:
    customer = await Customer.new(scratch.client, scratch.today)
    pack = await customer.pack(quantity=3)
    first, second = [await customer.open(channel="phone") for _ in range(2)]
    refused = None
    await customer.step(second, "cancellation", reason="Mistake")
    try:
        await scratch.write(_HOLD, customer.id, second["id"], pack["id"], 1)
    except asyncpg.UniqueViolationError as error:
        refused = error.constraint_name
    assert first["paid_by"]["id"] == pack["id"]
    assert refused == "pk_ticket_uses"


async def test_the_database_refuses_a_second_case_on_a_ticket(scratch: _Scratch) -> None:
    await _a_ticket_serves_one_case(scratch)


async def test_without_the_key_a_ticket_serves_two_cases(scratch: _Scratch) -> None:
    await scratch.drop("ticket_uses", "pk_ticket_uses")
    with pytest.raises(AssertionError):
        await _a_ticket_serves_one_case(scratch)


async def _nothing_is_charged_past_what_is_granted(scratch: _Scratch) -> None:
    customer = await Customer.new(scratch.client, scratch.today)
    await customer.licence(days=-400)
    contract = await customer.contract(included_minutes=60)
    case = await customer.open(channel="phone")
    entry = await customer.work(case, 40)
    refused = None
    try:
        values = (customer.id, case["id"], contract["id"], 21, entry["id"])
        await scratch.write(_CHARGE, *values)
    except asyncpg.CheckViolationError as error:
        refused = error.constraint_name
    assert refused == "ck_balances_used_minutes"


async def test_the_database_refuses_a_charge_past_what_is_granted(scratch: _Scratch) -> None:
    await _nothing_is_charged_past_what_is_granted(scratch)


async def test_without_the_check_a_contract_is_overdrawn(scratch: _Scratch) -> None:
    await scratch.drop("balances", "ck_balances_used_minutes")
    with pytest.raises(AssertionError):
        await _nothing_is_charged_past_what_is_granted(scratch)


async def test_a_pack_never_holds_more_than_was_bought(scratch: _Scratch) -> None:
    customer = await Customer.new(scratch.client, scratch.today)
    one, other = [await customer.pack(quantity=1, days=-days) for days in (9, 3)]
    first, second = [await customer.open(channel="phone") for _ in range(2)]
    await customer.step(second, "cancellation", reason="Mistake")
    assert first["paid_by"]["id"] == one["id"]
    # A place that the pack does not have, and one of a pack that is full.
    for pack, position in ((other, 2), (one, 2)):
        values = (customer.id, second["id"], pack["id"], position)
        with pytest.raises(asyncpg.CheckViolationError):
            await scratch.write(_HOLD, *values)
