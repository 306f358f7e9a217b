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
from .player import OF_BOTH, Player

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
        "if not columns.holds_editor(customer, starts):\n        refuse(",
        "if not customer.licences:\n        refuse(",
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
        "payers = [own, *payers]",
        "payers = [own]",
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
    Mutant(
        "an Editor withdrawn as of its own day, or got by a transfer, begins a year",
        "R14",
        "years",
        "return [each for each in found if each.licence.held_on(each.day)]",
        "return found",
    ),
    Mutant(
        "a licence got by a transfer counts as a purchase",
        "R44",
        "facts",
        "bought = [self.purchase.day] if self.bought else []",
        "bought = [self.purchase.day]",
    ),
    Mutant(
        "a licence passes on on the day on which it was got",
        "R44",
        "purchases",
        "    if day <= max(",
        "    if day < max(",
    ),
    Mutant(
        "a licence that comes back does not count as bought any more",
        "R44",
        "purchases",
        "        if known.purchase is licence.purchase:\n",
        "        if known.purchase is licence.purchase and not known.bought:\n",
    ),
    Mutant(
        "a correction reaches the present holder alone",
        "R44",
        "purchases",
        "corrections.correct([each for each, _ in holders], change)",
        "corrections.correct([each for each, one in holders if one is licence], change)",
    ),
    Mutant(
        "a withdrawn serial number may be registered again from any day on",
        "R44",
        "purchases",
        "if any(not _ended_by(each, day) for each in",
        "if any(not _ended_by(each, today) for each in",
    ),
    Mutant(
        "the earlier holder still corrects a licence",
        "R44",
        "purchases",
        "    if licence.withdrawn_by(today) or licence.transferred:\n",
        "    if licence.withdrawn_by(today):\n",
    ),
    Mutant(
        "tickets that had lapsed can be cancelled",
        "R45",
        "purchases",
        "if charging.is_free(each) and day < each.now.ends]",
        "if charging.is_free(each)]",
    ),
    Mutant(
        "tickets that end first are cancelled first",
        "R45",
        "purchases",
        "each.now.ends, each.position), reverse=True)",
        "each.now.ends, each.position))",
    ),
    Mutant(
        "a cancelled ticket still pays",
        "R45",
        "charging",
        'return ticket.now.state == "free" and ticket.cancelled is None',
        'return ticket.now.state == "free"',
    ),
    Mutant(
        "a cancelled ticket was never there",
        "R45",
        "situation",
        "gone = ticket.cancelled is not None and ticket.cancelled <= self.on",
        "gone = ticket.cancelled is not None",
    ),
    Mutant(
        "a pack wholly cancelled still gives the reason",
        "R45",
        "situation",
        "for each, counts in counted if not counts.none]",
        "for each, counts in counted]",
    ),
    Mutant(
        "a year that was undone does not get its cases again",
        "R46",
        "purchases",
        "    corrections.give_again(customer, licence)\n",
        "    del customer\n",
    ),
    Mutant(
        "a case bound anew meanwhile goes back to its year",
        "R46",
        "corrections",
        "        if _bound(case) != undone.instead or gone:\n",
        "        if gone:\n",
    ),
    Mutant(
        "what was charged before is charged anew",
        "R46",
        "corrections",
        "        _restore(customer, entry, shares)\n",
        "        del shares\n",
    ),
    Mutant(
        "a successor taken back takes nothing over again",
        "R46",
        "purchases",
        "    charging.take_over_again(customer, contract)\n",
        "    contract.gave_back = []\n",
    ),
    Mutant(
        "a contract that was renewed is taken back",
        "R46",
        "purchases",
        "    if is_renewed(customer, contract) or (before and",
        "    if (before and",
    ),
    Mutant(
        "a contract whose predecessor was renewed by another is taken back",
        "R46",
        "purchases",
        "or (before and _renewed_by_another(customer, contract))",
        "or (before and False)",
    ),
    Mutant(
        "minutes below what is charged",
        "R40",
        "purchases",
        "if customer.used(contract) > included:",
        "if False:",
    ),
    Mutant(
        "a charge on the corrected end stands in nobody's way",
        "R40",
        "purchases",
        "if not all(starts <= day < term_end(starts) for",
        "if not all(starts <= day <= term_end(starts) for",
    ),
    Mutant(
        "a cancelled contract is corrected",
        "R40",
        "purchases",
        "if contract.cancelled is not None else set()\n    if starts",
        "if contract.cancelled == starts else set()\n    if starts",
    ),
    Mutant(
        "a ticket taken before the corrected day stands in nobody's way",
        "R40",
        "purchases",
        "not day <= taken < ticket.now.ends + moved",
        "not taken < ticket.now.ends + moved",
    ),
    Mutant(
        "a corrected pack loses the days that R19 gave back",
        "R40",
        "purchases",
        "ends=each.ends + moved) for",
        "ends=term_end(day)) for",
    ),
    Mutant(
        "a reversed upgrade remains a purchase",
        "R40",
        "facts",
        "if e.licence is self and not e.reversed]",
        "if e.licence is self]",
    ),
    Mutant(
        "a case of the past is bound as of today",
        "R47",
        "cases",
        "    day = civil_date(at)\n",
        "    day = civil_date(now)\n",
    ),
    Mutant(
        "a case is opened before the customer's first fact",
        "R47",
        "cases",
        "if civil_date(opened_at) < customer.first_fact():",
        "if opened_at < customer.created and not customer.licences:",
    ),
    Mutant(
        "a case that was moved was here",
        "R47",
        "facts",
        "        if self.moved:\n",
        "        if False:\n",
    ),
    Mutant(
        "a moved case gives no ticket its days back",
        "R47",
        "charging",
        "    if today >= ends:\n",
        "    if False:\n",
    ),
    Mutant(
        "a moved case takes its ticket on the day of the move",
        "R47",
        "cases",
        "    charging.hold_since(ticket, case, states)\n",
        "    charging.hold_since(ticket, case, states[-1:])\n",
    ),
    Mutant(
        "a move is never refused",
        "R47",
        "cases",
        "if binding is None and not case.bug and not as_overrun:",
        "if False:",
    ),
    Mutant(
        "a moved case is charged nowhere",
        "R47",
        "cases",
        "        charging.charge_anew(to, there)\n",
        "        pass\n",
    ),
    Mutant(
        "years of both records that begin on one day are granted twice",
        "R49",
        "merging",
        "rest = max(0, share.minutes - left[share.payer])",
        "rest = 0",
    ),
    Mutant(
        "a licence that had passed from the one record to the other is lost",
        "R49",
        "merging",
        "known.holdings + licence.holdings, key",
        "known.holdings, key",
    ),
    Mutant(
        "the record that goes on keeps its cases alone",
        "R49",
        "merging",
        'for name in ("contracts", "packs", "cases", "undone"):',
        'for name in ("contracts", "packs", "undone"):',
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
    """What a player answers the customers whom a step concerns, step by step, as plain data."""
    for step in history.steps:
        known = all(ref in player.owner for ref in step[2])
        whose = (0, 1) if step[0] in OF_BOTH else (player.who(step),) if known else ()
        outcome = player.play(step)
        said = outcome.result, outcome.codes, repr(outcome.answer)
        answers = repr([player.ask(who=who) for who in whose])
        yield said, answers, [player.state(who) for who in whose]


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
