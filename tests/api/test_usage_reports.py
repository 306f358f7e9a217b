"""Usage by time and dimension, against a computation of its own (`usage_model`)."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app import clock
from app.jobs.summing import sum_days
from app.routers.usage.report_schemas import UsageReport
from app.services import usage_reports
from app.store import usage_reports as store
from app.store.reconcile import Difference, snapshot
from tests import histories
from tests.api import usage_model as model
from tests.api.build import Customer, errors, made
from tests.api.usage_model import Figure
from tests.conftest import Service, follow_all

Travel = Callable[[date], None]
DAY = timedelta(days=1)
WINDOWS = ("day", "week", "month", "quarter", "year", "all")


async def usage(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    """The answer with the rows of all pages."""
    if "from_" in query:
        query["from"] = query.pop("from_")
    query = {name: str(one) if isinstance(one, date) else one for name, one in query.items()}
    whole: dict[str, Any] | None = None
    while True:
        answer = await client.get("/v1/usage", params=query)
        body = await made(answer, 200)
        UsageReport.model_validate_json(answer.content)
        if whole is None:
            whole = body
        else:
            assert body["totals"] == whole["totals"]
            whole["items"] += body["items"]
        if body["next_cursor"] is None:
            return whole
        query["cursor"] = body["next_cursor"]


async def customers_of(client: httpx.AsyncClient) -> list[str]:
    every = await model.items(client, "/v1/customers")
    every += await model.items(client, "/v1/customers", archived="true")
    return sorted({one["id"] for one in every})


async def every_figure(client: httpx.AsyncClient, today: date) -> list[Figure]:
    found = []
    for customer in await customers_of(client):
        found += await model.figures(client, customer, today)
    return found


async def compare(
    client: httpx.AsyncClient, figures: list[Figure], chance: random.Random, last: date
) -> None:
    """A random question, answered as the figures say."""
    start = model.FIRST + timedelta(days=chance.randrange(0, 900))
    end = chance.choice((start + timedelta(days=chance.randrange(1, 400)), last))
    if end <= start:
        end = start + DAY
    window = chance.choice(WINDOWS)
    group_by = chance.sample(model.DIMENSIONS, chance.randrange(3))
    filters: dict[str, str] = {}
    if chance.random() < 0.6:
        of = chance.choice(figures).of
        names = [name for name, value in of.items() if value is not None]
        filters = {name: of[name] or "" for name in chance.sample(names, chance.randrange(1, 3))}
    asked = {"from_": start, "to": end, "window": window, "group_by": group_by, **filters}
    answer = await usage(client, **asked)
    if chance.random() < 0.5:
        pages = await usage(client, limit=max(1, len(answer["items"]) // 4), **asked)
        assert pages["items"] == answer["items"]
    expected = model.summed(figures, start, end, window, group_by, filters, MEASURES)
    model.check(answer, expected, group_by, measures=MEASURES)


MEASURES = model.MEASURES


async def lively(
    client: httpx.AsyncClient,
    drawn: list[histories.Step],
    chance: random.Random,
    after_each: Callable[[], Awaitable[None]],
) -> Customer:
    """A history with technicians, priorities, channels, and customers that move."""

    async def and_more(customer: Customer) -> None:
        cases = await model.items(client, "/v1/cases", customer_id=customer.id)
        case = chance.choice(cases)
        match chance.randrange(5):
            case 0:
                who = chance.choice(("Ada", "Ben", "Übung"))
                await client.patch(f"/v1/cases/{case['id']}", json={"technician": who})
            case 1:
                how = chance.choice(("high", "normal", "low"))
                await client.patch(f"/v1/cases/{case['id']}", json={"priority": how})
            case 2:
                where = chance.choice(("IT", "DE", "CH"))
                body = {"country": where, "help_desk": chance.choice((None, "it", "de"))}
                await client.patch(f"/v1/customers/{customer.id}", json=body)
            case 3:
                channel = chance.choice(("phone", "remote"))
                await customer.try_open(channel=channel, pay_with=chance.choice(("auto", "ticket")))
            case 4:
                url = f"/v1/cases/{case['id']}/time-entries"
                who = chance.choice(("Ada", "Ben"))
                await client.post(url, json={"technician": who, "minutes": 25})
        await after_each()

    return await histories.live(client, drawn, and_more)


@given(drawn=histories.steps, seed=st.integers(0, 2**32))
@settings(max_examples=2, deadline=None, phases=[Phase.explicit, Phase.generate])
async def test_figures_are_those_of_everything_else(
    service: Service,
    client: httpx.AsyncClient,
    drawn: list[histories.Step],
    seed: int,
) -> None:
    chance = random.Random(seed)

    async def sometimes() -> None:
        if chance.random() < 0.3:
            await follow_all(service)
            await sum_all(service)

    customer = await lively(client, drawn, chance, sometimes)
    today = histories.end(drawn) + timedelta(days=chance.randrange(400))
    with histories.at(today):
        await follow_all(service)
        # Without the comparison with the document, which would take most of the time.
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", headers=client.headers
        ) as quick:
            figures = await every_figure(quick, today)
        last = model.LAST
        for turn in range(8):
            if turn == 4:
                await sum_all(service)
                assert await differences(service) == []
            few, customers = chance.choice(((100_000, 5_000), (3, 1), (40, 2)))
            with pytest.MonkeyPatch.context() as patched:
                few_figures(patched, few, customers)
                await compare(client, figures, chance, last)
        # All time is what the customer's own usage says.
        answer = await usage(client, from_=model.FIRST, to=last, customer=customer.id)
        own = await made(await client.get(f"/v1/customers/{customer.id}/usage"), 200)
        totals, cases = answer["totals"], own["totals"]["cases"]
        assert totals["cases_opened"] == cases["opened"]
        assert totals["cases_closed"] == cases["closed"]
        assert totals["cases_cancelled"] == cases["cancelled"]
        for name in ("worked_minutes", "charged_minutes", "overrun_minutes"):
            assert totals[name] == own["totals"][name]
        packs = [one for one in own["allowances"] if one["kind"] == "ticket_pack"]
        for name, of_pack in (
            ("tickets_sold", "quantity"),
            ("tickets_consumed", "consumed"),
            ("tickets_cancelled", "cancelled"),
            ("tickets_expired", "expired"),
        ):
            assert totals[name] == sum(one[of_pack] for one in packs)
        hours = [one for one in own["allowances"] if one["kind"] != "ticket_pack"]
        begun = [one for one in hours if one["starts_on"] <= str(today)]
        assert totals["minutes_granted"] == sum(one["granted_minutes"] for one in begun)
        assert totals["minutes_lapsed"] == sum(one["lapsed_minutes"] for one in hours)


async def sum_all(service: Service) -> None:
    """Sum every day before today."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(usage_reports, "DAYS_AT_ONCE", 1_000)
        while await sum_days(service.database, service.policies):
            pass


