"""Licences over HTTP (R1, R2, R25, R40)."""

import asyncio
import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app.ids import new_id
from app.services import licences
from tests.api.build import Customer, errors, made, recorded, refused, unique
from tests.conftest import Service

URL = "/v1/licences"
DAY = timedelta(days=1)


async def events(service: Service, customer: Customer) -> list[str]:
    return [type_ for type_, _ in await recorded(service, customer.id, "licence.%")]


def fields(customer: Customer, **more: Any) -> dict[str, Any]:
    return {
        "customer_id": customer.id,
        "kind": "editor",
        "product": "Plant Editor",
        "version": "11",
        "purchased_on": str(customer.today - 30 * DAY),
        **more,
    }


async def test_a_licence_comes_back_as_it_was_registered(customer: Customer) -> None:
    sent = fields(customer, serial_number=unique("S"))
    answer = await customer.client.post(URL, json=sent)
    licence = await made(answer)
    unset: dict[str, Any] = {
        "transferred_on": None,
        "withdrawn_on": None,
        "withdrawal_reason": None,
        "upgrades": [],
    }
    held = {"held_from": sent["purchased_on"]}
    assert licence == {**sent, "id": licence["id"], **held, **unset}
    assert answer.headers["Location"] == f"{URL}/{licence['id']}"
    for key in (licence["id"], sent["serial_number"].swapcase()):
        read = await customer.client.get(f"{URL}/{key}")
        assert (read.json(), read.headers["ETag"]) == (licence, answer.headers["ETag"])


async def test_a_purchase_lies_not_in_the_future(customer: Customer) -> None:
    today = customer.today
    await made(await customer.client.post(URL, json=_new(customer, purchased_on=str(today))))
    tomorrow = _new(customer, purchased_on=str(today + DAY))
    assert errors(await customer.client.post(URL, json=tomorrow)) == [
        ("/purchased_on", "in_future")
    ]
    serial = tomorrow.pop("serial_number")
    assert errors(await customer.client.put(f"{URL}/by-serial/{serial}", json=tomorrow)) == [
        ("/purchased_on", "in_future")
    ]


def _new(customer: Customer, **more: Any) -> dict[str, Any]:
    return fields(customer, serial_number=unique("S"), **more)


async def test_an_unknown_customer_is_not_found(customer: Customer) -> None:
    answer = await customer.client.post(URL, json=_new(customer, customer_id=str(new_id())))
    refused(answer, "customer_not_found", 404)


async def test_a_serial_number_is_unique_whatever_its_case(customer: Customer) -> None:
    first = await customer.licence()
    taken = fields(customer, serial_number=first["serial_number"].swapcase())
    problem = refused(await customer.client.post(URL, json=taken), "already_exists")
    assert problem["field"] == "serial_number"


# --- replacing ------------------------------------------------------------------------------


async def test_put_registers_replaces_and_repeats(customer: Customer, service: Service) -> None:
    serial = unique("S")
    url = f"{URL}/by-serial/{serial}"
    first = await customer.client.put(url, json=fields(customer))
    licence = await made(first)
    assert first.headers["Location"] == f"{URL}/{licence['id']}"
    again = await customer.client.put(f"{URL}/by-serial/{serial.lower()}", json=fields(customer))
    assert (again.status_code, again.json()) == (200, licence)
    assert again.headers["ETag"] == first.headers["ETag"]
    assert await events(service, customer) == ["licence.registered"]
    changed = fields(customer, kind="runtime", version="12", purchased_on=str(customer.today))
    answer = await customer.client.put(url, json=changed)
    held = {"held_from": changed["purchased_on"]}
    assert answer.json() == {**licence, **changed, **held}
    version = {**changed, "version": "13"}
    await made(await customer.client.put(url, json={**version, "reason": "Typing error"}), 200)
    assert await events(service, customer) == [
        "licence.registered",
        "licence.corrected",
        "licence.registered",
    ]
    corrected = json.loads((await recorded(service, customer.id, "licence.corrected"))[0][1])
    assert corrected["reason"] == "sent again"
    assert (corrected["before"]["kind"], corrected["after"]["kind"]) == ("editor", "runtime")


async def test_the_kind_of_a_licence_with_a_free_upgrade_stays(customer: Customer) -> None:
    """R40, R25: a contract paid for an upgrade of an Editor."""
    licence = await customer.licence(days=-30)
    await customer.contract()
    await customer.post(f"licences/{licence['id']}/upgrades", 201, version="12", paid_by="contract")
    url = f"{URL}/by-serial/{licence['serial_number']}"
    body = fields(customer, kind="runtime", purchased_on=licence["purchased_on"])
    problem = refused(await customer.client.put(url, json=body), "correction_conflicts")
    assert [(one["kind"], one["name"]) for one in problem["conflicts"]] == [("upgrade", "12")]
    assert (await customer.get(f"licences/{licence['id']}"))["kind"] == "editor"


