"""Redaction: a text that should not have been written disappears everywhere (R43)."""

from datetime import date
from typing import Any

import asyncpg
import httpx
import pytest

from app.services.tokens import BOUND_SCOPES
from tests.api.build import Customer, made, refused, unique
from tests.conftest import Service

REASON = {"reason": "Meant for another customer."}


async def found_in_database(service: Service, marker: str) -> list[str]:
    """The columns of all tables, of every type, that contain a text."""
    columns = await service.server.run_in(
        service.database_name,
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name IN"
        " (SELECT tablename FROM pg_tables WHERE schemaname = 'public')",
    )
    found = []
    for table, column in columns:
        # Bytes as text too: a stored answer is kept as bytes.
        shown = (
            f"CASE WHEN pg_typeof({column})::text = 'bytea'"
            f" THEN encode({column}::text::bytea, 'escape') ELSE {column}::text END"
        )
        rows = await service.server.run_in(
            service.database_name,
            f"SELECT 1 FROM {table} WHERE position($1 in {shown}) > 0"
            f" OR position(encode($1::text::bytea, 'hex') in {column}::text) > 0 LIMIT 1",
            marker,
        )
        if rows:
            found.append(f"{table}.{column}")
    return found


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    customer = await Customer.new(client, today)
    await customer.licence()
    return customer


