"""The examples of the OpenAPI document: one for everything, and each as the service answers."""

from collections.abc import Awaitable, Callable
from difflib import unified_diff

import pytest

from app.services.feed_events import FeedType
from tests.conftest import Server
from tests.contract import DOCUMENT, resolved
from tests.openapi.examples import PATH, make, rendered


def test_every_request_body_and_every_answer_has_an_example() -> None:
    without = []
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            places = {"request": operation.get("requestBody", {})} | {
                status: resolved(response)
                for status, response in operation["responses"].items()
                if status.startswith("2")
            }
            without += [
                f"{operation['operationId']}: {place} {media_type}"
                for place, holder in places.items()
                for media_type, content in holder.get("content", {}).items()
                # A workbook cannot be shown.
                if "example" not in content and content["schema"].get("format") != "binary"
            ]
    assert without == []


async def test_the_examples_are_what_the_service_answers(
    server: Server, new_database: Callable[[], Awaitable[str]]
) -> None:
    url = server.url(await new_database(), server.login)
    made = rendered(await make(url))
    committed = PATH.read_text("utf-8")
    if made != committed:
        changes = unified_diff(committed.splitlines(), made.splitlines(), lineterm="", n=1)
        shown = "\n".join(list(changes)[:40])
        pytest.fail(f"run `python -m tests.openapi.examples`; it changes\n{shown}", pytrace=False)


def test_every_type_of_event_has_an_example() -> None:
    answers = DOCUMENT["paths"]["/v1/events"]["get"]["responses"]
    page = answers["200"]["content"]["application/json"]["example"]
    assert {event["type"] for event in page["items"]} == {*FeedType}
