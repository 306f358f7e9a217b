"""The thirteen months behind the demo's examples: whole, in the past, and the same every time."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any, get_args

import pytest
from sqlalchemy import func, select

from app.demo import prepare
from app.demo.firms import FIRMS
from app.demo.history import load_history
from app.demo.loading import SCOPES
from app.ids import new_id
from app.policy.civil import add_months, start_of_day
from app.policy.document import Channel
from app.services.unit_of_work import Caller
from app.store.tables import cases, events, time_entries
from tests.conftest import Service

NewService = Callable[..., Awaitable[Service]]


@pytest.fixture(scope="module")
async def demo(new_service: NewService) -> Service:
    service = await new_service()
    await prepare(service.app.state.settings)
    return service


async def test_each_firm_stands_where_it_says(demo: Service) -> None:
    async with await demo.client_with("entitlements:read") as client:
        for firm in FIRMS:
            query = {"customer_code": firm.customer.code}
            answer = await client.get("/v1/entitlements", params=query)
            assert answer.json()["columns"] == firm.customer.columns, firm.customer.code


async def test_every_month_has_cases_of_every_channel(demo: Service) -> None:
    of_history = {firm.customer.code for firm in FIRMS}
    found: list[dict[str, Any]] = []
    async with await demo.client_with("cases:read", "customers:read") as client:
        for code in of_history:
            page = await client.get("/v1/cases", params={"customer_id": code, "limit": "200"})
            found += page.json()["items"]
    today = demo.today()
    months = Counter(one["opened_at"][:7] for one in found)
    for ago in range(1, 13):
        assert months[add_months(today, -ago).isoformat()[:7]] >= 3, (ago, months)
    assert {one["channel"] for one in found} == set(get_args(Channel))
    assert {one["paid_by"]["kind"] for one in found} == {"free_hours", "contract", "ticket", "none"}
    still_open = {one["state"] for one in found} - {"closed", "cancelled"}
    assert still_open == {"open", "waiting_for_customer"}
    assert max(one["opened_at"] for one in found) < today.isoformat()


async def test_the_history_refuses_reverses_and_ends_before_the_day_of_loading(
    demo: Service,
) -> None:
    begins = start_of_day(demo.today(), demo.policies.zone)
    async with demo.database.reading.connect() as connection:
        rows = await connection.execute(
            select(events.c.type).where(events.c.occurred_at < begins).distinct()
        )
        kinds = set(rows.scalars())
        last = await connection.scalar(
            select(func.max(time_entries.c.recorded_at)).where(time_entries.c.recorded_at < begins)
        )
    assert {"case.refused", "case.closed", "case.cancelled", "contract.renewed"} <= kinds
    assert last is not None
    assert last > begins - timedelta(days=14)


@pytest.mark.long
@pytest.mark.parametrize(
    "today",
    [date(2028, 2, 29), date(2027, 3, 29), date(2027, 10, 31), date(2027, 1, 1), date(2027, 8, 16)],
)
async def test_it_can_be_loaded_on_any_day(new_service: NewService, today: date) -> None:
    service = await new_service()
    caller = Caller(new_id(), "loader", frozenset(SCOPES), None)
    async with service.database.writing.begin() as connection:
        await load_history(connection, caller, service.policies, today)
        opened = await connection.scalar(select(func.count()).select_from(cases))
    assert opened is not None
    assert opened > 100
