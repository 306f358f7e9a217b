"""The sole writer of holds, charges, reversals and overrun.

Entries are only ever added. Each says what it moves (minutes used, minutes of overrun, tickets
held and consumed), so that every balance is a sum over them. Whoever calls holds the customer's
lock (`app.store.lock`).
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, bindparam, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.ids import new_id
from app.policy.allocate import Drawn, Source, charged, draw, pays_on
from app.policy.document import Policies
from app.policy.facts import Facts
from app.policy.standing import service_year_from
from app.store.facts import load
from app.store.tables import ledger, service_years

# What is left of charges and overruns after their reversals, oldest work first.
_STANDING = """
    SELECT l.id, l.kind, l.case_id, l.allowance_id, l.time_entry_id, l.counts_on, l.covers,
        t.worked_on, l.used_minutes + r.used AS used_minutes,
        l.overrun_minutes + r.overrun AS overrun_minutes
    FROM ledger l
    JOIN time_entries t ON t.id = l.time_entry_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(used_minutes), 0) AS used, coalesce(sum(overrun_minutes), 0) AS overrun
        FROM ledger WHERE reverses = l.id) r
    WHERE l.kind IN ('charge', 'overrun') AND {which}
        AND l.used_minutes + r.used + l.overrun_minutes + r.overrun > 0
    ORDER BY t.worked_at, l.id"""
_OF_ENTRIES = text(_STANDING.format(which="l.time_entry_id = ANY(:entries)"))
_OVERRUN_OF = text(_STANDING.format(which="l.kind = 'overrun' AND l.allowance_id = :allowance"))
_TAKEN_OVER_BY = text(
    _STANDING.format(
        which="""l.allowance_id = :allowance AND EXISTS (
            SELECT FROM ledger o WHERE o.id = l.covers AND o.allowance_id <> l.allowance_id)"""
    )
)
_FREE_POSITION = text("""
    SELECT min(position) FROM generate_series(1, (
        SELECT quantity FROM ticket_packs WHERE id = :pack)) position
    WHERE position NOT IN (SELECT u.position FROM ticket_uses u WHERE u.pack_id = :pack)""")
_TICKET = text(
    "SELECT case_id, state FROM ticket_uses WHERE pack_id = :pack AND position = :position"
)
_HOURS = text("""
    SELECT b.kind, y.starts_on FROM balances b LEFT JOIN service_years y ON y.id = b.allowance_id
    WHERE b.allowance_id = :id""")


class Work(NamedTuple):
    """One time entry, as far as the ledger is concerned."""

    id: UUID
    worked_on: date
    minutes: int


class Ledger:
    """Writes for one customer within one transaction, recorded at one instant."""

    def __init__(
        self, connection: AsyncConnection, policies: Policies, customer_id: UUID, now: datetime
    ) -> None:
        self._connection = connection
        self._policies = policies
        self._customer_id = customer_id
        self._now = now

    # --- tickets ----------------------------------------------------------------------------

    async def free_position(self, pack_id: UUID) -> int | None:
        """The first ticket of a pack that no case uses (R18), None where all are used."""
        position: int | None = await self._connection.scalar(_FREE_POSITION, {"pack": pack_id})
        return position

    async def ticket_is_free(self, pack_id: UUID, position: int) -> bool:
        found = await self._connection.execute(_TICKET, {"pack": pack_id, "position": position})
        return found.one_or_none() is None

    async def hold(self, case_id: UUID, pack_id: UUID, position: int, on: date) -> None:
        """A case takes a ticket (R19). The database refuses one that another case uses."""
        await self._ticket("hold", case_id, pack_id, position, on, held=1)

    async def consume(self, case_id: UUID, pack_id: UUID, position: int, on: date) -> None:
        await self._ticket("consumption", case_id, pack_id, position, on, held=-1, consumed=1)

    async def take_back(self, case_id: UUID, pack_id: UUID, position: int, on: date) -> None:
        """A reopened case holds the ticket that it had consumed (R29)."""
        await self._ticket("reopening", case_id, pack_id, position, on, held=1, consumed=-1)

    async def release(self, case_id: UUID, pack_id: UUID, position: int, on: date) -> None:
        """A ticket goes back to its pack, held or consumed (R19, R22)."""
        found = await self._connection.execute(_TICKET, {"pack": pack_id, "position": position})
        taken = {"held": {"held": -1}, "consumed": {"consumed": -1}}[found.one().state]
        await self._ticket("release", case_id, pack_id, position, on, **taken)

    async def _ticket(
        self,
        kind: str,
        case_id: UUID,
        pack_id: UUID,
        position: int,
        on: date,
        held: int = 0,
        consumed: int = 0,
    ) -> None:
        await self._write(
            {
                "kind": kind,
                "case_id": case_id,
                "allowance_id": pack_id,
                "ticket_position": position,
                "held": held,
                "consumed": consumed,
                "counts_on": on,
            }
        )

    # --- time -------------------------------------------------------------------------------

    async def service_year(self, facts: Facts, starts_on: date) -> UUID:
        """The id of a service year, made when something is first recorded against it (R14, R17)."""
        year = service_year_from(self._policies, facts, starts_on)
        await self._connection.execute(
            upsert(service_years)
            .values(
                id=new_id(),
                customer_id=self._customer_id,
                starts_on=starts_on,
                ends_on=year.ends_on,
                granted_minutes=year.granted_minutes,
            )
            .on_conflict_do_nothing()
        )
        found = select(service_years.c.id).where(
            service_years.c.customer_id == self._customer_id,
            service_years.c.starts_on == starts_on,
        )
        identity: UUID = (await self._connection.execute(found)).scalar_one()
        return identity

    async def allowance_id(self, facts: Facts, source: Source | None) -> UUID | None:
        if source is None:
            return None
        if source.starts_on is not None:
            return await self.service_year(facts, source.starts_on)
        return UUID(source.id)

    async def charge(
        self,
        facts: Facts,
        case_id: UUID,
        bound: Source | None,
        channel: Any,
        entries: Iterable[Work],
    ) -> Facts:
        """Charge work as of the days it was done (R20, R21); the facts as they are afterwards."""
        rows: list[dict[str, Any]] = []
        for entry in entries:
            drawn = draw(self._policies, facts, bound, channel, entry.worked_on, entry.minutes)
            rows += await self._drawn(facts, case_id, bound, entry, drawn)
            facts = charged(self._policies, facts, bound, drawn)
        await self._write(*rows)
        return facts

    async def _drawn(
        self, facts: Facts, case_id: UUID, bound: Source | None, entry: Work, drawn: Drawn
    ) -> list[dict[str, Any]]:
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

        What an hour allowance gets back covers its standing overrun first; those movements are
        returned, with both cases.
        """
        if not entries:
            return []
        found = (await self._connection.execute(_OF_ENTRIES, {"entries": list(entries)})).all()
        await self._write(*(_reversal(row) for row in found))
        given_back = dict.fromkeys(row.allowance_id for row in found if row.used_minutes)
        moved = []
        for allowance_id in given_back:
            moved += await self._cover(allowance_id, case_id)
        return moved

    async def _cover(self, allowance_id: UUID, cause: UUID) -> list[dict[str, Any]]:
        """Standing overrun, oldest work first, as far as it lies inside the period (R22)."""
        rows = (await self._connection.execute(_OVERRUN_OF, {"allowance": allowance_id})).all()
        if not rows:
            return []
        facts = (await load(self._connection, self._customer_id)).facts()
        hours = (await self._connection.execute(_HOURS, {"id": allowance_id})).one()
        if hours.starts_on is not None:
            source = Source("free_hours", starts_on=hours.starts_on)
            left = service_year_from(self._policies, facts, hours.starts_on).remaining_minutes
        else:
            source = Source("contract", str(allowance_id))
            left = next(c for c in facts.contracts if c.id == source.id).remaining_minutes
        covered = [row for row in rows if pays_on(self._policies, facts, source, row.worked_on)]
        return await self._move(covered, left, allowance_id, cause=cause)

    async def _move(
        self,
        overruns: Sequence[Row[Any]],
        left: int,
        to: UUID,
        *,
        cause: UUID | None = None,
        dated: date | None = None,
    ) -> list[dict[str, Any]]:
        """Turn overrun into charges on an allowance, up to what it has left."""
        rows, moved = [], []
        for row in overruns:
            minutes = min(left, row.overrun_minutes)
            if not minutes:
                break
            left -= minutes
            rows.append(_reversal(row, overrun=minutes, cause=cause))
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
            moved.append({"case_id": str(row.case_id), "minutes": minutes, "allowance": str(to)})
        await self._write(*rows)
        return moved

    # --- renewal ----------------------------------------------------------------------------

    async def take_over(
        self, predecessor: UUID, successor: UUID, starts_on: date, included_minutes: int
    ) -> list[dict[str, Any]]:
        """Charge the overrun that is left on a contract to its new successor (R24).

        The oldest comes first, up to the successor's included minutes. The charges count on
        `starts_on`, the successor's first day. Returns the minutes moved, each with its case.
        """
        rows = (await self._connection.execute(_OVERRUN_OF, {"allowance": predecessor})).all()
        return await self._move(rows, included_minutes, successor, dated=starts_on)

    async def give_back(self, successor: UUID, predecessor: UUID) -> None:
        """A cancelled successor gives back what it took over: overrun again (R24)."""
        rows = (await self._connection.execute(_TAKEN_OVER_BY, {"allowance": successor})).all()
        await self._write(
            *(_reversal(row) for row in rows),
            *(
                {
                    "kind": "overrun",
                    "case_id": row.case_id,
                    "allowance_id": predecessor,
                    "time_entry_id": row.time_entry_id,
                    "counts_on": row.worked_on,
                    "overrun_minutes": row.used_minutes,
                }
                for row in rows
            ),
        )

    async def _write(self, *rows: dict[str, Any]) -> None:
        if rows:
            common = {"customer_id": self._customer_id, "recorded_at": self._now}
            await self._connection.execute(_INSERT, [_BLANK | common | row for row in rows])


# One shape for all entries, so that each statement is prepared once.
_COLUMNS = [column.name for column in ledger.columns if column.name != "id"]
_BLANK: dict[str, Any] = dict.fromkeys(_COLUMNS) | {
    "used_minutes": 0,
    "overrun_minutes": 0,
    "held": 0,
    "consumed": 0,
}
_INSERT = insert(ledger).values({name: bindparam(name) for name in _COLUMNS})


def _reversal(
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
