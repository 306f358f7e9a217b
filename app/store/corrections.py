"""Moving the service years of a licence that was corrected or never was (R14, R40)."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text

from app.policy.allocate import Drawn, Source, charged, draw, kind_of
from app.policy.corrections import Moves, moved_years, rebound
from app.policy.facts import CasePaidBy, Facts, Licence
from app.policy.years import covers, year_from
from app.store import entries as standing
from app.store.entries import Work
from app.store.ledger import Ledger, overrun_again, reversal

_YEARS = text("SELECT id, starts_on FROM service_years WHERE customer_id = :customer")
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


class Rebound(NamedTuple):
    """A case that a correction bound to another allowance."""

    id: UUID
    number: str
    state: str
    paid_by_before: CasePaidBy
    paid_by: CasePaidBy
    year_before: date
    year: date | None
    """The first day of the service year to which it was, and is now, bound."""


async def follow(ledger: Ledger, was: Iterable[Licence], changed: Sequence[UUID]) -> list[Rebound]:
    """Let charges, overrun and bound cases follow licences that have just been changed.

    `was` are the customer's licences as they were before. Returns the cases that are bound to
    something else now. Afterwards overrun is covered wherever minutes are left (R22).
    """
    old = {licence.id: licence for licence in was}
    ids = [str(id_) for id_ in changed]
    cases = []
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
            cases += await _Moving(ledger, after, moves).run()
    await ledger.settle()
    return cases


class _Moving:
    """The steps of one correction: reverse, bind cases anew, charge again."""

    def __init__(self, ledger: Ledger, after: Facts, moves: Moves) -> None:
        self._ledger = ledger
        self._policies = ledger.policies
        self._moves = moves
        years = {start: year for start, year in after.service_years.items() if start not in moves}
        for target in moves.values():
            if target is not None:
                # An emptied year may be the target of another one that moves.
                years.setdefault(target.starts_on, target)
        self._facts = after._replace(service_years=years)
        self._sources: dict[UUID, Source | None] = {}

    async def run(self) -> list[Rebound]:
        ledger = self._ledger
        rows = await ledger.connection.execute(_YEARS, {"customer": ledger.customer_id})
        self._years = {row.id: row.starts_on for row in rows}
        moving = [id_ for id_, starts_on in self._years.items() if starts_on in self._moves]
        entries = await ledger.standing(standing.OF_ALLOWANCES, allowances=moving)
        await ledger.write(*(reversal(row) for row in entries))
        cases = await self._rebind(moving)
        await self._charge(entries)
        return cases

    async def _rebind(self, moving: list[UUID]) -> list[Rebound]:
        """Cases of the moved years, in the order of their opening."""
        ledger = self._ledger
        parameters = {"customer": ledger.customer_id, "years": moving}
        cases = []
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
            if bound:
                self._sources[row.id] = source
                cases.append(
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
        return cases

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
        if target is None or not covers(
            self._policies, self._facts, target.starts_on, entry.worked_on
        ):
            return 0
        left = year_from(self._policies, self._facts, target.starts_on).remaining_minutes
        kept = min(left, minutes)
        if kept:
            source = Source("free_hours", starts_on=target.starts_on)
            await self._drawn(rows, entry, kept, Drawn(((source, kept),), 0))
        return kept

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
