"""A case's steps from state to state, and what they do to its ticket (R19, R29)."""

from collections.abc import Mapping
from typing import Any, Literal, cast
from uuid import UUID

from sqlalchemy import Row, Select, bindparam, select, text, update

from app.errors import CaseHasWork, ReopeningTooLate, WrongState
from app.policy.allocate import Source
from app.policy.cases import LEADS_TO, CaseStep, State, after, reopens_until
from app.policy.civil import civil_date
from app.services.cases import WHOLE, Binding
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find_locked
from app.store import events
from app.store.direct import DirectStatement
from app.store.entries import Work
from app.store.event_types import CaseChanged, CaseDetails, EventType
from app.store.ledger import Ledger
from app.store.tables import cases, time_entries

# The fields that the timeline shows when they change; the others are our own ids and instants.
_SHOWN = {
    "technician",
    "priority",
    "category",
    "product",
    "product_version",
    "subject",
    "serial_number",
    "state",
    "paid_by",
}
_REQUESTER = "requester_"
# It sets the columns that are named in the parameters of an execution.
_UPDATE = DirectStatement(
    events.recording(update(cases).where(cases.c.id == bindparam("changed_case")).returning(*WHOLE))
)
_YEAR_STARTS = DirectStatement(text("SELECT starts_on FROM service_years WHERE id = :id"))
_WORK = (
    select(*(time_entries.c[name] for name in ("id", "worked_on", "worked_at", "minutes")))
    .where(time_entries.c.case_id == bindparam("of_case"), time_entries.c.reversed_at.is_(None))
    .order_by(time_entries.c.worked_at, time_entries.c.recorded_at, time_entries.c.id)
)


class LockedCase:
    """A case under its customer's lock, in the middle of a step."""

    def __init__(self, work: UnitOfWork, row: Row[Any]) -> None:
        self.work = work
        self.row = row
        self.id: UUID = row.id
        self.state: State = row.state
        self.bound = Binding(row.paid_by, row.allowance_id, row.ticket_position)
        self.ledger = Ledger(work.connection, work.policies, row.customer_id, work.now)

    @classmethod
    async def lock(
        cls, work: UnitOfWork, key: str, rows: Select[Any] | None = None
    ) -> "LockedCase":
        """`rows` as for `find_locked`. Raises NotFound."""
        return cls(work, await find_locked(work, cases, key, rows))

    def next(self, step: CaseStep) -> State:
        """The state that a step leads to. Raises WrongState where it is not allowed (R29)."""
        state = after(self.state, step)
        if state is None:
            raise WrongState(self.state, LEADS_TO[step])
        return state

    async def source(self, bound: Binding) -> Source | None:
        """The allowance of a binding, as the policy names it."""
        if bound.allowance_id is None or bound.paid_by == "none":
            return None
        if bound.paid_by != "free_hours":
            return Source(bound.paid_by, str(bound.allowance_id))
        year = await _YEAR_STARTS.one(self.work.connection, {"id": bound.allowance_id})
        return Source("free_hours", starts_on=year.starts_on)

    async def worked(self) -> list[Work]:
        """Its time entries that are not reversed, oldest work first."""
        rows = await self.work.connection.execute(_WORK, {"of_case": self.id})
        return [Work(*row) for row in rows]

    async def change(
        self,
        event_type: EventType,
        fields: Mapping[str, Any],
        details: CaseDetails | None = None,
    ) -> Row[Any]:
        """Write fields and the event of the step; the case as `cases.read` gives it.

        Everything else that a step writes comes before, because the case shows its sums.
        """
        event = self.work.event(
            event_type,
            self._told(fields, details),
            customer_id=self.row.customer_id,
            subject_id=self.id,
            case_id=self.id,
        )
        values = {**fields, "changed_case": self.id, "updated_at": self.work.now, **event}
        return await _UPDATE.one(self.work.connection, values)

    async def record(self, event_type: EventType, details: CaseDetails) -> None:
        """Record the event of a step that changes no field of the case."""
        await self.work.record(
            event_type,
            self._told({}, details),
            customer_id=self.row.customer_id,
            subject_id=self.id,
            case_id=self.id,
        )

    def _told(self, fields: Mapping[str, Any], details: CaseDetails | None) -> CaseChanged:
        """The data of the event of a step that changes `fields`, with what they were before."""
        row = self.row._mapping
        before = {name: row[name] for name, value in fields.items() if row[name] != value}
        event: CaseChanged = {
            "number": self.row.number,
            "state": fields.get("state", self.state),
            "paid_by": fields.get("paid_by", self.row.paid_by),
        }
        if shown := _shown(before):
            event["before"] = shown
            event["after"] = _shown({name: fields[name] for name in before})
        return cast("CaseChanged", {**event, **(details or {})})


def _shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the timeline shows of fields: the requester as one object."""
    shown = {name: value for name, value in fields.items() if name in _SHOWN}
    requester = {
        name.removeprefix(_REQUESTER): str(value) if isinstance(value, UUID) else value
        for name, value in fields.items()
        if name.startswith(_REQUESTER)
    }
    return {**shown, "requester": requester} if requester else shown


async def move(
    work: UnitOfWork, key: str, to: Literal["in_progress", "waiting_for_customer"]
) -> Row[Any]:
    """Take a case up, or wait for the customer. Raises NotFound, WrongState."""
    locked = await LockedCase.lock(work, key)
    state = locked.next("take" if to == "in_progress" else "wait")
    return await locked.change(EventType.CASE_CHANGED, {"state": state})


async def close(work: UnitOfWork, key: str, resolution: str) -> Row[Any]:
    """Close a case; it consumes the ticket that pays for it (R19). Raises NotFound, WrongState."""
    locked = await LockedCase.lock(work, key)
    state = locked.next("close")
    if locked.bound.ticket is not None:
        await locked.ledger.consume(locked.id, *locked.bound.ticket, work.today)
    # The CRM tells the requester by this event (R32).
    requester = {
        name: locked.row._mapping[f"requester_{name}"] for name in ("name", "email", "phone")
    }
    return await locked.change(
        EventType.CASE_CLOSED,
        {"state": state, "resolution": resolution, "closed_at": work.now},
        {"resolution": resolution, "requester": requester},
    )


async def reopen(work: UnitOfWork, key: str, reason: str) -> Row[Any]:
    """Open a closed case again. Raises NotFound, WrongState, ReopeningTooLate.

    It takes back the ticket that it had consumed, even if that has expired since (R29).
    """
    locked = await LockedCase.lock(work, key)
    state = locked.next("reopen")
    closed_on = civil_date(locked.row.closed_at, work.policies.zone)
    if work.today >= reopens_until(work.policies, closed_on):
        raise ReopeningTooLate
    if locked.bound.ticket is not None:
        await locked.ledger.take_back(locked.id, *locked.bound.ticket, work.today)
    fields = {
        "state": state,
        "resolution": None,
        "closed_at": None,
        "texts_cleared_at": None,
    }
    return await locked.change(EventType.CASE_REOPENED, fields, {"reason": reason})


async def cancel(work: UnitOfWork, key: str, reason: str) -> Row[Any]:
    """Cancel a case and release its ticket (R19).

    Raises NotFound, WrongState, and CaseHasWork while time stands on the case.
    """
    locked = await LockedCase.lock(work, key)
    state = locked.next("cancel")
    if await locked.worked():
        raise CaseHasWork
    if locked.bound.ticket is not None:
        await locked.ledger.release(locked.id, *locked.bound.ticket, work.today)
    return await locked.change(EventType.CASE_CANCELLED, {"state": state}, {"reason": reason})
