"""The caller card: may this caller be served, who is it, and what is there to know while they talk.

The exchange opens it with the number in the address; staff find it by a search. No address with a
number is logged or passed on to another site.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from app.pages.api import Problem, path
from app.pages.desk.cases import AT_FIELD, take
from app.pages.forms import Form
from app.pages.staff.site import Person, names_of, staff, typed, whoami, zone
from app.pages.visit import Visit

_LOOKUPS = {"phone": "phone", "customer": "customer_code", "case": "case_number"}
"""The parameters of the page that name a caller, and what the API calls them; one is used."""
_FIELDS = (
    "customer_id",
    "requester/name",
    "requester/email",
    "requester/phone",
    "requester/contact_id",
    "serial_number",
    "channel",
    "category",
    "priority_requested",
    "subject",
    "description",
    "steps_to_reproduce",
    "example_url",
)
_LATEST = 8
_FOUND = 20
_MOST = 200
_phone = re.compile(r"\+?[\d\s()/.-]{5,30}")
_case = re.compile(r"\d{4}-\d{1,10}")


@staff.get("/desk/call")
async def call(visit: Visit) -> Response:
    """The card of the caller whom the address names, or what a search finds."""
    who = await whoami(visit)
    words = visit.query.get("q", "").strip()[:_MOST]
    if words:
        return await _search(visit, who, words)
    named = next((name for name in _LOOKUPS if name in visit.query), None)
    if named is None:
        return visit.render("desk/search.html", who=who, words="", found=None, outcome=None)
    return await _card(visit, who, named, visit.query[named][:_MOST], Form())


async def _search(visit: Visit, who: Person, words: str) -> Response:
    """Lead to the one caller that the words name, or list those that they may mean."""
    digits = re.sub(r"\D", "", words)
    if _phone.fullmatch(words) and len(digits) >= 6 and not _case.fullmatch(words):
        return visit.redirect("/desk/call", phone=words)
    if _case.fullmatch(words):
        return visit.redirect("/desk/call", case=words)
    found = await _found(visit, words)
    if len(found) == 1:
        return visit.redirect("/desk/call", customer=found[0]["code"])
    return visit.render("desk/search.html", who=who, words=words, found=found, outcome=None)


async def _found(visit: Visit, words: str) -> list[Mapping[str, Any]]:
    """The customers whose code is this, who hold this serial number, or whom the words describe."""

    async def items(address: str, **query: str) -> Sequence[Mapping[str, Any]]:
        page = await visit.api.find(address, limit=str(_FOUND), **query)
        return page["items"] if page else ()

    async def by_code() -> Mapping[str, Any] | None:
        try:
            customer: Mapping[str, Any] | None = await visit.api.find(
                path("/v1/customers/{}", words)
            )
        except Problem as problem:
            if problem.status not in (404, 422):
                raise
            return None
        return customer

    async def by_serial() -> list[Mapping[str, Any]]:
        try:
            holders = [
                one["customer_id"] for one in await items("/v1/licences", serial_number=words)
            ]
        except Problem as problem:
            if problem.status != 422:
                raise
            return []
        return list((await names_of(visit, holders)).values())

    coded, licensed, described = await asyncio.gather(
        by_code(), by_serial(), items("/v1/customers", q=words)
    )
    if coded is not None:
        return [coded]
    found: list[Mapping[str, Any]] = [*licensed] or [*described]
    return found


@staff.post("/desk/call")
async def open_case(visit: Visit) -> Response:
    """Open a case for the caller and take it, or show the card again with what is wrong."""
    who, form = await whoami(visit), visit.form
    try:
        opened = await visit.api.send("POST", "/v1/cases", typed(form, *_FIELDS), key=form.key)
    except Problem as problem:
        if problem.status == 401:
            raise
        form.refuse(problem, AT_FIELD)
        named = next((name for name in _LOOKUPS if form[f"asked_{name}"]), "customer")
        return await _card(visit, who, named, form[f"asked_{named}"], form, problem.status)
    number = opened.body["number"]
    if form["take"]:
        try:
            await take(visit, number, who.technician, opened.headers["etag"], form.key)
        except Problem:
            # The case is open, and its page shows that nobody has taken it.
            return visit.redirect(path("/desk/cases/{}", number), done="opened")
    return visit.redirect(path("/desk/cases/{}", number), done="opened")


async def _card(
    visit: Visit, who: Person, named: str, value: str, form: Form, status: int = 200
) -> Response:
    query = {_LOOKUPS[named]: value, "service": "phone_support"}
    for name in ("called", "region"):
        if name in visit.query:
            query[name] = visit.query[name][:_MOST]
    try:
        answer = await visit.api.get("/v1/entitlements/check", **query)
    except Problem as problem:
        if problem.status != 422:
            raise
        answer = {"outcome": "unknown_caller", "candidates": []}
    customer = answer.get("customer")
    if customer is None:
        return visit.render(
            "desk/search.html",
            status,
            who=who,
            words=value if named != "phone" else "",
            found=answer["candidates"],
            outcome=answer["outcome"],
        )
    id_ = customer["id"]
    entitlements, record, queue, latest, licences, clock_of = await asyncio.gather(
        visit.api.get("/v1/entitlements", customer_id=id_),
        visit.api.find(path("/v1/customers/{}", id_)),
        visit.api.find("/v1/cases", queue="true", customer_id=id_, limit="50"),
        visit.api.find("/v1/cases", customer_id=id_, limit=str(_LATEST)),
        visit.api.whole_list("/v1/licences", customer_id=id_),
        zone(visit),
    )
    held = sorted(
        (one for one in licences or () if not (one["withdrawn_on"] or one["transferred_on"])),
        key=lambda one: (one["kind"] != "editor", one["serial_number"]),
    )
    return visit.render(
        "desk/call.html",
        status,
        who=who,
        asked={named: value},
        answer=answer,
        caller=customer,
        services={one["service"]: one for one in entitlements["services"]},
        entitlements=entitlements,
        record=record,
        queue=queue and queue["items"],
        latest=[one for one in (latest or {"items": []})["items"] if not _is_open(one)],
        licences=held,
        serials=[("", "–"), *((one["serial_number"], _labelled(one)) for one in held)],
        form=form if form.is_wrong else _filled_in(form, answer, record, named, value, held),
        zone=clock_of,
    )


def _labelled(licence: Mapping[str, Any]) -> str:
    return f"{licence['serial_number']} · {licence['product']} {licence['version']}"


def _is_open(case: Mapping[str, Any]) -> bool:
    return case["state"] in ("open", "in_progress", "waiting_for_customer")


def _filled_in(
    form: Form,
    answer: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    named: str,
    value: str,
    licences: Sequence[Mapping[str, Any]],
) -> Form:
    """The form for a new case, with all that is known of the caller."""
    values = {"customer_id": answer["customer"]["id"], "channel": "phone", "category": "problem"}
    contact = answer.get("contact")
    if contact:
        values |= {"requester/name": contact["name"], "requester/contact_id": contact["id"]}
        for one in record["contacts"] if record else ():
            if one["id"] == contact["id"] and one["email"]:
                values["requester/email"] = one["email"]
    if named == "phone":
        values["requester/phone"] = value.strip()
    editors = [one for one in licences if one["kind"] == "editor"]
    if len(editors) == 1:
        values["serial_number"] = editors[0]["serial_number"]
    form.values = values
    return form
