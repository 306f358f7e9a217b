"""Every step that staff take on a record: what is sold, ended, or corrected.

A step is declared by the fields of its body. One that the API can try first (`dry_run`) is tried
before it is done: the page shows what it would change, and does it on a second press.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from starlette.responses import Response

from app.http.languages import Language
from app.pages.api import Problem, path
from app.pages.forms import Form
from app.pages.staff.site import Person, staff, typed, whoami
from app.pages.visit import Visit

Kind = Literal["text", "date", "number", "yes", "choice"]


class Field(NamedTuple):
    """A field of a body. `choices` are the values of a `choice`, the first one by default."""

    name: str
    kind: Kind = "text"
    required: bool = True
    choices: tuple[str, ...] = ()


class Step(NamedTuple):
    """A step: its scope and fields, and whether it can be tried first."""

    scope: str
    fields: tuple[Field, ...]
    tried_first: bool = False


_REASON = Field("reason")
_KINDS = ("editor", "runtime", "other")

_NEW: Mapping[str, Step] = {
    "customers": Step(
        "customers:write",
        (
            Field("code"),
            Field("name"),
            Field("country"),
            Field("language", "choice", False, ("", *get_args(Language))),
            Field("vat_number", required=False),
        ),
    ),
    "licences": Step(
        "licences:write",
        (
            Field("customer_id"),
            Field("serial_number"),
            Field("kind", "choice", True, _KINDS),
            Field("product"),
            Field("version"),
            Field("purchased_on", "date"),
        ),
    ),
    "contracts": Step(
        "contracts:write",
        (
            Field("customer_id"),
            Field("starts_on", "date"),
            Field("number", required=False),
            Field("included_minutes", "number", False),
            Field("take_over_overrun", "yes"),
        ),
    ),
    "ticket-packs": Step(
        "tickets:write",
        (
            Field("customer_id"),
            Field("quantity", "number"),
            Field("purchased_on", "date"),
            Field("number", required=False),
        ),
    ),
    "contacts": Step(
        "customers:write",
        (Field("name"), Field("email", required=False), Field("phones/0", required=False)),
    ),
}
"""What can be made anew, by the collection to which it is added."""

_STEPS: Mapping[tuple[str, str], Step] = {
    ("customers", "merge"): Step("customers:erase", (Field("into"), _REASON), True),
    ("customers", "archiving"): Step("customers:erase", (_REASON,)),
    ("customers", "restoring"): Step("customers:erase", (_REASON,)),
    ("licences", "correction"): Step(
        "licences:write",
        (
            Field("purchased_on", "date", False),
            Field("kind", "choice", False, ("", *_KINDS)),
            Field("serial_number", required=False),
            Field("product", required=False),
            _REASON,
        ),
        True,
    ),
    ("licences", "transfer"): Step(
        "licences:write", (Field("to_customer_id"), Field("on", "date"), _REASON), True
    ),
    ("licences", "withdrawal"): Step("licences:write", (Field("withdrawn_on", "date"), _REASON)),
    ("licences", "reinstatement"): Step("licences:write", (_REASON,), True),
    ("licences", "upgrades"): Step(
        "licences:write",
        (
            Field("version"),
            Field("upgraded_on", "date"),
            Field("paid_by", "choice", True, ("contract", "purchase")),
        ),
    ),
    ("licences", "reversal"): Step("licences:write", (_REASON,), True),
    ("contracts", "renewal"): Step(
        "contracts:write",
        (
            Field("starts", "choice", True, ("at_end", "today")),
            Field("number", required=False),
            Field("take_over_overrun", "yes"),
        ),
    ),
    ("contracts", "cancellation"): Step(
        "contracts:write", (Field("cancelled_on", "date"), _REASON)
    ),
    ("contracts", "reinstatement"): Step("contracts:write", (_REASON,), True),
    ("contracts", "correction"): Step(
        "contracts:write",
        (
            Field("starts_on", "date", False),
            Field("included_minutes", "number", False),
            Field("number", required=False),
            _REASON,
        ),
        True,
    ),
    ("ticket-packs", "cancellation"): Step(
        "tickets:write",
        (Field("quantity", "number", False), Field("cancelled_on", "date"), _REASON),
        True,
    ),
    ("ticket-packs", "correction"): Step(
        "tickets:write",
        (Field("purchased_on", "date", False), Field("number", required=False), _REASON),
        True,
    ),
    ("cases", "move"): Step(
        "cases:work",
        (
            Field("customer_id"),
            Field("serial_number", required=False),
            Field("as_overrun", "yes"),
            _REASON,
        ),
        True,
    ),
}
"""The steps on a record, by its collection and the last part of their path."""


@staff.get("/office/new/{collection}")
async def new(visit: Visit) -> Response:
    """The form for something new, of the customer whom the address names."""
    who = await whoami(visit)
    collection, step = _new(visit)
    values = {"customer_id": visit.query.get("customer", "")[:64]}
    values |= {one.name: str(visit.today) for one in step.fields if one.kind == "date"}
    return _form(visit, who, step, Form(values), title=f"office.new.{collection}")


@staff.post("/office/new/{collection}")
async def make(visit: Visit) -> Response:
    """Make it, or show the form again with what is wrong."""
    who, form = await whoami(visit), visit.form
    collection, step = _new(visit)
    body = _body(step, form)
    address = f"/v1/{collection}"
    if collection == "contacts":
        address = path("/v1/customers/{}/contacts", form["customer_id"])
        body["phones"] = list(body.pop("phones", {}).values())
    try:
        made = await visit.api.send("POST", address, body, key=form.key)
    except Problem as problem:
        return _refused(visit, who, step, problem, title=f"office.new.{collection}")
    owner = made.body.get("customer_id") or form["customer_id"] or made.body["id"]
    return visit.redirect(path("/office/customers/{}", owner), done="made")


def _new(visit: Visit) -> tuple[str, Step]:
    collection = visit.request.path_params["collection"]
    step = _NEW.get(collection)
    if step is None:
        raise Problem(404, {"code": "not_found"})
    return collection, step


@staff.get("/office/licences/{name}/upgrades/{upgrade}/reversal")
@staff.get("/office/{collection}/{name}/{step}")
async def show_step(visit: Visit) -> Response:
    """The form of a step, beside the record as it stands."""
    who = await whoami(visit)
    name, collection, step, _ = _named(visit)
    record = await visit.api.get(path(f"/v1/{collection}/{{}}", visit.request.path_params["name"]))
    values = {one.name: str(visit.today) for one in step.fields if _is_a_day(one)}
    return _form(visit, who, step, Form(values), title=f"office.step.{name}", record=record)


@staff.post("/office/licences/{name}/upgrades/{upgrade}/reversal")
@staff.post("/office/{collection}/{name}/{step}")
async def take_step(visit: Visit) -> Response:
    """Try the step and show what it would change; or, after that, do it."""
    who, form = await whoami(visit), visit.form
    name, collection, step, address = _named(visit)
    title = f"office.step.{name}"
    tries = step.tried_first and form["phase"] != "do"
    record_of = path(f"/v1/{collection}/{{}}", visit.request.path_params["name"])
    record = await visit.api.get(record_of)
    body = _body(step, form)
    if tries:
        body["dry_run"] = True
    try:
        # A trial has no key: the key belongs to what is done afterwards.
        answer = await visit.api.send("POST", address, body, key=None if tries else form.key)
    except Problem as problem:
        return _refused(visit, who, step, problem, title=title, record=record)
    if tries:
        return _form(visit, who, step, form, title=title, record=record, trial=answer.body)
    owner = record["id"] if collection == "customers" else record["customer_id"]
    return visit.redirect(path("/office/customers/{}", owner), done="step")


def _named(visit: Visit) -> tuple[str, str, Step, str]:
    """Name, collection and declaration of the step in the address, and its path in the API."""
    names = visit.request.path_params
    if "upgrade" in names:
        address = path("/v1/licences/{}/upgrades/{}/reversal", names["name"], names["upgrade"])
        return "reversal", "licences", _STEPS["licences", "reversal"], address
    collection, name = names["collection"], names["step"]
    step = _STEPS.get((collection, name))
    if step is None or name == "reversal":
        raise Problem(404, {"code": "not_found"})
    return name, collection, step, path(f"/v1/{collection}/{{}}/{name}", names["name"])


def _is_a_day(field: Field) -> bool:
    return field.kind == "date" and field.required


def _body(step: Step, form: Form) -> dict[str, Any]:
    return typed(
        form,
        *(one.name for one in step.fields),
        whole=[one.name for one in step.fields if one.kind == "number"],
        yes=[one.name for one in step.fields if one.kind == "yes"],
    )


def _form(
    visit: Visit, who: Person, step: Step, form: Form, status: int = 200, **shown: Any
) -> Response:
    known: dict[str, Any] = {"record": None, "trial": None}
    return visit.render(
        "office/step.html", status, who=who, step=step, form=form, **{**known, **shown}
    )


def _refused(visit: Visit, who: Person, step: Step, problem: Problem, **shown: Any) -> Response:
    if problem.status in (401, 404):
        raise problem
    visit.form.refuse(problem)
    return _form(visit, who, step, visit.form, problem.status, **shown)
