"""The standing: what is told when a customer may use something else, by a write or by time."""

import csv
import io
import random
import re
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from itertools import groupby, pairwise
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app import clock
from app.jobs import publishing
from app.policy.document import Policies
from app.services import standings
from app.services.tokens import SCOPES
from app.store import standings as store
from app.store.reconcile import snapshot
from tests import histories
from tests.api.build import Customer, errors, made
from tests.api.test_events import every
from tests.conftest import Service, follow_all, publish_all

Travel = Callable[[date], None]
T0 = date(2026, 3, 10)
DERIVED = [
    "entitlements.changed",
    "contract.expired",
    "contract.suspended",
    "contract.resumed",
    "tickets.expired",
    "free_hours.started",
    "free_hours.ended",
]


def shown(answer: dict[str, Any]) -> dict[str, Any]:
    """The standing that an answer of `GET /v1/entitlements` shows."""
    return {
        "columns": answer["columns"],
        "services": [one["service"] for one in answer["services"] if one["allowed"]],
        "valid_until": answer["valid_until"],
    }


async def derived(customer: Customer) -> list[dict[str, Any]]:
    return await every(customer.client, customer_id=customer.id, type=DERIVED)


async def changes(customer: Customer) -> list[dict[str, Any]]:
    return await every(customer.client, customer_id=customer.id, type="entitlements.changed")


async def rows(service: Service) -> list[Any]:
    query = "SELECT * FROM standings ORDER BY customer_id"
    return list(await service.server.run_in(service.database_name, query))


async def allowances(service: Service) -> list[Any]:
    query = "SELECT * FROM allowance_standings ORDER BY customer_id, key"
    return list(await service.server.run_in(service.database_name, query))


async def run(service: Service, statement: str, *values: Any) -> None:
    await service.server.run_in(service.database_name, statement, *values)


@pytest.fixture
async def holder(client: httpx.AsyncClient, travel: Travel) -> Customer:
    """A new customer on the day T0, whose standing is not looked at yet."""
    travel(T0)
    return await Customer.new(client, T0)


async def test_a_write(service: Service, holder: Customer) -> None:
    await follow_all(service)
    nothing = shown(await holder.entitlements())
    assert await derived(holder) == []
    await holder.licence(days=0)
    await follow_all(service)
    started, changed = await derived(holder)
    assert started["type"] == "free_hours.started"
    assert started["data"] == {"starts_on": "2026-03-10", "ends_on": "2027-03-10"}
    after = shown(await holder.entitlements())
    assert changed["data"] == {
        "before": nothing,
        "after": after,
        "gained": ["web_support_portal", "support_downloads", "email_support"],
        "lost": [],
        "cause": "write",
        "valid_until": "2027-03-09T23:00:00Z",
    }
    assert changed["time"] == "2026-03-10T12:00:00Z"
    assert changed["subject"] == f"customers/{holder.id}"


async def test_a_cause_stands_before_its_effect(service: Service, holder: Customer) -> None:
    """Also where the write is committed while the standings are looked at."""
    await follow_all(service)
    await holder.licence(days=0)
    # The entry of the licence is not published; another customer's is, and both are looked at.
    await run(service, "UPDATE standing_state SET walking = true, walked_through = NULL")
    while await publishing.follow(service.database, service.policies):
        pass
    events = await every(holder.client, customer_id=holder.id)
    assert [one["type"] for one in events] == [
        "customer.created",
        "licence.registered",
        "free_hours.started",
        "entitlements.changed",
    ]


async def test_a_new_customer_begins_with_the_standing_of_nobody(
    service: Service, holder: Customer
) -> None:
    nothing = shown(await holder.entitlements())
    await holder.pack(days=0)
    await follow_all(service)
    (changed,) = await derived(holder)
    assert changed["data"]["before"] == nothing
    assert changed["data"]["after"]["columns"] == ["NO_DEV", "TCK"]


