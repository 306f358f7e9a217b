"""Cases in the database: how one is read, locked and changed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, ColumnElement, Row, Select, literal_column, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import WrongState
from app.http.legacy import find, lock_customer_of, reachable
from app.policy.allocate import Source
from app.policy.cases import LEADS_TO, CaseStep, State, after
from app.policy.document import Policies
from app.routers.cases.shapes import Case, Charge, Payer, Requester, TimeEntry
from app.services.unit_of_work import Caller
from app.store import events
from app.store.ledger import Ledger, Work
from app.store.tables import cases, time_entries

_PAYER = """(SELECT json_build_object('kind', b.kind,
        'id', coalesce(c.id, p.id), 'number', coalesce(c.number, p.number),
        'service_year_start', y.starts_on)
    FROM balances b
    LEFT JOIN contracts c ON c.id = b.allowance_id
    LEFT JOIN ticket_packs p ON p.id = b.allowance_id
    LEFT JOIN service_years y ON y.id = b.allowance_id
    WHERE b.allowance_id = {allowance})"""
_SUMS: tuple[ColumnElement[Any], ...] = (
    literal_column(_PAYER.format(allowance="cases.allowance_id"), JSON).label("payer"),
    literal_column(
        """(SELECT coalesce(sum(minutes), 0) FROM time_entries
            WHERE case_id = cases.id AND reversed_at IS NULL)"""
    ).label("worked_minutes"),
    literal_column(
        "(SELECT coalesce(sum(used_minutes), 0) FROM ledger WHERE case_id = cases.id)"
    ).label("charged_minutes"),
    literal_column(
        "(SELECT coalesce(sum(overrun_minutes), 0) FROM ledger WHERE case_id = cases.id)"
    ).label("overrun_minutes"),
)
# What stands of an entry: its charges, wherever they are now, and its overrun.
_CHARGES: ColumnElement[Any] = literal_column(
    f"""coalesce((SELECT json_agg(json_build_object(
            'allowance', {_PAYER.format(allowance="s.allowance_id")}, 'minutes', s.minutes)
            ORDER BY s.first)
        FROM (SELECT allowance_id, sum(used_minutes) AS minutes, min(id) AS first FROM ledger
            WHERE time_entry_id = time_entries.id GROUP BY allowance_id) s
        WHERE s.minutes > 0), '[]')""",
    JSON,
).label("charges")
_OVERRUN: ColumnElement[Any] = literal_column(
    """(SELECT coalesce(sum(overrun_minutes), 0) FROM ledger
        WHERE time_entry_id = time_entries.id)"""
).label("overrun_minutes")
_OWN = tuple(name for name in Case.model_fields if name not in {"requester", "paid_by"})
_YEAR_STARTS = text("SELECT starts_on FROM service_years WHERE id = :id")
_WORK = (
    select(time_entries.c.id, time_entries.c.worked_on, time_entries.c.minutes)
    .where(time_entries.c.reversed_at.is_(None))
    .order_by(time_entries.c.worked_at, time_entries.c.id)
)


REPRESENTATION: tuple[Any, ...] = (cases, *_SUMS)
"""What a statement selects, or returns of the case that it writes, for `case_of`."""


def representations(caller: Caller) -> Select[Any]:
    """Whole cases within reach, one row each."""
    return reachable(caller, cases).add_columns(*_SUMS)


def case_of(row: Row[Any]) -> Case:
    return Case(
        requester=Requester(
            contact_id=row.requester_contact_id,
            name=row.requester_name,
            email=row.requester_email,
            phone=row.requester_phone,
        ),
        paid_by=Payer(**(row.payer or {"kind": "none"})),
        **{name: row._mapping[name] for name in _OWN},
    )


async def read(connection: AsyncConnection, caller: Caller, key: str | UUID) -> Case:
    """One case. Raises NotFound."""
    return case_of(await find(connection, caller, cases, key, representations(caller)))


async def read_entry(
    connection: AsyncConnection, caller: Caller, case_id: UUID, entry_id: UUID
) -> TimeEntry:
    """One time entry of a case. Raises NotFound."""
    query = (
        reachable(caller, time_entries)
        .where(time_entries.c.case_id == case_id)
        .add_columns(_CHARGES, _OVERRUN)
    )
    row = await find(connection, caller, time_entries, entry_id, query)
    return TimeEntry(
        charges=[Charge(**charge) for charge in row.charges],
        **{name: row._mapping[name] for name in TimeEntry.model_fields if name != "charges"},
    )


class OpenedCase:
    """A case under its customer's lock, in the middle of a step."""

    def __init__(
        self, connection: AsyncConnection, caller: Caller, policies: Policies, row: Row[Any]
    ) -> None:
        self.connection = connection
        self.caller = caller
        self.policies = policies
        self.row = row
        self.id: UUID = row.id
        self.state: State = row.state

    @classmethod
    async def lock(
        cls, connection: AsyncConnection, caller: Caller, policies: Policies, key: str
    ) -> "OpenedCase":
        """Raises NotFound."""
        row = await lock_customer_of(connection, caller, cases, key)
        return cls(connection, caller, policies, row)

    def next(self, step: CaseStep) -> State:
        """The state that a step leads to. Raises WrongState where it is not allowed (R29)."""
        state = after(self.state, step)
        if state is None:
            raise WrongState(self.state, LEADS_TO[step])
        return state

    def ledger(self, now: datetime) -> Ledger:
        return Ledger(self.connection, self.policies, self.row.customer_id, now)

    @property
    def ticket(self) -> tuple[UUID, int] | None:
        """The ticket that pays for it, by pack and position."""
        if self.row.paid_by != "ticket":
            return None
        return self.row.allowance_id, self.row.ticket_position

    @property
    def requester(self) -> dict[str, Any]:
        """Whom to tell: name, e-mail, phone."""
        return {name: self.row._mapping[f"requester_{name}"] for name in ("name", "email", "phone")}

    async def source(self, *, first: bool = False) -> Source | None:
        """The allowance it is bound to, or the first that it was bound to (R22)."""
        allowance_id = self.row.first_allowance_id if first else self.row.allowance_id
        if allowance_id is None:
            return None
        kind = self.row.first_paid_by if first else self.row.paid_by
        if kind != "free_hours":
            return Source(kind, str(allowance_id))
        starts_on = await self.connection.scalar(_YEAR_STARTS, {"id": allowance_id})
        return Source("free_hours", starts_on=starts_on)

    async def work(self) -> list[Work]:
        """Its time entries that are not reversed, oldest work first."""
        rows = await self.connection.execute(_WORK.where(time_entries.c.case_id == self.id))
        return [Work(row.id, row.worked_on, row.minutes) for row in rows]

    async def change(
        self,
        event_type: str,
        now: datetime,
        fields: Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
    ) -> Case | None:
        """Write fields and the one event that says so, with what they were before.

        The case as it is then, None where nothing but the event is written. What else the step
        writes comes before: the case tells its sums.
        """
        changed = None
        if fields:
            write = update(cases).where(cases.c.id == self.id).values(**fields, updated_at=now)
            done = await self.connection.execute(write.returning(*REPRESENTATION))
            changed = case_of(done.one())
        before = {
            name: self.row._mapping[name]
            for name, value in fields.items()
            if name in _SHOWN and self.row._mapping[name] != value
        }
        await events.record(
            self.connection,
            event_type,
            self.caller.actor,
            now,
            customer_id=self.row.customer_id,
            subject_id=self.id,
            case_id=self.id,
            data={
                "number": self.row.number,
                # Every event says what the case is now: past answers read it from there (R13).
                "state": fields.get("state", self.state),
                "paid_by": fields.get("paid_by", self.row.paid_by),
                **({"before": before, "after": {n: fields[n] for n in before}} if before else {}),
                **(data or {}),
            },
        )
        return changed


# Changed fields that the timeline shows; the rest are ids and instants of our own.
_SHOWN = {
    "technician",
    "priority",
    "category",
    "product",
    "product_version",
    "subject",
    "state",
    "paid_by",
}


def bound_to(
    source: Source | None, allowance_id: UUID | None, position: int | None
) -> dict[str, Any]:
    """The columns that say what pays for a case."""
    return {
        "paid_by": "none" if source is None else source.kind,
        "allowance_id": allowance_id,
        "ticket_position": position,
    }
