"""What an integrator expects of any interface, and would otherwise stumble over."""

import base64
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from app.settings import Settings
from tests.api.build import Customer, errors, made, refused, unique
from tests.conftest import Service
from tests.matrix.document import Operation, operations
from tests.matrix.requests import build
from tests.matrix.world import plain, somebody

# --- codes where ids are asked --------------------------------------------------------------


async def test_a_code_stands_where_a_customer_s_id_is_asked(
    client: httpx.AsyncClient, customer: Customer
) -> None:
    for key in (customer.code, customer.code.swapcase()):
        fields = {
            "customer_id": key,
            "kind": "editor",
            "product": "Editor",
            "version": "11",
            "purchased_on": str(customer.today - timedelta(days=30)),
        }
        serial = unique("S")
        registered = await made(
            await client.post("/v1/licences", json={**fields, "serial_number": serial})
        )
        put = await client.put(f"/v1/licences/by-serial/{serial}", json=fields)
        contract = {"customer_id": key, "starts_on": str(customer.today)}
        signed = await made(await client.post("/v1/contracts", json=contract))
        pack = {"customer_id": key, "quantity": 1, "purchased_on": str(customer.today)}
        bought = await made(await client.post("/v1/ticket-packs", json=pack))
        customer.serials = [serial]
        opened = await made(await customer.try_open(customer_id=key))
        for one in (registered, put.json(), signed, bought, opened):
            assert one["customer_id"] == customer.id
        for path in ("licences", "contracts", "ticket-packs", "cases"):
            by_code = await client.get(f"/v1/{path}", params={"customer_id": key})
            by_id = await client.get(f"/v1/{path}", params={"customer_id": customer.id})
            assert by_code.json() == by_id.json()
            assert by_code.json()["items"]
        asked = await client.get("/v1/entitlements", params={"customer_id": key})
        assert asked.json()["customer"]["id"] == customer.id
        batch = {"lookups": [{"customer_id": key}]}
        (result,) = (await client.post("/v1/entitlements/batch", json=batch)).json()["results"]
        assert result["entitlements"]["customer"]["id"] == customer.id


async def test_an_unknown_code_is_an_unknown_id(client: httpx.AsyncClient, today: date) -> None:
    pack = {"customer_id": unique("C"), "quantity": 1, "purchased_on": str(today)}
    refused(await client.post("/v1/ticket-packs", json=pack), "customer_not_found", 404)
    found = await client.get("/v1/cases", params={"customer_id": unique("C"), "queue": "true"})
    assert found.json()["items"] == []
    asked = await client.get("/v1/entitlements", params={"customer_id": unique("C")})
    refused(asked, "customer_not_found", 404)


# --- what was read can be sent back ---------------------------------------------------------


async def test_a_customer_that_was_read_can_be_sent_back(
    client: httpx.AsyncClient, today: date
) -> None:
    customer = await Customer.new(
        client, today, contacts=[{"name": "A", "phones": ["+39059454224"]}]
    )
    url = f"/v1/customers/by-code/{customer.code}"
    read = await client.get(f"/v1/customers/{customer.code}")
    same = await client.put(url, json=read.json(), headers={"If-Match": read.headers["ETag"]})
    assert (same.status_code, same.content) == (200, read.content)
    assert same.headers["ETag"] == read.headers["ETag"]
    changed = await made(await client.put(url, json={**read.json(), "name": "Renamed"}), 200)
    assert changed["name"] == "Renamed"
    other = await Customer.new(client, today)
    for name, value in (
        ("id", other.id),
        ("code", other.code),
        ("code", customer.code.swapcase()),
        ("created_at", "2026-01-01T00:00:00Z"),
        ("updated_at", read.json()["updated_at"]),
    ):
        answer = await client.put(url, json={**changed, name: value})
        assert errors(answer) == [(f"/{name}", "read_only")], name
    stale = await client.put(url, json=read.json(), headers={"If-Match": read.headers["ETag"]})
    refused(stale, "precondition_failed", 412)
    code = unique("C")
    fields = {"name": "New", "country": "IT"}
    for name in ("id", "created_at"):
        answer = await client.put(
            f"/v1/customers/by-code/{code}", json={**fields, name: changed[name]}
        )
        assert errors(answer) == [(f"/{name}", "read_only")]
    await made(await client.put(f"/v1/customers/by-code/{code}", json={**fields, "code": code}))