async def test_a_comment_disappears(
    customer: Customer, client: httpx.AsyncClient, service: Service
) -> None:
    case, marker = await customer.open(), unique("MARKER")
    url = f"/v1/cases/{case['id']}/comments"
    key = {"Idempotency-Key": unique("K")}
    sent = {"body": f'Their secret is {marker} \\ "quoted" é.'}
    comment = await made(await client.post(url, json=sent, headers=key))
    other = await made(await client.post(url, json={"body": "Another comment."}))
    comment_id = comment["data"]["comment_id"]
    assert await found_in_database(service, marker) == ["events.data", "idempotency_keys.body"]

    redaction = await made(await client.post(f"{url}/{comment_id}/redaction", json=REASON), 200)
    assert redaction["type"] == "case.redacted"
    assert redaction["data"]["reason"] == REASON["reason"]
    assert redaction["data"]["comment_id"] == comment_id
    assert await found_in_database(service, marker) == []

    timeline = await customer.timeline(case)
    shown = {one["data"].get("comment_id"): one for one in timeline[1:3]}
    assert shown[comment_id] == comment | {"data": comment["data"] | {"body": None}}
    assert shown[other["data"]["comment_id"]] == other
    assert timeline[-1] == redaction
    # The repeated request still does nothing, and no longer shows the text.
    again = await client.post(url, json=sent, headers=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["data"]["body"] is None
    refused(await client.post(f"{url}/{comment_id}/redaction", json=REASON), "nothing_to_redact")


async def test_a_note_disappears_and_the_minutes_stay(
    customer: Customer, client: httpx.AsyncClient, service: Service
) -> None:
    case, marker = await customer.open(), unique("MARKER")
    url = f"/v1/cases/{case['id']}/time-entries"
    body = {"technician": "Help desk", "minutes": 25, "note": f"Called {marker}"}
    headers = {"Idempotency-Key": unique("K")}
    entry = await made(await client.post(url, json=body, headers=headers))
    before = await customer.minutes(case)
    redacted = await made(await client.post(f"{url}/{entry['id']}/redaction", json=REASON), 200)
    assert redacted == entry | {"note": None}
    assert await customer.entry(entry) == redacted
    assert await customer.minutes(case) == before
    assert await found_in_database(service, marker) == []
    again = await client.post(url, json=body, headers=headers)
    assert again.json() == redacted
    last = (await customer.timeline(case))[-1]
    assert (last["type"], last["data"]["time_entry_id"]) == ("case.redacted", entry["id"])
    refused(await client.post(f"{url}/{entry['id']}/redaction", json=REASON), "nothing_to_redact")
    # Reversal works as before.
    reversed_ = await customer.reverse(entry)
    assert (reversed_["note"], reversed_["charges"]) == (None, [])


async def test_what_is_not_there_is_not_found(
    customer: Customer, client: httpx.AsyncClient
) -> None:
    case, other = await customer.open(), await customer.open()
    comment = await customer.step(case, "comments", 201, body="Here.")
    entry = await customer.work(case, 5, note="Here.")
    elsewhere = f"/v1/cases/{other['id']}"
    for path in (
        f"comments/{comment['data']['comment_id']}",
        f"time-entries/{entry['id']}",
        f"comments/{entry['id']}",
    ):
        refused(await client.post(f"{elsewhere}/{path}/redaction", json=REASON), "not_found", 404)


async def test_the_customer_does_not_see_that_an_internal_text_was_redacted(
    customer: Customer, client: httpx.AsyncClient, service: Service
) -> None:
    case = await customer.open()
    comment = await customer.step(case, "comments", 201, body="Ours.", internal=True)
    public = await customer.step(case, "comments", 201, body="Yours.")
    for one in (comment, public):
        path = f"cases/{case['id']}/comments/{one['data']['comment_id']}/redaction"
        await customer.post(path, reason=REASON["reason"])
    async with await service.client_with(*BOUND_SCOPES, customer_id=customer.id) as bound:
        items: list[dict[str, Any]] = (await bound.get(f"/v1/cases/{case['id']}/timeline")).json()[
            "items"
        ]
    assert [one["type"] for one in items] == ["case.opened", "case.commented", "case.redacted"]
    assert items[-1]["data"]["comment_id"] == public["data"]["comment_id"]


async def test_a_comment_of_an_earlier_release_has_an_id_too(
    customer: Customer, client: httpx.AsyncClient, service: Service
) -> None:
    case, marker = await customer.open(), unique("MARKER")
    await service.server.run_in(
        service.database_name,
        "INSERT INTO events (customer_id, case_id, subject_id, type, occurred_at, actor, data)"
        " VALUES ($1, $2, $2, 'case.commented', now(), 'staff', jsonb_build_object("
        "'number', $3::text, 'body', $4::text, 'internal', false))",
        customer.id,
        case["id"],
        case["number"],
        marker,
    )
    comment = (await customer.timeline(case))[-1]
    path = f"cases/{case['id']}/comments/{comment['data']['comment_id']}/redaction"
    await customer.post(path, reason=REASON["reason"])
    assert (await customer.timeline(case))[-2]["data"] == comment["data"] | {"body": None}
    assert await found_in_database(service, marker) == []


@pytest.mark.parametrize(
    "change",
    [
        "data = data || '{\"body\": null}'",
        "actor = 'somebody'",
        "occurred_at = now()",
        "case_id = NULL",
    ],
)
async def test_events_change_in_no_other_way(
    customer: Customer, service: Service, change: str
) -> None:
    """Not even by the owner of the schema."""
    case = await customer.open()
    await customer.step(case, "comments", 201, body="Kept.")
    command = f"UPDATE events SET {change} WHERE type = 'case.commented'"
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await service.server.run_in(service.database_name, command)
    url = service.server.url(service.database_name, service.server.login)
    connection = await asyncpg.connect(url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(command)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("changed", "allowed"),
    [
        ('{"number": "N", "body": null, "internal": false}', True),
        ('{"number": "N", "body": "Asked by erased-7", "internal": false}', True),
        ('{"number": "N", "body": "Asked by nobody", "internal": false}', False),
        ('{"number": "M", "body": null, "internal": false}', False),
        ('{"number": "N", "body": null, "internal": true}', False),
        ('{"number": "N", "body": null}', False),
        ('{"number": "N", "body": null, "internal": false, "more": 1}', False),
        ('{"number": "N", "body": 1, "internal": false}', False),
        ("[]", False),
    ],
)
async def test_the_one_way_takes_words_out_and_changes_nothing_else(
    service: Service, changed: str, allowed: bool
) -> None:
    (row,) = await service.server.run_in(
        service.database_name,
        "INSERT INTO events (type, occurred_at, actor, data) VALUES ('case.commented', now(),"
        ' \'staff\', \'{"number": "N", "body": "Asked by Anna", "internal": false}\')'
        " RETURNING id",
    )
    url = service.server.url(service.database_name, service.server.login)
    connection = await asyncpg.connect(url)
    command = "SELECT take_words_out(ARRAY[$1::bigint], ARRAY[$2::jsonb])"
    try:
        if allowed:
            await connection.execute(command, row["id"], changed)
        else:
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                await connection.execute(command, row["id"], changed)
        await connection.execute("SET ROLE assistenza_bound")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(command, row["id"], changed)
    finally:
        await connection.close()
