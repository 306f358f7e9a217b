"""What staff write for themselves reaches no token that is bound to a customer (R26, R38)."""

import secrets
from typing import Any

import pytest

from app.services.tokens import BOUND_SCOPES
from tests.api.build import made, recorded
from tests.matrix.conftest import World
from tests.matrix.document import Operation, operations
from tests.matrix.requests import whole
from tests.matrix.world import plain

_READ_BY_CUSTOMERS = [
    one
    for one in operations()
    if one.is_safe and not one.is_open and (one.scope is None or one.scope in BOUND_SCOPES)
]


@pytest.fixture(scope="module")
async def word(world: World) -> str:
    """A word that stands in an internal comment and in an internal note of the own case."""
    word = f"internal{secrets.token_hex(8)}"
    path = f"/v1/cases/{world.own.by_id['case']}"
    comment = {"body": f"A {word} comment", "internal": True}
    await made(await world.client.post(f"{path}/comments", json=comment))
    work = {"technician": "Help desk", "minutes": 3, "note": f"A {word} note", "internal": True}
    key = {"Idempotency-Key": word}
    first = await world.client.post(f"{path}/time-entries", json=work, headers=key)
    entry = await made(first)
    assert (entry["note"], entry["internal"]) == (work["note"], True)
    world.own.by_id["entry_id"] = entry["id"]
    again = await world.client.post(f"{path}/time-entries", json=work, headers=key)
    assert again.content == first.content
    return word


@pytest.mark.parametrize("operation", _READ_BY_CUSTOMERS, ids=lambda one: one.name)
async def test_no_answer_shows_it(world: World, operation: Operation, word: str) -> None:
    request = whole(operation, world.own.by_id | plain(world.today))
    if "q" in operation.parameters("query"):
        request.query = {"q": word}
    bound = await world.client_of(*BOUND_SCOPES, bound=True)
    answer = await request.send(bound)
    assert answer.status_code == 200, answer.text
    assert word not in answer.text


async def test_staff_see_it_and_the_customer_sees_the_work(world: World, word: str) -> None:
    path = f"/v1/cases/{world.own.by_id['case']}"
    bound = await world.client_of(*BOUND_SCOPES, bound=True)
    entry = f"{path}/time-entries/{world.own.by_id['entry_id']}"
    ours = (await world.client.get(entry)).json()
    theirs = (await bound.get(entry)).json()
    assert word in ours["note"]
    assert theirs == ours | {"note": None, "internal": False}
    assert word in (await world.client.get(f"{path}/timeline")).text


async def test_a_note_that_is_not_internal_is_shown(world: World) -> None:
    path = f"/v1/cases/{world.own.by_id['case']}/time-entries"
    bound = await world.client_of(*BOUND_SCOPES, bound=True)
    for more in ({}, {"internal": False}):
        work: dict[str, Any] = {"technician": "Help desk", "minutes": 3, "note": "Shown", **more}
        entry = await made(await world.client.post(path, json=work))
        assert (await bound.get(f"{path}/{entry['id']}")).json() == entry
        assert (entry["note"], entry["internal"]) == ("Shown", False)


async def test_events_do_not_hold_the_note(world: World, word: str) -> None:
    kept = [
        type_
        for type_, data in await recorded(world.service, world.own.by_id["customer"])
        if word in data
    ]
    assert kept == ["case.commented"]
