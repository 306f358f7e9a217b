"""The hand-written scenarios and histories, played by the model; and that it stands alone."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from .answers import Answer
from .player import KINDS, Outcome, Player, Step
from .policy import add_months, civil_date, local_instant, midnight

HERE = Path(__file__).parent
SCENARIOS = HERE.parents[1] / "scenarios"
FILES = (HERE / "scenarios/columns.yaml", HERE / "scenarios/allowances.yaml")
CHANGED = SCENARIOS / "changed.yaml"
TRANSFERS = SCENARIOS / "transfers.yaml"
ON = date(2026, 11, 23)
OFFSET = re.compile(r"(?:(?P<months>[+-]?\d+)m)?(?:(?P<days>[+-]?\d+)d)?")
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)  # where a history does not say when it begins


def test_it_imports_nothing_of_the_application() -> None:
    modules = sorted(HERE.glob("*.py"))
    assert len(modules) > 10
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            match node:
                case ast.Import():
                    names = [each.name for each in node.names]
                case ast.ImportFrom(level=0):
                    names = [node.module or ""]
                case ast.ImportFrom():
                    assert node.level == 1, module.name
                    names = []
                case ast.Name(id="__import__") | ast.Attribute(attr="import_module"):
                    names = ["app"] if module.name not in MAY_IMPORT_BY_NAME else []
                case _:
                    continue
            assert not [name for name in names if name.split(".")[0] in {"app", "tests"}], (
                module.name
            )


MAY_IMPORT_BY_NAME = {"mutants.py"}  # it loads copies of this package alone


def day(offset: str | int) -> int:
    """`-12m+1d` from the day of the question, months first, as an offset in days."""
    match = OFFSET.fullmatch(str(offset))
    assert match, offset
    shifted = add_months(ON, int(match["months"] or 0)) + timedelta(int(match["days"] or 0))
    return (shifted - ON).days


def scenarios() -> Iterator[Any]:
    for file in (*FILES, CHANGED, TRANSFERS):
        for entry in yaml.safe_load(file.read_text("utf-8")):
            yield pytest.param(entry, id=f"{file.stem}: {entry['name']}")


@pytest.mark.parametrize("scenario", list(scenarios()))
def test_scenarios(scenario: dict[str, Any]) -> None:
    player = Player(local_instant(ON, 10, 0))
    for step in _steps(scenario):
        outcome = player.play(step)
        assert outcome.result == "done", (step, outcome)
    for key, wanted in scenario["expect"].items():
        assert _seen(player, key, wanted) == _wanted(key, wanted), key


def _steps(scenario: dict[str, Any]) -> Iterator[Step]:
    """What the scenario says was bought and worked, as steps."""
    licences = scenario.get("licences", [])
    contracts = scenario.get("contracts", [])
    for n, each in enumerate(licences):
        bought = {"what": each["kind"], "off": day(each["purchased"]), "who": int("got" in each)}
        yield "lic", f"L{n}", [], bought
        if "got" in each:
            yield "tr", f"T{n}", [f"L{n}"], {"off": day(each["got"])}
    for n, each in enumerate(contracts):
        yield "con", f"C{n}", [], {"off": day(each["starts"]), "included": each.get("minutes")}
    for n, each in enumerate(scenario.get("packs", [])):
        arguments = {"off": day(each["purchased"]), "quantity": each["quantity"]}
        yield "pack", f"P{n}", [], arguments
    for n, each in enumerate(licences):
        if "withdrawn" in each:
            yield "wd", "", [f"L{n}"], {"off": day(each["withdrawn"])}
    used = dict(scenario.get("used", {}))
    tickets = used.pop("tickets", {})
    for kind, minutes in used.items():
        yield _case(kind, kind)
        yield "time", "", [kind], {"minutes": minutes, "when": "now"}
        yield "close", "", [kind], {}
    for state, count in tickets.items():
        for n in range(count):
            yield _case(f"{state}-{n}", "ticket")
            if state == "consumed":
                yield "close", "", [f"{state}-{n}"], {}
    for n, each in enumerate(contracts):
        if "cancelled" in each:
            yield "ccon", "", [f"C{n}"], {"rel": "today", "off": day(each["cancelled"])}


def _case(label: str, pay_with: str) -> Step:
    channel = "email" if pay_with == "free_hours" else "phone"
    arguments = {"channel": channel, "category": "problem", "pay_with": pay_with, "serial": "own"}
    return "case", label, [], arguments


def _seen(player: Player, key: str, wanted: Any) -> Any:
    answer = player.ask()
    services = {each.service: each for each in answer.body.services}
    match key:
        case "columns":
            return list(answer.body.columns)
        case "allowed":
            return {name for name, each in services.items() if each.allowed}
        case "reasons":
            return {
                name: sorted(f"{each.column}:{each.code}" for each in services[name].reasons)
                for name in wanted
            }
        case "unlocked_by":
            return {name: set(services[name].unlocked_by) for name in wanted}
        case "continues":
            return {name: len(services[name].continues) for name in wanted}
        case "remaining":
            return {kind: _remaining(answer, kind) for kind in wanted}
        case "changes_on":
            return answer.valid_until
    raise AssertionError(f"unknown expectation {key}")


def _remaining(answer: Answer, kind: str) -> int:
    if kind == "tickets":
        return sum(each.available for each in answer.body.packs)
    return sum(each.left for each in answer.body.hours if each.kind == kind)


def _wanted(key: str, wanted: Any) -> Any:
    match key:
        case "allowed":
            return set(wanted)
        case "reasons":
            return {name: sorted(codes) for name, codes in wanted.items()}
        case "unlocked_by":
            return {name: set(steps) for name, steps in wanted.items()}
        case "changes_on":
            return None if wanted is None else midnight(ON + timedelta(day(wanted)))
    return wanted


def histories() -> Iterator[Any]:
    for name in ("histories.json", "more_histories.json"):
        for each in json.loads((SCENARIOS / name).read_text("utf-8"))["histories"]:
            yield pytest.param(each, id=each["name"])


def test_the_model_knows_every_step() -> None:
    every = [step[0] for parameters in histories() for step in parameters.values[0]["steps"]]
    assert len(list(histories())) > 40
    assert set(every) <= KINDS | {"expect"}


@pytest.mark.parametrize("history", list(histories()))
def test_histories(history: dict[str, Any]) -> None:
    base = history["start"]["base"]
    player = Player(datetime.fromisoformat(base) if base else NOON)
    last = Outcome("done")
    for kind, label, refs, arguments in history["steps"]:
        if kind != "expect":
            last = player.play((kind, label, refs, arguments))
            continue
        assert last.result != "skipped"
        if "refused" not in arguments:
            assert last.result == "done", last.codes
        for key, wanted in arguments.items():
            if key not in ("hours_ago", "who"):
                at = player.now - timedelta(hours=arguments.get("hours_ago", 0))
                ref, who = refs[0] if refs else None, arguments.get("who", 0)
                seen = _expected(player, last, ref, key, wanted, at, who)
                assert seen == wanted, key
        if "refused" in arguments:
            last = Outcome("done")


def _expected(
    player: Player, last: Outcome, ref: str | None, key: str, wanted: Any, at: datetime, who: int
) -> Any:
    answer = player.ask(at, who)
    free = next((each for each in answer.body.hours if each.kind == "free_hours"), None)
    state = player.state(who)
    case = state["cases"].get(ref)
    contract = state["contracts"].get(ref)
    pack = state["packs"].get(ref)
    phone = answer.body.service("phone_support")
    expired = {
        name: value
        for each in phone.reasons
        if each.code == "tickets_expired"
        for name, value in each.facts
    }
    found: Any
    match key:
        case "refused":
            found = wanted if last.codes & set(wanted) else sorted(last.codes)
        case "on":
            found = answer.on
        case "columns":
            found = list(answer.body.columns)
        case "free" | "free_used" | "free_starts" | "free_ends":
            name = {"free": "left", "free_starts": "starts_on", "free_ends": "ends_on"}
            found = free and getattr(free, name.get(key, "used"))
        case "tickets":
            found = sum(each.available for each in answer.body.packs)
        case "changes_on":
            found = answer.valid_until and civil_date(answer.valid_until)
        case "unlocked_by":
            found = _unlocked(answer, wanted)
        case "paid_by":
            found = case["paid_by"]["kind"]
        case "year":
            found = case["paid_by"]["year"]
        case "verified":
            found = case["serial_verified"]
        case "charged" | "overrun" | "state":
            found = case[key]
        case "left" | "used" | "renewed":
            found = contract[key]
        case "contract_overrun":
            found = contract["overrun"]
        case "pack":
            found = {name: pack[name] for name in wanted}
        case "pack_ends":
            found = pack["ends"]
        case "ticket_ends":
            found = max(each["expires_on"] for each in pack["tickets"])
        case "tickets_expired_on":
            found = expired["expired_on"]
        case "tickets_expired":
            found = expired["expired"]
    return found.isoformat() if isinstance(found, date) else found


def _unlocked(answer: Answer, wanted: dict[str, list[str]]) -> dict[str, list[str]]:
    """In the order wanted, which the clauses leave open."""
    return {
        name: sorted(
            answer.body.service(name).unlocked_by,
            key=lambda each: steps.index(each) if each in steps else -1,
        )
        for name, steps in wanted.items()
    }
