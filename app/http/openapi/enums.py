"""Enumerations with a name: each stands once in `components`, and generated clients have one type
for it instead of one for every place."""

from typing import Any, get_args

from app.http.fields import COUNTRIES
from app.http.tables import Format
from app.policy.cases import State
from app.policy.document import Channel, Column, Language, PaidBy, Service, Weekday
from app.policy.facts import CasePaidBy, LicenceKind, ReasonCode, Step
from app.policy.usage import AllowanceKind
from app.services import webhooks
from app.services.calls import Outcome
from app.services.cases import Category, PayWith, Priority
from app.services.deliveries import AttemptError
from app.services.imports import FileKind
from app.services.tokens import BoundScope, Scope
from app.store.states import ContractState
from app.store.usage_reports import Dimension, Window
from app.store.webhooks import DeliveryState

_ENUMS: dict[str, tuple[tuple[str, ...], str]] = {
    "Country": (tuple(sorted(COUNTRIES)), "A country by its ISO 3166-1 alpha-2 code, or `XK`."),
    "Language": (get_args(Language), "A language of texts for people (ISO 639-1)."),
    "Column": (
        get_args(Column),
        "A column of the service matrix in which a customer may stand.",
    ),
    "Service": (get_args(Service), "A row of the service matrix."),
    "Channel": (get_args(Channel), "The way in which support is given."),
    "PaidBy": (get_args(PaidBy), "The kind of allowance that pays for a case."),
    "CasePaidBy": (
        get_args(CasePaidBy),
        "The kind of allowance that pays for a case; `none` where nothing is counted.",
    ),
    "AllowanceKind": (get_args(AllowanceKind), "A kind of allowance."),
    "AllowanceState": (get_args(ContractState), "The state of an allowance on a day."),
    "LicenceKind": (get_args(LicenceKind), "A kind of licence."),
    "CaseState": (get_args(State), "The state of a case."),
    "Category": (get_args(Category), "What a case is about. A bug is charged to nobody."),
    "Priority": (get_args(Priority), "How urgent a case is."),
    "PayWith": (
        get_args(PayWith),
        "Which kind of allowance is to pay for a case; `auto` leaves the choice to the rules.",
    ),
    "HoursKind": (("free_hours", "contract"), "A kind of allowance that consists of minutes."),
    "UpgradePaidBy": (
        ("purchase", "contract"),
        "How an upgrade is paid for: bought, or included in a contract.",
    ),
    "FileKind": (get_args(FileKind), "What a file to import contains."),
    "ReasonCode": (get_args(ReasonCode), "Why a column does not grant a service."),
    "Step": (get_args(Step), "A purchase that would grant a service."),
    "Outcome": (get_args(Outcome), "What the service knows of a caller."),
    "Scope": (get_args(Scope), "What a token may do."),
    "BoundScope": (get_args(BoundScope), "What a token bound to one customer may do."),
    "Window": (get_args(Window), "How long a bucket of figures is; `all`: the whole period."),
    "UsageDimension": (get_args(Dimension), "By what figures are grouped and filtered."),
    "TableFormat": (get_args(Format), "A form in which a table is given."),
    "DeliveryState": (
        get_args(DeliveryState),
        "What became of an event for a webhook; `abandoned`: it was given up.",
    ),
    "WebhookState": (get_args(webhooks.State), "Whether events are sent to a webhook."),
    "DisabledReason": (
        ("failing", "gone"),
        "Why a webhook was disabled: it failed for days, or the receiver answered 410.",
    ),
    "AttemptError": (get_args(AttemptError), "Why an attempt has no answer."),
    "Weekday": (get_args(Weekday), "A day of the week."),
}

SCHEMAS: dict[str, dict[str, Any]] = {
    name: {"type": "string", "enum": list(values), "description": description}
    for name, (values, description) in _ENUMS.items()
}
_NAMES = {values: name for name, (values, _) in _ENUMS.items()}
if len(_NAMES) != len(_ENUMS):
    # The name of a field would depend on the order above.
    raise TypeError("two enumerations have the same values")


def named(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or a reference in place of an enumeration that has a name."""
    name = _NAMES.get(tuple(schema.get("enum", ())))
    if name is None or schema.get("type", "string") != "string":
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("type", "enum")}
    return {"$ref": f"#/components/schemas/{name}", **rest}
