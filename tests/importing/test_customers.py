"""Customers and contacts: what a file changes of them, and what it may not."""

import unicodedata
from typing import Any

import httpx
import pytest

from tests.api.build import made, unique
from tests.importing.conftest import Importer, table

CONTACTS = "code,name,country,contact_name,contact_email,contact_phone"


async def known(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    code = unique("C")
    body = {
        "code": code,
        "name": "Esempio S.r.l.",
        "country": "IT",
        "language": "en",
        "vat_number": "IT00000000000",
        "help_desk": "de",
        "external_refs": {"crm": code, "erp": code},
        "contacts": [
            {"name": "Plant", "email": "plant@example.com", "phones": ["+39059454224"]},
            {"name": "Office", "phones": ["+39059454225"]},
        ],
        **fields,
    }
    return await made(await client.post("/v1/customers", json=body))


async def test_what_a_file_has_no_column_for_stays(
    importer: Importer, client: httpx.AsyncClient
) -> None:
    before = await known(client)
    row = (before["code"], "New name", "IT", f"{before['code']}-x")
    outcome = await importer(customers=table("code,name,country,external_ref:erp", row))
    assert "0 created, 1 changed, 0 unchanged" in outcome.said
    after = await importer.get(f"customers/{before['id']}")
    assert after["updated_at"] > before["updated_at"]
    assert after | {"updated_at": None} == before | {
        "name": "New name",
        "external_refs": {"crm": before["code"], "erp": f"{before['code']}-x"},
        "updated_at": None,
    }


async def test_an_empty_cell_clears(importer: Importer, client: httpx.AsyncClient) -> None:
    before = await known(client)
    header = f"{CONTACTS},language,vat_number,help_desk,external_ref:crm"
    row = (before["code"], before["name"], "IT", *[None] * 7)
    outcome = await importer(customers=table(header, row))
    assert "1 changed" in outcome.said, outcome
    after = await importer.get(f"customers/{before['id']}")
    assert (after["language"], after["vat_number"], after["help_desk"]) == ("it", None, None)
    assert after["external_refs"] == {"erp": before["code"]}
    assert after["contacts"] == []


async def test_contacts_keep_their_ids_and_what_the_file_does_not_tell(
    importer: Importer, client: httpx.AsyncClient
) -> None:
    before = await known(client)
    rows = [
        (before["code"], before["name"], "IT", "Buying", None),
        (before["code"], before["name"], "IT", "Plant manager", "PLANT@example.com"),
    ]
    text = table("code,name,country,contact_name,contact_email", *rows)
    assert "1 changed" in (await importer(customers=text)).said
    buying, plant = (await importer.get(f"customers/{before['id']}"))["contacts"]
    assert plant == before["contacts"][0] | {"name": "Plant manager", "email": "PLANT@example.com"}
    assert (buying["name"], buying["phones"]) == ("Buying", [])
    assert "1 unchanged" in (await importer(customers=text)).said


async def test_references_may_change_places_and_not_be_taken(
    importer: Importer, client: httpx.AsyncClient
) -> None:
    first, second = await known(client), await known(client)
    header = "code,name,country,external_ref:crm"
    rows = [
        (one["code"], one["name"], "IT", other["external_refs"]["crm"])
        for one, other in ((first, second), (second, first))
    ]
    assert "2 changed" in (await importer(customers=table(header, *rows))).said
    taken = (unique("C"), "Third", "IT", first["code"])
    twice = (unique("C"), "Fourth", "IT", first["code"])
    outcome = await importer(customers=table(header, taken, twice))
    assert outcome.bad == [
        f"customers.csv:2: external_ref:crm: is the reference of the customer {second['code']}",
        "customers.csv:3: external_ref:crm: is the reference of another customer on line 2",
        f"customers.csv:3: external_ref:crm: is the reference of the customer {second['code']}",
    ]


async def test_no_more_than_the_api_takes(importer: Importer, client: httpx.AsyncClient) -> None:
    before = await known(client, external_refs={f"s{n}": unique("R") for n in range(20)})
    row = (before["code"], before["name"], "IT", "21st")
    outcome = await importer(customers=table("code,name,country,external_ref:more", row))
    assert outcome.bad == ["customers.csv:2: external_refs: At most 20 are allowed."]
    for code in (unique("C"), before["code"]):
        rows = [(code, before["name"], "IT", f"Contact {n}", None, None) for n in range(101)]
        outcome = await importer(customers=table(CONTACTS, *rows))
        assert len(outcome.bad) == 1
        assert outcome.bad[0].endswith(": At most 100 are allowed.")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"code": "a b"}, "code: This is not in the expected form."),
        (
            {"code": "019a0000-0000-7000-8000-000000000000"},
            "code: This must not look like an id.",
        ),
        ({"name": None}, "name: This is required."),
        ({"name": " "}, "name: This must not be blank."),
        ({"name": "x" * 201}, "name: This may have at most 200 characters."),
        ({"country": "Italy"}, "country: This is not in the expected form."),
        ({"language": "fr"}, "language: Allowed values: it, en, de."),
        ({"help_desk": "fr"}, "help_desk: Allowed values: abroad, de, it."),
        ({"contact_email": "nobody"}, "contact_email: This is not in the expected form."),
        ({"contact_name": None}, "contact_name: This is required."),
        ({"contact_phone": "059 454224; 12 "}, "contact_phone: This is not a phone number."),
        (
            {"contact_phone": ";".join(["059 454224"] * 11)},
            "contact_phone: At most 10 are allowed.",
        ),
        (
            {"external_ref:crm": "x" * 201},
            "external_ref:crm: This may have at most 200 characters.",
        ),
    ],
)
async def test_rows_that_the_api_would_refuse(
    importer: Importer, change: dict[str, Any], wrong: str
) -> None:
    good = {
        "code": unique("C"),
        "name": "Esempio",
        "country": "IT",
        "language": None,
        "help_desk": None,
        "contact_name": "Plant",
        "contact_email": None,
        "contact_phone": "059 454224",
        "external_ref:crm": None,
    }
    row = good | change
    outcome = await importer(customers=table(",".join(row), list(row.values())))
    assert [line.partition(" Expected: ")[0] for line in outcome.bad] == [
        f"customers.csv:2: {wrong}"
    ]
    assert await importer.get(f"customers/{good['code']}") is None


