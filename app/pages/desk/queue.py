"""The queue of open cases, in the order in which to work on them (R31)."""

import asyncio

from starlette.responses import Response

from app.pages.staff.site import names_of, staff, unless_known, whoami, zone
from app.pages.visit import Visit

_MOST = "200"


@staff.get("/desk")
async def queue(visit: Visit) -> Response:
    """All open cases, or those of the technician who is signed in."""
    who = await whoami(visit)
    mine = visit.query.get("mine") == "1"
    cases, backlog, clock_of = await asyncio.gather(
        visit.api.get(
            "/v1/cases", queue="true", limit=_MOST, technician=who.technician if mine else None
        ),
        visit.api.find("/v1/usage/backlog"),
        zone(visit),
    )
    items, oldest = cases["items"], backlog["oldest"] if backlog else []
    response = visit.render(
        "desk/queue.html",
        who=who,
        mine=mine,
        cases=items,
        names=await names_of(visit, [one["customer_id"] for one in items]),
        aged={one["number"]: one for one in oldest},
        due=any(one["due_at"] or one["overdue"] for one in oldest),
        zone=clock_of,
    )
    return unless_known(visit, response)


@staff.get("/desk/stream")
async def stream(visit: Visit) -> Response:
    """What happens, as server-sent events: of one customer, if the address names it."""
    customer = visit.query.get("customer")
    query = {} if customer is None else {"customer_id": customer[:64]}
    return visit.pass_on("/v1/events/stream", **query)
