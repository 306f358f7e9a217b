"""Contacts over HTTP: with their whole customer, and one by one."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from app.ids import new_id
from app.services import customers
from tests.api.build import errors, made, recorded, unique
from tests.conftest import Service

URL = "/v1/customers"
LineUp = Callable[[Any, str, int], None]


def body(**fields: Any) -> dict[str, Any]:
    return {"code": unique("C"), "name": "Plant builders", "country": "IT", **fields}


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await made(await client.post(URL, json=body(**fields)))


async def put(
    client: httpx.AsyncClient, code: str, contacts: list[dict[str, Any]], **more: Any
) -> httpx.Response:
    whole = {"name": "Plant builders", "country": "IT", "contacts": contacts}
    return await client.put(f"{URL}/by-code/{code}", json=whole, **more)


# --- replacing ------------------------------------------------------------------------------


async def test_put_creates_replaces_and_repeats(
    client: httpx.AsyncClient, service: Service
) -> None:
    code = unique("C")
    contacts: list[dict[str, Any]] = [
        {"name": "A", "email": "a@example.com", "phones": ["059 454224"]},
        {"name": "B"},
    ]
    first = await put(client, code, contacts)
    customer = await made(first)
    assert first.headers["Location"] == f"{URL}/{customer['id']}"
    for spelling in (code, code.swapcase()):
        again = await put(client, spelling, contacts)
        assert (again.status_code, again.json()) == (200, customer)
        assert again.headers["ETag"] == first.headers["ETag"]
    assert len(await recorded(service, customer["id"])) == 1
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


async def test_people_who_share_an_address_or_a_name(
    client: httpx.AsyncClient, service: Service
) -> None:
    """What is taken one by one is taken all at once, and the same body changes nothing."""
    people: list[dict[str, Any]] = [
        {"name": "A", "email": "a@example.com", "phones": []},
        {"name": "B", "email": "A@example.com", "phones": []},
        {"name": "A", "email": "a@example.com", "phones": []},
        {"name": "Front desk", "email": None, "phones": ["+39059454224"]},
        {"name": "front desk", "email": None, "phones": ["+39059454225"]},
        {"name": "Front desk", "email": None, "phones": []},
    ]
    code = unique("C")
    one_by_one = await create(client)
    for person in people:
        await made(await client.post(f"{URL}/{one_by_one['id']}/contacts", json=person))
    for name in (code, one_by_one["code"]):
        first = await put(client, name, people)
        again = await put(client, name, people)
        assert again.status_code == 200
        assert (again.content, again.headers["ETag"]) == (first.content, first.headers["ETag"])
        stored = first.json()["contacts"]
        assert [{**one, "id": None} for one in stored] == [{**one, "id": None} for one in people]
        assert len({one["id"] for one in stored}) == len(people)
        # In another order each is still who it was.
        turned = await put(client, name, people[::-1])
        by_id = {one["id"]: one for one in stored}
        assert {one["id"]: one for one in turned.json()["contacts"]} == by_id
    types = [type_ for type_, _ in await recorded(service, one_by_one["id"], "customer.%")]
    # Created, six contacts, turned round: the two PUTs of what was there recorded nothing.
    assert len(types) == 1 + len(people) + 1


async def test_how_contacts_are_matched(client: httpx.AsyncClient) -> None:
    code = unique("C")

    async def ids(*contacts: dict[str, Any]) -> list[str]:
        answer = await put(client, code, list(contacts))
        assert answer.is_success, answer.text
        return [one["id"] for one in answer.json()["contacts"]]

    # By e-mail, if one unmatched contact has it.
    desk = "desk@example.com"
    a, b = await ids({"name": "A", "email": desk}, {"name": "B", "email": desk})
    assert await ids({"name": "B", "email": desk}, {"name": "C", "email": desk}) == [b, a]
    (c,) = await ids(
        {"name": "D", "email": desk},
    )
    assert c not in (a, b)
    # By name, if one has it.
    (d,) = await ids({"name": "d", "email": "d@example.com"})
    assert d == c
    e, f = await ids({"name": "E", "email": "1@example.com"}, {"name": "E", "email": "2@x.com"})
    (g,) = await ids({"name": "E"})
    assert g not in (e, f)
    # Equal contacts in stored order, those that are equal in their telephone numbers first.
    one, two, three = ({"name": "H", "phones": [f"+3905945422{n}"]} for n in (4, 5, 6))
    h, i = await ids(one, two)
    assert await ids(two) == [i]
    h, i = await ids(one, two)
    assert await ids(three, two) == [h, i]
    assert await ids({"name": "H"}, {"name": "H"}) == [h, i]
    # By id before anything else.
    assert await ids({"name": "H", "id": i}, {"name": "H"}) == [i, h]


async def test_an_id_names_one_contact_of_the_customer(client: httpx.AsyncClient) -> None:
    code = unique("C")
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


async def test_many_puts_at_once_make_one_customer(
    client: httpx.AsyncClient, line_up: LineUp
) -> None:
    code = unique("C")
    line_up(customers, "_insert", 6)
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
