"""`reconcile` compares what is kept of each customer with what the rules say."""

from datetime import timedelta

import httpx

from app import clock
from app.services import standings
from app.store.reconcile import snapshot
from tests.api.build import Customer
from tests.conftest import Service, follow_all, publish_all


async def compared(service: Service) -> tuple[int, list[tuple[str | None, str, str | None]]]:
    """How many standings were compared, and what differs: customer, field, stored value."""
    async with snapshot(service.database) as now:
        found = [
            one
            async for one in standings.differences(now.connection, service.policies, clock.now())
        ]
    return len(found), [(one.customer, one.field, one.kept) for one in found if one is not None]


async def tamper(service: Service, statement: str, *parameters: object) -> None:
    assert await service.server.run_in(
        service.database_name, f"{statement} RETURNING 1", *parameters
    )


async def test_a_standing_that_is_wrong_is_found(
    service: Service, client: httpx.AsyncClient
) -> None:
    one, other = [await Customer.new(client, service.today()) for _ in range(2)]
    await one.licence()
    await one.contract()
    await one.pack(3)
    await follow_all(service)
    assert await compared(service) == (2, [])

    of_one = "FROM customers c WHERE c.id = s.customer_id AND c.code = $1"
    await tamper(
        service, f"UPDATE standings s SET valid_until = '2150-01-01T00:00:00Z' {of_one}", one.code
    )
    of_other = "(SELECT s.kind_id FROM standings s JOIN customers c ON c.id = s.customer_id"
    await tamper(
        service,
        f"UPDATE standings s SET kind_id = {of_other} WHERE c.code = $2) {of_one}",
        one.code,
        other.code,
    )
    _, wrong = await compared(service)
    assert (one.code, "columns", "NO_DEV") in wrong
    assert (one.code, "valid_until", "2150-01-01 00:00:00+00:00") in wrong
    assert {(None, "customers", "1")} <= {*wrong}
    assert other.code not in {customer for customer, *_ in wrong}

    await tamper(
        service,
        "DELETE FROM standings s USING customers c WHERE s.customer_id = c.id AND c.code = $1",
        other.code,
    )
    _, wrong = await compared(service)
    assert (other.code, "columns", None) in wrong


async def test_an_allowance_that_is_wrong_is_found(
    service: Service, client: httpx.AsyncClient
) -> None:
    one = await Customer.new(client, service.today())
    await one.licence()
    contract = await one.contract()
    pack = await one.pack(3)
    await follow_all(service)
    _, wrong = await compared(service)
    assert one.code not in {customer for customer, *_ in wrong}

    of_one = "FROM customers c WHERE c.id = a.customer_id AND c.code = $1"
    change = "UPDATE allowance_standings a SET"
    await tamper(service, f"{change} used = 7 {of_one} AND kind = 'contract'", one.code)
    await tamper(service, f"{change} ends = '{{}}' {of_one} AND kind = 'ticket_pack'", one.code)
    await tamper(
        service,
        "DELETE FROM allowance_standings a USING customers c"
        " WHERE c.id = a.customer_id AND c.code = $1 AND kind = 'free_hours'",
        one.code,
    )
    await tamper(
        service,
        "INSERT INTO allowance_standings SELECT customer_id, 'another', kind, number, starts_on,"
        " ends_on, stops_on, granted, used, held, overrun, cancelled, begun"
        f" FROM allowance_standings WHERE number = '{pack['number']}'",
    )
    async with snapshot(service.database) as now:
        found = {
            (one.subject, one.field, one.kept, one.ledger is None)
            async for one in standings.differences(now.connection, service.policies, clock.now())
            if one is not None
        }
    year = service.today() - timedelta(days=30)
    assert {
        (f"allowance {contract['number']}", "used", "7", False),
        (f"allowance {pack['number']}", "ends", "{}", False),
        (f"allowance {year}", "kind", None, False),
        ("allowance another", "kind", "ticket_pack", True),
    } <= found


async def test_what_is_on_its_way_is_not_compared(
    service: Service, client: httpx.AsyncClient
) -> None:
    customer = await Customer.new(client, service.today())
    await follow_all(service)
    before, _ = await compared(service)
    await customer.licence()
    now, wrong = await compared(service)
    assert now == before - 1
    assert customer.code not in {one for one, *_ in wrong}
    await publish_all(service)
    assert (await compared(service))[0] == before - 1
    await follow_all(service)
    now, wrong = await compared(service)
    assert now >= before
    assert customer.code not in {one for one, *_ in wrong}
