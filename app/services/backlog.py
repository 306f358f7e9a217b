"""The backlog: open cases by state, channel, priority, technician and age, and the oldest."""

from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple, get_args

from app.policy.cases import OPEN
from app.policy.civil import Closures
from app.policy.document import Channel
from app.policy.working_time import working_time
from app.services.cases import Priority
from app.services.unit_of_work import UnitOfWork
from app.store import backlog as store
from app.store import closures
from app.store.backlog import AGES, Count, OldCase

_MINUTE = timedelta(minutes=1)
_BANDS = [f"{start}-{end - 1}" for start, end in pairwise((0, *AGES))] + [f"{AGES[-1]}-"]
BANDS = tuple(_BANDS)
"""The bands of age as texts: the first and last working minute of each."""
_VALUES: dict[str, tuple[str, ...]] = {
    "state": OPEN,
    "channel": get_args(Channel),
    "priority": get_args(Priority),
    "age": BANDS,
}


class Aged(NamedTuple):
    """An open case, with its age in working minutes: the time for which it has run (R42)."""

    case: OldCase
    age_minutes: int | None


class Backlog(NamedTuple):
    open: int
    unanswered: int
    counts: list[Count]
    """By dimension; every value of those that have few, and the technicians with most cases."""
    oldest: list[Aged]


async def backlog(work: UnitOfWork) -> Backlog:
    """The open cases of all customers, or of a bound token's own (R38)."""
    own = work.caller.customer_id
    kept = await closures.every(work.connection)
    times = {
        desk: working_time(work.policies, desk, kept.get(desk, ()))
        for desk in sorted(work.policies.desk_ids)
    }
    bands = {
        desk: [time.back(work.now, age * _MINUTE) for age in AGES] for desk, time in times.items()
    }
    found = await store.counts(work.connection, own, bands)
    by_value = {(one.dimension, _value(one)): one for one in found}
    everything = by_value.get(("all", None), Count("all", None, 0, 0))
    counts = []
    for dimension, values in _VALUES.items():
        if dimension == "age":
            counts += _technicians(found)
        counts += [
            Count(dimension, value, one.cases, one.unanswered)
            if (one := by_value.get((dimension, value)))
            else Count(dimension, value, 0, 0)
            for value in values
        ]
    counts += [one for one in found if one.dimension == "age" and one.value is None]
    oldest = [_aged(work, kept, one) for one in await store.oldest(work.connection, own)]
    return Backlog(everything.cases, everything.unanswered, counts, oldest)


def _value(one: Count) -> str | None:
    if one.dimension == "age" and one.value is not None:
        return BANDS[int(one.value)]
    return one.value


def _technicians(found: list[Count]) -> list[Count]:
    """By name, those without one last."""
    of_somebody = [one for one in found if one.dimension == "technician"]
    return sorted(of_somebody, key=lambda one: (one.value is None, one.value or ""))


def _aged(work: UnitOfWork, kept: Closures, one: OldCase) -> Aged:
    if one.help_desk is None or one.aged_from is None:
        return Aged(one, one.age_minutes)
    time = working_time(work.policies, one.help_desk, kept.get(one.help_desk, ()))
    return Aged(one, time.between(one.aged_from, work.now) // _MINUTE)