async def test_rows_of_one_customer_agree(importer: Importer) -> None:
    c = unique("C")
    rows = [
        (c, "Esempio", "IT", "Plant", "plant@example.com", None, "r"),
        (c.lower(), "Esempio", "IT", "Office", "PLANT@example.com", None, "r"),
        (c, "Example", "IT", "Buying", None, None, None),
        (c, "Esempio", "IT", None, None, None, "r"),
    ]
    outcome = await importer(customers=table(f"{CONTACTS},external_ref:crm", *rows))
    assert outcome.bad == [
        "customers.csv:4: external_ref:crm: differs from line 2, which has the same code",
        "customers.csv:4: name: differs from line 2, which has the same code",
    ]


async def test_people_who_share_an_address_or_a_name(
    importer: Importer, client: httpx.AsyncClient
) -> None:
    """As `POST …/contacts` and the PUT take them; the same file changes nothing."""
    c = unique("C")
    people = [
        ("Plant", "plant@example.com", None),
        ("Office", "PLANT@example.com", None),
        ("Plant", "plant@example.com", None),
        ("Desk", None, "+39059454224"),
        ("Desk", None, "+39059454225"),
    ]
    text = table(CONTACTS, *((c, "Esempio", "IT", *one) for one in people))
    assert (await importer(customers=text)).bad == []
    stored = await importer.get(f"customers/{c}")
    assert [(one["name"], one["email"]) for one in stored["contacts"]] == [
        (name, email) for name, email, _ in people
    ]
    assert "1 unchanged" in (await importer(customers=text)).said
    # Where a file has no addresses and no numbers, people of one name are told apart by order.
    names = table(
        "code,name,country,contact_name", *((c, "Renamed", "IT", one[0]) for one in people)
    )
    assert "1 changed" in (await importer(customers=names)).said
    renamed = await importer.get(f"customers/{c}")
    assert renamed["contacts"] == stored["contacts"]
    addresses = table(
        "code,name,country,contact_name,contact_email",
        *((c, "Again", "IT", *one[:2]) for one in people[::-1]),
    )
    assert "1 changed" in (await importer(customers=addresses)).said
    again = await importer.get(f"customers/{c}")
    assert sorted(one["id"] for one in again["contacts"]) == sorted(
        one["id"] for one in stored["contacts"]
    )
    body = {name: stored[name] for name in ("name", "country", "contacts")}
    body["contacts"] = [{**one, "id": None} for one in body["contacts"]]
    put = await client.put(f"/v1/customers/by-code/{c}", json=body)
    assert put.json()["contacts"] == stored["contacts"]


async def test_one_word_in_two_spellings_is_one(importer: Importer) -> None:
    """Unicode on a Mac, a domain in either form, a whole number out of a data frame."""
    c, nfd = unique("C"), unicodedata.normalize("NFD", "Müller")
    header = f"{CONTACTS},external_ref:crm"
    address = unicodedata.normalize("NFD", "info@müller.example")
    text = table(header, (c, nfd, "IT", nfd, address, None, nfd + c))
    assert (await importer(customers=text)).bad == []
    stored = await importer.get(f"customers/{c}")
    assert (stored["name"], stored["external_refs"]) == ("Müller", {"crm": f"Müller{c}"})
    assert stored["contacts"][0]["email"] == "info@müller.example"
    same = table(header, (c, "Müller", "IT", "Müller", "info@müller.example", None, f"Müller{c}"))
    assert "1 unchanged" in (await importer(customers=same)).said
    pack = table(
        "customer_code,number,Stück,purchased_on".replace("ü", "u\u0308"),
        (c, unique("P"), "5.0", "2026-01-15"),
    )
    outcome = await importer(packs=pack, mapping=["Stück=quantity"])
    assert outcome.bad == []
    bad = pack.replace("5.0", "5.5").replace("P-", "Q-")
    outcome = await importer(packs=bad, mapping=["Stück=quantity"])
    assert [line.split(": ", 1)[0] for line in outcome.bad] == ["packs.csv:2"]
