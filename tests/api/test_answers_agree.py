"""Whatever a customer has, every form of the question gives the one answer.

Random facts are lived through the API; forecast, simulation, batch and export are then held
against `GET /v1/entitlements` itself.
"""

import itertools
import json
import random
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests import histories
from tests.api.build import Customer, made, unique
from tests.conftest import Service

URL = "/v1/entitlements"
SECOND = timedelta(seconds=1)

# Not shrunk: each example is some hundred requests.
some_examples = settings(max_examples=25, deadline=None, phases=[Phase.generate])
few_or_many = st.none() | histories.steps


async def with_facts(
    client: httpx.AsyncClient, drawn: list[histories.Step] | None, facts: list[histories.Fact]
) -> tuple[Customer, date]:
    """A customer with these facts, and the day that it then is."""
    if drawn is None:
        today = histories.FIRST + timedelta(days=histories.DAYS)
        with histories.at(today):
            customer = await Customer.new(client, today)
    else:
        customer, today = await histories.live(client, drawn), histories.end(drawn)
    await histories.add(customer, facts, today)
    return customer, today


# --- forecast ------------------------------------------------------------------------------------


def covering(steps: list[dict[str, Any]], moment: datetime) -> dict[str, Any]:
    return [step for step in steps if datetime.fromisoformat(step["at"]) <= moment][-1]


@some_examples
@given(drawn=few_or_many, facts=histories.some_facts, seed=st.integers(0, 2**32))
async def test_forecast_is_what_is_answered_at_every_instant(
    client: httpx.AsyncClient,
    drawn: list[histories.Step] | None,
    facts: list[histories.Fact],
    seed: int,
) -> None:
    """At each step, a second before the next, at random instants, and wherever `valid_until` says
    that something changes; each step but the first begins at a `valid_until` (R13)."""
    customer, today = await with_facts(client, drawn, facts)
    with histories.at(today):
        now = datetime.combine(today, time(12), UTC)
        until = now + timedelta(days=1000)
        params = {"customer_id": customer.id, "until": until.isoformat()}
        answer = await made(await client.get(f"{URL}/forecast", params=params), 200)
        steps = answer["steps"]

        begins = [datetime.fromisoformat(step["at"]) for step in steps]
        chance = random.Random(seed)
        moments = {now, until, *begins, *(begin - SECOND for begin in begins[1:])}
        moments |= {now + chance.random() * (until - now) for _ in range(8)}
        for moment in sorted(moments):
            there = await customer.entitlements(at=moment.isoformat())
            step = covering(steps, moment)
            for name in ("policy", "columns", "services"):
                assert step[name] == there[name], (moment, name)

        changes = set()
        moment = now
        while moment <= until:
            there = await customer.entitlements(at=moment.isoformat())
            step = covering(steps, moment)
            assert (step["columns"], step["services"]) == (there["columns"], there["services"])
            if there["valid_until"] is None:
                break
            moment = datetime.fromisoformat(there["valid_until"])
            changes.add(moment)
        assert set(begins[1:]) <= changes


# --- simulation ----------------------------------------------------------------------------------

_ago = st.integers(0, 500)
_work = st.fixed_dictionaries(
    {
        "kind": st.just("time"),
        "minutes": st.sampled_from([1, 60, 310, 1300]),
        "channel": st.sampled_from(["email", "phone", "remote"]),
        "pay_with": st.sampled_from(["auto", "free_hours", "contract", "ticket"]),
    }
)
assumptions = st.one_of(
    _work,
    _work,
    st.fixed_dictionaries(
        {
            "kind": st.just("licence"),
            "licence_kind": st.sampled_from(["editor", "runtime"]),
            "purchased_on": st.none() | _ago,
        }
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("contract"),
            "starts_on": st.none() | st.integers(-400, 400),
            "included_minutes": st.none() | st.sampled_from([30, 90]),
        }
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("ticket_pack"),
            "quantity": st.integers(1, 3),
            "purchased_on": st.none() | _ago,
        }
    ),
)


