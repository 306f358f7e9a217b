"""Personal data: what is held about a person is exported, and found nowhere after erasure (R43)."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app.services.people import Person
from app.services.tokens import BOUND_SCOPES
from app.store import blocks
from tests.api.build import Customer, errors, made, refused, unique
from tests.api.cases.test_redaction import found_in_database
from tests.conftest import Service


@dataclass
class Marked:
    """A customer with a person whose name, address, number and words are all marked."""

    customer: Customer
    marker: str
    contact: dict[str, Any]
    case: dict[str, Any]
    other_case: dict[str, Any]
    key: dict[str, str]
    body: dict[str, Any]
    phone: str


def fresh() -> dict[str, str]:
    return {"Idempotency-Key": unique("K")}


@pytest.fixture
async def marked(client: httpx.AsyncClient, today: date, service: Service) -> Marked:
    """The marker stands in every field that can hold a person's data."""
    marker = unique("Marker").replace("-", "")
    name, email = f"Anna {marker}", f"{marker}@example.com"
    phone = f"+39347{int(marker[-12:], 36) % 10_000_000:07d}"
    colleague = {"name": "Bruno Neri", "email": "bruno@example.com", "phones": ["+390591111111"]}
    person = {"name": name, "email": email, "phones": [phone, "+390591111111"]}
    customer = await Customer.new(client, today, contacts=[colleague])
    key = {"Idempotency-Key": unique("K")}
    contact = await made(
        await client.post(f"/v1/customers/{customer.id}/contacts", json=person, headers=fresh())
    )
    licence = await customer.licence(days=-60)
    spare = await customer.licence(days=-60)
    contract = await customer.contract(days=-20)
    await customer.pack(2)
    body = {
        "customer_id": customer.id,
        "serial_number": licence["serial_number"],
        "requester": {"contact_id": contact["id"], "name": name, "email": email, "phone": phone},
        "subject": f"{marker} sees nothing",
        "description": f"{marker} starts it",
        "steps_to_reproduce": f"{marker} presses",
        "example_url": f"https://example.com/{marker}",
    }
    case = await made(await client.post("/v1/cases", json=body, headers=key))
    for text in ({"body": f"{marker} writes"}, {"body": f"{marker} is ours", "internal": True}):
        await made(
            await client.post(
                f"/v1/cases/{case['id']}/comments",
                json=text,
                headers=fresh(),
            )
        )
    async with await service.client_with(*BOUND_SCOPES, customer_id=customer.id) as bound:
        own = {"body": f"I am {marker}"}
        await made(await bound.post(f"/v1/cases/{case['id']}/comments", json=own, headers=fresh()))
    entry = await customer.work(case, 30, note=f"{marker} on the phone")
    await customer.work(case, 7, note=f"{marker} again")
    await customer.post(
        f"cases/{case['id']}/time-entries/{entry['id']}/reversal", reason=f"{marker} was not there"
    )
    await customer.patch(case, subject=f"{marker} sees little", technician="Help desk")
    await customer.step(case, "closure", resolution=f"{marker} restarts it")
    await customer.step(case, "reopening", reason=f"{marker} called")
    await customer.step(case, "closure", resolution=f"{marker} restarts it again")
    # Others write about the person.
    other = await customer.open(
        requester={"name": "Bruno Neri", "phone": phone},
        subject=f"For {name}",
        description=f"Please call {marker}@example.com or {name.upper()}, {phone[3:]}",
    )
    await customer.step(
        other, "comments", 201, body=f"{marker}, Anna asked: +39 {phone[3:6]} {phone[6:]}"
    )
    await customer.step(other, "closure", resolution=f"Anna  {marker} knows")
    path = f"licences/{spare['id']}/withdrawal"
    await customer.post(path, withdrawn_on=str(today), reason=f"Said {name}")
    path = f"contracts/{contract['id']}/cancellation"
    await customer.post(path, cancelled_on=str(today + timedelta(days=9)), reason=f"By {name}")
    return Marked(customer, marker, contact, case, other, key, body, phone)


async def ledger(service: Service, customer_id: str) -> list[str]:
    tables = {
        "ledger": "*",
        "balances": "*",
        "ticket_uses": "*",
        "service_years": "*",
        "ticket_packs": "*",
        "time_entries": "id, minutes, worked_at, worked_on, recorded_at, reversed_at, technician",
        "cases": "id, number, state, paid_by, allowance_id, opened_at, closed_at, serial_number",
        "events": "id, xid, type, subject_id, occurred_at, actor, actor_id",
    }
    seen = []
    for table, columns in tables.items():
        order = {"balances": "allowance_id", "ticket_uses": "pack_id, position"}.get(table, "id")
        rows = await service.server.run_in(
            service.database_name,
            f"SELECT row_to_json(t)::text AS t FROM (SELECT {columns} FROM {table}"
            f" WHERE customer_id = $1 AND $2::text <> type ORDER BY {order}) t"
            if table == "events"
            else f"SELECT row_to_json(t)::text AS t FROM (SELECT {columns} FROM {table}"
            f" WHERE customer_id = $1 AND $2::text <> '' ORDER BY {order}) t",
            customer_id,
            "customer.erased",
        )
        seen += [row["t"] for row in rows]
    return seen


