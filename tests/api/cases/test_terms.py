"""What an allowance grants is fixed by the policy in force on its first day (R17)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta

import httpx
import pytest

from app.main import create_app
from app.policy.document import Policies
from app.services.tokens import SCOPES
from app.settings import Settings
from tests.api.build import Customer
from tests.api.cases import DAY, Travel
from tests.conftest import Service

LATER = DAY + timedelta(days=20)


@pytest.fixture
async def customer(
    service: Service, policies: Policies, client: httpx.AsyncClient, travel: Travel
) -> AsyncIterator[Customer]:
    """Under a policy that halves everything from a later day on."""
    first = policies.versions[0]
    was = first.allowances
    allowances = was.model_copy(
        update={
            "free_hours": was.free_hours.model_copy(update={"minutes": 150, "months": 6}),
            "contract": was.contract.model_copy(update={"minutes": 600, "months": 6}),
            "ticket": was.ticket.model_copy(update={"months": 6}),
        }
    )
    second = first.model_copy(update={"effective_from": LATER, "allowances": allowances})
    changed = Policies([first, second])
    settings = Settings(database_url=service.server.url(service.database_name))
    app = create_app(settings, policies=changed, database=service.database)
    travel(LATER + timedelta(days=10))
    made = replace(service, app=app, policies=changed)
    async with await made.client_with(*SCOPES) as theirs:
        customer = await Customer.new(client, LATER)
        customer.client = theirs
        yield customer


@pytest.mark.parametrize(
    ("first_day", "months", "minutes"),
    [(LATER - timedelta(days=1), 12, (300, 1200)), (LATER, 6, (150, 600))],
)
async def test_by_the_policy_of_the_first_day(
    customer: Customer, first_day: date, months: int, minutes: tuple[int, int]
) -> None:
    """R17: a contract's start, a pack's purchase, a service year's first day; never rewritten."""
    await customer.licence(purchased_on=str(first_day))
    await customer.contract(starts_on=str(first_day))
    await customer.pack(purchased_on=str(first_day))
    year, contract, pack = (await customer.entitlements())["allowances"]
    assert (year["granted_minutes"], contract["granted_minutes"]) == minutes
    ends = {12: first_day.replace(year=first_day.year + 1), 6: date(2026, 9, 30)}[months]
    assert [one["ends_on"] for one in (year, contract, pack)] == [str(ends)] * 3
    # Charged, and so recorded, it is the same year.
    entry = await customer.work(await customer.open(), 400)
    assert entry["charges"][0]["minutes"] == minutes[0]
    year = (await customer.entitlements())["allowances"][0]
    assert (year["granted_minutes"], year["remaining_minutes"]) == (minutes[0], 0)


async def test_a_contracts_own_minutes_outlive_every_policy(customer: Customer) -> None:
    """R17."""
    await customer.licence(days=-800)
    contract = await customer.contract(days=0, included_minutes=77)
    entry = await customer.work(await customer.open(), 80)
    assert (entry["charges"][0]["minutes"], entry["overrun_minutes"]) == (77, 3)
    assert (await customer.get(f"contracts/{contract['id']}"))["included_minutes"] == 77
