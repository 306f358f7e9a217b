"""The civil date of a request, in the vendor's time zone: turned once, at the edge."""

from datetime import date
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from app.http.routes import Now
from app.policy.civil import civil_date
from app.policy.document import Policies


async def _policies(request: Request) -> Policies:
    policies: Policies = request.app.state.policies
    return policies


Rules = Annotated[Policies, Depends(_policies)]
"""Every version of the policy."""


async def _today(now: Now, policies: Rules) -> date:
    return civil_date(now, policies.zone)


Today = Annotated[date, Depends(_today)]
"""The civil date on which the request arrived."""
