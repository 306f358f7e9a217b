"""The model's and the service's answers in one shape, records by their labels."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date, datetime
from typing import Any

from .answers import Answer
from .player import Player

Label = Callable[[str], str]

# A reason's facts: the service's name, the model's. The service may give more than these.
FACTS = {
    "last_purchase_on": "purchased_on",
    "lapsed_on": "lapsed_on",
    "granted_minutes": "granted",
    "used_minutes": "used",
    "last_ended_on": "last_ended_on",
    "held": "held",
    "consumed": "consumed",
    "expired_on": "expired_on",
    "expired": "expired",
}


_TICKET_COUNTS = ("available", "held", "consumed", "cancelled")


def leaves(model: Any, service: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """What is compared, leaf by leaf, each with its path."""
    if isinstance(model, dict) and isinstance(service, dict):
        for key in sorted(model.keys() | service.keys(), key=str):
            yield from leaves(model.get(key), service.get(key), f"{where}.{key}".lstrip("."))
    else:
        yield where, model, service


def _text(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value


def model_answer(answer: Answer) -> dict[str, Any]:
    body = answer.body
    return {
        "on": _text(answer.on),
        "columns": list(body.columns),
        "services": {
            each.service: {
                "allowed": each.allowed,
                "granted_by": {
                    grant.column: (grant.paid_by.replace("nothing", "none"), grant.left)
                    for grant in each.granted_by
                },
                "reasons": {
                    reason.column: (
                        reason.code,
                        {name: _text(value) for name, value in reason.facts if value is not None},
                    )
                    for reason in each.reasons
                },
                "unlocked_by": list(each.unlocked_by),
                "continues": list(each.continues),
            }
            for each in body.services
        },
        "hours": {
            each.label or "free": {
                "starts_on": _text(each.starts_on),
                "ends_on": _text(each.ends_on),
                "granted": each.granted,
                "used": each.used,
                "left": each.left,
                "overrun": each.overrun,
                "suspended": each.suspended,
            }
            for each in body.hours
        },
        "packs": {
            each.label: {
                "starts_on": _text(each.starts_on),
                "ends_on": _text(each.ends_on),
                "quantity": each.quantity,
                "available": each.available,
                "held": each.held,
                "consumed": each.consumed,
                "cancelled": each.cancelled,
            }
            for each in body.packs
        },
        "valid_until": _text(answer.valid_until),
    }


def service_answer(answer: dict[str, Any], label: Label) -> dict[str, Any]:
    allowances = answer["allowances"]
    return {
        "on": answer["on"],
        "columns": answer["columns"],
        "services": {each["service"]: _service(each, label) for each in answer["services"]},
        "hours": {
            label(each["number"]) if each.get("number") else "free": {
                "starts_on": each["starts_on"],
                "ends_on": each["ends_on"],
                "granted": each["granted_minutes"],
                "used": each["used_minutes"],
                "left": each["remaining_minutes"],
                "overrun": each["overrun_minutes"],
                "suspended": each.get("suspended") or False,
            }
            for each in allowances
            if each["kind"] != "ticket_pack"
        },
        "packs": {
            label(each["number"]): {
                name: each[name] for name in ("starts_on", "ends_on", "quantity", *_TICKET_COUNTS)
            }
            for each in allowances
            if each["kind"] == "ticket_pack"
        },
        "valid_until": answer["valid_until"],
    }


def _service(each: dict[str, Any], label: Label) -> dict[str, Any]:
    return {
        "allowed": each["allowed"],
        "granted_by": {
            grant["column"]: (
                grant["paid_by"],
                grant.get("remaining_minutes", grant.get("remaining_tickets")),
            )
            for grant in each["granted_by"]
        },
        "reasons": {reason["column"]: _reason(reason) for reason in each["reasons"]},
        "unlocked_by": sorted(each["unlocked_by"]),
        "continues": sorted(map(label, each["continues"])),
    }


def _reason(reason: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    facts = reason["facts"]
    known = {FACTS[name]: facts[name] for name in facts.keys() & FACTS.keys()}
    return reason["code"], {name: value for name, value in known.items() if value is not None}


def codes(reasons: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((each["column"], each["code"]) for each in reasons)


def model_state(player: Player, parts: Collection[str], who: int = 0) -> dict[str, Any]:
    """The parts of a customer's state that are asked for."""
    state = player.state(who)
    state["licences"] = sorted(tuple(map(str, each.values())) for each in state["licences"])
    for case in state["cases"].values():
        case["closed_at"] = _text(case["closed_at"])
        case["paid_by"] = _payer(case["paid_by"])
    for contract in state["contracts"].values():
        del contract["renewed"]
        for name in ("starts_on", "ends_on", "cancelled_on"):
            contract[name] = _text(contract[name])
    for pack in state["packs"].values():
        del pack["ends"]
        pack["tickets"] = {
            each.pop("position"): {**each, "expires_on": _text(each["expires_on"])}
            for each in pack["tickets"]
        }
    state["years"] = {_text(start): year for start, year in state["years"].items()}
    for year in state["years"].values():
        year["ends_on"] = _text(year["ends_on"])
    for entry in state["entries"].values():
        entry["charges"] = sorted((_payer(each), each["minutes"]) for each in entry["charges"])
    return {part: state[part] for part in parts}


