"""Visitors of the pages."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date

import httpx
import pytest

from app.services.tokens import BOUND_SCOPES
from tests.api.build import Customer, made
from tests.conftest import Service
from tests.pages.visitor import Visitor

NewVisitor = Callable[..., Awaitable[Visitor]]


async def link_of(client: httpx.AsyncClient, customer: str, *scopes: str, **more: int) -> str:
    """The address of a new sign-in link."""
    body = {"scopes": list(scopes) or sorted(BOUND_SCOPES), **more}
    url: str = (await made(await client.post(f"/v1/customers/{customer}/tokens", json=body)))["url"]
    return url


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    """A customer who has one of everything."""
    contact = {"name": "Anna Rossi", "email": "anna@c.example.com", "phones": []}
    customer = await Customer.new(client, today, name="Esempio S.r.l.", contacts=[contact])
    await customer.licence(days=-40)
    await customer.contract(days=-20)
    await customer.pack(3)
    return customer


@pytest.fixture
async def visit(
    service: Service, client: httpx.AsyncClient, customer: Customer
) -> AsyncIterator[NewVisitor]:
    """Makes visitors who have entered the customer's area with some scopes; all by default."""
    visitors: list[Visitor] = []

    async def new(*scopes: str, language: str = "en", of: Customer = customer) -> Visitor:
        visitor = Visitor(service, **{"Accept-Language": language})
        visitors.append(visitor)
        await visitor.enter(await link_of(client, of.id, *scopes))
        return visitor

    yield new
    for visitor in visitors:
        await visitor.client.aclose()
