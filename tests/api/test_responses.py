"""Response times (R42): what counts as an answer, what is told of it, and when time alone tells."""

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app import clock
from app.jobs import publishing
from app.policy.document import Policies, parse
from app.services.tokens import SCOPES
from tests.api.build import Customer, made
from tests.api.test_events import every
from tests.conftest import Service, follow_all
from tests.policy.test_closures import at_rome
from tests.policy.test_document import TEXT

MONDAY = date(2026, 3, 9)
TARGETS = """
[[response_targets]]
priority = "high"
first_response_minutes = 60
resolution_minutes = 240
"""
STAFF, CRM = sorted(SCOPES), ["cases:read", "cases:write"]


@pytest.fixture(scope="module")
def policies() -> Policies:
    """The published policy, and times promised for cases of high priority."""
    return Policies([parse(TEXT + TARGETS, "promising.toml")])


Clock = Callable[[str], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Makes it an instant by the clock in Rome, of the Monday or of a day named before it."""

    def to(text: str) -> None:
        instant = at_rome(text if "T" in text else f"{MONDAY}T{text}")
        monkeypatch.setattr(clock, "now", lambda: instant)

    to("08:00")
    return to


@pytest.fixture
async def customer(client: httpx.AsyncClient, at: Clock) -> Customer:
    customer = await Customer.new(client, MONDAY)
    await customer.licence()
    return customer


async def row(service: Service, case: dict[str, Any]) -> Any:
    await follow_all(service)
    query = "SELECT * FROM case_responses WHERE case_id = $1"
    (found,) = await service.server.run_in(service.database_name, query, case["id"])
    return found


async def told(customer: Customer, *types: str) -> list[dict[str, Any]]:
    wanted = [f"case.{one}" for one in types or ("responded", "response_missed")]
    return await every(customer.client, customer_id=customer.id, type=wanted)


async def promised(customer: Customer, case: dict[str, Any]) -> tuple[str | None, bool]:
    """What the backlog tells of a case: until when a promise is kept, and whether one was not."""
    oldest = (await customer.get("usage/backlog"))["oldest"]
    (found,) = (one for one in oldest if one["number"] == case["number"])
    return found["due_at"], found["overdue"]


def shown(found: Any) -> tuple[Any, Any]:
    return found["response_minutes"], found["resolution_minutes"]


# --- what is an answer --------------------------------------------------------------------------


async def test_a_public_comment_by_staff(service: Service, customer: Customer, at: Clock) -> None:
    at("09:00")
    case = await customer.open()
    bound = service.client(await service.token(*CRM, customer_id=customer.id))
    crm = service.client(await service.token(*CRM))
    comments = f"/v1/cases/{case['id']}/comments"
    async with bound, crm:
        for clock_, client, body in (
            ("09:10", bound, {"body": "By the way: it flickers."}),
            ("09:20", crm, {"body": "From an e-mail of the customer's."}),
            ("09:30", customer.client, {"body": "He called before.", "internal": True}),
        ):
            at(clock_)
            await made(await client.post(comments, json=body))
    found = await row(service, case)
    assert (found["responded_at"], found["response_minutes"]) == (None, None)
    at("11:30")
    await made(await customer.client.post(comments, json={"body": "We are looking into it."}))
    at("14:30")
    await made(await customer.client.post(comments, json={"body": "Still looking."}))
    found = await row(service, case)
    assert found["response_minutes"] == 150
    (event,) = await told(customer)
    assert event["type"] == "case.responded"
    assert event["subject"] == f"cases/{case['id']}"
    assert event["time"] == "2026-03-09T10:30:00Z"
    assert event["data"] == {
        "number": case["number"],
        "state": "open",
        "paid_by": "free_hours",
        "responded_at": "2026-03-09T10:30:00Z",
        "response_minutes": 150,
        "target_minutes": None,
        "met": None,
    }


async def test_the_answer_of_a_key_that_is_gone_stays(
    service: Service, customer: Customer, at: Clock
) -> None:
    case = await customer.open()
    token = await service.token(*STAFF, name="gone")
    async with service.client(token) as gone:
        at("09:00")
        await made(await gone.post(f"/v1/cases/{case['id']}/comments", json={"body": "Hello."}))
    assert (await row(service, case))["response_minutes"] == 30
    await service.server.run_in(
        service.database_name,
        "UPDATE tokens SET scopes = '{cases:read}' WHERE name = 'gone'",
    )
    await customer.patch(case, subject="Blank")
    assert (await row(service, case))["response_minutes"] == 30


Step = Callable[[Customer, dict[str, Any]], Awaitable[Any]]


@pytest.mark.parametrize(
    "step",
    [
        lambda customer, case: customer.patch(case, technician="Anna"),
        lambda customer, case: customer.patch(case, technician="Anna", category="question"),
        lambda customer, case: customer.step(case, "transition", to="in_progress"),
        lambda customer, case: customer.work(case, 5),
        lambda customer, case: customer.close(case),
    ],
)
async def test_taking_working_and_closing(
    service: Service, customer: Customer, at: Clock, step: Step
) -> None:
    case = await customer.open()
    at("08:45")
    await customer.patch(case, priority="high")
    assert (await row(service, case))["responded_at"] is None
    at("09:30")
    await step(customer, case)
    found = await row(service, case)
    assert (found["response_minutes"], found["response_met"]) == (60, True)
    at("09:40")
    await customer.step(case, "comments", 201, body="Done.")
    (event,) = await told(customer, "responded")
    assert (event["data"]["response_minutes"], event["data"]["met"]) == (60, True)


async def test_entries_that_concern_no_case_are_passed_over(
    service: Service, customer: Customer, at: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than are read at once, before the step that is an answer."""
    case = await customer.open()
    await follow_all(service)
    monkeypatch.setattr("app.services.responses._BLOCK", 3)
    for _ in range(10):
        await customer.licence()
    at("09:00")
    await customer.step(case, "time-entries", 201, technician="Ada", minutes=5)
    assert (await row(service, case))["responded_at"] == at_rome(f"{MONDAY}T09:00")


async def test_work_counts_from_its_beginning_and_not_once_it_is_reversed(
    service: Service, customer: Customer, at: Clock
) -> None:
    at("09:00")
    case = await customer.open()
    at("11:00")
    entry = await customer.work(case, 30, worked_at=at_rome(f"{MONDAY}T10:00").isoformat())
    assert (await row(service, case))["response_minutes"] == 60
    at("11:30")
    await customer.reverse(entry)
    assert (await row(service, case))["response_minutes"] is None
    at("11:45")
    await customer.step(case, "transition", to="in_progress")
    assert (await row(service, case))["response_minutes"] == 165
    # Somebody heard of the first response once.
    assert [one["data"]["response_minutes"] for one in await told(customer)] == [60]


async def test_a_cancelled_case_was_not_answered(
    service: Service, customer: Customer, at: Clock
) -> None:
    case = await customer.open()
    at("09:00")
    await customer.cancel(case)
    found = await row(service, case)
    assert (*shown(found), found["due_at"], found["ended_on"]) == (None, None, None, MONDAY)
    assert await told(customer) == []


# --- what the time of a case is -----------------------------------------------------------------


async def test_waiting_and_reopening(service: Service, customer: Customer, at: Clock) -> None:
    at("09:00")
    case = await customer.open(priority_requested="high")
    for instant, to in (
        ("09:30", "in_progress"),
        ("10:00", "waiting_for_customer"),
        ("15:00", "in_progress"),
    ):
        at(instant)
        await customer.step(case, "transition", to=to)
    assert (await row(service, case))["aged_from"] == at_rome(f"{MONDAY}T14:00")
    at("15:30")
    await customer.close(case)
    found = await row(service, case)
    assert shown(found) == (30, 90)
    assert (found["resolution_target"], found["resolution_met"]) == (240, True)
    assert found["ended_on"] == MONDAY
    at("2026-03-11T09:00")
    await customer.reopen(case)
    found = await row(service, case)
    assert (*shown(found), found["ended_on"], found["resolution_met"]) == (30, None, None, None)
    at("2026-03-11T12:30")
    await customer.close(case)
    found = await row(service, case)
    assert shown(found) == (30, 270)
    assert found["resolution_met"] is False
    assert found["ended_on"] == date(2026, 3, 11)


async def test_a_bug_is_measured_like_every_other_case(
    service: Service, customer: Customer, at: Clock
) -> None:
    at("09:00")
    case = await customer.open(category="bug")
    at("10:00")
    await customer.close(case)
    assert shown(await row(service, case)) == (60, 60)


async def test_a_moved_case_takes_its_time_along(
    service: Service, client: httpx.AsyncClient, customer: Customer, at: Clock
) -> None:
    """R47: by the hours of the right customer's desk, and there alone."""
    right = await Customer.new(client, MONDAY, country="DE")
    await right.licence()
    at("09:00")
    case = await customer.open()
    at("13:30")  # the desk in Italy has its lunch, the German one does not any more
    await customer.patch(case, technician="Anna")
    assert (await row(service, case))["response_minutes"] == 180
    at("16:00")
    new = await customer.step(
        case, "move", customer_id=right.id, serial_number=right.serials[0], reason="Theirs."
    )
    found = await row(service, new)
    assert (found["help_desk"], found["response_minutes"]) == ("de", 210)
    assert found["responded_at"] == at_rome(f"{MONDAY}T13:30")
    assert [one["data"]["number"] for one in await told(customer)] == [case["number"]]
    assert [one["data"]["number"] for one in await told(right)] == [new["number"]]
    old = await row(service, case)
    assert (old["resolution_minutes"], old["due_at"]) == (None, None)


async def test_a_case_opened_as_of_the_past(
    service: Service, customer: Customer, at: Clock
) -> None:
    at("11:00")
    case = await customer.open(opened_at=at_rome(f"{MONDAY}T09:00").isoformat())
    at("11:30")
    await customer.close(case)
    assert shown(await row(service, case)) == (150, 150)


# --- what changes the time that was measured ----------------------------------------------------


async def test_a_closure_that_is_entered_later_counts(
    service: Service, customer: Customer, at: Clock
) -> None:
    at("09:00")
    closed, waiting = await customer.open(), await customer.open()
    await customer.step(waiting, "transition", to="in_progress")
    at("11:00")
    await customer.close(closed)
    at("2026-03-10T09:00")
    assert shown(await row(service, closed)) == (120, 120)
    closure = await customer.post(
        "help-desks/it/closures",
        201,
        starts_at=at_rome(f"{MONDAY}T10:00").isoformat(),
        ends_at=at_rome(f"{MONDAY}T18:00").isoformat(),
        reason={"it": "Sciopero", "en": "Strike", "de": "Streik"},
    )
    assert shown(await row(service, closed)) == (60, 60)
    url = f"/v1/help-desks/it/closures/{closure['id']}"
    assert (await customer.client.delete(url)).status_code == 204
    assert shown(await row(service, closed)) == (120, 120)


async def test_another_desk_measures_what_is_open(
    service: Service, customer: Customer, at: Clock
) -> None:
    at("09:00")
    closed, still_open = await customer.open(), await customer.open()
    at("13:30")
    await customer.close(closed)
    await customer.patch(still_open, technician="Anna")
    assert (await row(service, still_open))["response_minutes"] == 180
    url = f"/v1/customers/{customer.id}"
    await made(await customer.client.patch(url, json={"help_desk": "de"}), 200)
    assert (await row(service, still_open))["response_minutes"] == 210
    assert shown(await row(service, closed)) == (180, 180)


async def test_cases_of_before_are_measured_without_a_word(
    service: Service, customer: Customer, at: Clock
) -> None:
    at("09:00")
    answered = await customer.open()
    late = await customer.open(priority_requested="high")
    at("10:00")
    await customer.patch(answered, technician="Anna")
    # As after an update of the service.
    run = service.server.run_in
    name = service.database_name
    await run(name, "DELETE FROM case_responses")
    await run(
        name,
        "UPDATE response_state SET walking = true, followed = (SELECT position FROM feed_state),"
        " last_untold_event = (SELECT max(id) FROM events)",
    )
    at("12:00")
    assert (await row(service, answered))["response_minutes"] == 60
    assert (await row(service, late))["response_missed"] is True
    assert await told(customer) == []
    await customer.close(late)
    assert (await row(service, late))["response_met"] is False
    (event,) = await told(customer)
    assert (event["type"], event["data"]["met"]) == ("case.responded", False)


# --- what time alone tells ----------------------------------------------------------------------


async def test_a_missed_target_is_told_once(
    service: Service, customer: Customer, at: Clock
) -> None:
    at("09:00")
    case = await customer.open(priority_requested="high")
    at("10:00")
    found = await row(service, case)
    assert found["due_at"] == at_rome(f"{MONDAY}T10:00")
    assert await promised(customer, case) == ("2026-03-09T09:00:00Z", False)
    assert await told(customer) == []
    at("10:00:01")
    await follow_all(service)
    assert await promised(customer, case) == ("2026-03-09T14:00:00Z", True)
    (event,) = await told(customer)
    assert event["type"] == "case.response_missed"
    assert event["time"] == "2026-03-09T09:00:00Z"
    assert event["data"] == {
        "number": case["number"],
        "state": "open",
        "paid_by": "free_hours",
        "target": "first_response",
        "target_minutes": 60,
        "due_at": "2026-03-09T09:00:00Z",
    }
    # Another process takes over, and another day begins.
    await service.server.run_in(
        service.database_name, "UPDATE response_state SET walking = true, walked_through = NULL"
    )
    at("2026-03-10T09:00")
    while await publishing.follow(service.database, service.policies):
        pass
    await follow_all(service)
    both = await told(customer)
    assert [one["data"]["target"] for one in both] == ["first_response", "resolution"]
    assert both[1]["time"] == "2026-03-09T14:00:00Z"
    await customer.close(case)
    assert (await row(service, case))["due_at"] is None
    assert [one["type"] for one in await told(customer)] == [
        "case.response_missed",
        "case.response_missed",
        "case.responded",
    ]


async def test_nothing_is_missed_while_a_case_waits(
    service: Service, customer: Customer, at: Clock
) -> None:
    at("09:00")
    case = await customer.open(priority_requested="high")
    at("09:30")
    await customer.step(case, "transition", to="in_progress")
    await customer.step(case, "transition", to="waiting_for_customer")
    at("2026-03-20T09:00")
    assert (await row(service, case))["due_at"] is None
    await customer.step(case, "transition", to="in_progress")
    found = await row(service, case)
    assert found["due_at"] == at_rome("2026-03-20T14:00") + timedelta(minutes=30)
    assert await told(customer, "response_missed") == []
    at("2026-03-20T14:31")
    await follow_all(service)
    (event,) = await told(customer, "response_missed")
    assert event["data"]["target"] == "resolution"


async def test_nothing_is_missed_that_was_answered_in_time(
    service: Service, customer: Customer, at: Clock
) -> None:
    """Also where nobody looked between the answer and the end of its time."""
    at("09:00")
    answered, closed = [await customer.open(priority_requested="high") for _ in range(2)]
    await follow_all(service)
    at("09:59")
    await customer.patch(answered, technician="Anna")
    await customer.close(closed)
    at("10:30")
    await follow_all(service)
    assert [one["type"] for one in await told(customer)] == ["case.responded"] * 2
    assert (await row(service, closed))["due_at"] is None


async def test_no_target_no_word(service: Service, customer: Customer, at: Clock) -> None:
    case = await customer.open()
    at("2026-04-09T09:00")
    found = await row(service, case)
    assert (found["due_at"], found["response_target"]) == (None, None)
    assert await told(customer) == []
    # A priority that promises times does so from the opening on.
    await customer.patch(case, priority="high")
    await follow_all(service)
    targets = [one["data"]["target"] for one in await told(customer)]
    assert targets == ["first_response", "resolution"]


async def test_a_bound_token_hears_of_its_own_cases(
    service: Service, client: httpx.AsyncClient, customer: Customer, at: Clock
) -> None:
    other = await Customer.new(client, MONDAY)
    await other.licence()
    for one in (customer, other):
        case = await one.open(priority_requested="high")
        at("10:00")
        await one.patch(case, technician="Anna")
    await follow_all(service)
    token = await service.token("cases:read", customer_id=customer.id)
    async with service.client(token) as bound:
        found = await every(bound, type=["case.responded", "case.response_missed"])
        assert {one["partitionkey"] for one in found} == {customer.id}
        # However late somebody looks, what happened first is told first.
        assert [(one["type"], one["time"]) for one in found] == [
            ("case.response_missed", "2026-03-09T08:30:00Z"),
            ("case.responded", "2026-03-09T09:00:00Z"),
        ]
    token = await service.token("customers:read", customer_id=customer.id)
    async with service.client(token) as bound:
        assert await every(bound, type=["case.responded", "case.response_missed"]) == []
