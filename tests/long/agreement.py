"""What the service shows of a customer, beside what the model would show."""

from collections.abc import Callable
from datetime import date
from typing import Any

from tests.long.model import Customer
from tests.long.records import OPEN, Case, Hours, Pack, Ticket

_SERVICES = {"email": "email_support", "phone": "phone_support", "remote": "remote_access"}


def agree(get: Callable[..., Any], id_: str, model: Customer, today: date) -> None:
    """Columns, balances, states and what may be used; `get` asks the service."""
    answer = get("entitlements", customer_id=id_)
    assert _by_the_service(get, id_, answer) == _by_the_model(model, today)
    services = {each["service"]: each for each in answer["services"]}
    for channel, service in _SERVICES.items():
        allowed = model.choose(channel, today) is not None
        assert services[service]["allowed"] == allowed, (channel, services[service])
        goes_on = {case.number for case in model.cases if _goes_on(case, channel)}
        assert set(services[service]["continues"]) == goes_on


def _goes_on(case: Case, channel: str) -> bool:
    """R11: on its own channel, and on every one that its allowance covers."""
    if case.state not in OPEN:
        return False
    everywhere = isinstance(case.payer, Ticket) or (case.payer and case.payer.kind == "contract")
    return case.channel == channel or bool(everywhere)


def _by_the_service(get: Callable[..., Any], id_: str, answer: Any) -> dict[str, Any]:
    def listed(what: str) -> Any:
        page = get(what, customer_id=id_, limit=200)
        assert page["next_cursor"] is None
        return page["items"]

    years = [
        (each["starts_on"], each["ends_on"], each["used_minutes"], each["overrun_minutes"])
        for each in answer["allowances"]
        if each["kind"] == "free_hours"
    ]
    return {
        "columns": answer["columns"],
        "free_hours": years[0] if years else None,
        "contracts": {
            c["id"]: (c["state"], c["used_minutes"], c["remaining_minutes"], c["overrun_minutes"])
            for c in listed("contracts")
        },
        "packs": {
            p["id"]: (
                p["available"],
                p["held"],
                p["consumed"],
                p["expired"],
                {t["position"]: t["case_number"] for t in p["tickets"] if t["case_number"]},
            )
            for p in listed("ticket-packs")
        },
        "cases": {
            k["number"]: (
                k["state"],
                k["paid_by"]["kind"],
                k["worked_minutes"],
                k["charged_minutes"],
                k["overrun_minutes"],
            )
            for k in listed("cases")
        },
    }


def _by_the_model(model: Customer, today: date) -> dict[str, Any]:
    year = model.year(today)
    return {
        "columns": model.columns(today),
        "free_hours": year
        and (str(year.starts), str(year.ends), model.used(year), model.overrun(year)),
        "contracts": {c.id: _contract(model, c, today) for c in model.contracts},
        "packs": {p.id: _pack(p, today) for p in model.packs},
        "cases": {c.number: _case(model, c) for c in model.cases},
    }


def _contract(model: Customer, contract: Hours, today: date) -> tuple[str, int, int, int]:
    if contract.cancelled and contract.cancelled <= today:
        state = "cancelled"
    elif today < contract.starts:
        state = "upcoming"
    elif today >= contract.ends:
        state = "expired"
    else:
        state = "in_force" if model.editor(today) else "suspended"
    return state, model.used(contract), model.left(contract), model.overrun(contract)


def _pack(pack: Pack, today: date) -> tuple[int, int, int, int, dict[int, str]]:
    unused = pack.quantity - len(pack.used)
    held = sum(case.state in OPEN for case in pack.used.values())
    free, gone = (0, unused) if today >= pack.expires else (unused, 0)
    tickets = {position: case.number for position, case in pack.used.items()}
    return free, held, len(pack.used) - held, gone, tickets


def _case(model: Customer, case: Case) -> tuple[str, str, int, int, int]:
    lines = [line for line in model.lines if line.entry.case is case]
    return (
        case.state,
        case.payer.kind if case.payer else "none",
        sum(entry.minutes for entry in model.standing(case)),
        sum(line.minutes for line in lines if not line.overrun),
        sum(line.minutes for line in lines if line.overrun),
    )