def dated(assumption: dict[str, Any], today: date) -> dict[str, Any]:
    """With dates in place of days, which lie behind a purchase and on both sides of a contract."""
    body = {name: value for name, value in assumption.items() if value is not None}
    if "purchased_on" in body:
        body["purchased_on"] = str(today - timedelta(days=body["purchased_on"]))
    if "starts_on" in body:
        body["starts_on"] = str(today + timedelta(days=body["starts_on"]))
    return body


async def really(customer: Customer, assumed: dict[str, Any], today: date) -> httpx.Response:
    """What was assumed, done; the first answer that is none of success, or else the last."""
    client, whose = customer.client, {"customer_id": customer.id}
    body = {**whose, **{name: value for name, value in assumed.items() if name != "kind"}}
    match assumed["kind"]:
        case "licence":
            kind = body.pop("licence_kind")
            product = {"product": "Movicon", "version": "11", "purchased_on": str(today)}
            body = {**product, **body, "kind": kind, "serial_number": unique("S")}
            return await client.post("/v1/licences", json=body)
        case "contract":
            return await client.post("/v1/contracts", json={"starts_on": str(today), **body})
        case "ticket_pack":
            return await client.post("/v1/ticket-packs", json={"purchased_on": str(today), **body})
    licences = (await client.get("/v1/licences", params=whose)).json()["items"]
    valid = [one for one in licences if (one.get("withdrawn_on") or "9999") > str(today)]
    serial = {"serial_number": valid[0]["serial_number"]} if valid else {}
    minutes = body.pop("minutes")
    answer = await customer.try_open(**{"serial_number": None, **serial, **body})
    if answer.status_code != 201:
        return answer
    case = answer.json()
    await customer.work(case, minutes)
    return httpx.Response(200, json=await customer.close(case))


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Without the ids and numbers that only real things have."""
    made_up = {"id": None, "number": None}
    allowances = [
        {**one, **made_up} if one["kind"] != "free_hours" else one for one in answer["allowances"]
    ]
    return {**answer, "allowances": allowances}


@some_examples
@given(
    drawn=few_or_many,
    facts=histories.some_facts,
    assumed=st.lists(assumptions, min_size=2, max_size=8),
)
async def test_simulation_is_what_really_doing_it_gives(
    client: httpx.AsyncClient,
    drawn: list[histories.Step] | None,
    facts: list[histories.Fact],
    assumed: list[dict[str, Any]],
) -> None:
    """Assumed one by one as they are done, and all at once before any is."""
    customer, today = await with_facts(client, drawn, facts)
    bodies = [dated(assumption, today) for assumption in assumed]
    with histories.at(today):
        foreseen, accepted = [], list[dict[str, Any]]()
        for body in bodies:
            foreseen.append(await simulated(customer, *accepted, body))
            if foreseen[-1].status_code == 200:
                accepted.append(body)
        for body, all_at_once in zip(bodies, foreseen, strict=True):
            told = await simulated(customer, body)
            before = await customer.entitlements()
            done = await really(customer, body, today)
            if told.status_code == 200:
                assert done.is_success, (body, done.text)
                assert told.json()["before"] == before
                after = _plain(await customer.entitlements())
                assert _plain(told.json()["after"]) == after, body
                assert _plain(all_at_once.json()["after"]) == after, (body, accepted)
                continue
            # What cannot be done cannot be assumed either, and for the same reasons.
            for answer in (told, all_at_once):
                assert refusal(answer) == refusal(done), body


async def simulated(customer: Customer, *assumed: dict[str, Any]) -> httpx.Response:
    body = {"customer_id": customer.id, "assume": assumed}
    return await customer.client.post(f"{URL}/simulation", json=body)


def refusal(answer: httpx.Response) -> list[Any]:
    problem = answer.json()
    return [problem.get(name) for name in ("status", "code", "reasons", "unlocked_by")]


# --- batch and export ----------------------------------------------------------------------------


# Not drawn: no two customers may share one.
_phone = itertools.count(4_000_000)


async def reachable(client: httpx.AsyncClient, customer: Customer) -> list[dict[str, str]]:
    """Every lookup that finds the customer."""
    contact = {
        "name": "Plant",
        "email": f"{unique('plant')}@example.com",
        "phones": [f"+39059{next(_phone)}"],
    }
    reference = unique("ref")
    path = f"/v1/customers/{customer.id}"
    await made(await client.post(f"{path}/contacts", json=contact))
    await made(await client.patch(path, json={"external_refs": {"crm": reference}}), 200)
    return [
        {"customer_id": customer.id},
        {"customer_code": customer.code},
        {"email": str(contact["email"])},
        {"phone": contact["phones"][0]},
        {"external_ref": f"crm:{reference}"},
        *({"serial_number": serial} for serial in customer.serials[:1]),
    ]


@pytest.fixture(scope="module")
def alive() -> list[Customer]:
    """Everyone whom the examples so far have left in the database."""
    return []


@settings(some_examples, max_examples=10)  # each is more than all before it
@given(
    drawn=few_or_many,
    facts=histories.some_facts,
    seed=st.integers(0, 2**32),
    language=st.sampled_from(["it", "en", "de"]),
)
async def test_batch_and_export_are_the_single_answers(
    service: Service,
    client: httpx.AsyncClient,
    alive: list[Customer],
    drawn: list[histories.Step] | None,
    facts: list[histories.Fact],
    seed: int,
    language: str,
) -> None:
    """Now and at random instants, past and future, for everyone there is; so too for the customer
    itself with a token of its own (R38)."""
    customer, today = await with_facts(client, drawn, facts)
    chance = random.Random(seed)
    alive.append(customer)
    now = datetime.combine(today, time(12), UTC)
    instants = [now + timedelta(days=chance.uniform(-700, 700)) for _ in range(2)]
    said = {"Accept-Language": language}
    own = await service.token("entitlements:read", customer_id=customer.id)
    with histories.at(today):
        lookups = await reachable(client, customer)
        several = [*lookups, *({"customer_id": one.id} for one in alive)]
        chance.shuffle(several)
        for at in (None, *(moment.isoformat() for moment in instants)):
            when = {} if at is None else {"at": at}
            single = {}
            for one in alive:
                params = {"customer_id": one.id, **when}
                answer = await client.get(URL, params=params, headers=said)
                single[one.id] = await made(answer, 200)

            body = {"lookups": several, **when}
            answer = await client.post(f"{URL}/batch", json=body, headers=said)
            results = (await made(answer, 200))["results"]
            assert [result["lookup"] for result in results] == several
            for result in results:
                expected = result["lookup"].get("customer_id", customer.id)
                assert result["entitlements"] == single[expected]

            lines = await exported(client, when, said)
            told = {line["customer"]["id"]: line for line in lines}
            assert len(told) == len(lines)
            assert {one.id: told[one.id] for one in alive} == single
            async with service.client(own) as bound:
                mine = single[customer.id]
                params = {"customer_id": customer.id, **when}
                assert (await bound.get(URL, params=params, headers=said)).json() == mine
                answer = await bound.post(f"{URL}/batch", json=body, headers=said)
                seen = [result.get("entitlements") for result in answer.json()["results"]]
                theirs = {one.id for one in alive} - {customer.id}
                assert seen == [
                    None if lookup.get("customer_id") in theirs else mine for lookup in several
                ]
                assert await exported(bound, when, said) == [mine]


async def exported(
    client: httpx.AsyncClient, params: dict[str, str], headers: dict[str, str]
) -> list[dict[str, Any]]:
    answer = await client.get(f"{URL}/export", params=params, headers=headers)
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    assert (answer.status_code, last) == (200, {"end": True, "count": len(lines)})
    return lines
