"""What each customer may use, kept up to date by the one process that publishes the feed.

It follows the feed and the clock. What a customer gained or lost is published as
`entitlements.changed`, together with the events that belong to no single write, and with the
notices of its allowances. Changes that were undone before anybody looked are not told.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import date, datetime
from time import monotonic
from typing import Any, NamedTuple, cast, get_args
from uuid import UUID

import orjson

from app.errors import invalid, out_of_range
from app.policy.allowance_standings import AllowanceStanding, allowance_standings
from app.policy.civil import civil_date, start_of_day
from app.policy.decide import decide
from app.policy.document import COLUMNS, Column, Policies, Service
from app.policy.facts import Facts
from app.policy.standing_changes import Happened, Step, Stood, steps, stood
from app.services import feed
from app.services.allowance_notices import Looked, look, looks_at
from app.services.feed_events import (
    EntitlementsChangedData,
    FeedType,
    StandingData,
)
from app.services.unit_of_work import UnitOfWork
from app.store import allowance_standings as allowance_store
from app.store import feed as feed_store
from app.store import standings as store
from app.store.allowance_standings import AllowanceRow, Owned
from app.store.database import Connection
from app.store.event_types import on_the_wire
from app.store.facts import computed, parse
from app.store.reconcile import Difference
from app.store.standings import Candidate, Kept, Row

SERVICES: tuple[Service, ...] = get_args(Service)
AT_ONCE = 400
"""Customers of one turn: about a fifth of a second of work."""
_BLOCK = 2_000
_WITHOUT_A_PAUSE = 0.01

_UNRELATED = frozenset(
    {
        FeedType.CUSTOMER_UPDATED,
        FeedType.CUSTOMER_ARCHIVED,
        FeedType.CUSTOMER_ERASED,
        FeedType.CONTACT_CREATED,
        FeedType.CONTACT_UPDATED,
        FeedType.CONTACT_DELETED,
        FeedType.CASE_REFUSED,
        FeedType.CASE_ASSIGNED,
        FeedType.CASE_COMMENTED,
        FeedType.CASE_RESPONDED,
        FeedType.CASE_RESPONSE_MISSED,
        FeedType.HELP_DESK_CLOSURE_CHANGED,
        FeedType.WEBHOOK_FAILING,
        FeedType.WEBHOOK_DISABLED,
        # What follows from a standing.
        FeedType.CONTRACT_SUSPENDED,
        FeedType.CONTRACT_RESUMED,
        FeedType.CONTRACT_EXPIRED,
        FeedType.TICKETS_EXPIRED,
        FeedType.FREE_HOURS_STARTED,
        FeedType.FREE_HOURS_ENDED,
        FeedType.ENTITLEMENTS_CHANGED,
        # What follows from an allowance.
        FeedType.ALLOWANCE_NOTICE,
        FeedType.ALLOWANCE_EXHAUSTED,
        FeedType.ALLOWANCE_OVERRUN,
        FeedType.ALLOWANCE_RECOVERED,
    }
)
UNRELATED = sorted(_UNRELATED)
"""Types that change no answer. One of a later release may, and is followed."""


async def follow(connection: Connection, policies: Policies, now: datetime) -> bool:
    """Bring the next standings up to date: True if more are waiting.

    The caller holds the feed's lock. Facts may include a write that is not published yet, so what
    is unpublished is published before what follows from it. Raises UnknownEvent.
    """
    before = await store.state(connection)
    chosen = await _choose(connection, policies, before, now)
    found = await store.facts(connection, chosen.ids)
    if await feed.publish(connection, now):
        # A whole block; the cause may be in the next one.
        return True
    merged = [one.id for one in found if one.merged]
    kept = await store.kept(connection, [one.id for one in found], before.followed, UNRELATED)
    rows: dict[UUID, Row] = {}
    changed: Owned = []
    gone: list[tuple[UUID, str]] = []
    told: list[feed_store.Entry] = []
    counted: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = Counter()
    since = monotonic()
    for one in found:
        known = kept[one.id]
        if known.row is not None:
            counted[known.row.columns, known.row.services] -= 1
        if one.merged:
            continue
        row, entries, looked = await computed(
            len(one.document), _followed, policies, one, known, now
        )
        rows[one.id] = row
        told += [*entries, *looked.entries]
        changed += looked.changed
        gone += looked.gone
        counted[row.columns, row.services] += 1
        if monotonic() - since > _WITHOUT_A_PAUSE:
            await asyncio.sleep(0)
            since = monotonic()
    await feed_store.publish(connection, now, told)
    await store.write(connection, before.position, rows, merged, counted)
    await allowance_store.write(connection, changed, gone)
    await store.set_state(connection, chosen.state)
    return chosen.more


class Counts(NamedTuple):
    """How many customers stand in each column and may use each service."""

    customers: int
    columns: dict[Column, int]
    services: dict[Service, int]


async def counts(work: UnitOfWork, at: datetime | None) -> Counts:
    """The figures of all customers, archived ones included, or of a bound token's own.

    Those of a past instant follow from what has changed since. Records that were merged count as
    their survivor alone. Raises InvalidInput for an instant in the future, and for one before the
    oldest event that is kept.
    """
    connection, own = work.connection, work.caller.customer_id
    found = await store.counts(connection, own)
    if at is not None:
        found += await _undone(work, at)
    columns: dict[Column, int] = dict.fromkeys(COLUMNS, 0)
    services: dict[Service, int] = dict.fromkeys(SERVICES, 0)
    total = 0
    for stands_in, may_use, number in found:
        total += number
        for column in stands_in:
            columns[cast("Column", column)] += number
        for service in may_use:
            services[cast("Service", service)] += number
    return Counts(total, columns, services)


async def _undone(work: UnitOfWork, at: datetime) -> list[tuple[list[str], list[str], int]]:
    """What to add to the figures of now for those of a past instant."""
    if at > work.now:
        raise invalid("query/at", "in_future")
    oldest = await store.oldest_position(work.connection)
    if oldest is None or feed_store.instant_position(at) < oldest:
        kept_since = work.now if oldest is None else feed_store.position_instant(oldest)
        raise out_of_range("query/at", kept_since, work.now)
    own, policies = work.caller.customer_id, work.policies
    found = await store.changed_since(work.connection, at, own)
    for day, number in await store.created_since(work.connection, at, str(policies.zone), own):
        # The chain of a new customer begins with the standing of one without any facts.
        first = stood(decide(policies, Facts(), day))
        found.append(([*first.columns], [*first.services], -number))
    return found


class _Chosen(NamedTuple):
    ids: list[UUID]
    """Customers to look at."""
    state: store.State
    """That of after they were."""
    more: bool
    """Whether the feed or the clock has more."""


async def _choose(
    connection: Connection, policies: Policies, state: store.State, now: datetime
) -> _Chosen:
    # Entries that were deleted before they were followed are made up for by a walk.
    if state.policies != policies.fingerprint or state.followed < state.pruned_through:
        state = state._replace(walking=True, walked_through=None, policies=policies.fingerprint)
    ids: dict[UUID, None] = {}
    entries, more = await store.entries(connection, state.followed, UNRELATED, _BLOCK, 2 * AT_ONCE)
    followed = entries[-1][0] if more else state.position
    for position, customer in entries:
        if customer is not None:
            ids[customer] = None
        if len(ids) == AT_ONCE:
            followed, more = position, True
            break
    state = state._replace(followed=followed)
    if (room := AT_ONCE - len(ids)) and not more:
        late = await store.passed(connection, now, room)
        ids |= dict.fromkeys(late)
        more = len(late) == room
    if (room := AT_ONCE - len(ids)) and not more and state.walking:
        walked = await store.walk(connection, state.walked_through, room)
        ids |= dict.fromkeys(walked)
        if len(walked) < room:
            state = state._replace(walking=False, walked_through=None)
        else:
            state = state._replace(walked_through=walked[-1])
    return _Chosen(list(ids), state, more)


def _followed(
    policies: Policies, candidate: Candidate, known: Kept, now: datetime
) -> tuple[Row, list[feed_store.Entry], Looked]:
    """A customer's new row, what the feed tells of how it came about, and its allowances."""
    facts = parse(candidate.document)
    zone = policies.zone
    today = civil_date(now, zone)
    has = allowance_standings(policies, facts, today)
    owned = allowance_store.rows(candidate.allowances)
    looked = look(policies, candidate.id, has, owned, known, now)
    written_on = None if known.first_at is None else civil_date(known.first_at, zone)
    if known.row is not None:
        before, changed_at = _stood(known.row, policies), known.row.changed_at
    elif known.created:
        # The chain of a new customer begins with the standing of one without any facts.
        before = stood(decide(policies, Facts(), min(written_on or today, today)))
        changed_at = known.first_at
    else:
        # It was there before standings were kept.
        row = _row(policies, stood(decide(policies, facts, today)), None, looked.looks_at)
        return row, [], looked
    entries: list[feed_store.Entry] = []
    after = before
    for step in steps(policies, facts, before, written_on, today):
        at = _instant(step, known, policies, now)
        happened = list(_told(step, policies, at))
        if happened and happened[-1][0] is FeedType.ENTITLEMENTS_CHANGED:
            changed_at = at
        entries += [
            feed_store.Entry(
                type_, candidate.id, None, UUID(subject) if subject else candidate.id, when, data
            )
            for type_, subject, when, data in happened
        ]
        after = step.after
    row = _row(policies, after._replace(on=today), changed_at, looked.looks_at)
    return row, entries, looked