async def everything_answered(marked: Marked) -> AsyncIterator[str]:
    customer = marked.customer
    begins, ends = (customer.today + timedelta(days=days) for days in (-90, 2))
    period = f"from={begins}&to={ends}"
    for path in (
        f"customers/{customer.id}",
        f"customers/{customer.id}/contacts/{marked.contact['id']}",
        f"cases/{marked.case['id']}",
        f"cases/{marked.other_case['id']}",
        f"cases/{marked.case['id']}/timeline?limit=200",
        f"cases/{marked.other_case['id']}/timeline?limit=200",
        f"cases?customer_id={customer.id}",
        f"licences?customer_id={customer.id}",
        f"contracts?customer_id={customer.id}",
        f"customers/{customer.id}/usage",
        f"customers/{customer.id}/statement?{period}",
        f"entitlements?customer_id={customer.id}",
    ):
        answer = await customer.client.get(f"/v1/{path}")
        assert answer.status_code == 200, answer.text
        yield answer.text


@pytest.mark.parametrize("by", ["contact_id", "email", "phone", "name"])
async def test_the_marker_is_found_nowhere_afterwards(
    marked: Marked,
    client: httpx.AsyncClient,
    service: Service,
    by: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    customer, marker = marked.customer, marked.marker
    who = {
        "contact_id": marked.contact["id"],
        "email": marked.contact["email"].upper(),
        "phone": marked.phone,
        "name": marked.contact["name"].lower(),
    }
    url = f"/v1/customers/{customer.code}/personal-data"
    if by == "phone":
        # Bruno gave the same number: it names two people.
        problem = refused(
            await client.post(f"{url}/erasure", json={by: who[by]}), "ambiguous_person"
        )
        assert {one["name"] for one in problem["people"]} == {marked.contact["name"], "Bruno Neri"}
        by = "name"
    before = await ledger(service, customer.id)
    balance = await customer.get(f"customers/{customer.id}/usage")

    exported = await made(await client.post(f"{url}/export", json={by: who[by]}), 200)
    assert [one["id"] for one in exported["contacts"]] == [marked.contact["id"]]
    assert [one["number"] for one in exported["cases"]] == [marked.case["number"]]
    fields = {(one["record"], one["field"]) for one in exported["held"]}
    assert fields >= {
        ("contact", "name"),
        ("contact", "email"),
        ("contact", "phones/0"),
        ("case", "description"),
        ("case", "resolution"),
        ("time_entry", "note"),
        ("time_entry", "reversal_reason"),
        ("licence", "withdrawal_reason"),
        ("contract", "cancellation_reason"),
        ("event", "/body"),
        ("event", "/requester/name"),
        ("event", "/before/subject"),
    }

    capsys.readouterr()
    erasure = await made(
        await client.post(f"{url}/erasure", json={by: who[by]}, headers=fresh()), 200
    )
    assert await found_in_database(service, marker) == []
    assert await found_in_database(service, marked.phone) == []
    async for text in everything_answered(marked):
        assert marker.lower() not in text.lower()
        assert marked.phone not in text
    again = await client.post("/v1/cases", json=marked.body, headers=marked.key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == marked.case["id"]
    assert marker not in again.text
    assert marker not in json.dumps(erasure)
    logged = capsys.readouterr()
    assert "personal-data/erasure" in logged.out + logged.err
    assert marker not in logged.out + logged.err
    if by != "contact_id":
        refused(await client.post(f"{url}/export", json={by: who[by]}), "not_found", 404)

    # The same pseudonym everywhere.
    pseudonym = erasure["pseudonym"]
    contact = await customer.get(f"customers/{customer.id}/contacts/{marked.contact['id']}")
    assert contact == {"id": contact["id"], "name": pseudonym, "email": None, "phones": []}
    case = await customer.case(marked.case["number"])
    assert case["requester"]["name"] == case["subject"] == case["resolution"] == pseudonym
    other = await customer.case(marked.other_case["number"])
    assert other["requester"] == {
        "contact_id": None,
        "name": "Bruno Neri",
        "email": None,
        "phone": None,
    }
    assert other["subject"] == f"For {pseudonym}"
    assert other["resolution"] == f"{pseudonym} knows"
    # What the company's other people share with the person stays theirs.
    (colleague, _) = (await customer.get(f"customers/{customer.id}"))["contacts"]
    assert colleague["phones"] == ["+390591111111"]

    # Numbers, minutes and charges are byte for byte what they were.
    assert await ledger(service, customer.id) == before
    after = await customer.get(f"customers/{customer.id}/usage")
    assert after | {"at": None} == balance | {"at": None}
    (event,) = [
        json.loads(row["data"])
        for row in await service.server.run_in(
            service.database_name,
            "SELECT data::text AS data FROM events WHERE customer_id = $1"
            " AND type = 'customer.erased'",
            customer.id,
        )
    ]
    assert event == {
        "pseudonym": pseudonym,
        "contacts": [marked.contact["id"]],
        "cases": [marked.case["number"]],
    }
    assert erasure["stays"]
    assert erasure["taken_out"]


async def test_who_is_meant_must_be_clear(client: httpx.AsyncClient, today: date) -> None:
    customer = await Customer.new(client, today)
    url = f"/v1/customers/{customer.id}/personal-data/erasure"
    assert errors(await client.post(url, json={})) == [("", "exactly_one")]
    both = {"name": "Anna", "email": "anna@example.com"}
    assert errors(await client.post(url, json=both)) == [("", "exactly_one")]
    assert errors(await client.post(url, json={"phone": "12"})) == [
        ("/phone", "not_a_phone_number")
    ]
    refused(await client.post(url, json={"name": "Nobody"}), "not_found", 404)


async def test_another_customer_s_person_of_the_same_name_stays(
    client: httpx.AsyncClient, today: date
) -> None:
    person = {"name": "Carla Verdi", "email": "carla@example.com", "phones": ["+390592222222"]}
    one = await Customer.new(client, today, contacts=[person])
    two = await Customer.new(client, today, contacts=[person])
    await one.post(f"customers/{one.id}/personal-data/erasure", name="Carla Verdi")
    (contact,) = (await two.get(f"customers/{two.id}"))["contacts"]
    assert contact["name"] == "Carla Verdi"


@pytest.mark.parametrize("name", ["Anna", "(", "-"])
async def test_who_has_part_of_the_name_stays(
    client: httpx.AsyncClient, today: date, name: str
) -> None:
    contacts = [{"name": name, "email": "anna@example.com", "phones": []}]
    customer = await Customer.new(client, today, contacts=contacts)
    await customer.licence()
    other = await customer.open(
        requester={"name": "Anna Bianchi", "email": "anna.bianchi@example.com"},
        subject="Anna - the other (Bianchi) one",
        description="joanna@example.com, jo.anna@example.com and anna@example.com.it, (c) a-b",
    )
    await customer.step(other, "comments", 201, body="Ask Anna-Maria (or Anna) at a@b.anna")
    before = (await customer.case(other["number"]), await customer.timeline(other))
    url = f"/v1/customers/{customer.id}/personal-data"
    exported = await made(await client.post(f"{url}/export", json={"name": name}), 200)
    assert {one["record"] for one in exported["held"]} == {"contact"}
    await made(await client.post(f"{url}/erasure", json={"name": name}), 200)
    assert (await customer.case(other["number"]), await customer.timeline(other)) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ANNA  Bianchi, bianchi, anna.", "X, X."),
        ("Anna Bianchini, Joanna Bianchi", "Anna Bianchini, Joanna Bianchi"),
        ("Anna bianchi@example.com", "Anna bianchi@example.com"),
        ("Anna Bianchi.rossi@example.com", "Anna Bianchi.rossi@example.com"),
        ("x@mail.anna bianchi", "x@mail.anna bianchi"),
        ("<Anna@Example.com>, anna@example.com.", "<X>, X."),
        ("jo.anna@example.com anna@example.com.it", "jo.anna@example.com anna@example.com.it"),
        ("+39 347 123-45.67, (0039)3471234567, 347/1234567", "X, (X, X"),
        ("3471234567@example.com 34712345678", "3471234567@example.com 34712345678"),
        ("Anna Carla Bianchi (Anna)", "Anna Carla Bianchi (Anna)"),
    ],
)
def test_what_is_a_person_s_in_a_text(text: str, expected: str) -> None:
    person = Person.called(["Anna Bianchi", "Anna", "-"], ["anna@example.com"], ["+393471234567"])
    assert person.without(text, "X") == expected


