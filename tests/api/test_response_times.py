"""Response times by time and dimension, against what the timelines of random lives give."""

import csv
import io
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from statistics import median, quantiles
from typing import Any

import httpx
import pytest
from openpyxl import load_workbook

from app import clock
from tests.api.build import Customer, errors, made
from tests.api.test_responses import MONDAY, Clock, at, policies
from tests.conftest import Service, follow_all
from tests.policy.test_closures import at_rome, italy
from tests.policy.test_responses import open_by_the_wall

__all__ = ["at", "policies"]

URL = "/v1/usage/response-times"
MINUTE = timedelta(minutes=1)
_IS_OPEN = open_by_the_wall(italy(), ())


async def times(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    query = {"from": "2026-03-01", "to": "2026-05-01", **query}
    return await made(await client.get(URL, params=query), 200)


# --- lives, and what their timelines give -------------------------------------------------------


class Life:
    """Cases of one customer, worked on at random minutes of three weeks with a clock change."""

    def __init__(self, customer: Customer, crm: httpx.AsyncClient, seed: int) -> None:
        self.customer = customer
        self.crm = crm
        self.chance = random.Random(seed)
        self.cases: list[dict[str, Any]] = []
        self.entries: list[dict[str, Any]] = []

    async def live(self, move_clock: Callable[[datetime], None]) -> None:
        start = at_rome("2026-03-16T07:00")
        minutes = sorted(self.chance.sample(range(21 * 24 * 60), 70))
        for minute in minutes:
            self.now = start + minute * MINUTE
            move_clock(self.now)
            await self.step()

    async def step(self) -> None:
        chance = self.chance
        if not self.cases or chance.random() < 0.15:
            fields = {"priority_requested": chance.choice(("high", "normal", "low"))}
            self.cases.append(await self.customer.open(**fields))
            return
        case = chance.choice(self.cases)
        url = f"/v1/cases/{case['id']}"
        what = chance.choice(
            ("take", "wait", "wait", "comment", "assign", "work", "close", "reopen", "reverse")
        )
        staff = self.customer.client
        match what:
            case "take":
                await staff.post(f"{url}/transition", json={"to": "in_progress"})
            case "wait":
                await staff.post(f"{url}/transition", json={"to": "waiting_for_customer"})
            case "comment":
                who, internal = chance.choice(((staff, False), (staff, True), (self.crm, False)))
                body = {"body": "A word.", "internal": internal}
                await who.post(f"{url}/comments", json=body)
            case "assign":
                technician = chance.choice(("Anna", "Bruno", None))
                await staff.patch(url, json={"technician": technician})
            case "work":
                earlier = self.now - chance.randrange(200) * MINUTE
                body = {"technician": "Anna", "minutes": 5, "worked_at": earlier.isoformat()}
                answer = await staff.post(f"{url}/time-entries", json=body)
                if answer.status_code == 201:
                    self.entries.append(answer.json())
            case "close":
                await staff.post(f"{url}/closure", json={"resolution": "Done."})
            case "reopen":
                await staff.post(f"{url}/reopening", json={"reason": "Again."})
            case "reverse" if self.entries:
                await self.customer.reverse(self.entries.pop())


class Lived:
    """What a timeline says of a case, minute by minute."""

    def __init__(self, case: dict[str, Any], timeline: list[dict[str, Any]]) -> None:
        self.case = case
        self.opened = instant(case["opened_at"])
        self.states = [(self.opened, "open")]
        answers, reversed_ = [], set()
        for one in reversed(timeline):
            when, data = instant(one["at"]), one["data"]
            after = data.get("after") or {}
            if one["type"] == "time.reversed":
                reversed_.add(data["time_entry_id"])
            if one["type"] == "time.recorded" and data["time_entry_id"] not in reversed_:
                answers.append(instant(data["worked_at"]))
            is_public = one["type"] == "case.commented" and not data["internal"]
            if (is_public and one["actor"] != "crm") or after.get("technician"):
                answers.append(when)
        for one in timeline:
            after = one["data"].get("after") or {}
            if "state" in after:
                self.states.append((instant(one["at"]), after["state"]))
        answers += [since for since, state in self.states if state in ("in_progress", "closed")]
        self.answered = min((max(one, self.opened) for one in answers), default=None)
        self.state = self.states[-1][1]

    def ran(self, end: datetime) -> int:
        number = (end - self.opened) // MINUTE
        return sum(self._runs(self.opened + n * MINUTE) for n in range(number))

    def _runs(self, at: datetime) -> bool:
        state = [name for since, name in self.states if since <= at][-1]
        return state in ("open", "in_progress") and _IS_OPEN(at)

    @property
    def response(self) -> tuple[date, int | None]:
        return rome(self.opened), None if self.answered is None else self.ran(self.answered)

    @property
    def resolution(self) -> tuple[date, int] | None:
        closed = self.states[-1][0]
        return (rome(closed), self.ran(closed)) if self.state == "closed" else None


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def rome(at: datetime) -> date:
    return at.astimezone(italy().zone).date()


def figures(lives: list[Lived], days: Callable[[date], bool]) -> dict[str, Any]:
    """The row of the cases of some days, by plain lists."""
    opened = [one for one in lives if days(one.response[0])]
    closed = [one for one in lives if one.resolution and days(one.resolution[0])]
    answered = [one.response[1] for one in opened if one.response[1] is not None]
    solved = [one.resolution[1] for one in closed if one.resolution]
    high = [one for one in opened if one.case["priority"] == "high"]
    met = [one.response[1] <= 60 for one in high if one.response[1] is not None]
    late = [one for one in high if one.response[1] is None and one.ran(END) > 60]
    kept = [
        one.resolution[1] <= 240
        for one in closed
        if one.resolution and one.case["priority"] == "high"
    ]
    return {
        "responses": len(answered),
        "response_median_minutes": median(answered) if answered else None,
        "response_p90_minutes": tenth(answered),
        "responses_met": sum(met),
        "responses_missed": len(met) - sum(met) + len(late),
        "unanswered": sum(one.response[1] is None for one in opened),
        "resolutions": len(solved),
        "resolution_median_minutes": median(solved) if solved else None,
        "resolution_p90_minutes": tenth(solved),
        "resolutions_met": sum(kept),
        "resolutions_missed": len(kept) - sum(kept),
    }


def tenth(values: list[int]) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=10, method="inclusive")[-1]


