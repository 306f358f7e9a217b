"""Plays a history of abstract steps: [kind, own label, labels referred to, arguments].

The kinds and arguments are those of `tests/scenarios/histories.json`. Offsets are days from the day
of the step. Besides, `adv` takes minutes, and `ask` puts a question about an instant, by a day's
offset and a wall clock reading.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

from . import answers, cases, charging, purchases, views
from .facts import Case, Contract, Customer, Entry, Licence, Pack, Refused
from .policy import civil_date, local_instant

Arguments = dict[str, Any]
Step = tuple[str, str, Sequence[str], Arguments]


@dataclass(frozen=True)
class Outcome:
    """What a step came to. Skipped: it refers to a record that was never made."""

    result: Literal["done", "refused", "skipped"]
    codes: frozenset[str] = frozenset()
    answer: answers.Answer | None = None


@dataclass
class Player:
    """A customer's history under way; `now` is the clock."""

    now: datetime
    customer: Customer = field(default_factory=Customer)
    licences: dict[str, Licence] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)
    packs: dict[str, Pack] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    entries: dict[str, tuple[Case, Entry]] = field(default_factory=dict)

    @property
    def today(self) -> date:
        return civil_date(self.now)

    def day(self, offset: int) -> date:
        return self.today + timedelta(days=offset)

    def play(self, step: Step) -> Outcome:
        """One step. Afterwards R22 holds for every hour allowance."""
        kind, label, refs, arguments = step
        if kind == "adv":
            self.now += timedelta(
                hours=arguments.get("hours", 0), minutes=arguments.get("minutes", 0)
            )
            return Outcome("done")
        if kind == "ask":
            return Outcome("done", answer=self.ask(self.instant(arguments)))
        try:
            known = _STEPS[kind](self, label, list(refs), arguments)
        except Refused as refusal:
            return Outcome("refused", refusal.codes)
        charging.cover(self.customer)
        return Outcome("done" if known else "skipped")

    def ask(self, at: datetime | None = None) -> answers.Answer:
        return answers.ask(self.customer, at or self.now, self.now)

    def instant(self, arguments: Arguments) -> datetime:
        """The instant that an `ask` is about."""
        day = self.day(arguments["off"])
        seconds = timedelta(seconds=arguments.get("s", 0))
        return local_instant(day, arguments["h"], arguments["m"]) + seconds

    def worked_at(self, case: Case, arguments: Arguments) -> datetime:
        """The instant that a `time` names: now, the opening, or a wall clock reading of a day."""
        match arguments["when"]:
            case "now":
                return self.now
            case "opened":
                return case.opened_at
            case _:
                return local_instant(self.day(-arguments["k"]), arguments["h"], arguments["m"])

    def serial(self, which: str) -> str | None:
        """The serial number that a caller gives: one of its own, none, or somebody else's."""
        if which == "foreign":
            return "FOREIGN-1"
        if which == "none":
            return None
        held = [each for each in self.customer.licences if not each.withdrawn_by(self.today)]
        return next((each.serial for each in held or self.customer.licences), None)

    def state(self) -> dict[str, Any]:
        """Every record as the service shows it now."""
        customer = self.customer
        return {
            "cases": {k: views.of_case(customer, each) for k, each in self.cases.items()},
            "entries": {k: views.of_entry(customer, each) for k, (_, each) in self.entries.items()},
            "contracts": {
                k: views.of_contract(customer, each, self.today)
                for k, each in self.contracts.items()
            },
            "packs": {k: views.of_pack(customer, each, self.now) for k, each in self.packs.items()},
            "years": views.of_years(customer),
            "queue": [each.label for each in cases.queue(customer)],
        }


def serial_of(label: str) -> str:
    """The serial number of the licence that a step registers."""
    return f"S-{label}"


def _register(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    p.licences[label] = purchases.register(
        p.customer, p.today, serial_of(label), a["what"], p.day(a["off"])
    )
    return True


def _send_again(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    licence = p.licences.get(refs[0])
    if licence is None:
        return False
    kind = a["what"] or licence.kind
    day = licence.purchased if a["off"] is None else p.day(a["off"])
    p.licences[refs[0]] = purchases.send_again(p.customer, p.today, licence, kind, day)
    return True


def _upgrade(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    licence = p.licences.get(refs[0])
    if licence is None:
        return False
    purchases.upgrade(p.customer, p.today, licence, p.day(a["off"]), a["paid_by"])
    return True


def _withdraw(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    licence = p.licences.get(refs[0])
    if licence is None:
        return False
    purchases.withdraw(p.customer, licence, p.day(a["off"]))
    return True


def _sign(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    p.contracts[label] = purchases.sign(
        p.customer, label, p.day(a["off"]), a["included"], take_over=a.get("take", False)
    )
    return True


def _renew(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    contract = p.contracts.get(refs[0])
    if contract is None:
        return False
    p.contracts[label] = purchases.renew(
        p.customer, p.today, label, contract, a["starts"], take_over=a["take"]
    )
    return True


def _cancel_contract(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    contract = p.contracts.get(refs[0])
    if contract is None:
        return False
    base = contract.starts if a["rel"] == "start" else p.today
    purchases.cancel_contract(p.customer, contract, base + timedelta(days=a["off"]))
    return True


def _buy_pack(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    p.packs[label] = purchases.buy_pack(p.customer, p.now, label, a["quantity"], p.day(a["off"]))
    return True


def _open(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    p.cases[label] = cases.open_case(
        p.customer,
        p.now,
        label,
        channel=a["channel"],
        category=a["category"],
        pay_with=a["pay_with"],
        serial=p.serial(a["serial"]),
        priority=a.get("priority", "normal"),
    )
    return True


def _record_time(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    case = p.cases.get(refs[0])
    if case is None:
        return False
    worked_at = p.worked_at(case, a)
    entry = cases.record_time(p.customer, p.now, label, case, a["minutes"], worked_at)
    p.entries[label] = case, entry
    return True


def _reverse(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
    if refs[0] not in p.entries:
        return False
    cases.reverse(p.entries[refs[0]][1])
    return True


def _on_case(act: Callable[[Player, Case, Arguments], None]) -> Callable[..., bool]:
    def step(p: Player, label: str, refs: list[str], a: Arguments) -> bool:
        case = p.cases.get(refs[0])
        if case is None:
            return False
        act(p, case, a)
        return True

    return step


_STEPS: dict[str, Callable[[Player, str, list[str], Arguments], bool]] = {
    "lic": _register,
    "fix": _send_again,
    "up": _upgrade,
    "wd": _withdraw,
    "con": _sign,
    "ren": _renew,
    "ccon": _cancel_contract,
    "pack": _buy_pack,
    "case": _open,
    "time": _record_time,
    "rev": _reverse,
    "bug": _on_case(lambda p, case, a: cases.set_bug(p.now, case)),
    "unbug": _on_case(lambda p, case, a: cases.set_no_bug(p.customer, p.now, case)),
    "take": _on_case(lambda p, case, a: cases.transition(p.now, case, "in_progress")),
    "wait": _on_case(lambda p, case, a: cases.transition(p.now, case, "waiting_for_customer")),
    "close": _on_case(lambda p, case, a: cases.close(p.now, case)),
    "reopen": _on_case(lambda p, case, a: cases.reopen(p.now, case)),
    "cancel": _on_case(lambda p, case, a: cases.cancel(p.now, case)),
    "bind": _on_case(lambda p, case, a: cases.bind(p.customer, p.now, case, a["pay_with"])),
}
KINDS = frozenset(_STEPS) | {"adv", "ask"}
