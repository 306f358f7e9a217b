"""The days that a missing contract's reason names, at their boundaries (R4, R12)."""

from datetime import date

import pytest

from app.policy.decide import decide
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Licence

TODAY = date(2026, 3, 12)
EDITOR = Licence("l", "S-1", "editor", date(2020, 1, 15))


def _contract(starts: date, ends: date, cancelled: date | None = None) -> Contract:
    return Contract("c", "SA-1", starts, ends, cancelled, 1200)


@pytest.mark.parametrize(
    ("contract", "named"),
    [
        (_contract(date(2025, 3, 12), TODAY), {"last_ended_on": TODAY}),
        (_contract(date(2025, 6, 1), date(2026, 6, 1), TODAY), {"last_ended_on": TODAY}),
        (_contract(date(2026, 3, 13), date(2027, 3, 13)), {"next_starts_on": date(2026, 3, 13)}),
        # Cancelled on its first day it never was in force, and never will be.
        (_contract(date(2026, 3, 1), date(2027, 3, 1), date(2026, 3, 1)), {}),
        (_contract(date(2026, 4, 1), date(2027, 4, 1), date(2026, 4, 1)), {}),
    ],
)
def test_the_last_end_and_the_next_start(
    policies: Policies, contract: Contract, named: dict[str, date]
) -> None:
    facts = Facts(licences=(EDITOR,), contracts=(contract,))
    answer = decide(policies, facts, TODAY).answer
    upgrades = next(one for one in answer.services if one.service == "editor_upgrades")
    reason = next(reason for reason in upgrades.reasons if reason.column == "SA")
    assert (reason.code, reason.facts) == ("no_contract_in_force", named)
