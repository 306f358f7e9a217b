"""Allowances about to end, nearly spent, spent, or overrun: whom to call before it is too late."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple, get_args

from app.errors import NotFound, invalid
from app.policy.allowance_standings import AllowanceStanding
from app.policy.civil import civil_date
from app.policy.document import Policies
from app.policy.facts import Facts, Step
from app.policy.notices import Announced
from app.policy.remedies import Why, reasons, remedy
from app.policy.usage import AllowanceKind
from app.services.allowance_notices import announced
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find
from app.store import expiring as store
from app.store.expiring import FIRST, LEAST_PERCENT, Found, Place, Wanted
from app.store.facts import computed, parse
from app.store.tables import customers

__all__ = ["LEAST_PERCENT", "Asked", "Expiring", "Page", "Place", "page", "whole"]

KINDS: tuple[AllowanceKind, ...] = get_args(AllowanceKind)
MOST_ROWS = 10_000
"""The rows of a list that is not read page by page."""
_AT_ONCE = 200
"""Allowances whose customers' facts are read at once."""


class Asked(NamedTuple):
    within_days: int
    used_percent: int
    """`LEAST_PERCENT` or more: the share from which an allowance is nearly spent."""
    kind: AllowanceKind | None
    renewed: bool | None
    customer: str | None
    """Its id or code."""


class Expiring(NamedTuple):
    """An allowance of the list."""

    customer: Found
    """Whose it is."""
    allowance: AllowanceStanding
    days_left: int
    left: int
    why: tuple[Why, ...]
    step: Step | None
    announced: Announced

    @property
    def place(self) -> Place:
        return Place(self.allowance.stops_on, self.customer.customer, self.allowance.key)


class Page(NamedTuple):
    on: date
    items: list[Expiring]
    next: Place | None
    """After which row the next page begins."""


async def page(work: UnitOfWork, asked: Asked, limit: int, after: Place | None) -> Page:
    """The allowances that end first, those that have ended with overrun before them.

    A bound token's are its customer's. Nothing for a customer that does not exist (R38).
    """
    today = civil_date(work.now, work.policies.zone)
    own = work.caller.customer_id
    if asked.customer is not None:
        try:
            own = (await find(work, customers, asked.customer)).id
        except NotFound:
            return Page(today, [], None)
    wanted = Wanted(
        today,
        today + timedelta(days=asked.within_days),
        asked.used_percent,
        KINDS if asked.kind is None else (asked.kind,),
        (False, True) if asked.renewed is None else (asked.renewed,),
        own,
    )
    found = await store.page(work.connection, wanted, after or FIRST, limit + 1)
    items: list[Expiring] = []
    for start in range(0, min(len(found), limit), _AT_ONCE):
        some = found[start : min(start + _AT_ONCE, limit)]
        documents = await store.facts(work.connection, list({one.customer for one in some}))
        size = sum(map(len, documents.values()))
        known = {id_: parse(document) for id_, document in documents.items()}
        items += await computed(size, _items, work.policies, some, known, asked, today)
    return Page(today, items, items[-1].place if len(found) > limit else None)


async def whole(work: UnitOfWork, asked: Asked) -> Page:
    """The whole list as one page. Raises InvalidInput for more than `MOST_ROWS`."""
    found = await page(work, asked, MOST_ROWS, None)
    if found.next is not None:
        raise invalid("query/format", "too_many", limit=MOST_ROWS)
    return found


def _items(
    policies: Policies,
    found: Sequence[Found],
    facts: dict[object, Facts],
    asked: Asked,
    today: date,
) -> list[Expiring]:
    items = []
    for one in found:
        row = one.read()
        allowance = row.standing()
        why = reasons(allowance, today, asked.within_days, asked.used_percent)
        step = remedy(policies, facts[one.customer], allowance, why, today)
        days_left = max((allowance.stops_on - today).days, 0)
        left = allowance.left_on(today)
        items.append(Expiring(one, allowance, days_left, left, why, step, announced(row)))
    return items
