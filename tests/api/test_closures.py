"""Closures of help desks over HTTP (R48)."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.services.help_desks import MOST_OVERLAPPING, MOST_STANDING
from app.services.tokens import BOUND_SCOPES
from tests.api.build import Customer, errors, made, refused
from tests.conftest import Service

DESKS = "/v1/help-desks"
REASON = {"it": "Ferie", "en": "Holidays", "de": "Ferien"}
# A Monday in summer; the Italian desk is open from 8:30 to 12:00, which is 6:30 to 10:00 in UTC.
AT = "2027-07-05T08:00:00Z"
WEEK = {"starts_at": "2027-07-04T22:00:00Z", "ends_at": "2027-07-11T22:00:00Z", "reason": REASON}
SHORT = WEEK | {
    "ends_at": "2027-07-05T22:00:00Z",
    "hours": [{"opens": "09:00", "closes": "11:00"}],
}
SHOWN = {
    "starts_at": "2027-07-04T22:00:00Z",
    "ends_at": "2027-07-11T22:00:00Z",
    "reason": "Holidays",
}


@pytest.fixture
async def closed(client: httpx.AsyncClient) -> AsyncIterator[dict[str, Any]]:
    closure = await made(await client.post(f"{DESKS}/it/closures", json=WEEK))
    yield closure
    await client.delete(f"{DESKS}/it/closures/{closure['id']}")


async def desk(client: httpx.AsyncClient, at: str = AT) -> dict[str, Any]:
    items = (await client.get(DESKS, params={"at": at})).json()["items"]
    found: dict[str, Any] = next(one for one in items if one["id"] == "it")
    return found


async def test_a_closure_is_made_read_listed_and_removed(
    client: httpx.AsyncClient, service: Service
) -> None:
    answer = await client.post(f"{DESKS}/it/closures", json=SHORT)
    closure = await made(answer)
    assert {name: closure[name] for name in SHORT} == SHORT
    assert closure["help_desk"] == "it"
    assert (await client.get(answer.headers["location"])).json() == closure
    assert closure in (await client.get(f"{DESKS}/it/closures")).json()["items"]
    assert closure not in (await client.get(f"{DESKS}/de/closures")).json()["items"]
    elsewhere = f"{DESKS}/de/closures/{closure['id']}"
    refused(await client.get(elsewhere), "not_found", 404)
    refused(await client.delete(elsewhere), "not_found", 404)

    gone = await client.delete(answer.headers["location"], headers={"If-Match": '"another"'})
    refused(gone, "precondition_failed", 412)
    etag = (await client.get(answer.headers["location"])).headers["etag"]
    gone = await client.delete(answer.headers["location"], headers={"If-Match": etag})
    assert gone.status_code == 204
    refused(await client.delete(answer.headers["location"]), "not_found", 404)
    rows = await service.server.run_in(
        service.database_name,
        "SELECT type, data::text AS data, customer_id FROM events WHERE subject_id = $1"
        " ORDER BY id",
        closure["id"],
    )
    assert [row["type"] for row in rows] == ["help_desk.closure_changed"] * 2
    assert [row["customer_id"] for row in rows] == [None, None]
    told = json.loads(rows[0]["data"])
    assert told == {
        "help_desk": "it",
        "closure_id": closure["id"],
        "change": "added",
        "starts_at": SHORT["starts_at"],
        "ends_at": SHORT["ends_at"],
        "hours": SHORT["hours"],
    }
    assert json.loads(rows[1]["data"]) == told | {"change": "removed"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"ends_at": WEEK["starts_at"]}, ("/ends_at", "wrong_order")),
        ({"ends_at": "2028-07-05T22:00:01Z"}, ("/ends_at", "out_of_range")),
        (
            {"starts_at": "2099-07-04T22:00:00Z", "ends_at": "2099-07-05T22:00:00Z"},
            ("/starts_at", "out_of_range"),
        ),
        ({"hours": []}, ("/hours", "too_few")),
        ({"hours": [{"opens": "9:00", "closes": "10:00"}]}, ("/hours/0/opens", "bad_format")),
        ({"hours": [{"opens": "09:00", "closes": "24:00"}]}, ("/hours/0/closes", "bad_format")),
        ({"hours": [{"opens": "10:00", "closes": "10:00"}]}, ("/hours/0/closes", "wrong_order")),
        (
            {
                "hours": [
                    {"opens": "10:00", "closes": "11:00"},
                    {"opens": "10:59", "closes": "12:00"},
                ]
            },
            ("/hours/1/opens", "wrong_order"),
        ),
        ({"reason": REASON | {"de": "x" * 81}}, ("/reason/de", "too_long")),
        ({"reason": {"it": "Ferie", "en": "Holidays"}}, ("/reason/de", "missing")),
        ({"reason": REASON | {"en": " "}}, ("/reason/en", "blank")),
    ],
)
async def test_what_is_no_closure_is_refused(
    client: httpx.AsyncClient, change: dict[str, Any], fault: tuple[str, str]
) -> None:
    answer = await client.post(f"{DESKS}/it/closures", json=WEEK | change)
    assert errors(answer) == [fault]


async def test_a_desk_that_does_not_exist(client: httpx.AsyncClient) -> None:
    refused(await client.post(f"{DESKS}/fr/closures", json=WEEK), "not_found", 404)
    refused(await client.get(f"{DESKS}/fr/closures"), "not_found", 404)


async def test_anybody_sees_a_closure_and_admin_alone_makes_one(
    client: httpx.AsyncClient, service: Service, closed: dict[str, Any], today: date
) -> None:
    customer = await Customer.new(client, today)
    one = f"{DESKS}/it/closures/{closed['id']}"
    bound = await service.client_with(*BOUND_SCOPES, customer_id=customer.id)
    for other in (bound, await service.client_with()):
        async with other:
            assert (await other.get(one)).status_code == 200
            assert (await other.get(f"{DESKS}/it/closures")).status_code == 200
            assert (await other.post(f"{DESKS}/it/closures", json=WEEK)).status_code == 403
            assert (await other.delete(one)).status_code == 403
    bound = await service.client_with(*BOUND_SCOPES, customer_id=customer.id)
    async with bound:
        query = {"customer_id": customer.id, "at": AT, "service": "phone_support"}
        answer = await bound.get("/v1/entitlements/check", params=query)
        assert answer.json()["help_desk"]["open"] is False


async def test_every_answer_about_the_desk_knows_it(
    client: httpx.AsyncClient, closed: dict[str, Any], today: date
) -> None:
    customer = await Customer.new(client, today)
    query = {"customer_id": customer.id, "at": AT}
    german = {"Accept-Language": "de"}

    single = (await client.get("/v1/entitlements", params=query)).json()["help_desk"]
    assert (single["open"], single["changes_at"]) == (False, "2027-07-12T06:30:00Z")
    assert single["closure"] == SHOWN
    single = (await client.get("/v1/entitlements", params=query, headers=german)).json()
    assert single["help_desk"]["closure"]["reason"] == "Ferien"

    check = {**query, "service": "phone_support"}
    answer = (await client.get("/v1/entitlements/check", params=check, headers=german)).json()
    assert answer["help_desk"]["closure"] == SHOWN | {"reason": "Ferien"}
    assert answer["say"].endswith(
        "Der Help Desk ist geschlossen: Ferien. Er öffnet am Montag, dem 12. Juli, um 8 Uhr 30"
        " wieder."
    )

    batch = {"lookups": [{"customer_id": customer.id}], "at": AT}
    (result,) = (await client.post("/v1/entitlements/batch", json=batch)).json()["results"]
    assert result["entitlements"]["help_desk"]["closure"] == SHOWN
    export = await client.get("/v1/entitlements/export", params={"at": AT})
    lines = [json.loads(line) for line in export.text.splitlines()][:-1]
    (line,) = (one for one in lines if one["customer"]["id"] == customer.id)
    assert line["help_desk"]["closure"] == SHOWN
    assume = {**query, "assume": [{"kind": "licence", "licence_kind": "editor"}]}
    simulated = (await client.post("/v1/entitlements/simulation", json=assume)).json()
    assert simulated["before"]["help_desk"]["closure"] == SHOWN
    assert simulated["after"]["help_desk"]["closure"] == SHOWN

    shown = await desk(client)
    assert shown["closure"] == SHOWN | {"reason": REASON}
    assert shown["open"] is False
    # The other desks are open, and so is this one when it has ended.
    after = await desk(client, "2027-07-12T08:00:00Z")
    assert (after["open"], after["closure"]) == (True, None)
    assert "closure" not in (await customer.entitlements(at="2027-07-12T08:00:00Z"))["help_desk"]


async def test_two_customers_of_one_caller_are_told_the_reason_too(
    client: httpx.AsyncClient, closed: dict[str, Any], today: date
) -> None:
    contact = {"name": "Ufficio", "phones": ["+39 059 12345 87"]}
    for _ in range(2):
        await Customer.new(client, today, contacts=[contact])
    query = {"phone": "+390591234587", "service": "phone_support", "at": AT}
    answer = (await client.get("/v1/entitlements/check", params=query)).json()
    assert (answer["outcome"], answer["route"]) == ("ambiguous_caller", "closed")
    assert answer["help_desk"]["closure"]["reason"] == "Ferie"
    assert "L'help desk è chiuso: Ferie. Riapre lunedì 12 luglio alle 8 e 30." in answer["say"]


async def test_a_caller_without_a_number_is_told_the_reason_too(
    client: httpx.AsyncClient, closed: dict[str, Any]
) -> None:
    """Nobody is looked for, and the desk that was dialled is closed all the same."""
    dialled = {"called": "+39059454224", "service": "phone_support", "at": AT}
    for phone in ("anonymous", "204"):
        query = {"phone": phone, **dialled}
        answer = (await client.get("/v1/entitlements/check", params=query)).json()
        assert answer["route"] == "closed"
        assert answer["help_desk"]["closure"]["reason"] == "Ferie"


async def test_a_question_asked_before_is_answered_anew_at_once(
    client: httpx.AsyncClient, today: date
) -> None:
    """The answer is kept in memory; a closure made or removed since shows at once."""
    customer = await Customer.new(client, today)

    async def is_open() -> tuple[bool, str]:
        shown = (await customer.entitlements(at=AT))["help_desk"]
        return shown["open"], shown["changes_at"]

    usual, short = (True, "2027-07-05T10:00:00Z"), (True, "2027-07-05T09:00:00Z")
    assert [await is_open() for _ in range(3)] == [usual] * 3
    answer = await client.post(f"{DESKS}/it/closures", json=SHORT)
    assert [await is_open() for _ in range(3)] == [short] * 3
    assert (await client.delete(answer.headers["location"])).status_code == 204
    assert [await is_open() for _ in range(3)] == [usual] * 3


async def test_what_holds_until_when_does_not_change(
    client: httpx.AsyncClient, closed: dict[str, Any], today: date
) -> None:
    """R13: `valid_until` is about everything but the desk."""
    customer = await Customer.new(client, today)
    await customer.licence(days=-30)
    at_desk = f"{DESKS}/it/closures/{closed['id']}"
    during = await customer.entitlements(at=AT)
    await client.delete(at_desk)
    usual = await customer.entitlements(at=AT)
    assert during | {"help_desk": None} == usual | {"help_desk": None}


def later(closure: dict[str, Any], days: int) -> dict[str, Any]:
    """A closure like this one, some days later."""
    moved = {
        name: (datetime.fromisoformat(closure[name]) + timedelta(days=days)).isoformat()
        for name in ("starts_at", "ends_at")
    }
    return closure | moved


async def remove(client: httpx.AsyncClient, answers: list[httpx.Response]) -> None:
    for answer in answers:
        if answer.status_code == 201:
            assert (await client.delete(answer.headers["location"])).status_code == 204


async def test_there_are_not_too_many_even_at_once(client: httpx.AsyncClient) -> None:
    past = later(SHORT, (datetime.now(UTC) - datetime.fromisoformat(AT)).days - 30)
    url = f"{DESKS}/abroad/closures"
    made_ = [await client.post(url, json=past)]
    made_ += [await client.post(url, json=later(SHORT, day)) for day in range(MOST_STANDING - 2)]
    one = later(SHORT, MOST_STANDING)
    at_once = await asyncio.gather(*(client.post(url, json=one) for _ in range(4)))
    assert sorted(answer.status_code for answer in at_once) == [201, 201, 422, 422]
    assert errors(await client.post(url, json=one)) == [("", "too_many")]
    made_.append(await client.post(url, json=past))
    assert {answer.status_code for answer in made_} == {201}
    await remove(client, [*made_, *at_once])


async def test_few_overlap_at_any_instant(client: httpx.AsyncClient) -> None:
    url = f"{DESKS}/abroad/closures"
    # One that ends when the next begins does not overlap it.
    made_ = [await client.post(url, json=later(WEEK, days)) for days in (0, 7, 14)]
    made_ += [await client.post(url, json=later(WEEK, 3)) for _ in range(MOST_OVERLAPPING - 1)]
    assert {answer.status_code for answer in made_} == {201}
    for days in (0, 3, 6, 7, 9):
        answer = await client.post(url, json=later(WEEK, days))
        assert errors(answer) == [("", "too_many_overlapping")]
        assert str(MOST_OVERLAPPING) in answer.json()["errors"][0]["message"]
    long = later(WEEK, -30) | {"ends_at": later(WEEK, 60)["ends_at"]}
    assert errors(await client.post(url, json=long)) == [("", "too_many_overlapping")]
    made_.append(await client.post(url, json=later(WEEK, 10)))
    assert made_[-1].status_code == 201
    elsewhere = await client.post(f"{DESKS}/de/closures", json=later(WEEK, 3))
    assert elsewhere.status_code == 201
    await remove(client, [*made_, elsewhere])
