"""`assistenza reconcile`: nothing kept beside the ledger can differ from it unseen."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from subprocess import CompletedProcess
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import Phase, given, settings

from app.store.reconcile import Difference, snapshot
from tests import histories
from tests.api.build import Customer
from tests.command import run
from tests.conftest import Service


async def differences(service: Service, code: str) -> list[Difference]:
    async with snapshot(service.database) as now:
        return [one async for one in now.differences() if one.customer == code]


@dataclass
class Story:
    """One case of each kind of payer, a reversal, a bug and a cancelled case."""

    service: Service
    customer: Customer
    free: dict[str, Any]
    phone: dict[str, Any]
    held: dict[str, Any]
    closed: dict[str, Any]
    bug: dict[str, Any]
    contract: dict[str, Any]
    pack: dict[str, Any]

    async def tamper(self, *statements: str) -> None:
        """As somebody with all rights over the database, past every trigger and constraint."""
        names = {
            "customer": self.customer.id,
            "pack": self.pack["id"],
            "contract": self.contract["id"],
            **{kind: getattr(self, kind)["id"] for kind in ("free", "phone", "held", "closed")},
            "bug": self.bug["id"],
        }
        connection = await asyncpg.connect(self.service.admin_url)
        try:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                done = await connection.execute(statement.format(**names))
                assert not done.endswith(" 0"), f"{statement} changed nothing"
        finally:
            await connection.close()

    async def found(self) -> set[tuple[str, str, str | None, str | None]]:
        rows = await differences(self.service, self.customer.code)
        return {(one.check, one.field, one.kept, one.ledger) for one in rows}


@pytest.fixture
async def story(service: Service, client: httpx.AsyncClient, today: date) -> Story:
    customer = await Customer.new(client, today)
    await customer.licence()
    contract = await customer.contract(included_minutes=100)
    pack = await customer.pack(3)
    free = await customer.open(pay_with="free_hours")
    phone = await customer.open(pay_with="contract", channel="phone")
    held, closed, cancelled, bug = [await customer.open(pay_with="ticket") for _ in range(3)] + [
        await customer.open(pay_with="free_hours")
    ]
    await customer.work(free, 40)
    wrong = await customer.work(free, 15)
    await customer.step(free, f"time-entries/{wrong['id']}/reversal", reason="Wrong.")
    await customer.work(phone, 110)
    await customer.work(held, 25)
    await customer.work(bug, 35)
    await customer.patch(bug, category="bug")
    await customer.step(closed, "closure", resolution="Solved.")
    await customer.step(cancelled, "cancellation", reason="By mistake.")
    return Story(service, customer, free, phone, held, closed, bug, contract, pack)


async def test_what_the_service_wrote_agrees(story: Story) -> None:
    assert await story.found() == set()


TAMPERINGS: dict[str, tuple[str, tuple[str, str, str | None, str | None]]] = {
    "used minutes": (
        "UPDATE balances SET used_minutes = 99 WHERE allowance_id = '{contract}'",
        ("balances", "used_minutes", "99", "100"),
    ),
    "overrun": (
        "UPDATE balances SET overrun_minutes = 0 WHERE allowance_id = '{contract}'",
        ("balances", "overrun_minutes", "0", "10"),
    ),
    "held tickets": (
        "UPDATE balances SET held = 0 WHERE allowance_id = '{pack}'",
        ("balances", "held", "0", "1"),
    ),
    "consumed tickets": (
        "UPDATE balances SET consumed = 2 WHERE allowance_id = '{pack}'",
        ("balances", "consumed", "2", "1"),
    ),
    "granted minutes": (
        "UPDATE balances SET granted_minutes = 5000 WHERE allowance_id = '{contract}'",
        ("balances", "granted_minutes", "5000", "100"),
    ),
    "quantity": (
        "UPDATE balances SET quantity = 30 WHERE allowance_id = '{pack}'",
        ("balances", "quantity", "30", "3"),
    ),
    "a balance gone": (
        "DELETE FROM balances WHERE allowance_id = '{contract}'",
        ("balances", "used_minutes", None, "100"),
    ),
    "a ticket given back": (
        "DELETE FROM ticket_uses WHERE case_id = '{closed}'",
        ("tickets", "state for case {closed}", None, "consumed"),
    ),
    "a ticket's state": (
        "UPDATE ticket_uses SET state = 'consumed' WHERE case_id = '{held}'",
        ("tickets", "state for case {held}", "consumed", "held"),
    ),
    "a ticket nobody took": (
        (
            "INSERT INTO ticket_uses (pack_id, position, quantity, customer_id, case_id, state)"
            " VALUES ('{pack}', 3, 3, '{customer}', '{free}', 'held')"
        ),
        ("tickets", "state for case {free}", "held", None),
    ),
    "a closed case that is open": (
        "UPDATE cases SET state = 'in_progress', closed_at = NULL WHERE id = '{closed}'",
        ("cases", "ticket", "held {pack}/2", "consumed {pack}/2"),
    ),
    "another payer": (
        (
            "UPDATE cases SET paid_by = 'contract', allowance_id = '{contract}',"
            " ticket_position = NULL WHERE id = '{held}'"
        ),
        ("cases", "ticket", None, "held {pack}/1"),
    ),
    "another ticket": (
        "UPDATE cases SET ticket_position = 3 WHERE id = '{held}'",
        ("cases", "ticket", "held {pack}/3", "held {pack}/1"),
    ),
    "another kind than its allowance's": (
        "UPDATE cases SET paid_by = 'contract' WHERE id = '{free}'",
        ("cases", "paid_by", "contract", "free_hours"),
    ),
    "a bug that is paid for": (
        "UPDATE cases SET paid_by = 'contract', allowance_id = '{contract}' WHERE id = '{bug}'",
        ("cases", "paid_by", "contract", "none"),
    ),
    "a bug that is none": (
        "UPDATE cases SET category = 'problem' WHERE id = '{bug}'",
        ("time entries", "minutes that count", "35", "0"),
    ),
    "more minutes worked": (
        "UPDATE time_entries SET minutes = 41 WHERE minutes = 40 AND case_id = '{free}'",
        ("time entries", "minutes that count", "41", "40"),
    ),
    "a reversal taken back": (
        (
            "UPDATE time_entries SET reversed_at = NULL, reversal_reason = NULL"
            " WHERE minutes = 15 AND case_id = '{free}'"
        ),
        ("time entries", "minutes that count", "15", "0"),
    ),
    "a time entry gone": (
        "DELETE FROM time_entries WHERE case_id = '{phone}'",
        ("time entries", "minutes that count", None, "110"),
    ),
    "a charge on another case": (
        "UPDATE ledger SET case_id = '{phone}' WHERE used_minutes = 40 AND case_id = '{free}'",
        ("time entries", "case", "its own", "another"),
    ),
    "a charge gone": (
        "DELETE FROM ledger WHERE used_minutes = 40 AND case_id = '{free}'",
        ("balances", "used_minutes", "40", "0"),
    ),
    "a hold gone": (
        "DELETE FROM ledger WHERE kind = 'hold' AND case_id = '{held}'",
        ("tickets", "state for case {held}", "held", None),
    ),
    "a ticket consumed that was never held": (
        "DELETE FROM ledger WHERE kind = 'hold' AND case_id = '{closed}'",
        ("tickets", "state for case {closed}", "consumed", "held -1, consumed 1"),
    ),
    "more reversed than charged": (
        "UPDATE ledger SET used_minutes = -16 WHERE used_minutes = -15 AND case_id = '{free}'",
        ("reversals", "used_minutes to reverse", "15", "16"),
    ),
    "overrun reversed that is a charge": (
        (
            "UPDATE ledger SET overrun_minutes = -15, used_minutes = 0"
            " WHERE used_minutes = -15 AND case_id = '{free}'"
        ),
        ("reversals", "overrun_minutes to reverse", "0", "15"),
    ),
    "a reversal on another day": (
        (
            "UPDATE ledger SET counts_on = '2020-01-01'"
            " WHERE used_minutes = -15 AND case_id = '{free}'"
        ),
        ("reversals", "counts_on", "{today}", "2020-01-01"),
    ),
    "what was reversed is gone": (
        "DELETE FROM ledger WHERE used_minutes = 15 AND case_id = '{free}'",
        ("reversals", "used_minutes to reverse", "0", "15"),
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_every_tampering_is_found(story: Story, name: str, today: date) -> None:
    statement, (check, field, kept, ledger) = TAMPERINGS[name]
    await story.tamper(statement)
    numbers = {kind: getattr(story, kind)["number"] for kind in ("free", "held", "closed")}
    words = {**numbers, "pack": story.pack["id"], "today": today}

    def said(text: str | None) -> str | None:
        return text and text.format(**words)

    assert (check, said(field), said(kept), said(ledger)) in await story.found()


async def test_one_ticket_of_two_cases_is_found(story: Story) -> None:
    await story.tamper(
        "UPDATE ledger SET ticket_position = 1 WHERE case_id = '{closed}'"
        " AND ticket_position IS NOT NULL"
    )
    pack = story.pack["id"]
    assert ("cases", "ticket", f"consumed {pack}/2", f"consumed {pack}/1") in await story.found()


async def test_it_waits_for_nobody_and_sees_one_instant(story: Story) -> None:
    """A writer in the middle of its work is neither seen nor waited for."""
    connection = await asyncpg.connect(story.service.admin_url)
    try:
        writing = connection.transaction()
        await writing.start()
        await connection.execute(
            "SELECT id FROM customers WHERE id = $1 FOR UPDATE", story.customer.id
        )
        await connection.execute("UPDATE cases SET paid_by = paid_by")
        async with snapshot(story.service.database) as now:
            assert (await now.checked())["cases"] > 0
            await writing.rollback()
            await connection.execute("SET session_replication_role = replica")
            await connection.execute("UPDATE balances SET used_minutes = 1 WHERE kind = 'contract'")
            seen = [one async for one in now.differences()]
        assert story.customer.code not in {one.customer for one in seen}
        assert ("balances", "used_minutes", "1", "100") in await story.found()
    finally:
        await connection.close()


# Not shrunk: each example is up to a hundred requests.
@settings(max_examples=8, deadline=None, phases=[Phase.generate])
@given(drawn=histories.steps)
async def test_every_history_agrees(
    service: Service, client: httpx.AsyncClient, drawn: list[histories.Step]
) -> None:
    customer = await histories.live(client, drawn)
    assert await differences(service, customer.code) == []


async def test_the_command_says_what_differs(
    new_service: Callable[..., Awaitable[Service]], today: date
) -> None:
    service = await new_service()
    scopes = ("customers:write", "tickets:write", "cases:write")
    async with await service.client_with(*scopes) as client:
        customer = await Customer.new(client, today)
        pack = await customer.pack(2)
        await customer.open()

    async def command() -> CompletedProcess[str]:
        address = service.app.state.settings.database_url
        return await asyncio.to_thread(run, "reconcile", ASSISTENZA_DATABASE_URL=address)

    clean = await command()
    assert (clean.returncode, clean.stdout) == (0, ""), clean.stderr
    assert "1 balances, 1 tickets, 1 cases, 0 time entries, 0 reversals" in clean.stderr
    assert "Differences: 0." in clean.stderr

    connection = await asyncpg.connect(service.admin_url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE balances SET held = 2")
    await connection.execute("DELETE FROM ticket_uses")
    await connection.close()
    found = await command()
    assert found.returncode == 1
    assert "Differences: 2." in found.stderr
    heading, *lines = [line.split() for line in found.stdout.splitlines()]
    assert heading == ["check", "customer", "what", "field", "kept", "ledger"]
    assert ["balances", customer.code, pack["number"], "held", "2", "1"] in lines
    assert len(lines) == 2
