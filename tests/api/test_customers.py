"""Customers and contacts over HTTP."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.ids import new_id
from app.store import lock
from tests.api.build import errors, made, recorded, unique
from tests.conftest import Service

URL = "/v1/customers"
LineUp = Callable[[Any, str, int], None]


def body(**fields: Any) -> dict[str, Any]:
    return {"code": unique("C"), "name": "Plant builders", "country": "IT", **fields}


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await made(await client.post(URL, json=body(**fields)))


async def test_a_customer_comes_back_as_it_was_made(client: httpx.AsyncClient) -> None:
    sent = body(
        language="de",
        vat_number="CHE-123.456.789 MWST",
        help_desk="de",
        external_refs={"crm": "4711", "a_b": "x:y"},
        contacts=[{"name": "Workshop", "email": "Workshop@example.com", "phones": ["059 454224"]}],
    )
    answer = await client.post(URL, json=sent)
    customer = await made(answer)
    assert answer.headers["Location"] == f"{URL}/{customer['id']}"
    for key in (customer["id"], sent["code"].swapcase()):
        read = await client.get(f"{URL}/{key}")
        assert read.json() == customer
        assert read.headers["ETag"] == answer.headers["ETag"]
    (contact,) = customer["contacts"]
    assert contact["phones"] == ["+39059454224"]
    for name in ("code", "name", "country", "language", "vat_number", "help_desk", "external_refs"):
        assert customer[name] == sent[name]
    assert customer["created_at"] == customer["updated_at"]
    again = await client.get(answer.headers["Location"], headers={"If-None-Match": '"x"'})
    assert again.status_code == 200
    kept = {"If-None-Match": answer.headers["ETag"]}
    assert (await client.get(answer.headers["Location"], headers=kept)).status_code == 304


async def test_the_language_follows_the_desk_of_the_country(client: httpx.AsyncClient) -> None:
    languages = [(await create(client, country=c))["language"] for c in ("IT", "DE", "FR")]
    assert languages == ["it", "de", "en"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"help_desk": "mars"}, ("/help_desk", "not_allowed_value")),
        ({"country": "it"}, ("/country", "bad_format")),
        ({"language": "fr"}, ("/language", "not_allowed_value")),
        ({"code": str(new_id())}, ("/code", "looks_like_id")),
        ({"name": " "}, ("/name", "blank")),
        ({"vat_number": "x" * 41}, ("/vat_number", "too_long")),
        ({"external_refs": {"c:rm": "1"}}, ("/external_refs/c:rm", "bad_format")),
        ({"external_refs": {f"s{i}": "1" for i in range(21)}}, ("/external_refs", "too_many")),
        ({"contacts": [{"name": "A"}] * 101}, ("/contacts", "too_many")),
        ({"contacts": [{"name": "A", "id": str(new_id())}]}, ("/contacts/0/id", "unknown_field")),
        (
            {"contacts": [{"name": "A", "phones": ["059 454224"] * 11}]},
            ("/contacts/0/phones", "too_many"),
        ),
        (
            {"contacts": [{"name": "A"}, {"name": "B", "phones": ["059 454224", "call me"]}]},
            ("/contacts/1/phones/1", "not_a_phone_number"),
        ),
        ({"fax": "1"}, ("/fax", "unknown_field")),
    ],
)
async def test_what_is_refused(
    client: httpx.AsyncClient, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert errors(await client.post(URL, json=body(**fields))) == [expected]


async def test_every_number_that_is_none_is_named_at_once(client: httpx.AsyncClient) -> None:
    contacts = [{"name": "A", "phones": ["1"]}, {"name": "B", "phones": ["059 454224", "+39"]}]

    answer = await client.post(URL, json=body(contacts=contacts))
    assert errors(answer) == [
        ("/contacts/0/phones/0", "not_a_phone_number"),
        ("/contacts/1/phones/1", "not_a_phone_number"),
    ]


async def test_codes_and_references_are_unique(client: httpx.AsyncClient) -> None:
    first = await create(client, external_refs={"crm": "unique"})
    second = await create(client)
    taken = await client.post(URL, json=body(code=first["code"].swapcase()))
    assert (taken.status_code, taken.json()["field"]) == (409, "code")
    taken = await client.patch(f"{URL}/{second['id']}", json={"code": first["code"].lower()})
    assert (taken.status_code, taken.json()["field"]) == (409, "code")
    patch = {"external_refs": {"crm": "unique"}}
    taken = await client.patch(f"{URL}/{second['id']}", json=patch)
    assert (taken.status_code, taken.json()["field"]) == (409, "external_refs")
    assert (await client.get(f"{URL}/{second['id']}")).json() == second
    recoded = await client.patch(f"{URL}/{first['id']}", json={"code": first["code"].lower()})
    assert recoded.json()["code"] == first["code"].lower()


async def test_a_patch_merges(client: httpx.AsyncClient, service: Service) -> None:
    customer = await create(
        client,
        vat_number="1",
        external_refs={"crm": unique("r"), "erp": unique("r")},
        contacts=[{"name": "A", "phones": ["059 454224"]}],
    )
    url = f"{URL}/{customer['id']}"
    patch = {"vat_number": None, "country": "DE", "external_refs": {"crm": None, "shop": "7"}}
    changed = (await client.patch(url, json=patch)).json()
    assert changed["vat_number"] is None
    assert changed["external_refs"] == {"erp": customer["external_refs"]["erp"], "shop": "7"}
    assert changed["contacts"] == customer["contacts"], "stored numbers keep their country"
    assert changed["updated_at"] > customer["updated_at"]
    assert (await client.patch(url, json={"external_refs": None})).json()["external_refs"] == {}
    assert errors(await client.patch(url, json={"name": None})) == [("/name", "null_not_allowed")]
    assert errors(await client.patch(url, json={"contacts": []})) == [
        ("/contacts", "unknown_field")
    ]
    assert errors(await client.patch(url, json={"help_desk": "mars"})) == [
        ("/help_desk", "not_allowed_value")
    ]
    many = {"external_refs": {f"s{i}": unique("r") for i in range(21)}}
    assert errors(await client.patch(url, json=many)) == [("/external_refs", "too_many")]


async def test_what_changes_nothing_leaves_no_trace(
    client: httpx.AsyncClient, service: Service
) -> None:
    customer = await create(client, external_refs={"crm": unique("r")})
    url = f"{URL}/{customer['id']}"
    same = {name: customer[name] for name in ("name", "country", "external_refs")}
    for patch in ({}, same, {"vat_number": None}):
        assert (await client.patch(url, json=patch)).json() == customer
    assert len(await recorded(service, customer["id"])) == 1


async def test_if_match_guards_a_patch(client: httpx.AsyncClient) -> None:
    url = f"{URL}/{(await create(client))['id']}"
    etag = (await client.get(url)).headers["ETag"]
    first = await client.patch(url, json={"name": "New"}, headers={"If-Match": etag})
    assert first.status_code == 200
    second = await client.patch(url, json={"name": "Newer"}, headers={"If-Match": etag})
    assert (second.status_code, second.json()["code"]) == (412, "precondition_failed")
    third = {"If-Match": f'"x", {first.headers["ETag"]}'}
    assert (await client.patch(url, json={"name": "Newer"}, headers=third)).status_code == 200


async def test_one_of_many_guarded_patches_at_once_wins(
    client: httpx.AsyncClient, line_up: LineUp
) -> None:
    url = f"{URL}/{(await create(client))['id']}"
    guard = {"If-Match": (await client.get(url)).headers["ETag"]}
    line_up(lock, "customer", 6)
    answers = await asyncio.gather(
        *(client.patch(url, json={"name": f"Name {n}"}, headers=guard) for n in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5


async def test_events_tell_what_changed_but_no_persons(
    client: httpx.AsyncClient, service: Service
) -> None:
    customer = await create(client, contacts=[{"name": "Secret name", "email": "s@example.com"}])
    url = f"{URL}/{customer['id']}"
    await client.patch(url, json={"name": "New name"})
    contact = customer["contacts"][0]["id"]
    await client.patch(f"{url}/contacts/{contact}", json={"name": "Other secret name"})
    await client.delete(f"{url}/contacts/{contact}")
    found = await recorded(service, customer["id"])
    assert [type_ for type_, _ in found] == ["customer.updated"] * 4
    assert '"after": "New name"' in found[1][1]
    assert contact in found[2][1]
    assert contact in found[3][1]
    assert "ecret" not in str(found)


# --- finding --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "q",
    [
        "Größe",
        "grö",
        "Müller-Größe Automazione S.r.l.",
        "automaz müll",
        "s.r.l",
        "Q-77",
        "q-7734",
        "7734",
        "automazione Q-7734",
    ],
)
async def test_found_by_words_and_beginnings(client: httpx.AsyncClient, q: str) -> None:
    answer = await client.get(URL, params={"q": "Q-7734"})
    if not answer.json()["items"]:
        await create(client, code="Q-7734", name="Müller-Größe Automazione S.r.l.")
        await create(client, code="Q-9", name="Automazione Neri")
    items = (await client.get(URL, params={"q": q})).json()["items"]
    assert [item["code"] for item in items] == ["Q-7734"]


@pytest.mark.parametrize(
    "q", ["zzz", "' | !x:*", "\\", "&", "-", "aut:* | b", "tomazione", "%", "_"]
)
async def test_found_by_nothing(client: httpx.AsyncClient, q: str) -> None:
    answer = await client.get(URL, params={"q": q})
    assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_found_by_country_and_reference(client: httpx.AsyncClient) -> None:
    ref = unique("a:b")
    customer = await create(client, country="AT", external_refs={"crm": ref})
    for query in ({"country": "AT"}, {"external_ref": f"crm:{ref}"}, {"country": "AT", "q": "pl"}):
        items = (await client.get(URL, params=query)).json()["items"]
        assert items == [customer]
    for query in ({"external_ref": f"erp:{ref}"}, {"country": "FR", "external_ref": f"crm:{ref}"}):
        assert (await client.get(URL, params=query)).json()["items"] == []
    assert errors(await client.get(URL, params={"external_ref": "crm"})) == [
        ("query/external_ref", "bad_format")
    ]
