"""Times, days and durations as a voice says them, at each boundary of each language."""

from datetime import UTC, date, datetime

import pytest

from app.policy.messages import spoken


@pytest.mark.parametrize(
    ("hour", "minute", "english", "italian", "german"),
    [
        (0, 0, "midnight", "a mezzanotte", "0 Uhr"),
        (0, 1, "one minute past 12 at night", "a mezzanotte e 1", "0 Uhr 1"),
        (0, 59, "one minute to 1 at night", "a mezzanotte e 59", "0 Uhr 59"),
        (1, 0, "1 o'clock in the morning", "all'una", "ein Uhr"),
        (1, 14, "14 minutes past 1 in the morning", "all'una e 14", "ein Uhr 14"),
        (2, 15, "a quarter past 2 in the morning", "alle 2 e 15", "2 Uhr 15"),
        (8, 16, "16 minutes past 8 in the morning", "alle 8 e 16", "8 Uhr 16"),
        (8, 29, "29 minutes past 8 in the morning", "alle 8 e 29", "8 Uhr 29"),
        (8, 30, "half past 8 in the morning", "alle 8 e 30", "8 Uhr 30"),
        (8, 31, "29 minutes to 9 in the morning", "alle 8 e 31", "8 Uhr 31"),
        (11, 44, "16 minutes to 12 in the morning", "alle 11 e 44", "11 Uhr 44"),
        (11, 45, "a quarter to 12 in the morning", "alle 11 e 45", "11 Uhr 45"),
        (12, 0, "noon", "alle 12", "12 Uhr"),
        (12, 15, "a quarter past 12 in the afternoon", "alle 12 e 15", "12 Uhr 15"),
        (12, 46, "14 minutes to 1 in the afternoon", "alle 12 e 46", "12 Uhr 46"),
        (13, 0, "1 o'clock in the afternoon", "alle 13", "13 Uhr"),
        (17, 59, "one minute to 6 in the afternoon", "alle 17 e 59", "17 Uhr 59"),
        (18, 0, "6 o'clock in the evening", "alle 18", "18 Uhr"),
        (21, 45, "a quarter to 10 in the evening", "alle 21 e 45", "21 Uhr 45"),
        (22, 0, "10 o'clock at night", "alle 22", "22 Uhr"),
        (23, 58, "2 minutes to 12 at night", "alle 23 e 58", "23 Uhr 58"),
    ],
)
def test_clock(hour: int, minute: int, english: str, italian: str, german: str) -> None:
    at = datetime(2026, 11, 26, hour, minute, tzinfo=UTC)
    assert spoken.clock(at, "en") == english
    assert spoken.clock(at, "it") == italian
    assert spoken.clock(at, "de") == german


@pytest.mark.parametrize(
    ("day", "english", "italian", "german"),
    [
        (date(2026, 1, 1), "1st of January", "primo gennaio", "1. Januar"),
        (date(2026, 2, 2), "2nd of February", "2 febbraio", "2. Februar"),
        (date(2026, 3, 3), "3rd of March", "3 marzo", "3. März"),
        (date(2026, 4, 4), "4th of April", "4 aprile", "4. April"),
        (date(2026, 5, 10), "10th of May", "10 maggio", "10. Mai"),
        (date(2026, 6, 11), "11th of June", "11 giugno", "11. Juni"),
        (date(2026, 7, 12), "12th of July", "12 luglio", "12. Juli"),
        (date(2026, 8, 13), "13th of August", "13 agosto", "13. August"),
        (date(2026, 9, 14), "14th of September", "14 settembre", "14. September"),
        (date(2026, 10, 21), "21st of October", "21 ottobre", "21. Oktober"),
        (date(2026, 11, 22), "22nd of November", "22 novembre", "22. November"),
        (date(2026, 12, 23), "23rd of December", "23 dicembre", "23. Dezember"),
        (date(2026, 12, 30), "30th of December", "30 dicembre", "30. Dezember"),
        (date(2026, 12, 31), "31st of December", "31 dicembre", "31. Dezember"),
    ],
)
def test_day(day: date, english: str, italian: str, german: str) -> None:
    assert spoken.day(day, "en") == english
    assert spoken.day(day, "it") == italian
    assert spoken.day(day, "de") == german


@pytest.mark.parametrize(
    ("minutes", "english", "italian", "german"),
    [
        (0, "0 minutes", "0 minuti", "0 Minuten"),
        (1, "one minute", "un minuto", "eine Minute"),
        (59, "59 minutes", "59 minuti", "59 Minuten"),
        (60, "one hour", "un'ora", "eine Stunde"),
        (61, "one hour and one minute", "un'ora e un minuto", "eine Stunde und eine Minute"),
        (122, "2 hours and 2 minutes", "2 ore e 2 minuti", "2 Stunden und 2 Minuten"),
        (1200, "20 hours", "20 ore", "20 Stunden"),
    ],
)
def test_duration(minutes: int, english: str, italian: str, german: str) -> None:
    assert spoken.duration(minutes, "en") == english
    assert spoken.duration(minutes, "it") == italian
    assert spoken.duration(minutes, "de") == german


def test_a_language_without_a_voice() -> None:
    with pytest.raises(KeyError):
        spoken.clock(datetime(2026, 11, 26, 8, tzinfo=UTC), "fr")
    with pytest.raises(KeyError):
        spoken.day(date(2026, 11, 26), "fr")
    with pytest.raises(KeyError):
        spoken.duration(5, "fr")
