"""Moving the service years of a licence that was corrected or never was (R14, R40)."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text

from app.policy.allocate import (
    Drawn,
    Source,
    charged,
    draw,
    hour_allowance,
    kind_of,
    pays_on,
)
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
            (:first OR category = 'bug') AND first_paid_by = :paid_by AND EXISTS (
                SELECT FROM left_to WHERE id IS NOT DISTINCT FROM first_allowance_id) AS first
        FROM cases WHERE id = :case_id) k
    WHERE bound OR first""")
# The time of cases that go back to a year, and time of others that the year paid in part before it
# was undone.
_WORK = text("""
    SELECT t.id, t.case_id, t.worked_on, t.worked_at, t.minutes, k.channel, k.allowance_id,
        o.starts_on AS own_year
    FROM time_entries t JOIN cases k ON k.id = t.case_id
    LEFT JOIN service_years o ON o.id = k.allowance_id
    WHERE k.customer_id = :customer AND t.reversed_at IS NULL AND (
        k.id = ANY(:cases)
        OR k.category <> 'bug' AND k.paid_by <> 'ticket' AND t.id IN (
            SELECT l.time_entry_id FROM ledger l JOIN service_years y ON y.id = l.allowance_id
            WHERE l.customer_id = :customer AND l.id <= :last AND y.starts_on = ANY(:years)
            GROUP BY l.time_entry_id HAVING sum(l.used_minutes) > 0))
    ORDER BY t.worked_at, t.recorded_at, t.id""")
_LAST = text("SELECT coalesce(max(id), 0) FROM ledger WHERE customer_id = :customer")
_BEFORE = text("""
    SELECT l.time_entry_id, l.allowance_id, y.starts_on, sum(l.used_minutes) AS used,
        sum(l.overrun_minutes) AS overrun
    FROM ledger l LEFT JOIN service_years y ON y.id = l.allowance_id
    WHERE l.time_entry_id = ANY(:entries) AND l.id <= :last
    GROUP BY l.time_entry_id, l.allowance_id, y.starts_on
    HAVING sum(l.used_minutes) > 0 OR sum(l.overrun_minutes) > 0
    ORDER BY min(l.id)""")


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
    """Whether the year paid for it, or would again if it proved no bug."""
    first: bool
    """Whether the year was its first allowance, to which it returns if it proves no bug (R22)."""
    last: int
    """The customer's last ledger entry before."""


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


async def give_cases_back(ledger: Ledger, undone: Sequence[Undone]) -> list[Rebound]:
    """Bind cases again to service years that were undone and are there again (R14, R46).

    Those that are still bound as the undoing left them. What was charged before lies where it lay,
    as if the year had been there all along; time recorded since is charged again.
    """
    facts = await ledger.facts()
    cases: list[Rebound] = []
    sources: dict[UUID, Source] = {}
    for one in undone:
        if not begins(ledger.policies, facts, one.year) or not (one.bound or one.first):
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
    if undone:
        await _Restoring(ledger, sources, undone).run()
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