async def test_a_licence_that_was_read_can_be_sent_back(
    client: httpx.AsyncClient, holder: Customer
) -> None:
    serial = holder.serials[0]
    url = f"/v1/licences/by-serial/{serial}"
    await holder.post(f"licences/{serial}/upgrades", 201, version="12", paid_by="purchase")
    for _ in range(2):
        read = await client.get(f"/v1/licences/{serial}")
        same = await client.put(url, json=read.json())
        assert (same.status_code, same.content) == (200, read.content)
        licence = read.json()
        upgrade = {**licence["upgrades"][0], "version": "13"}
        for name, value in (
            ("id", holder.id),
            ("serial_number", unique("S")),
            ("withdrawn_on", "2026-01-01"),
            ("withdrawal_reason", "Lost."),
            ("upgrades", []),
            ("upgrades", [upgrade]),
        ):
            assert errors(await client.put(url, json={**licence, name: value})) == [
                (f"/{name}", "read_only")
            ], name
        if licence["withdrawn_on"] is None:
            await holder.withdraw(licence, holder.today)


async def test_a_new_licence_as_it_will_be(client: httpx.AsyncClient, customer: Customer) -> None:
    fields = {"customer_id": customer.id, "kind": "other", "product": "X", "version": "1"}
    fields["purchased_on"] = str(customer.today)
    for wrong in (
        {"upgrades": [{"version": "2", "upgraded_on": str(customer.today), "paid_by": "purchase"}]},
        {"withdrawn_on": str(customer.today)},
        {"serial_number": unique("S")},
    ):
        answer = await client.put(f"/v1/licences/by-serial/{unique('S')}", json={**fields, **wrong})
        assert errors(answer) == [(f"/{next(iter(wrong))}", "read_only")]
    serial = unique("S")
    nothing: dict[str, Any] = {"withdrawn_on": None, "withdrawal_reason": None, "upgrades": []}
    sent = {**fields, **nothing, "serial_number": serial}
    made_ = await made(await client.put(f"/v1/licences/by-serial/{serial}", json=sent))
    held = {"held_from": str(customer.today), "transferred_on": None}
    assert made_ == {**sent, **held, "id": made_["id"]}


# --- formats --------------------------------------------------------------------------------


async def test_csv_is_asked_by_a_parameter_too(client: httpx.AsyncClient, holder: Customer) -> None:
    url = f"/v1/customers/{holder.code}/statement"
    period = {"from": str(holder.today - timedelta(days=30)), "to": str(holder.today)}
    by_header = await client.get(url, params=period, headers={"Accept": "text/csv"})
    for accept in ("*/*", "application/json", "text/html"):
        linked = await client.get(
            url, params={**period, "format": "csv"}, headers={"Accept": accept}
        )
        assert (linked.status_code, linked.content) == (200, by_header.content)
        assert linked.headers["Content-Type"] == by_header.headers["Content-Type"]
    as_json = await client.get(
        url, params={**period, "format": "json"}, headers={"Accept": "text/csv"}
    )
    assert "groups" in as_json.json()
    assert errors(await client.get(url, params={**period, "format": "pdf"})) == [
        ("query/format", "not_allowed_value")
    ]


_JSON_ONLY = [
    one
    for one in operations()
    if not one.is_open
    and {*one.spec["responses"].get("200", one.spec["responses"].get("201", {})).get("content", {})}
    == {"application/json"}
]


@pytest.mark.parametrize("operation", _JSON_ONLY, ids=lambda one: one.name)
async def test_a_format_that_is_not_offered_is_refused(
    client: httpx.AsyncClient, today: date, operation: Operation
) -> None:
    assert len(_JSON_ONLY) > 30
    holdings = await somebody(client, today)
    request = build(operation, holdings.by_id | plain(today))
    problem = refused(await request.send(client, Accept="text/csv"), "not_acceptable", 406)
    assert "application/json" in problem["detail"]
    assert (await request.send(client, Accept="text/csv, */*;q=0.1")).status_code != 406


async def test_who_may_not_ask_learns_nothing_of_formats(service: Service) -> None:
    nobody, other = service.client(None), await service.client_with("usage:read")
    csv = {"Accept": "text/csv"}
    for path in ("customers", "entitlements?customer_code=x"):
        refused(await nobody.get(f"/v1/{path}", headers=csv), "unauthorized", 401)
        refused(await other.get(f"/v1/{path}", headers=csv), "insufficient_scope", 403)


# --- the root, and HEAD ---------------------------------------------------------------------


async def test_the_root_leads_on(service: Service) -> None:
    client = service.client(None)
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    places = {
        browser: ("welcome", 200),
        "*/*": ("openapi.json", 200),
        "text/csv": ("openapi.json", 200),
    }
    for accept, (place, status) in places.items():
        for method in ("GET", "HEAD"):
            answer = await client.request(method, "/", headers={"Accept": accept})
            assert (answer.status_code, answer.headers["Location"]) == (307, place)
            assert answer.headers["Vary"] == "Accept"
        there = await client.get("/", headers={"Accept": accept}, follow_redirects=True)
        # The page says how to sign in.
        assert there.status_code == status
        assert there.headers["Content-Type"].startswith("text/html") == (place == "welcome")


