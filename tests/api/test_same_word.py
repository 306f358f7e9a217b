"""One word has several spellings: of Unicode, of a domain, of a whole number, of a JSON body."""

import json
import unicodedata
from datetime import date
from typing import Any

import httpx
import pytest

from tests.api.build import Customer, errors, made, recorded, refused, unique
from tests.conftest import Service
from tests.matrix.document import Operation, operations, walk

NFC, NFD = "Müller Gebäudetechnik", unicodedata.normalize("NFD", "Müller Gebäudetechnik")


async def test_text_is_stored_and_found_in_nfc(
    client: httpx.AsyncClient, customer: Customer, today: date
) -> None:
    ref = unique("Ü")
    sent = {"name": NFD, "external_refs": {"crm": unicodedata.normalize("NFD", ref)}}
    muller = await Customer.new(client, today, **sent, contacts=[{"name": NFD}])
    stored = await muller.get(f"customers/{muller.code}")
    assert (stored["name"], stored["contacts"][0]["name"]) == (NFC, NFC)
    assert stored["external_refs"] == {"crm": ref}
    for spelling in (NFC, NFD):
        found = await client.get("/v1/customers", params={"q": spelling.split()[0]})
        assert [one["id"] for one in found.json()["items"]] == [muller.id]
        mine = await client.get(
            "/v1/entitlements",
            params={"external_ref": f"crm:{unicodedata.normalize('NFD', ref)}"},
        )
        assert mine.json()["customer"]["id"] == muller.id
    await muller.pack(1)
    case = await muller.open(subject=NFD)
    await muller.patch(case, technician=NFD)
    for spelling in (NFC, NFD):
        found = await client.get("/v1/cases", params={"technician": spelling})
        assert [one["id"] for one in found.json()["items"]] == [case["id"]]
    whole = {"name": NFC, "country": "IT", "external_refs": {"crm": ref}}
    url = f"/v1/customers/by-code/{muller.code}"
    first = await client.put(url, json={**whole, "contacts": [{"name": NFC}]})
    again = await client.put(url, json={**whole, "name": NFD, "contacts": [{"name": NFD}]})
    assert (again.json(), again.headers["ETag"]) == (first.json(), first.headers["ETag"])
    assert first.json()["contacts"] == stored["contacts"]


async def test_marks_without_end_are_refused(client: httpx.AsyncClient) -> None:
    """Sorting them would take seconds (UAX #15, Stream-Safe Text Format)."""
    body = {"code": unique("C"), "country": "IT", "name": "a" + "\u0301" * 15 + "\u0323" * 16}
    assert errors(await client.post("/v1/customers", json=body)) == [
        ("/name", "forbidden_characters")
    ]
    body["name"] = "a" + "\u0301" * 15 + "\u0323" * 15
    await made(await client.post("/v1/customers", json=body))


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("info@müller.example", "info@müller.example"),
        ("info@xn--mller-kva.example", "info@xn--mller-kva.example"),
        (unicodedata.normalize("NFD", "info@MÜLLER.example"), "info@müller.example"),
    ],
)
async def test_an_international_domain_is_found_in_either_form(
    client: httpx.AsyncClient, today: date, typed: str, kept: str
) -> None:
    local = unique("info").lower()
    typed, kept = typed.replace("info", local), kept.replace("info", local)
    customer = await Customer.new(client, today, contacts=[{"name": "A", "email": typed}])
    stored = await customer.get(f"customers/{customer.code}")
    assert stored["contacts"][0]["email"] == kept
    forms = (typed, f"{local}@müller.example", f"{local}@XN--mller-kva.example")
    for form in forms:
        found = await client.get("/v1/entitlements", params={"email": form})
        assert found.json()["customer"]["id"] == customer.id, form
    batch = {"lookups": [{"email": form} for form in forms]}
    results = (await client.post("/v1/entitlements/batch", json=batch)).json()["results"]
    assert {one["entitlements"]["customer"]["id"] for one in results} == {customer.id}
    # The other spelling names the same contact.
    whole = {"name": "X", "country": "IT", "contacts": [{"name": "Renamed", "email": forms[2]}]}
    replaced = await client.put(f"/v1/customers/by-code/{customer.code}", json=whole)
    assert replaced.json()["contacts"][0]["id"] == stored["contacts"][0]["id"]