async def test_the_nightly_put_of_a_withdrawn_licence_changes_nothing(customer: Customer) -> None:
    """R40: only a change of it is refused."""
    licence = await customer.licence(days=-30)
    await customer.withdraw(licence, customer.today)
    url = f"{URL}/by-serial/{licence['serial_number']}"
    same = {name: licence[name] for name in fields(customer)}
    again = await customer.client.put(url, json=same)
    assert (again.status_code, again.json()["withdrawn_on"]) == (200, str(customer.today))
    other = {**same, "purchased_on": str(customer.today - DAY)}
    refused(await customer.client.put(url, json=other), "wrong_state")


async def test_put_under_conditions(customer: Customer) -> None:
    url = f"{URL}/by-serial/{unique('S')}"

    async def put(version: str, **headers: str) -> httpx.Response:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        body = fields(customer, version=version)
        return await customer.client.put(url, json=body, headers=headers)

    assert (await put("1", if_match="*")).status_code == 412
    first = await put("1", if_none_match="*")
    assert first.status_code == 201
    assert (await put("2", if_none_match="*")).status_code == 412
    assert (await put("2", if_match=first.headers["ETag"])).status_code == 200
    assert (await put("3", if_match=first.headers["ETag"])).status_code == 412


async def test_put_takes_no_licence_from_another_nor_revives_one(
    customer: Customer, client: httpx.AsyncClient, today: date
) -> None:
    other = await Customer.new(client, today)
    theirs = await other.licence()
    url = f"{URL}/by-serial/{theirs['serial_number']}"
    refused(await client.put(url, json=fields(customer)), "already_exists")
    gone = {"withdrawn_on": str(today + DAY), "reason": "Returned"}
    await made(await client.post(f"{URL}/{theirs['id']}/withdrawal", json=gone), 200)
    still = await client.put(url, json=fields(other, version="12"))
    assert still.json()["withdrawn_on"] == gone["withdrawn_on"], "held until that day"
    own = await customer.licence()
    gone = {"withdrawn_on": str(today), "reason": "Returned"}
    await made(await client.post(f"{URL}/{own['id']}/withdrawal", json=gone), 200)
    answer = await client.put(f"{URL}/by-serial/{own['serial_number']}", json=fields(customer))
    assert refused(answer, "wrong_state")["state"] == "withdrawn"


async def test_a_patch_corrects_product_and_version_alone(
    customer: Customer, service: Service
) -> None:
    licence = await customer.licence()
    url = f"{URL}/{licence['serial_number']}"
    etag = (await customer.client.get(url)).headers["ETag"]
    guard = {"If-Match": etag}
    changed = await customer.client.patch(url, json={"version": "12"}, headers=guard)
    assert changed.json() == {**licence, "version": "12"}
    stale = await customer.client.patch(url, json={"version": "13"}, headers=guard)
    assert stale.status_code == 412
    same = await customer.client.patch(url, json={"version": "12"})
    assert same.headers["ETag"] == changed.headers["ETag"]
    assert await events(service, customer) == ["licence.registered"] * 2
    for field in ("kind", "serial_number", "purchased_on", "withdrawn_on", "customer_id"):
        answer = await customer.client.patch(url, json={field: licence[field]})
        assert errors(answer) == [(f"/{field}", "unknown_field")]


# --- withdrawal -----------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-30, 0, 400])
async def test_a_licence_is_withdrawn_once(customer: Customer, service: Service, days: int) -> None:
    licence = await customer.licence(days=-30)
    url = f"{URL}/{licence['serial_number']}/withdrawal"
    on = str(customer.today + days * DAY)
    answer = await customer.client.post(url, json={"withdrawn_on": on, "reason": "Returned"})
    withdrawn = await made(answer, 200)
    assert withdrawn == {**licence, "withdrawn_on": on, "withdrawal_reason": "Returned"}
    twice = await customer.client.post(url, json={"withdrawn_on": on, "reason": "Again"})
    assert refused(twice, "wrong_state")["wanted_state"] == "withdrawn"
    assert await events(service, customer) == ["licence.registered", "licence.withdrawn"]


