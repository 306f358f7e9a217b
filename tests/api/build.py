"""What tests make over HTTP, so that each says only what it is about."""

import itertools
import secrets
from datetime import date, timedelta
from typing import Any

import httpx

from tests.conftest import Service

_serial = itertools.count(1)
_run = secrets.token_hex(3)


def unique(prefix: str) -> str:
    return f"{prefix}-{_run}-{next(_serial)}"


async def made(answer: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def charges(entry: dict[str, Any]) -> list[tuple[str, int]]:
    """What each allowance paid of a time entry, by its number or a service year's first day."""
    return [
        (c["allowance"]["number"] or c["allowance"]["service_year_start"], c["minutes"])
        for c in entry["charges"]
    ]


def errors(answer: httpx.Response) -> list[tuple[str, str]]:
    """Pointer and code of everything that a 422 finds wrong."""
    assert answer.status_code == 422, answer.text
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


def refused(answer: httpx.Response, code: str, status: int = 409) -> dict[str, Any]:
    """The problem with this code."""
    assert answer.status_code == status, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    return problem


async def recorded(service: Service, customer_id: str, types: str = "%") -> list[tuple[str, str]]:
    """Type and data of a customer's events, in their order."""
    rows = await service.server.run_in(
        service.database_name,
        "SELECT type, data::text AS data FROM events"
        " WHERE customer_id = $1 AND type LIKE $2 ORDER BY id",
        customer_id,
        types,
    )
    return [(row["type"], row["data"]) for row in rows]


class Customer:
    """A customer and all that is made for it."""

    def __init__(self, client: httpx.AsyncClient, body: dict[str, Any], today: date) -> None:
        self.client = client
        self.id: str = body["id"]
        self.code: str = body["code"]
        self.today = today
        self.serials: list[str] = []

    @classmethod
    async def new(cls, client: httpx.AsyncClient, today: date, **fields: Any) -> "Customer":
        code = unique("C")
        body = {"code": code, "name": f"Customer {code}", "country": "IT", **fields}
        return cls(client, await made(await client.post("/v1/customers", json=body)), today)

    async def licence(self, kind: str = "editor", days: int = -30, **fields: Any) -> dict[str, Any]:
        body = {
            "customer_id": self.id,
            "serial_number": unique("S"),
            "kind": kind,
            "product": "Movicon",
            "version": "11",
            "purchased_on": str(self.today + timedelta(days=days)),
            **fields,
        }
        licence = await made(await self.client.post("/v1/licences", json=body))
        self.serials.append(licence["serial_number"])
        return licence

    async def contract(self, days: int = -30, **fields: Any) -> dict[str, Any]:
        body = {
            "customer_id": self.id,
            "starts_on": str(self.today + timedelta(days=days)),
            **fields,
        }
        return await made(await self.client.post("/v1/contracts", json=body))

    async def pack(self, quantity: int = 1, days: int = -30, **fields: Any) -> dict[str, Any]:
        body = {
            "customer_id": self.id,
            "quantity": quantity,
            "purchased_on": str(self.today + timedelta(days=days)),
            **fields,
        }
        return await made(await self.client.post("/v1/ticket-packs", json=body))

    async def try_open(self, **fields: Any) -> httpx.Response:
        body: dict[str, Any] = {
            "customer_id": self.id,
            "requester": {"name": "Plant engineer"},
            "subject": "Screen stays blank",
            "description": "After the start the screen stays blank.",
            **fields,
        }
        if self.serials and "serial_number" not in body:
            body["serial_number"] = self.serials[0]
        return await self.client.post("/v1/cases", json=body)

    async def open(self, **fields: Any) -> dict[str, Any]:
        return await made(await self.try_open(**fields))

    async def entitlements(self, **query: Any) -> dict[str, Any]:
        query = {"customer_id": self.id, **query}
        return await made(await self.client.get("/v1/entitlements", params=query), 200)

    async def service(self, service: str, **query: Any) -> dict[str, Any]:
        answer = await self.entitlements(**query)
        return next(s for s in answer["services"] if s["service"] == service)

    async def case(self, number: str) -> dict[str, Any]:
        return await made(await self.client.get(f"/v1/cases/{number}"), 200)

    async def step(
        self, case: dict[str, Any], step: str, status: int = 200, **body: Any
    ) -> dict[str, Any]:
        answer = await self.client.post(f"/v1/cases/{case['id']}/{step}", json=body)
        return await made(answer, status)

    async def work(self, case: dict[str, Any], minutes: int, **fields: Any) -> dict[str, Any]:
        body = {"technician": "Help desk", "minutes": minutes, **fields}
        answer = await self.client.post(f"/v1/cases/{case['id']}/time-entries", json=body)
        return await made(answer)

    async def patch(self, case: dict[str, Any], status: int = 200, **fields: Any) -> dict[str, Any]:
        answer = await self.client.patch(f"/v1/cases/{case['id']}", json=fields)
        return await made(answer, status)

    async def get(self, path: str) -> dict[str, Any]:
        return await made(await self.client.get(f"/v1/{path}"), 200)

    async def post(self, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
        return await made(await self.client.post(f"/v1/{path}", json=body), status)

    async def close(self, case: dict[str, Any], status: int = 200) -> dict[str, Any]:
        return await self.step(case, "closure", status, resolution="The display was replaced.")

    async def reopen(self, case: dict[str, Any], status: int = 200) -> dict[str, Any]:
        return await self.step(case, "reopening", status, reason="It is blank again.")

    async def cancel(self, case: dict[str, Any], status: int = 200) -> dict[str, Any]:
        return await self.step(case, "cancellation", status, reason="Opened twice.")

    async def entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A time entry as it stands now."""
        return await self.get(f"cases/{entry['case_id']}/time-entries/{entry['id']}")

    async def timeline(self, case: dict[str, Any]) -> list[dict[str, Any]]:
        """All of it, page by page."""
        items: list[dict[str, Any]] = []
        query = "limit=200"
        while True:
            page = await self.get(f"cases/{case['id']}/timeline?{query}")
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            query = f"limit=200&cursor={page['next_cursor']}"

    async def minutes(self, case: dict[str, Any]) -> tuple[int, int, int]:
        """Worked, charged, overrun."""
        shown = await self.case(case["number"])
        return shown["worked_minutes"], shown["charged_minutes"], shown["overrun_minutes"]

    async def reverse(self, entry: dict[str, Any], status: int = 200) -> dict[str, Any]:
        path = f"cases/{entry['case_id']}/time-entries/{entry['id']}/reversal"
        return await self.post(path, status, reason="Written on the wrong case.")

    async def withdraw(self, licence: dict[str, Any], on: date) -> dict[str, Any]:
        path = f"licences/{licence['id']}/withdrawal"
        return await self.post(path, withdrawn_on=str(on), reason="Given back.")

    async def renew(
        self, contract: dict[str, Any], starts: str, status: int = 201, **body: Any
    ) -> dict[str, Any]:
        return await self.post(f"contracts/{contract['id']}/renewal", status, starts=starts, **body)

    async def end(self, contract: dict[str, Any], on: date, status: int = 200) -> dict[str, Any]:
        """Cancel a contract."""
        body = {"cancelled_on": str(on), "reason": "By agreement."}
        return await self.post(f"contracts/{contract['id']}/cancellation", status, **body)
