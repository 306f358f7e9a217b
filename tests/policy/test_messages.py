"""What the policy says in words, in three languages."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from itertools import combinations
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

from app.policy.civil import DeskState
from app.policy.facts import ReasonCode, Step
from app.policy.messages import (
    message,
    minutes_in_words,
    moment_in_words,
    say,
    say_desk,
    step,
)

ROME = ZoneInfo("Europe/Rome")
LANGUAGES = ("en", "it", "de")
# Every fact that a reason may rest on.
FACTS: dict[str, dict[str, object]] = {
    "no_editor_licence": {},
    "no_free_hours": {
        "purchased_on": date(2024, 1, 15),
        "transferred_on": date(2026, 3, 1),
    },
    "last_purchase_lapsed": {
        "last_purchase_on": date(2025, 1, 8),
        "lapsed_on": date(2026, 1, 8),
    },
    "no_contract_in_force": {
        "last_ended_on": date(2026, 3, 1),
        "next_starts_on": date(2027, 2, 11),
    },
    "contract_suspended": {"number": "SA-2026-000007", "ends_on": date(2027, 1, 15)},
    "hours_exhausted": {"granted_minutes": 1200, "used_minutes": 1200, "overrun_minutes": 61},
    "no_tickets": {},
    "tickets_expired": {"expired_on": date(2026, 3, 1), "expired": 3},
    "tickets_all_in_use": {"held": 2, "consumed": 4},
    "tickets_consumed": {"consumed": 5},
    "not_in_matrix": {},
}
SITUATIONS: dict[str, dict[str, object]] = {
    "allowed": {"service": "Web Forum"},
    "allowed_minutes": {"service": "Web Forum", "remaining_minutes": 125},
    "allowed_tickets": {"service": "Web Forum", "tickets": 2},
    "denied": {"service": "Web Forum"},
    "denied_continues": {"service": "Web Forum", "open_cases": 2},
    "customer_not_found": {},
    "ambiguous_lookup": {},
    "anonymous_caller": {},
}


def is_sentence(text: str) -> bool:
    return (
        (text[0].isupper() or text[0].isdigit())
        and text.endswith(".")
        and not re.search(r"[{}]|\bR\d|None", text)
    )


def test_every_code_and_step_has_a_text() -> None:
    assert FACTS.keys() == set(get_args(ReasonCode))
    for language in LANGUAGES:
        steps = [step(code, language) for code in get_args(Step)]
        assert len(set(steps)) == len(steps)
        assert all(text.strip(" .") == text for text in steps)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", FACTS)
def test_a_reason_is_a_sentence_whatever_is_known(code: str, language: str) -> None:
    facts = FACTS[code]
    for known in range(len(facts) + 1):
        for some in combinations(facts.items(), known):
            assert is_sentence(message(code, dict(some), language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_situations_are_sentences_that_can_be_spoken(language: str) -> None:
    for situation, facts in SITUATIONS.items():
        text = say(situation, facts, language)
        assert is_sentence(text)
        assert not re.search(r"[_\d]{5}|[()„“/]", text)


@pytest.mark.parametrize(
    ("language", "code", "facts", "text"),
    [
        (
            "en",
            "last_purchase_lapsed",
            FACTS["last_purchase_lapsed"],
            (
                "The last purchase was on 8 January 2025;"
                " the support that comes with it ended on 8 January 2026."
            ),
        ),
        (
            "it",
            "last_purchase_lapsed",
            FACTS["last_purchase_lapsed"],
            (
                "L'ultimo acquisto è stato effettuato in data 8 gennaio 2025;"
                " l'assistenza che ne deriva è terminata in data 8 gennaio 2026."
            ),
        ),
        (
            "de",
            "last_purchase_lapsed",
            FACTS["last_purchase_lapsed"],
            (
                "Der letzte Kauf erfolgte am 8. Januar 2025;"
                " der damit verbundene Support endete am 8. Januar 2026."
            ),
        ),
        (
            "en",
            "no_contract_in_force",
            {"last_ended_on": date(2026, 3, 1)},
            "No service agreement is in force: the last one ended on 1 March 2026.",
        ),
        (
            "en",
            "no_contract_in_force",
            {"next_starts_on": date(2026, 3, 1)},
            "No service agreement is in force: the next one starts on 1 March 2026.",
        ),
        (
            "it",
            "hours_exhausted",
            FACTS["hours_exhausted"],
            "Il tempo compreso (20 ore) è esaurito e superato di 1 ora e 1 minuto.",
        ),
        # Nothing over is not worth a word, and neither is what is not known.
        (
            "en",
            "hours_exhausted",
            {"granted_minutes": 300, "used_minutes": 300, "overrun_minutes": 0},
            "The time included (5 hours) is used up.",
        ),
        (
            "en",
            "tickets_all_in_use",
            {"held": 1, "consumed": None},
            "The last ticket is in use for an open case.",
        ),
        (
            "it",
            "tickets_expired",
            {"expired_on": date(2026, 3, 1), "expired": 1},
            "Un ticket non utilizzato è scaduto in data 1 marzo 2026.",
        ),
        (
            "it",
            "tickets_expired",
            FACTS["tickets_expired"],
            "3 ticket non utilizzati sono scaduti in data 1 marzo 2026.",
        ),
        (
            "de",
            "tickets_consumed",
            {"consumed": 1},
            "Ein Ticket wurde verbraucht, es ist keines mehr übrig.",
        ),
    ],
)
def test_texts(language: str, code: str, facts: Mapping[str, object], text: str) -> None:
    assert message(code, facts, language) == text


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (0, ("0 minutes", "0 minuti", "0 Minuten")),
        (1, ("1 minute", "1 minuto", "1 Minute")),
        (60, ("1 hour", "1 ora", "1 Stunde")),
        (61, ("1 hour and 1 minute", "1 ora e 1 minuto", "1 Stunde und 1 Minute")),
        (125, ("2 hours and 5 minutes", "2 ore e 5 minuti", "2 Stunden und 5 Minuten")),
        (1200, ("20 hours", "20 ore", "20 Stunden")),
    ],
)
def test_minutes_in_words(minutes: int, words: tuple[str, ...]) -> None:
    assert tuple(minutes_in_words(minutes, language) for language in LANGUAGES) == words


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2026-11-27T14:00", ("today at 14:00", "oggi alle ore 14:00", "heute um 14:00 Uhr")),
        ("2026-11-28T08:30", ("tomorrow at 8:30", "domani alle ore 8:30", "morgen um 8:30 Uhr")),
        (
            "2026-11-30T08:30",
            ("on Monday at 8:30", "lunedì alle ore 8:30", "am Montag um 8:30 Uhr"),
        ),
        (
            "2026-12-03T08:05",
            ("on Thursday at 8:05", "giovedì alle ore 8:05", "am Donnerstag um 8:05 Uhr"),
        ),
        (
            "2026-12-04T08:30",
            (
                "on Friday, 4 December 2026, at 8:30",
                "venerdì 4 dicembre 2026 alle ore 8:30",
                "am Freitag, dem 4. Dezember 2026, um 8:30 Uhr",
            ),
        ),
    ],
)
def test_a_moment_as_said_on_a_friday(moment: str, words: tuple[str, ...]) -> None:
    later = datetime.fromisoformat(moment).replace(tzinfo=ROME).astimezone(UTC)
    # 00:30 in Rome; still Thursday in UTC.
    friday = datetime(2026, 11, 26, 23, 30, tzinfo=UTC)
    assert tuple(moment_in_words(later, friday, ROME, one) for one in LANGUAGES) == words


def test_the_desk_is_said_by_its_own_clock() -> None:
    at = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)
    closes = DeskState(True, datetime(2026, 11, 23, 11, 0, tzinfo=UTC))
    opens = DeskState(False, datetime(2026, 11, 23, 13, 0, tzinfo=UTC))
    assert say_desk(closes, at, ROME, "en") == "The help desk is open until 12:00."
    assert say_desk(opens, at, ROME, "it") == "L'help desk è chiuso e apre oggi alle ore 14:00."
    assert say_desk(opens, at, ZoneInfo("UTC"), "de") == (
        "Der Help Desk ist geschlossen und öffnet heute um 13:00 Uhr."
    )


@pytest.mark.parametrize(
    ("situation", "facts", "text"),
    [
        (
            "allowed_minutes",
            {"service": "Phone support", "remaining_minutes": 125},
            "You can use the service Phone support; time left: 2 hours and 5 minutes.",
        ),
        (
            "allowed_tickets",
            {"service": "Phone support", "tickets": 1},
            "You can use the service Phone support; you have one ticket left.",
        ),
        (
            "denied_continues",
            {"service": "Phone support", "open_cases": 2},
            (
                "The service Phone support is available to you for your 2 open cases,"
                " but not for new ones."
            ),
        ),
    ],
)
def test_what_the_phone_system_says(situation: str, facts: dict[str, object], text: str) -> None:
    assert say(situation, facts, "en") == text


def test_what_has_no_text_is_a_lookup_error() -> None:
    with pytest.raises(LookupError):
        message("no_such_code", {}, "en")
    with pytest.raises(LookupError):
        message("no_tickets", {}, "fr")
    with pytest.raises(LookupError, match=r"say\.denied"):
        say("denied", {}, "en")