async def differences(service: Service) -> list[Difference]:
    async with snapshot(service.database) as kept:
        found = usage_reports.differences(kept.connection, service.policies, clock.now())
        return [one async for one in found]


def few_figures(patched: pytest.MonkeyPatch, figures: int, customers: int) -> None:
    """Pages by customer are cut from so many figures, else by looking at so many customers."""
    patched.setattr(store, "MOST_FIGURES", figures)
    patched.setattr(store, "MOST_CUSTOMERS", customers)


T0 = date(2026, 3, 10)


@pytest.fixture
async def holder(client: httpx.AsyncClient, travel: Travel) -> Customer:
    travel(T0)
    customer = await Customer.new(client, T0, country="DE")
    await customer.licence(days=0)
    return customer


async def of_day(customer: Customer, day: date, **query: Any) -> dict[str, int]:
    """What is not zero of a customer on a day."""
    answer = await usage(customer.client, from_=day, to=day + DAY, customer=customer.id, **query)
    return {name: value for name, value in answer["totals"].items() if value}


async def test_the_past_changes_the_day_that_it_corrects(holder: Customer, travel: Travel) -> None:
    case = await holder.open()
    entry = await holder.work(case, 30)
    before = await of_day(holder, T0)
    assert before["worked_minutes"] == before["charged_minutes"] == 30
    travel(T0 + 5 * DAY)
    await holder.step(case, "closure", resolution="Done.")
    assert await of_day(holder, T0 + 5 * DAY) == {"cases_closed": 1}
    travel(T0 + 6 * DAY)
    await holder.step(case, "reopening", reason="Not done.")
    assert await of_day(holder, T0 + 5 * DAY) == {}
    await holder.step(case, "closure", resolution="Done.")
    assert await of_day(holder, T0 + 6 * DAY) == {"cases_closed": 1}
    await holder.patch(case, category="bug")
    after = await of_day(holder, T0)
    assert (after["cases_bug"], after["worked_minutes"]) == (1, 30)
    assert "charged_minutes" not in after
    await holder.step(case, f"time-entries/{entry['id']}/reversal", reason="Wrong.")
    assert "worked_minutes" not in await of_day(holder, T0)