@pytest.mark.parametrize("email", ["ü@example.com", "a@ü_.example", "a@-ü.example", "a@ü", "@ü.de"])
async def test_no_international_address(client: httpx.AsyncClient, email: str) -> None:
    body = {"code": unique("C"), "name": "X", "country": "IT", "contacts": [{"name": "A"}]}
    body["contacts"] = [{"name": "A", "email": email}]
    assert errors(await client.post("/v1/customers", json=body)) == [
        ("/contacts/0/email", "bad_format")
    ]


async def test_a_whole_number_may_be_written_with_a_zero_fraction(customer: Customer) -> None:
    await customer.pack(1)
    client, case = customer.client, await customer.open()
    url = f"/v1/cases/{case['id']}/time-entries"

    def body(minutes: str) -> dict[str, Any]:
        content = f'{{"technician": "A", "minutes": {minutes}}}'
        return {"content": content, "headers": {"Content-Type": "application/json"}}

    for minutes in ("15.0", "1.5e1", "15"):
        assert (await made(await client.post(url, **body(minutes))))["minutes"] == 15
    for minutes in ("15.5", '"15"', "true", "1e999", '"15.0"'):
        assert errors(await client.post(url, **body(minutes))) == [("/minutes", "wrong_type")]
    assert errors(await client.post(url, **body("1e300"))) == [("/minutes", "too_large")]
    page = await client.get("/v1/cases", params={"limit": "1.0"})
    assert len(page.json()["items"]) == 1
    assert errors(await client.get("/v1/cases", params={"limit": "1.5"})) == [
        ("query/limit", "wrong_type")
    ]


_WHOLE = [
    (operation, path)
    for operation in operations()
    if operation.body
    for path, field, _ in walk((), operation.body)
    if field.get("type") == "integer"
]


@pytest.mark.parametrize(
    ("operation", "path"),
    _WHOLE,
    ids=[f"{operation.name}-{path[-1]}" for operation, path in _WHOLE],
)
async def test_every_whole_number_of_a_body(
    client: httpx.AsyncClient, operation: Operation, path: tuple[str | int, ...]
) -> None:
    """The fault of a body that has nothing but this number is never the number's own."""
    value: Any = 1.0
    for step in reversed(path):
        value = [value] if isinstance(step, int) else {step: value}
    if path[0] == "assume":
        # The branch that has the number is chosen by its kind.
        kinds = {"included_minutes": "contract", "quantity": "ticket_pack", "minutes": "time"}
        value["assume"][0]["kind"] = kinds[str(path[-1])]
    address = operation.path.format_map(dict.fromkeys(operation.parameters("path"), "x"))
    answer = await client.request(operation.method, address, json=value)
    wrong = answer.json().get("errors", ())
    assert not [one for one in wrong if one["pointer"].endswith(f"/{path[-1]}")], answer.text


async def test_equal_json_is_the_same_request(
    client: httpx.AsyncClient, customer: Customer, service: Service
) -> None:
    key = {"Idempotency-Key": unique("key"), "Content-Type": "application/json"}
    body = {
        "customer_id": customer.id,
        "quantity": 2,
        "purchased_on": str(customer.today),
    }

    async def send(content: str) -> httpx.Response:
        return await client.post("/v1/ticket-packs", content=content, headers=key)

    first = await send(json.dumps(body))
    pack = await made(first)
    turned = json.dumps(dict(reversed(body.items())), indent=2)
    for same in (turned, json.dumps({**body, "quantity": 2.0})):
        again = await send(same)
        assert (again.status_code, again.json()) == (201, pack)
        assert again.headers["Idempotent-Replayed"] == "true"
    refused(await send(json.dumps({**body, "quantity": 3})), "idempotency_key_reused", 422)
    refused(await send("[" * 40_000), "idempotency_key_reused", 422)
    assert len(await recorded(service, customer.id, "tickets.%")) == 1


async def test_the_order_of_a_list_is_part_of_a_request(
    client: httpx.AsyncClient, today: date
) -> None:
    key = {"Idempotency-Key": unique("key")}
    body = {"code": unique("C"), "name": "X", "country": "IT"}
    contacts = [{"name": "A"}, {"name": "B"}]
    await made(await client.post("/v1/customers", json={**body, "contacts": contacts}, headers=key))
    turned = {**body, "contacts": contacts[::-1]}
    answer = await client.post("/v1/customers", json=turned, headers=key)
    refused(answer, "idempotency_key_reused", 422)
