"""Calls by the client of `openapi/python/`, through something that fails twice for each request.

PROGRAM URL TOKEN ENTITLED SERIAL NOT_ENTITLED: ENTITLED and NOT_ENTITLED are ids of customers,
SERIAL is of a licence of the former. Exits with an error unless every answer is as expected.
"""

import asyncio
import sys
import time
from collections.abc import Callable

import httpx
from assistenza_client import Refused, Retries, Session, connect, every, every_async, expect
from assistenza_client.generated.api.cases import list_cases, open_case
from assistenza_client.generated.api.customers import get_customer, list_customers
from assistenza_client.generated.models import (
    Case,
    CasePage,
    Customer,
    CustomerPage,
    NewCase,
    NotEntitledProblem,
    RequesterFields,
)

url, token, entitled, serial_number, not_entitled = sys.argv[1:]
client = connect(url, token, language="en", retries=Retries(first=0.01))

began = time.monotonic()
customer = expect(Customer, get_customer.sync(client=client, customer=entitled))
assert str(customer.id) == entitled
assert time.monotonic() - began >= 1, "Retry-After was not obeyed"

case = NewCase(
    customer_id=entitled,
    requester=RequesterFields(name="Engineering", email="engineering@example.com"),
    subject="Opened by the Python client",
    description="To see whether it is opened once.",
    serial_number=serial_number,
)
answer = open_case.sync_detailed(client=client, body=case)
opened = expect(Case, answer.parsed)
assert answer.headers["Idempotent-Replayed"] == "true", "the first attempt was not acknowledged"
mine = [
    one
    for one in every(CasePage, list_cases.sync, client=client, customer_id=entitled, limit=1)
    if one.subject == case.subject
]
assert [one.id for one in mine] == [opened.id], "opened more than once"

case.customer_id, case.serial_number = not_entitled, None
refused: Refused | None = None
try:
    expect(Case, open_case.sync(client=client, body=case))
except Refused as error:
    refused = error
assert refused is not None
assert (refused.status, refused.code) == (409, "not_entitled"), refused
assert isinstance(refused.problem, NotEntitledProblem)
assert "no_editor_licence" in [one.code.value for one in refused.problem.reasons]
assert str(refused).startswith("409 not_entitled: "), refused

customers: list[Customer] = list(every(CustomerPage, list_customers.sync, client=client, limit=2))
assert len({one.id for one in customers}) == len(customers) > 2


async def beside_each_other() -> None:
    async with client:
        found = [
            one
            async for one in every_async(
                CustomerPage, list_customers.asyncio, client=client, limit=2
            )
        ]
    assert [one.id for one in found] == [one.id for one in customers]


asyncio.run(beside_each_other())


# What a service that runs well does not show.
def session(answers: list[Callable[[], httpx.Response]]) -> tuple[Session, list[httpx.Request]]:
    """A session that is answered so, and what it has sent."""
    sent: list[httpx.Request] = []

    def send(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return answers[len(sent) - 1]()

    transport = httpx.MockTransport(send)
    return Session(
        base_url="http://test", transport=transport, retries=Retries(attempts=3, first=0.01)
    ), sent


def broken() -> httpx.Response:
    raise httpx.ReadError("broken")


def status(number: int, **headers: str) -> Callable[[], httpx.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: httpx.Response(number, headers=named)


calls, sent = session([broken, status(409, Retry_After="0"), status(201)])
assert calls.post("/v1/cases", json={}).status_code == 201
assert len({request.headers["Idempotency-Key"] for request in sent}) == 1
calls, sent = session([status(409)])
assert calls.post("/v1/cases", headers={"Idempotency-Key": "own"}).status_code == 409
assert [request.headers["Idempotency-Key"] for request in sent] == ["own"]
calls, sent = session([status(503, Retry_After="3600")])
assert calls.get("/v1/cases").status_code == 503
calls, sent = session([status(503, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT"), status(200)])
assert calls.get("/v1/cases").status_code == 200
calls, sent = session([status(502), status(502), status(502)])
assert calls.get("/v1/cases").status_code == 502
assert len(sent) == 3
calls, sent = session([broken])
try:
    calls.post("/v1/sign-in-links/redemption")
except httpx.ReadError:
    assert len(sent) == 1
    assert "Idempotency-Key" not in sent[0].headers
else:
    raise AssertionError("the link was used twice")
later, earlier = "16/B374D848", "16/A0000000"
calls, sent = session(
    [
        status(201, X_Assistenza_Position=later),
        status(201, X_Assistenza_Position=earlier),
        status(200),
    ]
)
calls.post("/v1/cases")
calls.post("/v1/cases")
calls.get("/v1/cases")
assert sent[2].headers["X-Assistenza-Position"] == later
print("done")
