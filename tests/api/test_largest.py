"""No answer grows without a bound: the most rows and bytes of each, on a customer full of all."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.store.keyset import MOST_BYTES
from tests.api.build import errors, made
from tests.conftest import Service
from tests.largest import COMMENTS, MOVEMENTS, PACKS, Largest, fill

# Of a page: its long texts, the one that goes beyond, and what stands around them.
_PAGE = MOST_BYTES + 200_000
# The most bytes of each answer, and of what it lists the most rows.
_BOUNDS: dict[str, tuple[int, dict[str, int]]] = {
    "entitlements": (40_000, {"allowances": 102}),
    "explained": (45_000, {"allowances": 102}),
    "entitlements then": (40_000, {"allowances": 102}),
    "check": (20_000, {"continues": 100}),
    "batch": (20_000_000, {"results": 1000}),
    "batch of faults": (500_000, {"results": 1000}),
    "simulation": (80_000, {}),
    "forecast": (3_000_000, {"steps": 100}),
    "usage": (400 * PACKS, {"allowances": PACKS + 10}),
    "statement": (600 * MOVEMENTS, {"groups": PACKS + 10}),
    "statement as CSV": (400 * MOVEMENTS, {}),
    "cases": (_PAGE, {"items": 200}),
    "queue": (_PAGE, {"items": 200}),
    "case": (200_000, {}),
    "timeline": (_PAGE, {"items": 200}),
    "customers": (_PAGE, {"items": 200}),
    "customer": (100_000, {"contacts": 100}),
    "licences": (_PAGE, {"items": 200}),
    "licence": (200_000, {"upgrades": 500}),
    "packs": (100_000, {"items": 200}),
    "pack": (15_000, {"tickets": 100}),
    "tickets": (25_000, {"items": 200}),
    "ambiguous": (10_000, {"candidates": 20}),
    "unknown fields": (20_000, {"errors": 100}),
    "unknown fields of a question": (20_000, {"errors": 100}),
    "wrong contacts": (20_000, {"errors": 100}),
    "wrong references": (20_000, {"errors": 100}),
    "empty lists": (1_000, {"errors": 1}),
    "most values": (2_000, {"errors": 10}),
    "text of letters with marks": (2_000, {"errors": 10}),
    "many texts with marks": (20_000, {"errors": 100}),
    "odd telephone numbers": (20_000, {"errors": 100}),
}


@pytest.fixture(scope="module")
async def largest(new_service: Callable[..., Awaitable[Service]]) -> Largest:
    # The machine that runs the tests may be slow; what is asserted is not time.
    return await fill(await new_service(request_timeout=120, statement_timeout_ms=60_000))


@pytest.mark.parametrize("name", _BOUNDS)
async def test_each_answer_is_bounded(largest: Largest, name: str) -> None:
    answer = await largest.send(name)
    assert answer.status_code in (200, 409, 422), answer.text
    most_bytes, most_rows = _BOUNDS[name]
    assert len(answer.content) <= most_bytes
    for rows, most in most_rows.items():
        assert len(answer.json()[rows]) <= most, rows


async def test_no_call_is_forgotten(largest: Largest) -> None:
    assert _BOUNDS.keys() == largest.calls.keys()


async def pages(largest: Largest, name: str, limit: int) -> list[list[Any]]:
    call = largest.calls[name]
    path = call.path.partition("?")[0]
    found, query = [], {"limit": limit}
    while True:
        page = await made(await largest.client.get(path, params=query), 200)
        found.append(page["items"])
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


@pytest.mark.parametrize(("name", "count"), [("timeline", COMMENTS), ("customers", 201)])
async def test_pages_that_long_texts_end_make_up_the_whole(
    largest: Largest, name: str, count: int
) -> None:
    found = await pages(largest, name, 200)
    assert sum(map(len, found)) == count
    assert len(found) > count // 200 + 1
    assert all(0 < len(page) < 200 for page in found)
    small = await pages(largest, name, 20)
    assert [one for page in small for one in page] == [one for page in found for one in page]


async def test_an_answer_that_is_cut_counts_all_the_same(largest: Largest) -> None:
    answer = (await largest.send("entitlements")).json()
    (phone,) = (one for one in answer["services"] if one["service"] == "phone_support")
    (grant,) = (one for one in phone["granted_by"] if one["column"] == "TCK")
    assert grant["remaining_tickets"] == PACKS * 1000
    packs = [one for one in answer["allowances"] if one["kind"] == "ticket_pack"]
    assert len(packs) == 100
    assert [one["ends_on"] for one in packs] == sorted(one["ends_on"] for one in packs)
    (email,) = (one for one in answer["services"] if one["service"] == "email_support")
    assert len(email["continues"]) == 100


async def test_a_forecast_that_stops_says_until_when_it_tells(largest: Largest) -> None:
    forecast = (await largest.send("forecast")).json()
    assert len(forecast["steps"]) == 100
    assert forecast["steps"][-1]["at"] < forecast["until"] < "2027-10-01"
    path = largest.calls["forecast"].path.partition("&until")[0]
    shorter = await made(
        await largest.client.get(f"{path}&until={forecast['steps'][49]['at']}"), 200
    )
    assert shorter["steps"][1:] == forecast["steps"][1:50]
    assert shorter["until"] == forecast["steps"][49]["at"]


async def test_a_statement_of_too_many_movements_is_refused(
    largest: Largest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.usage.MOST_MOVEMENTS", MOVEMENTS - 1)
    assert errors(await largest.send("statement")) == [("query/to", "too_many")]
    monkeypatch.setattr("app.services.usage.MOST_MOVEMENTS", MOVEMENTS)
    groups = (await made(await largest.send("statement"), 200))["groups"]
    assert sum(len(group["movements"]) for group in groups) == MOVEMENTS


async def test_unknown_fields_are_told_beside_other_faults(largest: Largest) -> None:
    body = {f"x{n}": 0 for n in range(5_000)} | {"code": "", "contacts": [{"name": ""}]}
    answer = await largest.client.post("/v1/customers", json=body)
    found = errors(answer)
    assert len(found) == 100
    assert ("/code", "bad_format") in found
