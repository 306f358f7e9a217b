"""GET /v1/entitlements: what a customer may use, on what grounds, and until when that holds."""

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, NamedTuple

from fastapi import APIRouter
from fastapi import Query as FromQuery
from starlette.requests import Request
from starlette.responses import Response

from app.errors import AmbiguousLookup, AnonymousCaller, CustomerNotFound
from app.http.decisions import EntitlementsBody, entitlements_body
from app.http.etags import weak_etag
from app.http.fields import QueryFlag, QueryInstant
from app.http.languages import Language, language_of
from app.http.legacy import CACHED, Route, needs, reads
from app.http.responses import json_bytes, json_response
from app.policy.civil import civil_date
from app.policy.civil import state as civil_state
from app.policy.decide import decide
from app.policy.document import Policies
from app.routers.entitlements.lookups import LookupQuery, find_customers, the_one
from app.store.facts import Known

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
    language = language_of(request)
    desk = policies.in_force(on).desk_for(customer.country, customer.help_desk)
    same_desk_until = civil_state(desk.schedule, at).changes_at
    question = (policies, customer, on, same_desk_until, language, query.explain)
    said = _said_again(*question) if _was_asked(hash(question)) else _said(*question)
    body = said.before + json_bytes(at) + said.after
    headers = {"Content-Language": language}
    etag = said.etag if query.at is None else False
    return json_response(request, body, etag=etag, headers=headers)


class _Said(NamedTuple):
    """An answer around its instant, and its tag: over all but the instant."""

    before: bytes
    after: bytes
    etag: str


def _said(
    policies: Policies,
    customer: Known,
    on: date,
    same_desk_until: datetime,
    language: Language,
    explained: bool,
) -> _Said:
    facts = customer.facts()
    decision = decide(policies, facts, on)
    # Any instant of the desk's present state will do.
    moment = same_desk_until - timedelta(microseconds=1)
    body = entitlements_body(
        customer, facts, decision, policies, moment, language, explained=explained
    )
    # The member's quotes are nowhere else: inside a text they are escaped.
    before, member, rest = json_bytes(body).partition(b',"at":')
    _, _, after = rest.partition(b',"on":')
    before, after = before + member, b',"on":' + after
    return _Said(before, after, weak_etag(before + after))


# Dashboards, and every step of one call, ask again what has not changed. The facts are read each
# time; where they are the same to the letter, on the same day and with the desk in the same
# state, so is all that is made of them. What is asked once only is not kept: keeping, at some
# five kilobytes each, costs more than it saves.
_KEPT = 2048
_said_again = lru_cache(_KEPT)(_said)
_questions = lru_cache(_KEPT)(lambda _: [False])


def _was_asked(question: int) -> bool:
    """Whether a question, by its hash, was asked not long ago; from now on it was."""
    asked = _questions(question)
    before, asked[0] = asked[0], True
    return before
