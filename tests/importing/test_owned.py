"""Licences, contracts and ticket packs: what a file may do to those that are known."""

from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from tests.api.build import Customer, unique
from tests.importing.conftest import Importer, table

LICENCES = "customer_code,serial_number,kind,product,version,purchased_on"
WITHDRAWN = f"{LICENCES},withdrawn_on,withdrawal_reason"
CONTRACTS = "customer_code,number,starts_on,included_minutes,cancelled_on,cancellation_reason"
PACKS = "customer_code,number,quantity,purchased_on"


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    return await Customer.new(client, today)


def licence_row(customer: Customer, licence: dict[str, Any], **changes: Any) -> list[Any]:
    fields = {**licence, "customer_code": customer.code, **changes}
    return [fields[name] for name in WITHDRAWN.split(",") if name in fields]


async def test_a_licence_is_replaced_and_withdrawn(importer: Importer, customer: Customer) -> None:
    licence = await customer.licence()
    row = licence_row(
        customer, licence, version="12", withdrawn_on="2199-01-01", withdrawal_reason="Sold"
    )
    text = table(WITHDRAWN, row)
    before = len(await importer.events())
    assert "1 changed" in (await importer(licences=text)).said
    after = await importer.get(f"licences/{licence['id']}")
    assert after == licence | {
        "version": "12",
        "withdrawn_on": "2199-01-01",
        "withdrawal_reason": "Sold",
    }
    kinds = [kind for kind, _, _ in (await importer.events())[before:]]
    assert kinds == ["licence.registered", "licence.withdrawn"]
    assert "1 unchanged" in (await importer(licences=text)).said
    # A file without those columns leaves the withdrawal as it is.
    assert "1 unchanged" in (await importer(licences=table(LICENCES, row[:6]))).said


async def test_a_file_means_the_newest_licence_sent_under_a_serial_number(
    importer: Importer, customer: Customer
) -> None:
    """R40: as `PUT /v1/licences/by-serial/…`."""
    serial = unique("S")
    older, newer = [
        await customer.post(
            f"licences/{(await customer.licence(serial_number=serial))['id']}/correction",
            serial_number=unique("S"),
            reason="Entered wrong.",
        )
        for _ in range(2)
    ]
    row = licence_row(customer, newer, serial_number=serial, version="12")[:6]
    assert "1 changed" in (await importer(licences=table(LICENCES, row))).said
    assert (await importer.get(f"licences/{older['id']}"))["version"] == "11"
    assert (await importer.get(f"licences/{newer['id']}"))["version"] == "12"
    assert "1 unchanged" in (await importer(licences=table(LICENCES, row))).said


async def test_a_withdrawn_licence_is_not_replaced(
    importer: Importer, customer: Customer, today: date
) -> None:
    licence = await customer.licence()
    await customer.withdraw(licence, today)
    same = licence_row(customer, licence)[:6]
    assert "1 unchanged" in (await importer(licences=table(LICENCES, same))).said
    other = licence_row(customer, licence, version="12")[:6]
    outcome = await importer(licences=table(LICENCES, other))
    assert outcome.bad == [
        f"licences.csv:2: serial_number: was withdrawn on {today} and is not replaced"
    ]
    back = licence_row(customer, licence, withdrawn_on=None, withdrawal_reason=None)
    outcome = await importer(licences=table(WITHDRAWN, back))
    assert outcome.bad == [
        f"licences.csv:2: withdrawn_on: was withdrawn on {today} and is not replaced"
    ]


async def test_licences_that_the_api_would_refuse(
    importer: Importer, client: httpx.AsyncClient, customer: Customer, today: date
) -> None:
    other = await Customer.new(client, today)
    theirs, upgraded = await other.licence(), await customer.licence(days=-60)
    body = {"version": "12", "upgraded_on": str(today - timedelta(days=40)), "paid_by": "purchase"}
    await customer.post(f"licences/{upgraded['id']}/upgrades", 201, **body)
    c, day = customer.code, "2024-01-01"
    serial = unique("S")
    rows = [
        ("nobody", unique("S"), "editor", "Movicon", "11", day, None, None),
        (c, theirs["serial_number"].lower(), "editor", "Movicon", "11", day, None, None),
        (c, serial, "editor", "Movicon", "11", day, None, None),
        (c, serial.lower(), "editor", "Movicon", "11", day, None, None),
        (c, unique("S"), "Editor", "Movicon", "11", "01.01.2024", None, None),
        (c, unique("S"), "editor", None, "11", day, "2023-12-31", "Sold"),
        (c, unique("S"), "editor", "Movicon", "11", day, "2023-12-31", None),
        (c, unique("S"), "editor", "Movicon", "11", day, None, "Sold"),
        (c, upgraded["serial_number"], "editor", "Movicon", "11", str(today), None, None),
    ]
    outcome = await importer(licences=table(WITHDRAWN, *rows))
    assert outcome.bad == [
        "licences.csv:2: customer_code: unknown customer code",
        "licences.csv:3: serial_number: is taken by another customer",
        "licences.csv:5: serial_number: is on line 4 already",
        "licences.csv:6: kind: Allowed values: editor, runtime, other.",
        (
            "licences.csv:6: purchased_on: This is not in the expected form."
            " Expected: a date, YYYY-MM-DD, from 1990 to 2199; not in the future."
        ),
        "licences.csv:7: product: This is required.",
        "licences.csv:8: withdrawal_reason: This is required.",
        "licences.csv:8: withdrawn_on: The end is before the beginning.",
        "licences.csv:9: withdrawn_on: This is required.",
        "licences.csv:10: purchased_on: The end is before the beginning.",
    ]


