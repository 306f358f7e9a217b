"""R9-R13: the answer to a question about any instant."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from . import services, situation, years
from .facts import Customer, granted
from .policy import MATRIX, Column, midnight, term_end
from .services import ServiceAnswer
from .situation import Situation


@dataclass(frozen=True)
class HoursAllowance:
    kind: str
    label: str | None
    starts_on: date
    ends_on: date
    granted: int
    used: int
    left: int
    overrun: int
    suspended: bool


@dataclass(frozen=True)
class PackAllowance:
    label: str
    starts_on: date
    ends_on: date
    quantity: int
    available: int
    held: int
    consumed: int
    cancelled: int


@dataclass(frozen=True)
class Body:
    """All that the passing of time can change in an answer."""

    columns: tuple[Column, ...]
    services: tuple[ServiceAnswer, ...]
    hours: tuple[HoursAllowance, ...]
    packs: tuple[PackAllowance, ...]

    def service(self, name: str) -> ServiceAnswer:
        return next(each for each in self.services if each.service == name)


@dataclass(frozen=True)
class Answer:
    on: date
    valid_until: datetime | None
    body: Body


def ask(customer: Customer, at: datetime, now: datetime) -> Answer:
    asked = situation.situation(customer, at, now)
    body = _body(asked)
    changes = (
        day
        for day in sorted(set(_days(asked)))
        if day > asked.on and _body(Situation(customer, day, asked.snapshot)) != body
    )
    first = next(changes, None)
    return Answer(asked.on, None if first is None else midnight(first), body)


def _body(s: Situation) -> Body:
    return Body(
        s.columns,
        tuple(services.answer(s, each) for each in MATRIX),
        tuple(_hours(s)),
        tuple(
            PackAllowance(
                pack.label,
                pack.purchased,
                counts.ends,
                len(pack.tickets),
                counts.available,
                counts.held,
                counts.consumed,
                counts.cancelled,
            )
            for pack, counts in s.packs
            if counts.available or counts.held
        ),
    )


def _hours(s: Situation) -> Iterator[HoursAllowance]:
    """R13: the year that stands and the contracts in force, suspended ones too."""
    if s.year:
        anchor = years.anchor_on(s.customer, s.on)
        assert anchor is not None
        ends = anchor.anniversary(anchor.latest(s.on) + 1)
        balance = s.snapshot.balance(s.year)
        yield HoursAllowance(
            "free_hours",
            None,
            s.year.start,
            ends,
            granted(s.year),
            balance.used,
            s.snapshot.left(s.year),
            balance.overrun,
            suspended=False,
        )
    for each in s.contracts:
        balance = s.snapshot.balance(each)
        yield HoursAllowance(
            "contract",
            each.label,
            each.starts,
            each.end,
            each.included,
            balance.used,
            s.snapshot.left(each),
            balance.overrun,
            suspended=not s.editor,
        )


def _days(s: Situation) -> Iterator[date]:
    """The days on which the passing of time may change the answer.

    A year that stands ends within twelve months, and its end changes the answer; so no anniversary
    further away can be the first change.
    """
    yield s.on + timedelta(days=1)  # R12: a year that began on the day did so yesterday
    for licence in s.customer.licences:
        for bought in licence.purchases():
            yield bought
            yield term_end(bought)
        for holding in licence.holdings:
            yield holding.start
            if holding.end is not None:
                yield holding.end
    for anchor in years.anchors(s.customer):
        if s.on >= anchor.day:
            yield anchor.anniversary(anchor.latest(s.on) + 1)
    for contract in s.customer.contracts:
        yield from (contract.starts, contract.ends)
        if contract.cancelled is not None:
            yield contract.cancelled
    for pack in s.customer.packs:
        yield from (pack.purchased, pack.ends)
    for ticket, moment in s.snapshot.tickets.items():
        yield moment.ends
        if ticket.cancelled is not None:
            yield ticket.cancelled