async def test_a_renewal_that_takes_over_moves_minutes_to_its_first_day(
    holder: Customer, travel: Travel
) -> None:
    contract = await holder.contract(days=0, included_minutes=60)
    case = await holder.open(channel="phone")
    await holder.work(case, 100)
    assert (await of_day(holder, T0))["overrun_minutes"] == 40
    travel(T0 + 3 * DAY)
    body = {"starts": "today", "take_over_overrun": True}
    await made(await holder.client.post(f"/v1/contracts/{contract['id']}/renewal", json=body))
    assert "overrun_minutes" not in await of_day(holder, T0)
    assert (await of_day(holder, T0))["charged_minutes"] == 60
    assert (await of_day(holder, T0 + 3 * DAY))["charged_minutes"] == 40


async def test_a_moved_case_was_never_there(holder: Customer, travel: Travel) -> None:
    other = await Customer.new(holder.client, T0)
    await other.licence(days=0)
    case = await holder.open()
    await holder.work(case, 20)
    travel(T0 + DAY)
    await holder.step(case, "closure", resolution="Done.")
    body = {"customer_id": other.id, "serial_number": other.serials[0], "reason": "Wrong."}
    await made(await holder.client.post(f"/v1/cases/{case['id']}/move", json=body), 200)
    days = {"from_": T0, "to": T0 + 2 * DAY}
    mine = await usage(holder.client, customer=holder.id, group_by="technician", **days)
    counted = [{n: v for n, v in one.items() if v and n in MEASURES} for one in mine["items"]]
    assert [one for one in counted if "minutes_granted" not in one] == []
    theirs = await of_day(other, T0)
    assert (theirs["cases_opened"], theirs["worked_minutes"]) == (1, 20)
    assert await of_day(other, T0 + DAY) == {"cases_closed": 1}


