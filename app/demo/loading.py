"""Sends the steps of the examples one after the other, as any client would."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import httpx

from app.demo.abroad import ABROAD
from app.demo.germany import GERMANY
from app.demo.italy import ITALY
from app.demo.steps import Known, Step

CUSTOMERS = ITALY + GERMANY + ABROAD

SCOPES = (
    "customers:read",
    "customers:write",
    "licences:write",
    "contracts:write",
    "tickets:write",
    "cases:write",
    "cases:work",
)
"""The scopes that loading needs."""


class StepRefused(Exception):
    """The service refused a step."""


async def load_records(client: httpx.AsyncClient, today: date) -> None:
    """Load every customer with its licences, contracts and ticket packs.

    `today` is the date to which the examples' dates are relative. A second run takes the first
    run's date, because steps already done are recognised by an equal body. Raises StepRefused.
    """
    for customer in CUSTOMERS:
        steps = (Step("/v1/customers", customer.body, keeps="customer"), *customer.records)
        await _run(client, f"{customer.code}-record", steps, {}, today)


async def load_cases(client: httpx.AsyncClient, today: date) -> None:
    """Load every customer's cases, after `load_records`. Raises StepRefused."""
    for customer in CUSTOMERS:
        if customer.cases:
            contact = customer.contacts[0]
            known = {
                "customer": (await client.get(f"/v1/customers/{customer.code}")).json()["id"],
                "requester": {
                    "name": contact["name"],
                    "email": contact["email"],
                    "phone": contact["phones"][0],
                },
            }
            await _run(client, f"{customer.code}-case", customer.cases, known, today)


async def _run(
    client: httpx.AsyncClient,
    key: str,
    steps: Iterable[Step],
    known: dict[str, Any],
    today: date,
) -> None:
    for position, step in enumerate(steps):
        path = step.path.format_map(known)
        headers = {} if step.method == "PATCH" else {"Idempotency-Key": f"{key}-{position}"}
        body = {name: _filled(value, known, today) for name, value in step.body.items()}
        answer = await client.request(step.method, path, json=body, headers=headers)
        if not answer.is_success:
            problem = answer.json()
            raise StepRefused(
                f"{step.method} {path} was answered {answer.status_code} {problem['code']}:"
                f" {problem['detail']}"
            )
        if step.keeps:
            known[step.keeps] = answer.json()["id"]


def _filled(value: Any, known: Mapping[str, Any], today: date) -> Any:
    if isinstance(value, Known):
        return known[value.name]
    return value(today).isoformat() if callable(value) else value
