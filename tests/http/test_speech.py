"""What a caller hears, word for word, and what becomes of the call."""

import tomllib
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, get_args

import pytest

from app.errors import AnonymousCaller, CustomerNotFound, InvalidInput, ServiceError, invalid
from app.http.speech import (
    LONGEST,
    desk_of_caller,
    outcome_for,
    outcome_of,
    route_of,
    sentences_about,
    sentences_for,
    spoken,
)
from app.policy import civil
from app.policy.civil import Closure, DeskState, Hours
from app.policy.document import HelpDesk, Policy, load
from app.policy.facts import Grant, ServiceAnswer
from app.services.calls import Outcome
from app.services.phones import Exchange

_WRITTEN = tomllib.loads(Path(__file__).with_name("sentences.toml").read_text("utf-8"))
_POLICY = load().in_force(date(2026, 11, 23))
_DESK = next(desk for desk in _POLICY.help_desks if desk.id == "it")
_REASON = {"it": "ferie natalizie", "en": "Christmas holidays", "de": "Weihnachtsferien."}
_CLOSURE = Closure(
    datetime(2026, 12, 24, tzinfo=UTC),
    datetime(2027, 1, 6, 23, tzinfo=UTC),
    (),
    tuple(_REASON.items()),
)
_WHEN = {
    "open": datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    "lunch": datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
    "closed": datetime(2026, 11, 28, 9, 0, tzinfo=UTC),
    "closure": datetime(2026, 12, 29, 9, 0, tzinfo=UTC),
}
_HOURS = (Grant("DEV", "free_hours", 45), Grant("SA", "contract", 60))
_TICKETS = (Grant("TCK", "ticket", 3),)
# What is granted, and the open cases for which the service continues.
_CUSTOMERS: dict[str, tuple[tuple[Grant, ...], list[str]]] = {
    "allowed_minutes": (_HOURS, []),
    "allowed_tickets": (_TICKETS, ["2026-000001"]),
    "one_open_case": ((), ["2026-000001"]),
    "open_cases": ((), ["2026-000001", "2026-000002"]),
    "denied": ((), []),
}


def _answer(granted: tuple[Grant, ...]) -> ServiceAnswer:
    return ServiceAnswer("phone_support", granted, (), ())


@pytest.mark.parametrize("when", _WHEN)
@pytest.mark.parametrize("language", ["it", "en", "de"])
@pytest.mark.parametrize("caller", _WRITTEN)
def test_a_caller_hears(caller: str, language: Any, when: str) -> None:
    at = _WHEN[when]
    state = civil.state(_DESK.schedule, at, (_CLOSURE,))
    assert (state.closure is not None) == (when == "closure")
    if caller in _CUSTOMERS:
        granted, cases = _CUSTOMERS[caller]
        sentences = sentences_for(_POLICY, _answer(granted), len(cases), language)
    else:
        outcome: Any = caller
        route = route_of(outcome, "phone_support", state)
        sentences = sentences_about(outcome, route, language)
    said = spoken(sentences, (_DESK, state), at, language)
    assert said == _WRITTEN[caller][language][when]
    assert len(said) <= LONGEST


def test_every_outcome_is_written_down() -> None:
    known = {outcome_for(_answer(granted), cases) for granted, cases in _CUSTOMERS.values()}
    assert known | (_WRITTEN.keys() - _CUSTOMERS.keys()) == set(get_args(Outcome))


@pytest.mark.parametrize("language", ["it", "en", "de"])
@pytest.mark.parametrize("reason", [1, 40, 80])
@pytest.mark.parametrize("hours", [(), (Hours(time(9, 0), time(10, 45)),)])
def test_it_is_never_longer_than_a_caller_listens(
    language: Any, reason: int, hours: tuple[Hours, ...]
) -> None:
    """With the longest names of services and reasons, whoever calls and whenever."""
    texts = tuple((one, "x" * reason) for one in ("it", "en", "de"))
    closure = Closure(_CLOSURE.starts_at, _CLOSURE.ends_at, hours, texts)
    heard = set()
    for at in (*_WHEN.values(), datetime(2026, 12, 23, 20, tzinfo=UTC)):
        state = civil.state(_DESK.schedule, at, (closure,))
        for row in _POLICY.services:
            for granted, cases in _CUSTOMERS.values():
                answer = ServiceAnswer(row.id, granted, (), ())
                sentences = sentences_for(_POLICY, answer, len(cases), language)
                said = spoken(sentences, (_DESK, state), at, language)
                assert len(said) <= LONGEST
                assert said.startswith(sentences[-1].rstrip("."))
                heard.add(said)
    assert any("x" in said for said in heard)


def test_what_does_not_fit_is_left_out_from_the_end() -> None:
    at = _WHEN["closure"]
    reason = tuple((one, "x" * 80) for one in ("it", "en", "de"))
    state = DeskState(False, _CLOSURE.ends_at, Closure(at, _CLOSURE.ends_at, (), reason))
    desk = (_DESK, state)
    full = spoken(["A."], desk, at, "en")
    assert "x" * 80 in full
    assert spoken(["B" * 60 + ".", "A."], desk, at, "en") == full
    assert spoken(["A" * 100 + "."], desk, at, "en").endswith("opens again on Thursday the"
        " 7th of January at midnight.")  # fmt: skip
    assert spoken(["A" * 200 + "."], desk, at, "en") == "A" * 200 + "."
    assert len(spoken(["word " * 60 + "."], desk, at, "en")) <= LONGEST


@pytest.mark.parametrize(
    ("outcome", "when_open"),
    [
        ("allowed", "serve"),
        ("open_case_only", "serve_case"),
        ("denied", "sales"),
        ("unknown_caller", "identify"),
        ("ambiguous_caller", "identify"),
        ("withheld_number", "identify"),
        ("unusable_number", "identify"),
    ],
)
def test_a_dial_plan_branches_on_the_route(outcome: Any, when_open: str) -> None:
    opened, closed = DeskState(True, _WHEN["open"]), DeskState(False, _WHEN["open"])
    assert route_of(outcome, "phone_support", opened) == when_open
    assert route_of(outcome, "phone_support", None) == when_open
    assert route_of(outcome, "phone_support", closed) == "closed"
    assert route_of(outcome, "email_support", closed) == when_open


def test_what_is_no_question_stays_an_error() -> None:
    assert outcome_of(CustomerNotFound()) == "unknown_caller"
    assert outcome_of(AnonymousCaller()) == "withheld_number"
    assert outcome_of(invalid("query/phone", "not_a_phone_number")) == "unusable_number"
    wrong: ServiceError
    for wrong in (invalid("query", "exactly_one"), InvalidInput()):
        with pytest.raises(type(wrong)):
            outcome_of(wrong)


@pytest.mark.parametrize(
    ("called", "desk"),
    [
        ("+39059454224", "it"),
        ("059 454224", "it"),
        ("0039059454224", "it"),
        ("sip:059454224@pbx.example.com", "it"),
        ("+41 91 967 66 10", "abroad"),
        ("0900 1776432", "de"),
        ("+390590000001", None),
        ("204", None),
        ("anonymous", None),
        (None, None),
    ],
)
def test_the_number_dialled_gives_the_desk(called: str | None, desk: str | None) -> None:
    def found(policy: Policy, default: str | None) -> HelpDesk | None:
        return desk_of_caller(policy, called, Exchange("IT"), default)

    chosen = found(_POLICY, None)
    assert (chosen and chosen.id) == desk
    default = found(_POLICY, "abroad")
    assert default is not None
    assert default.id == (desk or "abroad")
