"""Customers and contacts over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest

from app.ids import new_id
from tests.api.build import made, unique
from tests.conftest import Service

URL = "/v1/customers"


def body(**fields: Any) -> dict[str, Any]:
    return {"code": unique("C"), "name": "Plant builders", "country": "IT", **fields}


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await made(await client.post(URL, json=body(**fields)))


async def put(
    client: httpx.AsyncClient, code: str, contacts: list[dict[str, Any]], **more: Any
) -> httpx.Response:
    whole = {"name": "Plant builders", "country": "IT", "contacts": contacts}
    return await client.put(f"{URL}/by-code/{code}", json=whole, **more)


def errors(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


async def events(service: Service, customer: str) -> list[dict[str, Any]]:
    rows = await service.server.run_in(
        service.database_name,
        "SELECT type, data::text FROM events WHERE customer_id = $1 ORDER BY id",
        customer,
    )
    return [dict(row) for row in rows]


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
    assert len(await events(service, customer["id"])) == 1


async def test_if_match_guards_a_patch(client: httpx.AsyncClient) -> None:
    url = f"{URL}/{(await create(client))['id']}"
    etag = (await client.get(url)).headers["ETag"]
    first = await client.patch(url, json={"name": "New"}, headers={"If-Match": etag})
    assert first.status_code == 200
    second = await client.patch(url, json={"name": "Newer"}, headers={"If-Match": etag})
    assert (second.status_code, second.json()["code"]) == (412, "precondition_failed")
    third = {"If-Match": f'"x", {first.headers["ETag"]}'}
    assert (await client.patch(url, json={"name": "Newer"}, headers=third)).status_code == 200


async def test_one_of_two_guarded_patches_at_once_wins(client: httpx.AsyncClient) -> None:
    url = f"{URL}/{(await create(client))['id']}"
    guard = {"If-Match": (await client.get(url)).headers["ETag"]}
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
    found = await events(service, customer["id"])
    assert [event["type"] for event in found] == ["customer.updated"] * 4
    assert '"after": "New name"' in found[1]["data"]
    assert contact in found[2]["data"]
    assert contact in found[3]["data"]
    assert "ecret" not in str(found)


# --- replacing ------------------------------------------------------------------------------


async def test_put_creates_replaces_and_repeats(
    client: httpx.AsyncClient, service: Service
) -> None:
    code = unique("C")
    contacts = [{"name": "A", "email": "a@example.com", "phones": ["059 454224"]}, {"name": "B"}]
    first = await put(client, code, contacts)
    customer = await made(first)
    assert first.headers["Location"] == f"{URL}/{customer['id']}"
    for spelling in (code, code.swapcase()):
        again = await put(client, spelling, contacts)
        assert (again.status_code, again.json()) == (200, customer)
        assert again.headers["ETag"] == first.headers["ETag"]
    assert len(await events(service, customer["id"])) == 1
    swapped = (await put(client, code, contacts[::-1])).json()
    assert swapped["contacts"] == customer["contacts"][::-1]
    assert (await put(client, code, [])).json()["contacts"] == []


async def test_contacts_keep_their_ids(client: httpx.AsyncClient) -> None:
    code = unique("C")
    contacts = [
        {"name": "A", "email": "a@example.com"},
        {"name": "B"},
        {"name": "C", "email": "c@example.com"},
        {"name": "D"},
    ]
    customer = await made(await put(client, code, contacts))
    a, b, c, d = (contact["id"] for contact in customer["contacts"])
    replaced = await put(
        client,
        code,
        [
            {"name": "b", "email": "b@example.com"},
            {"name": "Renamed", "email": "A@EXAMPLE.COM"},
            {"name": "Whoever", "id": d},
            {"name": "E"},
        ],
    )
    assert replaced.status_code == 200, replaced.text
    ids = [contact["id"] for contact in replaced.json()["contacts"]]
    assert ids[:3] == [b, a, d]
    assert ids[3] not in (a, b, c, d)
    assert (await client.get(f"{URL}/{code}/contacts/{c}")).status_code == 404


async def test_of_two_at_one_address_the_namesake_is_matched(client: httpx.AsyncClient) -> None:
    customer = await create(
        client,
        contacts=[
            {"name": "A", "email": "desk@example.com"},
            {"name": "B", "email": "desk@example.com"},
        ],
    )
    one = [{"name": "B", "email": "desk@example.com"}]
    replaced = (await put(client, customer["code"], one)).json()
    assert replaced["contacts"] == [customer["contacts"][1]]


async def test_contacts_that_cannot_be_told_apart_are_refused(client: httpx.AsyncClient) -> None:
    code = unique("C")
    same = [{"name": "A", "email": "a@example.com"}, {"name": "B", "email": "A@example.com"}]
    assert errors(await put(client, code, same)) == [("/contacts/1/email", "duplicate")]
    same = [{"name": "Front desk"}, {"name": "front desk"}]
    assert errors(await put(client, code, same)) == [("/contacts/1/name", "duplicate")]
    customer = await made(await put(client, code, [{"name": "A"}]))
    own = customer["contacts"][0]["id"]
    same = [{"name": "A", "id": own}, {"name": "B", "id": own}]
    assert errors(await put(client, code, same)) == [("/contacts/1/id", "duplicate")]
    other = await create(client, contacts=[{"name": "Stranger"}])
    for stranger in (other["contacts"][0]["id"], str(new_id())):
        answer = await put(client, code, [{"name": "A", "id": stranger}])
        assert errors(answer) == [("/contacts/0/id", "unknown_reference")]


async def test_put_under_conditions(client: httpx.AsyncClient) -> None:
    code = unique("C")
    nothing_there = await put(client, code, [], headers={"If-Match": "*"})
    assert nothing_there.status_code == 412
    only_create = {"If-None-Match": "*"}
    first = await put(client, code, [], headers=only_create)
    assert first.status_code == 201
    assert (await put(client, code, [], headers=only_create)).status_code == 412
    changed = await put(client, code, [{"name": "A"}], headers={"If-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    stale = await put(client, code, [], headers={"If-Match": first.headers["ETag"]})
    assert stale.status_code == 412
    assert (await client.get(f"{URL}/{code}")).json() == changed.json()


async def test_two_puts_at_once_make_one_customer(client: httpx.AsyncClient) -> None:
    code = unique("C")
    answers = await asyncio.gather(*(put(client, code, [{"name": "A"}]) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.content for answer in answers}) == 1


# --- contacts -------------------------------------------------------------------------------


async def test_contacts_one_by_one(client: httpx.AsyncClient) -> None:
    customer = await create(client, country="CH", contacts=[{"name": "A"}])
    url = f"{URL}/{customer['code']}"
    sent = {"name": "B", "email": "b@example.com", "phones": ["091 967 66 10", "+41919676610"]}
    answer = await client.post(f"{url}/contacts", json=sent)
    contact = await made(answer)
    assert contact["phones"] == ["+41919676610"]
    location = answer.headers["Location"]
    assert location == f"{URL}/{customer['id']}/contacts/{contact['id']}"
    read = await client.get(location)
    assert (read.json(), read.headers["ETag"]) == (contact, answer.headers["ETag"])

    patch = {"email": None, "phones": ["+49 30 123456"]}
    stale = await client.patch(location, json=patch, headers={"If-Match": '"stale"'})
    assert stale.status_code == 412
    changed = await client.patch(location, json=patch, headers={"If-Match": read.headers["ETag"]})
    assert changed.json() == {**contact, "email": None, "phones": ["+4930123456"]}
    assert changed.headers["ETag"] == (await client.get(location)).headers["ETag"]
    whole = (await client.get(url)).json()
    assert whole["contacts"] == [*customer["contacts"], changed.json()]
    assert whole["updated_at"] > customer["updated_at"]

    assert errors(await client.patch(location, json={"phones": ["x"]})) == [
        ("/phones/0", "not_a_phone_number")
    ]
    assert errors(await client.patch(location, json={"phones": None})) == [
        ("/phones", "null_not_allowed")
    ]
    assert (await client.delete(location)).status_code == 204
    assert (await client.delete(location)).status_code == 404
    assert (await client.get(url)).json()["contacts"] == customer["contacts"]


async def test_a_contact_belongs_to_its_customer(client: httpx.AsyncClient) -> None:
    mine, other = await create(client), await create(client, contacts=[{"name": "A"}])
    url = f"{URL}/{mine['id']}/contacts/{other['contacts'][0]['id']}"
    assert (await client.get(url)).status_code == 404
    assert (await client.patch(url, json={"name": "B"})).status_code == 404
    assert (await client.delete(url)).status_code == 404


async def test_no_more_than_a_hundred_contacts(client: httpx.AsyncClient) -> None:
    customer = await create(client, contacts=[{"name": f"N{n}"} for n in range(100)])
    answer = await client.post(f"{URL}/{customer['id']}/contacts", json={"name": "One more"})
    assert errors(answer) == [("/contacts", "too_many")]


async def test_a_contact_added_twice_under_one_key_is_one(client: httpx.AsyncClient) -> None:
    customer = await create(client)
    url = f"{URL}/{customer['id']}/contacts"
    key = {"Idempotency-Key": unique("key")}
    first = await client.post(url, json={"name": "A"}, headers=key)
    second = await client.post(url, json={"name": "A"}, headers=key)
    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["Location"] == first.headers["Location"]
    assert len((await client.get(f"{URL}/{customer['id']}")).json()["contacts"]) == 1


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
