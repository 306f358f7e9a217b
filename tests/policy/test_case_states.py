"""R29: the code's states and steps are those of the table in `app/policy/README.md`."""

from datetime import date
from typing import get_args

import pytest

from app.policy.cases import LEADS_TO, CaseStep, State, after, reopens_until
from app.policy.document import Policies
from tests.case_states import PAYERS, effects, leads
from tests.policy.strategies import PUBLISHED

STATES, STEPS = get_args(State), get_args(CaseStep)


def test_the_table_leaves_no_state_and_no_step_out() -> None:
    assert set(leads()) == {(step, state) for step in STEPS for state in STATES}
    assert set(effects()) == {(step, payer) for step in STEPS for payer in PAYERS}


@pytest.mark.parametrize(("step", "state"), leads())
def test_a_step_leads_where_the_table_says(step: CaseStep, state: State) -> None:
    """R29, R30."""
    assert after(state, step) == leads()[step, state]


@pytest.mark.parametrize("step", STEPS)
def test_a_refusal_names_a_state_that_the_step_leads_to(step: CaseStep) -> None:
    assert LEADS_TO[step] in {after(state, step) for state in STATES}


def test_cancelled_is_final() -> None:
    """R29."""
    assert {after("cancelled", step) for step in STEPS} == {None}


def test_reopening_follows_the_policy_of_the_day_of_closing() -> None:
    """R29."""
    first = PUBLISHED.versions[0]
    cases = first.cases.model_copy(update={"reopen_within_days": 10})
    changed = date(2026, 3, 1)
    later = first.model_copy(update={"effective_from": changed, "cases": cases})
    policies = Policies([first, later])
    assert reopens_until(policies, date(2026, 2, 28)) == date(2026, 3, 30)
    assert reopens_until(policies, changed) == date(2026, 3, 11)
