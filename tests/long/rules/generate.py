"""Random histories of abstract steps, from a seed: the same seed gives the same history.

The writer plays the model along, so that most steps come to something. Clock, purchases and
questions lean towards the instants at which an answer may change: day boundaries, anniversaries,
leap days, clock changes, the last days of a ticket or a term.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from random import Random

from .facts import Case
from .player import Player, Step
from .policy import add_months, civil_date, local_instant

BASES = (
    date(2026, 11, 25),
    date(2027, 2, 27),
    date(2028, 2, 28),
    date(2028, 2, 29),
    date(2028, 3, 1),
    date(2027, 3, 27),  # clocks go forward in the night that follows
    date(2026, 10, 24),  # clocks go back in the night that follows
    date(2026, 12, 31),
)
CLOCKS = ((0, 0), (0, 1), (2, 30), (9, 0), (10, 0), (12, 30), (23, 30), (23, 59))
SPANS = (10, 30, 60, 60, 120, 299, 300, 301, 340, 600, 1200)


@dataclass(frozen=True)
class History:
    base: datetime
    steps: tuple[Step, ...]


@dataclass
class _Writer:
    random: Random
    player: Player
    steps: list[Step] = field(default_factory=list)
    bought: list[date] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        return self.player.now

    def add(self, kind: str, refs: Sequence[str] = (), /, **arguments: object) -> None:
        step: Step = (kind, f"{kind}{len(self.steps)}", tuple(refs), dict(arguments))
        self.steps.append(step)
        self.player.play(step)

    def maybe(self, kind: str, refs: Sequence[str] = (), /, **arguments: object) -> None:
        if self.random.random() < 0.5:
            self.add(kind, refs, **arguments)

    def some(self, known: Sequence[str]) -> list[str]:
        """One of the labels, one of the latest mostly; none if there is none."""
        if not known:
            return []
        return [self.random.choice(known[-2:] if self.random.random() < 0.6 else known)]

    def case(self, suits: Callable[[Case], bool]) -> list[str]:
        """A case, mostly one for which the step is meant."""
        every = self.player.cases
        suitable = [label for label, case in every.items() if suits(case)]
        return self.some(suitable if suitable or self.random.random() < 0.7 else list(every))

    def who(self) -> int:
        """The customer, or the second one."""
        return int(self.random.random() < 0.25)

    def off(self, day: date) -> int:
        return (day - civil_date(self.now)).days

    def past(self) -> int:
        """A day of purchase, as an offset: near a multiple of twelve months ago, or anywhere."""
        today = civil_date(self.now)
        months = self.random.choice((0, 0, 0, -1, -5, -11, -12, -12, -12, -18, -24, -36))
        nearby = self.random.choice((0, 0, 0, -1, 1, -2, 20, -20, -100))
        day = add_months(today, months) + timedelta(days=nearby)
        if self.random.random() < 0.2 and self.bought:
            day = self.anniversary()
        return min(0, self.off(day))

    def anniversary(self) -> date:
        """A day near the anniversary of something bought."""
        years = self.random.choice((0, 12, 12, 12, 24))
        day = add_months(self.random.choice(self.bought), years)
        return day + timedelta(days=self.random.choice((0, 0, 0, -1, 1)))


def generate(seed: int, length: int = 55) -> History:
    """A history of so many steps, and a few more that set the scene."""
    random = Random(seed)
    hour, minute = random.choice(CLOCKS)
    writer = _Writer(random, Player(local_instant(random.choice(BASES), hour, minute)))
    base = writer.now
    _scene(writer)
    weights, makers = zip(*_STEPS.values(), strict=True)
    while len(writer.steps) < length:
        random.choices(makers, weights)[0](writer)
    for _ in range(3):
        _ask(writer)
    return History(base, tuple(writer.steps))


def _scene(w: _Writer) -> None:
    """Most customers have an Editor, and something that pays."""
    if w.random.random() < 0.85:
        recent = w.random.choice((0, -1, -20, -100, -200, -300, -364))
        _buy(w, "editor", w.random.choice((recent, w.past())))
    if w.random.random() < 0.4:
        _buy(w, "editor", w.past(), who=1)
    for step in (_licence, _contract, _pack):
        if w.random.random() < 0.6:
            step(w)


def _buy(w: _Writer, kind: str, off: int, who: int = 0) -> None:
    w.bought.append(civil_date(w.now) + timedelta(days=off))
    w.add("lic", what=kind, off=off, who=who)


def _licence(w: _Writer) -> None:
    _buy(w, w.random.choice(("editor", "editor", "runtime", "other")), w.past(), w.who())


def _contract(w: _Writer) -> None:
    off = w.random.choice((0, 0, 1, 30, -1, -10, -364, -365, -366, w.past()))
    w.bought.append(civil_date(w.now) + timedelta(days=off))
    included = w.random.choice((None, 10, 60, 100, 300))
    w.add("con", off=off, included=included, take=w.random.random() < 0.4, who=w.who())


def _renew(w: _Writer) -> None:
    if ref := w.some(list(w.player.contracts)):
        starts = w.random.choice(("today", "today", "at_end"))
        w.add("ren", ref, starts=starts, take=w.random.random() < 0.7)


def _cancel_contract(w: _Writer) -> None:
    if ref := w.some(list(w.player.contracts)):
        if w.random.random() < 0.5:
            w.add("ccon", ref, rel="start", off=w.random.choice((0, 0, 0, 1, 364, 365)))
        else:
            w.add("ccon", ref, rel="today", off=w.random.choice((0, 0, 1, -1, 30)))


def _correct_contract(w: _Writer) -> None:
    if ref := w.some(list(w.player.contracts)):
        starts = w.player.contracts[ref[0]].starts
        shift = w.random.choice((0, 1, -1, 2, -10, 30, 365, -365))
        day = w.random.choice((starts, starts, civil_date(w.now))) + timedelta(days=shift)
        off = w.random.choice((None, w.off(day), w.off(day)))
        included = w.random.choice((None, None, 10, 60, 100, 300, 1200))
        w.add("xcon", ref, off=off, included=included)


def _reinstate_contract(w: _Writer) -> None:
    every = w.player.contracts
    cancelled = [label for label, each in every.items() if each.cancelled is not None]
    if ref := w.some(cancelled if w.random.random() < 0.8 else list(every)):
        w.add("rcon", ref)


def _pack(w: _Writer) -> None:
    off = w.random.choice((0, -1, -364, -365, -363, -360, w.past()))
    w.bought.append(civil_date(w.now) + timedelta(days=off))
    w.add("pack", off=off, quantity=w.random.choice((1, 1, 2, 3)), who=w.who())


def _cancel_tickets(w: _Writer) -> None:
    if ref := w.some(list(w.player.packs)):
        bought = w.off(w.player.packs[ref[0]].purchased)
        off = w.random.choice((0, 0, -1, bought, bought - 1, w.past(), 1))
        w.add("ctk", ref, off=off, quantity=w.random.choice((None, 1, 1, 2)))


def _correct_pack(w: _Writer) -> None:
    if ref := w.some(list(w.player.packs)):
        pack = w.player.packs[ref[0]]
        days = [each.now.taken for each in pack.tickets if each.now.taken] or [pack.purchased]
        day = w.random.choice((pack.purchased, *days)) + timedelta(
            days=w.random.choice((0, 1, -1, 10, -10, -364, -365, 365))
        )
        off = min(w.off(day), w.random.choice((0, 0, 0, 1)))
        w.bought.append(civil_date(w.now) + timedelta(days=off))
        w.add("xpack", ref, off=off)


def _fix(w: _Writer) -> None:
    _correct_licence(w, "fix")


def _correct_licence(w: _Writer, step: str = "xlic") -> None:
    if ref := w.some(list(w.player.licences)):
        kind = w.random.choice((None, None, None, "runtime", "editor", "other"))
        off = w.random.choice((w.past(), w.past(), None))
        withdrawn = w.player.licences[ref[0]].withdrawn
        if withdrawn is not None and w.random.random() < 0.6:
            off = w.off(withdrawn) + w.random.choice((0, 0, 1, -1))
        if off is not None:
            w.bought.append(civil_date(w.now) + timedelta(days=off))
        if step == "fix" and w.random.random() < 0.15:
            w.add("fix", ref, what=kind, off=off, who=w.random.choice((0, 1)))
        else:
            w.add(step, ref, what=kind, off=off)


def _reinstate(w: _Writer) -> None:
    every = w.player.licences
    withdrawn = [label for label, each in every.items() if each.withdrawn is not None]
    if ref := w.some(withdrawn if w.random.random() < 0.8 else list(every)):
        w.add("rwd", ref)


def _transfer(w: _Writer) -> None:
    if ref := w.some(list(w.player.licences)):
        got = w.off(w.player.licences[ref[0]].last.start)
        w.add("tr", ref, off=w.random.choice((0, 0, 0, -1, -10, got, got + 1, w.past(), 1)))


def _reverse_upgrade(w: _Writer) -> None:
    if ref := w.some(list(w.player.upgrades)):
        w.add("rup", ref)


def _upgrade(w: _Writer) -> None:
    if ref := w.some(list(w.player.licences)):
        off = w.random.choice((0, 0, -1, w.past()))
        w.bought.append(civil_date(w.now) + timedelta(days=off))
        w.add("up", ref, off=off, paid_by=w.random.choice(("purchase", "purchase", "contract")))


def _withdraw(w: _Writer) -> None:
    if ref := w.some(list(w.player.licences)):
        off = w.random.choice((0, 0, 1, -1, 30, w.past()))
        if w.random.random() < 0.4 and w.bought:
            off = w.off(w.random.choice(w.bought))
        w.add("wd", ref, off=off)


def _case(w: _Writer) -> None:
    serial = w.random.choices(("own", "none", "foreign"), (20, 1, 1))[0]
    w.add(
        "case",
        channel=w.random.choice(("email", "email", "email", "phone", "remote")),
        category=w.random.choices(("problem", "question", "bug", "training"), (20, 4, 4, 1))[0],
        pay_with=w.random.choices(("auto", "free_hours", "contract", "ticket"), (8, 1, 2, 2))[0],
        serial=serial,
        priority=w.random.choice(("high", "normal", "normal", "low")),
        ago=w.random.choice((0, 0, 0, 0, 1, 24, 24 * 10, 24 * 30, 24 * 365)),
        who=w.who(),
    )


def _move(w: _Writer) -> None:
    if ref := w.case(lambda case: case.state != "cancelled"):
        serial = w.random.choices(("own", "none", "foreign"), (12, 1, 1))[0]
        w.add("mv", ref, as_overrun=w.random.random() < 0.5, serial=serial)


def _serial(w: _Writer) -> None:
    if ref := w.case(lambda case: case.state != "cancelled"):
        w.add("ser", ref, serial=w.random.choice(("own", "none", "foreign")))


def _shut(w: _Writer) -> None:
    start = w.random.choice((-1, 0, 1, 24))
    w.add("shut", **{"from": start, "to": start + w.random.choice((2, 24, 24 * 30))})


def _merge(w: _Writer) -> None:
    """Late in a history, since two customers are more to write about than one."""
    if len(w.steps) > 25:
        w.add("mg", who=w.random.choice((0, 1)))


def _time(w: _Writer) -> None:
    if ref := w.case(lambda case: case.is_open):
        age = (civil_date(w.now) - civil_date(w.player.cases[ref[0]].opened_at)).days
        k = w.random.choice((0, 0, 1, age, age, age + 1, age // 2))
        hour, minute = w.random.choice(CLOCKS)
        when = w.random.choice(("now", "now", "day"))
        w.add("time", ref, minutes=w.random.choice(SPANS), when=when, k=k, h=hour, m=minute)


def _reverse(w: _Writer) -> None:
    if ref := w.some(list(w.player.entries)):
        w.add("rev", ref)


def _of_case(kind: str, suits: Callable[[Case], bool]) -> Callable[[_Writer], None]:
    def step(w: _Writer) -> None:
        if ref := w.case(suits):
            w.add(kind, ref)

    return step


def _bind(w: _Writer) -> None:
    if ref := w.case(lambda case: case.unpaid):
        w.add("bind", ref, pay_with=w.random.choice(("auto", "auto", "contract", "ticket")))


def _advance(w: _Writer) -> None:
    """To the next instant at which something may change, or by a span."""
    if w.random.random() < 0.5:
        days = w.random.choice((0, 0, 1, 1, 1, 2, 3, 10, 29, 30, 100))
        day = civil_date(w.now) + timedelta(days=days)
        if w.bought and w.random.random() < 0.3:
            day = w.anniversary()
        hour, minute = w.random.choice(CLOCKS)
        to = local_instant(day, hour, minute)
    else:
        to = w.now + timedelta(hours=w.random.choice((1, 1, 4, 23, 24, 25, 24 * 29, 24 * 30)))
    to = min(to, w.now + timedelta(days=400))
    minutes = int((to - w.now).total_seconds()) // 60
    if minutes > 0:
        w.add("adv", hours=minutes // 60, minutes=minutes % 60)


def _ask(w: _Writer) -> None:
    off = w.random.choice((0, -1, 1, -30, -100, -365, 30, 366))
    if w.bought and w.random.random() < 0.7:
        off = w.off(w.anniversary())
    hour, minute = w.random.choice(CLOCKS)
    w.add("ask", off=off, h=hour, m=minute, s=w.random.choice((0, 0, -1, 1)), who=w.who())


def _story_of_overrun(w: _Writer) -> None:
    """R24: a small contract overrun, renewed with take-over, perhaps cancelled on its first day."""
    w.add("con", off=0, included=w.random.choice((10, 60)), take=False)
    contract = w.steps[-1][1]
    w.add("case", channel="phone", category="problem", pay_with="contract", serial="own")
    case = w.steps[-1][1]
    if w.random.random() < 0.2:
        w.add("ccon", [contract], rel="today", off=w.random.choice((0, 0, 1)))
    for _ in range(w.random.choice((1, 2, 2))):
        w.add("time", [case], minutes=w.random.choice(SPANS), when="now")
    entry = w.steps[-1][1]
    w.add("ren", [contract], starts=w.random.choice(("today", "at_end")), take=True)
    renewal = w.steps[-1][1]
    w.maybe("rev", [entry])
    w.maybe("bug", [case])
    w.maybe("ccon", [renewal], rel="start", off=w.random.choice((0, 0, 0, 1)))
    w.maybe("unbug", [case])
    w.maybe("time", [case], minutes=w.random.choice(SPANS), when="now")
    w.maybe("con", off=0, included=60, take=True)
    if w.random.random() < 0.5:
        w.add("ccon", [renewal], rel="start", off=0)
        w.maybe("ren", [contract], starts="today", take=w.random.random() < 0.5)
        w.maybe("ccon", [w.steps[-1][1]], rel="start", off=w.random.choice((0, 3)))
        w.add("rcon", [renewal])
    w.maybe("rcon", [contract])


def _story_of_a_contract(w: _Writer) -> None:
    """R40: a contract that pays for work of some days, with another first day or other minutes."""
    off = w.random.choice((0, -1, -20, -350))
    w.add("con", off=off, included=w.random.choice((60, 100, 300)), take=w.random.random() < 0.3)
    contract = w.steps[-1][1]
    w.add("case", channel="phone", category="problem", pay_with="contract", serial="own")
    case = w.steps[-1][1]
    first = w.off(civil_date(w.now))
    for _ in range(w.random.choice((1, 2))):
        w.add("time", [case], minutes=w.random.choice((10, 60, 120)), when="now")
        w.maybe("adv", hours=24 * w.random.choice((1, 5, 20)), minutes=0)
    w.maybe("ccon", [contract], rel="today", off=w.random.choice((0, 1)))
    if w.random.random() < 0.5:
        w.add("xcon", [contract], off=None, included=w.random.choice((1, 10, 60, 100, 1200)))
    worked = [each.day for each in w.player.cases[case].entries] if case in w.player.cases else []
    day = w.random.choice(worked or [civil_date(w.now)])
    near = add_months(day, w.random.choice((0, 0, -12))) + timedelta(w.random.choice((-1, 0, 1)))
    w.add("xcon", [contract], off=w.off(near), included=None)
    w.maybe("rcon", [contract])
    w.maybe("xcon", [contract], off=first - 3, included=None)


def _story_of_a_ticket(w: _Writer) -> None:
    """R19, R22: a ticket near its end, its case a bug or cancelled, perhaps taken by another."""
    w.add("pack", off=w.random.choice((0, -200, -360, -363, -364)), quantity=1)
    w.add("case", channel="phone", category="problem", pay_with="ticket", serial="own")
    case = w.steps[-1][1]
    worked = w.random.random() < 0.6
    if worked:
        w.add("time", [case], minutes=w.random.choice(SPANS), when="now")
        w.maybe("close", [case])
    w.maybe("adv", hours=w.random.choice((1, 24, 48, 24 * 40)), minutes=0)
    w.add("bug" if worked else "cancel", [case])
    if w.random.random() < 0.5:
        w.add("case", channel="phone", category="problem", pay_with="ticket", serial="own")
    if w.random.random() < 0.5:
        w.add("pack", off=0, quantity=1)
    w.maybe("con", off=0, included=100, take=False)
    w.add("unbug", [case])
    pack = next(iter(w.some(list(w.player.packs))))
    taken = [each.now.taken for each in w.player.packs[pack].tickets if each.now.taken]
    day = w.random.choice(taken or [civil_date(w.now)])
    near = add_months(day, w.random.choice((0, 0, -12))) + timedelta(w.random.choice((-1, 0, 1)))
    w.maybe("xpack", [pack], off=min(0, w.off(near)))
    w.maybe("ctk", [pack], off=0, quantity=None)


def _story_of_a_correction(w: _Writer) -> None:
    """R40: free hours worked on several days, then the Editor's day or kind sent otherwise."""
    day = civil_date(w.now)
    off = w.random.choice((0, -1, -2, -20, -100, w.off(add_months(day, -12)) + 1))
    _buy(w, "editor", off)
    licence = w.steps[-1][1]
    w.add("case", channel="email", category="problem", pay_with="auto", serial="own")
    case = w.steps[-1][1]
    for _ in range(w.random.choice((1, 2, 3))):
        w.add("time", [case], minutes=w.random.choice(SPANS), when="now")
        w.maybe("adv", hours=w.random.choice((1, 24, 24 * 10)), minutes=0)
    shift = w.random.choice((-1, 1, 1, -2, -10, 10, 30))
    day += timedelta(days=off)
    moved = w.random.choice((day, add_months(day, -12), add_months(day, -24)))
    moved = min(moved + timedelta(days=shift), civil_date(w.now))
    w.bought.append(moved)
    kind = w.random.choice((None, None, None, "runtime"))
    w.add("fix", [licence], what=kind, off=w.off(moved))


