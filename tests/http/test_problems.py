"""Every refusal is problem+json, in the caller's language, and says nothing that it should not."""

from typing import Annotated, Any

import httpx
import pytest
from pydantic import Field, TypeAdapter, ValidationError

from app.errors import InvalidInput, NotFound, ServiceError, WrongState, by_code
from app.http import fields
from app.http.errors.bodies import CARRYING, ProblemBody
from app.http.errors.catalogue import CATALOGUES
from app.http.errors.invalid_input import explain
from app.http.openapi.problems import CODES, example
from app.http.openapi.responses import problems
from app.http.references import System, SystemReference

MEDIA_TYPE = "application/problem+json"


async def test_body_and_headers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/raise/not_found", headers={"X-Request-Id": "abc-1"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["content-language"] == "en"
    assert answer.json() == {
        "type": "/problems/not_found",
        "title": "Not found",
        "status": 404,
        "detail": "There is nothing here, or nothing that this token may see.",
        "code": "not_found",
        "request_id": "abc-1",
    }


@pytest.mark.parametrize(
    ("language", "words"),
    [("it", ("chiuso", "in lavorazione")), ("de", ("geschlossen", "in Bearbeitung"))],
)
async def test_states_are_named_in_the_language(
    client: httpx.AsyncClient, language: str, words: tuple[str, str]
) -> None:
    answer = await client.get("/v1/raise/wrong_state", headers={"Accept-Language": language})
    assert answer.status_code == 409
    assert answer.headers["content-language"] == language
    body = answer.json()
    assert all(word in body["detail"] for word in words)
    assert (body["state"], body["wanted_state"]) == ("closed", "in_progress")


async def test_challenges(client: httpx.AsyncClient) -> None:
    async def challenge(code: str) -> str:
        answer = await client.get(f"/v1/raise/{code}")
        return answer.headers["www-authenticate"]

    assert await challenge("unauthorized") == "Bearer"
    assert await challenge("wrong_token") == 'Bearer error="invalid_token"'
    assert await challenge("insufficient_scope") == (
        'Bearer error="insufficient_scope", scope="cases:work"'
    )


