"""How fast cases are answered and resolved (R42), measured by the process that publishes the feed.

It follows the feed and the clock, as `standings` does. Each case whose events, desk or closures
changed is measured again from its own events; what is stored is a projection of them. Time alone
brings `case.response_missed`, and the first response `case.responded`: each once for a case, also
if what it rests on is taken back later.
"""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from operator import itemgetter
from time import monotonic
from typing import Any, NamedTuple, cast
from uuid import UUID

from app.policy.cases import State
from app.policy.civil import Closures, civil_date
from app.policy.document import Policies, ResponseTarget
from app.policy.responses import History, Measured, measure, target_for
from app.policy.working_time import working_time
from app.services import feed
from app.services.feed_events import CaseRespondedData, CaseResponseMissedData, FeedType
from app.store import closures
from app.store import feed as feed_store
from app.store import responses as store
from app.store.database import Connection
from app.store.event_types import on_the_wire
from app.store.responses import Facts, Row

AT_ONCE = 200
"""Cases of one turn: some hundredths of a second of work."""
_BLOCK = 2_000
_WITHOUT_A_PAUSE = 0.01
_OF_CASES = frozenset(
    {
        FeedType.CASE_OPENED,
        FeedType.CASE_ASSIGNED,
        FeedType.CASE_STATE_CHANGED,
        FeedType.CASE_CHANGED,
        FeedType.CASE_RECLASSIFIED,
        FeedType.CASE_COMMENTED,
        FeedType.CASE_CLOSED,
        FeedType.CASE_REOPENED,
        FeedType.CASE_CANCELLED,
        FeedType.CASE_MOVED,
        FeedType.TIME_RECORDED,
        FeedType.TIME_REVERSED,
    }
)
# The country and the desk of a customer, which choose the hours (R35).
_OF_CUSTOMERS = frozenset({FeedType.CUSTOMER_UPDATED, FeedType.CUSTOMER_MERGED})
_FOLLOWED = sorted(_OF_CASES | _OF_CUSTOMERS | {FeedType.HELP_DESK_CLOSURE_CHANGED})


async def follow(connection: Connection, policies: Policies, now: datetime) -> bool:
    """Measure the next cases: True if more are waiting.

    The caller holds the feed's lock. Events may include some that are not published yet, so what
    is unpublished is published before what follows from it. Raises UnknownEvent.
    """
    before = await store.state(connection)
    chosen = await _choose(connection, policies, before, now)
    found = await store.facts(connection, chosen.ids)
    if await feed.publish(connection, now):
        # A whole block; the cause may be in the next one.
        return True
    kept = await closures.every(connection)
    rows: list[Row] = []
    told: list[feed_store.Entry] = []
    since = monotonic()
    for one in found:
        quiet = not one.known and (one.first_event or 0) <= before.last_untold_event
        row, entries = _followed(policies, kept, one, now, quiet=quiet)
        rows.append(row)
        told += entries
        if monotonic() - since > _WITHOUT_A_PAUSE:
            await asyncio.sleep(0)
            since = monotonic()
    await feed_store.publish(connection, now, told)
    await store.write(connection, rows)
    await store.set_state(connection, chosen.state)
    return chosen.more


class _Chosen(NamedTuple):
    ids: list[UUID]
    """Cases to look at."""
    state: store.State
    """That of after they were."""
    more: bool
    """Whether the feed or the clock has more."""


async def _choose(
    connection: Connection, policies: Policies, state: store.State, now: datetime
) -> _Chosen:
    if state.policies != policies.fingerprint:
        await store.make_open_cases_stale(connection)
        state = state._replace(policies=policies.fingerprint)
    if state.followed < state.pruned_through:
        # Entries that were deleted before they were followed are made up for by a walk.
        state = state._replace(walking=True, walked_through=None)
    ids: dict[UUID, None] = {}
    customers: dict[UUID, None] = {}
    entries, more = await store.entries(connection, state.followed, _FOLLOWED, _BLOCK)
    followed = state.position
    if more:
        followed = entries[-1].position
    for entry in entries:
        if entry.type in _OF_CASES and entry.case_id is not None:
            ids[entry.case_id] = None
        elif entry.type in _OF_CUSTOMERS and entry.customer_id is not None:
            customers[entry.customer_id] = None
        elif entry.data is not None:
            await _closure_changed(connection, policies, entry.data)
        if len(ids) == AT_ONCE:
            followed, more = entry.position, True
            break
    if customers:
        await store.make_customers_stale(connection, list(customers))
    state = state._replace(followed=followed)
    if (room := AT_ONCE - len(ids)) and not more:
        late = await store.overdue(connection, now, room)
        ids |= dict.fromkeys(late)
        more = len(late) == room
    if (room := AT_ONCE - len(ids)) and not more:
        stale = await store.stale(connection, room)
        ids |= dict.fromkeys(stale)
        more = len(stale) == room
    if (room := AT_ONCE - len(ids)) and not more and state.walking:
        walked = await store.walk(connection, state.walked_through, room)
        ids |= dict.fromkeys(walked)
        if len(walked) < room:
            state = state._replace(walking=False, walked_through=None)
        else:
            state = state._replace(walked_through=walked[-1])
    return _Chosen(list(ids), state, more)


