"""Calls about cases and their time entries."""

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.errors import (
    AlreadyExists,
    AlreadyReversed,
    CaseHasWork,
    CustomerNotFound,
    NotEntitled,
    NotFound,
    NothingToRedact,
    ReopeningTooLate,
    SerialNumberNotOfCustomer,
    SerialNumberRequired,
    TooManyOpenCases,
    TrainingNotCovered,
    WorkedBeforeOpening,
    WrongState,
    invalid,
)
from app.http.context import Ctx
from app.http.corrections import corrected
from app.http.fields import Id, Key
from app.http.paging import Page, PageQuery, paginate
from app.http.resource import Resource
from app.http.responses import created, if_match, ok
from app.routers.cases.schemas import (
    Binding,
    Case,
    CasePatch,
    CasesQuery,
    Closure,
    Move,
    NewCase,
    NewComment,
    NewTimeEntry,
    ReasonGiven,
    TimeEntry,
    TimelineEntry,
    Transition,
)
from app.services import (
    case_binding,
    case_changes,
    case_moves,
    case_opening,
    case_steps,
    redactions,
    time_entries,
)
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
    TooManyOpenCases,
)
async def open_case(context: Ctx, body: NewCase) -> Response:
    """Open a case for a customer.

    The answer is 409 with every reason if nothing pays for the case. With `opened_at`, which needs
    `cases:work`, the case is judged as of that day and paid by what was in force then and has
    something left now.
    """
    limit = context.request.app.state.settings.bound_open_cases
    row = await case_opening.open_case(context, bound_open_cases=limit, **body.model_dump())
    return created(context, Case.of(row), f"/v1/cases/{row.id}")


@cases.lists("/cases", Case, "cases:read")
async def list_cases(context: Ctx, query: Annotated[CasesQuery, Query()]) -> Response:
    """List cases, newest first.

    With `queue=true`: the open cases in the order in which to work on them, one page only.
    """
    filters = service.Filters(**query.model_dump(exclude={"limit", "cursor", "queue"}))
    if not query.queue:
        return await paginate(context, query, service.search(context, filters), Case.of)
    if query.cursor is not None:
        raise invalid("query/cursor", "unknown_parameter")
    rows = await service.queue(context, query.limit, filters)
    page = Page[Case](items=[Case.of(row) for row in rows], next_cursor=None)
    return ok(context, page, etag=False)


@cases.reads("/cases/{case}", Case, "cases:read")
async def get_case(context: Ctx, case: Key) -> Response:
    """Read a case.

    By id or number.
    """
    return ok(context, Case.of(await service.read(context, case)))


@cases.lists("/cases/{case}/timeline", TimelineEntry, "cases:read")
async def get_case_timeline(
    context: Ctx, case: Key, query: Annotated[PageQuery, Query()]
) -> Response:
    """Read the timeline of a case.

    Every change, comment, time entry and reversal, oldest first: who did it and when.
    """
    return await paginate(context, query, await service.timeline(context, case), TimelineEntry.of)


@cases.reads("/cases/{case}/time-entries/{entry_id}", TimeEntry, "cases:read")
async def get_time_entry(context: Ctx, case: Key, entry_id: Id) -> Response:
    """Read one time entry.

    Its charges and overrun are those that remain after reversals.
    """
    return ok(context, TimeEntry.of(await time_entries.read(context, case, entry_id)))


@cases.patches(
    "/cases/{case}",
    Case,
    "cases:work",
    WrongState,
    SerialNumberRequired,
    SerialNumberNotOfCustomer,
)
async def change_case(context: Ctx, case: Key, body: CasePatch) -> Response:
    """Change a case.

    A case reclassified as a bug gives back its minutes and its ticket. One that proves to be no
    bug is charged again.
    """
    precondition = if_match(context, Case.of)
    row = await case_changes.change(context, case, body.changes(), precondition)
    return ok(context, Case.of(row))


@cases.creates(
    "/cases/{case}/time-entries", TimeEntry, "cases:work", WrongState, WorkedBeforeOpening
)
async def record_time(context: Ctx, case: Key, body: NewTimeEntry) -> Response:
    """Record minutes worked on a case.

    Minutes that no allowance covers are recorded as overrun; they are not refused.
    """
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
    """Reverse a wrong time entry, once.

    The minutes that its allowance gets back first cover overrun of that allowance.
    """
    row = await time_entries.reverse(context, case, entry_id, reason=body.reason)
    return ok(context, TimeEntry.of(row))


