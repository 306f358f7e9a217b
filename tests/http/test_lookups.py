"""The fast read: handlers that could skip the token's check are refused, answers are kept."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.http.answer_memory import AnswerKey, AnswerMemory, RenderedAnswer
from app.http.fields import Output, QueryInstant
from app.http.lookups import AdmittedLookup, LookupQuery, LookupRoute
from app.http.resource import Resource
from app.policy.civil import DeskState
from app.policy.document import load
from app.store.facts import Known


class ToyQuery(LookupQuery):
    at: QueryInstant | None = None


class Listed(LookupQuery):
    codes: list[str] = []


async def no_lookup(request: Request) -> Response:
    return Response(b"anybody reads this")


async def a_query_alone(query: ToyQuery) -> Response:
    return Response(b"anybody reads this")


async def another_question(lookup: AdmittedLookup[LookupQuery]) -> Response:
    return Response()


async def something_besides(lookup: AdmittedLookup[ToyQuery], request: Request) -> Response:
    return Response()


async def without_types(lookup):  # type: ignore[no-untyped-def]
    return Response()


async def admitted(lookup: AdmittedLookup[ToyQuery]) -> Response:
    return Response()


async def listed(lookup: AdmittedLookup[Listed]) -> Response:
    return Response()


@pytest.mark.parametrize(
    "handler", [no_lookup, a_query_alone, another_question, something_besides, without_types]
)
def test_a_handler_that_could_answer_without_a_check_is_refused_at_import(handler: Any) -> None:
    declare: Any = Resource("Toys").looks_up("/toy", Output, "entitlements:read", ToyQuery)
    with pytest.raises(TypeError, match=r"AdmittedLookup\[ToyQuery\]"):
        declare(handler)
    with pytest.raises(TypeError, match=r"AdmittedLookup\[ToyQuery\]"):
        LookupRoute("/toy", handler, scope="entitlements:read", question=ToyQuery)


def test_a_handler_of_the_admitted_lookup_is_taken() -> None:
    declare = Resource("Toys").looks_up("/toy", Output, "entitlements:read", ToyQuery)
    assert declare(admitted) is admitted
    route = LookupRoute("/toy", admitted, scope="entitlements:read", question=ToyQuery)
    assert route.scope == "entitlements:read"


def test_a_lookup_route_names_its_scope_and_has_no_lists() -> None:
    router: Any = APIRouter(route_class=LookupRoute)
    with pytest.raises(TypeError, match="scope"):
        router.get("/toy")(admitted)
    with pytest.raises(TypeError, match="lists"):
        LookupRoute("/toy", listed, scope="entitlements:read", question=Listed)


def test_an_answer_is_kept_from_its_second_request_on() -> None:
    rendered: list[AnswerKey] = []

    def render(key: AnswerKey) -> RenderedAnswer:
        rendered.append(key)
        return RenderedAnswer(key.customer.document.encode(), b"", "W/1")

    memory = AnswerMemory(1, render)
    policies = load()

    def ask(document: str) -> bytes:
        customer = Known(UUID(int=1), "C-1", "Acme", "IT", "it", None, document)
        noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
        key = AnswerKey(policies, customer, date(2026, 11, 23), DeskState(True, noon), "en", False)
        return memory.answer(key).before

    assert [ask("one") for _ in range(4)] == [b"one"] * 4
    assert len(rendered) == 2
    assert ask("other") == b"other"
    assert len(rendered) == 3
    # There is room for one question, so the first is as if it had never been asked.
    assert ask("one") == b"one"
    assert ask("one") == b"one"
    assert [one.customer.document for one in rendered] == ["one", "one", "other", "one"]
