"""The states of a case and the steps between them (R29)."""

from datetime import date, timedelta
from typing import Literal

from app.policy.document import Policies

State = Literal["open", "in_progress", "waiting_for_customer", "closed", "cancelled"]
CaseStep = Literal[
    "take", "wait", "work", "reverse", "to_bug", "from_bug", "close", "reopen", "cancel", "move"
]
OPEN: tuple[State, ...] = ("open", "in_progress", "waiting_for_customer")

_STAYS: dict[State, State] = {state: state for state in OPEN}
_STAYS_CLOSED_TOO: dict[State, State] = {**_STAYS, "closed": "closed"}

# For each step, the states in which it is allowed and what each becomes. README.md beside this file
# says what happens to ticket and minutes.
_NEXT: dict[CaseStep, dict[State, State]] = {
    "take": {"open": "in_progress", "waiting_for_customer": "in_progress"},
    "wait": {"in_progress": "waiting_for_customer"},
    "work": _STAYS,
    "reverse": _STAYS_CLOSED_TOO,
    "to_bug": _STAYS_CLOSED_TOO,
    "from_bug": _STAYS_CLOSED_TOO,
    "close": dict.fromkeys(OPEN, "closed"),
    "reopen": {"closed": "in_progress"},
    "cancel": dict.fromkeys(OPEN, "cancelled"),
    "move": dict.fromkeys((*OPEN, "closed"), "cancelled"),
}

# The state that a refused step would have led to.
LEADS_TO: dict[CaseStep, State] = {
    "take": "in_progress",
    "wait": "waiting_for_customer",
    "work": "in_progress",
    "reverse": "in_progress",
    "to_bug": "in_progress",
    "from_bug": "in_progress",
    "close": "closed",
    "reopen": "in_progress",
    "cancel": "cancelled",
    "move": "cancelled",
}


def after(state: State, step: CaseStep) -> State | None:
    """The state that a step leads to, or None where it is not allowed."""
    return _NEXT[step].get(state)


def reopens_until(policies: Policies, closed_on: date) -> date:
    """The first day on which a case that was last closed on a day is not reopened any more.

    By the policy in force on the day of closing.
    """
    days = policies.in_force(closed_on).cases.reopen_within_days
    return closed_on + timedelta(days=days)
