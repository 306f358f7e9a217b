"""The catalogues of messages are checked when they are read: what is wrong is named."""

import pkgutil
import re
from importlib.resources import files
from pathlib import Path

import pytest

from app.policy.messages import MessagesError, Variant, load

LANGUAGES = ("en", "it", "de")


@pytest.fixture
def catalogues(tmp_path: Path) -> Path:
    """A copy of the published catalogues, to break."""
    for language in LANGUAGES:
        name = f"{language}.toml"
        text = files("app.policy.messages").joinpath(name).read_text("utf-8")
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_the_published_catalogues_are_sound(catalogues: Path) -> None:
    assert load(catalogues).keys() == set(LANGUAGES)


def test_a_catalogue_as_it_is_read(catalogues: Path) -> None:
    english = load(catalogues)["en"]
    denied = "You are not entitled to {service} at present."
    assert english["say.denied"] == (Variant(denied, denied, None, frozenset({"service"})),)
    assert english["reasons.tickets_consumed"] == (
        Variant(
            "One ticket has been used and none is left.",
            "{consumed} tickets have been used and none is left.",
            "consumed",
            frozenset({"consumed"}),
        ),
        Variant("All tickets have been used.", "All tickets have been used.", None, frozenset()),
    )


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            [
                ("de.toml", "tickets_consumed = [", 'tickets_consumed = [ "{a} {b}",'),
                ("it.toml", 'denied = "', 'denied = "{also} '),
            ],
            [
                "it.toml: say.denied: is told by also, service, in en.toml by service",
                (
                    "de.toml: reasons.tickets_consumed: is told by"
                    " a, b | consumed (count consumed) | nothing,"
                    " in en.toml by consumed (count consumed) | nothing"
                ),
            ],
        ),
        (
            [("en.toml", "no_tickets = ", "none = ")],
            [
                "en.toml: reasons.no_tickets: is missing, it.toml has it",
                "it.toml: reasons.none: is missing, en.toml has it",
                "en.toml: reasons.no_tickets: is missing, de.toml has it",
                "de.toml: reasons.none: is missing, en.toml has it",
            ],
        ),
        (
            # Told by the same facts as one before it, though in other words.
            [("en.toml", "contract_suspended = [", 'contract_suspended = [ "{number} {ends_on}",')],
            [
                (
                    "en.toml: reasons.contract_suspended: 'Service agreement {number} is suspended"
                    " until an Editor licence is held again; it ends on {ends_on}.' is never said,"
                    " an earlier text needs no more facts"
                )
            ],
        ),
        (
            [("de.toml", "[words]", "[worte]")],
            ["de.toml: worte: is none of the sections reasons, steps, say, words"],
        ),
    ],
)
def test_every_fault_is_named(
    catalogues: Path, changes: list[tuple[str, str, str]], faults: list[str]
) -> None:
    for file, old, new in changes:
        text = (catalogues / file).read_text("utf-8")
        assert old in text
        (catalogues / file).write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(MessagesError) as found:
        load(catalogues)
    assert str(found.value).splitlines() == faults


@pytest.mark.parametrize(
    ("file", "old", "new", "error"),
    [
        ("it.toml", r"^no_tickets = .*$", "", r"it\.toml: reasons\.no_tickets: is missing"),
        ("en.toml", r"^buy_tickets = .*$", "", r"en\.toml: steps\.buy_tickets: is missing"),
        ("de.toml", r"\{expired\}", "{abgelaufen}", r"de\.toml: reasons\.tickets_expired: is told"),
        ("it.toml", r"^denied = .*$", 'denied = "No."', r"it\.toml: say\.denied: is told"),
        ("it.toml", 'count = "expired"', 'count = "held"', r"it\.toml: reasons\.tickets_expired"),
        ("de.toml", r"\{service\}", "{service", r"de\.toml: say\.allowed: "),
        ("de.toml", r"\{service\}", "{}", r"de\.toml: say\.allowed: .* plain \{name\}"),
        ("de.toml", r"\{service\}", "{service.__class__}", r"de\.toml: say\.allowed: .* plain"),
        ("de.toml", r"\{service\}", "{service:>9}", r"de\.toml: say\.allowed: .* plain"),
        ("en.toml", r"^denied = .*$", 'denied = ""', r"en\.toml: say\.denied: is empty"),
        ("en.toml", r"^denied = .*$", "denied = 7", r"en\.toml: say\.denied: is neither"),
        ("en.toml", r"^denied = .*$", "denied = []", r"en\.toml: say\.denied: .* no facts"),
        ("en.toml", r"one = ", "einzig = ", r"en\.toml: reasons\.tickets_expired: is neither"),
        (
            "en.toml",
            r'^    "The time included is used up\.",$',
            "",
            r"en\.toml: reasons\.hours_exhausted: its last text must need no facts",
        ),
        (
            "it.toml",
            r"^contract_suspended = \[$",
            'contract_suspended = [ "Sospeso.",',
            r"it\.toml: reasons\.contract_suspended: .* is never said",
        ),
        ("de.toml", r"^\[words\]$", "[worte]", r"de\.toml: worte: is none of the sections"),
        ("de.toml", r"^\[words\]$", "[words", r"de\.toml: "),
    ],
)
def test_a_broken_catalogue_is_refused(
    catalogues: Path, file: str, old: str, new: str, error: str
) -> None:
    text = (catalogues / file).read_text("utf-8")
    broken, replaced = re.subn(old, lambda _: new, text, flags=re.MULTILINE)
    assert replaced
    (catalogues / file).write_text(broken, "utf-8")
    with pytest.raises(MessagesError, match=error):
        load(catalogues)


@pytest.mark.parametrize(
    "table", ["app.policy.messages._LOCALES", "app.policy.messages.spoken._VOICES"]
)
@pytest.mark.parametrize("more", [True, False])
def test_a_language_in_one_table_alone_is_refused(
    catalogues: Path, table: str, more: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = pkgutil.resolve_name(table)
    changed = known | {"fr": known["en"]} if more else {"en": known["en"], "it": known["it"]}
    monkeypatch.setattr(table, changed)
    (catalogues / "fr.toml").write_text((catalogues / "en.toml").read_text("utf-8"), "utf-8")
    name = table.removeprefix("app.policy.messages.")
    with pytest.raises(MessagesError) as error:
        load(catalogues)
    assert str(error.value) == (
        f"app.policy.messages: {name} has {', '.join(sorted(changed))}, but the languages of the"
        " policy document are de, en, it"
    )


def test_a_missing_catalogue_is_refused(catalogues: Path) -> None:
    (catalogues / "de.toml").unlink()
    with pytest.raises(MessagesError, match=r"de\.toml"):
        load(catalogues)


def test_catalogues_are_read_alike_on_every_machine(
    catalogues: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their encoding is UTF-8, whatever the machine's own is."""
    usual, read = load(catalogues), Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, encoding=None: read(path, encoding or "latin-1")
    )
    assert load(catalogues) == usual
