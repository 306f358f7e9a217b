"""Forecasts: what time alone changes in a customer's answer, step by step (R13)."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import NamedTuple

from app.policy.civil import civil_date, start_of_day
from app.policy.decide import Answer, answer_on, changing_days
from app.policy.document import Policies
from app.policy.facts import Facts


class Step(NamedTuple):
    """An answer that holds from `at` until the next step."""

    at: datetime
    on: date
    answer: Answer


def forecast(policies: Policies, facts: Facts, now: datetime, until: datetime) -> Iterator[Step]:
    """The answer now, and each different one that begins by `until` if nobody does anything."""
    today = civil_date(now, policies.zone)
    last: object = None
    for day in (today, *changing_days(policies, facts, today)):
        begins = now if day == today else start_of_day(day, policies.zone)
        if begins > until:
            break
        answer = answer_on(policies, facts, day)
        shown = (answer.policy, answer.columns, answer.services)
        if shown != last:
            last = shown
            yield Step(begins, day, answer)
