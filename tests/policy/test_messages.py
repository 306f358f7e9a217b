"""What the policy says in words, in three languages."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from itertools import combinations
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

from app.policy.civil import Closure, DeskState
from app.policy.facts import ReasonCode, Step
from app.policy.messages import (
    message,
    minutes_in_words,
    moment_in_words,
    say,
    say_desk,
    spoken,
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
    "open_case_only": {"service": "Web Forum", "open_cases": 2},
    "unknown_caller": {},
    "ambiguous_caller": {},
    "withheld_number": {},
    "unusable_number": {},
    "identify": {},
    "not_answered": {},
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
        (
            "2026-11-27T14:00",
            ("today at 2 o'clock in the afternoon", "oggi alle 14", "heute um 14 Uhr"),
        ),
        (
            "2026-11-28T08:30",
            (
                "tomorrow at half past 8 in the morning",
                "domani alle 8 e 30",
                "morgen um 8 Uhr 30",
            ),
        ),
        ("2026-11-29T12:00", ("on Sunday at noon", "domenica alle 12", "am Sonntag um 12 Uhr")),
        ("2026-11-30T12:00", ("on Monday at noon", "lunedì alle 12", "am Montag um 12 Uhr")),
        ("2026-12-01T12:00", ("on Tuesday at noon", "martedì alle 12", "am Dienstag um 12 Uhr")),
        (
            "2026-12-02T12:00",
            ("on Wednesday at noon", "mercoledì alle 12", "am Mittwoch um 12 Uhr"),
        ),
        (
            "2026-12-03T01:05",
            (
                "on Thursday at 5 minutes past 1 in the morning",
                "giovedì all'una e 5",
                "am Donnerstag um ein Uhr 5",
            ),
        ),
        (
            "2026-12-04T08:45",
            (
                "on Friday the 4th of December at a quarter to 9 in the morning",
                "venerdì 4 dicembre alle 8 e 45",
                "am Freitag, dem 4. Dezember, um 8 Uhr 45",
            ),
        ),
        (
            "2027-03-01T13:15",
            (
                "on Monday the 1st of March at a quarter past 1 in the afternoon",
                "lunedì primo marzo alle 13 e 15",
                "am Montag, dem 1. März, um 13 Uhr 15",
            ),
        ),
        (
            "2027-03-22T00:00",
            (
                "on Monday the 22nd of March at midnight",
                "lunedì 22 marzo a mezzanotte",
                "am Montag, dem 22. März, um 0 Uhr",
            ),
        ),
        (
            "2027-03-23T18:40",
            (
                "on Tuesday the 23rd of March at 20 minutes to 7 in the evening",
                "martedì 23 marzo alle 18 e 40",
                "am Dienstag, dem 23. März, um 18 Uhr 40",
            ),
        ),
        (
            "2027-04-12T22:30",
            (
                "on Monday the 12th of April at half past 10 at night",
                "lunedì 12 aprile alle 22 e 30",
                "am Montag, dem 12. April, um 22 Uhr 30",
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
    assert say_desk(closes, at, ROME, "en") == "The help desk is open until noon."
    assert say_desk(opens, at, ROME, "it") == "L'help desk è chiuso e riapre oggi alle 14."
    assert say_desk(opens, at, ZoneInfo("UTC"), "de") == (
        "Der Help Desk ist geschlossen und öffnet heute um 13 Uhr wieder."
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [("Umbau", "Umbau"), (" Umbau . ", "Umbau"), ("Umbau, Haus X..", "Umbau, Haus X")],
)
def test_the_reason_of_a_closure_ends_one_sentence(written: str, said: str) -> None:
    """R48."""
    at = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)
    until = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
    closed = DeskState(False, until, Closure(at, until, (), (("de", written),)))
    assert say_desk(closed, at, ROME, "de") == (
        f"Der Help Desk ist geschlossen: {said}. Er öffnet morgen um 8 Uhr 30 wieder."
    )
    assert "Umbau" not in say_desk(closed, at, ROME, "de", reason=False)


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_do_not_follow_the_language_of_the_server(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [date(2026, month, 1) for month in range(1, 13)]
    usual = [spoken.day(day, language) for day in days]
    monkeypatch.setattr("babel.dates.LC_TIME", "fr_FR")
    assert [spoken.day(day, language) for day in days] == usual


@pytest.mark.parametrize(
    ("language", "text", "minutes"),
    [
        ("en", "one hour and 5 minutes", 65),
        ("en", "2 hours and one minute", 121),
        ("it", "un'ora e un minuto", 61),
        ("it", "45 minuti", 45),
        ("de", "eine Stunde und 5 Minuten", 65),
        ("de", "1250 Stunden", 75_000),
    ],
)
def test_a_duration_is_said_without_a_figure_for_one(
    language: str, text: str, minutes: int
) -> None:
    facts = {"service": "X", "remaining_minutes": minutes}
    assert text in say("allowed_minutes", facts, language)


@pytest.mark.parametrize(
    ("situation", "facts", "text"),
    [
        ("allowed_tickets", {"tickets": 2}, "You are entitled to X. You have 2 tickets left."),
        ("allowed_tickets", {"tickets": 1}, "You are entitled to X. You have one ticket left."),
        ("open_case_only", {"open_cases": 2}, "You are entitled to X for your 2 open cases only."),
    ],
)
def test_what_is_counted_is_said_as_a_number(
    situation: str, facts: Mapping[str, object], text: str
) -> None:
    assert say(situation, {"service": "X", **facts}, "en") == text


def test_what_has_no_text_is_a_lookup_error() -> None:
    with pytest.raises(LookupError):
        message("no_such_code", {}, "en")
    with pytest.raises(LookupError):
        message("no_tickets", {}, "fr")
    with pytest.raises(LookupError) as error:
        say("denied", {}, "en")
    assert str(error.value) == "en: say.denied has no text for no facts"
    with pytest.raises(LookupError) as error:
        say("denied", {"tickets": 2, "open_cases": 1, "held": None}, "en")
    assert str(error.value) == "en: say.denied has no text for open_cases, tickets facts"