END = at_rome("2026-04-10T12:00")


def roughly(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: pytest.approx(value) if isinstance(value, float) else value
        for name, value in row.items()
    }


def weeks() -> Iterator[tuple[str, str, Callable[[date], bool]]]:
    bounds = ["2026-03-01", *(str(date(2026, 3, 2) + timedelta(weeks=n)) for n in range(9))]
    for start, end in zip(bounds, [*bounds[1:], "2026-05-01"], strict=True):
        yield start, end, lambda day, a=start, b=end: a <= str(day) < b  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(4))
async def test_random_lives(
    service: Service,
    client: httpx.AsyncClient,
    at: Clock,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Every bucket, every technician and every priority is what the timelines give."""
    customer = await Customer.new(client, MONDAY)
    await customer.licence()
    await customer.contract(included_minutes=100_000)
    token = await service.token("cases:read", "cases:write", name="crm")
    async with service.client(token) as crm:
        life = Life(customer, crm, seed)

        def move(now: datetime) -> None:
            monkeypatch.setattr(clock, "now", lambda: now)

        await life.live(move)
        move(END)
    await follow_all(service)
    lives = [
        Lived(await customer.case(one["number"]), await customer.timeline(one))
        for one in life.cases
    ]
    mine = {"customer": customer.id}
    by_week = await times(client, window="week", **mine)
    assert len(by_week["items"]) == len(list(weeks()))
    for row, (start, end, days) in zip(by_week["items"], weeks(), strict=True):
        bucket = {"bucket_start": start, "bucket_end": end}
        assert row == roughly(bucket | figures(lives, days)), f"{start} of {seed}"
    assert by_week["totals"] == roughly(figures(lives, lambda _: True))
    for dimension in ("technician", "priority"):
        found = await times(client, group_by=dimension, **mine)
        values = {one.case[dimension] for one in lives}
        assert {row[dimension] for row in found["items"]} == values
        for row in found["items"]:
            own = [one for one in lives if one.case[dimension] == row[dimension]]
            expected = figures(own, lambda _: True)
            assert {name: row[name] for name in expected} == roughly(expected)
            if row[dimension] is not None:
                filtered = await times(client, **{dimension: row[dimension]}, **mine)
                assert filtered["totals"] == roughly(expected)


# --- the answer ---------------------------------------------------------------------------------


@pytest.fixture
async def answered(service: Service, client: httpx.AsyncClient, at: Clock) -> Customer:
    """A case of the Monday, answered after an hour and closed after two, and one not answered."""
    customer = await Customer.new(client, MONDAY)
    await customer.licence()
    at("09:00")
    case = await customer.open(subject="Geheimnis", requester={"name": "Geheimnis"})
    await customer.open()
    at("10:00")
    await customer.patch(case, technician="Anna")
    at("11:00")
    await customer.close(case)
    await follow_all(service)
    return customer


async def test_a_bound_token_gets_its_own(
    service: Service, client: httpx.AsyncClient, answered: Customer
) -> None:
    other = await Customer.new(client, MONDAY)
    token = await service.token("usage:read", customer_id=answered.id)
    async with service.client(token) as bound:
        body = await times(bound)
        assert body["totals"]["responses"] == body["totals"]["unanswered"] == 1
        assert body["totals"] == (await times(client, customer=answered.code))["totals"]
        for group in ("customer", "country", "help_desk", "paid_by", "category", "channel"):
            rows = (await times(bound, group_by=group))["items"]
            assert sum(row["responses"] for row in rows) == 1
        for nobody in (other.id, "nobody"):
            found = (await times(bound, customer=nobody))["totals"]
            assert (found["responses"], found["unanswered"]) == (0, 0)
    everything = (await times(client))["totals"]
    assert everything["unanswered"] > 1


async def test_usage_read_sees_no_contact_and_no_text(service: Service, answered: Customer) -> None:
    async with await service.client_with("usage:read") as reader:
        for form in ("json", "csv"):
            query = "group_by=customer&group_by=technician&from=2026-03-01&to=2026-04-01"
            answer = await reader.get(f"{URL}?{query}&format={form}")
            assert answer.status_code == 200
            assert answered.code in answer.text
            assert "Geheimnis" not in answer.text
    async with await service.client_with("cases:read") as reader:
        assert (await reader.get(URL)).status_code == 403


async def test_as_a_table(client: httpx.AsyncClient, answered: Customer) -> None:
    asked = f"{URL}?from=2026-03-09&to=2026-03-11&window=day&customer={answered.code}"
    body = await made(await client.get(asked), 200)
    answer = await client.get(f"{asked}&format=csv")
    name = "response-times-2026-03-09-2026-03-11"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}.csv"'
    lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert lines == [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in body["items"]
    ]
    assert lines[0]["response_median_minutes"] == "60.0"
    answer = await client.get(f"{asked}&format=xlsx", headers={"Accept-Language": "de"})
    header, first, second = (
        load_workbook(io.BytesIO(answer.content)).worksheets[0].iter_rows(values_only=True)
    )
    assert header[:2] == ("Von", "Bis (ausschließlich)")
    assert first[0] == datetime.fromisoformat("2026-03-09")
    assert first[2:] == (1, 60, 60, 0, 0, 1, 1, 120, 120, 0, 0)
    assert second[2:] == (0, None, None, 0, 0, 0, 0, None, None, 0, 0)


async def test_what_cannot_be_asked(client: httpx.AsyncClient, at: Clock) -> None:
    for query, fault in (
        ("from=2026-03-02&to=2026-03-01", ("query/to", "wrong_order")),
        ("group_by=channel&group_by=channel", ("query/group_by", "duplicate")),
        ("from=2000-01-01&to=2026-01-01&window=day", ("query/window", "too_many")),
        ("dialect=excel", ("query/dialect", "unknown_parameter")),
    ):
        assert errors(await client.get(f"{URL}?{query}")) == [fault]
    answer = await client.get(f"{URL}?limit=5")
    assert errors(answer) == [("query/limit", "unknown_parameter")]


async def test_nothing_new_is_not_sent_again(
    client: httpx.AsyncClient, answered: Customer, at: Clock
) -> None:
    query = {"from": "2026-03-01", "to": "2026-04-01"}
    answer = await client.get(URL, params=query)
    again = {"If-None-Match": answer.headers["ETag"]}
    at("11:30")
    assert (await client.get(URL, params=query, headers=again)).status_code == 304


async def test_as_of(service: Service, client: httpx.AsyncClient, at: Clock) -> None:
    await follow_all(service)
    at("12:00")
    assert (await times(client))["as_of"] == "2026-03-09T11:00:00Z"
    customer = await Customer.new(client, MONDAY)
    await customer.licence()
    at("13:00")
    assert (await times(client))["as_of"] == "2026-03-09T11:00:00Z"
    await follow_all(service)
    assert (await times(client))["as_of"] == "2026-03-09T12:00:00Z"
