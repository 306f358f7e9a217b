"""Two records of one customer become one (R49)."""

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.services.tokens import BOUND_SCOPES, create_key
from app.store.reconcile import snapshot
from tests import histories
from tests.api.build import Customer, errors, made, recorded, refused, unique
from tests.conftest import Service

Travel = Callable[[date], None]
DAY = timedelta(days=1)
T0 = date(2026, 3, 10)
REASON = "Entered twice."

# Tables whose rows stay with the record that they were written for: events are what they were, the
# tokens are ended, stored answers and counted writes are the tokens', and the record itself leads
# on. References to systems that know the survivor too stay as well. What was told stays as it was
# told, and a merged record has no standing and no allowances. A webhook hears of the survivor by
# itself, and what waits for it goes on as it is.
STAYING = {
    "events",
    "tokens",
    "idempotency_keys",
    "bound_writes",
    "merged_customers",
    "feed",
    "standings",
    "allowance_standings",
    "webhook_deliveries",
    "webhook_endpoints",
    "webhook_lanes",
}


async def merge(one: Customer, survivor: Customer, **body: Any) -> httpx.Response:
    body = {"into": survivor.id, "reason": REASON, **body}
    return await one.client.post(f"/v1/customers/{one.id}/merge", json=body)


async def merged(one: Customer, survivor: Customer, **body: Any) -> dict[str, Any]:
    return await made(await merge(one, survivor, **body), 200)


@pytest.fixture
async def twin(client: httpx.AsyncClient, today: date) -> Customer:
    """The record that becomes part of `customer`."""
    return await Customer.new(client, today)


async def differences(service: Service) -> list[str]:
    async with snapshot(service.database) as view:
        return [str(found) async for found in view.differences()]


async def rows_of(service: Service, customer_id: str) -> dict[str, int]:
    """How many rows of each table are this record's."""
    tables = await service.server.run_in(
        service.database_name,
        """SELECT c.relname FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'customer_id'
            WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1""",
    )
    found = {}
    for (table,) in tables:
        ((count,),) = await service.server.run_in(
            service.database_name,
            f"SELECT count(*) FROM {table} WHERE customer_id = $1",
            customer_id,
        )
        found[table] = count
    return found


async def everything(client: httpx.AsyncClient, key: str) -> dict[str, Any]:
    """What is answered about a customer, by the questions that name it."""
    found: dict[str, Any] = {}
    for path in (
        f"customers/{key}",
        f"customers/{key}/usage",
        f"customers/{key}/statement?from=2020-01-01&to=2030-01-01",
        *(f"{kind}?customer_id={key}" for kind in ("licences", "contracts", "ticket-packs")),
        f"cases?customer_id={key}",
        f"calls?customer_id={key}",
    ):
        found[path.replace(key, "…")] = await made(await client.get(f"/v1/{path}"), 200)
    found["entitlements"] = await made(await client.get(f"/v1/entitlements?customer_id={key}"), 200)
    return {path: timeless(answer) for path, answer in found.items()}


