"""Usage: what a customer was granted, used and has left, with every movement (R37, R38)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import accumulate
from operator import add
from typing import NamedTuple

from app.errors import invalid
from app.policy.civil import civil_date
from app.policy.document import Policies
from app.policy.facts import Facts
from app.policy.usage import Allowance, every_allowance
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find
from app.store import usage
from app.store.facts import Known, computed
from app.store.tables import customers
from app.store.usage import Movement, Opening, Totals

MOST_MOVEMENTS = 10_000
"""The movements of one statement; more are asked for in shorter periods."""


class Usage(NamedTuple):
    """A customer's allowances and totals at an instant, whose civil date is `on`."""

    customer: Known
    at: datetime
    on: date
    allowances: list[Allowance]
    totals: Totals


class Balance(NamedTuple):
    """Minutes used and overrun, and tickets held, consumed and cancelled."""

    used_minutes: int
    overrun_minutes: int
    held: int
    consumed: int
    cancelled: int

    @classmethod
    def of(cls, entry: Opening | Movement) -> "Balance":
        return cls(*(getattr(entry, name) for name in cls._fields))

    def after(self, movement: Movement) -> "Balance":
        """The balance with this movement added."""
        return Balance(*map(add, self, Balance.of(movement)))


class Account(NamedTuple):
    """What happened to one allowance within a period: opening + movements = closing."""

    allowance: Allowance | None
    """As it stands at the end; None for the overrun of cases that nothing pays for."""
    opening: Balance
    movements: list[tuple[Movement, Balance]]
    """Each with the balance after it."""
    closing: Balance


class Statement(NamedTuple):
    """Every movement that counts within the civil dates [start, end)."""

    customer: Known
    start: date
    end: date
    accounts: list[Account]
    characters: int
    """The size of what it was made from, for `computed`."""


async def of_customer(work: UnitOfWork, customer: str, at: datetime | None) -> Usage:
    """A customer's usage now, or at an instant (R13, R37). Raises NotFound."""
    row = await find(work, customers, customer)
    at = at or work.now
    on = civil_date(at, work.policies.zone)
    past = (at, on) if at < work.now else None
    known, totals = await usage.usage(work.connection, row.id, past)
    allowances = [
        allowance
        for allowance in await computed(len(known.document), _allowances, work.policies, known, on)
        # A contract may be signed before its first day; nothing else is known that early, unless
        # minutes lie on it all the same (R37, R40).
        if allowance.begun or allowance.kind == "contract" or allowance.moved
    ]
    return Usage(known, at, on, allowances, totals)


async def statement(work: UnitOfWork, customer: str, start: date, end: date) -> Statement:
    """A customer's statement for the civil dates [start, end) (R38).

    Raises NotFound, and InvalidInput for more than `MOST_MOVEMENTS`.
    """
    row = await find(work, customers, customer)
    known, entries = await usage.statement(work.connection, row.id, start, end, MOST_MOVEMENTS + 1)
    characters = len(known.document) + len(entries)
    accounts = await computed(
        characters, _accounts_of, work.policies, known, entries, end - timedelta(days=1)
    )
    if sum(len(account.movements) for account in accounts) > MOST_MOVEMENTS:
        raise invalid("query/to", "too_many", limit=MOST_MOVEMENTS)
    return Statement(known, start, end, accounts, characters)


def _allowances(policies: Policies, customer: Known, on: date) -> list[Allowance]:
    return list(every_allowance(policies, customer.facts(), on))


def _accounts_of(
    policies: Policies, customer: Known, entries: str, last_day: date
) -> list[Account]:
    openings, movements = usage.read_entries(entries)
    allowances = _then(policies, customer.facts(), [*openings, *movements], last_day)
    return _accounts(allowances, openings, movements)


def allowances_at(
    policies: Policies, facts: Facts, openings: Sequence[Opening], last_day: date
) -> list[Allowance]:
    """Each allowance as the statement up to the end of a day shows it: `openings` is what counts
    until then."""
    accounts = _accounts(_then(policies, facts, openings, last_day), openings, ())
    return [one.allowance for one in accounts if one.allowance is not None]


def _then(
    policies: Policies, facts: Facts, entries: Iterable[Opening | Movement], last_day: date
) -> list[Allowance]:
    cancelled = Counter[str | None]()
    for entry in entries:
        cancelled[entry.allowance] += entry.cancelled
    # A ticket cancelled after the period was not cancelled in it (R45).
    packs = tuple(pack._replace(cancelled=cancelled[pack.id]) for pack in facts.packs)
    return every_allowance(policies, facts._replace(packs=packs), last_day)


def _accounts(
    allowances: Iterable[Allowance], openings: Iterable[Opening], movements: Iterable[Movement]
) -> list[Account]:
    opened = {opening.allowance: Balance.of(opening) for opening in openings}
    moved: dict[str | None, list[Movement]] = {}
    for movement in movements:
        moved.setdefault(movement.allowance, []).append(movement)
    used = opened.keys() | moved.keys()
    accounts = []
    for one in allowances:
        if one.begun or one.key in used:
            account = _account(one, opened.get(one.key), moved.get(one.key, ()))
            closing = account.closing
            consumed = closing.consumed if one.kind == "ticket_pack" else closing.used_minutes
            then = one._replace(
                used=consumed,
                held=closing.held,
                overrun=closing.overrun_minutes,
                cancelled=closing.cancelled,
            )
            accounts.append(account._replace(allowance=then))
    if None in used:
        accounts.append(_account(None, opened.get(None), moved.get(None, ())))
    return accounts


def _account(
    allowance: Allowance | None, opening: Balance | None, movements: Sequence[Movement]
) -> Account:
    opening = opening or Balance(0, 0, 0, 0, 0)
    balances = list(accumulate(movements, Balance.after, initial=opening))
    moved = list(zip(movements, balances[1:], strict=True))
    return Account(allowance, opening, moved, balances[-1])
