"""Telephone calls: noted by the exchange's own id, completed, listed, and erased with a person."""

import asyncio
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app import clock
from app.jobs.housekeeping import Housekeeping
from app.services import retention
from app.services.tokens import BOUND_SCOPES, SCOPES
from tests.api.build import Customer, errors, made, unique
from tests.conftest import Service

URL = "/v1/calls"
STARTED, ENDED = "2026-11-23T09:00:00Z", "2026-11-23T09:10:00Z"


def call(number: str, **fields: Any) -> dict[str, Any]:
    return {"call_id": unique("call"), "number": number, "started_at": STARTED, **fields}


async def test_a_call_is_noted_and_completed_by_its_own_id(
    client: httpx.AsyncClient, today: date
) -> None:
    people = [{"name": "Plant", "phones": ["+39 059 0000001"]}]
    customer = await Customer.new(client, today, contacts=people)
    await customer.pack(1)
    case = await customer.open()
    sent = call('"Plant" <sip:+390590000001@pbx.example.com>', called="+39059454224")
    answer = await client.post(URL, json=sent)
    noted = await made(answer)
    assert (noted["number"], noted["called"]) == ("+390590000001", "+39059454224")
    assert noted["customer_id"] == customer.id
    assert noted["ended_at"] is noted["case"] is noted["outcome"] is None
    assert (await client.get(answer.headers["Location"])).json() == noted

    shorter = {key: sent[key] for key in ("call_id", "number", "started_at")}
    more = {"ended_at": ENDED, "case": case["number"], "outcome": "allowed"}
    completed = await made(await client.post(URL, json=shorter | more), 200)
    changed = {key for key in noted if noted[key] != completed[key]}
    assert changed == {"ended_at", "case", "outcome", "updated_at"}
    # What is left out stays.
    assert (await made(await client.post(URL, json=shorter), 200))["case"] == case["number"]
    listed = (await client.get(URL, params={"customer_id": customer.code})).json()["items"]
    assert [one["id"] for one in listed] == [noted["id"]]


async def test_whose_call_it_is(client: httpx.AsyncClient, today: date) -> None:
    shared = [{"name": "Switchboard", "phones": ["+39 0721 411112"]}]
    one, two = [await Customer.new(client, today, contacts=shared) for _ in range(2)]
    await two.pack(1)
    case = await two.open()
    for number in ("+390721411112", "anonymous", "204", "+390721999999"):
        noted = await made(await client.post(URL, json=call(number)))
        assert noted["customer_id"] is None
        assert (noted["number"] is None) == (number in ("anonymous", "204"))
    sent = call("+390721411112")
    await made(await client.post(URL, json=sent))
    # A case says for certain whose call it is, whatever the number says later.
    assert (await made(await client.post(URL, json=sent | {"case": case["id"]}), 200))[
        "customer_id"
    ] == two.id
    await client.delete(f"/v1/customers/{two.id}/contacts/{(await contact_of(two))['id']}")
    again = await made(await client.post(URL, json=sent), 200)
    assert again["customer_id"] == two.id
    assert one.id != two.id


async def contact_of(customer: Customer) -> dict[str, Any]:
    (contact,) = (await customer.get(f"customers/{customer.id}"))["contacts"]
    found: dict[str, Any] = contact
    return found


async def test_what_is_no_call(client: httpx.AsyncClient) -> None:
    for wrong, expected in (
        ({"ended_at": "2026-11-23T08:59:59Z"}, [("/ended_at", "wrong_order")]),
        ({"case": "2026-999999"}, [("/case", "unknown_reference")]),
        ({"outcome": "lost"}, [("/outcome", "not_allowed_value")]),
        ({"call_id": " "}, [("/call_id", "blank")]),
        ({"number": None}, [("/number", "null_not_allowed")]),
    ):
        assert errors(await client.post(URL, json=call("+390590000001") | wrong)) == expected


async def test_one_call_at_once_is_one_row(client: httpx.AsyncClient) -> None:
    sent = call("+390590000077")
    answers = await asyncio.gather(*(client.post(URL, json=sent) for _ in range(8)))
    assert sorted(one.status_code for one in answers) == [200] * 7 + [201]
    assert len({one.json()["id"] for one in answers}) == 1


async def test_the_last_noted_come_first_page_by_page(client: httpx.AsyncClient) -> None:
    noted = [(await client.post(URL, json=call("204"))).json()["id"] for _ in range(5)]
    first = (await client.get(URL, params={"limit": 3})).json()
    rest = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await client.get(URL, params=rest)).json()
    assert [one["id"] for one in first["items"] + second["items"]] == noted[::-1]


