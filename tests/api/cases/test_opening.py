"""What a request says when it opens a case: bug, training, serial number (R23, R27, R28)."""

import httpx
import pytest

from tests.api.build import Customer, unique
from tests.api.cases import DAY
from tests.conftest import Service


@pytest.mark.parametrize(
    "given", ["development", "spent hours", "spent contract", "held ticket", "nothing"]
)
async def test_staff_open_bugs_for_any_customer(customer: Customer, given: str) -> None:
    """R23: whatever it has; nothing pays and nothing is held, whatever `pay_with` says."""
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
    services = {"email": "email_support", "phone": "phone_support", "remote": "remote_access"}
    for channel, pay_with in zip(services, ("auto", "ticket", "contract"), strict=True):
        case = await customer.open(category="bug", channel=channel, pay_with=pay_with)
        assert (case["category"], case["paid_by"]["kind"]) == ("bug", "none")
        for name, service in services.items():
            served = (await customer.service(service))["continues"]
            assert (case["number"] in served) == (name == channel)


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
    """R27: one that is not its own is kept as given, and said to be unverified."""
    await customer.pack(quantity=6)
    runtime = await customer.licence("runtime", days=-30)
    editor = await customer.licence(days=-30)
    await customer.withdraw(editor, DAY)
    for serial, verified in (
        (None, False),
        (runtime["serial_number"], True),
        (runtime["serial_number"].lower(), True),
        (editor["serial_number"], False),
        (unique("S"), False),
    ):
        case = await customer.open(serial_number=serial)
        assert (case["serial_number"], case["serial_verified"]) == (serial, verified)
        assert (await customer.case(case["number"])) == case
