"""Webhooks: made, changed, listed and deleted; their secrets."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from app import clock
from app.ids import new_id
from app.services import webhooks
from app.services.feed_events import FeedType
from app.services.tokens import SCOPES
from tests.api.build import Customer, errors, made, refused
from tests.conftest import Service

URL = "https://hooks.example.com/assistenza"


@pytest.fixture(autouse=True)
async def none_left(client: httpx.AsyncClient) -> AsyncIterator[None]:
    yield
    for one in (await made(await client.get("/v1/webhooks?limit=200"), 200))["items"]:
        assert (await client.delete(f"/v1/webhooks/{one['id']}")).status_code == 204


async def webhook(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    return await made(await client.post("/v1/webhooks", json={"url": URL, **body}))


async def test_a_webhook_is_made_and_its_secret_shown_once(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/webhooks", json={"url": URL})
    one = await made(answer)
    key = one.pop("secret")
    Webhook(key)
    assert key.startswith("whsec_")
    assert len(key) == len("whsec_") + 44
    assert answer.headers["location"] == f"/v1/webhooks/{one['id']}"
    assert (one["state"], one["types"], one["customer_id"]) == ("active", None, None)
    read = await client.get(answer.headers["location"])
    assert await made(read, 200) == one
    assert await made(await client.get("/v1/webhooks"), 200) == {
        "items": [one],
        "next_cursor": None,
    }
    patched = await made(await client.patch(f"/v1/webhooks/{one['id']}", json={}), 200)
    assert patched == one


async def test_a_webhook_with_everything(client: httpx.AsyncClient, customer: Customer) -> None:
    given = {
        "types": ["contract.signed", "entitlements.changed"],
        "customer_id": customer.code,
        "description": "The CRM",
        "headers": {"Authorization": "Bearer s3cret-of-theirs", "X-Tenant": "7"},
    }
    answer = await client.post("/v1/webhooks", json={"url": URL, **given})
    one = await made(answer)
    assert one["customer_id"] == customer.id
    assert one["types"] == given["types"]
    assert one["header_names"] == ["Authorization", "X-Tenant"]
    assert "s3cret" not in answer.text
    path = f"/v1/webhooks/{one['id']}"
    assert "s3cret" not in (await client.get(path)).text
    changed = {
        "types": None,
        "description": None,
        "headers": {"X-Other": "8"},
        "paused": True,
        "url": URL + "/2",
    }
    after = await made(await client.patch(path, json=changed), 200)
    assert (after["types"], after["description"], after["header_names"]) == (
        None,
        None,
        ["X-Other"],
    )
    assert (after["state"], after["paused"], after["url"]) == ("paused", True, URL + "/2")
    after = await made(await client.patch(path, json={"paused": False, "headers": None}), 200)
    assert (after["state"], after["header_names"]) == ("active", [])


_NO_URLS = ("ftp://hooks.example.com/", "https://", "https:///x", "https://?x", "https://a/ b")


@pytest.mark.parametrize("url", _NO_URLS)
async def test_the_schema_says_what_a_url_is(client: httpx.AsyncClient, url: str) -> None:
    document = (await client.get("/openapi.json")).json()
    properties = document["components"]["schemas"]["NewWebhook"]["properties"]
    assert not re.search(properties["url"]["pattern"], url)
    assert re.search(properties["url"]["pattern"], "HTTPS://hooks.example.com:8443/a?b#c")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"url": "http://hooks.example.com/"}, ("/url", "not_public")),
        ({"url": "https://127.0.0.1/"}, ("/url", "not_public")),
        ({"url": "https://2130706433/"}, ("/url", "not_public")),
        ({"url": "https://[::ffff:169.254.169.254]/"}, ("/url", "not_public")),
        ({"url": "https://user:pass@hooks.example.com/"}, ("/url", "not_public")),
        *(({"url": url}, ("/url", "bad_format")) for url in (*_NO_URLS, "https://a:99999/")),
        ({"url": "https://" + "x" * 2_000}, ("/url", "too_long")),
        ({"types": []}, ("/types", "too_few")),
        ({"types": ["contract.vanished"]}, ("/types/0", "not_allowed_value")),
        ({"headers": {"Host": "a"}}, ("/headers", "invalid")),
        ({"headers": {"webhook-ID": "a"}}, ("/headers", "invalid")),
        ({"headers": {"Transfer-Encoding": "chunked"}}, ("/headers", "invalid")),
        ({"headers": {"X-A": "a", "x-a": "b"}}, ("/headers", "duplicate")),
        ({"headers": {f"X-{n}": "a" for n in range(11)}}, ("/headers", "too_many")),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, ("/headers/X-A", "bad_format")),
        ({"headers": {"X-A": "x" * 1_001}}, ("/headers/X-A", "too_long")),
        ({"headers": {"X A": "a"}}, None),
        ({"secret": "whsec_mine"}, ("/secret", "unknown_field")),
    ],
)
async def test_what_cannot_be_called_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    answer = await client.post("/v1/webhooks", json={"url": URL, **body})
    assert expected is None or errors(answer) == [expected]
    assert answer.status_code == 422
    one = await webhook(client)
    path = f"/v1/webhooks/{one['id']}"
    assert (await client.patch(path, json=body)).status_code == 422


async def test_an_unknown_customer_is_refused(client: httpx.AsyncClient) -> None:
    for key in ("C-NOBODY", str(new_id())):
        answer = await client.post("/v1/webhooks", json={"url": URL, "customer_id": key})
        refused(answer, "customer_not_found", 404)


async def test_changes_honour_if_match(client: httpx.AsyncClient) -> None:
    one = await webhook(client)
    path = f"/v1/webhooks/{one['id']}"
    etag = (await client.get(path)).headers["etag"]
    await made(await client.patch(path, json={"paused": True}, headers={"If-Match": etag}), 200)
    for answer in (
        await client.patch(path, json={"paused": False}, headers={"If-Match": etag}),
        await client.delete(path, headers={"If-Match": etag}),
    ):
        refused(answer, "precondition_failed", 412)


async def test_a_deleted_webhook_is_gone_with_its_secret(
    client: httpx.AsyncClient, service: Service
) -> None:
    one = await webhook(client, headers={"Authorization": "Bearer theirs"})
    path = f"/v1/webhooks/{one['id']}"
    assert (await client.delete(path)).status_code == 204
    for method, rest in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/deliveries"),
        ("GET", f"/deliveries/{new_id()}"),
        ("GET", f"/recoveries/{new_id()}"),
    ):
        refused(await client.request(method, path + rest), "not_found", 404)
    for rest, body in (
        ("/secret-rotation", {}),
        ("/test", {"type": "contract.signed"}),
        (f"/deliveries/{new_id()}/retry", None),
        ("/recovery", {"since": clock.now().isoformat(), "only_failed": True}),
    ):
        refused(await client.post(path + rest, json=body), "not_found", 404)
    refused(await client.patch(path, json={}), "not_found", 404)
    assert one["id"] not in (await client.get("/v1/webhooks")).text
    (row,) = await service.server.run_in(
        service.database_name,
        "SELECT secret, headers FROM webhook_endpoints WHERE id = $1",
        one["id"],
    )
    assert (row["secret"], row["headers"]) == ("", "{}")


async def test_there_may_be_so_many(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MOST_ENDPOINTS", 2)
    first = await webhook(client)
    await webhook(client)
    assert errors(await client.post("/v1/webhooks", json={"url": URL})) == [("", "too_many")]
    await client.delete(f"/v1/webhooks/{first['id']}")
    await webhook(client)


async def test_a_secret_is_not_shown_to_who_repeats(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": str(new_id())}
    one = await made(await client.post("/v1/webhooks", json={"url": URL}, headers=key))
    refused(
        await client.post("/v1/webhooks", json={"url": URL}, headers=key), "secret_already_issued"
    )
    path, key = f"/v1/webhooks/{one['id']}/secret-rotation", {"Idempotency-Key": str(new_id())}
    rotated = await made(await client.post(path, json={}, headers=key), 200)
    assert rotated["secret"] != one["secret"]
    assert rotated["old_secret_valid_until"] is not None
    refused(await client.post(path, json={}, headers=key), "secret_already_issued")


async def test_how_long_an_old_secret_is_valid(
    client: httpx.AsyncClient, travel: Callable[[date], None], today: date
) -> None:
    one = await webhook(client)
    path = f"/v1/webhooks/{one['id']}"
    for seconds, status in ((604_801, 422), (-1, 422), (0, 200), (604_800, 200)):
        body = {"old_valid_for_seconds": seconds}
        answer = await client.post(f"{path}/secret-rotation", json=body)
        assert answer.status_code == status
        if status == 200:
            assert (answer.json()["old_secret_valid_until"] is None) == (seconds == 0)
    travel(today + timedelta(days=9))
    assert (await made(await client.get(path), 200))["old_secret_valid_until"] is None


async def test_every_change_is_recorded_without_a_url_or_a_text(
    client: httpx.AsyncClient, service: Service
) -> None:
    one = await webhook(client, description="Of Mario Rossi", url=URL + "/mario")
    path = f"/v1/webhooks/{one['id']}"
    await client.patch(path, json={"paused": True, "url": URL})
    await client.post(f"{path}/secret-rotation", json={})
    await client.delete(path)
    rows = await service.server.run_in(
        service.database_name,
        "SELECT data::text, actor FROM events WHERE subject_id = $1 ORDER BY id",
        one["id"],
    )
    assert [row["data"] for row in rows] == [
        '{"change": "created", "fields": []}',
        '{"change": "changed", "fields": ["paused", "url"]}',
        '{"change": "rotated", "fields": []}',
        '{"change": "deleted", "fields": []}',
    ]
    assert all(row["actor"].startswith("test-") for row in rows)


async def test_a_test_event_of_every_type_is_the_document_s_example(
    client: httpx.AsyncClient, service: Service
) -> None:
    one = await webhook(client)
    path = f"/v1/webhooks/{one['id']}"
    for type_ in FeedType:
        answer = await client.post(f"{path}/test", json={"type": type_})
        sent = await made(answer)
        assert sent["event_id"].startswith("test-")
        assert (sent["event_type"], sent["test"], sent["state"]) == (type_, True, "waiting")
        assert await made(await client.get(answer.headers["location"]), 200) == sent
    rows = await service.server.run_in(
        service.database_name, "SELECT body FROM webhook_events WHERE id LIKE 'test-%'"
    )
    assert len(rows) == len(FeedType)
    assert max(len(row["body"]) for row in rows) < webhooks.MOST_BODY


@pytest.mark.parametrize("days", [-31, 1])
async def test_a_recovery_begins_within_what_is_kept(client: httpx.AsyncClient, days: int) -> None:
    one = await webhook(client)
    body = {"since": (clock.now() + timedelta(days=days)).isoformat(), "only_failed": False}
    answer = await client.post(f"/v1/webhooks/{one['id']}/recovery", json=body)
    assert errors(answer) == [("/since", "in_future" if days > 0 else "out_of_range")]


async def test_nobody_bound_manages_webhooks(service: Service) -> None:
    async with await service.client_with(*(SCOPES - {"webhooks:manage"})) as other:
        refused(await other.get("/v1/webhooks"), "insufficient_scope", 403)


@pytest.fixture
async def private(
    new_service: Callable[..., Awaitable[Service]],
) -> AsyncIterator[httpx.AsyncClient]:
    service = await new_service(webhook_allow=("10.0.0.0/8", "intranet"))
    async with await service.client_with(*SCOPES) as client:
        yield client


async def test_what_the_operator_allows_may_be_called(private: httpx.AsyncClient) -> None:
    for url in ("http://intranet:8080/x", "http://10.1.2.3/", "https://10.1.2.3/"):
        await webhook(private, url=url)
    for url in ("http://other/", "https://192.168.1.1/"):
        answer = await private.post("/v1/webhooks", json={"url": url})
        assert errors(answer) == [("/url", "not_public")]
