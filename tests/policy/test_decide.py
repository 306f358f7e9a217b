"""One answer of a date, and until when each service in it holds (R13)."""

from datetime import date, timedelta

import pytest
from hypothesis import given

from app.policy.decide import answer_on, continuing, decide, service_valid_until
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Licence, OpenCase, Pack
from tests.policy import strategies as some
from tests.policy.strategies import PUBLISHED

ON = date(2026, 11, 23)
EDITOR = Licence("l1", "S-1", "editor", date(2026, 3, 1))
CONTRACT = Contract("c1", "SA-1", date(2026, 1, 1), date(2027, 1, 1), None, 1200)
PACK = Pack("p1", "TP-1", date(2026, 12, 1) - timedelta(days=365), date(2026, 12, 1), 1)


@given(some.policies, some.facts(), some.days)
def test_the_answer_alone_is_that_of_the_decision(
    policies: Policies, facts: Facts, on: date
) -> None:
    assert answer_on(policies, facts, on) == decide(policies, facts, on).answer


@pytest.mark.parametrize(
    ("service", "until"),
    [
        # Granted by each column in which the customer stands: one grant less.
        ("web_forum", date(2026, 12, 1)),
        ("web_support_portal", date(2026, 12, 1)),
        ("email_support", date(2026, 12, 1)),
        ("phone_support", date(2026, 12, 1)),
        ("support_downloads", date(2027, 1, 1)),
        ("priority_support", date(2027, 1, 1)),
        ("editor_upgrades", date(2027, 1, 1)),
    ],
)
def test_a_service_holds_until_its_own_next_change(service: str, until: date) -> None:
    facts = Facts((EDITOR,), (CONTRACT,), (PACK,))
    decision = decide(PUBLISHED, facts, ON)
    found = next(one for one in decision.answer.services if one.service == service)
    assert service_valid_until(PUBLISHED, facts, decision, found) == until
    assert decision.valid_until == date(2026, 12, 1)


def test_a_service_of_which_nothing_changes() -> None:
    decision = decide(PUBLISHED, Facts(), ON)
    for service in decision.answer.services:
        assert service_valid_until(PUBLISHED, Facts(), decision, service) is None


def test_an_open_case_goes_on_on_the_channels_of_what_pays_for_it() -> None:
    """R11, R23, R29: on its own channel alone where nothing pays."""
    facts = Facts(
        open_cases=(
            OpenCase("2026-000001", "email", "free_hours"),
            OpenCase("2026-000002", "email", "contract"),
            OpenCase("2026-000003", "phone", "ticket"),
            OpenCase("2026-000004", "remote", "none"),
        )
    )
    assert continuing(PUBLISHED.versions[0], facts) == {
        "email_support": ["2026-000001", "2026-000002", "2026-000003"],
        "phone_support": ["2026-000002", "2026-000003"],
        "remote_access": ["2026-000002", "2026-000003", "2026-000004"],
    }
    assert continuing(PUBLISHED.versions[0], Facts()) == {}