class _Restoring:
    """Charges and overrun as they were before years were undone; the rest by R20 and R21."""

    def __init__(
        self, ledger: Ledger, sources: dict[UUID, Source], undone: Sequence[Undone]
    ) -> None:
        self._ledger = ledger
        self._policies = ledger.policies
        self._sources = sources
        self._years = sorted({one.year for one in undone})
        self._last = undone[0].last

    async def run(self) -> None:
        ledger = self._ledger
        parameters = {
            "customer": ledger.customer_id,
            "cases": list(self._sources),
            "years": self._years,
            "last": self._last,
        }
        work = (await ledger.connection.execute(_WORK, parameters)).all()
        entries = [row.id for row in work]
        taken = await ledger.standing(standing.TAKEN_OVER_OF_TIME_ENTRIES, entries=entries)
        left = {row.id: row.minutes for row in work}
        for row in taken:  # it keeps what it took over (R24)
            left[row.time_entry_id] -= row.used_minutes
        kept = {row.id for row in taken}
        rows = await ledger.standing(standing.OF_TIME_ENTRIES, entries=entries)
        await ledger.write(*(reversal(row) for row in rows if row.id not in kept))
        self._facts = await ledger.facts()
        before = await ledger.connection.execute(_BEFORE, {"entries": entries, "last": self._last})
        were: dict[UUID, list[Row[Any]]] = {}
        for row in before:
            were.setdefault(row.time_entry_id, []).append(row)
        for row in work:
            restored = self._as_before(row, were.get(row.id, []), left[row.id])
            left[row.id] -= sum(minutes for _, minutes in restored.charges)
            left[row.id] -= restored.overrun_minutes
            await self._write(row, restored)
        for row in work:
            if left[row.id]:
                drawn = draw(
                    self._policies,
                    self._facts,
                    self._source(row),
                    row.channel,
                    row.worked_on,
                    left[row.id],
                )
                await self._write(row, drawn)
        await ledger.settle()

    def _as_before(self, work: Row[Any], were: Iterable[Row[Any]], minutes: int) -> Drawn:
        """Where minutes of a time entry lay, as far as there is room now."""
        charges: list[tuple[Source, int]] = []
        overrun = 0
        for row in were:
            source = _hours(row.allowance_id, row.starts_on)
            used = 0
            if row.used and source and self._may_pay(source, work.worked_on):
                allowance = hour_allowance(self._policies, self._facts, source)
                used = min(row.used, minutes, allowance.remaining_minutes)
            if used and source:
                charges.append((source, used))
            over = min(row.overrun, minutes - used)
            overrun += over
            minutes -= used + over
        return Drawn(tuple(charges), overrun)

    def _may_pay(self, source: Source, day: date) -> bool:
        """A contract may have ended since; what lies on a year stays there (R40)."""
        return source.kind == "free_hours" or pays_on(self._policies, self._facts, source, day)

    async def _write(self, row: Row[Any], drawn: Drawn) -> None:
        bound = self._source(row)
        work = Work(row.id, row.worked_on, row.worked_at, row.minutes)
        ledger = self._ledger
        await ledger.write(*await ledger.drawn(self._facts, row.case_id, bound, work, drawn))
        self._facts = charged(self._policies, self._facts, bound, drawn)

    def _source(self, row: Row[Any]) -> Source | None:
        """What a case is bound to now."""
        if row.case_id in self._sources or row.allowance_id is None:
            return self._sources.get(row.case_id)
        return _hours(row.allowance_id, row.own_year)


def _hours(allowance_id: UUID | None, starts_on: date | None) -> Source | None:
    """An hour allowance by its id, and by its first day if it is a service year."""
    if starts_on is not None:
        return Source("free_hours", starts_on=starts_on)
    return None if allowance_id is None else Source("contract", str(allowance_id))


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
        self._last = await ledger.connection.scalar(_LAST, {"customer": ledger.customer_id})
        rows = await ledger.connection.execute(_YEARS, {"customer": ledger.customer_id})
        self._years = {row.id: row.starts_on for row in rows}
        entries = await ledger.standing(standing.OF_ALLOWANCES, allowances=moving)
        await ledger.write(*(reversal(row) for row in entries))
        await self._rebind(moving)
        await self._charge(entries)
        self._note_parts(entries)

    def _note_parts(self, entries: Sequence[Row[Any]]) -> None:
        """Cases bound to something else for which undone years paid in part (R21)."""
        known = {(one.case_id, one.year) for one in self._followed.undone}
        for entry in entries:
            year = self._years[entry.allowance_id]
            if self._moves[year] is None and (entry.case_id, year) not in known:
                known.add((entry.case_id, year))
                self._followed.undone.append(
                    Undone(entry.case_id, year, entry.paid_by, entry.own, False, False, self._last)
                )

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
                again = bound or row.category == "bug"
                self._followed.undone.append(
                    Undone(row.id, year, kind_of(source), allowance_id, again, first, self._last)
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