def _instant(step: Step, known: Kept, policies: Policies, now: datetime) -> datetime:
    """When a step happened: at the start of its day, or when the last write of that day did."""
    starts_at = start_of_day(step.after.on, policies.zone)
    if step.cause == "time":
        return starts_at
    if known.first_at is None or known.last_at is None:
        return now
    same_day = civil_date(known.last_at, policies.zone) == step.after.on
    return max(known.last_at if same_day else known.first_at, starts_at)


_Told = tuple[FeedType, str | None, datetime, Any]


def _told(step: Step, policies: Policies, at: datetime) -> Iterator[_Told]:
    for one in step.happened:
        yield FeedType(one.type), one.subject, _when(one, policies, at), one.data
    before, after = step.before, step.after
    if not before.shows(after):
        data: EntitlementsChangedData = {
            "before": _shown(before, policies),
            "after": _shown(after, policies),
            "gained": [one for one in after.services if one not in before.services],
            "lost": [one for one in before.services if one not in after.services],
            "cause": step.cause,
            "valid_until": _shown(after, policies)["valid_until"],
        }
        yield FeedType.ENTITLEMENTS_CHANGED, None, at, data


def _when(one: Happened, policies: Policies, at: datetime) -> datetime:
    return at if one.on is None else start_of_day(one.on, policies.zone)