async def test_a_walk_of_one_customer_at_a_time_ends(
    client: httpx.AsyncClient, holder: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await holder.work(await holder.open(), 20)
    asked = {"from_": model.FIRST, "to": model.LAST, "window": "all", "group_by": "customer"}
    at_once = await usage(client, **asked)
    few_figures(monkeypatch, 0, 1)
    async with asyncio.timeout(30):
        assert (await usage(client, **asked))["items"] == at_once["items"]
    assert at_once["items"]


async def test_a_merged_customer_is_its_survivor(holder: Customer) -> None:
    twin = await Customer.new(holder.client, T0, country="IT")
    refused = await twin.try_open(channel="phone")
    assert refused.status_code == 409
    assert (await of_day(twin, T0))["cases_refused"] == 1
    body = {"into": holder.id, "reason": "Entered twice."}
    await made(await holder.client.post(f"/v1/customers/{twin.id}/merge", json=body), 200)
    for key in (twin.id, twin.code, holder.id):
        answer = await usage(
            holder.client, customer=key, from_=T0, to=T0 + DAY, group_by=["customer", "country"]
        )
        assert {one["customer"] for one in answer["items"]} == {holder.id}
        assert answer["totals"]["cases_refused"] == 1
        assert {one["country"] for one in answer["items"]} == {"DE"}


async def test_equal_refusals_of_a_bound_token_each_count(
    service: Service, holder: Customer
) -> None:
    scopes = ("cases:write", "usage:read")
    async with await service.client_with(*scopes, customer_id=holder.id) as bound:
        own = Customer(bound, {"id": holder.id, "code": holder.code}, T0)
        own.serials = holder.serials
        for _ in range(3):
            assert (await own.try_open(channel="phone")).status_code == 409
        count = (await of_day(own, T0)).get("cases_refused")
    assert count == (await of_day(holder, T0)).get("cases_refused") == 3
    answer = await usage(
        holder.client, customer=holder.id, from_=T0, to=T0 + DAY, group_by=["channel", "paid_by"]
    )
    rows = [one for one in answer["items"] if one["cases_refused"]]
    assert [(one["channel"], one["paid_by"]) for one in rows] == [("phone", None)]


# --- days and instants --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        # Clocks go forward in the night to 2026-03-29, and back in the night to 2026-10-25.
        ("2026-03-28T22:59:59Z", "2026-03-28"),
        ("2026-03-28T23:00:00Z", "2026-03-29"),
        ("2026-03-29T21:59:59Z", "2026-03-29"),
        ("2026-03-29T22:00:00Z", "2026-03-30"),
        ("2026-10-24T21:59:59Z", "2026-10-24"),
        ("2026-10-24T22:00:00Z", "2026-10-25"),
        ("2026-10-25T22:59:59Z", "2026-10-25"),
        ("2026-10-25T23:00:00Z", "2026-10-26"),
    ],
)
async def test_civil_dates_at_clock_changes(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, instant: str, day: str
) -> None:
    now = datetime.fromisoformat(instant).astimezone(UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    customer = await Customer.new(client, date(2026, 3, 1))
    await customer.licence(days=0)
    kept = await customer.open()
    await customer.work(kept, 10)
    await customer.step(kept, "closure", resolution="Done.")
    await customer.step(await customer.open(), "cancellation", reason="Twice.")
    assert (await customer.try_open(channel="phone")).status_code == 409
    expected = {
        "cases_opened": 2,
        "cases_closed": 1,
        "cases_cancelled": 1,
        "cases_refused": 1,
        "worked_minutes": 10,
        "charged_minutes": 10,
    }
    assert await of_day(customer, date.fromisoformat(day)) == expected
    # The instants of a dashboard: the days in which they lie.
    ends = (now + timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
    answer = await usage(client, customer=customer.id, from_=instant, to=ends, window="day")
    assert (answer["items"][0]["bucket_start"], answer["items"][0]["cases_opened"]) == (day, 2)


async def test_defaults(holder: Customer) -> None:
    answer = await usage(holder.client)
    assert (answer["from"], answer["to"], answer["window"]) == ("2026-03-01", "2026-03-11", "all")
    assert answer["time_zone"] == "Europe/Rome"


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ({"group_by": ["channel", "channel"]}, "query/group_by", "duplicate"),
        ({"group_by": "subject"}, "query/group_by", "not_allowed_value"),
        ({"group_by": ["channel", "category", "country"]}, "query/group_by", "too_many"),
        ({"window": "hour"}, "query/window", "not_allowed_value"),
        ({"from": "2026-03-10", "to": "2026-03-10"}, "query/to", "wrong_order"),
        ({"from": "1990-01-01", "to": "2199-12-31", "window": "day"}, "query/window", "too_many"),
        ({"from": "1989-12-31"}, "query/from", "out_of_range"),
        ({"to": "2026-03-10T00:00:00"}, "query/to", "offset_missing"),
        ({"limit": "10001"}, "query/limit", "too_large"),
        ({"cursor": "mine"}, "query/cursor", "bad_cursor"),
        ({"technicain": "Ada"}, "query/technicain", "unknown_parameter"),
        ({"channel": ["phone", "email"]}, "query/channel", "repeated_parameter"),
    ],
)
async def test_what_is_refused(
    client: httpx.AsyncClient, query: dict[str, Any], pointer: str, code: str
) -> None:
    assert errors(await client.get("/v1/usage", params=query)) == [(pointer, code)]


async def test_the_ends_of_the_calendar(client: httpx.AsyncClient) -> None:
    for window in ("year", "all"):
        whole = {"from_": "1990-01-01", "to": "2199-12-31", "window": window}
        answer = await usage(client, **whole)
        every = model.buckets(date(1990, 1, 1), date(2199, 12, 31), window)
        found = [(one["bucket_start"], one["bucket_end"]) for one in answer["items"]]
        assert found == [(str(start), str(end)) for start, end in every]
    await usage(client, from_="2199-12-31T20:00:00Z", to="2199-12-31T21:00:00Z")