def _story_of_reopening(w: _Writer) -> None:
    """R29: closed, and reopened about thirty days later."""
    if ref := w.case(lambda case: case.is_open):
        w.add("close", ref)
        to = civil_date(w.now) + timedelta(days=w.random.choice((28, 29, 29, 30, 30, 31)))
        hour, minute = w.random.choice(CLOCKS)
        minutes = int((local_instant(to, hour, minute) - w.now).total_seconds()) // 60
        w.add("adv", hours=minutes // 60, minutes=minutes % 60)
        w.add("reopen", ref)


def _story_of_a_withdrawal(w: _Writer) -> None:
    """R14, R46: an Editor withdrawn as of its own day, perhaps worked meanwhile, taken back."""
    w.maybe("con", off=0, included=w.random.choice((10, 60, 100)), take=False)
    off = w.random.choice((0, -1, -20, -100))
    _buy(w, "editor", off)
    licence = w.steps[-1][1]
    cases = []
    for _ in range(w.random.choice((1, 1, 2))):
        w.add("case", channel="email", category="problem", pay_with="auto", serial="own")
        cases.append(w.steps[-1][1])
        w.add("time", cases[-1:], minutes=w.random.choice(SPANS), when="now")
    w.maybe("con", off=w.random.choice((0, -10)), included=60, take=False)
    w.maybe("bug", cases[:1])
    w.add("wd", [licence], off=w.random.choice((off, off, off, 0, 7)))
    for case in cases:
        w.maybe("time", [case], minutes=w.random.choice(SPANS), when="now")
    w.maybe("unbug", cases[:1])
    if w.random.random() < 0.5:
        w.add("pack", off=0, quantity=1)
        w.add("bind", cases[-1:], pay_with="auto")
    if w.random.random() < 0.2:
        w.add("fix", [licence], what=None, off=off)
    if w.random.random() < 0.3:
        day = w.off(w.player.licences[licence].last.end or civil_date(w.now))
        shift = w.random.choice((-1, 0, 0, 1))
        w.add("fix", [licence], what=None, off=min(0, day + shift), who=w.random.choice((0, 1, 1)))
    w.add("rwd", [licence])


def _story_of_an_upgrade(w: _Writer) -> None:
    """R40: a paid upgrade begins a year, pays for a case, and never was."""
    _buy(w, "editor", w.random.choice((-1, -100, -364, -500)))
    licence = w.steps[-1][1]
    w.add("up", [licence], off=w.random.choice((0, 0, -1)), paid_by="purchase")
    upgrade = w.steps[-1][1]
    w.maybe("con", off=0, included=w.random.choice((10, 60, 100)), take=False)
    w.add("case", channel="email", category="problem", pay_with="auto", serial="own")
    case = w.steps[-1][1]
    for _ in range(w.random.choice((1, 2))):
        w.add("time", [case], minutes=w.random.choice(SPANS), when="now")
    w.add("rup", [upgrade])


def _story_of_a_sale(w: _Writer) -> None:
    """R44: an Editor passes on, with a case that it opened; it is upgraded there, or comes back."""
    _buy(
        w, w.random.choice(("editor", "editor", "runtime")), w.random.choice((-1, -20, -100, -364))
    )
    licence = w.steps[-1][1]
    if w.random.random() < 0.6:
        w.add("case", channel="email", category="problem", pay_with="auto", serial="own")
        w.add("time", [w.steps[-1][1]], minutes=w.random.choice(SPANS), when="now")
    w.maybe("pack", off=0, quantity=1, who=1)
    w.maybe("lic", what="runtime", off=w.random.choice((0, -100, -364)), who=1)
    w.add("tr", [licence], off=w.random.choice((0, 0, -1, -10)))
    got = w.steps[-1][1]
    w.maybe("con", off=0, included=60, take=False, who=1)
    w.maybe("case", channel="email", category="problem", pay_with="auto", serial="own", who=1)
    if w.random.random() < 0.4:
        w.add("adv", hours=24 * w.random.choice((1, 1, 2, 300)), minutes=0)
    if w.random.random() < 0.4:
        w.add("up", [got], off=0, paid_by=w.random.choice(("purchase", "contract")))
        w.add("adv", hours=24, minutes=0)
    last = got
    if w.random.random() < 0.5:
        w.add("tr", [got], off=0)
        last = w.steps[-1][1] if w.steps[-1][1] in w.player.licences else got
    w.maybe(w.random.choice(("xlic", "fix")), [last], what=None, off=w.random.choice((-30, -110)))


def _story_of_two_records(w: _Writer) -> None:
    """R49: both have an Editor since one day and free hours used, and are merged."""
    off = w.random.choice((0, -1, -20))
    for who in (0, 1):
        _buy(w, "editor", off, who)
        w.add("case", channel="email", category="problem", pay_with="auto", serial="own", who=who)
        w.add("time", [w.steps[-1][1]], minutes=w.random.choice(SPANS), when="now")
    w.maybe("tr", [w.steps[-3][1]], off=0)
    w.maybe("con", off=0, included=60, take=False)
    w.add("mg", who=w.random.choice((0, 1)))


def _story_of_a_wrong_customer(w: _Writer) -> None:
    """R47: a case is moved to the second customer, in any state, and perhaps back."""
    for who in (0, 1):
        if w.random.random() < 0.6:
            w.add("pack", off=w.random.choice((0, -364, -360, -100)), quantity=1, who=who)
        if w.random.random() < 0.6:
            w.add("con", off=w.random.choice((0, -10)), included=60, take=False, who=who)
    channel = w.random.choice(("email", "phone"))
    w.add("case", channel=channel, category="problem", pay_with="auto", serial="own")
    case = w.steps[-1][1]
    for _ in range(w.random.choice((0, 1, 2))):
        w.add("time", [case], minutes=w.random.choice(SPANS), when="now")
        w.maybe("adv", hours=w.random.choice((1, 24, 24 * 10)), minutes=0)
    w.maybe(w.random.choice(("bug", "close", "take")), [case])
    w.maybe("unbug", [case])
    if w.random.random() < 0.3:
        w.add("reopen", [case])
    if w.random.random() < 0.5:
        w.add("adv", hours=24 * w.random.choice((2, 10)), minutes=0)
        w.add("take", [case])
    w.add("mv", [case], as_overrun=w.random.random() < 0.6, serial="own")
    moved = w.steps[-1][1]
    for who in (0, 1):
        off, hour = w.random.choice((0, -1, -2, -9)), w.random.choice((0, 9, 23))
        w.add("ask", off=off, h=hour, m=0, who=who)
    w.maybe("bind", [moved], pay_with="auto")
    w.maybe("time", [moved], minutes=w.random.choice(SPANS), when="now")
    if w.random.random() < 0.3:
        w.add("mv", [moved], as_overrun=True, serial="own")


_Make = Callable[[_Writer], None]
_STEPS: dict[str, tuple[int, _Make]] = {  # with how often each is chosen
    "lic": (6, _licence),
    "con": (4, _contract),
    "ren": (3, _renew),
    "ccon": (3, _cancel_contract),
    "xcon": (5, _correct_contract),
    "rcon": (3, _reinstate_contract),
    "pack": (3, _pack),
    "ctk": (4, _cancel_tickets),
    "xpack": (3, _correct_pack),
    "fix": (4, _fix),
    "xlic": (3, _correct_licence),
    "up": (3, _upgrade),
    "rup": (2, _reverse_upgrade),
    "wd": (3, _withdraw),
    "rwd": (3, _reinstate),
    "tr": (3, _transfer),
    "case": (12, _case),
    "mv": (3, _move),
    "mg": (1, _merge),
    "shut": (1, _shut),
    "ser": (2, _serial),
    "time": (20, _time),
    "rev": (4, _reverse),
    "bug": (4, _of_case("bug", lambda case: not case.bug)),
    "unbug": (5, _of_case("unbug", lambda case: case.bug)),
    "take": (2, _of_case("take", lambda case: case.state != "in_progress")),
    "wait": (1, _of_case("wait", lambda case: case.state == "in_progress")),
    "close": (4, _of_case("close", lambda case: case.is_open)),
    "reopen": (3, _of_case("reopen", lambda case: case.state == "closed")),
    "cancel": (2, _of_case("cancel", lambda case: case.is_open and not case.worked)),
    "bind": (5, _bind),
    "adv": (8, _advance),
    "ask": (5, _ask),
    "overrun": (3, _story_of_overrun),
    "ticket": (2, _story_of_a_ticket),
    "correction": (2, _story_of_a_correction),
    "reopening": (2, _story_of_reopening),
    "contract": (3, _story_of_a_contract),
    "withdrawal": (3, _story_of_a_withdrawal),
    "upgrade": (1, _story_of_an_upgrade),
    "sale": (3, _story_of_a_sale),
    "two records": (1, _story_of_two_records),
    "wrong customer": (3, _story_of_a_wrong_customer),
}
