"""Copies of the model with one clause wrong each, to show that random histories would notice it."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .generate import History
from .player import Player

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Mutant:
    """One text in one module of the model replaced by another."""

    name: str
    clause: str
    module: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.clause}: {self.name}"


MUTANTS = (
    Mutant(
        "an Editor is held from the day after its purchase",
        "R1",
        "facts",
        "return self.start <= day and not",
        "return self.start < day and not",
    ),
    Mutant(
        "a licence is held on the day of its withdrawal",
        "R1",
        "facts",
        "return self.end is not None and self.end <= day",
        "return self.end is not None and self.end < day",
    ),
    Mutant(
        "an upgrade that a contract paid is a purchase",
        "R2",
        "facts",
        "each.day for each in self.upgrades() if each.contract is None",
        "each.day for each in self.upgrades()",
    ),
    Mutant(
        "DEV stands on the anniversary itself",
        "R3",
        "columns",
        "day < term_end(last)",
        "day <= term_end(last)",
    ),
    Mutant(
        "a contract is in force on its end",
        "R4",
        "facts",
        "return self.starts <= day < self.ends and",
        "return self.starts <= day <= self.ends and",
    ),
    Mutant(
        "charges on the day of cancellation do not stand in its way",
        "R4",
        "purchases",
        "if any(charged >= day for",
        "if any(charged > day for",
    ),
    Mutant(
        "a ticket can be taken on its last day + 1",
        "R5",
        "charging",
        "each.purchased <= day < each.now.ends",
        "each.purchased <= day <= each.now.ends",
    ),
    Mutant(
        "priority support outlives the contract's hours",
        "R10",
        "services",
        'return MATRIX[service].get("SA") == "hours" or service == "priority_support"',
        'return MATRIX[service].get("SA") == "hours"',
    ),
    Mutant(
        "a new Editor is advised on the day on which a spent year began",
        "R12",
        "services",
        "if s.snapshot.left(Year(s.on)) <= 0:",
        "if s.snapshot.left(Year(s.on)) < 0:",
    ),
    Mutant(
        "a past answer counts all work of its day",
        "R13",
        "situation",
        "if at is not None and entry.worked_at > at:",
        "if at is not None and entry.day > civil_date(at):",
    ),
    Mutant(
        "a runtime starts a service year too",
        "R14",
        "years",
        'if licence.kind == "editor":',
        'if licence.kind != "other":',
    ),
    Mutant(
        "a case draws on its year after the next Editor is bought",
        "R14",
        "years",
        "if inside and not ended:",
        "if inside:",
    ),
    Mutant(
        "a year pays new cases while DEV is lapsed",
        "R14",
        "years",
        "return year_asleep(customer, day) if columns.dev(customer, day) else None",
        "return year_asleep(customer, day) if columns.holds_editor(customer, day) else None",
    ),
    Mutant(
        "a contract needs no Editor",
        "R15",
        "purchases",
        "if not columns.holds_editor(customer, starts):",
        "if not customer.licences:",
    ),
    Mutant(
        "the contract that ends last pays first",
        "R18",
        "columns",
        "each.order))",
        "each.order), reverse=True)",
    ),
    Mutant(
        "a bug costs its ticket the days for which it was held",
        "R19",
        "charging",
        "max(old.ends, given_back) if bug else old.ends",
        "old.ends",
    ),
    Mutant(
        "a cancelled case lengthens its ticket",
        "R19",
        "charging",
        "max(old.ends, given_back) if bug else old.ends",
        "max(old.ends, given_back)",
    ),
    Mutant(
        "a cancelled contract goes on paying its own cases",
        "R20",
        "charging",
        "return own.in_force(day) if isinstance(own, Contract)",
        "return own.starts <= day < own.ends if isinstance(own, Contract)",
    ),
    Mutant(
        "the rest goes to no other allowance",
        "R21",
        "charging",
        "payers = [own, *others] if",
        "payers = [own] if",
    ),
    Mutant(
        "the latest overrun is covered first",
        "R22",
        "charging",
        'inside its period."""\n    for case, entry in customer.work():',
        'inside its period."""\n    for case, entry in reversed(customer.work()):',
    ),
    Mutant(
        "overrun of days outside the period is covered too",
        "R22",
        "charging",
        "        if pays(customer, own, entry.day):\n            part",
        "        if own is not None:\n            part",
    ),
    Mutant(
        "no bug after all, its ticket gone: hours before another ticket",
        "R22",
        "cases",
        "binding = next(iter(charging.available(customer, today)), None)",
        "binding = None",
    ),
    Mutant(
        "a new contract takes over another contract's overrun",
        "R24",
        "purchases",
        'if case.unpaid or charging.kind_of(case.binding) == "free_hours"',
        'if case.unpaid or charging.kind_of(case.binding) != "ticket"',
    ),
    Mutant(
        "a successor cancelled as of its first day keeps what it took over",
        "R24",
        "purchases",
        "if contract.never_in_force:",
        "if contract.never_in_force and contract.predecessor is None:",
    ),
    Mutant(
        "a case may be reopened on the thirtieth day",
        "R29",
        "cases",
        "if civil_date(now) >= civil_date(case.closed_at)",
        "if civil_date(now) > civil_date(case.closed_at)",
    ),
    Mutant(
        "charges keep their place on days that the moved year does not cover",
        "R40",
        "corrections",
        "if new is not None and years.covers(customer, new, entry.day):",
        "if new is not None:",
    ),
    Mutant(
        "a case stays with its moved year, whatever day it was opened on",
        "R40",
        "corrections",
        "if not years.covers(customer, new, opened) and columns.dev(customer, opened):",
        "if False:",
    ),
)


@contextmanager
def copy_of(mutant: Mutant) -> Iterator[ModuleType]:
    """The mutant's `player`, in a copy of this package with the one text replaced."""
    package = f"rules_mutant_{MUTANTS.index(mutant)}"
    source = (HERE / f"{mutant.module}.py").read_text("utf-8")
    assert source.count(mutant.old) == 1, mutant
    try:
        root = ModuleType(package)
        root.__path__ = [str(HERE)]
        sys.modules[package] = root
        wrong = ModuleType(f"{package}.{mutant.module}")
        wrong.__package__ = package
        sys.modules[wrong.__name__] = wrong
        exec(compile(source.replace(mutant.old, mutant.new), wrong.__name__, "exec"), vars(wrong))
        yield importlib.import_module(f"{package}.player")
    finally:
        for name in [each for each in sys.modules if each.split(".")[0] == package]:
            del sys.modules[name]


def trace(history: History, player: Player) -> Iterator[Any]:
    """All that a player answers, step by step, as plain data."""
    for step in history.steps:
        outcome = player.play(step)
        said = outcome.result, outcome.codes, repr(outcome.answer)
        answers = repr([player.ask(who=who) for who in (0, 1)])
        yield said, answers, [player.state(who) for who in (0, 1)]


def told_apart(mutant: Mutant, histories: Iterator[tuple[History, list[Any]]]) -> int | None:
    """The number of the first history in which a mutant answers otherwise than the model."""
    with copy_of(mutant) as module:
        for number, (history, expected) in enumerate(histories):
            seen = trace(history, module.Player(history.base))
            try:
                if any(mine != theirs for mine, theirs in zip(expected, seen, strict=True)):
                    return number
            except AssertionError:  # the mutant contradicts itself
                return number
    return None
