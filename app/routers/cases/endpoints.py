"""Calls about cases and their time entries."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.errors import (
    AlreadyReversed,
    CaseHasWork,
    CustomerNotFound,
    NotEntitled,
    NotFound,
    SerialNumberNotOfCustomer,
    SerialNumberRequired,
    TrainingNotCovered,
    WorkedBeforeOpening,
    WrongState,
    invalid,
)
from app.http.context import Ctx
from app.http.fields import Id, Key
from app.http.paging import Page, paginate
from app.http.resource import Resource
from app.http.responses import created, if_match, ok
from app.routers.cases.schemas import (
    Case,
    CasePatch,
    CasesQuery,
    Closure,
    NewCase,
    NewComment,
    NewTimeEntry,
    ReasonGiven,
    TimeEntry,
    Timeline,
    TimelineEntry,
    Transition,
)
from app.services import case_changes, case_opening, case_steps, time_entries
from app.services import cases as service

cases = Resource("Cases")


@cases.creates(
    "/cases",
    Case,
    "cases:write",
    CustomerNotFound,
    NotFound,
    NotEntitled,
    TrainingNotCovered,
    SerialNumberRequired,
    SerialNumberNotOfCustomer,
)
async def open_case(context: Ctx, body: NewCase) -> Response:
    """Open a case for a customer; 409 with all reasons where nothing pays for it."""
    row = await case_opening.open_case(context, **body.model_dump())
    return created(context, Case.of(row), f"/v1/cases/{row.id}")


@cases.lists("/cases", Case, "cases:read")
async def list_cases(context: Ctx, query: Annotated[CasesQuery, Query()]) -> Response:
    """Cases, newest first; with `queue=true` the open ones in the order to be worked (R31)."""
    filters = query.model_dump(exclude={"limit", "cursor", "queue"})
    if not query.queue:
        return await paginate(context, query, service.search(context, **filters), Case.of)
    if query.cursor is not None:
        raise invalid("query/cursor", "unknown_parameter")
    rows = await service.queue(context, query.limit, **filters)
    page = Page[Case](items=[Case.of(row) for row in rows], next_cursor=None)
    return ok(context, page, etag=False)


@cases.reads("/cases/{case}", Case, "cases:read")
async def get_case(context: Ctx, case: Key) -> Response:
    """One case, by id or number."""
    return ok(context, Case.of(await service.read(context, case)))


@cases.reads("/cases/{case}/timeline", Timeline, "cases:read", etag=False)
async def get_case_timeline(context: Ctx, case: Key) -> Response:
    """The path of a case: every change, comment, time entry and reversal, who and when."""
    events = await service.timeline(context, case)
    return ok(context, Timeline(items=[TimelineEntry.of(event) for event in events]), etag=False)


@cases.reads("/cases/{case}/time-entries/{entry_id}", TimeEntry, "cases:read")
async def get_time_entry(context: Ctx, case: Key, entry_id: Id) -> Response:
    """One time entry, with what stands of its charges."""
    return ok(context, TimeEntry.of(await time_entries.read(context, case, entry_id)))


@cases.patches("/cases/{case}", Case, "cases:work", WrongState)
async def change_case(context: Ctx, case: Key, body: CasePatch) -> Response:
    """Change a case. A case found to be a bug counts nothing; proven none, it is charged again."""
    precondition = if_match(context, Case.of)
    return ok(
        context, Case.of(await case_changes.change(context, case, body.changes(), precondition))
    )


@cases.creates(
    "/cases/{case}/time-entries", TimeEntry, "cases:work", WrongState, WorkedBeforeOpening
)
async def record_time(context: Ctx, case: Key, body: NewTimeEntry) -> Response:
    """Record minutes worked; what no allowance covers is overrun, never refused."""
    row = await time_entries.record(context, case, **body.model_dump())
    location = f"/v1/cases/{row.case_id}/time-entries/{row.id}"
    return created(context, TimeEntry.of(row), location)


@cases.acts(
    "/cases/{case}/time-entries/{entry_id}/reversal",
    TimeEntry,
    "cases:work",
    WrongState,
    AlreadyReversed,
)
async def reverse_time(context: Ctx, case: Key, entry_id: Id, body: ReasonGiven) -> Response:
    """Take a wrong entry back, once; what it counted covers standing overrun first."""
    row = await time_entries.reverse(context, case, entry_id, reason=body.reason)
    return ok(context, TimeEntry.of(row))


@cases.creates("/cases/{case}/comments", TimelineEntry, "cases:write")
async def comment_case(context: Ctx, case: Key, body: NewComment) -> Response:
    """Add to the timeline. An internal comment is for staff."""
    entry = await service.comment(context, case, body=body.body, internal=body.internal)
    return created(context, TimelineEntry.of(entry), f"/v1/cases/{entry.case_id}/timeline")


@cases.acts("/cases/{case}/transition", Case, "cases:work", WrongState)
async def move_case(context: Ctx, case: Key, body: Transition) -> Response:
    """Take a case up, or wait for the customer."""
    return ok(context, Case.of(await case_steps.move(context, case, body.to)))


@cases.acts("/cases/{case}/closure", Case, "cases:work", WrongState)
async def close_case(context: Ctx, case: Key, body: Closure) -> Response:
    """Close a case with its resolution; a ticket that pays for it is consumed (R19)."""
    return ok(context, Case.of(await case_steps.close(context, case, body.resolution)))


@cases.acts("/cases/{case}/reopening", Case, "cases:work", WrongState)
async def reopen_case(context: Ctx, case: Key, body: ReasonGiven) -> Response:
    """Open a closed case again; it takes back the same ticket, expired since or not (R29)."""
    return ok(context, Case.of(await case_steps.reopen(context, case, body.reason)))


@cases.acts("/cases/{case}/cancellation", Case, "cases:work", WrongState, CaseHasWork)
async def cancel_case(context: Ctx, case: Key, body: ReasonGiven) -> Response:
    """Cancel a case on which no time stands; its ticket is released (R19)."""
    return ok(context, Case.of(await case_steps.cancel(context, case, body.reason)))
