"""R29: the code's states and steps are those of the table in `app/policy/README.md`."""

from typing import get_args

import pytest

from app.policy.cases import LEADS_TO, CaseStep, State, after
from tests.case_states import PAYERS, effects, leads

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
