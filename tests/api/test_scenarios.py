"""Every scenario again, over HTTP and PostgreSQL: the day of the question is today."""

from datetime import date, datetime
from typing import Any

import httpx
import pytest

from app.policy.civil import add_months, civil_date
from app.policy.decide import decide
from app.policy.document import Policies
from tests.api.build import Customer
from tests.conftest import Service
from tests.scenario import Scenario, Seen, compare, day, facts_of, scenarios


def _seen(answer: dict[str, Any], policies: Policies) -> Seen:
    services = answer["services"]
    remaining = {"tickets": 0}
    for allowance in answer["allowances"]:
        kind = allowance["kind"]
        if kind == "ticket_pack":
            remaining["tickets"] += allowance["available"]
        else:
            remaining[kind] = remaining.get(kind, 0) + allowance["remaining_minutes"]
    until = answer["valid_until"]
    return Seen(
        columns=answer["columns"],
        allowed=[s["service"] for s in services if s["allowed"]],
        reasons={
            s["service"]: [f"{r['column']}:{r['code']}" for r in s["reasons"]] for s in services
        },
        unlocked_by={s["service"]: s["unlocked_by"] for s in services},
        paid_by={
            s["service"]: [f"{g['column']}:{g['paid_by']}" for g in s["granted_by"]]
            for s in services
        },
        continues={s["service"]: len(s["continues"]) for s in services},
        remaining=remaining,
        changes_on=until and civil_date(datetime.fromisoformat(until), policies.zone),
    )


async def _spend(customer: Customer, minutes: int, **how: Any) -> None:
    """Minutes worked and closed beforehand, in as many entries as the limit of a day asks."""
    case = await customer.open(**how)
    while minutes:
        part = min(minutes, 1440)
        await customer.work(case, part)
        minutes -= part
    await customer.step(case, "closure", resolution="Done.")


async def _establish(service: Service, customer: Customer, scenario: Scenario, on: date) -> None:
    given = scenario.given
    withdrawals = []
    for entry in given.get("licences", []):
        buyer = customer if "got" not in entry else await Customer.new(customer.client, on)
        licence = await buyer.licence(entry["kind"], purchased_on=str(day(entry["purchased"], on)))
        if buyer is not customer:
            path, got_on = f"licences/{licence['id']}/transfer", str(day(entry["got"], on))
            licence = await customer.post(
                path, to_customer_id=customer.id, on=got_on, reason="Sold."
            )
            customer.serials.append(licence["serial_number"])
        if "withdrawn" in entry:
            withdrawals.append((licence["id"], day(entry["withdrawn"], on)))
    contracts: list[dict[str, Any]] = []
    editors = [e for e in given.get("licences", []) if e["kind"] == "editor"]
    helper = None
    if given.get("contracts") and not editors:
        # A contract needs an Editor when it is signed; this one is withdrawn again (R4, R15).
        starts = min(day(entry["starts"], on) for entry in given["contracts"])
        helper = await customer.licence(purchased_on=str(starts))
        withdrawals.append((helper["id"], starts))
    for entry in given.get("contracts", []):
        starts = day(entry["starts"], on)
        if contracts and given["contracts"][len(contracts) - 1].get("renewed"):
            answer = await customer.client.post(
                f"/v1/contracts/{contracts[-1]['id']}/renewal", json={"starts": "at_end"}
            )
            assert answer.status_code == 201, answer.text
            contracts.append(answer.json())
            continue
        minutes = {"included_minutes": entry["minutes"]} if "minutes" in entry else {}
        contracts.append(await customer.contract(starts_on=str(starts), **minutes))
    for entry, contract in zip(given.get("contracts", []), contracts, strict=True):
        if "cancelled" in entry:
            answer = await customer.client.post(
                f"/v1/contracts/{contract['id']}/cancellation",
                json={"cancelled_on": str(day(entry["cancelled"], on)), "reason": "Agreed."},
            )
            assert answer.status_code == 200, answer.text
    used = given.get("used", {})
    if "free_hours" in used:
        # Those of the year that stands today: an Editor that is gone leaves no year to spend.
        for gone in [one for one in withdrawals if one[1] <= on]:
            withdrawals.remove(gone)
            await _withdraw(customer, *gone)
    aged = []
    for entry in given.get("packs", []):
        bought = day(entry["purchased"], on)
        if used.get("tickets") and add_months(bought, 12) <= on:
            # Its cases were opened while it was valid: bought today, and a year goes by below.
            aged.append((await customer.pack(entry["quantity"], purchased_on=str(on)), bought))
        else:
            await customer.pack(entry["quantity"], purchased_on=str(bought))
    if "free_hours" in used:
        await _spend(customer, used["free_hours"], pay_with="free_hours")
    if "contract" in used:
        await _spend(customer, used["contract"], pay_with="contract", channel="phone")
    for state, count in used.get("tickets", {}).items():
        for _ in range(count):
            case = await customer.open(pay_with="ticket")
            if state == "consumed":
                await customer.step(case, "closure", resolution="Done.")
    for pack, bought in aged:
        await service.server.run_in(
            service.database_name,
            "UPDATE ticket_packs SET purchased_on = $2, expires_on = $3 WHERE id = $1",
            pack["id"],
            bought,
            add_months(bought, 12),
        )
    for licence_id, withdrawn_on in withdrawals:
        await _withdraw(customer, licence_id, withdrawn_on)


async def _withdraw(customer: Customer, licence_id: str, withdrawn_on: date) -> None:
    answer = await customer.client.post(
        f"/v1/licences/{licence_id}/withdrawal",
        json={"withdrawn_on": str(withdrawn_on), "reason": "Given back."},
    )
    assert answer.status_code == 200, answer.text


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    return await Customer.new(client, today)


@pytest.mark.parametrize("scenario", list(scenarios()), ids=str)
async def test_scenario(
    service: Service, customer: Customer, scenario: Scenario, today: date
) -> None:
    await _establish(service, customer, scenario, today)
    seen = _seen(await customer.entitlements(), service.policies)
    # At a month's end the offsets may clamp; the day is then computed from the dates themselves.
    facts = facts_of(service.policies, scenario, today)
    if "changes_on" in scenario.expect:
        assert seen.changes_on == decide(service.policies, facts, today).valid_until
    clamped = today.day > 28
    expect = {k: v for k, v in scenario.expect.items() if not (clamped and k == "changes_on")}
    compare(Scenario(scenario.name, scenario.given, expect), today, seen)
