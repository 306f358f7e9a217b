"""Moving the service years of a licence that was corrected or never was (R14, R40)."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text

from app.policy.allocate import Drawn, Source, charged, draw, kind_of
from app.policy.corrections import Moves, moved_years, rebound
from app.policy.facts import CasePaidBy, Facts, Licence
from app.policy.years import begins, covers, year_from
from app.store import entries as standing
from app.store.entries import Work
from app.store.ledger import Ledger, overrun_again, reversal

_YEARS = text(
    "SELECT id, starts_on, superseded_by FROM service_years WHERE customer_id = :customer"
)
_CASES = text("""
    SELECT id, number, channel, opened_on, state, category, paid_by, allowance_id,
        first_allowance_id
    FROM cases WHERE customer_id = :customer
        AND (allowance_id = ANY(:years) OR first_allowance_id = ANY(:years))
    ORDER BY opened_at, id""")
_REBIND = text("""
    UPDATE cases SET
        paid_by = CASE WHEN :bound THEN :paid_by ELSE paid_by END,
        allowance_id = CASE WHEN :bound THEN CAST(:allowance AS uuid) ELSE allowance_id END,
        first_paid_by = CASE WHEN :first THEN :paid_by ELSE first_paid_by END,
        first_allowance_id = CASE WHEN :first THEN CAST(:allowance AS uuid)
            ELSE first_allowance_id END
    WHERE id = :id""")

_FOLLOW = text("""
    UPDATE cases k SET
        allowance_id = coalesce(b.superseded_by, k.allowance_id),
        first_allowance_id = coalesce(f.superseded_by, k.first_allowance_id)
    FROM cases o
    LEFT JOIN service_years b ON b.id = o.allowance_id AND b.id = ANY(:years)
    LEFT JOIN service_years f ON f.id = o.first_allowance_id AND f.id = ANY(:years)
    WHERE o.id = k.id
        AND (o.allowance_id = ANY(:years) OR o.first_allowance_id = ANY(:years))""")
# A case that is still bound as the undoing of its year left it, or to the year that has taken the
# place of that one since (R49).
_BOUND = text("""
    WITH RECURSIVE left_to (id) AS (
        SELECT CAST(:allowance_id AS uuid)
        UNION ALL
        SELECT y.superseded_by FROM left_to JOIN service_years y USING (id)
        WHERE y.superseded_by IS NOT NULL)
    SELECT number, state, bound, first FROM (
        SELECT number, state,
            :bound AND category <> 'bug' AND paid_by = :paid_by AND EXISTS (
                SELECT FROM left_to WHERE id IS NOT DISTINCT FROM allowance_id) AS bound,
            :first AND first_paid_by = :paid_by AND EXISTS (
                SELECT FROM left_to WHERE id IS NOT DISTINCT FROM first_allowance_id) AS first
        FROM cases WHERE id = :case_id) k
    WHERE bound OR first""")
_WORK = text("""
    SELECT t.id, t.case_id, t.worked_on, t.worked_at, t.minutes, k.channel
    FROM time_entries t JOIN cases k ON k.id = t.case_id
    WHERE t.case_id = ANY(:cases) AND t.reversed_at IS NULL
    ORDER BY t.worked_at, t.recorded_at, t.id""")


class Rebound(NamedTuple):
    """A case that a correction bound to another allowance."""

    id: UUID
    number: str
    state: str
    paid_by_before: CasePaidBy
    paid_by: CasePaidBy
    year_before: date | None
    year: date | None
    """The first day of the service year to which it was, and is now, bound."""


class Undone(NamedTuple):
    """A case whose service year was undone, and what it was bound to instead (R40, R46)."""

    case_id: UUID
    year: date
    paid_by: CasePaidBy
    allowance_id: UUID | None
    bound: bool
    """Whether the year paid for it."""
    first: bool
    """Whether the year was its first allowance, to which it returns if it proves no bug (R22)."""


class Followed(NamedTuple):
    """What became of cases because licences changed."""

    rebound: list[Rebound]
    undone: list[Undone]


async def follow(ledger: Ledger, was: Iterable[Licence], changed: Sequence[UUID]) -> Followed:
    """Let charges, overrun and bound cases follow licences that have just been changed.

    `was` are the customer's licences as they were before. Returns the cases that are bound to
    something else now. Afterwards overrun is covered wherever minutes are left (R22).
    """
    followed = Followed([], [])
    old = {licence.id: licence for licence in was}
    ids = [str(id_) for id_ in changed]
    for done, id_ in enumerate(ids):
        # One licence after another: those that follow are still as they were.
        facts = await ledger.facts()
        before, after = (
            facts._replace(
                licences=tuple(
                    old[licence.id] if licence.id in ids[first:] else licence
                    for licence in facts.licences
                )
            )
            for first in (done, done + 1)
        )
        moves = moved_years(ledger.policies, before, after, id_)
        if moves:
            await _Moving(ledger, after, moves, followed).run(await _recorded(ledger, moves))
    await ledger.settle()
    return followed


async def give_cases_back(ledger: Ledger, undone: Iterable[Undone]) -> list[Rebound]:
    """Bind cases again to service years that were undone and are there again (R14, R46).

    Those that are still bound as the undoing left them; their time is charged again as if the year
    had paid from the start.
    """
    facts = await ledger.facts()
    cases: list[Rebound] = []
    sources: dict[UUID, Source] = {}
    for one in undone:
        if not begins(ledger.policies, facts, one.year):
            continue
        source = Source("free_hours", starts_on=one.year)
        found = await ledger.connection.execute(_BOUND, one._asdict())
        row = found.one_or_none()
        if row is None:
            continue
        values = {
            "id": one.case_id,
            "bound": row.bound,
            "first": row.first,
            "paid_by": "free_hours",
            "allowance": await ledger.allowance_id(facts, source),
        }
        await ledger.connection.execute(_REBIND, values)
        if row.bound:
            sources[one.case_id] = source
            cases.append(
                Rebound(
                    one.case_id, row.number, row.state, one.paid_by, "free_hours", None, one.year
                )
            )
    await _charge_again(ledger, sources)
    return cases


async def join_years(ledger: Ledger, superseded: Sequence[UUID]) -> None:
    """Let what stands on superseded service years stand on those that took their place (R14).

    Their 300 minutes are granted once: charges keep their place, those worked first before the
    others, while the year has minutes left; the rest is charged again by R20 and R21. Their cases
    are bound to the year that took their place. Afterwards overrun is covered wherever minutes are
    left (R22).
    """
    if superseded:
        await _Joining(ledger, await ledger.facts()).run(superseded)
    await ledger.settle()


async def _charge_again(ledger: Ledger, sources: dict[UUID, Source]) -> None:
    rows = (await ledger.connection.execute(_WORK, {"cases": list(sources)})).all()
    entries = await ledger.standing(standing.OF_TIME_ENTRIES, entries=[row.id for row in rows])
    await ledger.write(*(reversal(entry) for entry in entries))
    facts = await ledger.facts()
    for row in rows:
        work = Work(row.id, row.worked_on, row.worked_at, row.minutes)
        source = sources[row.case_id]
        facts = await ledger.charge(facts, row.case_id, source, row.channel, [work])
    await ledger.settle()


async def _recorded(ledger: Ledger, moves: Moves) -> list[UUID]:
    """The recorded years that move."""
    rows = await ledger.connection.execute(_YEARS, {"customer": ledger.customer_id})
    return [row.id for row in rows if row.starts_on in moves and row.superseded_by is None]


class _Moving:
    """The steps of one correction: reverse, bind cases anew, charge again."""

    def __init__(self, ledger: Ledger, after: Facts, moves: Moves, followed: Followed) -> None:
        self._ledger = ledger
        self._followed = followed
        self._policies = ledger.policies
        self._moves = moves
        years = {start: year for start, year in after.service_years.items() if start not in moves}
        for target in moves.values():
            if target is not None:
                # An emptied year may be the target of another one that moves.
                years.setdefault(target.starts_on, target)
        self._facts = after._replace(service_years=years)
        self._sources: dict[UUID, Source | None] = {}

    async def run(self, moving: Sequence[UUID]) -> None:
        """Move the recorded years with these ids."""
        ledger = self._ledger
        rows = await ledger.connection.execute(_YEARS, {"customer": ledger.customer_id})
        self._years = {row.id: row.starts_on for row in rows}
        entries = await ledger.standing(standing.OF_ALLOWANCES, allowances=moving)
        await ledger.write(*(reversal(row) for row in entries))
        await self._rebind(moving)
        await self._charge(entries)

    async def _rebind(self, moving: Sequence[UUID]) -> None:
        """Cases of the moved years, in the order of their opening."""
        ledger = self._ledger
        parameters = {"customer": ledger.customer_id, "years": list(moving)}
        for row in (await ledger.connection.execute(_CASES, parameters)).all():
            bound, first = row.allowance_id in moving, row.first_allowance_id in moving
            year = self._years[row.allowance_id if bound else row.first_allowance_id]
            source = rebound(
                self._policies, self._facts, self._moves, year, row.channel, row.opened_on
            )
            allowance_id = await ledger.allowance_id(self._facts, source)
            values = {
                "id": row.id,
                "bound": bound,
                "first": first,
                "paid_by": kind_of(source),
                "allowance": allowance_id,
            }
            await ledger.connection.execute(_REBIND, values)
            if self._moves[year] is None:
                self._followed.undone.append(
                    Undone(row.id, year, kind_of(source), allowance_id, bound, first)
                )
            if bound:
                self._sources[row.id] = source
                self._followed.rebound.append(
                    Rebound(
                        row.id,
                        row.number,
                        row.state,
                        row.paid_by,
                        kind_of(source),
                        year,
                        source and source.starts_on,
                    )
                )

    async def _charge(self, entries: Sequence[Row[Any]]) -> None:
        """What was worked first keeps its place while minutes are left; then R20 and R21.

        A moved year takes its overrun along and covers what it can (R22). The rest of that is
        overrun of the case's own allowance, as always (R21).
        """
        rows: list[dict[str, Any]] = []
        charges = [row for row in entries if row.used_minutes]
        overrun = [row for row in entries if row.overrun_minutes]
        others = [
            (entry, rest)
            for entry in charges
            if (rest := entry.used_minutes - await self._keep(rows, entry, entry.used_minutes))
        ]
        for entry in overrun:
            minutes = entry.overrun_minutes
            if rest := minutes - await self._keep(rows, entry, minutes):
                own = await self._ledger.allowance_id(self._facts, self._source(entry))
                rows.append(overrun_again(entry, own, rest))
        for entry, minutes in others:
            bound, day = self._source(entry), entry.worked_on
            drawn = draw(self._policies, self._facts, bound, entry.channel, day, minutes)
            await self._drawn(rows, entry, minutes, drawn)
        await self._ledger.write(*rows)

    async def _keep(self, rows: list[dict[str, Any]], entry: Row[Any], minutes: int) -> int:
        """Charge minutes to the year that their year became: how many it pays."""
        target = self._moves[self._years[entry.allowance_id]]
        if target is None or not self._pays(target.starts_on, entry):
            return 0
        left = year_from(self._policies, self._facts, target.starts_on).remaining_minutes
        kept = min(left, minutes)
        if kept:
            source = Source("free_hours", starts_on=target.starts_on)
            await self._drawn(rows, entry, kept, Drawn(((source, kept),), 0))
        return kept

    def _pays(self, starts_on: date, entry: Row[Any]) -> bool:
        """Whether the year that begins on a day may pay for what has moved."""
        return covers(self._policies, self._facts, starts_on, entry.worked_on)

    async def _drawn(
        self, rows: list[dict[str, Any]], entry: Row[Any], minutes: int, drawn: Drawn
    ) -> None:
        bound = self._source(entry)
        work = Work(entry.time_entry_id, entry.worked_on, entry.worked_at, minutes)
        rows += await self._ledger.drawn(self._facts, entry.case_id, bound, work, drawn)
        self._facts = charged(self._policies, self._facts, bound, drawn)

    def _source(self, entry: Row[Any]) -> Source | None:
        """What the entry's case is bound to now."""
        if entry.case_id in self._sources:
            return self._sources[entry.case_id]
        if entry.own is None:
            return None
        if entry.paid_by == "free_hours":
            return Source("free_hours", starts_on=self._years[entry.own])
        return Source(entry.paid_by, str(entry.own))


class _Joining(_Moving):
    """The same for years that were superseded when two customers were merged (R49).

    Nothing about a year was wrong: its cases stay bound to it, and its charges keep their place
    even where another Editor has begun a year since, as after any late registration (R14).
    """

    def __init__(self, ledger: Ledger, facts: Facts) -> None:
        super().__init__(ledger, facts, facts.service_years, Followed([], []))

    async def _rebind(self, moving: Sequence[UUID]) -> None:
        await self._ledger.connection.execute(_FOLLOW, {"years": list(moving)})

    def _pays(self, starts_on: date, entry: Row[Any]) -> bool:
        return bool(entry.used_minutes) or super()._pays(starts_on, entry)
