"""Notices (R41): what the feed tells before an allowance ends and as it is used up."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app import clock
from app.policy.document import Policies
from app.services import standings
from app.store import standings as store
from app.store.reconcile import snapshot
from tests.api.build import Customer, made
from tests.api.test_events import every
from tests.conftest import Service, follow_all

Travel = Callable[[date], None]
T0 = date(2026, 3, 10)
TYPES = [f"allowance.{name}" for name in ("notice", "exhausted", "overrun", "recovered")]


async def notices(customer: Customer) -> list[dict[str, Any]]:
    return await every(customer.client, customer_id=customer.id, type=TYPES)


def told(events: list[dict[str, Any]]) -> list[tuple[str, str, int | None, int]]:
    """Kind of allowance, what is said, level and episode."""
    return [
        (
            one["data"]["allowance"]["kind"],
            one["data"].get("kind", one["type"].removeprefix("allowance.")),
            one["data"].get("level"),
            one["data"]["episode"],
        )
        for one in events
    ]


@pytest.fixture
async def holder(client: httpx.AsyncClient, travel: Travel) -> Customer:
    """A customer with an Editor of the day T0."""
    travel(T0)
    customer = await Customer.new(client, T0)
    await customer.licence(days=0)
    return customer


async def test_by_writes(service: Service, holder: Customer, travel: Travel) -> None:
    contract = await holder.contract(days=0, included_minutes=100)
    case = await holder.open(pay_with="contract", channel="phone")
    await follow_all(service)
    assert await notices(holder) == []
    travel(T0 + timedelta(days=1))
    entry = await holder.work(case, 80)
    await follow_all(service)
    (first,) = await notices(holder)
    assert first["type"] == "allowance.notice"
    assert first["subject"] == f"customers/{holder.id}"
    assert first["time"] == "2026-03-11T12:00:00Z"
    assert first["data"] == {
        "allowance": {
            "kind": "contract",
            "id": contract["id"],
            "number": contract["number"],
            "starts_on": "2026-03-10",
            "ends_on": "2027-03-10",
        },
        "episode": 1,
        "granted": 100,
        "used": 80,
        "held": 0,
        "left": 20,
        "overrun": 0,
        "kind": "used",
        "level": 75,
    }
    await holder.work(case, 30)
    await follow_all(service)
    await holder.work(case, 5)
    await follow_all(service)
    assert told((await notices(holder))[1:]) == [
        ("contract", "used", 100, 1),
        ("contract", "exhausted", None, 1),
        ("contract", "overrun", None, 1),
    ]
    # 35 minutes are left of 115 (R22, R30).
    await holder.reverse(entry)
    await follow_all(service)
    assert told((await notices(holder))[4:]) == [("contract", "recovered", None, 1)]
    await holder.work(case, 60)
    await follow_all(service)
    assert told((await notices(holder))[5:]) == [("contract", "used", 90, 2)]


async def test_by_time(service: Service, holder: Customer, travel: Travel) -> None:
    """Each at the start of its day, however late somebody looks, and the last that stands alone."""
    contract = await holder.contract(days=0)
    await holder.pack(2, days=0)
    await follow_all(service)
    assert await notices(holder) == []
    # 60 days before 2027-03-10 is 2027-01-09.
    travel(date(2027, 1, 8))
    await follow_all(service)
    assert await notices(holder) == []
    travel(date(2027, 1, 9))
    assert (await store.lag(service.database, clock.now())).standing == 13 * 3600
    await follow_all(service)
    assert (await store.lag(service.database, clock.now())).standing == 0
    (first,) = await notices(holder)
    assert first["time"] == "2027-01-08T23:00:00Z"
    assert first["data"]["allowance"]["id"] == contract["id"]
    assert told([first]) == [("contract", "ending", 60, 1)]
    # 30 and 7 days passed: 7 days alone, of all three.
    travel(date(2027, 3, 5))
    await follow_all(service)
    rest = (await notices(holder))[1:]
    assert sorted(told(rest)) == [
        ("contract", "ending", 7, 1),
        ("free_hours", "ending", 7, 1),
        ("ticket_pack", "ending", 7, 1),
    ]
    assert {one["time"] for one in rest} == {"2027-03-02T23:00:00Z"}
    travel(date(2027, 6, 1))
    await follow_all(service)
    assert len(await notices(holder)) == 4


async def test_none_after_a_renewal(service: Service, holder: Customer, travel: Travel) -> None:
    contract = await holder.contract(days=0)
    travel(date(2027, 1, 9))
    await follow_all(service)
    successor = await holder.renew(contract, "at_end")
    await holder.licence("runtime", days=305)
    await follow_all(service)
    for day in (date(2027, 2, 8), date(2027, 3, 3)):
        travel(day)
        await follow_all(service)
    assert told(await notices(holder)) == [("contract", "ending", 60, 1)]
    # Without the successor the level that stands is announced.
    await holder.end(successor, date(2027, 3, 10))
    await follow_all(service)
    assert told((await notices(holder))[1:]) == [("contract", "ending", 7, 1)]


async def test_a_bug_gives_back(service: Service, holder: Customer) -> None:
    case = await holder.open()
    await holder.work(case, 300)
    await follow_all(service)
    await holder.patch(case, category="bug")
    await follow_all(service)
    assert told(await notices(holder)) == [
        ("free_hours", "used", 100, 1),
        ("free_hours", "exhausted", None, 1),
        ("free_hours", "recovered", None, 1),
    ]


async def test_nothing_is_told_twice(service: Service, holder: Customer, travel: Travel) -> None:
    await holder.contract(days=0)
    travel(date(2027, 1, 20))
    await follow_all(service)
    before = await notices(holder)
    assert told(before) == [("contract", "ending", 60, 1)]
    # Looked at again: after a replay, and by a walk.
    for change in ("followed = 0", "walking = true, walked_through = NULL"):
        await service.server.run_in(service.database_name, f"UPDATE standing_state SET {change}")
        await follow_all(service)
        assert await notices(holder) == before


async def test_an_upgrade_announces_nothing_that_stands(
    service: Service, holder: Customer, travel: Travel
) -> None:
    await holder.contract(days=0, included_minutes=100)
    case = await holder.open(pay_with="contract", channel="phone")
    await holder.work(case, 80)
    travel(date(2027, 1, 20))
    # The rows of the release before.
    before = (
        "DELETE FROM allowance_standings",
        "DELETE FROM standings",
        "DELETE FROM standing_kinds",
        "UPDATE standing_state SET walking = true, followed = (SELECT position FROM feed_state)",
    )
    await follow_all(service)
    news = len(await notices(holder))
    assert news == 2
    for statement in before:
        await service.server.run_in(service.database_name, statement)
    await follow_all(service)
    assert len(await notices(holder)) == news
    await holder.work(case, 15)
    travel(date(2027, 2, 8))
    await follow_all(service)
    assert told((await notices(holder))[news:]) == [
        ("free_hours", "ending", 30, 1),
        ("contract", "used", 90, 1),
        ("contract", "ending", 30, 1),
    ]


async def test_a_merge_repeats_nothing(service: Service, holder: Customer, travel: Travel) -> None:
    twin = await Customer.new(holder.client, T0)
    await twin.licence(days=0)
    await twin.contract(days=0)
    travel(date(2027, 3, 8))
    await follow_all(service)
    assert sorted(told(await notices(twin))) == [
        ("contract", "ending", 7, 1),
        ("free_hours", "ending", 7, 1),
    ]
    before = await notices(holder)
    body = {"into": holder.id, "reason": "Entered twice."}
    await made(await holder.client.post(f"/v1/customers/{twin.id}/merge", json=body), 200)
    await follow_all(service)
    both = await every(holder.client, type=TYPES)
    mine = [one for one in both if one["partitionkey"] in (holder.id, twin.id)]
    assert len(mine) == len(before) + 2


async def test_a_year_that_moved_is_not_announced_anew(
    service: Service, client: httpx.AsyncClient, travel: Travel
) -> None:
    travel(T0)
    customer = await Customer.new(client, T0)
    licence = await customer.licence(days=-20)
    case = await customer.open()
    await customer.work(case, 230)
    await follow_all(service)
    expected = [("free_hours", "used", 75, 1)]
    assert told(await notices(customer)) == expected
    body = {"purchased_on": "2026-02-25", "reason": "Entered wrong."}
    await made(await client.post(f"/v1/licences/{licence['id']}/correction", json=body), 200)
    await follow_all(service)
    assert told(await notices(customer)) == expected


async def test_other_levels_of_the_policy(
    service: Service, holder: Customer, travel: Travel
) -> None:
    await holder.contract(days=0)
    travel(date(2026, 12, 20))
    await follow_all(service)
    first = service.policies.versions[0]
    days = first.notices.days_before_end.model_copy(update={"contract": (90,)})
    changed = first.notices.model_copy(update={"days_before_end": days})
    other = Policies([first.model_copy(update={"notices": changed})])
    assert await notices(holder) == []
    service_of_other = Service(**{**vars(service), "policies": other})
    await follow_all(service_of_other)
    assert told(await notices(holder)) == [("contract", "ending", 90, 1)]
    await follow_all(service)


async def test_a_bound_token_hears_of_its_own(service: Service, holder: Customer) -> None:
    case = await holder.open()
    await holder.work(case, 230)
    await follow_all(service)
    for scopes, expected in ((["entitlements:read"], 1), (["cases:read"], 0)):
        async with await service.client_with(*scopes, customer_id=holder.id) as bound:
            assert len(await every(bound, type=TYPES)) == expected
    stranger = await Customer.new(holder.client, T0)
    async with await service.client_with("entitlements:read", customer_id=stranger.id) as bound:
        assert await every(bound, type=TYPES) == []


async def test_a_missed_look_is_a_difference(
    service: Service, holder: Customer, travel: Travel
) -> None:
    await holder.contract(days=0)
    await follow_all(service)
    await service.server.run_in(
        service.database_name,
        "UPDATE standings SET looks_at = NULL WHERE customer_id = $1",
        holder.id,
    )
    async with snapshot(service.database) as now:
        found = [
            (one.customer, one.field)
            async for one in standings.differences(now.connection, service.policies, clock.now())
            if one is not None
        ]
    assert (holder.code, "looks_at") in found
