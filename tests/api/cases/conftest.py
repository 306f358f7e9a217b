"""What the tests of cases share."""

from datetime import date

import httpx
import pytest

from tests.api.build import Customer
from tests.api.cases import DAY, Travel


@pytest.fixture
def today(travel: Travel) -> date:
    """Noon (UTC) of the first day, until a test travels."""
    travel(DAY)
    return DAY


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    return await Customer.new(client, today)


@pytest.fixture
async def holder(customer: Customer) -> Customer:
    """A customer with an Editor bought long ago: no free hours, contracts may be signed."""
    await customer.licence(days=-800)
    return customer
