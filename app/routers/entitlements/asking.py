"""GET /v1/entitlements: what a customer may use, on what grounds, and until when that holds."""

from typing import Annotated

from fastapi import APIRouter
from fastapi import Query as FromQuery
from starlette.requests import Request
from starlette.responses import Response

from app.http.decisions import EntitlementsBody, entitlements_body
from app.http.documented import CACHED, reads
from app.http.etags import json_bytes, json_response, weak_etag
from app.http.fields import QueryFlag, QueryInstant
from app.http.languages import language_of
from app.http.problems import AmbiguousLookup, AnonymousCaller, CustomerNotFound
from app.http.routes import Route, needs
from app.policy.civil import civil_date
from app.policy.decide import decide
from app.policy.document import Policies
from app.routers.entitlements.lookups import LookupQuery, find_customers, the_one

router = APIRouter(prefix="/v1", route_class=Route, tags=["Entitlements"])


class EntitlementsQuery(LookupQuery):
    at: QueryInstant | None = None
    explain: QueryFlag = False


@router.get(
    "/entitlements",
    operation_id="get_entitlements",
    openapi_extra=needs("entitlements:read", reads_token_itself=True),
    response_model=EntitlementsBody,
    responses={**reads(CustomerNotFound, AmbiguousLookup, AnonymousCaller), **CACHED},
)
async def get_entitlements(
    request: Request, query: Annotated[EntitlementsQuery, FromQuery()]
) -> Response:
    """A customer's whole service matrix, with allowances, all reasons, and how long it holds."""
    policies: Policies = request.app.state.policies
    at = query.at or request.state.now
    on = civil_date(at, policies.zone)
    customer = the_one(await find_customers(request, query.lookup(), at, on))
    decision = decide(policies, customer.facts, on)
    language = language_of(request)
    body = entitlements_body(customer, decision, policies, at, language, explained=query.explain)
    headers = {"Content-Language": language}
    if query.at is not None:
        return json_response(request, body, etag=False, headers=headers)
    # The same answer a moment later is the same answer: its tag is over all but the instant.
    said = json_bytes(body)
    etag = weak_etag(_without_instant(said))
    return json_response(request, said, etag=etag, headers=headers)


def _without_instant(said: bytes) -> bytes:
    """The answer but for its member `at`, which the answer's own quotes cannot look like."""
    before, _, rest = said.partition(b',"at":"')
    return before + rest.partition(b'"')[2]