async def test_a_licence_is_not_withdrawn_before_its_purchase(customer: Customer) -> None:
    licence = await customer.licence(days=-30)
    day_before = {"withdrawn_on": str(customer.today - 31 * DAY), "reason": "Returned"}
    answer = await customer.client.post(f"{URL}/{licence['id']}/withdrawal", json=day_before)
    assert errors(answer) == [("/withdrawn_on", "wrong_order")]
    without_reason = {"withdrawn_on": str(customer.today)}
    answer = await customer.client.post(f"{URL}/{licence['id']}/withdrawal", json=without_reason)
    assert errors(answer) == [("/reason", "missing")]


# --- upgrades -------------------------------------------------------------------------------


async def _upgrade(customer: Customer, licence: dict[str, Any], **body: Any) -> httpx.Response:
    body = {"version": "12", "paid_by": "purchase", **body}
    return await customer.client.post(f"{URL}/{licence['id']}/upgrades", json=body)


async def test_a_bought_upgrade_is_a_purchase(customer: Customer, service: Service) -> None:
    licence = await customer.licence("runtime", days=-400)
    await customer.licence("editor", days=-400)
    assert (await customer.entitlements())["columns"] == ["NO_DEV"]
    answer = await _upgrade(customer, licence)
    upgraded = await made(answer)
    assert answer.headers["Location"] == f"{URL}/{licence['id']}"
    entry = {
        "id": upgraded["upgrades"][0]["id"],
        "version": "12",
        "upgraded_on": str(customer.today),
        "paid_by": "purchase",
        "contract_id": None,
    }
    assert upgraded == {**licence, "version": "12", "upgrades": [entry]}
    assert (await customer.entitlements())["columns"] == ["DEV"]
    assert (await events(service, customer))[-1] == "licence.upgraded"


async def test_an_upgrade_recorded_late_keeps_the_later_version(customer: Customer) -> None:
    licence = await customer.licence(days=-30)
    await made(await _upgrade(customer, licence, version="14"))
    late = str(customer.today - 10 * DAY)
    upgraded = await made(await _upgrade(customer, licence, version="13", upgraded_on=late))
    assert upgraded["version"] == "14"
    assert [upgrade["version"] for upgrade in upgraded["upgrades"]] == ["13", "14"]
    answer = await customer.client.put(
        f"{URL}/by-serial/{licence['serial_number']}",
        json=fields(customer, purchased_on=str(customer.today - 9 * DAY)),
    )
    assert errors(answer) == [("/purchased_on", "wrong_order")]


async def test_when_an_upgrade_may_be(customer: Customer) -> None:
    licence = await customer.licence(days=-30)
    tomorrow = await _upgrade(customer, licence, upgraded_on=str(customer.today + DAY))
    assert errors(tomorrow) == [("/upgraded_on", "in_future")]
    before = await _upgrade(customer, licence, upgraded_on=str(customer.today - 31 * DAY))
    assert errors(before) == [("/upgraded_on", "wrong_order")]
    await made(await _upgrade(customer, licence, upgraded_on=str(customer.today - 30 * DAY)))
    gone = {"withdrawn_on": str(customer.today), "reason": "Returned"}
    await customer.client.post(f"{URL}/{licence['id']}/withdrawal", json=gone)
    refused(await _upgrade(customer, licence), "wrong_state")


async def test_the_same_upgrade_is_recorded_once(customer: Customer, service: Service) -> None:
    """R25: the same version on the same day, whoever pays and however it is spelt."""
    licence = await customer.licence(days=-30)
    await customer.contract(days=-20)
    yesterday = str(customer.today - DAY)
    upgraded = await made(await _upgrade(customer, licence, version="12 é"))
    again = (
        {"version": "12 é"},
        {"version": "12 e\u0301", "upgraded_on": str(customer.today)},
        {"version": "12 é", "paid_by": "contract"},
    )
    for body in again:
        problem = refused(await _upgrade(customer, licence, **body), "already_exists")
        assert problem["field"] == "version"
    assert await customer.get(f"licences/{licence['id']}") == upgraded
    assert (await events(service, customer)).count("licence.upgraded") == 1
    await made(await _upgrade(customer, licence, version="12 é", upgraded_on=yesterday))
    await made(await _upgrade(customer, licence, version="12 É"))
    other = await customer.licence(days=-30)
    await made(await _upgrade(customer, other, version="12 é"))