async def test_contracts_are_signed_by_holders_of_an_editor(
    importer: Importer, customer: Customer, today: date
) -> None:
    licence = await customer.licence(days=-100)
    first, day = str(today - timedelta(days=100)), timedelta(days=1)
    await customer.licence("runtime", days=-900)
    await customer.withdraw(licence, today)
    number = [unique("SA") for _ in range(4)]
    rows = [
        (customer.code, number[0], today - 101 * day, None, None, None),
        (customer.code, number[1], first, 3000, None, None),
        (customer.code, number[2], today - day, None, None, None),
        (customer.code, number[3], today, None, None, None),
    ]
    outcome = await importer(contracts=table(CONTRACTS, *rows))
    reason = "starts_on: This needs an Editor licence held on that day."
    assert outcome.bad == [f"contracts.csv:2: {reason}", f"contracts.csv:5: {reason}"]
    assert "2 created" in (await importer(contracts=table(CONTRACTS, *rows[1:3]))).said
    assert (await importer.get(f"contracts/{number[1]}"))["included_minutes"] == 3000
    # Once it is signed, who holds what on its first day is asked no more.
    assert "2 unchanged" in (await importer(contracts=table(CONTRACTS, *rows[1:3]))).said


async def test_contracts_and_packs_are_not_edited(importer: Importer, customer: Customer) -> None:
    await customer.licence(days=-400)
    contract, pack = await customer.contract(included_minutes=600), await customer.pack(3)
    c, number, starts_on = customer.code, contract["number"], contract["starts_on"]
    # Without minutes of its own a row says nothing about them.
    same = table("customer_code,number,starts_on", (c, number, starts_on))
    assert "1 unchanged" in (await importer(contracts=same)).said
    row = (c, number, "2024-01-01", 1200, "2024-06-01", "Closed down")
    outcome = await importer(contracts=table(CONTRACTS, row))
    assert outcome.bad == [
        "contracts.csv:2: cancellation_reason: is empty on record; contracts are not edited",
        "contracts.csv:2: cancelled_on: is empty on record; contracts are not edited",
        "contracts.csv:2: included_minutes: is 600 on record; contracts are not edited",
        f"contracts.csv:2: starts_on: is {starts_on} on record; contracts are not edited",
    ]
    outcome = await importer(packs=table(PACKS, (c, pack["number"], 4, pack["purchased_on"])))
    assert outcome.bad == ["packs.csv:2: quantity: is 3 on record; ticket packs are not edited"]


async def test_a_contract_may_come_cancelled(importer: Importer, customer: Customer) -> None:
    await customer.licence(days=-1000)
    number = unique("SA")
    row = (customer.code, number, "2024-05-01", None, "2024-06-01", "Closed down")
    for cancelled_on, well in (("2024-04-30", False), ("2025-05-02", False), ("2025-05-01", True)):
        text = table(CONTRACTS, (*row[:4], cancelled_on, row[5]))
        outcome = await importer(contracts=text)
        assert outcome.well is well, outcome
    contract = await importer.get(f"contracts/{number}")
    assert contract["state"] == "cancelled"
    assert (contract["cancelled_on"], contract["cancellation_reason"]) == ("2025-05-01", row[5])
    assert "1 unchanged" in (await importer(contracts=text)).said


@pytest.mark.parametrize(
    ("quantity", "wrong"),
    [
        ("0", "This must be at least 1."),
        ("1001", "This may be at most 1000."),
        ("2.5", "Expected here: a whole number."),
        ("٣", "Expected here: a whole number."),
        ("9" * 5000, "Expected here: a whole number."),
        (None, "This is required."),
    ],
)
async def test_a_quantity_is_a_whole_number(
    importer: Importer, customer: Customer, quantity: str | None, wrong: str
) -> None:
    row = (customer.code, unique("TP"), quantity, "2024-01-01")
    outcome = await importer(packs=table(PACKS, row))
    assert outcome.bad == [f"packs.csv:2: quantity: {wrong}"]
