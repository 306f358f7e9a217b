"""The only writer of holds, charges, reversals and overrun.

Entries are only ever added. Each gives the minutes used, the minutes of overrun and the tickets
that it moves, so that every balance is a sum over them. The caller holds the customer's lock
(`app.store.lock`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, bindparam, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.ids import new_id
from app.policy.allocate import (
    Drawn,
    Source,
    charged,
    draw,
    hour_allowance,
    pays_on,
    uncovered,
)
from app.policy.document import Policies
from app.policy.facts import Facts
from app.policy.years import year_from
from app.store import entries as standing
from app.store.direct import DirectStatement
from app.store.entries import Work
from app.store.facts import load
from app.store.tables import ledger, service_years


class Ledger:
    """Writes for one customer within one transaction, recorded at one instant."""

    def __init__(
        self, connection: AsyncConnection, policies: Policies, customer_id: UUID, now: datetime
    ) -> None:
        self.connection = connection
        self.policies = policies
        self.customer_id = customer_id
        self.now = now

    async def facts(self) -> Facts:
        return (await load(self.connection, self.customer_id)).facts()

    async def standing(self, which: TextClause, **parameters: Any) -> Sequence[Row[Any]]:
        """Entries of one of the questions in `app.store.entries`."""
        return (await self.connection.execute(which, parameters)).all()

    # --- tickets ----------------------------------------------------------------------------

    async def position_of(self, source: Source | None) -> int | None:
        """The position of the ticket that a case is bound to, None if no ticket pays."""
        if source is None or source.kind != "ticket" or source.position is not None:
            return source and source.position
        position: int | None = await self.connection.scalar(
            standing.FREE_POSITION, {"pack": source.id}
        )
        return position

    async def ticket_is_free(self, pack_id: UUID, position: int) -> bool:
        found = await self.standing(standing.TICKET, pack=pack_id, position=position)
        return not found

    async def hold(
        self,
        case_id: UUID,
        pack_id: UUID,
        position: int,
        on: date,
        as_of: datetime | None = None,
    ) -> None:
        """A case takes a ticket (R19), `as_of` an earlier instant than now (R47).

        The database refuses a ticket that another case uses.
        """
        await self._ticket("hold", case_id, pack_id, position, on, as_of)

    async def consume(self, case_id: UUID, pack_id: UUID, position: int, on: date) -> None:
        await self._ticket("consumption", case_id, pack_id, position, on)

    async def take_back(self, case_id: UUID, pack_id: UUID, position: int, on: date) -> None:
        """A reopened case holds the ticket that it had consumed (R29)."""
        await self._ticket("reopening", case_id, pack_id, position, on)

    async def relive(
        self,
        case_id: UUID,
        pack_id: UUID,
        position: int,
        history: Iterable[tuple[datetime, date, str]],
    ) -> None:
        """A case takes a ticket through the states that it had, each with instant and day (R47).

        If another case had the ticket until later, this one has it from the instant at which that
        gave it back: one ticket never serves two cases (R19).
        """
        closed: bool | None = None
        free_since = None
        for as_of, on, state in history:
            if closed is None and as_of < self.now:
                free_since = await self._given_back(pack_id, position)
            if free_since is not None and as_of < free_since[0]:
                as_of, on = free_since
            if closed is None:
                closed = False
                await self._ticket("hold", case_id, pack_id, position, on, as_of)
            if (state == "closed") != closed:
                closed = not closed
                kind = "consumption" if closed else "reopening"
                await self._ticket(kind, case_id, pack_id, position, on, as_of)

    async def _given_back(self, pack_id: UUID, position: int) -> tuple[datetime, date] | None:
        found = await self.standing(standing.LAST_GIVEN_BACK, pack=pack_id, position=position)
        return (found[0].at, found[0].day) if found else None

    async def undo_tickets(self, case_id: UUID, today: date) -> None:
        """Take back all that a case did to tickets, each step as of when it was done (R47).

        A ticket that has lapsed meanwhile gets back the days for which the case had it; one that
        has not gives back those that it got by a bug. What the case did to a ticket that has served
        another since, or was cancelled, stays.
        """
        rows = await self.standing(standing.TICKETS_OF_CASE, case_id=case_id)
        in_use = bool(rows) and rows[0].kind != "release"
        ends: dict[tuple[UUID, int], date] = {}
        kept: tuple[UUID, int] | None = None
        for row in rows:
            ticket = row.pack_id, row.position
            end = ends.setdefault(ticket, row.expires_on)
            if kept is None and row.kind == "release" and not row.free:
                kept = ticket
            if kept is not None:
                # Back to the step with which the case had taken it.
                kept = None if row.kind == "hold" else kept
                continue
            then = row.counts_on, row.as_of
            days = 0
            if row.kind == "hold":
                if in_use and end <= today:
                    days = (today - row.counts_on).days
                in_use = False
            elif end - timedelta(days=row.lengthened_days) > today:
                days = -row.lengthened_days
            ends[ticket] += timedelta(days=days)
            await self._ticket(_UNDO[row.kind], case_id, *ticket, *then, lengthened_days=days)
            if row.kind == "release" and row.consumed:
                await self._ticket("consumption", case_id, *ticket, *then)

    async def release(
        self, case_id: UUID, pack_id: UUID, position: int, on: date, *, lengthen: bool = False
    ) -> None:
        """Give a ticket back to its pack, held or consumed (R19, R22).

        With `lengthen` it gets back the days for which the case had taken it: its end minus the
        day of taking is what it had left, and is left again from `on`.
        """
        (found,) = await self.standing(standing.TICKET, pack=pack_id, position=position)
        moves = {"held": -1} if found.state == "held" else {"held": 0, "consumed": -1}
        if lengthen:
            moves["lengthened_days"] = (on - found.taken_on).days
        await self._ticket("release", case_id, pack_id, position, on, **moves)

    async def cancel_tickets(self, pack_id: UUID, positions: Iterable[int], on: date) -> None:
        """Take tickets out of a pack (R45). The database refuses one that a case uses."""
        await self.write(
            *(
                {
                    "kind": "cancellation",
                    "allowance_id": pack_id,
                    "ticket_position": position,
                    "counts_on": on,
                    "cancelled": 1,
                }
                for position in positions
            )
        )

    async def _ticket(
        self,
        kind: str,
        case_id: UUID,
        pack_id: UUID,
        position: int,
        on: date,
        as_of: datetime | None = None,
        /,
        **moves: int,
    ) -> None:
        """Write a step; `moves` only where they are not those of `_MOVES`."""
        await self.write(
            {
                "kind": kind,
                "case_id": case_id,
                "allowance_id": pack_id,
                "ticket_position": position,
                "counts_on": on,
                "as_of": None if as_of == self.now else as_of,
                **_MOVES[kind],
                **moves,
            }
        )

    # --- time -------------------------------------------------------------------------------

    async def allowance_id(self, facts: Facts, source: Source | None) -> UUID | None:
        if source is None:
            return None
        if source.starts_on is not None:
            return await self._service_year(facts, source.starts_on)
        return UUID(source.id)

    async def _service_year(self, facts: Facts, starts_on: date) -> UUID:
        """The id of a service year, created when something is first recorded against it (R17)."""
        year = year_from(self.policies, facts, starts_on)
        await self.connection.execute(
            upsert(service_years)
            .values(
                id=new_id(),
                customer_id=self.customer_id,
                starts_on=starts_on,
                ends_on=year.ends_on,
                granted_minutes=year.granted_minutes,
            )
            .on_conflict_do_nothing()
        )
        found = select(service_years.c.id).where(
            service_years.c.customer_id == self.customer_id,
            service_years.c.starts_on == starts_on,
            service_years.c.superseded_by.is_(None),
        )
        identity: UUID = (await self.connection.execute(found)).scalar_one()
        return identity

    async def charge(
        self,
        facts: Facts,
        case_id: UUID,
        bound: Source | None,
        channel: Any,
        work: Iterable[Work],
    ) -> Facts:
        """Charge work as of the days it was done (R20, R21); the facts as they are afterwards."""
        rows: list[dict[str, Any]] = []
        for entry in work:
            drawn = draw(self.policies, facts, bound, channel, entry.worked_on, entry.minutes)
            rows += await self.drawn(facts, case_id, bound, entry, drawn)
            facts = charged(self.policies, facts, bound, drawn)
        await self.write(*rows)
        return facts

    async def drawn(
        self, facts: Facts, case_id: UUID, bound: Source | None, entry: Work, drawn: Drawn
    ) -> list[dict[str, Any]]:
        """The entries, not written yet, that record where minutes of a time entry go."""
        common = {"case_id": case_id, "time_entry_id": entry.id, "counts_on": entry.worked_on}
        rows = [
            common
            | {
                "kind": "charge",
                "allowance_id": await self.allowance_id(facts, source),
                "used_minutes": minutes,
            }
            for source, minutes in drawn.charges
        ]
        if drawn.overrun_minutes:
            overrun = {"kind": "overrun", "overrun_minutes": drawn.overrun_minutes}
            rows.append(common | overrun | {"allowance_id": await self.allowance_id(facts, bound)})
        return rows

    async def reverse(self, case_id: UUID, entries: Sequence[UUID]) -> list[dict[str, Any]]:
        """Take back everything that stands for these time entries, wherever it went (R22, R30).

        What the minutes given back cover then is returned, as by `settle`.
        """
        if not entries:
            return []
        rows = await self.standing(standing.OF_TIME_ENTRIES, entries=list(entries))
        await self.write(*(reversal(row) for row in rows))
        return await self.settle(cause=case_id) if any(row.used_minutes for row in rows) else []

    async def take_overrun(self, case_id: UUID) -> list[Work]:
        """Reverse the standing overrun of a case, and return it as work to charge anew (R29)."""
        rows = await self.standing(standing.OVERRUN_OF_CASE, case_id=case_id)
        await self.write(*(reversal(row) for row in rows))
        return [
            Work(row.time_entry_id, row.worked_on, row.worked_at, row.overrun_minutes)
            for row in rows
        ]

    async def settle(
        self, facts: Facts | None = None, cause: UUID | None = None
    ) -> list[dict[str, Any]]:
        """Cover standing overrun wherever its own allowance has minutes left (R22).

        As far as the work lies inside the allowance's period, oldest first. Called after every
        step that may have given minutes back or made a period longer. `cause` is the case that
        gave them back, if one did. Returns the movements, with both cases.
        """
        facts = await self.facts() if facts is None else facts
        moves = []
        for source in uncovered(facts):
            allowance_id = await self.allowance_id(facts, source)
            rows = await self.standing(standing.OVERRUN_OF, allowance=allowance_id)
            inside = [row for row in rows if pays_on(self.policies, facts, source, row.worked_on)]
            left = hour_allowance(self.policies, facts, source).remaining_minutes
            moves += await self._cover(inside, left, allowance_id, cause=cause)
        return moves

    async def _cover(
        self,
        overruns: Sequence[Row[Any]],
        left: int,
        to: UUID | None,
        *,
        cause: UUID | None = None,
        dated: date | None = None,
        most: Counter[UUID] | None = None,
    ) -> list[dict[str, Any]]:
        """Turn overrun into charges on an allowance, up to what it has left.

        `most`: of each time entry no more than so many minutes.
        """
        rows, moves = [], []
        for row in overruns:
            minutes = min(left, row.overrun_minutes)
            if most is not None:
                minutes = min(minutes, most[row.time_entry_id])
                most[row.time_entry_id] -= minutes
            if not minutes:
                continue
            left -= minutes
            rows.append(reversal(row, overrun=minutes, cause=cause))
            rows.append(
                {
                    "kind": "charge",
                    "case_id": row.case_id,
                    "allowance_id": to,
                    "time_entry_id": row.time_entry_id,
                    "counts_on": dated or row.worked_on,
                    "used_minutes": minutes,
                    "covers": row.id,
                    "cause_case_id": cause,
                }
            )
            moves.append({"case_id": str(row.case_id), "minutes": minutes, "allowance": str(to)})
        await self.write(*rows)
        return moves

    # --- taking over (R24) ------------------------------------------------------------------

    async def take_over(
        self, contract_id: UUID, starts_on: date, minutes: int, predecessor: UUID | None
    ) -> list[dict[str, Any]]:
        """A new contract covers standing overrun, oldest first, dated its first day. What moved.

        A renewal takes its predecessor's overrun, any other contract that of service years and of
        cases that nothing pays for.
        """
        if predecessor is not None:
            rows = await self.standing(standing.OVERRUN_OF, allowance=predecessor)
        else:
            rows = await self.standing(standing.OVERRUN_WITHOUT_CONTRACT, customer=self.customer_id)
        return await self._cover(rows, minutes, contract_id, dated=starts_on)

    async def give_back(self, contract_id: UUID) -> Counter[UUID]:
        """What a contract took over is overrun again, of the case's own allowance or of the case.

        That allowance covers what it can by now, as in `settle`. Returns the minutes given back of
        each time entry.
        """
        rows = await self.standing(standing.TAKEN_OVER_BY, allowance=contract_id)
        await self.write(
            *(reversal(row) for row in rows),
            *(overrun_again(row, row.own, row.used_minutes) for row in rows),
        )
        if rows:
            await self.settle()
        given = Counter[UUID]()
        for row in rows:
            given[row.time_entry_id] += row.used_minutes
        return given

    async def take_again(
        self, contract_id: UUID, starts_on: date, minutes: int, given: Counter[UUID]
    ) -> None:
        """A reinstated contract covers what still stands of what it had given back (R46)."""
        rows = await self.standing(standing.OVERRUN_OF_TIME_ENTRIES, entries=list(given))
        await self._cover(rows, minutes, contract_id, dated=starts_on, most=Counter(given))

    async def redate(self, contract_id: UUID, starts_on: date) -> None:
        """What a contract took over counts on its corrected first day (R40)."""
        rows = await self.standing(standing.TAKEN_OVER_BY, allowance=contract_id)
        await self.write(
            *(
                entry
                for row in rows
                for entry in (
                    reversal(row),
                    {
                        "kind": "charge",
                        "case_id": row.case_id,
                        "allowance_id": contract_id,
                        "time_entry_id": row.time_entry_id,
                        "counts_on": starts_on,
                        "used_minutes": row.used_minutes,
                        "covers": row.covers,
                    },
                )
            )
        )

    async def write(self, *rows: dict[str, Any]) -> None:
        if rows:
            common = {"customer_id": self.customer_id, "recorded_at": self.now}
            written = [_BLANK | common | row for row in rows]
            if len(written) == 1:
                await _INSERT_ONE.rows(self.connection, written[0])
            else:
                await self.connection.execute(_INSERT, written)


# All entries have the same columns, so that the statement is prepared once.
_COLUMNS = [column.name for column in ledger.columns if column.name != "id"]
_BLANK: dict[str, Any] = dict.fromkeys(_COLUMNS) | {
    "used_minutes": 0,
    "overrun_minutes": 0,
    "held": 0,
    "consumed": 0,
    "cancelled": 0,
    "lengthened_days": 0,
}
_MOVES: dict[str, dict[str, int]] = {
    "hold": {"held": 1},
    "consumption": {"held": -1, "consumed": 1},
    "reopening": {"held": 1, "consumed": -1},
    "release": {"held": -1},
}
# The step that takes one back. What was consumed when it was released is consumed after the hold.
_UNDO = {
    "hold": "release",
    "consumption": "reopening",
    "reopening": "consumption",
    "release": "hold",
}
_INSERT = insert(ledger).values({name: bindparam(name) for name in _COLUMNS})
# Without the id, which nobody asks for.
_INSERT_ONE = DirectStatement(_INSERT.inline())


def reversal(
    row: Row[Any], overrun: int | None = None, cause: UUID | None = None
) -> dict[str, Any]:
    """The entry that takes back what stands of another, or part of its overrun."""
    return {
        "kind": "reversal",
        "case_id": row.case_id,
        "allowance_id": row.allowance_id,
        "time_entry_id": row.time_entry_id,
        "counts_on": row.counts_on,
        "used_minutes": -row.used_minutes,
        "overrun_minutes": -(row.overrun_minutes if overrun is None else overrun),
        "reverses": row.id,
        "cause_case_id": cause,
    }


def overrun_again(row: Row[Any], allowance_id: UUID | None, minutes: int) -> dict[str, Any]:
    """The entry that makes minutes overrun, of a case's own allowance or of the case itself."""
    return {
        "kind": "overrun",
        "case_id": row.case_id,
        "allowance_id": allowance_id,
        "time_entry_id": row.time_entry_id,
        "counts_on": row.worked_on,
        "overrun_minutes": minutes,
    }