async def test_time_alone(service: Service, holder: Customer, travel: Travel) -> None:
    """Each step is told with its own instant, however late somebody looks."""
    await holder.licence(days=0)
    contract = await holder.contract(days=10)
    pack = await holder.pack(quantity=3, days=-5)
    await follow_all(service)
    before = len(await derived(holder))
    answers = []
    for day in (date(2026, 3, 20), date(2027, 3, 5), date(2027, 3, 10), date(2027, 3, 20)):
        travel(day)
        answers.append(shown(await holder.entitlements()))
    travel(date(2027, 6, 1))
    await follow_all(service)
    told = (await derived(holder))[before:]
    assert [(one["type"], one["time"][:10]) for one in told] == [
        ("entitlements.changed", "2026-03-19"),
        ("tickets.expired", "2027-03-04"),
        ("entitlements.changed", "2027-03-04"),
        ("free_hours.ended", "2027-03-09"),
        ("entitlements.changed", "2027-03-09"),
        ("contract.expired", "2027-03-19"),
        ("entitlements.changed", "2027-03-19"),
    ]
    steps = [one["data"] for one in told if one["type"] == "entitlements.changed"]
    assert [one["after"] for one in steps] == answers
    assert {one["cause"] for one in steps} == {"time"}
    assert told[5]["subject"] == f"contracts/{contract['id']}"
    assert told[1]["subject"] == f"ticket-packs/{pack['id']}"
    assert told[1]["data"] == {
        "number": pack["number"],
        "quantity": 3,
        "expired_on": "2027-03-05",
    }


async def test_a_contract_is_suspended_and_resumed(service: Service, holder: Customer) -> None:
    licence = await holder.licence(days=0)
    contract = await holder.contract(days=0)
    await follow_all(service)
    await holder.withdraw(licence, T0)
    await follow_all(service)
    await holder.licence(days=0)
    await follow_all(service)
    told = [one for one in await derived(holder) if one["type"].startswith("contract.")]
    assert [one["type"] for one in told] == ["contract.suspended", "contract.resumed"]
    assert {one["subject"] for one in told} == {f"contracts/{contract['id']}"}


async def test_a_replay_changes_nothing(service: Service, holder: Customer) -> None:
    await holder.licence(days=0)
    await holder.contract(days=0)
    await follow_all(service)
    before, told = await rows(service), await every(holder.client)
    await run(service, "UPDATE standing_state SET followed = 0")
    await follow_all(service)
    assert await rows(service) == before
    assert await every(holder.client) == told


async def test_customers_from_before_the_upgrade_get_their_rows_silently(
    service: Service, holder: Customer
) -> None:
    await holder.licence(days=0)
    await publish_all(service)
    await run(service, "DELETE FROM standings")
    await run(service, "DELETE FROM allowance_standings")
    await run(service, "DELETE FROM standing_kinds")
    await run(
        service,
        "UPDATE standing_state SET followed = (SELECT position FROM feed_state), walking = true",
    )
    told = len(await every(holder.client))
    new = await Customer.new(holder.client, T0)
    await new.licence(days=0)
    await follow_all(service)
    # Nobody is told of the old ones; the chain of the new one begins at its beginning.
    assert await derived(holder) == []
    assert len(await derived(new)) == 2
    assert len(await every(holder.client)) == told + 4
    kept = {(str(one["customer_id"]), one["key"]) for one in await allowances(service)}
    assert {(holder.id, "2026-03-10"), (new.id, "2026-03-10")} <= kept
    await holder.pack(days=0)
    await follow_all(service)
    (changed,) = await derived(holder)
    assert changed["data"]["before"]["columns"] == ["DEV"]


async def test_another_policy(service: Service, holder: Customer) -> None:
    """Everybody is looked at again after the policy documents have changed."""
    await holder.licence(days=0)
    await follow_all(service)
    first = service.policies.versions[0]
    terms = first.development.model_copy(update={"months": 6})
    other = Policies([first.model_copy(update={"development": terms})])
    assert other.fingerprint != service.policies.fingerprint
    before = len(await derived(holder))
    await publishing.follow(service.database, other)
    (changed,) = (await derived(holder))[before:]
    assert changed["data"]["after"]["valid_until"] == "2026-09-09T22:00:00Z"
    await follow_all(service)