async def test_too_many_rows(holder: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_reports, "MOST_SUMS", 1)
    await holder.open()
    for channel in ("phone", "remote"):
        await holder.try_open(channel=channel)
    query = {"group_by": "channel", "from": str(T0), "to": str(T0 + DAY)}
    found = await holder.client.get("/v1/usage", params=query)
    assert errors(found) == [("query/group_by", "too_many")]


# --- one customer over time ---------------------------------------------------------------------


async def series(customer: Customer, **query: Any) -> list[dict[str, Any]]:
    url = f"/v1/customers/{customer.id}/usage/series"
    body = await made(await customer.client.get(url, params=query), 200)
    items: list[dict[str, Any]] = body["items"]
    return items


async def test_each_point_is_the_closing_of_a_statement(holder: Customer, travel: Travel) -> None:
    contract = await holder.contract(days=0, included_minutes=60)
    await holder.pack(quantity=3, days=0)
    case = await holder.open(channel="phone")
    for days, minutes in ((0, 20), (9, 30), (40, 30)):
        travel(T0 + days * DAY)
        await holder.work(case, minutes)
    ticket = await holder.open(pay_with="ticket")
    travel(T0 + 70 * DAY)
    await holder.step(ticket, "closure", resolution="Done.")
    await made(
        await holder.client.post(
            f"/v1/contracts/{contract['id']}/cancellation",
            json={"cancelled_on": str(T0 + 60 * DAY), "reason": "By agreement."},
        ),
        200,
    )
    for window in ("week", "month", "all"):
        items = await series(
            holder, **{"from": str(T0 - 20 * DAY), "to": str(T0 + 90 * DAY), "window": window}
        )
        assert [one["kind"] for one in items] == ["contract", "free_hours", "ticket_pack"]
        for point in (point for one in items for point in one["points"]):
            assert point["bucket_end"] <= str(T0 + 71 * DAY)
        for end in {point["bucket_end"] for one in items for point in one["points"]}:
            period = {"from": str(T0 - 30 * DAY), "to": end}
            url = f"/v1/customers/{holder.id}/statement"
            statement = await made(await holder.client.get(url, params=period), 200)
            closings = {one["allowance"]["id"]: one for one in statement["groups"]}
            shown = {
                one["id"]: point
                for one in items
                for point in one["points"]
                if point["bucket_end"] == end
            }
            assert shown.keys() == closings.keys()
            for key, point in shown.items():
                group = closings[key]
                closing, allowance = group["closing"], group["allowance"]
                assert point["used"] == closing["used_minutes"] + closing["consumed"]
                assert point["overrun"] == closing["overrun_minutes"]
                for name in ("held", "cancelled"):
                    assert point[name] == closing[name]
                assert (point["left"], point["lapsed"]) == (
                    allowance["remaining"],
                    allowance["lapsed"],
                )


async def test_when_it_runs_out(holder: Customer, travel: Travel) -> None:
    contract = await holder.contract(days=0, included_minutes=200)
    case = await holder.open(channel="phone")
    await holder.work(case, 30)

    async def runs_out() -> str | None:
        items = await series(holder, window="all")
        ends: list[str | None] = [
            one["runs_out_on"] for one in items if one["number"] == contract["number"]
        ]
        return ends[0]

    travel(T0 + 9 * DAY)
    # Ten days, 30 minutes: three a day, and 170 are left.
    assert await runs_out() == str(T0 + 9 * DAY + 57 * DAY)
    travel(T0 + 89 * DAY)
    # Ninety days: a third of a minute a day lasts for longer than the contract.
    assert await runs_out() is None
    await holder.work(case, 60)
    assert await runs_out() == str(T0 + 89 * DAY + 110 * DAY)
    await holder.work(case, 150)
    assert await runs_out() == str(T0 + 89 * DAY)
    travel(T0 + 90 * DAY)
    # The first 30 minutes are 90 days ago.
    assert await runs_out() == str(T0 + 90 * DAY)


# --- sums by day --------------------------------------------------------------------------------


async def run(service: Service, statement: str, *values: Any) -> list[Any]:
    return list(await service.server.run_in(service.database_name, statement, *values))