def _payer(payer: dict[str, Any]) -> tuple[str, ...]:
    """A ticket is compared by its pack here, and by the case of each ticket there."""
    which = payer.get("contract") or payer.get("pack") or _text(payer.get("year"))
    return (payer["kind"], which) if which else (payer["kind"],)


def service_payer(payer: dict[str, Any], label: Label) -> tuple[str, ...]:
    number = payer.get("number")
    which = label(number) if number else payer.get("service_year_start")
    return (payer["kind"], which) if which else (payer["kind"],)


def service_licences(licences: list[dict[str, Any]], label: Label) -> list[tuple[str, ...]]:
    names = ("kind", "purchased_on", "held_from", "withdrawn_on", "transferred_on")
    return sorted(
        (label(each["serial_number"]), *(str(each[name]) for name in names)) for each in licences
    )


def service_case(case: dict[str, Any], label: Label) -> dict[str, Any]:
    return {
        "number_year": int(case["number"].split("-")[0]),
        "state": case["state"],
        "paid_by": service_payer(case["paid_by"], label),
        "priority_support": case["priority_support"],
        "serial": label(case["serial_number"]) if case["serial_number"] else None,
        "serial_verified": case["serial_verified"],
        "worked": case["worked_minutes"],
        "charged": case["charged_minutes"],
        "overrun": case["overrun_minutes"],
        "closed_at": case["closed_at"],
    }


def service_contract(contract: dict[str, Any]) -> dict[str, Any]:
    return {
        "state": contract["state"],
        "starts_on": contract["starts_on"],
        "ends_on": contract["ends_on"],
        "cancelled_on": contract["cancelled_on"],
        "granted": contract["included_minutes"],
        "used": contract["used_minutes"],
        "left": contract["remaining_minutes"],
        "overrun": contract["overrun_minutes"],
    }


def service_pack(pack: dict[str, Any], label: Label) -> dict[str, Any]:
    return {
        **{name: pack[name] for name in (*_TICKET_COUNTS, "expired")},
        "tickets": {
            each["position"]: {
                "state": each["state"],
                "expires_on": each.get("expires_on"),
                "case": label(each["case_number"]) if each["case_number"] else None,
            }
            for each in pack["tickets"]
        },
    }


def service_years(usage: dict[str, Any]) -> dict[str, Any]:
    """The service years with minutes on them."""
    return {
        each["starts_on"]: {
            "ends_on": each["ends_on"],
            "granted": each["granted_minutes"],
            "used": each["used_minutes"],
            "left": each["granted_minutes"] - each["used_minutes"],
            "overrun": each["overrun_minutes"],
        }
        for each in usage["allowances"]
        if each["kind"] == "free_hours" and (each["used_minutes"] or each["overrun_minutes"])
    }


def service_entry(entry: dict[str, Any], label: Label) -> dict[str, Any]:
    return {
        "minutes": entry["minutes"],
        "reversed": entry["reversed_at"] is not None,
        "overrun": entry["overrun_minutes"],
        "charges": sorted(
            (service_payer(each["allowance"], label), each["minutes"]) for each in entry["charges"]
        ),
    }