def _shown(standing: Stood, policies: Policies) -> StandingData:
    until = _until(standing, policies)
    return {
        "columns": list(standing.columns),
        "services": list(standing.services),
        "valid_until": None if until is None else on_the_wire(until),
    }


def _until(standing: Stood, policies: Policies) -> datetime | None:
    day = standing.valid_until
    return None if day is None else start_of_day(day, policies.zone)


def _row(
    policies: Policies,
    standing: Stood,
    changed_at: datetime | None,
    looks_at: datetime | None,
) -> Row:
    detail = {
        "contracts": standing.contracts,
        "year": standing.year,
        "packs": {
            pack: {day.isoformat(): unused for day, unused in ends.items()}
            for pack, ends in standing.packs.items()
        },
    }
    return Row(
        standing.on,
        standing.columns,
        standing.services,
        _until(standing, policies),
        changed_at,
        detail,
        looks_at,
    )


def _stood(row: Row, policies: Policies) -> Stood:
    detail, until = row.detail, row.valid_until
    day = date.fromisoformat
    year = detail["year"]
    columns: Any = row.columns
    services: Any = row.services
    return Stood(
        row.evaluated_on,
        columns,
        services,
        None if until is None else civil_date(until, policies.zone),
        detail["contracts"],
        None if year is None else (day(year[0]), day(year[1])),
        {
            pack: {day(ends_on): unused for ends_on, unused in ends.items()}
            for pack, ends in detail["packs"].items()
        },
    )


async def differences(
    connection: Connection, policies: Policies, now: datetime
) -> AsyncIterator[Difference | None]:
    """For each standing that has to be right what differs from the rules, or None.

    Nothing where a new policy is on its way to them. The connection reads one snapshot.
    """
    state = await store.state(connection)
    if state.walking or state.policies != policies.fingerprint:
        return
    today = civil_date(now, policies.zone)
    async for one in store.settled(connection, now, state.followed, UNRELATED):
        facts = parse(one.document)
        allowances = allowance_standings(policies, facts, today)
        standing = stood(decide(policies, facts, today))
        right = _row(policies, standing, None, looks_at(policies, allowances, today))
        if one.row is None:
            yield Difference("standings", one.code, "standing", "columns", None, _text(right[1]))
            continue
        fields = [name for name in _COMPARED if getattr(one.row, name) != _in_json(right, name)]
        for name in fields:
            kept, ruled = getattr(one.row, name), _in_json(right, name)
            yield Difference("standings", one.code, "standing", name, _text(kept), _text(ruled))
        wrong = list(_wrong_allowances(one.allowances, allowances))
        for subject, name, kept, ruled in wrong:
            yield Difference("standings", one.code, subject, name, kept, ruled)
        if not fields and not wrong:
            yield None
    for columns, kept, counted in await store.wrong_counts(connection):
        yield Difference("standings", None, columns, "customers", str(kept), str(counted))


def _wrong_allowances(
    owned: Owned, standings: Iterable[AllowanceStanding]
) -> Iterator[tuple[str, str, str | None, str | None]]:
    """Subject, field, stored and right value of what differs."""
    kept = {row.key: row for _, row in owned}
    ruled = {one.key: AllowanceRow.of(one, None) for one in standings}
    for key in kept.keys() | ruled.keys():
        one, other = kept.get(key), ruled.get(key)
        if one is None or other is None:
            there = [None if row is None else row.kind for row in (one, other)]
            yield f"allowance {key}", "kind", there[0], there[1]
            continue
        for name in _OF_ALLOWANCE:
            if getattr(one, name) != getattr(other, name):
                values = str(getattr(one, name)), str(getattr(other, name))
                yield f"allowance {one.number or key}", name, *values


# What was announced follows from what was there before.
_OF_ALLOWANCE = [name for name in AllowanceRow._fields if name != "notices"]
_COMPARED = ("columns", "services", "valid_until", "looks_at", "detail")


def _in_json(row: Row, name: str) -> Any:
    """A field of a row as it is after it was stored."""
    value = getattr(row, name)
    return orjson.loads(orjson.dumps(value)) if name == "detail" else value


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