async def test_what_is_committed_while_days_are_summed_is_not_lost(
    service: Service, holder: Customer, travel: Travel
) -> None:
    moved = await holder.client.patch(f"/v1/customers/{holder.id}", json={"country": "NO"})
    await made(moved, 200)
    case = await holder.open()
    entry = await holder.work(case, 20)
    travel(T0 + DAY)
    await sum_all(service)
    assert (await run(service, "SELECT through FROM usage_state"))[0][0] == T0
    async with service.database.writing.connect() as slow:
        change = """UPDATE time_entries SET reversed_at = now(), reversal_reason = 'Wrong.'
            WHERE id = :id"""
        await slow.execute(text(change), {"id": entry["id"]})
        # Summed without it, by a turn that has another change of the day.
        await holder.open()
        await run(service, "INSERT INTO usage_changes (day) VALUES ($1)", T0)
        await sum_all(service)
        assert (await everything_of(holder.client, T0))["worked_minutes"] == 20
        await slow.commit()
    assert (await everything_of(holder.client, T0))["worked_minutes"] == 0
    assert await run(service, "SELECT FROM usage_changes WHERE day = $1", T0) != []
    await sum_all(service)
    assert await run(service, "SELECT FROM usage_changes WHERE day = $1", T0) == []
    assert (await everything_of(holder.client, T0))["worked_minutes"] == 0
    again = "UPDATE time_entries SET reversed_at = NULL, reversal_reason = NULL WHERE id = $1"
    await run(service, again, entry["id"])
    assert (await everything_of(holder.client, T0))["worked_minutes"] == 20


async def everything_of(client: httpx.AsyncClient, day: date) -> dict[str, int]:
    """The figures of a day that one country has alone."""
    answer = await usage(client, from_=day, to=day + DAY, country="NO")
    totals: dict[str, int] = answer["totals"]
    return totals


async def test_sums_that_are_wrong_are_found(
    service: Service, holder: Customer, travel: Travel
) -> None:
    await holder.work(await holder.open(), 20)
    travel(T0 + DAY)
    await follow_all(service)
    await sum_all(service)
    assert await differences(service) == []
    wrong = """UPDATE usage_days SET worked_minutes = worked_minutes + 1
        WHERE day = $1 AND dimensions = 0"""
    await run(service, wrong, T0)
    (found,) = await differences(service)
    assert (found.check, found.subject, found.field) == ("usage", str(T0), "worked_minutes")
    await run(service, "DELETE FROM usage_days WHERE day = $1", T0)
    assert {one.field for one in await differences(service)} >= {"cases_opened", "worked_minutes"}
    await run(service, "INSERT INTO usage_changes (day) VALUES ($1)", T0)
    assert await differences(service) == []
    await sum_all(service)
    assert await differences(service) == []


async def test_other_help_desks(service: Service, holder: Customer, travel: Travel) -> None:
    """Sums by other rules are not read, and are made anew."""
    await holder.open()
    travel(T0 + DAY)
    await sum_all(service)
    query = {"from_": T0, "to": T0 + DAY, "group_by": "help_desk", "country": "DE"}
    before = await usage(holder.client, **query)
    await run(service, "UPDATE usage_state SET rules = 'others'")
    await run(service, "UPDATE usage_days SET help_desk = 'wrong' WHERE help_desk IS NOT NULL")
    assert (await usage(holder.client, **query))["items"] == before["items"]
    assert await differences(service) == []
    await sum_all(service)
    assert (await usage(holder.client, **query))["items"] == before["items"]
    assert await differences(service) == []


async def test_a_customer_that_moves_takes_its_past_along(
    service: Service, holder: Customer, travel: Travel
) -> None:
    await holder.work(await holder.open(), 20)
    refused = await holder.try_open(channel="phone")
    assert refused.status_code == 409
    await follow_all(service)
    travel(T0 + 40 * DAY)
    await sum_all(service)
    days = {"from_": T0 - DAY, "to": T0 + 30 * DAY, "window": "day"}
    mine = (await usage(holder.client, customer=holder.id, **days))["totals"]
    before = {
        country: (await usage(holder.client, country=country, **days))["totals"]
        for country in ("DE", "MT")
    }
    await holder.client.patch(f"/v1/customers/{holder.id}", json={"country": "MT"})
    for _ in range(2):
        after = {
            country: (await usage(holder.client, country=country, **days))["totals"]
            for country in ("DE", "MT")
        }
        for name in MEASURES:
            assert after["DE"][name] == before["DE"][name] - mine[name]
            assert after["MT"][name] == before["MT"][name] + mine[name]
        await sum_all(service)
    assert await differences(service) == []


