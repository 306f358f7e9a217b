"""What a clerk would write on index cards: licences, hours, tickets, cases, lines of minutes."""

from dataclasses import dataclass, field
from datetime import date, datetime

OPEN = {"open", "in_progress", "waiting_for_customer"}


def a_year_after(day: date) -> date:
    try:
        return day.replace(year=day.year + 1)
    except ValueError:  # 29 February
        return day.replace(year=day.year + 1, day=28)


class Refused(Exception):
    """What the service should answer instead."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.answer = (status, code)


@dataclass(eq=False)
class Licence:
    serial: str
    kind: str
    bought: date
    withdrawn: date | None = None
    paid_upgrades: list[date] = field(default_factory=list)

    def held(self, on: date) -> bool:
        return self.bought <= on and not (self.withdrawn and self.withdrawn <= on)


@dataclass(eq=False)
class Hours:
    """A contract, or a service year of free hours."""

    kind: str
    starts: date
    ends: date
    granted: int
    id: str = ""
    cancelled: date | None = None
    renews: "Hours | None" = None

    @property
    def closes(self) -> date:
        return min(self.ends, self.cancelled or self.ends)


@dataclass(eq=False)
class Pack:
    id: str
    bought: date
    expires: date
    quantity: int
    used: dict[int, "Case"] = field(default_factory=dict)


@dataclass(eq=False)
class Ticket:
    pack: Pack
    position: int
    kind = "ticket"


Payer = Hours | Ticket | None


@dataclass(eq=False)
class Entry:
    case: "Case"
    minutes: int
    worked_at: datetime
    worked_on: date
    id: str = ""
    reversed: bool = False


@dataclass(eq=False)
class Line:
    """Minutes that stand in the notebook: charged to hours, or overrun of a payer."""

    entry: Entry
    payer: Payer
    minutes: int
    overrun: bool
    counts_on: date
    taken_over: bool = False


@dataclass(eq=False)
class Case:
    number: str
    id: str
    channel: str
    category: str
    opened_on: date
    payer: Payer
    first: Payer
    state: str = "open"
    entries: list[Entry] = field(default_factory=list)
