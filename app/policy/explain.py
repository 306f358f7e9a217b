"""The rules tested for each column, whether each passed, and the record that it rests on."""

from typing import Any, NamedTuple

from app.policy.document import COLUMNS, Column, Policies
from app.policy.facts import Contract, Facts, Licence, Pack
from app.policy.standing import Standing, burn_order, pack_order, possession


class Rule(NamedTuple):
    clause: str
    test: str
    passed: bool
    record: dict[str, Any] | None
    """What the result rests on; None where there is no such record."""


def explain(
    policies: Policies, facts: Facts, standing: Standing
) -> list[tuple[Column, bool, list[Rule]]]:
    """Each column, whether the customer stands in it, and the rules that say so."""
    tested: dict[Column, list[Rule]] = {
        "NO_DEV": _neither(standing),
        "DEV": [_holds_editor(facts, standing), *_development(policies, facts, standing)],
        "SA": [_contract(facts, standing), _holds_editor(facts, standing)],
        "TCK": _tickets(facts, standing),
    }
    return [(column, column in standing.columns, tested[column]) for column in COLUMNS]


def _neither(standing: Standing) -> list[Rule]:
    others = [column for column in ("DEV", "SA") if column in standing.columns]
    return [Rule("R6", "neither_dev_nor_sa", not others, {"stands_in": others})]


def _holds_editor(facts: Facts, standing: Standing) -> Rule:
    editors = [licence for licence in facts.licences if licence.kind == "editor"]
    held = [licence for licence in editors if licence.held(standing.on)]
    shown = max(held or editors, key=lambda lic: (lic.purchased_on, lic.id), default=None)
    return Rule("R1", "holds_editor", bool(held), _licence(shown))


def _licence(licence: Licence | None) -> dict[str, Any] | None:
    if licence is None:
        return None
    return {
        "licence_id": licence.id,
        "serial_number": licence.serial_number,
        "purchased_on": licence.purchased_on,
        "withdrawn_on": licence.withdrawn_on,
        "held_from": licence.held_from or licence.purchased_on,
    }


def _development(policies: Policies, facts: Facts, standing: Standing) -> list[Rule]:
    on = standing.on
    bought = standing.last_purchase
    found = next(
        (
            licence
            for licence in facts.licences
            if possession(policies, (licence,), on).last_purchase == bought
        ),
        None,
    )
    record = _licence(found) if bought is not None else None
    if record is not None:
        record |= {"last_purchase_on": bought}
    ends = standing.development_ends
    within = ends is not None and on < ends
    return [
        Rule("R2", "last_purchase", bought is not None, record),
        Rule("R3", "within_twelve_months", within, None if ends is None else {"ends_on": ends}),
    ]


def _contract(facts: Facts, standing: Standing) -> Rule:
    latest = max(facts.contracts, key=burn_order, default=None)
    shown = standing.contracts[0] if standing.contracts else latest
    return Rule("R4", "contract_in_force", bool(standing.contracts), _contract_record(shown))


def _contract_record(contract: Contract | None) -> dict[str, Any] | None:
    if contract is None:
        return None
    return {
        "contract_id": contract.id,
        "number": contract.number,
        "starts_on": contract.starts_on,
        "ends_on": contract.ends_on,
        "cancelled_on": contract.cancelled_on,
    }


def _tickets(facts: Facts, standing: Standing) -> list[Rule]:
    available = [pack for pack in standing.packs if pack.available(standing.on)]
    held = [pack for pack in standing.packs if pack.held]
    counting = (pack for pack in facts.packs_by(standing.on) if not pack.is_void)
    latest = max(counting, key=pack_order, default=None)
    return [
        Rule(
            "R5", "ticket_available", bool(available), _pack(available[0] if available else latest)
        ),
        Rule("R5", "ticket_held", bool(held), _pack(held[0] if held else None)),
    ]


def _pack(pack: Pack | None) -> dict[str, Any] | None:
    if pack is None:
        return None
    return {
        "ticket_pack_id": pack.id,
        "number": pack.number,
        "purchased_on": pack.purchased_on,
        "expires_on": pack.ends_on,
        "unused": pack.unused,
        "held": pack.held,
        "consumed": pack.consumed,
        "cancelled": pack.cancelled,
    }