async def test_a_merged_record_has_no_standing(service: Service, holder: Customer) -> None:
    twin = await Customer.new(holder.client, T0)
    await twin.licence(days=0)
    await holder.pack(days=0)
    await follow_all(service)
    before = await allowances(service)
    body = {"into": holder.id, "reason": "Entered twice."}
    await made(await holder.client.post(f"/v1/customers/{twin.id}/merge", json=body), 200)
    await follow_all(service)
    assert twin.id in {str(row["customer_id"]) for row in before}
    for kept in (await rows(service), await allowances(service)):
        assert twin.id not in {str(row["customer_id"]) for row in kept}
        assert holder.id in {str(row["customer_id"]) for row in kept}
    *_, last = await derived(holder)
    assert last["data"]["before"]["columns"] == ["NO_DEV", "TCK"]
    assert last["data"]["after"] == shown(await holder.entitlements())


async def test_many_customers_at_once(
    service: Service, holder: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one turn takes, so that turns end between customers, and between publications."""
    monkeypatch.setattr("app.services.standings.AT_ONCE", 3)
    monkeypatch.setattr("app.services.standings._BLOCK", 7)
    monkeypatch.setattr("app.services.feed.PUBLISHED_AT_ONCE", 5)
    customers = [await Customer.new(holder.client, T0) for _ in range(8)]
    for customer in (*customers, *customers[::2]):
        await customer.licence(days=0)
    await customers[0].pack(days=0)
    await follow_all(service)
    for customer in customers:
        chain = await changes(customer)
        assert chain[-1]["data"]["after"] == shown(await customer.entitlements())


async def test_entries_that_change_no_standing_are_passed_over(
    service: Service, holder: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than are read at once, before one that changes a standing."""
    await follow_all(service)
    monkeypatch.setattr("app.services.standings._BLOCK", 3)
    for number in range(10):
        body = {"name": f"Contact {number}"}
        await made(await holder.client.post(f"/v1/customers/{holder.id}/contacts", json=body))
    await holder.licence(days=0)
    await follow_all(service)
    (_, changed) = await derived(holder)
    assert changed["data"]["after"] == shown(await holder.entitlements())


async def test_entries_that_were_pruned_before_they_were_followed(
    service: Service, holder: Customer
) -> None:
    await follow_all(service)
    await holder.licence(days=0)
    await publish_all(service)
    await run(service, "DELETE FROM feed")
    await run(service, "UPDATE feed_state SET pruned_through = position")
    await follow_all(service)
    (_, changed) = await derived(holder)
    assert changed["data"]["after"] == shown(await holder.entitlements())


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    """The ids of all customers that are listed, page by page."""
    found: list[str] = []
    while True:
        page = await made(await client.get("/v1/customers", params={"limit": 2, **query}), 200)
        found += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


async def test_customers_by_what_they_may_use(
    service: Service, holder: Customer, travel: Travel
) -> None:
    mine = [await Customer.new(holder.client, T0, country="MT") for _ in range(4)]
    for customer in mine[:2]:
        await customer.licence(days=0)
    for customer in mine[1:3]:
        await customer.pack(days=0)
    await follow_all(service)
    everybody = await ids(holder.client)
    answers = {
        id_: await made(
            await holder.client.get("/v1/entitlements", params={"customer_id": id_}), 200
        )
        for id_ in everybody
    }
    for column in ("NO_DEV", "DEV", "SA", "TCK"):
        expected = [id_ for id_ in everybody if column in answers[id_]["columns"]]
        assert await ids(holder.client, column=column) == expected
    for name in ("web_forum", "email_support", "phone_support"):
        expected = [id_ for id_ in everybody if name in shown(answers[id_])["services"]]
        assert await ids(holder.client, service=name) == expected
    both = {"column": "DEV", "service": "phone_support"}
    expected = [
        id_
        for id_ in everybody
        if "DEV" in answers[id_]["columns"] and "phone_support" in shown(answers[id_])["services"]
    ]
    assert mine[1].id in expected
    assert await ids(holder.client, **both) == expected
    # Together with the other filters.
    malta = [one.id for one in mine]
    assert await ids(holder.client, country="MT", column="DEV") == malta[:2]
    assert await ids(holder.client, q=mine[2].code, column="TCK") == malta[2:3]
    assert await ids(holder.client, q=mine[2].code, column="DEV") == []
    assert await ids(holder.client, archived="true", column="DEV") == []
    travel(T0 + timedelta(days=1))
    await mine[3].pack(days=0)
    await mine[0].pack(days=0)
    await follow_all(service)
    since = "2026-03-11T00:00:00Z"
    assert await ids(holder.client, changed_after=since) == [malta[0], malta[3]]
    assert await ids(holder.client, changed_after=since, column="DEV") == [malta[0]]
    assert await ids(holder.client, changed_after=since, country="IT") == []
    assert await ids(holder.client, changed_after="2030-01-01T00:00:00Z") == []


async def test_a_bound_token_s_own_figures(service: Service, holder: Customer) -> None:
    await holder.licence(days=0)
    await follow_all(service)
    scopes = ("customers:read", "usage:read")
    async with await service.client_with(*scopes, customer_id=holder.id) as bound:
        assert await ids(bound, column="DEV") == [holder.id]
        assert await ids(bound, column="SA") == []
        found = await made(await bound.get("/v1/usage/columns"), 200)
    assert found["customers"] == 1
    assert {one["column"]: one["customers"] for one in found["columns"]} == {
        "NO_DEV": 0,
        "DEV": 1,
        "SA": 0,
        "TCK": 0,
    }


async def test_how_many_customers_stand_where(service: Service, holder: Customer) -> None:
    await holder.pack(days=0)
    await follow_all(service)
    found = await made(await holder.client.get("/v1/usage/columns"), 200)
    assert found["customers"] == len(await rows(service))
    for one in found["columns"]:
        assert one["customers"] == len(await ids(holder.client, column=one["column"]))
    for one in found["services"]:
        assert one["customers"] == len(await ids(holder.client, service=one["service"]))
    answer = await holder.client.get("/v1/usage/columns?format=csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="columns.csv"'
    assert list(csv.reader(io.StringIO(answer.text, newline="")))[1:] == [
        *(["column", one["column"], str(one["customers"])] for one in found["columns"]),
        *(["service", one["service"], str(one["customers"])] for one in found["services"]),
    ]


async def test_how_many_customers_stood_where(
    new_service: Callable[..., Awaitable[Service]], travel: Travel
) -> None:
    # Its clock never goes back.
    service = await new_service()
    travel(T0)
    client = await service.client_with(*SCOPES)
    holder = await Customer.new(client, T0)

    async def figures(client: httpx.AsyncClient, **query: str) -> dict[str, Any]:
        found = await made(await client.get("/v1/usage/columns", params=query), 200)
        return {name: value for name, value in found.items() if name != "at"}

    await follow_all(service)
    known: dict[str, list[tuple[str, Any]]] = {"everybody": [], "own": []}
    async with await service.client_with("usage:read", customer_id=holder.id) as bound:
        steps: list[Any] = [
            lambda: holder.licence(days=0),
            lambda: holder.contract(days=0),
            lambda: Customer.new(holder.client, T0),
            lambda: holder.pack(2, days=0),
        ]
        for day, step in enumerate(steps, start=1):
            travel(T0 + timedelta(days=day))
            await step()
            await follow_all(service)
            at = f"{T0 + timedelta(days=day)}T12:00:00Z"
            known["everybody"].append((at, await figures(holder.client)))
            known["own"].append((at, await figures(bound)))
        travel(T0 + timedelta(days=600))
        await follow_all(service)
        for at, then in known["everybody"]:
            assert await figures(holder.client, at=at) == then
        for at, then in known["own"]:
            assert await figures(bound, at=at) == then
        assert known["own"][0] != known["own"][1]
        wrong = await bound.get("/v1/usage/columns", params={"at": "2150-01-01T00:00:00Z"})
        assert errors(wrong) == [("query/at", "in_future")]
        early = await bound.get("/v1/usage/columns", params={"at": "1999-01-01T00:00:00Z"})
        assert errors(early) == [("query/at", "out_of_range")]
        # From the earliest instant that the message names on, there is an answer.
        (said,) = re.findall(
            r"Accepted here: (\S+) to \S+Z\.", early.json()["errors"][0]["message"]
        )
        answer = await bound.get("/v1/usage/columns", params={"at": said})
        assert answer.status_code == 200
    await client.aclose()


async def test_the_counts_are_those_of_the_rows(service: Service, holder: Customer) -> None:
    await holder.licence(days=0)
    await follow_all(service)
    counted = await service.server.run_in(
        service.database_name, "SELECT id, customers FROM standing_kinds WHERE customers <> 0"
    )
    found = await service.server.run_in(
        service.database_name, "SELECT kind_id, count(*) FROM standings GROUP BY kind_id"
    )
    assert sorted(map(tuple, counted)) == sorted(map(tuple, found))


async def test_how_long_something_has_been_waiting(
    service: Service, holder: Customer, travel: Travel
) -> None:
    async def lag() -> store.Lag:
        return await store.lag(service.database, clock.now())

    await follow_all(service)
    assert await lag() == (0, 0)
    await holder.licence(days=0)
    travel(T0 + timedelta(days=1))
    assert await lag() == (24 * 3600, 0)
    await follow_all(service)
    assert await lag() == (0, 0)
    # DEV ended at midnight in Rome, thirteen hours before.
    travel(date(2027, 3, 10))
    assert (await lag()).feed == 0
    assert (await lag()).standing >= 13 * 3600
    await follow_all(service)
    assert await lag() == (0, 0)


# --- random histories ----------------------------------------------------------------------------


# Not shrunk: each example is up to a hundred requests.
@settings(max_examples=4, deadline=None, phases=[Phase.generate])
@given(drawn=histories.steps, seed=st.integers(0, 999))
async def test_the_chain_equals_the_answers_of_its_moments(
    service: Service, client: httpx.AsyncClient, drawn: list[histories.Step], seed: int
) -> None:
    """Looked at after every step, or, for odd seeds, at random moments."""
    chance = random.Random(seed)
    answers: list[dict[str, Any]] = []

    async def look(customer: Customer) -> None:
        if seed % 2 and chance.random() < 0.7:
            return
        await follow_all(service)
        told = await changes(customer)
        answer = shown(await customer.entitlements())
        assert told[-1]["data"]["after"] == answer
        answers.append(answer)

    customer = await histories.live(client, drawn, look)
    with histories.at(histories.FIRST + timedelta(days=histories.DAYS + 800)):
        await look(customer)
        await follow_all(service)
    chain = [one["data"] for one in await changes(customer)]
    assert all(one["before"] == before["after"] for before, one in pairwise(chain))
    assert all(one["before"] != one["after"] for one in chain)
    # Every answer that was given stands in the chain, in the order in which they were given.
    rest = iter(one["after"] for one in chain)
    for answer, _ in groupby(answers):
        assert answer in rest
    for one in chain:
        before, after = (set(one[side]["services"]) for side in ("before", "after"))
        assert set(one["gained"]) == after - before
        assert set(one["lost"]) == before - after
    stored = await rows(service)
    # As far back as entries are kept: what lies before them begins a walk.
    kept = "(SELECT pruned_through FROM feed_state)"
    await run(service, f"UPDATE standing_state SET followed = {kept}")
    with histories.at(histories.FIRST + timedelta(days=histories.DAYS + 800)):
        await follow_all(service)
        async with snapshot(service.database) as now:
            wrong = standings.differences(now.connection, service.policies, clock.now())
            assert [one async for one in wrong if one is not None] == []
    assert await rows(service) == stored
    assert [one["data"] for one in await changes(customer)] == chain
