"""What a case keeps, in what order cases are worked, and what is said on them (R26, R31, R33)."""

import re
from datetime import UTC, datetime

import httpx
import pytest

from app import clock
from tests.api.build import Customer
from tests.api.cases import DAY, Travel
from tests.conftest import Service


async def test_a_case_comes_back_as_it_was_opened(customer: Customer) -> None:
    """R26: the whole of it, by id and by number."""
    licence = await customer.licence(days=-30)
    given = {
        "serial_number": licence["serial_number"],
        "product": "Movicon",
        "product_version": "11.6",
        "channel": "email",
        "category": "question",
        "subject": "Which driver?",
        "description": "Which driver reads this controller?",
        "steps_to_reproduce": "1. Start",
        "example_url": "https://example.com/example.zip",
    }
    case = await customer.open(priority_requested="high", **given)
    assert {name: case[name] for name in given} == given
    assert (case["priority"], case["priority_requested"]) == ("high", "high")
    assert (case["opened_at"], case["closed_at"], case["technician"]) == (
        "2026-03-10T12:00:00Z",
        None,
        None,
    )
    for key in (case["id"], case["number"]):
        assert await customer.get(f"cases/{key}") == case


async def test_numbers_have_the_year_of_opening_in_rome_and_run_on(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R26: the running number does not start anew; case is of no matter in a path."""
    await customer.pack(quantity=3)
    numbers = []
    for instant in (
        datetime(2026, 12, 31, 22, 59, 59, tzinfo=UTC),
        datetime(2026, 12, 31, 23, 0, 0, tzinfo=UTC),
    ):
        monkeypatch.setattr(clock, "now", lambda instant=instant: instant)
        numbers.append((await customer.open())["number"])
    assert [number[:5] for number in numbers] == ["2026-", "2027-"]
    assert all(re.fullmatch(r"\d{4}-\d{6}", number) for number in numbers)
    assert int(numbers[1][5:]) > int(numbers[0][5:])


async def test_the_whole_path_is_kept(customer: Customer, service: Service) -> None:
    """R26: every change, comment, time entry and reversal, who and when."""
    await customer.pack()
    case = await customer.open()
    await customer.patch(case, technician="Help desk")
    await customer.step(case, "transition", to="in_progress")
    entry = await customer.work(case, 30)
    await customer.reverse(entry)
    await customer.step(case, "comments", 201, body="Looking at it.")
    await customer.patch(case, category="bug")
    await customer.close(case)
    await customer.reopen(case)
    await customer.cancel(case)
    path = await customer.timeline(case)
    assert [one["type"] for one in path] == [
        "case.opened",
        "case.assigned",
        "case.changed",
        "time.recorded",
        "time.reversed",
        "case.commented",
        "case.reclassified",
        "case.closed",
        "case.reopened",
        "case.cancelled",
    ]
    assert {one["at"] for one in path} == {"2026-03-10T12:00:00Z"}
    assert all(one["actor"].startswith("test-") for one in path)
    assert path[2]["data"]["before"] == {"state": "open"}
    assert path[2]["data"]["after"] == {"state": "in_progress"}


async def test_the_requester_is_kept_by_name_when_the_contact_is_gone(
    client: httpx.AsyncClient, today: object
) -> None:
    """R26."""
    contacts = [{"name": "Plant engineer", "email": "plant@example.com", "phones": []}]
    customer = await Customer.new(client, DAY, contacts=contacts)
    await customer.pack()
    contact = (await customer.get(f"customers/{customer.id}"))["contacts"][0]
    requester = {"contact_id": contact["id"], "name": "Plant engineer"}
    case = await customer.open(requester=requester)
    assert case["requester"]["contact_id"] == contact["id"]
    answer = await client.delete(f"/v1/customers/{customer.id}/contacts/{contact['id']}")
    assert answer.status_code == 204, answer.text
    kept = (await customer.case(case["number"]))["requester"]
    assert kept["name"] == "Plant engineer"


async def test_a_contact_of_another_customer_asks_for_nobody(
    customer: Customer, client: httpx.AsyncClient
) -> None:
    """R26, R38."""
    await customer.pack()
    other = await Customer.new(client, DAY, contacts=[{"name": "Buyer", "phones": []}])
    contact = (await customer.get(f"customers/{other.id}"))["contacts"][0]
    answer = await customer.try_open(requester={"contact_id": contact["id"], "name": "Buyer"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_no_case_is_deleted(customer: Customer) -> None:
    """R26."""
    await customer.pack()
    case = await customer.open()
    answer = await customer.client.delete(f"/v1/cases/{case['id']}")
    assert answer.status_code == 405
    assert "DELETE" not in answer.headers["Allow"]


# --- priority ---------------------------------------------------------------------------------


async def test_the_technician_confirms_or_changes_the_priority(customer: Customer) -> None:
    """R31: what the customer proposed stays on record; without a wish it is normal."""
    await customer.pack(quantity=2)
    assert (await customer.open())["priority"] == "normal"
    case = await customer.open(priority_requested="low")
    assert (await customer.patch(case, priority="high"))["priority"] == "high"
    case = await customer.case(case["number"])
    assert (case["priority"], case["priority_requested"]) == ("high", "low")


async def test_priority_support_is_what_the_opening_found_and_frozen(customer: Customer) -> None:
    """R31, R10: whatever pays for this case; lost with the hours for later ones."""
    await customer.licence(days=-30)
    await customer.pack(quantity=2)
    before = await customer.open()
    contract = await customer.contract(included_minutes=10)
    by_hours, by_ticket = await customer.open(), await customer.open(pay_with="ticket")
    bug = await customer.open(category="bug")
    assert [by_hours["paid_by"]["kind"], by_ticket["paid_by"]["kind"]] == ["free_hours", "ticket"]
    await customer.work(await customer.open(pay_with="contract"), 10)
    assert (await customer.get(f"contracts/{contract['id']}"))["remaining_minutes"] == 0
    after = await customer.open()
    found = [
        (await customer.case(case["number"]))["priority_support"]
        for case in (before, by_hours, by_ticket, bug, after)
    ]
    assert found == [False, True, True, True, False]


async def test_the_queue_goes_by_priority_support_then_priority_then_age(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    """R31: open cases alone."""
    travel(DAY)
    plain = await Customer.new(client, DAY)
    await plain.pack(quantity=5)
    entitled = await Customer.new(client, DAY)
    await entitled.licence(days=-800)
    await entitled.contract()
    names = {}
    for index, (customer, priority) in enumerate(
        [
            (plain, "low"),
            (plain, "high"),
            (plain, "normal"),
            (entitled, "low"),
            (entitled, "high"),
            (plain, "high"),
        ]
    ):
        travel(DAY.replace(day=DAY.day + index))
        case = await customer.open(priority_requested=priority)
        names[case["id"]] = f"{index}"
    closed = await plain.close(await plain.open(priority_requested="high"))
    queue = (await plain.get("cases?queue=true&limit=200"))["items"]
    assert [names[case["id"]] for case in queue if case["id"] in names] == list("431520")
    assert closed["id"] not in {case["id"] for case in queue}
    assert {case["state"] for case in queue} <= {"open", "in_progress", "waiting_for_customer"}


# --- decisions --------------------------------------------------------------------------------


async def test_the_decision_that_opened_a_case_is_kept(customer: Customer) -> None:
    """R33: who asked, the columns, the version of the policy."""
    await customer.pack()
    case = await customer.open()
    opened = (await customer.timeline(case))[0]
    decision = opened["data"]["decision"]
    assert decision["columns"] == ["NO_DEV", "TCK"]
    assert decision["policy"] == (await customer.entitlements())["policy"]
    assert decision["allowance_id"] == case["paid_by"]["id"]
    assert opened["actor"].startswith("test-")


async def test_a_refusal_is_rolled_back_and_its_decision_kept(
    customer: Customer, service: Service
) -> None:
    """R33."""
    await customer.licence("runtime", days=-30)
    async with await service.client_with("cases:write", name="desk-of-refusals") as desk:
        customer.client, mine = desk, customer.client
        refused = await customer.try_open(channel="phone")
        customer.client = mine
    assert refused.status_code == 409
    assert (await customer.get(f"cases?customer_id={customer.id}"))["items"] == []
    rows = await service.server.run_in(
        service.database_name,
        "SELECT actor, data FROM events WHERE customer_id = $1 AND type = 'case.refused'",
        customer.id,
    )
    assert [row["actor"] for row in rows] == ["desk-of-refusals"]
    answer = refused.json()
    reasons = "".join(f'"{one["column"]}:{one["code"]}"' for one in answer["reasons"])
    kept = rows[0]["data"].replace(", ", "")
    assert reasons in kept
    assert '"NO_DEV"' in kept
    assert (await customer.entitlements())["policy"] in kept


# --- comments ---------------------------------------------------------------------------------


async def test_what_staff_write_for_themselves_is_never_shown_to_the_customer(
    customer: Customer, service: Service
) -> None:
    """R26, R38: `internal` needs `cases:work`."""
    await customer.pack()
    case = await customer.open()
    await customer.step(case, "comments", 201, body="A known fault?", internal=True)
    await customer.step(case, "comments", 201, body="We are looking at it.")
    scopes = ("cases:read", "cases:write")
    async with await service.client_with(*scopes, customer_id=customer.id) as theirs:
        path = f"/v1/cases/{case['id']}/comments"
        assert (await theirs.post(path, json={"body": "Thank you."})).status_code == 201
        refused = await theirs.post(path, json={"body": "For us", "internal": True})
        assert refused.status_code == 403
        shown = (await theirs.get(f"/v1/cases/{case['id']}/timeline")).json()["items"]
    ours = await customer.timeline(case)

    def bodies(items: list[dict[str, object]]) -> list[object]:
        comments = [one for one in items if one["type"] == "case.commented"]
        return [one["data"]["body"] for one in comments]  # type: ignore[index]

    assert bodies(shown) == ["We are looking at it.", "Thank you."]
    assert bodies(ours) == ["A known fault?", "We are looking at it.", "Thank you."]


async def test_pages_of_a_timeline_do_not_tell_of_what_is_hidden(
    customer: Customer, service: Service
) -> None:
    """Pages are full, and none ends with a cursor because only hidden entries follow."""
    await customer.pack()
    case = await customer.open()
    for word in "iippiiiipiippiii":
        await customer.step(case, "comments", 201, body=word, internal=word == "i")
    whole = await customer.timeline(case)
    shown = [one for one in whole if not one["data"].get("internal")]
    assert (len(whole), len(shown)) == (17, 6)
    path = f"/v1/cases/{case['number']}/timeline"
    async with await service.client_with("cases:read", customer_id=customer.id) as theirs:
        for client, expected in ((theirs, shown), (customer.client, whole)):
            for limit in (1, 2, 3, 5, 6, 17):
                pages, query = [], {"limit": limit}
                while True:
                    page = (await client.get(path, params=query)).json()
                    pages.append(page["items"])
                    if page["next_cursor"] is None:
                        break
                    query["cursor"] = page["next_cursor"]
                assert [one for page in pages for one in page] == expected
                assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
                assert len(pages) == -(-len(expected) // limit)


async def test_a_timeline_that_grows_goes_on_where_it_stopped(customer: Customer) -> None:
    await customer.pack()
    case = await customer.open()
    await customer.step(case, "comments", 201, body="1")
    page = await customer.get(f"cases/{case['id']}/timeline?limit=1")
    await customer.step(case, "comments", 201, body="2")
    rest = await customer.get(f"cases/{case['id']}/timeline?cursor={page['next_cursor']}")
    assert [one["data"]["body"] for one in rest["items"]] == ["1", "2"]
    assert rest["next_cursor"] is None
