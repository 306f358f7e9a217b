"""Texts of closed cases are cleared after the days that the operator sets (R43)."""

from datetime import date, timedelta

import httpx

from app import clock
from app.jobs.housekeeping import Housekeeping
from app.services.retention import CLEARED, clear_texts
from app.services.tokens import BOUND_SCOPES
from tests.api.build import Customer, made, unique
from tests.api.cases.test_redaction import found_in_database
from tests.conftest import Service


async def _age(service: Service, case_id: str, days: int) -> None:
    await service.server.run_in(
        service.database_name,
        "UPDATE cases SET updated_at = updated_at - make_interval(days => $2) WHERE id = $1",
        case_id,
        days,
    )


async def test_texts_of_old_closed_cases_are_cleared(
    client: httpx.AsyncClient, service: Service, today: date
) -> None:
    customer = await Customer.new(client, today)
    await customer.licence()
    marker, kept = unique("MARKER"), unique("KEPT")
    old, cancelled = [
        await customer.open(subject=marker, description=marker, steps_to_reproduce=marker)
        for _ in range(2)
    ]
    is_open, recent = [await customer.open(subject=kept, description=kept) for _ in range(2)]
    await customer.step(old, "comments", 201, body=marker)
    wrong = await customer.work(old, 5, note=marker)
    await customer.post(f"cases/{old['id']}/time-entries/{wrong['id']}/reversal", reason=marker)
    await customer.work(old, 25, note=marker)
    await customer.step(old, "closure", resolution=marker)
    await customer.step(cancelled, "cancellation", reason=marker)
    await customer.step(recent, "closure", resolution=kept)
    minutes = await customer.minutes(old)
    for case in (old, cancelled, is_open):
        await _age(service, case["id"], 31)

    now = clock.now()
    async with service.database.writing.begin() as connection:
        # Other tests may have left older ones.
        while await clear_texts(connection, now, now - timedelta(days=32)):
            pass
    assert (await customer.case(old["number"]))["description"] == marker
    async with service.database.writing.begin() as connection:
        assert await clear_texts(connection, now, now - timedelta(days=30)) == 2
    # Stored answers are deleted after two days; no key was used here.
    assert await found_in_database(service, marker) == []
    shown = await customer.case(old["number"])
    assert (shown["subject"], shown["description"], shown["resolution"]) == (CLEARED,) * 3
    assert shown["steps_to_reproduce"] is None
    assert shown["requester"] == old["requester"]
    assert await customer.minutes(old) == minutes
    assert [one["type"] for one in await customer.timeline(old)][-1] == "case.closed"
    for case in (is_open, recent):
        assert (await customer.case(case["number"]))["description"] == kept
    async with service.database.writing.begin() as connection:
        assert await clear_texts(connection, now, now - timedelta(days=30)) == 0

    # A comment written afterwards is kept as long as one written at the closing.
    later = unique("MARKER")
    await customer.step(shown, "comments", 201, body=later)
    async with await service.client_with(*BOUND_SCOPES, customer_id=customer.id) as bound:
        await made(await bound.post(f"/v1/cases/{old['id']}/comments", json={"body": later}))
    for age, cleared in ((0, 0), (31, 1)):
        await _age(service, old["id"], age)
        async with service.database.writing.begin() as connection:
            assert await clear_texts(connection, now, now - timedelta(days=30)) == cleared
    assert await found_in_database(service, later) == []

    # Texts written after a reopening are new.
    await customer.reopen(shown)
    again = unique("MARKER")
    await customer.step(shown, "closure", resolution=again)
    await _age(service, old["id"], 31)
    async with service.database.writing.begin() as connection:
        assert await clear_texts(connection, now, now - timedelta(days=30)) == 1
    assert await found_in_database(service, again) == []


async def test_housekeeping_clears_them_if_it_is_told_to(
    client: httpx.AsyncClient, service: Service, today: date
) -> None:
    customer = await Customer.new(client, today)
    await customer.licence()
    case = await customer.open()
    await customer.close(case)
    await _age(service, case["id"], 11)
    await Housekeeping().tidy(service.database)
    assert (await customer.case(case["number"]))["description"] == case["description"]
    await Housekeeping(10).tidy(service.database)
    assert (await customer.case(case["number"]))["description"] == CLEARED