def test_patterns_repeat_nothing_without_a_bound() -> None:
    """So that matching takes time in proportion to the text."""
    person = Person.called(["Anna (*) Bianchi+"], ["anna+@example.com"], ["+393471234567"])
    for form in person.forms:
        repetitions = re.sub(r"\\.|\[[^]]*\]|\(\?", "", form.pattern.pattern)
        assert not {"*", "+"} & set(repetitions), form
        assert all(int(most) < 100 for most in re.findall(r"\{\d+,(\d*)\}", repetitions)), form
        for run in (" ", "(", "0", "3 ", "a", "Anna ", "a.", "@", "Bianchi, "):
            assert form.pattern.search("a" + run * (9_990 // len(run)) + "b") is None


async def test_the_stored_answer_of_a_case_s_step_is_its_customer_s(
    client: httpx.AsyncClient, service: Service, today: date
) -> None:
    customer = await Customer.new(client, today)
    await customer.licence()
    case = await customer.open()
    key = fresh()
    closure = f"/v1/cases/{case['id']}/closure"
    await made(await client.post(closure, json={"resolution": "Solved."}, headers=key), 200)
    ((whose,),) = await service.server.run_in(
        service.database_name,
        "SELECT customer_id FROM idempotency_keys WHERE key = $1",
        key["Idempotency-Key"],
    )
    assert str(whose) == customer.id


async def test_another_customer_s_stored_answers_stay(
    client: httpx.AsyncClient, service: Service, today: date
) -> None:
    person: dict[str, Any] = {"name": "Mario Rossi", "email": None, "phones": []}
    sent = {"body": "Mario Rossi asked."}
    answers = []
    one, two = [await Customer.new(client, today, contacts=[person]) for _ in range(2)]
    for customer in (one, two):
        await customer.licence()
        case = await customer.open(requester={"name": "Bruno Neri"})
        url = f"/v1/cases/{case['id']}/comments"
        for _ in range(2):
            key = fresh()
            await made(await client.post(url, json=sent, headers=key))
            answers.append((url, key))
        # As an earlier release stored it.
        await service.server.run_in(
            service.database_name,
            "UPDATE idempotency_keys SET customer_id = NULL WHERE key = $1",
            key["Idempotency-Key"],
        )
    erasure = await one.post(f"customers/{one.id}/personal-data/erasure", name="Mario Rossi")
    assert erasure["stored_answers"] == 2
    said = [
        (await client.post(url, json=sent, headers=key)).json()["data"]["body"]
        for url, key in answers
    ]
    erased = f"{erasure['pseudonym']} asked."
    assert said == [erased, erased, sent["body"], sent["body"]]


async def test_a_customer_is_archived_and_restored(
    client: httpx.AsyncClient, service: Service, today: date
) -> None:
    customer = await Customer.new(client, today)
    url = f"customers/{customer.code}"

    async def listed(**query: str) -> bool:
        answer = await client.get("/v1/customers", params={"q": customer.code, **query})
        return customer.id in [one["id"] for one in answer.json()["items"]]

    gone = await customer.post(f"{url}/archiving", reason="Closed down")
    assert gone["archived_at"] is not None
    assert (await listed(), await listed(archived="true")) == (False, True)
    # Still answered, and the same again changes nothing.
    assert (await customer.entitlements())["customer"]["code"] == customer.code
    assert (await customer.get(url))["archived_at"] == gone["archived_at"]
    assert await customer.post(f"{url}/archiving", reason="Closed down") == gone
    # The CRM may send it back as it was read.
    sent = await client.put(f"/v1/customers/by-code/{customer.code}", json=gone)
    assert (sent.status_code, sent.json()) == (200, gone)
    back = await customer.post(f"{url}/restoring", reason="Bought by another")
    assert back["archived_at"] is None
    assert (await listed(), await listed(archived="true")) == (True, False)
    rows = await service.server.run_in(
        service.database_name,
        "SELECT data::text AS data FROM events WHERE customer_id = $1"
        " AND type = 'customer.archived' ORDER BY id",
        customer.id,
    )
    assert [json.loads(row["data"]) for row in rows] == [
        {"code": customer.code, "archived": True, "reason": "Closed down"},
        {"code": customer.code, "archived": False, "reason": "Bought by another"},
    ]


async def test_records_are_read_in_blocks(
    client: httpx.AsyncClient, today: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found does not depend on the size of a block."""
    customer = await Customer.new(client, today)
    await customer.licence()
    name = unique("Erika Muster ")
    case = await customer.open(requester={"name": name})
    for n in range(5):
        await customer.step(case, "comments", 201, body=f"{name} called {n} times")
    url, person = f"/v1/customers/{customer.id}/personal-data", {"name": name}
    whole = await made(await client.post(f"{url}/export", json=person), 200)
    monkeypatch.setattr(blocks, "_ROWS", 2)
    assert await made(await client.post(f"{url}/export", json=person), 200) == whole
    erased = await made(await client.post(f"{url}/erasure", json=person), 200)
    assert (await client.post(f"{url}/export", json=person)).status_code == 404
    assert erased["events"] >= 6
