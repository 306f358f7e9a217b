"""No text that a person wrote is in an event: a marker goes into every free text of the API.

The fields come from the OpenAPI document, so that a new one is tried as well.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.jobs.publishing import hand_over
from app.services.tokens import BOUND_SCOPES, SCOPES
from tests.api.build import made, unique
from tests.api.streams import listened, watched
from tests.conftest import Service, publish_all
from tests.matrix.conftest import World
from tests.matrix.document import LOOKUPS, Operation, branches, fields_of, operations
from tests.matrix.requests import made_of, whole
from tests.matrix.world import Holdings, plain
from tests.receiver import ALLOWED, Receiver, receiving

_MARKER = "zq7xkw"
_DIGITS = "3477712345"
_FOUND = re.compile(f"{_MARKER}|{_DIGITS}", re.IGNORECASE)
# Strings without a form of their own in the document that name something known all the same.
_CODES = {"help_desk"}
_FORMS = {"date", "date-time", "uuid"}


def _text(name: str, schema: Mapping[str, Any]) -> str | None:
    """A text with the marker; None where the schema takes a form that no text fits in."""
    if schema.get("type") != "string" or schema.keys() & {"enum", "const"}:
        return None
    if schema.get("format") in _FORMS or name in _CODES:
        return None
    text = f"{_MARKER} said, with a (quote)"
    if schema.get("format") == "idn-email":
        text = f"{_MARKER}@example.com"
    elif schema.get("format") == "uri":
        text = f"https://example.com/{_MARKER}"
    elif name in {"phone", "phones"}:
        text = f"+39{_DIGITS}"
    return text if re.search(schema.get("pattern", ""), text) else None


def _filled(
    operation: Operation, path: tuple[str | int, ...], schema: Mapping[str, Any], value: Any
) -> Any:
    """The value with the marker in every free text of its schema; None where there is none."""
    name = next((str(step) for step in reversed(path) if isinstance(step, str)), "")
    for branch in branches(schema):
        if (text := _text(name, branch)) is not None:
            return text
        if branch.get("type") == "array" and path[-1:] != ("lookups",):
            old = value[0] if value else None
            new = _filled(operation, (*path, 0), branch["items"], old)
            if new is not None:
                return [new]
        if branch.get("type") == "object":
            if branch.get("additionalProperties") or branch.get("patternProperties"):
                return {_MARKER: unique(f"{_MARKER} of theirs")}
            fields = fields_of(path, branch)
            new = {
                one: filled
                for one, field in fields.items()
                if not field.get("readOnly") and not (one in LOOKUPS and "customer_code" in fields)
                if (filled := _filled(operation, (*path, one), field, (value or {}).get(one)))
                is not None
            }
            if new:
                base = made_of(operation, path, branch, {}) if value is None else value
                return {**base, **new}
    return None


def _writing() -> Iterator[Operation]:
    """The operations that take a free text."""
    for operation in operations():
        body = None if operation.is_safe else operation.body
        if body is not None and _filled(operation, ("body",), body, {}) is not None:
            yield operation


_OPERATIONS = {one.name: one for one in _writing()}


class Story:
    """A customer with one of everything, and what an operation needs before it."""

    def __init__(self, world: World, own: Holdings) -> None:
        self._client = world.client
        self._world = world
        self.names = own.by_id
        self.own: dict[str, Any] = {}
        """What the body has besides the texts, where the document does not tell it."""

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self._client.post(f"/v1/{path}", json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def prepare(self, operation: str) -> None:
        names, today = self.names, self._world.today
        match operation:
            case "create_customer":
                self.own = {"code": unique("C")}
            case "create_licence":
                self.own = {"serial_number": unique("S")}
            case "reopen_case":
                await self.post(f"cases/{names['case']}/closure", resolution="It works.")
            case "cancel_case":
                path = f"cases/{names['case']}/time-entries/{names['entry_id']}/reversal"
                await self.post(path, reason="Written on the wrong case")
            case "move_to_customer":
                other = await self._world.somebody()
                self.own = {
                    "customer_id": other.by_id["customer"],
                    "serial_number": other.by_id["serial_number"],
                }
            case "transfer_licence":
                other = await self._world.somebody()
                self.own = {"to_customer_id": other.by_id["customer"], "on": str(today)}
                licence = {
                    "customer_id": names["customer"],
                    "serial_number": unique("S"),
                    "kind": "editor",
                    "product": "Movicon",
                    "version": "11",
                    "purchased_on": str(today - timedelta(days=30)),
                }
                sold = await self.post("licences", **licence)
                self.names = {**names, "licence": sold["id"]}
            case "restore_customer":
                await self.post(f"customers/{names['twin']}/archiving", reason="Closed")
                self.names = {**names, "customer": names["twin"]}
            case "archive_customer":
                self.names = {**names, "customer": names["twin"]}
            case "reinstate_licence":
                gone = {"withdrawn_on": str(today), "reason": "Given back"}
                await self.post(f"licences/{names['licence']}/withdrawal", **gone)
            case "reinstate_contract":
                gone = {"cancelled_on": str(today), "reason": "By agreement"}
                await self.post(f"contracts/{names['contract']}/cancellation", **gone)
            case "redeem_sign_in_link":
                path = f"customers/{names['customer']}/tokens"
                token = await self.post(path, scopes=["usage:read"], expires_in_seconds=60)
                self.own = {"code": token["url"].rpartition("/")[2]}
            case "cancel_ticket_pack":
                self.own = {"quantity": 1, "cancelled_on": str(today)}
            case "correct_licence":
                self.own = {"purchased_on": str(today - timedelta(days=95))}
            case "correct_contract":
                self.own = {"included_minutes": 600}
            case "correct_ticket_pack":
                self.own = {"purchased_on": str(today - timedelta(days=25))}
            case "export_personal_data" | "erase_personal_data":
                # One of them, and somebody has to be called so.
                self.own = {"contact_id": None, "email": None, "phone": None}
                path = f"cases/{names['case']}"
                person = {"name": f"{_MARKER} said, with a (quote)"}
                answer = await self._client.patch(f"/v1/{path}", json={"requester": person})
                assert answer.is_success, answer.text


@pytest.fixture(scope="module")
async def service(new_service: Callable[..., Awaitable[Service]]) -> Service:
    return await new_service(webhook_allow=ALLOWED)


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    """It answers with what a person may have said."""
    async with receiving() as receiver:
        said = f"{_MARKER} said"
        headers = {"X-Said": said, "Retry-After": said, "Content-Type": f"text/{said}"}
        receiver.answer(status=200, body=said.encode(), headers=headers)
        yield receiver


@pytest.fixture(scope="module")
async def customers(world: World, receiver: Receiver) -> list[str]:
    """The customers for whom every operation was done, with the marker in every text."""
    found, failed = [], []
    await made(await world.client.post("/v1/webhooks", json={"url": receiver.url()}))
    for operation in _OPERATIONS.values():
        assert operation.body is not None
        story = Story(world, await world.somebody())
        await story.prepare(operation.name)
        names = story.names | plain(world.today)
        request = whole(operation, names)
        body = _filled(operation, ("body",), operation.body, request.body) | story.own
        request.body = {name: value for name, value in body.items() if value is not None}
        answer = await request.send(world.client)
        if not answer.is_success:
            failed.append(f"{operation.name}: {request.body} {answer.text}")
        found += [story.names["customer"], story.names["twin"]]
    assert not failed, "\n".join(failed)
    await publish_all(world.service)
    return found


async def _feed(client: httpx.AsyncClient, **query: str) -> list[str]:
    """All events from the oldest on, each as it is sent."""
    found: list[str] = []
    while True:
        answer = await client.get("/v1/events", params={"limit": "200", **query})
        page = await made(answer, 200)
        if _FOUND.search(answer.text):
            found.append(answer.text)
        found += [str(event) for event in page["items"]]
        if not page["has_more"]:
            return found
        query["after"] = page["next_cursor"]


async def test_the_marker_is_in_no_event(world: World, customers: list[str]) -> None:
    said = await world.service.server.run_in(
        world.service.database_name,
        "SELECT count(DISTINCT type) FROM events WHERE data::text ILIKE $1",
        f"%{_MARKER}%",
    )
    assert said[0][0] >= 20, "the events do not have the marker: this proves nothing"
    for scopes in (SCOPES, {"events:read"}):
        client = await world.client_of(*scopes)
        told = await _feed(client)
        assert len(told) > 400
        assert [one for one in told if _FOUND.search(one)] == []
    async with watched(world.service):
        first = await made(await client.get("/v1/events", params={"limit": "1"}), 200)
        begin = {"Last-Event-ID": first["next_cursor"]}
        streamed = await listened(world.service, client, len(told) - 1, begin)
    assert [one for one in streamed if _FOUND.search(str(one))] == []


async def test_the_marker_is_in_no_event_of_a_bound_token(
    world: World, customers: list[str]
) -> None:
    many = 0
    for customer in dict.fromkeys(customers):
        token = await world.service.token(*BOUND_SCOPES, customer_id=customer)
        async with world.service.client(token) as bound:
            told = await _feed(bound)
        assert [one for one in told if _FOUND.search(one)] == []
        many += len(told)
    assert many > 300


async def test_the_marker_is_in_no_delivery(
    world: World,
    customers: list[str],
    receiver: Receiver,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = world.service
    # The others have URLs that nobody may call.
    await service.server.run_in(
        service.database_name,
        "UPDATE webhook_endpoints SET paused = (url <> $1)",
        receiver.url(),
    )
    while await hand_over(service.database):
        pass
    worker = service.app.state.jobs.deliveries
    async with asyncio.timeout(120):
        while await worker.step(service.database):
            await worker.ended()
    await worker.end(service.database)
    assert len(receiver.calls) > 400
    for call in receiver.calls:
        assert not _FOUND.search(f"{call.headers} {call.body.decode()}")
    captured = capsys.readouterr()
    assert not _FOUND.search(captured.out + captured.err)
    for table in ("events", "deliveries", "attempts", "lanes", "recoveries"):
        rows = await service.server.run_in(
            service.database_name, f"SELECT t::text AS row FROM webhook_{table} t"
        )
        assert rows or table == "lanes"
        assert [row["row"] for row in rows if _FOUND.search(row["row"])] == []


def test_the_texts_are_those_of_the_document() -> None:
    """A sample, so that a fault in the search for them shows."""
    assert {"open_case", "comment_case", "close_case", "record_time", "put_customer"} <= set(
        _OPERATIONS
    )
    case = _OPERATIONS["open_case"]
    assert case.body is not None
    filled = _filled(case, ("body",), case.body, {})
    assert filled.keys() >= {"subject", "description", "requester", "example_url"}
    assert filled["requester"].keys() == {"name", "email", "phone"}
