"""The first page: what the customer may use, has, and is waiting for."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import phonenumbers
from starlette.responses import Response

from app import clock
from app.pages.api import path
from app.pages.area.movements import latest
from app.pages.area.site import area, own_customer
from app.pages.visit import Visit

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_OPEN_CASES = 50
_MOVEMENT_DAYS = 90
_MOVEMENTS = 8


@area.get("/area")
async def overview(visit: Visit) -> Response:
    """Everything at a glance; each part is absent where the token may not read it."""
    customer = await own_customer(visit)
    id_ = customer["id"]
    today = visit.today
    usage_of = path("/v1/customers/{}/usage", id_)
    statement_of = path("/v1/customers/{}/statement", id_)
    series_from = today - timedelta(days=366)
    entitlements, usage, series, cases, desks, statement, licences, rules = await asyncio.gather(
        visit.api.find("/v1/entitlements", customer_id=id_),
        visit.api.find(usage_of),
        visit.api.find(f"{usage_of}/series", **{"from": series_from}, window="month"),
        visit.api.find("/v1/cases", queue="true", limit=_OPEN_CASES),
        visit.api.get("/v1/help-desks"),
        visit.api.find(
            statement_of,
            **{"from": today - timedelta(days=_MOVEMENT_DAYS), "to": today + timedelta(days=1)},
        ),
        visit.api.whole_list("/v1/licences"),
        visit.api.get("/v1/service-matrix"),
    )
    desk = _desk_of(desks["items"], entitlements)
    return visit.render(
        "area/overview.html",
        customer=customer,
        entitlements=entitlements,
        allowances=None if usage is None else _current(usage["allowances"], series),
        totals=usage and usage["totals"],
        cases=cases,
        desks=desks["items"] if desk is None else [desk],
        zone=(desk or desks["items"][0])["time_zone"],
        closures=[] if desk is None else await _closures(visit, desk["id"]),
        movements=statement and latest(statement, _MOVEMENTS),
        licences=licences,
        advice=rules["advice"],
        sales=rules["sales_contact"],
        phone=_phone,
        channel_names=lambda channels: [visit.t(f"hero.{channel}") for channel in channels],
        desk_days=lambda desk: visit.t.days_of_week(
            [_WEEKDAYS.index(one) for one in desk["weekdays"]]
        ),
        today_at=lambda desk: _is_today(desk["changes_at"], desk["time_zone"]),
        desk_hours=lambda desk: [
            f"{visit.t.clock(one['opens'])}–{visit.t.clock(one['closes'])}" for one in desk["hours"]
        ],
    )


def _phone(number: str) -> str:
    """A number as people write it abroad: `+39 059 454224`."""
    parsed = phonenumbers.parse(number)
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def _is_today(instant: str, zone: str) -> bool:
    local = ZoneInfo(zone)
    at = datetime.fromisoformat(instant).astimezone(local)
    return at.date() == clock.now().astimezone(local).date()


def _desk_of(
    desks: Sequence[Mapping[str, Any]], entitlements: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """The customer's own desk; None where that is not known."""
    if entitlements is None:
        return None
    return next((one for one in desks if one["id"] == entitlements["help_desk"]["id"]), None)


def _current(
    allowances: Sequence[Mapping[str, Any]], series: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Allowances that can still be used, each with its burn-down, then ended ones with overrun."""

    def key(one: Mapping[str, Any]) -> tuple[Any, ...]:
        return one["kind"], one.get("number"), one["starts_on"]

    lines = {key(item): item for item in (series["items"] if series else ())}
    running = [one for one in allowances if one["state"] in ("in_force", "suspended", "upcoming")]
    over = [one for one in allowances if one not in running and one.get("overrun_minutes")]
    return [{**one, "series": lines.get(key(one))} for one in (*running, *over)]


async def _closures(visit: Visit, desk: str) -> list[dict[str, Any]]:
    """The closures of a desk that have not ended, in the order in which they begin."""
    closures = await visit.api.whole_list(path("/v1/help-desks/{}/closures", desk)) or []
    now = clock.now()
    return [one for one in closures if datetime.fromisoformat(one["ends_at"]) > now][:5]