_READ = [one for one in operations() if one.method == "GET"]


@pytest.mark.parametrize("operation", _READ, ids=lambda one: one.name)
async def test_head_is_get_without_the_body(
    client: httpx.AsyncClient, today: date, operation: Operation
) -> None:
    holdings = await somebody(client, today)
    names = {"code": "not_found"} if operation.is_open else holdings.by_id
    request = build(operation, names | plain(today))
    got = await request.send(client)
    assert got.is_success, got.text
    request.method = "HEAD"
    head = await request.send(client)
    assert (head.status_code, head.content) == (got.status_code, b"")

    def shown(answer: httpx.Response) -> dict[str, str]:
        # The answers of these two differ from one call to the next.
        moving = {"x-request-id"} | ({"content-length"} if operation.name == "metrics" else set())
        return {name: value for name, value in answer.headers.items() if name not in moving}

    assert shown(head) == shown(got)
    if "etag" in got.headers:
        unchanged = await request.send(client, **{"If-None-Match": got.headers["etag"]})
        assert unchanged.status_code == 304
    wrong = await client.request("BREW", request.template.format_map(request.path))
    assert {"GET", "HEAD"} <= set(wrong.headers["allow"].split(", "))


async def test_head_is_refused_as_get_is(service: Service) -> None:
    assert (await service.client(None).head("/v1/customers")).status_code == 401
    other = await service.client_with("usage:read")
    assert (await other.head("/v1/customers")).status_code == 403
    assert (await other.head("/v1/nothing")).status_code == 404
    assert (await other.head("/v1/customers/by-code/x")).status_code == 405


# --- other origins --------------------------------------------------------------------------

DESK = "https://desk.example"


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,if-match,idempotency-key,content-type",
    }


async def test_no_origin_is_allowed_by_default(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/customers", headers={"Origin": DESK})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert (await client.options("/v1/customers", headers=preflight(DESK))).status_code == 405


async def test_listed_origins_may_call(
    new_service: Callable[..., Awaitable[Service]],
) -> None:
    service = await new_service(cors_origins=f"{DESK}, http://localhost:5173")
    nobody = service.client(None)
    for origin in (DESK, "http://localhost:5173"):
        allowed = await nobody.options("/v1/customers/C-1", headers=preflight(origin))
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == origin
        assert "PATCH" in allowed.headers["Access-Control-Allow-Methods"]
        assert "Origin" in allowed.headers["Vary"]
        assert allowed.headers["X-Request-Id"]
    refused_ = await nobody.options("/v1/customers", headers=preflight("https://evil.example"))
    assert "Access-Control-Allow-Origin" not in refused_.headers
    client = await service.client_with("customers:read")
    large = b"x" * 2_000_000
    for answer in (
        await client.get("/v1/customers", headers={"Origin": DESK}),
        await nobody.get("/v1/customers", headers={"Origin": DESK}),
        await client.post("/v1/customers", content=large, headers={"Origin": DESK}),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == DESK
        assert "Origin" in answer.headers["Vary"]
        exposed = answer.headers["Access-Control-Expose-Headers"]
        for name in ("ETag", "Location", "Retry-After", "X-Request-Id", "Idempotent-Replayed"):
            assert name in exposed
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert len(answer.headers.get_list("X-Request-Id")) == 1
    other = await client.get("/v1/customers", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize(
    "origins", ["*", "null", "desk.example", "https://desk.example/", "https://a b", "ftp://x"]
)
def test_what_is_no_origin_is_refused(origins: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings.model_validate({"cors_origins": origins})


# --- the token ------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [False, True])
async def test_basic_is_taken_where_bearer_is(
    service: Service, customer: Customer, bound: bool
) -> None:
    owner = customer.id if bound else None
    token = await service.token("customers:read", "entitlements:read", customer_id=owner)

    async def ask(path: str, credentials: str, scheme: str = "Basic") -> httpx.Response:
        sent = base64.b64encode(credentials.encode()).decode()
        return await service.client(None, Authorization=f"{scheme} {sent}").get(path)

    for path in (f"/v1/customers/{customer.code}", f"/v1/entitlements?customer_id={customer.id}"):
        for user in ("", "phone", "üser"):
            for scheme in ("Basic", "basic"):
                assert (await ask(path, f"{user}:{token}", scheme)).status_code == 200
        wrong = [f"{token}:", "phone:", token, f"x:{token}x"]
        answers: list[Any] = [await ask(path, credentials) for credentials in wrong]
        answers.append(await service.client(None, Authorization="Basic %%%").get(path))
        latin = {b"Authorization": "Basic é".encode("latin-1")}
        answers.append(await service.client(None).get(path, headers=latin))
        for answer in answers:
            refused(answer, "unauthorized", 401)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert "Basic" not in answer.headers["WWW-Authenticate"]
