"""What a request says when it opens a case: bug, training, serial number (R23, R27, R28)."""

import httpx
import pytest

from tests.api.build import Customer, unique
from tests.api.cases import DAY
from tests.conftest import Service


@pytest.mark.parametrize(
    ("given", "channels"),
    [
        ("development", {"email"}),
        ("spent hours", {"email"}),
        ("spent contract", {"email", "phone", "remote"}),
        ("held ticket", {"email", "phone", "remote"}),
        ("nothing", set()),
        ("suspended contract", set()),
    ],
)
async def test_staff_open_bugs_where_a_column_grants_the_channel(
    customer: Customer, given: str, channels: set[str]
) -> None:
    """R23: whatever is left; nothing pays and nothing is held."""
    match given:
        case "development" | "spent hours":
            await customer.licence(days=-30)
            if given == "spent hours":
                await customer.work(await customer.open(), 300)
        case "spent contract":
            await customer.licence(days=-800)
            await customer.contract(included_minutes=10)
            await customer.work(await customer.open(), 10)
        case "held ticket":
            await customer.pack()
            await customer.open()
        case "suspended contract":
            licence = await customer.licence(days=-800)
            await customer.contract()
            await customer.withdraw(licence, DAY)
            customer.serials.clear()
    for channel in ("email", "phone", "remote"):
        answer = await customer.try_open(category="bug", channel=channel)
        assert answer.status_code == (201 if channel in channels else 409), channel
        if answer.status_code == 201:
            assert answer.json()["category"] == "bug"
            assert answer.json()["paid_by"]["kind"] == "none"
            service = {"email": "email_support", "phone": "phone_support"}.get(channel)
            assert (
                answer.json()["number"]
                in (await customer.service(service or "remote_access"))["continues"]
            )


async def test_a_bug_of_others_is_a_problem_that_is_paid_for(
    customer: Customer, service: Service
) -> None:
    """R23: finding it a bug is for staff."""
    await customer.pack()
    async with await service.client_with("cases:write", customer_id=customer.id) as theirs:
        answer = await theirs.post(
            "/v1/cases",
            json={
                "requester": {"name": "Plant engineer"},
                "subject": "A bug, surely",
                "description": "It must be one.",
                "category": "bug",
            },
        )
    assert answer.status_code == 201, answer.text
    assert answer.json()["category"] == "problem"
    assert answer.json()["paid_by"]["kind"] == "ticket"


async def test_training_is_refused_with_its_own_reason(customer: Customer) -> None:
    """R28: whatever is left to pay with; nothing is opened."""
    await customer.pack()
    answer = await customer.try_open(category="training")
    assert (answer.status_code, answer.json()["code"]) == (422, "training_not_covered")
    assert (await customer.get(f"cases?customer_id={customer.id}"))["items"] == []
    for category in ("question", "problem"):
        answer = await customer.try_open(category=category)
        assert answer.status_code == (201 if category == "question" else 409)


async def test_a_holder_of_an_editor_names_a_licence_of_its_own(
    customer: Customer, client: httpx.AsyncClient
) -> None:
    """R27: any licence of its own that is not withdrawn, whatever the serial number's case."""
    await customer.licence(days=-30)
    runtime = await customer.licence("runtime", days=-30)
    gone = await customer.licence("runtime", days=-30)
    await customer.withdraw(gone, DAY)
    other = await Customer.new(client, DAY)
    theirs = await other.licence(days=-30)
    for serial, code in (
        (None, "serial_number_required"),
        (unique("S"), "serial_number_not_of_customer"),
        (theirs["serial_number"], "serial_number_not_of_customer"),
        (gone["serial_number"], "serial_number_not_of_customer"),
    ):
        answer = await customer.try_open(serial_number=serial)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    for serial in (runtime["serial_number"], runtime["serial_number"].lower()):
        await customer.open(serial_number=serial)


async def test_without_an_editor_the_serial_number_is_optional(customer: Customer) -> None:
    """R27: one that is given must still be its own."""
    await customer.pack(quantity=3)
    await customer.licence("runtime", days=-30)
    await customer.open(serial_number=None)
    await customer.open()
    answer = await customer.try_open(serial_number=unique("S"))
    assert answer.json()["code"] == "serial_number_not_of_customer"
    editor = await customer.licence(days=-30)
    await customer.withdraw(editor, DAY)
    await customer.open(serial_number=None)