async def test_of_many_equal_upgrades_one_is_recorded(
    customer: Customer, line_up: Callable[[Any, str, int], None]
) -> None:
    licence = await customer.licence(days=-30)
    line_up(licences, "find_locked", 6)
    answers = await asyncio.gather(*(_upgrade(customer, licence) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


async def test_a_contract_pays_for_an_upgrade(customer: Customer) -> None:
    licence = await customer.licence(days=-400)
    later = await customer.contract(days=-30)
    sooner = await customer.contract(days=-40)
    upgraded = await made(await _upgrade(customer, licence, paid_by="contract"))
    assert [upgrade["contract_id"] for upgrade in upgraded["upgrades"]] == [sooner["id"]], "R18"
    assert later["id"] != sooner["id"]
    columns = (await customer.entitlements())["columns"]
    assert columns == ["SA"], "an upgrade at no price is no purchase"
    first_day = str(customer.today - 40 * DAY)
    answer = await _upgrade(customer, licence, paid_by="contract", upgraded_on=first_day)
    assert answer.status_code == 201
    day_before = str(customer.today - 41 * DAY)
    answer = await _upgrade(customer, licence, paid_by="contract", upgraded_on=day_before)
    refused(answer, "not_entitled")


async def test_a_contract_is_not_cancelled_before_an_upgrade_that_it_paid(
    customer: Customer,
) -> None:
    licence = await customer.licence(days=-400)
    contract = await customer.contract(days=-40)
    upgraded_on = customer.today - 10 * DAY
    answer = await _upgrade(customer, licence, paid_by="contract", upgraded_on=str(upgraded_on))
    assert answer.status_code == 201
    url = f"/v1/contracts/{contract['id']}/cancellation"
    for day in (upgraded_on, upgraded_on - DAY):
        body = {"cancelled_on": str(day), "reason": "Agreed"}
        refused(await customer.client.post(url, json=body), "contract_has_later_upgrades")
    body = {"cancelled_on": str(upgraded_on + DAY), "reason": "Agreed"}
    await made(await customer.client.post(url, json=body), 200)


async def test_without_a_contract_all_reasons_are_given(customer: Customer) -> None:
    licence = await customer.licence(days=-30)
    answer = await _upgrade(customer, licence, paid_by="contract")
    problem = refused(answer, "not_entitled")
    codes = [(reason["column"], reason["code"]) for reason in problem["reasons"]]
    assert codes == [("SA", "no_contract_in_force"), ("DEV", "not_in_matrix")]
    assert problem["unlocked_by"] == ["sign_contract"]
    assert problem["sales_contact"]["email"]
    assert (await customer.client.get(f"{URL}/{licence['id']}")).json() == licence


async def test_a_contract_pays_for_editors_only(customer: Customer) -> None:
    await customer.licence("editor")
    runtime = await customer.licence("runtime")
    await customer.contract()
    refused(await _upgrade(customer, runtime, paid_by="contract"), "not_entitled")


async def test_a_spent_contract_still_pays_for_upgrades(customer: Customer) -> None:
    licence = await customer.licence(days=-400)
    await customer.contract(included_minutes=1)
    case = await customer.open()
    await customer.work(case, 10)
    assert (await _upgrade(customer, licence, paid_by="contract")).status_code == 201, "R9"


async def test_a_suspended_contract_pays_for_no_upgrade(
    customer: Customer, travel: Callable[[date], None]
) -> None:
    licence = await customer.licence(days=-400)
    contract = await customer.contract()
    gone = {"withdrawn_on": str(customer.today + DAY), "reason": "Returned"}
    await customer.client.post(f"{URL}/{licence['id']}/withdrawal", json=gone)
    last_day = await _upgrade(customer, licence, paid_by="contract")
    assert last_day.json()["upgrades"][0]["contract_id"] == contract["id"]
    travel(customer.today + DAY)
    refused(await _upgrade(customer, licence, paid_by="contract"), "wrong_state")


async def test_what_was_sent_last_undoes_nothing_that_staff_corrected(customer: Customer) -> None:
    """R40: the CRM need not know; an upgrade's version and staff's corrections stay."""
    sent = fields(customer)
    url = f"{URL}/by-serial/{unique('S')}"
    licence = await made(await customer.client.put(url, json=sent))
    body = {"version": "99", "paid_by": "purchase"}
    await customer.post(f"licences/{licence['id']}/upgrades", 201, **body)
    patch = {"product": "Movicon.NExT"}
    patched = await made(await customer.client.patch(f"{URL}/{licence['id']}", json=patch), 200)
    assert (patched["version"], patched["product"]) == ("99", "Movicon.NExT")
    again = await customer.client.put(url, json=sent)
    assert (again.status_code, again.json()) == (200, patched)
    # Other values count, and are what was sent last from then on.
    other = {**sent, "product": "Connext"}
    changed = await made(await customer.client.put(url, json=other), 200)
    assert (changed["product"], changed["version"]) == ("Connext", sent["version"])
    patch = {"version": "100"}
    await made(await customer.client.patch(f"{URL}/{licence['id']}", json=patch), 200)
    assert (await customer.client.put(url, json=other)).json()["version"] == "100"