async def test_extra_never_hides_a_member_of_ours(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/raise/not_entitled")).json()
    assert {reason["code"] for reason in body["reasons"]} > {"no_editor_licence"}
    assert (body["unlocked_by"], body["status"]) != ([], 1)
    assert body["status"] == 409


async def test_a_crash_tells_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/raise/crash")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json()["code"] == "internal_error"
    assert "words" not in answer.text


async def test_service_unavailable_says_when(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/raise/service_unavailable")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_unknown_path(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "allow"), [("/v1/things", "GET, POST"), ("/v1/things/a", "GET, PATCH")]
)
async def test_allow_names_the_methods_of_all_routes(
    client: httpx.AsyncClient, path: str, allow: str
) -> None:
    answer = await client.delete(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert answer.json()["code"] == "method_not_allowed"


async def test_errors_point_at_the_field(client: httpx.AsyncClient) -> None:
    sent = {
        "name": "x" * 201,
        "minutes": "7",
        "contacts": [{"name": "A"}, {"name": None, "e/m~ail": "secret"}, {}],
    }
    answer = await client.post("/v1/things", json=sent, headers={"Accept-Language": "it"})
    assert answer.status_code == 422
    errors = {error["pointer"]: error for error in answer.json()["errors"]}
    assert {pointer: error["code"] for pointer, error in errors.items()} == {
        "/name": "too_long",
        "/minutes": "wrong_type",
        "/contacts/1/name": "null_not_allowed",
        "/contacts/1/e~1m~0ail": "unknown_field",
        "/contacts/2/name": "missing",
    }
    assert errors["/name"]["message"] == "Può avere al massimo 200 caratteri."
    assert errors["/minutes"]["message"] == "Qui è previsto: un numero intero."
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": ',
        b'"\xff"',
        b"[" * 100_000,
        b'{"name": "a", "minutes": ' + b"9" * 5_000 + b"}",
    ],
)
async def test_what_is_no_json(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(
        "/v1/things", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == ("", "malformed_json")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ("[]", "", "wrong_type"),
        ("", "", "missing"),
        ('{"name": "\\ud800"}', "/name", "forbidden_characters"),
        ('{"name": "a\\u0000"}', "/name", "forbidden_characters"),
        ('{"name": "a", "refs": {"\\ud800": "b"}}', "/refs", "forbidden_characters"),
        ('{"name": "a", "refs": {"b": "\\ud800"}}', "/refs/b", "forbidden_characters"),
        ('{"name": "a", "minutes": NaN}', "/minutes", "wrong_type"),
        ('{"name": "a", "minutes": 99999999999999999999}', "/minutes", "too_large"),
    ],
)
async def test_awkward_bodies(
    client: httpx.AsyncClient, body: str, pointer: str, code: str
) -> None:
    answer = await client.post(
        "/v1/things", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert {(one["pointer"], one["code"]) for one in answer.json()["errors"]} == {(pointer, code)}


@pytest.mark.parametrize("type_", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_that_is_not_called_json(client: httpx.AsyncClient, type_: str | None) -> None:
    headers = {} if type_ is None else {"Content-Type": type_}
    answer = await client.post("/v1/things", content=b'{"name": "a"}', headers=headers)
    assert (answer.status_code, answer.headers["accept"]) == (415, "application/json")


async def test_half_a_surrogate_pair_as_a_field_name(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/things",
        content='{"name": "a", "\\ud800": 1}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422


def test_no_name_in_a_pointer_breaks_the_answer() -> None:
    errors = [{"type": "missing", "loc": ("body", "\ud800", "x" * 500, "n")}]
    (error,) = explain(errors, {"\ud800": {"x" * 500: {}}})
    assert error.pointer == f"/?/{'x' * 100}/n"


async def test_errors_are_bounded(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/things", json={f"f{n}" * 99: n for n in range(2_000)})
    assert len(answer.json()["errors"]) == 100
    assert len(answer.content) < 40_000


@pytest.mark.parametrize("path", ["%00", "%ED%A0%80", "%FF", "a%20b", "x" * 65])
async def test_awkward_paths(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get("/v1/things/" + path)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "path/key"


async def test_every_problem_has_its_texts_and_its_page(client: httpx.AsyncClient) -> None:
    codes = set(by_code())
    for catalogue in CATALOGUES.values():
        keys = {key.split(".")[1] for key in catalogue.texts if key.startswith("problems.")}
        assert keys == codes
    for code in codes:
        answer = await client.get(f"/problems/{code}")
        assert answer.status_code == 200
        assert answer.json()["type"] == f"/problems/{code}"
    listed = await client.get("/problems")
    assert {one["code"] for one in listed.json()["items"]} == codes


async def test_page_for_people(client: httpx.AsyncClient) -> None:
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": "de"}
    answer = await client.get("/problems/training_not_covered", headers=headers)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-language"] == "de"
    assert "<h1>Schulung gehört nicht zum Support</h1>" in answer.text
    unknown = await client.get("/problems/<script>", headers=headers)
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, MEDIA_TYPE)
    refused = await client.get("/problems/not_found", headers={"Accept": "image/png"})
    assert refused.status_code == 406


def test_documented_by_status() -> None:
    assert problems(NotFound, WrongState, InvalidInput) == {
        400: {CODES: ["malformed_request"]},
        404: {CODES: ["not_found"]},
        409: {CODES: ["wrong_state"]},
        422: {CODES: ["invalid_input"]},
        431: {CODES: ["headers_too_large"]},
    }


@pytest.mark.parametrize("error", by_code().values(), ids=by_code())
def test_every_problem_has_an_example_that_is_one(error: type[ServiceError]) -> None:
    shown = example(error)
    ProblemBody.model_validate(shown)
    assert shown["code"] == error.code
    if error in CARRYING:
        CARRYING[error].model_validate(shown)


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        (fields.CivilDate, "22.11.2026", "a date, YYYY-MM-DD"),
        (fields.CivilDate, "2026-02-30", "a date, YYYY-MM-DD"),
        (fields.Instant, "2026-11-22", "such as 2026-11-22T10:15:00+01:00"),
        (fields.Id, "4711", "an id, as the service gave it"),
        (fields.Country, "Italia", "such as IT"),
        (fields.Email, "nobody", "an e-mail address"),
        (fields.HttpUrl, "ftp://example.com", "an http or https address"),
        (fields.Code, "a b", "1 to 64 letters, digits"),
        (fields.Key, "a b", "1 to 64 letters, digits"),
        (fields.Clock, "9:00", "HH:MM"),
        (System, "c:rm", "1 to 64 letters, digits"),
        (SystemReference, "crm", "system:reference"),
        (Annotated[str, Field(pattern="^x$")], "y", "description of the interface"),
    ],
)
def test_a_wrong_form_is_told_the_right_one(kind: Any, value: str, form: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    (error,) = explain([dict(each) for each in caught.value.errors()])
    assert error.code == "bad_format"
    message = CATALOGUES["en"].text("input.bad_format", **error.params)
    assert message.startswith("Expected here: ")
    assert form in message