def timeless(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the instant that it is about."""
    return {name: value for name, value in answer.items() if name != "at"}


# --- what the survivor has ------------------------------------------------------------------------


async def _full(client: httpx.AsyncClient, today: date, phone: str) -> dict[str, Any]:
    """A customer with one of everything."""
    email = f"{unique('help').lower()}@example.com"
    contact = {"name": "Help desk", "email": email, "phones": [phone]}
    refs = {"crm": unique("R"), unique("only").lower(): unique("R")}
    customer = await Customer.new(client, today, contacts=[contact], external_refs=refs)
    licence = await customer.licence(days=-100)
    contract = await customer.contract(days=-20)
    pack = await customer.pack(2)
    case = await customer.open(pay_with="contract", channel="phone")
    entry = await customer.work(case, 30)
    ticketed = await customer.open(pay_with="ticket", channel="phone")
    free = await customer.open(pay_with="free_hours")
    await customer.work(free, 40)
    now = datetime.now().astimezone().isoformat()
    call = await made(
        await client.post(
            "/v1/calls",
            json={"call_id": unique("call"), "number": phone, "started_at": now},
        )
    )
    return {
        "customer": customer,
        "contact": contact,
        "refs": refs,
        "licence": licence,
        "contract": contract,
        "pack": pack,
        "case": case,
        "entry": entry,
        "ticketed": ticketed,
        "free": free,
        "call": call,
    }


async def test_the_survivor_has_everything_of_both(
    client: httpx.AsyncClient, service: Service, today: date
) -> None:
    one = await _full(client, today, "+393471000001")
    two = await _full(client, today - 5 * DAY, "+393471000002")
    old, survivor = one["customer"], two["customer"]
    before = [await everything(client, each.id) for each in (old, survivor)]
    answer = await merged(old, survivor)
    assert answer["id"] == survivor.id
    assert answer["merged_from"] == [{"id": old.id, "code": old.code}]
    assert [c["email"] for c in answer["contacts"]] == [
        each["contact"]["email"] for each in (two, one)
    ]
    # A system may know both: the survivor shows its own reference, the other's leads to it.
    assert answer["external_refs"] == one["refs"] | two["refs"]

    kept = await rows_of(service, old.id)
    assert {table for table, count in kept.items() if count} - STAYING == {"external_refs"}
    after = await everything(client, survivor.id)
    for path in after:
        if "customer_id" in path:
            ids = sorted(item["id"] for each in before for item in each[path]["items"])
            assert sorted(item["id"] for item in after[path]["items"]) == ids
            assert {item["customer_id"] for item in after[path]["items"]} == {survivor.id}
    one_total, other_total, total = [
        {**totals.pop("cases"), **totals}
        for each in (*before, after)
        if (totals := dict(each["customers/…/usage"]["totals"]))
    ]
    assert total == {name: one_total[name] + other_total[name] for name in total}
    # Every movement of both, and each allowance's balance as it was.
    moved = [
        sorted(
            (m["kind"], m["case_number"], m["used_minutes"], m["counts_on"])
            for group in each["customers/…/statement?from=2020-01-01&to=2030-01-01"]["groups"]
            for m in group["movements"]
        )
        for each in (*before, after)
    ]
    assert moved[2] == sorted(moved[0] + moved[1])
    assert not await differences(service)

    # Old and new names lead to the same answers.
    for key in (old.id, old.code, old.code.lower(), survivor.code):
        assert await everything(client, key) == after
    for lookup in (
        {"customer_id": old.id},
        {"customer_code": old.code},
        {"serial_number": one["licence"]["serial_number"]},
        {"case_number": one["case"]["number"]},
        {"phone": "+393471000001"},
        {"email": one["contact"]["email"]},
        {"external_ref": f"crm:{one['refs']['crm']}"},
        {"external_ref": f"crm:{two['refs']['crm']}"},
    ):
        found = await made(await client.get("/v1/entitlements", params=lookup), 200)
        assert found["customer"]["code"] == survivor.code, lookup
        checked = await client.get(
            "/v1/entitlements/check", params={**lookup, "service": "phone_support"}
        )
        assert checked.json()["customer"]["code"] == survivor.code, lookup
        batch = await client.post("/v1/entitlements/batch", json={"lookups": [lookup]})
        (result,) = batch.json()["results"]
        assert result["entitlements"]["customer"]["code"] == survivor.code, lookup
    exported = (await client.get("/v1/entitlements/export")).text.splitlines()
    codes = [json.loads(line).get("customer", {}).get("code") for line in exported]
    assert (codes.count(survivor.code), codes.count(old.code)) == (1, 0)
    listed = await client.get("/v1/customers", params={"external_ref": f"crm:{one['refs']['crm']}"})
    assert [item["id"] for item in listed.json()["items"]] == [survivor.id]
    for query in ({"q": old.code}, {"q": f"customer {old.code}"}):
        found = (await client.get("/v1/customers", params=query)).json()["items"]
        assert survivor.id in [item["id"] for item in found]
        assert old.id not in [item["id"] for item in found]
    archived = await client.get("/v1/customers", params={"archived": "true"})
    assert archived.json()["items"] == []

    # The work goes on.
    await old.work(one["case"], 10)
    await old.close(one["ticketed"])
    assert (await old.case(one["case"]["number"]))["charged_minutes"] == 40
    assert not await differences(service)


async def test_a_bound_token_finds_itself_by_a_reference_of_the_old_record(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    refs = [unique("R") for _ in range(3)]
    twin, customer, stranger = [
        await Customer.new(client, today, external_refs={"crm": ref}) for ref in refs
    ]
    await merged(twin, customer)
    lookup = {"external_ref": f"crm:{refs[0]}"}
    async with await service.client_with(*BOUND_SCOPES, customer_id=customer.id) as bound:
        found = await made(await bound.get("/v1/entitlements", params=lookup), 200)
        assert found["customer"]["id"] == customer.id
        batch = await bound.post("/v1/entitlements/batch", json={"lookups": [lookup]})
        (result,) = batch.json()["results"]
        assert result["entitlements"]["customer"]["id"] == customer.id
        listed = (await bound.get("/v1/customers", params=lookup)).json()["items"]
        assert [one["id"] for one in listed] == [customer.id]
    async with await service.client_with(*BOUND_SCOPES, customer_id=stranger.id) as bound:
        refused(await bound.get("/v1/entitlements", params=lookup), "customer_not_found", 404)
        assert (await bound.get("/v1/customers", params=lookup)).json()["items"] == []


async def test_columns_follow_from_both(customer: Customer, twin: Customer) -> None:
    """R3, R4, R5: an Editor of the one, tickets and a purchase of the other."""
    await twin.licence(days=-800)
    await twin.contract(days=-10)
    await customer.licence("runtime", days=-30)
    await customer.pack()
    assert (await customer.entitlements())["columns"] == ["NO_DEV", "TCK"]
    assert (await twin.entitlements())["columns"] == ["SA"]
    await merged(twin, customer)
    assert (await customer.entitlements())["columns"] == ["DEV", "SA", "TCK"]
    # R15: who holds an Editor now may sign.
    await customer.contract(days=0)


async def test_charges_stay_in_the_year_in_which_they_were_recorded(
    customer: Customer, twin: Customer, service: Service
) -> None:
    """R14: the other's Editor is one that was registered late."""
    await twin.licence(days=-100)
    case = await twin.open()
    await twin.work(case, 60)
    newer = await customer.licence(days=-50)
    await merged(twin, customer)
    (hours,) = (await customer.entitlements())["allowances"]
    assert (hours["starts_on"], hours["remaining_minutes"]) == (newer["purchased_on"], 300)
    assert await customer.minutes(case) == (60, 60, 0)
    usage = await customer.get(f"customers/{customer.id}/usage")
    assert [
        (one["starts_on"], one["used_minutes"])
        for one in usage["allowances"]
        if one["kind"] == "free_hours"
    ] == [(str(customer.today - 100 * DAY), 60), (newer["purchased_on"], 0)]
    # Time recorded now sees the new year (R20, R21).
    entry = await customer.work(case, 20)
    assert [one["allowance"]["service_year_start"] for one in entry["charges"]] == [
        newer["purchased_on"]
    ]
    assert not await differences(service)


@pytest.mark.parametrize(
    ("ours", "theirs", "contract", "used", "overrun", "by_contract"),
    [(100, 150, False, 250, 0, 0), (200, 150, False, 300, 50, 0), (200, 150, True, 300, 0, 50)],
)
async def test_years_that_begin_on_one_day_are_one(
    customer: Customer,
    twin: Customer,
    service: Service,
    ours: int,
    theirs: int,
    contract: bool,
    used: int,
    overrun: int,
    by_contract: int,
) -> None:
    """R14, R40: its 300 minutes are granted once; what exceeds them is charged again (R21)."""
    for each in (customer, twin):
        await each.licence(days=-40)
    mine, case = await customer.open(), await twin.open()
    await customer.work(mine, ours)
    entry = await twin.work(case, theirs)
    signed = await customer.contract(days=-10) if contract else None
    await merged(twin, customer)

    (hours, *_) = (await customer.entitlements())["allowances"]
    assert (hours["kind"], hours["used_minutes"]) == ("free_hours", used)
    assert (hours["granted_minutes"], hours["overrun_minutes"]) == (300, overrun)
    # The survivor's charges keep their place.
    assert await customer.minutes(mine) == (ours, ours, 0)
    assert await customer.minutes(case) == (theirs, theirs - overrun, overrun)
    assert (await customer.case(case["number"]))["paid_by"]["service_year_start"] == str(
        customer.today - 40 * DAY
    )
    if signed is not None:
        shown = await customer.get(f"contracts/{signed['id']}")
        assert shown["used_minutes"] == by_contract
    assert not await differences(service)
    # What is given back covers the overrun (R22), and the case goes on in the one year.
    await customer.reverse(entry)
    (hours, *_) = (await customer.entitlements())["allowances"]
    assert (hours["used_minutes"], hours["overrun_minutes"]) == (ours, 0)
    await customer.work(case, 5)
    assert await customer.minutes(case) == (5, 5, 0)
    assert not await differences(service)


async def test_past_instants_agree_afterwards(
    customer: Customer, twin: Customer, travel: Travel, service: Service
) -> None:
    """R13: charges and tickets of both as of that instant, also of two years that became one."""
    day = customer.today
    with_both = []
    for each in (customer, twin):
        await each.licence(days=-40)
        await each.pack(2, days=-40)
        case = await each.open()
        await each.work(case, 30)
        await each.open(channel="phone")
        with_both.append(case)
    at = (await customer.entitlements())["at"]
    travel(day + 2 * DAY)
    await merged(twin, customer)
    past = await customer.entitlements(at=at)
    now = await customer.entitlements()
    for answer in (past, now):
        found = {one["kind"]: one for one in answer["allowances"]}
        assert found["free_hours"]["used_minutes"] == 60
        packs = [one for one in answer["allowances"] if one["kind"] == "ticket_pack"]
        assert [(one["held"], one["available"]) for one in packs] == [(1, 1)] * 2
    usage = await customer.get(f"customers/{customer.id}/usage?at={at}")
    assert usage["totals"]["worked_minutes"] == 60
    numbers = {number for one in past["services"] for number in one["continues"]}
    assert {case["number"] for case in with_both} <= numbers
    assert not await differences(service)


async def test_a_licence_that_went_from_the_one_to_the_other(
    customer: Customer, twin: Customer
) -> None:
    """R44: it was held all along, and bought by the customer itself."""
    licence = await twin.licence(days=-100)
    body = {"to_customer_id": customer.id, "on": str(customer.today - 20 * DAY), "reason": "Sold."}
    await made(await twin.client.post(f"/v1/licences/{licence['id']}/transfer", json=body), 200)
    assert (await customer.entitlements())["columns"] == ["NO_DEV"]
    await merged(twin, customer)
    for days in (100, 21, 20, 0):
        at = f"{customer.today - days * DAY}T12:00:00Z"
        assert (await customer.entitlements(at=at))["columns"] == ["DEV"]
    (hours,) = (await customer.entitlements())["allowances"]
    assert hours["starts_on"] == licence["purchased_on"]


async def test_a_cancelled_contract_is_reinstated_afterwards(
    customer: Customer, twin: Customer, service: Service
) -> None:
    """R24, R46: what it gave back stands in an event from before the merge."""
    await twin.licence(days=-100)
    case = await twin.open()
    await twin.work(case, 320)
    signed = await twin.contract(days=0, take_over_overrun=True)
    assert (await twin.get(f"contracts/{signed['id']}"))["used_minutes"] == 20
    await twin.end(signed, twin.today)
    await merged(twin, customer)
    path = f"contracts/{signed['id']}/reinstatement"
    again = await customer.post(path, reason="By mistake.")
    assert again["used_minutes"] == 20
    assert not await differences(service)


async def test_a_year_that_was_undone_gets_its_case_back_afterwards(
    customer: Customer, twin: Customer, client: httpx.AsyncClient, service: Service
) -> None:
    """R14, R46: also where the case was bound to a year that became one with another since."""
    last = await Customer.new(client, customer.today)
    for each in (twin, customer, last):
        await each.licence(days=-200)
    case = await customer.open()
    await customer.work(case, 20)
    await last.work(await last.open(), 20)
    newer = await twin.licence(days=-40)
    case = await twin.open()
    await twin.work(case, 30)
    await twin.withdraw(newer, twin.today - 40 * DAY)
    paid_by = (await twin.case(case["number"]))["paid_by"]
    assert paid_by["service_year_start"] < newer["purchased_on"]
    await merged(twin, customer)
    await merged(customer, last)
    assert (await last.case(case["number"]))["paid_by"] == paid_by
    await last.post(f"licences/{newer['id']}/reinstatement", reason="By mistake.")
    again = await last.case(case["number"])
    assert again["paid_by"]["service_year_start"] == newer["purchased_on"]
    assert again["charged_minutes"] == 30
    assert not await differences(service)


_things = st.tuples(
    st.sampled_from(("editor", "runtime", "withdrawn", "pack")),
    st.integers(0, 1),
    st.integers(1, 900),
)


@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(bought=st.lists(_things, min_size=2, max_size=7))
async def test_merged_equals_right_at_once(
    client: httpx.AsyncClient, bought: list[tuple[str, int, int]]
) -> None:
    """As if everything had been entered for one customer from the start."""
    seen = []
    with histories.at(T0):
        for split in (True, False):
            customer = await Customer.new(client, T0)
            twin = await Customer.new(client, T0)
            for what, which, days in bought:
                owner = twin if split and which else customer
                if what == "pack":
                    await owner.pack(1 + days % 3, -days)
                    continue
                licence = await owner.licence("runtime" if what == "runtime" else "editor", -days)
                if what == "withdrawn":
                    await owner.withdraw(licence, T0 - timedelta(days=days // 2))
            if split:
                await merged(twin, customer)
            answer = await customer.entitlements()
            seen.append(
                [
                    answer["columns"],
                    answer["valid_until"],
                    [one["allowed"] for one in answer["services"]],
                    sorted(
                        [
                            {name: one[name] for name in one if name not in ("id", "number")}
                            for one in answer["allowances"]
                        ],
                        key=str,
                    ),
                ]
            )
    assert seen[0] == seen[1]


# --- the old names --------------------------------------------------------------------------------


async def test_a_put_by_the_old_code_is_refused(customer: Customer, twin: Customer) -> None:
    await merged(twin, customer)
    body = {"name": "Sent again", "country": "IT"}
    for code in (twin.code, twin.code.upper()):
        answer = await twin.client.put(f"/v1/customers/by-code/{code}", json=body)
        problem = refused(answer, "customer_merged")
        assert problem["into"] == {
            "id": customer.id,
            "code": customer.code,
            "name": f"Customer {customer.code}",
        }
        assert customer.code in problem["detail"]
    new = {"code": twin.code, **body}
    refused(await twin.client.post("/v1/customers", json=new), "already_exists")
    # The survivor's own goes on, and what was read is sent back.
    shown = await customer.get(f"customers/{twin.code}")
    url = f"/v1/customers/by-code/{customer.code}"
    assert await made(await customer.client.put(url, json=shown), 200) == shown
    wrong = await customer.client.put(url, json=shown | {"merged_from": []})
    assert errors(wrong) == [("/merged_from", "read_only")]


async def test_every_write_by_the_old_names_is_the_survivor_s(
    customer: Customer, twin: Customer, service: Service
) -> None:
    await twin.licence(days=-100)
    await merged(twin, customer)
    kept = await rows_of(service, twin.id)
    client, serial = twin.client, unique("S")
    for key in (twin.id, twin.code):
        licence = {
            "customer_id": key,
            "kind": "editor",
            "product": "Movicon",
            "version": "11",
            "purchased_on": str(twin.today),
        }
        put = await client.put(f"/v1/licences/by-serial/{serial}", json=licence)
        assert put.json()["customer_id"] == customer.id
        signed = {"customer_id": key, "starts_on": str(twin.today)}
        bought = {"customer_id": key, "quantity": 1, "purchased_on": str(twin.today)}
        for path, body in (("contracts", signed), ("ticket-packs", bought)):
            answer = await made(await client.post(f"/v1/{path}", json=body))
            assert answer["customer_id"] == customer.id
        opened = await made(await twin.try_open(customer_id=key))
        assert opened["customer_id"] == customer.id
        name = unique("Renamed")
        changed = await made(await client.patch(f"/v1/customers/{key}", json={"name": name}), 200)
        assert (changed["id"], changed["name"]) == (customer.id, name)
        contact: dict[str, Any] = {"name": unique("Anna"), "email": None, "phones": []}
        await made(await client.post(f"/v1/customers/{key}/contacts", json=contact))
        issued = await made(
            await client.post(f"/v1/customers/{key}/tokens", json={"scopes": ["cases:read"]})
        )
        async with service.client(issued["token"]) as bound:
            seen = (await bound.get("/v1/cases")).json()["items"]
            assert opened["id"] in [one["id"] for one in seen]
        archived = await made(
            await client.post(f"/v1/customers/{key}/archiving", json={"reason": "Gone"}), 200
        )
        assert archived["id"] == customer.id
        await client.post(f"/v1/customers/{key}/restoring", json={"reason": "Not gone"})
    async with service.database.writing.begin() as connection:
        secret = await create_key(
            connection,
            datetime.now().astimezone(),
            name=unique("website"),
            scopes=["customers:read"],
            customer=twin.code,
            expires_at=None,
        )
    async with service.client(secret) as bound:
        assert (await bound.get(f"/v1/customers/{twin.code}")).json()["id"] == customer.id
    assert await rows_of(service, twin.id) == kept


async def test_moves_and_transfers_by_the_old_names(
    client: httpx.AsyncClient, customer: Customer, twin: Customer, today: date
) -> None:
    other = await Customer.new(client, today)
    await other.pack(2)
    await customer.pack(2)
    licence = await other.licence("runtime", days=-50)
    case = await other.open(serial_number=None, channel="phone")
    await merged(twin, customer)
    moved = {"customer_id": twin.code, "reason": "Theirs."}
    here = await made(await client.post(f"/v1/cases/{case['id']}/move", json=moved), 200)
    assert here["customer_id"] == customer.id
    refused(await client.post(f"/v1/cases/{here['id']}/move", json=moved), "already_exists")
    passed = {"to_customer_id": twin.id, "on": str(today), "reason": "Sold."}
    url = f"/v1/licences/{licence['id']}/transfer"
    answer = await made(await client.post(url, json=passed), 200)
    assert answer["customer_id"] == customer.id


async def test_a_reference_that_the_old_record_kept_can_be_taken(
    client: httpx.AsyncClient, today: date
) -> None:
    refs = [unique("R"), unique("R")]
    twin, customer = [await Customer.new(client, today, external_refs={"crm": ref}) for ref in refs]
    await merged(twin, customer)
    other = await Customer.new(client, today)
    body: dict[str, Any] = {"external_refs": {"crm": refs[0]}}
    refused(await client.patch(f"/v1/customers/{other.id}", json=body), "already_exists")
    changed = await made(await client.patch(f"/v1/customers/{customer.id}", json=body), 200)
    assert changed["external_refs"] == {"crm": refs[0]}
    found = await client.get("/v1/entitlements", params={"external_ref": f"crm:{refs[0]}"})
    assert found.json()["customer"]["id"] == customer.id
    gone = await client.get("/v1/entitlements", params={"external_ref": f"crm:{refs[1]}"})
    refused(gone, "customer_not_found", 404)


async def test_merges_one_after_another_lead_to_the_last(
    client: httpx.AsyncClient, today: date, service: Service
) -> None:
    first, second, third = [await Customer.new(client, today) for _ in range(3)]
    for each in (first, second, third):
        await each.licence(days=-40)
        await each.work(await each.open(), 90)
    await merged(first, second)
    answer = await merged(second, third)
    codes = [{"id": each.id, "code": each.code} for each in (first, second)]
    assert answer["merged_from"] == codes
    for key in (first.id, first.code, second.code):
        assert await third.get(f"customers/{key}") == answer
        found = await client.get("/v1/entitlements", params={"customer_code": first.code})
        assert found.json()["customer"]["id"] == third.id
    (hours,) = (await third.entitlements())["allowances"]
    assert hours["used_minutes"] == 270
    assert not await differences(service)
    async with await service.client_with(*BOUND_SCOPES, customer_id=third.id) as bound:
        for key in (first.code, second.id, third.code):
            assert (await bound.get(f"/v1/customers/{key}")).json() == answer
        assert len((await bound.get("/v1/cases")).json()["items"]) == 3


# --- what is refused ------------------------------------------------------------------------------


async def test_what_is_refused_changes_nothing(
    client: httpx.AsyncClient, customer: Customer, twin: Customer, today: date, service: Service
) -> None:
    gone = await Customer.new(client, today)
    await gone.post(f"customers/{gone.id}/archiving", reason="Closed down")
    done = await Customer.new(client, today)
    await merged(done, customer)
    crowd: list[dict[str, Any]] = [
        {"name": f"Person {n}", "email": None, "phones": []} for n in range(60)
    ]
    crowded = [await Customer.new(client, today, contacts=crowd) for _ in range(2)]
    systems = [
        await Customer.new(
            client, today, external_refs={f"s{side}{n}": unique("R") for n in range(15)}
        )
        for side in (1, 2)
    ]
    await twin.licence()
    known = (customer, twin, gone, done, *crowded, *systems)
    before = [
        (await rows_of(service, each.id), await everything(client, each.id)) for each in known
    ]
    for dry_run in (False, True):
        for one, into, code, status in (
            (twin, gone, "wrong_state", 409),
            (done, twin, "customer_merged", 409),
            (done, customer, "customer_merged", 409),
            (twin, done, "customer_merged", 409),
        ):
            problem = refused(await merge(one, into, dry_run=dry_run), code, status)
            if code == "customer_merged":
                assert problem["into"]["code"] == customer.code
        for (one, into), code in (
            ((twin, twin), "same_customer"),
            (crowded, "too_many"),
            (systems, "too_many"),
        ):
            assert errors(await merge(one, into, dry_run=dry_run)) == [("/into", code)]
        nobody = await merge(twin, customer, into="C-nobody", dry_run=dry_run)
        refused(nobody, "customer_not_found", 404)
        url = "/v1/customers/C-nobody/merge"
        body = {"into": customer.id, "reason": REASON, "dry_run": dry_run}
        refused(await client.post(url, json=body), "not_found", 404)
    after = [(await rows_of(service, each.id), await everything(client, each.id)) for each in known]
    assert after == before


async def test_an_archived_record_may_become_part_of_another(
    customer: Customer, twin: Customer
) -> None:
    await twin.pack()
    await twin.post(f"customers/{twin.id}/archiving", reason="Entered twice")
    answer = await merged(twin, customer)
    assert answer["archived_at"] is None
    listed = await customer.client.get("/v1/customers", params={"archived": "true", "q": twin.code})
    assert listed.json()["items"] == []
    assert (await customer.entitlements())["columns"] == ["NO_DEV", "TCK"]


async def test_a_trial_tells_what_the_merge_does(
    customer: Customer, twin: Customer, service: Service, client: httpx.AsyncClient
) -> None:
    for each in (customer, twin):
        await each.licence(days=-40)
        case = await each.open()
        await each.work(case, 200)
    await twin.pack()
    async with await service.client_with("cases:read", customer_id=twin.id) as bound:
        before = [await everything(client, each.id) for each in (customer, twin)]
        counts = [await rows_of(service, each.id) for each in (customer, twin)]
        tried = await merged(twin, customer, dry_run=True)
        assert [await everything(client, each.id) for each in (customer, twin)] == before
        assert [await rows_of(service, each.id) for each in (customer, twin)] == counts
        assert (await bound.get("/v1/cases")).status_code == 200
        assert tried["facts"] == [
            {
                "event": "customer.merged",
                "id": twin.id,
                "name": twin.code,
                "before": {"merged_into": None},
                "after": {"merged_into": customer.code},
            }
        ]
        await merged(twin, customer)
        refused(await bound.get("/v1/cases"), "unauthorized", 401)
    now = await customer.entitlements()
    for answer in (tried["after"], tried["other"]["after"]):
        assert timeless(answer) == timeless(now)
    befores = [tried["before"], tried["other"]["before"]]
    for answer, was in zip(befores, before, strict=True):
        assert timeless(answer) == was["entitlements"]
    # Of 400 minutes the one year pays 300: the other's charges give way.
    assert tried["charges_moved"] == [
        {
            "case_number": case["number"],
            "allowance": {
                "kind": "free_hours",
                "id": None,
                "number": None,
                "service_year_start": str(customer.today - 40 * DAY),
            },
            "counts_on": str(customer.today),
            "used_minutes": -100,
            "overrun_minutes": 100,
        }
    ]


# --- who may, and who still sees ------------------------------------------------------------------


async def test_tokens_of_the_old_record_end_and_the_survivor_s_see_both(
    customer: Customer, twin: Customer, service: Service, client: httpx.AsyncClient
) -> None:
    await twin.licence(days=-100)
    case = await twin.open()
    await twin.step(case, "comments", 201, body="Please restart it.")
    internal = await twin.client.post(
        f"/v1/cases/{case['id']}/comments", json={"body": "For us.", "internal": True}
    )
    assert internal.status_code == 201
    issued = await made(
        await client.post(f"/v1/customers/{twin.id}/tokens", json={"scopes": ["cases:read"]})
    )
    licence = (await twin.get(f"licences?customer_id={twin.id}"))["items"][0]
    steps = (await twin.get(f"licences/{licence['id']}/history"))["steps"]
    async with (
        await service.client_with(*BOUND_SCOPES, customer_id=twin.id) as theirs,
        service.client(issued["token"]) as visitor,
        await service.client_with(*BOUND_SCOPES, customer_id=customer.id) as ours,
    ):
        path = f"/v1/cases/{case['number']}/timeline"
        shown = await made(await theirs.get(path), 200)
        assert (await ours.get(path)).status_code == 404
        await merged(twin, customer)
        for bearer in (theirs, visitor):
            refused(await bearer.get("/v1/cases"), "unauthorized", 401)
            refused(await bearer.post("/v1/cases", json={}), "unauthorized", 401)
        assert await made(await ours.get(path), 200) == shown
        assert "For us." not in (await ours.get(path)).text
        for key in (twin.id, twin.code):
            listed = await made(await ours.get("/v1/cases", params={"customer_id": key}), 200)
            assert case["id"] in [one["id"] for one in listed["items"]]
            by = "customer_id" if key == twin.id else "customer_code"
            asked = await ours.get("/v1/entitlements", params={by: key})
            assert asked.json()["customer"]["id"] == customer.id
            opened = await made(await ours.post("/v1/cases", json={
                "customer_id": key,
                "serial_number": licence["serial_number"],
                "requester": {"name": "Plant engineer"},
                "subject": "Blank",
                "description": "It stays blank.",
            }))  # fmt: skip
            assert opened["customer_id"] == customer.id
        customers = (await ours.get("/v1/customers")).json()["items"]
        assert [one["id"] for one in customers] == [customer.id]
        exported = (await ours.get("/v1/entitlements/export")).text.splitlines()
        assert len(exported) == 2
        history = await made(await ours.get(f"/v1/licences/{licence['id']}/history"), 200)
        assert history["steps"] == steps
    # The token that was issued is still told of.
    told = await client.get(f"/v1/customers/{twin.id}/tokens/{issued['id']}")
    assert (await made(told, 200))["revoked_at"] is not None
    # No bound token may merge.
    async with await service.client_with(*BOUND_SCOPES, customer_id=customer.id) as bound:
        body = {"into": twin.id, "reason": REASON}
        answer = await bound.post(f"/v1/customers/{customer.id}/merge", json=body)
        refused(answer, "insufficient_scope", 403)


async def test_the_events_of_a_merge(
    client: httpx.AsyncClient, service: Service, today: date
) -> None:
    person: dict[str, Any] = {"name": "Anna Rossi", "email": None, "phones": []}
    system = unique("s").lower()
    ref = unique("R")
    twin = await Customer.new(client, today, contacts=[person], external_refs={system: ref})
    customer = await Customer.new(client, today)
    earlier = await recorded(service, twin.id)
    (contact,) = (await twin.get(f"customers/{twin.id}"))["contacts"]
    await merged(twin, customer)
    both = {
        "merged": {"id": twin.id, "code": twin.code},
        "into": {"id": customer.id, "code": customer.code},
        "reason": REASON,
    }
    told = await recorded(service, twin.id)
    # What was recorded before stays what it was.
    assert told[:-1] == earlier
    assert (told[-1][0], json.loads(told[-1][1])) == (
        "customer.merged",
        {
            "code": twin.code,
            **both,
            "before": {"merged_into": None},
            "after": {"merged_into": customer.code},
        },
    )
    _, *mine = await recorded(service, customer.id)
    assert [(type_, json.loads(data)) for type_, data in mine] == [
        ("customer.merged", {"code": customer.code, **both}),
        (
            "customer.updated",
            {
                "code": customer.code,
                "changed": {"external_refs": {"before": {}, "after": {system: ref}}},
                "contacts": {"added": [contact["id"]], "changed": [], "removed": []},
            },
        ),
    ]


async def test_an_erasure_of_the_survivor_reaches_what_the_old_record_kept(
    customer: Customer, twin: Customer, service: Service
) -> None:
    """R43: events and stored answers from before the merge."""
    await twin.licence(days=-40)
    name = unique("Erika Muster ")
    key = {"Idempotency-Key": unique("K")}
    case = await twin.open(requester={"name": name})
    url = f"/v1/cases/{case['id']}/comments"
    sent = {"body": f"{name} called."}
    await made(await twin.client.post(url, json=sent, headers=key))
    await twin.step(case, "closure", resolution=f"{name} restarts it")
    await merged(twin, customer)
    data = f"/v1/customers/{twin.code}/personal-data"
    found = await made(await twin.client.post(f"{data}/export", json={"name": name}), 200)
    assert any(one["record"] == "event" for one in found["held"])
    erased = await made(await twin.client.post(f"{data}/erasure", json={"name": name}), 200)
    assert erased["stored_answers"] == 1
    assert name not in str(await recorded(service, twin.id))
    again = await twin.client.post(url, json=sent, headers=key)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert name not in again.text


async def test_a_redaction_reaches_an_answer_from_before_the_merge(
    customer: Customer, twin: Customer
) -> None:
    await twin.licence(days=-40)
    url = f"/v1/cases/{(await twin.open())['id']}/comments"
    key, sent = {"Idempotency-Key": unique("K")}, {"body": "My password is mouse."}
    comment = await made(await twin.client.post(url, json=sent, headers=key))
    await merged(twin, customer)
    path = f"{url}/{comment['data']['comment_id']}/redaction"
    await made(await twin.client.post(path, json={"reason": "A password."}), 200)
    again = await twin.client.post(url, json=sent, headers=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["data"]["body"] is None


async def test_a_case_may_be_opened_before_the_survivor_was_known(
    client: httpx.AsyncClient, today: date, travel: Travel
) -> None:
    """R47: the first fact is that of either record."""
    travel(today - 30 * DAY)
    twin = await Customer.new(client, today)
    travel(today)
    customer = await Customer.new(client, today)
    await customer.pack(days=-1)
    at = f"{today - 20 * DAY}T09:00:00Z"
    early = await customer.try_open(category="bug", opened_at=at)
    assert errors(early) == [("/opened_at", "before_first_fact")]
    await merged(twin, customer)
    await customer.open(category="bug", opened_at=at)


# --- the database ---------------------------------------------------------------------------------


async def test_no_table_of_a_customer_s_rows_is_forgotten(
    client: httpx.AsyncClient, service: Service, today: date
) -> None:
    """A new table with a customer_id is moved by `move_to_survivor`, or named here."""
    ((body,),) = await service.server.run_in(
        service.database_name,
        "SELECT prosrc FROM pg_proc WHERE proname = 'move_to_survivor'",
    )
    tables = set(await rows_of(service, str(UUID(int=0))))
    moved = {table for table in tables if f"'{table}'" in body or f"UPDATE {table} " in body}
    assert tables - moved == STAYING
    assert not moved & STAYING


async def test_a_merge_changes_the_customer_of_ledger_entries_and_nothing_else(
    customer: Customer, service: Service
) -> None:
    await customer.licence()
    await customer.work(await customer.open(), 10)
    database = await asyncpg.connect(service.admin_url)
    try:
        async with database.transaction():
            await database.execute("SELECT set_config('assistenza.merging', 'yes', true)")
            for change in ("used_minutes = used_minutes + 1", "allowance_id = NULL"):
                with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
                    async with database.transaction():
                        await database.execute(
                            f"UPDATE ledger SET {change} WHERE customer_id = $1", UUID(customer.id)
                        )
    finally:
        await database.close()
