"""Usage of one customer, worked out in plain Python from what the API's other calls show."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx

ROME = ZoneInfo("Europe/Rome")
FIRST, LAST = date(2023, 1, 1), date(2030, 1, 1)
MEASURES = (
    "cases_opened",
    "cases_closed",
    "cases_cancelled",
    "cases_refused",
    "cases_bug",
    "worked_minutes",
    "charged_minutes",
    "overrun_minutes",
    "tickets_sold",
    "tickets_consumed",
    "tickets_expired",
    "tickets_cancelled",
    "minutes_granted",
    "minutes_lapsed",
)
DIMENSIONS = (
    "customer",
    "technician",
    "channel",
    "category",
    "priority",
    "paid_by",
    "country",
    "help_desk",
)


@dataclass(frozen=True)
class Figure:
    """So much of a measure, on a day, with the dimensions that it has."""

    measure: str
    day: date
    value: int
    of: dict[str, str | None]


def civil(instant: str) -> date:
    return datetime.fromisoformat(instant).astimezone(ROME).date()


async def items(client: httpx.AsyncClient, url: str, **query: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await client.get(url, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


async def figures(client: httpx.AsyncClient, customer: str, today: date) -> list[Figure]:
    """Everything that a customer has."""
    whole = (await client.get(f"/v1/customers/{customer}")).json()
    desks = {"IT": "it", "DE": "de"}
    of = {
        "customer": whole["id"],
        "country": whole["country"],
        "help_desk": whole.get("help_desk") or desks.get(whole["country"], "abroad"),
    }
    cases = await items(client, "/v1/cases", customer_id=customer)
    found: list[Figure] = []
    for case in cases:
        found += await _of_case(client, case, of)
    by_number = {case["number"]: case for case in cases}
    for pack in await items(client, "/v1/ticket-packs", customer_id=customer):
        found += await _of_pack(client, pack, of | {"paid_by": "ticket"}, today)
    found += await _of_hours(client, customer, of, today)
    answer = await client.get(
        f"/v1/customers/{customer}/statement", params={"from": str(FIRST), "to": str(LAST)}
    )
    for group in answer.json()["groups"]:
        found += _of_group(group, by_number, of)
    for one in await _events(client, customer, "case.refused"):
        channel = {"channel": one["data"]["channel"]}
        found.append(Figure("cases_refused", civil(one["time"]), 1, of | channel))
    for one in await _events(client, customer, "tickets.cancelled"):
        # A statement may show it later: when a case gave the ticket back.
        day = date.fromisoformat(one["data"]["cancelled_on"])
        paid_by = {"paid_by": "ticket"}
        found.append(Figure("tickets_cancelled", day, one["data"]["quantity"], of | paid_by))
    return found


async def _events(client: httpx.AsyncClient, customer: str, kind: str) -> list[dict[str, Any]]:
    query: dict[str, Any] = {"customer_id": customer, "type": kind}
    found: list[dict[str, Any]] = []
    more = True
    while more:
        page = (await client.get("/v1/events", params=query)).json()
        more, query["after"] = page["has_more"], page["next_cursor"]
        found += page["items"]
    return found


async def _of_pack(
    client: httpx.AsyncClient, pack: dict[str, Any], of: dict[str, str | None], today: date
) -> list[Figure]:
    day = date.fromisoformat
    found = [Figure("tickets_sold", day(pack["purchased_on"]), pack["quantity"], of)]
    for one in await items(client, f"/v1/ticket-packs/{pack['id']}/tickets"):
        if one["state"] == "expired":
            assert day(one["expires_on"]) <= today
            found.append(Figure("tickets_expired", day(one["expires_on"]), 1, of))
    return found


async def _of_hours(
    client: httpx.AsyncClient, customer: str, of: dict[str, str | None], today: date
) -> list[Figure]:
    url = f"/v1/customers/{customer}/usage"
    found = []
    for one in (await client.get(url)).json()["allowances"]:
        starts_on = date.fromisoformat(one["starts_on"])
        if one["kind"] == "ticket_pack" or starts_on > today:
            continue
        dimensions = of | {"paid_by": one["kind"]}
        found.append(Figure("minutes_granted", starts_on, one["granted_minutes"], dimensions))
        if one["lapsed_minutes"]:
            ended = date.fromisoformat(one["ends_on"])
            if one["kind"] == "free_hours":
                ended = await _ended(client, customer, starts_on, min(ended, today))
            found.append(Figure("minutes_lapsed", ended, one["lapsed_minutes"], dimensions))
    return found


async def _ended(client: httpx.AsyncClient, customer: str, start: date, last: date) -> date:
    """The first day from which a service year is over for good: an anniversary, a purchase, or
    the withdrawal of the last Editor."""
    days = {start, last}
    for one in await items(client, "/v1/licences", customer_id=customer):
        bought = [one["purchased_on"], *(each["upgraded_on"] for each in one["upgrades"])]
        known = [*bought, *([one["withdrawn_on"]] if one["withdrawn_on"] else [])]
        days |= {date.fromisoformat(day) for day in known}
    ended = last
    for day in sorted((day for day in days if start <= day <= last), reverse=True):
        at = {"at": f"{day}T12:00:00Z"}
        then = (await client.get(f"/v1/customers/{customer}/usage", params=at)).json()
        states = [
            one["state"]
            for one in then["allowances"]
            if one["kind"] == "free_hours" and one["starts_on"] == str(start)
        ]
        if states not in (["expired"], []):
            return ended
        ended = day
    return ended


def _classified(case: dict[str, Any]) -> dict[str, str | None]:
    shown = {name: case[name] for name in ("technician", "channel", "category", "priority")}
    return {**shown, "paid_by": case["paid_by"]["kind"]}


async def _of_case(
    client: httpx.AsyncClient, case: dict[str, Any], of: dict[str, str | None]
) -> Iterable[Figure]:
    if case["moved_to"] is not None:
        return []
    of = of | _classified(case)
    opened = civil(case["opened_at"])
    found = [Figure("cases_opened", opened, 1, of)]
    if case["category"] == "bug":
        found.append(Figure("cases_bug", opened, 1, of))
    if case["state"] == "closed":
        found.append(Figure("cases_closed", civil(case["closed_at"]), 1, of))
    timeline = await items(client, f"/v1/cases/{case['id']}/timeline")
    found += [
        Figure("cases_cancelled", civil(one["at"]), 1, of)
        for one in timeline
        if one["type"] == "case.cancelled"
    ]
    work = await _work(client, case, timeline)
    assert sum(minutes for _, minutes, _ in work) == case["worked_minutes"]
    found += [
        Figure("worked_minutes", day, minutes, of | {"technician": technician})
        for day, minutes, technician in work
    ]
    return found


async def _work(
    client: httpx.AsyncClient, case: dict[str, Any], timeline: Sequence[dict[str, Any]]
) -> list[tuple[date, int, str]]:
    """What stands of the work on a case, that before a move to its customer included."""
    work: list[tuple[date, int, str]] = []
    if case["moved_from"] is not None:
        before = (await client.get(f"/v1/cases/{case['moved_from']}")).json()
        told = await items(client, f"/v1/cases/{before['id']}/timeline")
        work = await _work(client, before, told)
    for one in timeline:
        data = one["data"]
        if one["type"] == "time.recorded":
            work.append((civil(data["worked_at"]), data["minutes"], data["technician"]))
        if one["type"] == "time.reversed":
            url = f"/v1/cases/{case['id']}/time-entries/{data['time_entry_id']}"
            entry = (await client.get(url)).json()
            work.remove((civil(entry["worked_at"]), entry["minutes"], entry["technician"]))
    return work


def _of_group(
    group: dict[str, Any], cases: dict[str, dict[str, Any]], of: dict[str, str | None]
) -> Iterator[Figure]:
    allowance = group["allowance"]
    kind = "none" if allowance is None else allowance["kind"]
    paid_by = "ticket" if kind == "ticket_pack" else kind
    names = {
        "used_minutes": "charged_minutes",
        "overrun_minutes": "overrun_minutes",
        "consumed": "tickets_consumed",
    }
    for one in group["movements"]:
        case = cases.get(one["case_number"])
        dimensions = of | ({} if case is None else _classified(case)) | {"paid_by": paid_by}
        if one["worked_at"] is not None:
            dimensions["technician"] = one["technician"]
        for name, measure in names.items():
            if one[name]:
                yield Figure(measure, date.fromisoformat(one["counts_on"]), one[name], dimensions)


# --- buckets -----------------------------------------------------------------------------------


def first_day(day: date, window: str) -> date:
    """The first day of the week, month, quarter or year of a day."""
    match window:
        case "week":
            year, week, _ = day.isocalendar()
            return date.fromisocalendar(year, week, 1)
        case "month":
            return day.replace(day=1)
        case "quarter":
            return date(day.year, {1: 1, 2: 4, 3: 7, 4: 10}[(day.month + 2) // 3], 1)
        case "year":
            return date(day.year, 1, 1)
    return day


Key = tuple[date, tuple[str | None, ...]]


def summed(
    every: Iterable[Figure],
    start: date,
    end: date,
    window: str,
    group_by: Sequence[str],
    filters: dict[str, str],
    measures: Sequence[str] = MEASURES,
) -> dict[Key, dict[str, int]]:
    """Bucket and dimensions, in the order of `DIMENSIONS`, to what is not zero in them."""
    dimensions = [one for one in DIMENSIONS if one in group_by]
    cells: dict[Key, Counter[str]] = {}
    for one in every:
        if not start <= one.day < end or one.measure not in measures:
            continue
        if any(one.of.get(name) != value for name, value in filters.items()):
            continue
        bucket = start if window == "all" else max(start, first_day(one.day, window))
        key = bucket, tuple(one.of.get(name) for name in dimensions)
        cells.setdefault(key, Counter())[one.measure] += one.value
    nonzero = {key: {m: v for m, v in cell.items() if v} for key, cell in cells.items()}
    return {key: cell for key, cell in nonzero.items() if cell}


def buckets(start: date, end: date, window: str) -> list[tuple[date, date]]:
    """Every bucket of a period, first day and the day after the last, found day by day."""
    days = [start + timedelta(days=n) for n in range((end - start).days)]
    firsts = sorted({start if window == "all" else max(start, first_day(d, window)) for d in days})
    return list(zip(firsts, [*firsts[1:], end], strict=True))


def check(
    answer: dict[str, Any],
    expected: dict[Key, dict[str, int]],
    group_by: Sequence[str],
    *,
    measures: Sequence[str] = MEASURES,
) -> None:
    """Whether rows of all pages are these: zero-filled, in order, and whether they add up."""
    start, end = date.fromisoformat(answer["from"]), date.fromisoformat(answer["to"])
    every = buckets(start, end, answer["window"])
    rows = answer["items"]
    dimensions = [one for one in DIMENSIONS if one in group_by]
    found = {}
    keys = []
    for row in rows:
        bucket = date.fromisoformat(row["bucket_start"]), date.fromisoformat(row["bucket_end"])
        assert bucket in every
        key = bucket[0], tuple(row[name] for name in dimensions)
        keys.append(key)
        cell = {name: row[name] for name in measures if row[name]}
        if cell:
            found[key] = cell
    assert found == expected
    order = [(bucket, [(v is None, v or "") for v in values]) for bucket, values in keys]
    assert order == sorted(order)
    assert len(set(keys)) == len(keys)
    if "customer" in dimensions:
        assert set(keys) == set(expected)
    else:
        occurring = {values for _, values in expected} if dimensions else {()}
        if set(measures) == set(MEASURES):
            assert set(keys) == {(first, values) for first, _ in every for values in occurring}
    for name in MEASURES:
        assert answer["totals"][name] == sum(row[name] for row in rows)
