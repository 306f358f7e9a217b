"""What the service shows of each record, as plain data: R19, R20, R26, R37."""

from datetime import date, datetime
from typing import Any

from . import charging, columns, years
from .facts import Binding, Case, Contract, Customer, Entry, Pack, Ticket, Year, granted
from .policy import civil_date
from .purchases import is_renewed
from .situation import Situation, snapshot


def _name(customer: Customer, binding: Binding) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": charging.kind_of(binding)}
    match binding:
        case Year():
            found["year"] = binding.start
        case Contract():
            found["contract"] = binding.label
        case Ticket():
            found["pack"] = next(p.label for p in customer.packs if binding in p.tickets)
            found["position"] = binding.position
        case None:
            pass
    return found


def of_licences(customer: Customer) -> list[dict[str, Any]]:
    """Every holding of a licence."""
    return [
        {
            "serial": licence.serial,
            "kind": licence.kind,
            "purchased_on": licence.purchase.day,
            "held_from": holding.start,
            "withdrawn_on": holding.end if holding.withdrawn else None,
            "transferred_on": None if holding.withdrawn else holding.end,
        }
        for licence in customer.licences
        for holding in licence.holdings
    ]


def of_entry(customer: Customer, entry: Entry) -> dict[str, Any]:
    """Its charges, one for each allowance, and its overrun.

    A ticket's case and a bug have neither.
    """
    charges: list[dict[str, Any]] = []
    for share in entry.shares:
        if share.payer is None:
            continue
        name = _name(customer, share.payer)
        for known in charges:
            if known | {"minutes": 0} == name | {"minutes": 0}:
                known["minutes"] += share.minutes
                break
        else:
            charges.append({**name, "minutes": share.minutes})
    return {
        "minutes": entry.minutes,
        "reversed": entry.reversed,
        "overrun": entry.overrun,
        "charges": charges,
    }


def of_case(customer: Customer, case: Case) -> dict[str, Any]:
    overrun = sum(entry.overrun for entry in case.entries)
    shares = [share for entry in case.entries for share in entry.shares]
    return {
        "number_year": civil_date(case.opened_at).year,
        "state": case.state,
        "paid_by": _name(customer, case.binding),
        "priority_support": case.priority_support,
        "serial": case.serial,
        "serial_verified": case.verified,
        "worked": case.worked,
        "charged": sum(share.minutes for share in shares) - overrun,
        "overrun": overrun,
        "closed_at": case.closed_at,
    }


def of_contract(customer: Customer, contract: Contract, today: date) -> dict[str, Any]:
    if contract.cancelled_by(today):
        state = "cancelled"
    elif today < contract.starts:
        state = "upcoming"
    elif today >= contract.ends:
        state = "expired"
    else:
        state = "in_force" if columns.holds_editor(customer, today) else "suspended"
    return {
        "state": state,
        "starts_on": contract.starts,
        "ends_on": contract.ends,
        "cancelled_on": contract.cancelled,
        "renewed": is_renewed(customer, contract),
        **_balances(customer, contract),
    }


def _balances(customer: Customer, payer: Year | Contract) -> dict[str, int]:
    overrun = sum(entry.overrun for case, entry in customer.work() if case.binding == payer)
    used = customer.used(payer)
    return {
        "granted": granted(payer),
        "used": used,
        "left": granted(payer) - used,
        "overrun": overrun,
    }


def of_pack(customer: Customer, pack: Pack, now: datetime) -> dict[str, Any]:
    """Its counts, and each ticket with its state and its own end (R19)."""
    today = civil_date(now)
    counts = Situation(customer, today, snapshot(customer, now, now)).count(pack)
    return {
        "available": counts.available,
        "held": counts.held,
        "consumed": counts.consumed,
        "cancelled": counts.cancelled,
        "expired": counts.expired,
        "ends": counts.ends,
        "tickets": [
            {
                "position": ticket.position,
                "state": _ticket_state(ticket, today),
                "expires_on": ticket.now.ends,
                "case": ticket.now.case.label if ticket.now.case else None,
            }
            for ticket in pack.tickets
        ],
    }


def _ticket_state(ticket: Ticket, today: date) -> str:
    if ticket.now.state != "free":
        return ticket.now.state
    if ticket.cancelled is not None:
        return "cancelled"
    return "available" if today < ticket.now.ends else "expired"


def of_years(customer: Customer) -> dict[date, dict[str, Any]]:
    """Every service year with minutes on it, by its first day."""
    used = {share.payer for _, entry in customer.work() for share in entry.shares}
    bound = {case.binding for case, entry in customer.work() if entry.overrun}
    found = {each for each in used | bound if isinstance(each, Year)}
    return {
        year.start: {"ends_on": years.ends_on(customer, year), **_balances(customer, year)}
        for year in sorted(found, key=lambda each: each.start)
    }
