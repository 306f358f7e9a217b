"""Whatever is sent as a cursor is answered 200 or 422: only a cursor of ours gets through."""

import base64
import hashlib
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from app.ids import new_id
from app.main import create_app
from app.services.tokens import BOUND_SCOPES, SCOPES
from app.settings import Settings
from tests.matrix.conftest import World
from tests.matrix.document import Operation, operations
from tests.matrix.requests import Request, build
from tests.matrix.world import plain

LISTS = [one for one in operations() if "cursor" in one.parameters("query")]
every_list = pytest.mark.parametrize("operation", LISTS, ids=lambda one: one.name)
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUES: list[Any] = [
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00",
    "0001-01-01",
    "x",
    "\x00",
    "\ud800".encode("utf-16", "surrogatepass").hex(),
    0,
    -(2**63),
    2**63 - 1,
    1.5,
    True,
    None,
    [],
    {},
    str(new_id()),
]


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(kind: str, *keys: Any) -> str:
    """A cursor as 0.1.0 made them: its checksum had no key, so that anybody could make one."""
    payload = orjson.dumps([kind, *keys])
    digest = hashlib.blake2b(payload, digest_size=6, person=b"cursor 1").digest()
    return _encoded(digest + payload)


def mutations(seed: int, cursor: str) -> list[str]:
    """Cursors that are nearly right, and texts that are nothing like one."""
    chance = random.Random(seed)
    found = []
    for _ in range(30):
        place = chance.randrange(len(cursor))
        found.append(cursor[:place] + chance.choice(_ALPHABET) + cursor[place + 1 :])
        found.append(cursor[:place] + cursor[place + 1 :])
        found.append(cursor[:place] + chance.choice(_ALPHABET) + cursor[place:])
    for length in (*range(1, 40), 200, 1_000):
        found.append("".join(chance.choices(_ALPHABET, k=length)))
        found.append(_encoded(chance.randbytes(length * 3 // 4)))
    found += ["".join(chance.choices("aé€😀 =+/%&\x00\x7f", k=9)) for _ in range(20)]
    return [one for one in found if one != cursor]


def request_of(world: World, operation: Operation) -> Request:
    request = build(operation, world.own.by_id | plain(world.today))
    request.query["limit"] = 1
    if "window" in operation.parameters("query"):
        # Two days are two rows.
        request.query |= {"window": "day", "from": str(world.today - timedelta(days=1))}
    return request


async def with_cursor(client: httpx.AsyncClient, request: Request, cursor: str) -> httpx.Response:
    request = Request(request.method, request.template, request.path, dict(request.query))
    request.query["cursor"] = cursor
    return await request.send(client)


async def first_cursor(client: httpx.AsyncClient, request: Request) -> str:
    answer = await request.send(client)
    assert answer.status_code == 200, answer.text
    cursor: str = answer.json()["next_cursor"]
    assert cursor, "everybody has two of everything"
    return cursor


def refused(answer: httpx.Response, sent: object) -> None:
    assert answer.status_code == 422, (sent, answer.text)
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "query/cursor", sent
    assert error["code"] in ("bad_cursor", "too_long"), sent


@every_list
async def test_a_forged_cursor_is_refused(world: World, operation: Operation) -> None:
    request = request_of(world, operation)
    for kind in ("cases", "customers", "licences", "contracts", "ticket_packs"):
        for first in _VALUES:
            for keys in ((first,), (first, str(new_id())), (first, 7)):
                cursor = forged(kind, *keys)
                refused(await with_cursor(world.client, request, cursor), (kind, keys))


@every_list
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_other_text_is_a_cursor(world: World, operation: Operation, seed: int) -> None:
    request = request_of(world, operation)
    cursor = await first_cursor(world.client, request)
    assert (await with_cursor(world.client, request, cursor)).status_code == 200
    for other in mutations(seed, cursor):
        refused(await with_cursor(world.client, request, other), other)


@every_list
async def test_a_cursor_belongs_to_its_list_and_filters(world: World, operation: Operation) -> None:
    request = request_of(world, operation)
    for other in LISTS:
        if other != operation:
            cursor = await first_cursor(world.client, request_of(world, other))
            refused(await with_cursor(world.client, request, cursor), other.name)
    cursor = await first_cursor(world.client, request)
    filtered = request_of(world, operation)
    for name, value in (("customer_id", world.own.by_id["customer"]), ("country", "IT")):
        if name in operation.parameters("query"):
            filtered.query[name] = value
            refused(await with_cursor(world.client, filtered, cursor), name)
    # Another page size goes on where this one stopped.
    request.query["limit"] = 200
    assert (await with_cursor(world.client, request, cursor)).status_code == 200


@every_list
async def test_a_bound_token_may_go_on_from_a_cursor_of_its_own(
    world: World, operation: Operation
) -> None:
    bound = await world.client_of(*BOUND_SCOPES, bound=True)
    request = request_of(world, operation)
    answer = await request.send(bound)
    if operation.scope not in {None, *BOUND_SCOPES}:
        assert answer.status_code == 403
        return
    cursor = answer.json()["next_cursor"]
    if cursor is not None:
        assert (await with_cursor(bound, request, cursor)).status_code == 200


async def test_every_process_of_an_installation_reads_the_others_cursors(world: World) -> None:
    """And a process reads those that were made before it started."""
    service = world.service
    another = replace(
        service,
        app=create_app(Settings(), policies=service.policies, database=service.database),
    )
    async with another.client(await service.token(*SCOPES)) as client:
        for operation in LISTS:
            request = request_of(world, operation)
            cursor = await first_cursor(world.client, request)
            assert (await with_cursor(client, request, cursor)).status_code == 200
