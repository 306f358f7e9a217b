"""A broken policy is refused with the file, the place and what is wrong; versions and dates."""

import os
import subprocess
import sys
from datetime import date
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from app.policy.document import Policies, PolicyError, load, parse
from app.policy.facts import Facts, Licence
from app.policy.standing import service_year

TEXT = files("app.policy").joinpath("progea.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "place", "what"),
    [
        ("minutes = 300", 'minutes = "300"', "allowances.free_hours.minutes", "integer"),
        ("minutes = 300", "minutes = 0", "allowances.free_hours.minutes", "greater than"),
        ('anchor = "editor"', 'anchor = "all"', "allowances.free_hours.anchor", "'editor'"),
        ("months = 12 # R3", "month = 12", "development.month", "not permitted"),
        ('id = "web_forum"', 'id = "web_fora"', "services[web_fora].id", "web_forum"),
        ('pays = "free_hours"', 'pays = "ticket"', "services[email_support].cells", "paid by"),
        ('time_zone = "Europe/Zurich"', 'time_zone = "Mars/1"', "help_desks[abroad]", "time zone"),
        ('country = "CH", subdivision = "TI"', 'country = "CH", subdivision = "XX"',
         "help_desks[abroad].calendar", "CH-XX"),
        ('country = "CH", subdivision = "TI"', 'country = "QQ"',
         "help_desks[abroad].calendar", "calendar for QQ"),
        # The library's alias of GB, which is not a code of ISO 3166-1.
        ('country = "CH", subdivision = "TI"', 'country = "UK"',
         "help_desks[abroad].calendar", "calendar for UK"),
        ('phone = "+41919676610"', 'phone = "091 967"', "help_desks[abroad].phone", "pattern"),
        ("opens = 14:00:00", "opens = 11:00:00", "help_desks[it]", "overlap"),
        ('countries = ["DE"]', 'countries = ["IT"]', "document", "stands twice"),
        ('countries = ["DE"]', "countries = []", "document", "help desk"),
        ("[sales_contact]", "[sales_kontact]", "sales_contact", "required"),
        ('channel = "phone"\n', "", "document", "channels"),
        ("[75, 90, 100]", "[75, 100, 90]", "notices", "from least to most"),
        ("[75, 90, 100]", "[75, 101]", "notices.used_percent", "less than or equal to 100"),
        ("[75, 90, 100]", "[0, 75]", "notices.used_percent", "greater than or equal to 1"),
        ("[60, 30, 7]", "[30, 60]", "notices.days_before_end.contract", "from most to fewest"),
        ("[60, 30, 7]", "[60, 60]", "notices.days_before_end.contract", "each once"),
        ("[60, 30, 7]", "[60, 0]", "notices.days_before_end.contract", "greater than"),
        ("[60, 30, 7]", "[367]", "notices.days_before_end.contract", "less than"),
        ("[notices.days_before_end]", "[notices.days]", "notices.days", "not permitted"),
        ("[development]", "[development", "", "line"),
    ],
)  # fmt: skip
def test_a_broken_policy_says_where_and_why(old: str, new: str, place: str, what: str) -> None:
    assert old in TEXT
    with pytest.raises(PolicyError) as error:
        parse(TEXT.replace(old, new, 1), "ours.toml")
    assert str(error.value).startswith("ours.toml: ")
    assert place in str(error.value)
    assert what in str(error.value)


