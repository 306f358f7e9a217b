"""Contracts over HTTP (R4, R15, R17)."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx

from app.ids import new_id
from app.policy.civil import add_months
from tests.api.build import Customer, errors, made, recorded, refused, unique
from tests.conftest import Service

URL = "/v1/contracts"
DAY = timedelta(days=1)
Travel = Callable[[date], None]


async def sign(customer: Customer, days: int, **fields: Any) -> httpx.Response:
    starts_on = str(customer.today + days * DAY)
    body = {"customer_id": customer.id, "starts_on": starts_on, **fields}
    return await customer.client.post(URL, json=body)


async def cancel(customer: Customer, contract: dict[str, Any], on: date) -> httpx.Response:
    body = {"cancelled_on": str(on), "reason": "Agreed"}
    return await customer.client.post(f"{URL}/{contract['id']}/cancellation", json=body)


async def read(customer: Customer, contract: dict[str, Any]) -> dict[str, Any]:
    return await made(await customer.client.get(f"{URL}/{contract['id']}"), 200)


async def events(service: Service, customer: Customer) -> list[str]:
    return [type_ for type_, _ in await recorded(service, customer.id, "contract.%")]


async def test_a_contract_lasts_twelve_months_and_twenty_hours(
    holder: Customer, service: Service
) -> None:
    answer = await sign(holder, 0)
    contract = await made(answer)
    assert answer.headers["Location"] == f"{URL}/{contract['id']}"
    assert contract == {
        "id": contract["id"],
        "number": contract["number"],
        "customer_id": holder.id,
        "starts_on": str(holder.today),
        "ends_on": str(add_months(holder.today, 12)),
        "included_minutes": 1200,
        "used_minutes": 0,
        "overrun_minutes": 0,
        "remaining_minutes": 1200,
        "renews": None,
        "cancelled_on": None,
        "cancellation_reason": None,
        "state": "in_force",
    }
    for key in (contract["id"], contract["number"].lower()):
        found = await holder.client.get(f"{URL}/{key}")
        assert (found.json(), found.headers["ETag"]) == (contract, answer.headers["ETag"])
    assert await events(service, holder) == ["contract.signed"]


async def test_twelve_months_after_a_leap_day(holder: Customer) -> None:
    await holder.licence(purchased_on="2024-02-29")
    contract = await holder.contract(starts_on="2024-02-29")
    assert contract["ends_on"] == "2025-02-28"
    assert contract["state"] == "expired"


async def test_minutes_of_its_own(holder: Customer) -> None:
    contract = await holder.contract(included_minutes=90)
    assert (contract["included_minutes"], contract["remaining_minutes"]) == (90, 90)
    for minutes in (0, 1_000_001, True, "90"):
        assert errors(await sign(holder, 0, included_minutes=minutes))[0][0] == "/included_minutes"


async def test_numbers_are_made_or_given(holder: Customer) -> None:
    first, second = await holder.contract(), await holder.contract()
    prefix, running = first["number"][:8], int(first["number"][8:])
    assert prefix == f"SA-{holder.today.year}-"
    assert int(second["number"][8:]) > running
    given = await holder.contract(number=unique("N"))
    refused(await sign(holder, 0, number=given["number"].swapcase()), "already_exists")
    # One that somebody has taken by hand is passed over.
    last = int(second["number"][8:])
    for ahead in (1, 2):
        await holder.contract(number=f"{prefix.lower()}{last + ahead:06d}")
    assert (await holder.contract())["number"] == f"{prefix}{last + 3:06d}"


async def test_only_a_holder_of_an_editor_on_the_first_day_signs(customer: Customer) -> None:
    refused(await sign(customer, 0), "editor_licence_required")
    await customer.licence("runtime", days=-900)
    refused(await sign(customer, 0), "editor_licence_required")
    editor = await customer.licence("editor", days=-30)
    refused(await sign(customer, -31), "editor_licence_required")
    assert (await sign(customer, -30)).status_code == 201
    assert (await sign(customer, 300)).status_code == 201, "bought by today counts later"
    gone = {"withdrawn_on": str(customer.today + 10 * DAY), "reason": "Returned"}
    await customer.client.post(f"/v1/licences/{editor['id']}/withdrawal", json=gone)
    assert (await sign(customer, 9)).status_code == 201
    refused(await sign(customer, 10), "editor_licence_required")


async def test_an_unknown_customer_is_not_found(client: httpx.AsyncClient, today: date) -> None:
    body = {"customer_id": str(new_id()), "starts_on": str(today)}
    refused(await client.post(URL, json=body), "customer_not_found", 404)


# --- states ---------------------------------------------------------------------------------


async def test_every_state_at_its_boundaries(holder: Customer, travel: Travel) -> None:
    starts = holder.today + 100 * DAY
    contract = await made(await sign(holder, 100))
    ends = date.fromisoformat(contract["ends_on"])
    withdrawn = starts + 50 * DAY
    (serial,) = holder.serials
    gone = {"withdrawn_on": str(withdrawn), "reason": "Returned"}
    await made(await holder.client.post(f"/v1/licences/{serial}/withdrawal", json=gone), 200)
    cancelled = await made(await sign(holder, 100, number=unique("N")))
    await made(await cancel(holder, cancelled, starts + 7 * DAY), 200)
    for day, state, other in [
        (starts - DAY, "upcoming", "upcoming"),
        (starts, "in_force", "in_force"),
        (starts + 6 * DAY, "in_force", "in_force"),
        (starts + 7 * DAY, "in_force", "cancelled"),
        (withdrawn - DAY, "in_force", "cancelled"),
        (withdrawn, "suspended", "cancelled"),
        (ends - DAY, "suspended", "cancelled"),
        (ends, "expired", "cancelled"),
        (ends + DAY, "expired", "cancelled"),
    ]:
        travel(day)
        assert (await read(holder, contract))["state"] == state, day
        assert (await read(holder, cancelled))["state"] == other, day
        for wanted in ("upcoming", "in_force", "suspended", "expired", "cancelled"):
            query = {"customer_id": holder.id, "state": wanted}
            listed = (await holder.client.get(URL, params=query)).json()["items"]
            expected = [c["id"] for c, s in ((contract, state), (cancelled, other)) if s == wanted]
            assert [item["id"] for item in listed] == expected, (day, wanted)


async def test_listed_by_their_end(holder: Customer) -> None:
    contract = await holder.contract()
    ends = date.fromisoformat(contract["ends_on"])
    for day, expected in ((ends, []), (ends + DAY, [contract])):
        query = {"customer_id": holder.id, "ends_before": str(day)}
        assert (await holder.client.get(URL, params=query)).json()["items"] == expected


async def test_used_and_overrun(holder: Customer) -> None:
    contract = await holder.contract(included_minutes=60)
    case = await holder.open(pay_with="contract", channel="phone")
    etag = (await holder.client.get(f"{URL}/{contract['id']}")).headers["ETag"]
    await holder.work(case, 45)
    found = await holder.client.get(f"{URL}/{contract['id']}")
    assert found.headers["ETag"] != etag
    left = [found.json()[f"{what}_minutes"] for what in ("used", "remaining", "overrun")]
    assert left == [45, 15, 0]
    await holder.work(case, 45)
    found = await holder.client.get(f"{URL}/{contract['id']}")
    left = [found.json()[f"{what}_minutes"] for what in ("used", "remaining", "overrun")]
    assert left == [60, 0, 30]


# --- cancellation ---------------------------------------------------------------------------


async def test_cancelled_within_its_days(holder: Customer, service: Service) -> None:
    contract = await holder.contract()
    starts, ends = (date.fromisoformat(contract[day]) for day in ("starts_on", "ends_on"))
    for outside in (starts - DAY, ends + DAY):
        assert errors(await cancel(holder, contract, outside)) == [
            ("/cancelled_on", "out_of_range")
        ]
    cancelled = await made(await cancel(holder, contract, ends), 200)
    assert cancelled == {
        **contract,
        "cancelled_on": str(ends),
        "cancellation_reason": "Agreed",
        "state": "in_force",
    }
    refused(await cancel(holder, contract, ends), "wrong_state")
    assert await events(service, holder) == ["contract.signed", "contract.cancelled"]


async def test_cancelled_from_its_first_day(holder: Customer) -> None:
    contract = await holder.contract()
    first = date.fromisoformat(contract["starts_on"])
    assert (await made(await cancel(holder, contract, first), 200))["state"] == "cancelled"


async def test_not_cancelled_before_work_it_paid_for(holder: Customer) -> None:
    contract = await holder.contract()
    case = await holder.open(pay_with="contract", channel="phone")
    entry = await holder.work(case, 30)
    for day in (holder.today, holder.today - DAY):
        refused(await cancel(holder, contract, day), "contract_has_later_charges")
    assert (await read(holder, contract))["cancelled_on"] is None
    url = f"/v1/cases/{case['id']}/time-entries/{entry['id']}/reversal"
    assert (await holder.client.post(url, json={"reason": "Wrong case"})).status_code < 300
    await made(await cancel(holder, contract, holder.today), 200)


async def test_cancelled_the_day_after_work(holder: Customer) -> None:
    contract = await holder.contract()
    case = await holder.open(pay_with="contract", channel="phone")
    await holder.work(case, 30)
    tomorrow = holder.today + DAY
    assert (await made(await cancel(holder, contract, tomorrow), 200))["used_minutes"] == 30