@cases.creates("/cases/{case}/comments", TimelineEntry, "cases:write", WrongState)
async def comment_case(context: Ctx, case: Key, body: NewComment) -> Response:
    """Add a comment to the timeline of a case.

    Tokens bound to a customer do not see internal comments.
    """
    entry = await service.comment(context, case, body=body.body, internal=body.internal)
    return created(context, TimelineEntry.of(entry), f"/v1/cases/{entry.case_id}/timeline")


@cases.acts(
    "/cases/{case}/comments/{comment_id}/redaction",
    TimelineEntry,
    "cases:work",
    NothingToRedact,
    etag=False,
)
async def redact_comment(context: Ctx, case: Key, comment_id: Id, body: ReasonGiven) -> Response:
    """Take the text out of a comment, for good.

    It disappears everywhere: from the timeline, events and stored answers. The timeline shows who
    took it out, when and why; the answer is that entry. The id of a comment stands in its `data`.
    """
    entry = await redactions.redact_comment(context, case, comment_id, reason=body.reason)
    return ok(context, TimelineEntry.of(entry), etag=False)


@cases.acts(
    "/cases/{case}/time-entries/{entry_id}/redaction", TimeEntry, "cases:work", NothingToRedact
)
async def redact_note(context: Ctx, case: Key, entry_id: Id, body: ReasonGiven) -> Response:
    """Take the note out of a time entry, for good.

    Minutes and charges stay. The timeline shows who took it out, when and why.
    """
    row = await redactions.redact_note(context, case, entry_id, reason=body.reason)
    return ok(context, TimeEntry.of(row))


@cases.acts("/cases/{case}/transition", Case, "cases:work", WrongState)
async def move_case(context: Ctx, case: Key, body: Transition) -> Response:
    """Take a case up, or wait for the customer.

    A step that the state of the case does not allow is refused, and the problem names both states.
    """
    return ok(context, Case.of(await case_steps.move(context, case, body.to)))


@cases.corrects(
    "/cases/{case}/move",
    Case,
    "cases:work",
    WrongState,
    CustomerNotFound,
    AlreadyExists,
    NotEntitled,
    SerialNumberRequired,
    SerialNumberNotOfCustomer,
)
async def move_to_customer(context: Ctx, case: Key, body: Move) -> Response:
    """Move a case to the right customer.

    Here everything that it counted is taken back, and it ends as cancelled. There a new case begins
    at the same instant, in the same state: it is bound by what was in force on that day, and its
    time counts on the days worked. The answer is the new case.
    """
    lock = partial(case_moves.lock, context, case, body.customer_id)
    step = partial(case_moves.move, context, case)
    return await corrected(context, body, lock, step, Case.of)


@cases.acts("/cases/{case}/closure", Case, "cases:work", WrongState)
async def close_case(context: Ctx, case: Key, body: Closure) -> Response:
    """Close a case with its resolution.

    If a ticket pays for the case, the ticket is consumed.
    """
    return ok(context, Case.of(await case_steps.close(context, case, body.resolution)))


@cases.acts("/cases/{case}/reopening", Case, "cases:work", WrongState, ReopeningTooLate)
async def reopen_case(context: Ctx, case: Key, body: ReasonGiven) -> Response:
    """Reopen a closed case.

    The case holds its ticket again, even if the ticket has expired.
    """
    return ok(context, Case.of(await case_steps.reopen(context, case, body.reason)))


@cases.acts("/cases/{case}/binding", Case, "cases:work", WrongState, NotEntitled)
async def bind_case(context: Ctx, case: Key, body: Binding) -> Response:
    """Bind a case that nothing pays for.

    To what can pay today: all its time counts there.
    """
    return ok(context, Case.of(await case_binding.bind_case(context, case, body.pay_with)))


@cases.acts("/cases/{case}/cancellation", Case, "cases:work", WrongState, CaseHasWork)
async def cancel_case(context: Ctx, case: Key, body: ReasonGiven) -> Response:
    """Cancel a case on which no time is recorded.

    Reversed time entries do not count. If the case holds a ticket, the ticket is released.
    """
    return ok(context, Case.of(await case_steps.cancel(context, case, body.reason)))