def test_a_directory_replaces_the_published_policy(tmp_path: Path) -> None:
    changed = TEXT.replace("effective_from = 2020-01-01", "effective_from = 2027-01-01")
    (tmp_path / "first.toml").write_text(TEXT.replace("minutes = 300", "minutes = 240"))
    (tmp_path / "second.toml").write_text(changed)
    policies = load(tmp_path)
    minutes = [p.allowances.free_hours.minutes for p in policies.versions]
    assert minutes == [240, 300]
    for on, expected in (("2019-05-05", 240), ("2026-12-31", 240), ("2027-01-01", 300)):
        in_force = policies.in_force(date.fromisoformat(on))
        assert in_force.allowances.free_hours.minutes == expected


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "[60, 30, 7]",
            "[30, 60]",
            "notices.days_before_end.contract: days stand from most to fewest, each once",
        ),
        (
            "[75, 90, 100]",
            "[75, 100, 90]",
            "notices: used_percent stands from least to most, each once",
        ),
        (
            'country = "CH", subdivision = "TI"',
            'country = "CH", subdivision = 1',
            "help_desks[abroad].calendar.subdivision: Input should be a valid string",
        ),
        (
            "opens = 14:00:00",
            "opens = 14",
            "help_desks[it].hours[1].opens: Input should be a valid time",
        ),
        (
            "months = 12 # R3",
            "month = 12",
            (
                "development.months: Field required\n"
                "ours.toml: development.month: Extra inputs are not permitted"
            ),
        ),
    ],
)
def test_every_fault_is_said_in_full(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(PolicyError) as error:
        parse(TEXT.replace(old, new, 1), "ours.toml")
    assert str(error.value) == f"ours.toml: {said}"


def test_a_fault_of_the_whole_document() -> None:
    with pytest.raises(PolicyError, match=r"^ours\.toml: document: "):
        parse(TEXT.replace('channel = "phone"\n', "", 1), "ours.toml")


def test_a_broken_document_is_named_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "progea.toml"
    broken.write_text(TEXT.replace("minutes = 300", "minutes = 0"), "utf-8")
    with pytest.raises(PolicyError) as error:
        load(tmp_path)
    assert str(error.value).startswith(f"{broken}: allowances.free_hours.minutes: ")
    monkeypatch.setattr("app.policy.document.files", lambda _: tmp_path)
    with pytest.raises(PolicyError) as error:
        load()
    assert str(error.value).startswith("progea.toml: allowances.free_hours.minutes: ")
    broken.write_bytes(b"\xff")
    with pytest.raises(PolicyError) as error:
        load(tmp_path)
    assert str(error.value).startswith(f"{broken}: cannot be read: ")


def test_without_a_document_there_is_no_policy() -> None:
    with pytest.raises(PolicyError, match=r"^no policy document was found$"):
        Policies([])


def test_the_zone_is_that_of_the_documents() -> None:
    assert load().zone == ZoneInfo("Europe/Rome")


def test_the_fingerprint_is_that_of_what_the_documents_say() -> None:
    published = Policies([parse(TEXT, "one.toml")]).fingerprint
    assert Policies([parse(TEXT + "# A remark.\n", "two.toml")]).fingerprint == published
    for old, new in (
        ("2020-01-01", "2020-01-02"),
        ("opens = 08:30:00", "opens = 08:31:00"),
        ("minutes = 300", "minutes = 301"),
        ('"friday"', '"saturday"'),
    ):
        assert old in TEXT
        other = parse(TEXT.replace(old, new, 1), "other.toml")
        assert Policies([other]).fingerprint != published


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    """Sets are in another order in each."""
    text = TEXT.replace('countries = ["DE"]', 'countries = ["DE", "AT", "LI", "LU", "NA"]')
    code = (
        "import sys; from app.policy.document import Policies, parse;"
        " print(Policies([parse(sys.stdin.read(), '')]).fingerprint)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.curdir},
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {Policies([parse(text, "")]).fingerprint}


def test_a_document_without_notices_announces_nothing() -> None:
    start, end = TEXT.index("[notices]"), TEXT.index("[[services]]")
    notices = parse(TEXT[:start] + TEXT[end:], "ours.toml").notices
    assert notices.used_percent == ()
    assert set(notices.days_before_end.model_dump().values()) == {()}


def test_what_is_no_directory_of_policies_is_refused(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(PolicyError, match=str(directory)):
            load(directory)


def test_two_versions_of_one_day_or_of_two_names_are_refused() -> None:
    one = parse(TEXT, "one.toml")
    with pytest.raises(PolicyError, match="2020-01-01"):
        Policies([one, one])
    other = TEXT.replace('name = "progea"', 'name = "other"').replace("2020-01-01", "2021-01-01")
    with pytest.raises(PolicyError, match="differ"):
        Policies([one, parse(other, "two.toml")])


def test_an_allowance_keeps_the_terms_of_its_first_day() -> None:
    """R17: a later policy never rewrites what an earlier one granted."""
    old = parse(TEXT, "old.toml")
    new = parse(
        TEXT.replace("minutes = 300", "minutes = 60").replace("2020-01-01", "2026-06-01"),
        "new.toml",
    )
    policies = Policies([old, new])
    bought = date(2026, 5, 31)
    facts = Facts((Licence("l", "S-1", "editor", bought),))
    year = service_year(policies, facts, date(2026, 9, 1))
    assert year is not None
    assert year.granted_minutes == 300
    later = Facts((Licence("l", "S-1", "editor", date(2026, 6, 1)),))
    year = service_year(policies, later, date(2026, 9, 1))
    assert year is not None
    assert year.granted_minutes == 60


def test_documents_are_read_alike_on_every_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their encoding is UTF-8, whatever the machine's own is."""
    (tmp_path / "ours.toml").write_text(TEXT, "utf-8")
    usual, read = load().fingerprint, Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, encoding=None: read(path, encoding or "latin-1")
    )
    assert load().fingerprint == usual
    assert load(tmp_path).fingerprint == usual
