"""Files that name a record which became part of another customer (R49)."""

from datetime import date

import httpx

from tests.api.build import Customer, unique
from tests.api.test_merge import merged
from tests.importing.conftest import Importer, table
from tests.importing.test_owned import CONTRACTS, LICENCES, PACKS


async def test_what_belongs_to_the_old_code_is_the_survivor_s(
    importer: Importer, client: httpx.AsyncClient, today: date
) -> None:
    old, survivor = [await Customer.new(client, today) for _ in range(2)]
    licence = await old.licence(days=-20)
    await merged(old, survivor)
    serial, contract, pack = unique("S"), unique("SA"), unique("TP")
    row = [licence[name] for name in LICENCES.split(",")[1:]]
    outcome = await importer(
        licences=table(
            LICENCES,
            [old.code, *row],
            [old.code.lower(), serial, "runtime", "Movicon", "11", str(today)],
        ),
        contracts=table(CONTRACTS, [old.code, contract, str(today), None, None, None]),
        ticket_packs=table(PACKS, [survivor.code, pack, 2, str(today)]),
    )
    assert outcome.well, outcome
    assert "1 created, 0 changed, 1 unchanged" in outcome.said
    for path in (f"licences/{serial}", f"contracts/{contract}", f"ticket-packs/{pack}"):
        assert (await importer.get(path))["customer_id"] == survivor.id


async def test_a_row_of_the_old_code_is_refused(
    importer: Importer, client: httpx.AsyncClient, today: date
) -> None:
    old, survivor = [await Customer.new(client, today) for _ in range(2)]
    await merged(old, survivor)
    before = await importer.get(f"customers/{survivor.id}")
    rows = [(survivor.code, "New name", "IT"), (old.code, "Old name", "IT")]
    outcome = await importer(customers=table("code,name,country", *rows))
    assert not outcome.well
    assert outcome.bad == [f"customers.csv:3: code: became part of the customer {survivor.code}"]
    assert await importer.get(f"customers/{survivor.id}") == before


async def test_a_reference_that_the_old_record_kept_may_be_taken_back(
    importer: Importer, client: httpx.AsyncClient, today: date
) -> None:
    refs = [unique("R"), unique("R")]
    old, survivor = [await Customer.new(client, today, external_refs={"crm": ref}) for ref in refs]
    await merged(old, survivor)
    other = await Customer.new(client, today)
    header = "code,name,country,external_ref:crm"
    taken = await importer(customers=table(header, (other.code, "Other", "IT", refs[0])))
    assert not taken.well
    outcome = await importer(customers=table(header, (survivor.code, "Same", "IT", refs[0])))
    assert outcome.well, outcome
    shown = await importer.get(f"customers/{old.code}")
    assert (shown["id"], shown["external_refs"]) == (survivor.id, {"crm": refs[0]})
