"""Simulations: the decision before and after an assumed purchase or work. Nothing is written."""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from app.errors import EditorLicenceRequired, NotEntitled
from app.policy.allocate import refusal
from app.policy.decide import Decision, decide
from app.policy.document import Policies
from app.policy.facts import Facts
from app.policy.simulate import Assumption, EditorRequired, NothingPays, assume


class Simulated(NamedTuple):
    before: Decision
    after: Decision
    facts_after: Facts


def simulate(
    policies: Policies, facts: Facts, on: date, assumptions: Iterable[Assumption]
) -> Simulated:
    """Decide on a date with these facts, and again with each assumption added in turn.

    Raises EditorLicenceRequired (R15), and NotEntitled for work that nothing pays for (R18).
    """
    try:
        facts_after = assume(policies, facts, on, assumptions)
    except EditorRequired:
        raise EditorLicenceRequired from None
    except NothingPays as nothing:
        case, decision = nothing.assumed, nothing.decision
        raise NotEntitled(
            refusal(policies, nothing.facts, decision, case.channel, case.pay_with),
            decision.standing.policy,
        ) from None
    return Simulated(decide(policies, facts, on), decide(policies, facts_after, on), facts_after)
