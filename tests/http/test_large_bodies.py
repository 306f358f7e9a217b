"""What a large body costs before it is refused: the event loop serves nobody else meanwhile.

Counted, not timed: `tests/benchmarks/longest.py` prints the times.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args, get_origin

import httpx
import pytest
from pydantic import ValidationError
from starlette.requests import Request

from app.errors import MOST_ERRORS, InputError, InvalidInput
from app.http.fields import Input, Listed
from app.http.routes import MOST_VALUES
from app.routers.customers.schemas import NewCustomer
from app.services import contacts
from app.services.contacts import MOST_CONTACTS, MOST_PHONES, GivenContact, in_e164
from app.services.tokens import SCOPES
from tests.api.build import errors
from tests.conftest import Service


@pytest.fixture(scope="module")
async def staff(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with await service.client_with(*SCOPES) as client:
        yield client


def _numbers(count: int) -> bytes:
    """A body of so many values, of which only the field's name is wrong."""
    return b'{"x":[' + b",".join([b"0"] * (count - 2)) + b"]}"


@pytest.mark.parametrize("path", ["/v1/customers", "/v1/entitlements/simulation"])
async def test_a_body_of_too_many_values_is_refused_unparsed(
    staff: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    read = Request.json

    async def watched(request: Request) -> Any:
        parsed.append(request.url.path)
        return await read(request)

    monkeypatch.setattr(Request, "json", watched)
    headers = {"Content-Type": "application/json"}
    empty_lists = b'{"x":[' + b",".join([b"[]"] * 300_000) + b"]}"
    assert len(empty_lists) < 1_048_576
    for body in (empty_lists, _numbers(MOST_VALUES + 2)):
        answer = await staff.post(path, content=body, headers=headers)
        assert errors(answer) == [("", "too_many_values")]
    assert parsed == []
    answer = await staff.post(path, content=_numbers(MOST_VALUES), headers=headers)
    assert ("/x", "unknown_field") in errors(answer)
    assert parsed == [path]


def _inputs(model: type[Input] = Input) -> Iterator[type[Input]]:
    for one in model.__subclasses__():
        yield one
        yield from _inputs(one)


def _in_lists(annotation: Any, inside: bool = False) -> Iterator[type[Input]]:
    """The models that occur in a list somewhere in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Input):
        if inside:
            yield annotation
        return
    for part in get_args(annotation):
        yield from _in_lists(part, inside or get_origin(annotation) is list)


def test_what_a_body_has_many_of_reports_few_of_its_unknown_fields() -> None:
    listed = {
        one
        for model in _inputs()
        if model.__module__.startswith("app.routers.")
        for field in model.model_fields.values()
        for one in _in_lists(field.annotation)
    }
    assert {one.__name__ for one in listed} >= {"ContactFields", "PackAssumed", "SentUpgrade"}
    assert [one for one in listed if not issubclass(one, Listed)] == []


def test_few_errors_are_made_for_a_body_of_many_faults() -> None:
    """10,103 of them, for an answer that lists 100, took 50 ms."""
    contact = {f"x{n}": 0 for n in range(200)}
    with pytest.raises(ValidationError) as caught:
        NewCustomer.model_validate({"contacts": [contact] * MOST_CONTACTS})
    assert MOST_ERRORS < caught.value.error_count() < 12 * MOST_ERRORS


def test_wrong_telephone_numbers_are_read_until_an_answer_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []
    monkeypatch.setattr(contacts, "e164", lambda text, _: read.append(text))
    given = [GivenContact("A", None, ["x"] * MOST_PHONES)] * MOST_CONTACTS
    with pytest.raises(InvalidInput) as caught:
        in_e164(given, "IT")
    assert len(caught.value.errors) == MOST_ERRORS
    assert len(read) == MOST_ERRORS


def test_no_answer_lists_more_errors() -> None:
    found = InvalidInput(*(InputError(f"/x/{n}", "blank") for n in range(1_000)))
    assert len(found.errors) == MOST_ERRORS