# --- whose figures, and the tag -----------------------------------------------------------------


async def test_a_bound_token_gets_its_own(service: Service, holder: Customer) -> None:
    client = holder.client
    other = await Customer.new(client, T0)
    await other.licence(days=0)
    for customer in (holder, other):
        case = await customer.open(subject="A secret subject")
        await customer.work(case, 15, technician="Ada", note="A secret note")
    async with await service.client_with("usage:read", customer_id=holder.id) as bound:
        for group_by in ([], ["customer"], ["technician", "country"], ["customer", "channel"]):
            query = {"group_by": group_by, "from_": T0, "to": T0 + DAY}
            mine = await usage(bound, **query)
            assert mine["totals"]["worked_minutes"] == 15
            staff = await usage(client, customer=holder.id, **query)
            assert mine["items"] == staff["items"]
        # Another customer is as if it did not exist.
        nobody = await usage(bound, customer="C-does-not-exist", from_=T0, to=T0 + DAY)
        theirs = await usage(bound, customer=other.id, from_=T0, to=T0 + DAY)
        assert {**theirs, "as_of": 0} == {**nobody, "as_of": 0}
        assert set(theirs["totals"].values()) == {0}
        # Its tag tells nothing of what others do.
        url = f"/v1/usage?from={T0}&group_by=technician"
        tag = (await bound.get(url)).headers["ETag"]
        await other.work(case, 5)
        again = await bound.get(url, headers={"If-None-Match": tag})
        assert (again.status_code, again.headers["ETag"]) == (304, tag)
        await holder.open()
        assert (await bound.get(url)).headers["ETag"] != tag


async def test_usage_read_alone_sees_no_contact_and_no_text(
    service: Service, holder: Customer
) -> None:
    case = await holder.open(
        subject="Secret subject", description="Secret text", requester={"name": "Secret name"}
    )
    await holder.work(case, 15, note="Secret note")
    await holder.client.post(f"/v1/customers/{holder.id}/contacts", json={"name": "Secret contact"})
    async with await service.client_with("usage:read") as reader:
        for one in model.DIMENSIONS:
            answer = await reader.get("/v1/usage", params={"group_by": one, "from": str(T0)})
            assert answer.status_code == 200
            assert "secret" not in answer.text.lower()


async def test_a_poll_without_news(service: Service, holder: Customer, travel: Travel) -> None:
    await follow_all(service)
    client, url = holder.client, "/v1/usage?from=2026-03-01&group_by=technician"
    first = await client.get(url)
    tag = {"If-None-Match": first.headers["ETag"]}
    assert first.headers["ETag"].startswith('W/"')
    again = await client.get(url, headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    # Another question has another tag.
    assert (await client.get(f"{url}&window=day", headers=tag)).status_code == 200
    # A write is news at once, before it is published.
    case = await holder.open()
    news = await client.get(url, headers=tag)
    assert news.status_code == 200
    assert news.json()["totals"]["cases_opened"] == first.json()["totals"]["cases_opened"] + 1
    # So is the next day.
    await follow_all(service)
    tag = {"If-None-Match": (await client.get(url)).headers["ETag"]}
    assert (await client.get(url, headers=tag)).status_code == 304
    travel(T0 + DAY)
    assert (await client.get(url, headers=tag)).status_code == 200
    await holder.step(case, "cancellation", reason="Twice.")


async def test_a_tag_is_new_although_a_later_number_was_committed_before(
    new_service: Callable[..., Awaitable[Service]],
) -> None:
    """Two events, of which the first number is committed last."""
    service = await new_service()
    insert = text("""INSERT INTO events (type, occurred_at, actor, data)
        VALUES ('token.issued', now(), 'test', '{}')""")
    async with await service.client_with("usage:read") as client:
        async with service.database.writing.connect() as slow:
            await slow.execute(insert)
            async with service.database.writing.begin() as quick:
                await quick.execute(insert)
            tag = {"If-None-Match": (await client.get("/v1/usage")).headers["ETag"]}
            assert (await client.get("/v1/usage", headers=tag)).status_code == 304
            await slow.commit()
        assert (await client.get("/v1/usage", headers=tag)).status_code == 200
