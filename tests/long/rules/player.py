"""Plays a history of abstract steps: [kind, own label, labels referred to, arguments].

The kinds and arguments are those of `tests/scenarios/histories.json`. Offsets are days from the day
of the step. Besides, `adv` takes minutes, and `ask` puts a question about an instant, by a day's
offset and a wall clock reading.
"""

from collections.abc import Callable, Mapping, Sequence
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
    """A history under way. `now` is the clock; a step happens a second after the last."""

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
        """One step."""
        kind, _, _, arguments = step
        if kind == "adv":
            self.now += timedelta(
                hours=arguments.get("hours", 0), minutes=arguments.get("minutes", 0)
            )
            return Outcome("done")
        if kind == "ask":
            return Outcome("done", answer=self.ask(self.instant(arguments)))
        self.tick()
        resolved = self.resolve(step)
        return Outcome("skipped") if resolved is None else self.apply(step, resolved)

    def tick(self) -> None:
        self.now += timedelta(seconds=1)

    def resolve(self, step: Step) -> Arguments | None:
        """A step's days, instants, serial number and kind, instead of offsets and words for them.

        None if the step refers to a record that was never made.
        """
        kind, label, refs, a = step
        if not all(ref in self._known(kind) for ref in refs):
            return None
        match kind:
            case "lic":
                return {"kind": a["what"], "day": self.day(a["off"]), "serial": serial_of(label)}
            case "fix":
                licence = self.licences[refs[0]]
                day = licence.purchased if a["off"] is None else self.day(a["off"])
                return {"kind": a["what"] or licence.kind, "day": day}
            case "up" | "wd" | "pack":
                return {**a, "day": self.day(a["off"])}
            case "con":
                return {"take": False, **a, "day": self.day(a["off"])}
            case "ccon":
                base = self.contracts[refs[0]].starts if a["rel"] == "start" else self.today
                return {"day": base + timedelta(days=a["off"])}
            case "case":
                return {"priority": "normal", **a, "serial": self.serial(a["serial"])}
            case "time":
                return {**a, "worked_at": self.worked_at(self.cases[refs[0]], a)}
        return dict(a)

    def _known(self, kind: str) -> Mapping[str, object]:
        """The records to which a kind of step refers."""
        if kind in ("fix", "up", "wd"):
            return self.licences
        if kind in ("ren", "ccon"):
            return self.contracts
        return self.entries if kind == "rev" else self.cases

    def apply(self, step: Step, resolved: Arguments) -> Outcome:
        """What a resolved step does. Afterwards R22 holds for every hour allowance."""
        kind, label, refs, _ = step
        try:
            _STEPS[kind](self, label, list(refs), resolved)
        except Refused as refusal:
            return Outcome("refused", refusal.codes)
        charging.cover(self.customer)
        return Outcome("done")

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


def _register(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    made = purchases.register(p.customer, p.today, a["serial"], a["kind"], a["day"])
    p.licences[label] = made


def _send_again(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    licence = p.licences[refs[0]]
    sent = purchases.send_again(p.customer, p.today, licence, a["kind"], a["day"])
    p.licences[refs[0]] = sent


def _upgrade(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    purchases.upgrade(p.customer, p.today, p.licences[refs[0]], a["day"], a["paid_by"])


def _withdraw(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    purchases.withdraw(p.customer, p.licences[refs[0]], a["day"])


def _sign(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    p.contracts[label] = purchases.sign(
        p.customer, label, a["day"], a["included"], take_over=a["take"]
    )


def _renew(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    p.contracts[label] = purchases.renew(
        p.customer, p.today, label, p.contracts[refs[0]], a["starts"], take_over=a["take"]
    )


def _cancel_contract(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    purchases.cancel_contract(p.customer, p.contracts[refs[0]], a["day"])


def _buy_pack(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    p.packs[label] = purchases.buy_pack(p.customer, p.now, label, a["quantity"], a["day"])


def _open(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    p.cases[label] = cases.open_case(
        p.customer,
        p.now,
        label,
        channel=a["channel"],
        category=a["category"],
        pay_with=a["pay_with"],
        serial=a["serial"],
        priority=a["priority"],
    )


def _record_time(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    case = p.cases[refs[0]]
    entry = cases.record_time(p.customer, p.now, label, case, a["minutes"], a["worked_at"])
    p.entries[label] = case, entry


def _reverse(p: Player, label: str, refs: list[str], a: Arguments) -> None:
    cases.reverse(*p.entries[refs[0]])


def _on_case(act: Callable[[Player, Case, Arguments], None]) -> Callable[..., None]:
    def step(p: Player, label: str, refs: list[str], a: Arguments) -> None:
        act(p, p.cases[refs[0]], a)

    return step


_STEPS: dict[str, Callable[[Player, str, list[str], Arguments], None]] = {
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
