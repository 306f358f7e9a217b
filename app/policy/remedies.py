"""Which step would help against an allowance that ends, is spent, or is overrun (R12, R24)."""

from collections.abc import Collection
from datetime import date
from typing import Literal

from app.policy.allowance_standings import AllowanceStanding
from app.policy.civil import add_months
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Step
from app.policy.standing import holds_editor

Why = Literal["ending", "nearly_spent", "spent", "overrun"]
"""Why an allowance needs attention."""


def reasons(
    one: AllowanceStanding, on: date, within_days: int, used_percent: int
) -> tuple[Why, ...]:
    """Why an allowance needs attention on a date. One that has ended does for its overrun alone."""
    found: list[Why] = []
    if one.begun and one.starts_on <= on < one.stops_on:
        has_any = one.kind != "ticket_pack" or bool(one.held or one.ends)
        if has_any and (one.stops_on - on).days <= within_days:
            found.append("ending")
        share = one.used_percent
        if share is not None and share >= 100:
            found.append("spent")
        elif share is not None and share >= used_percent:
            found.append("nearly_spent")
    if one.overrun:
        found.append("overrun")
    return tuple(found)


def remedy(
    policies: Policies, facts: Facts, one: AllowanceStanding, why: Collection[Why], on: date
) -> Step | None:
    """The step that would help, None where none is needed or none would."""
    if one.renewed_by is not None and set(why) <= {"ending"}:
        return None
    if one.kind == "ticket_pack":
        return "buy_tickets"
    if not holds_editor(facts.licences, on):
        return "buy_editor_licence"
    if one.kind == "contract":
        contract = next(each for each in facts.contracts if each.id == one.key)
        if _renewable(policies, contract, on):
            return "renew_contract"
        return "sign_contract" if on < one.ends_on else None
    if one.ends_on <= on:
        # A new contract may take over its overrun.
        return "sign_contract"
    if one.used < one.granted:
        # Whatever is bought keeps DEV, and with it the hours.
        return "buy_any_licence"
    if policies.in_force(on).anchored_by_any:
        return "buy_any_licence"
    # Another Editor begins a year today, unless this one did (R12).
    return "buy_editor_licence" if one.starts_on < on else None


def _renewable(policies: Policies, contract: Contract, on: date) -> bool:
    """Whether a contract can be renewed on a date, by a holder of an Editor (R24)."""
    months = policies.in_force(contract.ends_on).allowances.contract.months
    return (
        not contract.renewed
        and contract.cancelled_on is None
        and contract.starts_on <= on < add_months(contract.ends_on, months)
    )
