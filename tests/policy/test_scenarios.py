"""Every scenario through the pure policy; every cell and number of the policy is held by one."""

import copy
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files
from typing import Any

import pytest
import yaml

from app.policy import civil
from app.policy.cases import reopens_until
from app.policy.document import COLUMNS, Policies, Policy
from tests.scenario import DIRECTORY, Scenario, check_decision, day, scenarios

ON = date(2026, 11, 23)
SCENARIOS = list(scenarios())
REOPENING = yaml.safe_load((DIRECTORY / "reopening.yaml").read_text("utf-8"))
DESKS = yaml.safe_load((DIRECTORY / "help_desks.yaml").read_text("utf-8"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_scenario(policies: Policies, scenario: Scenario) -> None:
    check_decision(policies, scenario, ON)


def check_closure(schedule: civil.Schedule, line: dict[str, Any]) -> None:
    """R48: raises AssertionError where a desk with this closure answers otherwise."""

    def instant(key: str) -> datetime:
        return datetime.fromisoformat(line[key]).replace(tzinfo=schedule.zone).astimezone(UTC)

    hours = tuple(
        civil.Hours(*map(time.fromisoformat, one.split("-"))) for one in line.get("hours", ())
    )
    closure = civil.Closure(instant("from"), instant("to"), hours, (("en", "Strike"),))
    state = civil.state(schedule, instant("at"), (closure,))
    told = (state.open, state.changes_at, state.closure is not None)
    assert told == (line["open"], instant("changes_at"), line["because"]), line


def check_desks(policies: Policies) -> None:
    """R34-R36: raises AssertionError where a desk answers other than the scenarios say."""
    policy = policies.in_force(ON)
    desks = {desk.id: desk for desk in policy.help_desks}
    for line in DESKS["facts"]:
        desk = desks[line["desk"]]
        tariff = desk.tariff and desk.tariff.model_dump(mode="json", exclude={"note"})
        assert line == {
            "desk": desk.id,
            "language": desk.language,
            "time_zone": desk.time_zone,
            **desk.calendar.model_dump(),
            "tariff": tariff,
        }
    for line in DESKS["desks"]:
        desk = desks[line["desk"]]
        state = civil.state(desk.schedule, datetime.fromisoformat(line["at"]))
        expected = (line["open"], datetime.fromisoformat(line["changes_at"]), line["phone"])
        assert (state.open, state.changes_at, desk.phone) == expected, line
    italian = desks["it"].schedule
    for line in DESKS["closures"]:
        check_closure(italian, line)
    for line in DESKS["countries"]:
        assert policy.desk_for(line["country"], line.get("named")).id == line["desk"], line


def check_reopening(policies: Policies) -> None:
    """R29: raises AssertionError where a case is reopened for other days than the scenarios say."""
    for line in REOPENING:
        assert reopens_until(policies, day(line["closed"], ON)) == day(line["reopens_until"], ON)


def test_reopening(policies: Policies) -> None:
    check_reopening(policies)


def test_help_desks(policies: Policies) -> None:
    check_desks(policies)


# --- nothing in the document can change unseen ---------------------------------------------------

DOCUMENT: dict[str, Any] = tomllib.loads(files("app.policy").joinpath("progea.toml").read_text())
_OWN = {"DEV": "free_hours", "SA": "contract", "TCK": "ticket"}


def _cell_changes(column: str, cell: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    kept = {key: value for key, value in cell.items() if key in ("provenance", "source")}
    what_it_could_do: list[dict[str, Any]] = [{"granted": False}, {"granted": True}]
    if column in _OWN:
        what_it_could_do += [
            {"granted": True, "pays": _OWN[column]},
            {"granted": True, "requires": _OWN[column]},
        ]
    for other in what_it_could_do:
        if kept | other != cell:
            yield str(other), kept | other


def _changes() -> Iterator[tuple[str, list[str | int], Any]]:
    """Every single change: its name, where it is, and the new value."""
    for index, service in enumerate(DOCUMENT["services"]):
        for column in COLUMNS:
            for what, other in _cell_changes(column, service["cells"][column]):
                yield (
                    f"{service['id']} {column} {what}",
                    ["services", index, "cells", column],
                    other,
                )
    numbers = [["development", "months"], ["cases", "reopen_within_days"]] + [
        ["allowances", kind, name]
        for kind, terms in DOCUMENT["allowances"].items()
        for name, value in terms.items()
        if isinstance(value, int)
    ]
    for where in numbers:
        value: Any = DOCUMENT
        for step in where:
            value = value[step]
        for other in (value - 1, value + 1):
            yield f"{'.'.join(where)} = {other}", [*where], other
    yield "anchor = any", ["allowances", "free_hours", "anchor"], "any"
    yield "a transfer counts", ["development", "transfer_counts_as_purchase"], True
    for index, desk in enumerate(DOCUMENT["help_desks"]):
        here: list[str | int] = ["help_desks", index]
        for at, hours in enumerate(desk["hours"]):
            for end in ("opens", "closes"):
                for minutes in (-1, 1):
                    moved = datetime.combine(ON, hours[end]) + timedelta(minutes=minutes)
                    yield (
                        f"{desk['id']} {end} {moved:%H:%M}",
                        [*here, "hours", at, end],
                        moved.time(),
                    )
        yield f"{desk['id']} saturday", [*here, "weekdays"], [*desk["weekdays"], "saturday"]
        for weekday in desk["weekdays"]:
            fewer = [other for other in desk["weekdays"] if other != weekday]
            yield f"{desk['id']} no {weekday}", [*here, "weekdays"], fewer
        yield f"{desk['id']} phone", [*here, "phone"], desk["phone"][:-1] + "9"
        yield f"{desk['id']} countries", [*here, "countries"], [*desk["countries"], "FR"]
        yield f"{desk['id']} zone", [*here, "time_zone"], "Europe/London"
        other_calendar = {"country": "FR"}
        yield f"{desk['id']} calendar", [*here, "calendar"], other_calendar
        if "tariff" in desk:
            yield f"{desk['id']} amount", [*here, "tariff", "amount"], "1.48"
            yield f"{desk['id']} unit", [*here, "tariff", "per_minutes"], 2


CHANGES = list(_changes())


def _red(policies: Policies) -> bool:
    try:
        for scenario in SCENARIOS:
            check_decision(policies, scenario, ON)
        check_desks(policies)
        check_reopening(policies)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize(
    ("where", "value"), [(c[1], c[2]) for c in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_a_changed_policy_turns_a_scenario_red(where: list[str | int], value: Any) -> None:
    document: Any = copy.deepcopy(DOCUMENT)
    place = document
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    try:
        changed = Policy.model_validate(document)
    except ValueError:
        return  # not even a policy: the start would be refused, which is red enough
    assert _red(Policies([changed])), "no scenario notices"


def test_the_names_of_the_changes_are_plain() -> None:
    # mutmut runs tests by their names, and takes a name that pytest does not find for a mutant
    # that was noticed. Pytest writes other characters in more ways than one.
    assert all(what.isascii() for what, _, _ in CHANGES)


def test_the_hours_of_the_document_are_times() -> None:
    # Guards the loop above, which would change nothing were they texts.
    assert all(
        isinstance(hours[end], time)
        for desk in DOCUMENT["help_desks"]
        for hours in desk["hours"]
        for end in ("opens", "closes")
    )
