"""The decision scenarios: what a file says, as dates, facts and expectations."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from app.policy.civil import add_months
from app.policy.decide import Decision, continuing, decide
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Licence, OpenCase, Pack
from app.policy.standing import service_year

DIRECTORY = Path(__file__).parent / "scenarios"
FILES = (
    "columns.yaml",
    "allowances.yaml",
    "cells.yaml",
    "boundaries.yaml",
    "changed.yaml",
    "service_years.yaml",
    "transfers.yaml",
)
_OFFSET = re.compile(r"(?:(?P<months>[+-]?\d+)m)?(?:(?P<days>[+-]?\d+)d)?")


@dataclass(frozen=True)
class Scenario:
    name: str
    given: dict[str, Any]
    expect: dict[str, Any]

    def __str__(self) -> str:
        return self.name


def scenarios() -> Iterator[Scenario]:
    for file in FILES:
        for entry in yaml.safe_load((DIRECTORY / file).read_text("utf-8")):
            name, expect = entry.pop("name"), entry.pop("expect")
            yield Scenario(f"{file.removesuffix('.yaml')}: {name}", entry, expect)


def day(offset: str | int, on: date) -> date:
    """`-12m+1d` from a day: months first, then days."""
    match = _OFFSET.fullmatch(str(offset))
    assert match, offset
    shifted = add_months(on, int(match["months"] or 0))
    return shifted + timedelta(days=int(match["days"] or 0))


def facts_of(policies: Policies, scenario: Scenario, on: date) -> Facts:
    """The scenario's facts as the store would find them."""
    given = scenario.given
    used = given.get("used", {})
    licences = tuple(
        Licence(
            f"licence-{index}",
            entry.get("serial", f"S-{index}"),
            entry["kind"],
            day(entry["purchased"], on),
            day(entry["withdrawn"], on) if "withdrawn" in entry else None,
            held_from=day(entry["got"], on) if "got" in entry else None,
            bought="got" not in entry,
        )
        for index, entry in enumerate(given.get("licences", []))
    )
    spent = used.get("contract", 0)
    contracts = []
    for index, entry in enumerate(given.get("contracts", [])):
        starts = day(entry["starts"], on)
        terms = policies.in_force(starts).allowances.contract
        granted = entry.get("minutes", terms.minutes)
        charged = min(spent, granted)
        contracts.append(
            Contract(
                f"contract-{index}",
                f"SA-{index}",
                starts,
                add_months(starts, terms.months),
                day(entry["cancelled"], on) if "cancelled" in entry else None,
                granted,
                charged,
                spent - charged,
                entry.get("renewed", False),
            )
        )
        spent = 0
    tickets = used.get("tickets", {})
    packs = []
    for index, entry in enumerate(given.get("packs", [])):
        bought = day(entry["purchased"], on)
        expires = add_months(bought, policies.in_force(bought).allowances.ticket.months)
        held, consumed = (tickets.get(k, 0) if index == 0 else 0 for k in ("held", "consumed"))
        packs.append(
            Pack(f"pack-{index}", f"TP-{index}", bought, expires, entry["quantity"], held, consumed)
        )
    facts = Facts(
        licences,
        tuple(contracts),
        tuple(packs),
        {},
        tuple(
            OpenCase(f"2026-{index:06}", "email", "ticket")
            for index in range(tickets.get("held", 0))
        ),
    )
    minutes = used.get("free_hours", 0)
    if minutes:
        year = service_year(policies, facts, on)
        assert year is not None
        charged = min(minutes, year.granted_minutes)
        year = year._replace(used_minutes=charged, overrun_minutes=minutes - charged)
        facts = facts._replace(service_years={year.starts_on: year})
    return facts


def check_decision(policies: Policies, scenario: Scenario, on: date) -> None:
    """Raises AssertionError where the policy decides other than the scenario expects."""
    facts = facts_of(policies, scenario, on)
    decision = decide(policies, facts, on)
    compare(scenario, on, seen_in(policies, facts, decision))


@dataclass
class Seen:
    """An answer, from the policy or from the wire, in the scenarios' words."""

    columns: list[str]
    allowed: list[str]
    reasons: dict[str, list[str]]
    unlocked_by: dict[str, list[str]]
    paid_by: dict[str, list[str]]
    continues: dict[str, int]
    remaining: dict[str, int]
    changes_on: date | None


def seen_in(policies: Policies, facts: Facts, decision: Decision) -> Seen:
    answer = decision.answer
    going_on = continuing(policies.in_force(decision.on), facts)
    remaining = {"tickets": sum(available for _, available in answer.packs)}
    if answer.service_year:
        remaining["free_hours"] = answer.service_year.remaining_minutes
    if answer.contracts:
        remaining["contract"] = sum(c.remaining_minutes for c in answer.contracts)
    return Seen(
        columns=list(answer.columns),
        allowed=[s.service for s in answer.services if s.allowed],
        reasons={s.service: [f"{r.column}:{r.code}" for r in s.reasons] for s in answer.services},
        unlocked_by={s.service: list(s.unlocked_by) for s in answer.services},
        paid_by={
            s.service: [f"{g.column}:{g.paid_by or 'none'}" for g in s.granted_by]
            for s in answer.services
        },
        continues={service: len(numbers) for service, numbers in going_on.items()},
        remaining=remaining,
        changes_on=decision.valid_until,
    )


def compare(scenario: Scenario, on: date, seen: Seen) -> None:
    expect = scenario.expect
    if "columns" in expect:
        assert seen.columns == expect["columns"]
    if "allowed" in expect:
        assert sorted(seen.allowed) == sorted(expect["allowed"])
    for key in ("reasons", "unlocked_by", "paid_by"):
        for service, wanted in expect.get(key, {}).items():
            assert sorted(getattr(seen, key)[service]) == sorted(wanted), (key, service)
    for service, count in expect.get("continues", {}).items():
        assert seen.continues.get(service, 0) == count, service
    for kind, left in expect.get("remaining", {}).items():
        assert seen.remaining.get(kind) == left, kind
    if "changes_on" in expect:
        wanted_day = expect["changes_on"]
        assert seen.changes_on == (None if wanted_day is None else day(wanted_day, on))