async def test_housekeeping_clears_the_numbers_of_old_calls_if_it_is_told_to(
    client: httpx.AsyncClient, service: Service
) -> None:
    """R43: days count from when the call was last noted."""
    sent = [call(f"+39059000{n:04}", called="+39059454224") for n in range(3)]
    old, noted_again, recent = [await made(await client.post(URL, json=one)) for one in sent]
    for one in (old, noted_again):
        await service.server.run_in(
            service.database_name,
            "UPDATE calls SET updated_at = updated_at - interval '11 days' WHERE id = $1",
            one["id"],
        )
    await made(await client.post(URL, json=sent[1]), 200)

    async def numbers() -> list[str | None]:
        ids = [one["id"] for one in (old, noted_again, recent)]
        return [(await client.get(f"{URL}/{id_}")).json()["number"] for id_ in ids]

    await Housekeeping(case_text_keep_days=3).tidy(service.database)
    assert None not in await numbers()
    await Housekeeping(call_number_keep_days=12).tidy(service.database)
    assert None not in await numbers()
    await Housekeeping(call_number_keep_days=10).tidy(service.database)
    assert await numbers() == [None, noted_again["number"], recent["number"]]
    shown = (await client.get(f"{URL}/{old['id']}")).json()
    assert shown | {"updated_at": None} == old | {"number": None, "updated_at": None}


async def test_each_round_clears_a_bounded_number(
    client: httpx.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_CALLS_AT_ONCE", 2)
    for n in range(3):
        await made(await client.post(URL, json=call(f"+39059111{n:04}")))
    later = clock.now() + timedelta(seconds=1)
    cleared = []
    for _ in range(20):
        async with service.database.writing.begin() as connection:
            cleared.append(await retention.clear_numbers(connection, later))
        if not cleared[-1]:
            break
    # Other tests may have left more.
    assert sum(cleared) >= 3
    assert max(cleared) == 2


@pytest.mark.parametrize("scope", ["calls:read", "calls:write"])
async def test_no_token_of_a_customer_may_hold_its_scopes(
    service: Service, client: httpx.AsyncClient, today: date, scope: str
) -> None:
    customer = await Customer.new(client, today)
    assert scope in SCOPES - BOUND_SCOPES
    asked = {"scopes": [scope], "expires_in_seconds": 60}
    refused = await client.post(f"/v1/customers/{customer.id}/tokens", json=asked)
    assert refused.status_code == 422
    async with await service.client_with(*BOUND_SCOPES, customer_id=customer.id) as bound:
        assert (await bound.get(URL)).status_code == 403
        assert (await bound.post(URL, json=call("204"))).status_code == 403


async def test_a_person_s_calls_are_exported_and_erased(
    client: httpx.AsyncClient, service: Service, today: date
) -> None:
    """R43: also those that were put down to no customer, and the answer kept for a repetition."""
    people = [
        {"name": "Carla Verdi", "phones": ["+39 335 1112223", "+39 0721 5551234"]},
        {"name": "Dario Neri", "phones": ["+39 0721 5551234"]},
    ]
    customer = await Customer.new(client, today, contacts=people)
    early = await made(await client.post(URL, json=call("+393359998887")))
    sent = call("+393351112223")
    key = {"Idempotency-Key": unique("key")}
    theirs = await made(await client.post(URL, json=sent, headers=key))
    shared = await made(await client.post(URL, json=call("+3907215551234")))
    url = f"/v1/customers/{customer.id}/personal-data"
    who = {"name": "Carla Verdi"}
    held = (await made(await client.post(f"{url}/export", json=who), 200))["held"]
    assert [(one["id"], one["value"]) for one in held if one["record"] == "call"] == [
        (theirs["id"], "+393351112223")
    ]
    erased = await made(await client.post(f"{url}/erasure", json=who), 200)
    assert erased["calls"] == 1
    assert (await client.get(f"{URL}/{theirs['id']}")).json()["number"] is None
    # The office's line is also somebody else's, and the other call nobody's of theirs.
    assert (await client.get(f"{URL}/{shared['id']}")).json()["number"] == "+3907215551234"
    assert (await client.get(f"{URL}/{early['id']}")).json()["number"] == "+393359998887"
    kept = await service.server.run_in(
        service.database_name,
        "SELECT count(*) FROM idempotency_keys WHERE convert_from(body, 'UTF8') LIKE $1",
        "%393351112223%",
    )
    assert kept[0]["count"] == 0


async def test_a_call_cannot_begin_after_its_end(client: httpx.AsyncClient) -> None:
    ended = call("+390590000001", ended_at=ENDED)
    await made(await client.post(URL, json=ended))
    later = {"call_id": ended["call_id"], "number": "+390590000001"}
    answer = await client.post(URL, json={**later, "started_at": "2026-11-23T09:10:01Z"})
    assert errors(answer) == [("/started_at", "wrong_order")]