async def _closure_changed(
    connection: Connection, policies: Policies, data: dict[str, Any]
) -> None:
    starts_at, ends_at = (datetime.fromisoformat(data[name]) for name in ("starts_at", "ends_at"))
    from_day = civil_date(starts_at, policies.zone)
    await store.make_desk_stale(connection, data["help_desk"], from_day, ends_at)


def _followed(
    policies: Policies, kept: Closures, facts: Facts, now: datetime, *, quiet: bool
) -> tuple[Row, list[feed_store.Entry]]:
    """A case's new row, and what the feed tells of how it came about."""
    today = civil_date(now, policies.zone)
    desk = policies.in_force(today).desk_for(facts.country, facts.help_desk).id
    time = working_time(policies, desk, kept.get(desk, ()))
    target = target_for(policies, facts.opened_on, facts.priority, facts.priority_support)
    history = _history(facts)
    found = measure(history, time, target)
    responded = facts.response_told or found.responded_at is not None
    # Until when each target is kept, unless somebody was told already that it was not.
    response_due = None if facts.response_missed else found.response_due_at
    resolution_due = None if facts.resolution_missed else found.resolution_due_at
    response_missed = response_due is not None and response_due < now
    resolution_missed = resolution_due is not None and resolution_due < now
    coming = [
        due
        for due, missed in ((response_due, response_missed), (resolution_due, resolution_missed))
        if due is not None and not missed
    ]
    ended = None if facts.state not in ("closed", "cancelled") else history.states[-1][0]
    row = Row(
        facts.id,
        desk,
        None if ended is None else civil_date(ended, policies.zone),
        found.responded_at,
        found.response_minutes,
        None if target is None else target.first_response_minutes,
        found.response_met,
        found.resolution_minutes,
        None if target is None else target.resolution_minutes,
        found.resolution_met,
        found.aged_from,
        found.age_minutes,
        facts.commented_at,
        responded,
        facts.response_missed or response_missed,
        facts.resolution_missed or resolution_missed,
        min(coming, default=None),
    )
    entries: list[feed_store.Entry] = []
    if not (quiet or facts.moved):
        told = list(_missed(facts, row, found, target))
        if responded and not facts.response_told:
            told.append(_responded(facts, found, target))
        told.sort(key=itemgetter(1))
        entries = [_entry(facts, *one) for one in told]
    return row, entries


def _history(facts: Facts) -> History:
    states: list[tuple[datetime, State]] = []
    for instant, state, before in facts.states:
        for step in before or [{"at": instant, "state": state}]:
            at = datetime.fromisoformat(step["at"])
            # The clocks of two servers may differ.
            at = max(at, states[-1][0]) if states else facts.opened_at
            states.append((at, cast("State", step["state"])))
    if not states:
        states.append((facts.opened_at, cast("State", facts.state)))
    return History(states, facts.responded_at)


_Told = tuple[FeedType, datetime, Any]


def _responded(facts: Facts, found: Measured, target: ResponseTarget | None) -> _Told:
    at = found.responded_at or facts.opened_at
    data: CaseRespondedData = {
        "number": facts.number,
        "state": facts.state,
        "paid_by": facts.paid_by,
        "responded_at": on_the_wire(at),
        "response_minutes": found.response_minutes or 0,
        "target_minutes": None if target is None else target.first_response_minutes,
        "met": found.response_met,
    }
    return FeedType.CASE_RESPONDED, at, data


def _missed(
    facts: Facts, row: Row, found: Measured, target: ResponseTarget | None
) -> Iterator[_Told]:
    if target is None:
        return
    newly = (
        (
            "first_response",
            row.response_missed and not facts.response_missed,
            target.first_response_minutes,
            found.response_due_at,
        ),
        (
            "resolution",
            row.resolution_missed and not facts.resolution_missed,
            target.resolution_minutes,
            found.resolution_due_at,
        ),
    )
    for name, missed, minutes, due_at in newly:
        if missed and minutes is not None and due_at is not None:
            data: CaseResponseMissedData = {
                "number": facts.number,
                "state": facts.state,
                "paid_by": facts.paid_by,
                "target": cast("Any", name),
                "target_minutes": minutes,
                "due_at": on_the_wire(due_at),
            }
            yield FeedType.CASE_RESPONSE_MISSED, due_at, data


def _entry(facts: Facts, type_: FeedType, at: datetime, data: Any) -> feed_store.Entry:
    return feed_store.Entry(type_, facts.customer_id, facts.id, facts.id, at, data)
