"""What the pages of the reserved area share."""

from typing import Any

from app.pages.api import Problem
from app.pages.routing import Pages
from app.pages.sessions import AREA
from app.pages.visit import Visit

area = Pages(AREA)


async def own_customer(visit: Visit) -> dict[str, Any]:
    """The customer to whom the session's token is bound; its language is spoken from here on.

    Raises Problem (401) for a token that is bound to none.
    """
    own = await visit.api.get("/v1/token")
    customer: dict[str, Any] | None = own["customer"]
    if customer is None:
        raise Problem(401, {"code": "unauthorized"})
    visit.prefer(customer["language"])
    return {**customer, "scopes": own["scopes"], "client": own["name"]}
