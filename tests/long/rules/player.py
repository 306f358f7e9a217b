"""Plays a history of abstract steps: [kind, own label, labels referred to, arguments].

The kinds and arguments are those of `tests/scenarios/histories.json`. Offsets are days from the day
of the step. Besides, `adv` takes minutes, and `ask` puts a question about an instant, by a day's
offset and a wall clock reading. `xlic` is the correction of a licence by staff, `xpack` that of a
pack's day, `ser` gives a case another serial number. A step with `who` 1 is about a second
customer, to whom licences and cases pass, and with whom `mg` merges one of them. `shut` closes the
help desk for a while, of which no answer that is modelled takes notice (R13, R48).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any, Literal

from . import answers, cases, charging, merging, purchases, views
from .facts import Case, Contract, Customer, Entry, Licence, Pack, Refused, Upgrade
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
    customers: list[Customer] = field(init=False)
    """The customer and a second one; once they are merged, both are one."""
    owner: dict[str, int] = field(default_factory=dict)
    """Whose a record is, by its label: a customer's place."""
    licences: dict[str, Licence] = field(default_factory=dict)
    upgrades: dict[str, Upgrade] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)
    packs: dict[str, Pack] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    entries: dict[str, tuple[Case, Entry]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = count(1)
        self.customers = [Customer(self.now, numbers) for _ in range(2)]

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
            at = self.instant(arguments)
            return Outcome("done", answer=self.ask(at, arguments.get("who", 0)))
        self.tick()
        resolved = self.resolve(step)
        return Outcome("skipped") if resolved is None else self.apply(step, resolved)

    def tick(self) -> None:
        self.now += timedelta(seconds=1)

    def who(self, step: Step) -> int:
        """The customer whose record a step refers to, else the one that it names."""
        _, _, refs, arguments = step
        who: int = self.owner[refs[0]] if refs else arguments.get("who", 0)
        return who

    def resolve(self, step: Step) -> Arguments | None:
        """A step's days, instants, serial number and kind, instead of offsets and words for them.

        None if the step refers to a record that was never made.
        """
        kind, label, refs, a = step
        if not all(ref in self._known(kind) for ref in refs):
            return None
        who = self.who(step)
        match kind:
            case "lic":
                return {"kind": a["what"], "day": self.day(a["off"]), "serial": serial_of(label)}
            case "fix" | "xlic":
                purchase = self.licences[refs[0]].purchase
                day = purchase.day if a["off"] is None else self.day(a["off"])
                return {"kind": a["what"] or purchase.kind, "day": day, "who": a.get("who", who)}
            case "rup":
                made = upgrade_of(self, refs[0])
                return None if made is None else {"upgrade": made}
            case "up" | "wd" | "pack" | "ctk" | "xpack" | "tr":
                return {**a, "day": self.day(a["off"])}
            case "con":
                return {"take": False, **a, "day": self.day(a["off"])}
            case "xcon":
                contract = self.contracts[refs[0]]
                day = contract.starts if a["off"] is None else self.day(a["off"])
                return {"day": day, "included": a["included"] or contract.included}
            case "ccon":
                base = self.contracts[refs[0]].starts if a["rel"] == "start" else self.today
                return {"day": base + timedelta(days=a["off"])}
            case "case":
                at = self.now - timedelta(hours=a["ago"]) if a.get("ago") else None
                serial = self.serial(a["serial"], who, civil_date(at or self.now))
                return {"priority": "normal", **a, "serial": serial, "opened_at": at}
            case "mv" | "ser":
                case = self.cases[refs[0]]
                whose = 1 - who if kind == "mv" else who
                serial = self.serial(a.get("serial", "own"), whose, civil_date(case.opened_at))
                if kind == "mv" and serial is None:  # by default the case's own
                    serial = case.serial
                return {**a, "serial": serial, "to": whose}
            case "time":
                return {**a, "worked_at": self.worked_at(self.cases[refs[0]], a)}
        return dict(a)

    def _known(self, kind: str) -> Mapping[str, object]:
        """The records to which a kind of step refers."""
        match kind:
            case "fix" | "xlic" | "up" | "wd" | "rwd" | "tr":
                return self.licences
            case "rup":
                return {**self.licences, **self.upgrades}
            case "ren" | "ccon" | "xcon" | "rcon":
                return self.contracts
            case "ctk" | "xpack":
                return self.packs
        return self.entries if kind == "rev" else self.cases

    def apply(self, step: Step, resolved: Arguments) -> Outcome:
        """What a resolved step does. Afterwards R22 holds for every hour allowance."""
        kind, label, refs, _ = step
        customer = self.customers[self.who(step)]
        try:
            _STEPS[kind](self, customer, label, list(refs), resolved)
        except Refused as refusal:
            return Outcome("refused", refusal.codes)
        self.owner.setdefault(label, self.who(step))
        for each in self.customers:
            charging.cover(each)
        return Outcome("done")

    def ask(self, at: datetime | None = None, who: int = 0) -> answers.Answer:
        return answers.ask(self.customers[who], at or self.now, self.now)

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

    def serial(self, which: str, who: int, day: date) -> str | None:
        """The serial number that a caller gives: one of its own, none, or somebody else's."""
        if which == "foreign":
            return "FOREIGN-1"
        if which == "none":
            return None
        every = self.customers[who].licences
        held = [each for each in every if each.held_on(day)]
        return next((each.serial for each in held or every), None)

    def mine(self, known: Mapping[str, Any], who: int) -> dict[str, Any]:
        """A customer's records of those known, by label."""
        customer = self.customers[who]
        return {k: each for k, each in known.items() if self.customers[self.owner[k]] is customer}

    def state(self, who: int = 0) -> dict[str, Any]:
        """A customer's records as the service shows them now."""
        customer = self.customers[who]
        return {
            "licences": views.of_licences(customer),
            "cases": {
                k: views.of_case(customer, each) for k, each in self.mine(self.cases, who).items()
            },
            "entries": {
                k: views.of_entry(customer, each)
                for k, (_, each) in self.mine(self.entries, who).items()
            },
            "contracts": {
                k: views.of_contract(customer, each, self.today)
                for k, each in self.mine(self.contracts, who).items()
            },
            "packs": {
                k: views.of_pack(customer, each, self.now)
                for k, each in self.mine(self.packs, who).items()
            },
            "years": views.of_years(customer),
            "queue": [each.label for each in cases.queue(customer)],
        }


def upgrade_of(p: Player, label: str) -> Upgrade | None:
    """An upgrade by its label, or a licence's latest by the licence's; None if it has none."""
    if label in p.upgrades:
        return p.upgrades[label]
    return next(reversed(p.licences[label].upgrades()), None)


def serial_of(label: str) -> str:
    """The serial number of the licence that a step registers."""
    return f"S-{label}"


def _register(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    p.licences[label] = purchases.register(
        p.customers, c, p.today, a["serial"], a["kind"], a["day"]
    )


def _send(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    """What it makes anew has the step's label."""
    sender = p.customers[a["who"]]
    serial = p.licences[refs[0]].serial
    sent = purchases.send(p.customers, sender, p.today, serial, a["kind"], a["day"])
    if sent not in p.licences.values():
        p.licences[label] = sent
        p.owner[label] = a["who"]


def _correct_licence(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    purchases.correct(p.customers, p.today, p.licences[refs[0]], a["kind"], a["day"])


def _upgrade(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    p.upgrades[label] = purchases.upgrade(c, p.today, p.licences[refs[0]], a["day"], a["paid_by"])


def _reverse_upgrade(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    purchases.reverse_upgrade(c, a["upgrade"])


def _withdraw(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    purchases.withdraw(c, p.licences[refs[0]], a["day"])


def _reinstate(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    purchases.reinstate(p.customers, c, p.licences[refs[0]])


def _transfer(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    to = 1 - p.owner[refs[0]]
    licence = p.licences[refs[0]]
    p.licences[label] = purchases.transfer(c, p.customers[to], p.today, licence, a["day"])
    p.owner[label] = to


def _merge(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    kept = p.customers[1 - a["who"]]
    merging.merge(c, kept)
    p.customers = [kept, kept]
    for known, licence in p.licences.items():
        p.licences[known] = next(e for e in kept.licences if e.purchase is licence.purchase)


def _sign(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    p.contracts[label] = purchases.sign(c, label, a["day"], a["included"], take_over=a["take"])


def _renew(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    p.contracts[label] = purchases.renew(
        c, p.today, label, p.contracts[refs[0]], a["starts"], take_over=a["take"]
    )


def _cancel_contract(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    purchases.cancel_contract(c, p.contracts[refs[0]], a["day"])


def _correct_contract(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    purchases.correct_contract(c, p.contracts[refs[0]], a["day"], a["included"])


def _reinstate_contract(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    purchases.reinstate_contract(c, p.contracts[refs[0]])


def _buy_pack(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    p.packs[label] = purchases.buy_pack(c, p.now, label, a["quantity"], a["day"])


def _cancel_tickets(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    purchases.cancel_tickets(p.today, p.packs[refs[0]], a["quantity"], a["day"])


def _correct_pack(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    purchases.correct_pack(p.today, p.packs[refs[0]], a["day"])


def _open(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    p.cases[label] = cases.open_case(
        c,
        p.now,
        label,
        channel=a["channel"],
        category=a["category"],
        pay_with=a["pay_with"],
        serial=a["serial"],
        priority=a["priority"],
        opened_at=a["opened_at"],
    )


def _move(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    case = p.cases[refs[0]]
    p.cases[label] = cases.move(
        c,
        p.customers[a["to"]],
        p.now,
        label,
        case,
        serial=a["serial"],
        as_overrun=a["as_overrun"],
    )
    p.owner[label] = a["to"]


def _record_time(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    case = p.cases[refs[0]]
    entry = cases.record_time(c, p.now, label, case, a["minutes"], a["worked_at"])
    p.entries[label] = case, entry


def _reverse(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
    cases.reverse(*p.entries[refs[0]])


def _on_case(act: Callable[[Player, Customer, Case, Arguments], None]) -> Callable[..., None]:
    def step(p: Player, c: Customer, label: str, refs: list[str], a: Arguments) -> None:
        act(p, c, p.cases[refs[0]], a)

    return step


_STEPS: dict[str, Callable[[Player, Customer, str, list[str], Arguments], None]] = {
    "lic": _register,
    "fix": _send,
    "xlic": _correct_licence,
    "up": _upgrade,
    "rup": _reverse_upgrade,
    "wd": _withdraw,
    "rwd": _reinstate,
    "tr": _transfer,
    "mg": _merge,
    "shut": lambda p, c, label, refs, a: None,
    "con": _sign,
    "ren": _renew,
    "ccon": _cancel_contract,
    "xcon": _correct_contract,
    "rcon": _reinstate_contract,
    "pack": _buy_pack,
    "ctk": _cancel_tickets,
    "xpack": _correct_pack,
    "case": _open,
    "mv": _move,
    "ser": _on_case(lambda p, c, case, a: cases.change_serial(c, case, a["serial"])),
    "time": _record_time,
    "rev": _reverse,
    "bug": _on_case(lambda p, c, case, a: cases.set_bug(p.now, case)),
    "unbug": _on_case(lambda p, c, case, a: cases.set_no_bug(c, p.now, case)),
    "take": _on_case(lambda p, c, case, a: cases.transition(p.now, case, "in_progress")),
    "wait": _on_case(lambda p, c, case, a: cases.transition(p.now, case, "waiting_for_customer")),
    "close": _on_case(lambda p, c, case, a: cases.close(p.now, case)),
    "reopen": _on_case(lambda p, c, case, a: cases.reopen(p.now, case)),
    "cancel": _on_case(lambda p, c, case, a: cases.cancel(p.now, case)),
    "bind": _on_case(lambda p, c, case, a: cases.bind(c, p.now, case, a["pay_with"])),
}
KINDS = frozenset(_STEPS) | {"adv", "ask"}
OF_BOTH = frozenset({"fix", "xlic", "tr", "mv", "mg"})
"""Steps that can change what the other customer has, too."""
