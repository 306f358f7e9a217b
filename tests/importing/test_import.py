"""What an import does as a whole: in which order, all or nothing, again, dry, and what it says."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from app.policy.document import Policies
from app.services.imports import CustomerImport
from app.store.events import Actor
from tests.api.build import unique
from tests.command import run
from tests.conftest import Service
from tests.importing.conftest import Importer

CUSTOMERS = """code,name,country,contact_name,contact_email,contact_phone,external_ref:crm
{c}-1,"Esempio, S.r.l.",IT,Responsabile tecnico,tecnico@example.com,059 454224;+39 333 1234567,{c}1
{c}-1,"Esempio, S.r.l.",IT,Acquisti,,,{c}1
{c}-2,Muster GmbH,DE,,,,
"""
LICENCES = """customer_code,serial_number,kind,product,version,purchased_on
{c}-1,{c}-S1,editor,Movicon,11.6,2024-02-29
{c}-2,{c}-S2,runtime,Movicon,11.6,2024-03-01
"""
CONTRACTS = """customer_code,number,starts_on
{c}-1,{c}-SA,2024-02-29
"""
PACKS = """customer_code,number,quantity,purchased_on
{c}-2,{c}-TP,5,2024-06-30
"""
FILES = {"packs": PACKS, "contracts": CONTRACTS, "licences": LICENCES, "customers": CUSTOMERS}


def files(code: str, **texts: str) -> dict[str, Any]:
    return {name: text.replace("{c}", code) for name, text in (texts or FILES).items()}


async def test_files_are_taken_in_the_order_in_which_they_depend(importer: Importer) -> None:
    c = unique("C")
    outcome = await importer(**files(c))
    assert outcome.well
    assert outcome.said.splitlines() == [
        "customers.csv: 3 rows; customers: 2 created, 0 changed, 0 unchanged",
        "licences.csv: 2 rows; licences: 2 created, 0 changed, 0 unchanged",
        "contracts.csv: 1 rows; contracts: 1 created, 0 changed, 0 unchanged",
        "packs.csv: 1 rows; ticket packs: 1 created, 0 changed, 0 unchanged",
    ]
    customer = await importer.get(f"customers/{c}-1")
    assert customer["name"] == "Esempio, S.r.l."
    assert customer["language"] == "it"
    assert customer["external_refs"] == {"crm": f"{c}1"}
    assert [(one["name"], one["phones"]) for one in customer["contacts"]] == [
        ("Responsabile tecnico", ["+39059454224", "+393331234567"]),
        ("Acquisti", []),
    ]
    contract = await importer.get(f"contracts/{c}-SA")
    assert (contract["ends_on"], contract["remaining_minutes"]) == ("2025-02-28", 1200)
    pack = await importer.get(f"ticket-packs/{c}-TP")
    assert (pack["expires_on"], pack["expired"]) == ("2025-06-30", 5)


async def test_the_same_files_again_change_nothing(importer: Importer) -> None:
    c = unique("C")
    await importer(**files(c))
    customer, events = await importer.get(f"customers/{c}-1"), await importer.events()
    # In other letters they are the same codes and numbers.
    again = await importer(**{n: t.replace(f"{c}-", f"{c.lower()}-") for n, t in files(c).items()})
    assert again.well
    assert again.said.splitlines() == [
        "customers.csv: 3 rows; customers: 0 created, 0 changed, 2 unchanged",
        "licences.csv: 2 rows; licences: 0 created, 0 changed, 2 unchanged",
        "contracts.csv: 1 rows; contracts: 0 created, 0 changed, 1 unchanged",
        "packs.csv: 1 rows; ticket packs: 0 created, 0 changed, 1 unchanged",
    ]
    assert await importer.get(f"customers/{c}-1") == customer
    assert await importer.events() == events


async def test_bad_rows_are_all_listed_and_nothing_is_imported(importer: Importer) -> None:
    c = unique("C")
    text = f"""code;name;country;contact_name;contact_phone
{c}-1;First;IT;"Many
lines";
{c}-2;Second;ZZ;Somebody;12
{c}-3;Third;IT;;059 454224
{c}-4;Fourth;IT
{c}-5;Fifth;IT;;
"""
    outcome = await importer(customers=text, packs=files(c)["packs"])
    assert not outcome.well
    assert outcome.bad == [
        (
            "customers.csv:4: country: This is not in the expected form."
            " Expected: two letters (ISO 3166-1), such as IT."
        ),
        "customers.csv:5: contact_name: This is required.",
        "customers.csv:6: has 3 fields where the header has 5",
    ]
    assert outcome.said.splitlines() == [
        "customers.csv: nothing imported, 3 bad rows.",
        "Not imported: customers.csv, packs.csv",
    ]
    assert await importer.get(f"customers/{c}-1") is None


async def test_a_bad_file_leaves_those_before_it(importer: Importer) -> None:
    c = unique("C")
    texts = files(c)
    texts["licences"] += f"{c}-9,{c}-S9,editor,Movicon,11.6,2024-02-29\n"
    outcome = await importer(**texts)
    assert not outcome.well
    assert outcome.bad == ["licences.csv:4: customer_code: unknown customer code"]
    assert outcome.said.splitlines()[-1] == "Not imported: packs.csv, contracts.csv, licences.csv"
    assert await importer.get(f"customers/{c}-1")
    assert await importer.get(f"licences/{c}-S1") is None


async def test_a_dry_run_checks_all_files_together_and_writes_nothing(importer: Importer) -> None:
    c = unique("C")
    events = await importer.events()
    # Two of a kind: what one has staged is out of the next one's way.
    more = f"code,name,country\n{c}-3,Third,FR\n{c}-1,Renamed,IT\n"
    outcome = await importer(dry_run=True, **files(c), more=more)
    assert outcome.well, outcome
    assert outcome.said.splitlines()[1:] == [
        "more.csv: 2 rows; customers: 1 would be created, 1 would be changed, 0 unchanged",
        "licences.csv: 2 rows; licences: 2 would be created, 0 would be changed, 0 unchanged",
        "contracts.csv: 1 rows; contracts: 1 would be created, 0 would be changed, 0 unchanged",
        "packs.csv: 1 rows; ticket packs: 1 would be created, 0 would be changed, 0 unchanged",
        "Nothing was written: this was a dry run.",
    ]
    assert await importer.get(f"customers/{c}-1") is None
    assert await importer.events() == events


async def test_an_import_waits_for_a_customer_s_lock(importer: Importer) -> None:
    c = unique("C")
    assert (await importer(**files(c))).well
    before = await importer.events()
    holder = await asyncpg.connect(importer.service.admin_url)
    try:
        async with holder.transaction():
            await holder.execute(
                "SELECT FROM customers WHERE code = $1 FOR NO KEY UPDATE", f"{c}-2"
            )
            new = PACKS.replace("-TP", "-TP2").replace("{c}", c)
            outcome = await importer(packs=new, settings={"lock_timeout_ms": 50})
    finally:
        await holder.close()
    assert not outcome.well
    assert "did not answer in time" in outcome.said
    assert await importer.events() == before


async def _until_somebody_waits(service: Service) -> None:
    query = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    for _ in range(200):
        # Anew each time: a transaction sees the activity as it was when it first looked.
        (row,) = await service.server.run_in(service.database_name, query)
        if row["count"]:
            return
        await asyncio.sleep(0.01)
    pytest.fail("nobody waits")


async def test_locks_are_taken_in_one_order(importer: Importer) -> None:
    """Whoever waits for the first customer holds none that comes after it."""
    c = unique("C")
    await importer(customers=f"code,name,country\n{c}-1,One,IT\n{c}-2,Two,IT\n")
    both = [await importer.get(f"customers/{c}-{n}") for n in (1, 2)]
    both.sort(key=lambda one: one["id"])
    text = "customer_code,number,quantity,purchased_on\n" + "".join(
        f"{one['code']},{one['code']}-TP,1,2024-01-01\n" for one in reversed(both)
    )
    holder = await asyncpg.connect(importer.service.admin_url)
    try:
        async with holder.transaction():
            lock = "SELECT FROM customers WHERE id = $1 FOR NO KEY UPDATE NOWAIT"
            await holder.execute(lock, both[0]["id"])
            running = asyncio.create_task(importer(packs=text))
            await _until_somebody_waits(importer.service)
            await holder.execute(lock, both[1]["id"])
        assert (await running).well
    finally:
        await holder.close()


async def test_another_import_under_way_is_said(importer: Importer) -> None:
    other = await asyncpg.connect(importer.service.admin_url)
    try:
        await other.execute("SELECT pg_advisory_lock(hashtext('assistenza import'))")
        outcome = await importer(**files(unique("C")))
    finally:
        await other.close()
    assert not outcome.well
    assert outcome.said.startswith("Another import is running.")


async def test_a_database_without_temporary_tables_is_said(
    new_service: Callable[..., Awaitable[Service]], importer: Importer
) -> None:
    service = await new_service()
    await service.server.run(f"REVOKE TEMPORARY ON DATABASE {service.database_name} FROM PUBLIC")
    importer.service = service
    given = files(unique("C"))
    outcome = await importer(**given)
    assert not outcome.well
    assert "GRANT TEMPORARY ON DATABASE" in outcome.said
    async with await service.client_with("admin") as client:
        body = {"file": b64encode(given["customers"].encode()).decode()}
        refused = await client.post("/v1/imports", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "imports_not_permitted")
    assert "TEMPORARY" in refused.json()["detail"]
    assert "retry-after" not in refused.headers


class _Heard:
    """A connection that notes the statements, and grants everything."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    async def execute(self, statement: object, _: object = None) -> Any:
        self.statements.append(str(statement))
        return SimpleNamespace(rowcount=0)

    async def scalar(self, _: object) -> bool:
        return True


@pytest.mark.parametrize("options", [{}, {"statement_timeout": False}])
async def test_the_statement_timeout_holds_unless_it_is_lifted(
    options: dict[str, bool], policies: Policies
) -> None:
    """Whoever imports, and whatever he is called."""
    heard: Any = _Heard()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    given: list[Any] = [now, now.date(), policies, {"code"}, [], print, Actor("import")]
    await CustomerImport(heard, *given, **options).begin()
    lifted = [one for one in heard.statements if "'statement_timeout', '0'" in one]
    assert len(lifted) == len(options)


async def test_events_name_the_import(importer: Importer) -> None:
    c = unique("C")
    before = len(await importer.events())
    await importer(**files(c))
    made = (await importer.events())[before:]
    assert {actor for _, actor, _ in made} == {"import"}
    assert [type_ for type_, _, _ in made] == [
        *("customer.updated", "customer.updated"),
        *("licence.registered", "licence.registered"),
        *("contract.signed", "tickets.purchased"),
    ]


async def test_dates_are_those_of_the_vendor_s_zone(importer: Importer, today: date) -> None:
    c = unique("C")
    await importer(customers=files(c)["customers"])
    for day, well in ((today, True), (today + timedelta(days=1), False)):
        licences = f"{LICENCES.splitlines()[0]}\n{c}-1,{c}-{day},editor,Movicon,11,{day}\n"
        packs = f"{PACKS.splitlines()[0]}\n{c}-1,{c}-{day},1,{day}\n"
        kinds: tuple[dict[str, Any], ...] = ({"licences": licences}, {"packs": packs})
        for kind in kinds:
            outcome = await importer(**kind)
            assert outcome.well is well
            if not well:
                (line,) = outcome.bad
                assert line.endswith(":2: purchased_on: This must not lie in the future.")


async def test_the_command(importer: Importer) -> None:
    service = importer.service
    url = service.server.url(service.database_name, service.server.login)

    async def command(*arguments: str) -> CompletedProcess[str]:
        return await asyncio.to_thread(run, "import", *arguments, ASSISTENZA_DATABASE_URL=url)

    c = unique("C")
    paths = [str(importer.write(f"{name}.csv", text)) for name, text in files(c).items()]
    done = await command(*paths)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "ticket packs: 1 created" in done.stderr

    bad = str(importer.write("[bad].csv", f"Nr;name;country\n{c}-8;;IT\n"))
    done = await command(bad, "--map", "Nr=code")
    assert (done.returncode, done.stdout) == (1, f"{bad}:2: name: This is required.\n")

    unreadable = importer.write("unreadable.csv", "code,name,country\n")
    unreadable.chmod(0)
    done = await command(bad, f"{bad}.none", str(importer.folder), str(unreadable))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{bad}: looks most like a file of customers" in done.stderr
    assert f"{bad}.none: No such file or directory" in done.stderr
    assert f"{importer.folder}: is a directory" in done.stderr

    done = await command()
    assert (done.returncode, done.stdout) == (2, "")
    done = await command("--columns", "ticket-packs")
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["customer_code", "required"],
        ["number", "required"],
        ["quantity", "required"],
        ["purchased_on", "required"],
    ]
    done = await command("--columns", "invoices")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There are: customers, licences, contracts, ticket-packs" in done.stderr


async def test_standard_input(importer: Importer) -> None:
    service, c = importer.service, unique("C")
    url = service.server.url(service.database_name, service.server.login)
    text = f"code;name;country\n{c};Esempio;IT\n{c}-2;;IT\n"

    async def command(text: str) -> CompletedProcess[str]:
        return await asyncio.to_thread(run, "import", "-", stdin=text, ASSISTENZA_DATABASE_URL=url)

    bad = await command(text)
    assert (bad.returncode, bad.stdout) == (1, "-:3: name: This is required.\n"), bad.stderr
    good = await command(text.replace(";;", ";Example;"))
    assert (good.returncode, good.stdout) == (0, "")
    assert good.stderr == "-: 2 rows; customers: 2 created, 0 changed, 0 unchanged\n"


async def test_the_list_of_bad_rows_stops(importer: Importer) -> None:
    c = unique("C")
    # Some are bad by themselves and some because of what is stored; the first are listed.
    rows = [f"{c},{c}-{n},{0 if n % 2 else 1},2024-01-01\n" for n in range(1_500)]
    outcome = await importer(packs="customer_code,number,quantity,purchased_on\n" + "".join(rows))
    assert len(outcome.bad) == 1_000
    assert outcome.bad[0] == "packs.csv:2: customer_code: unknown customer code"
    assert outcome.bad[-1].startswith("packs.csv:1001: ")
    assert outcome.said.splitlines() == [
        "packs.csv: 500 more faults are not listed.",
        "packs.csv: nothing imported, 1,500 bad rows.",
        "Not imported: packs.csv",
    ]


# --- in parts -----------------------------------------------------------------------------------


def _many(code: str, count: int = 1_100) -> str:
    """Customers with a contact, then a second contact of each: no part's rows stand together."""
    header = "code,name,country,contact_name,external_ref:crm\n"
    return header + "".join(
        f"{code}-{n},Esempio {n},IT,{who},{code}{n}\n"
        for who in ("First", "Second")
        for n in range(count)
    )


async def test_batches_import_the_same_as_a_whole(importer: Importer) -> None:
    c = unique("C")
    committed = importer.committed
    outcome = await importer(batches=True, many=_many(c))
    assert (
        outcome.said == "many.csv: 2,200 rows; customers: 1,100 created, 0 changed, 0 unchanged\n"
    )
    assert await committed(f"{c}-%") == [500, 500, 100]
    customer = await importer.get(f"customers/{c}-700")
    assert [one["name"] for one in customer["contacts"]] == ["First", "Second"]
    again = await importer(many=_many(c))
    assert "0 created, 0 changed, 1,100 unchanged" in again.said
    packs = "customer_code,number,quantity,purchased_on\n" + "".join(
        f"{c}-{n % 600},{c}-P{n},1,2024-01-01\n" for n in range(1_200)
    )
    outcome = await importer(batches=True, packs=packs, licences=LICENCES.replace("{c}", c))
    assert "ticket packs: 1,200 created" in outcome.said


async def test_batches_check_the_whole_file_first(importer: Importer) -> None:
    c = unique("C")
    outcome = await importer(batches=True, many=_many(c) + f"{c}-0,Other,IT,Third,{c}0\n")
    assert outcome.bad == ["many.csv:2202: name: differs from line 2, which has the same code"]
    assert await importer.get(f"customers/{c}-0") is None


async def test_batches_go_on_where_they_were_interrupted(importer: Importer) -> None:
    c = unique("C")
    assert (await importer(customers=f"code,name,country\n{c}-1050,Old,IT\n")).well
    holder = await asyncpg.connect(importer.service.admin_url)
    try:
        async with holder.transaction():
            # The third part waits for this customer, and gives up.
            await holder.execute(
                "SELECT FROM customers WHERE code = $1 FOR NO KEY UPDATE", f"{c}-1050"
            )
            outcome = await importer(batches=True, many=_many(c), settings={"lock_timeout_ms": 50})
    finally:
        await holder.close()
    assert not outcome.well
    assert outcome.said.splitlines()[1:] == [
        "Not imported: many.csv",
        "many.csv: 1,000 of 1,100 customers are imported. Run the same command again for the rest.",
    ]
    rest = await importer(batches=True, many=_many(c))
    assert "customers: 99 created, 1 changed, 1,000 unchanged" in rest.said


async def test_batches_move_references_between_customers(importer: Importer) -> None:
    c = unique("C")
    assert (await importer(many=_many(c))).well
    lines = _many(c).splitlines()
    # The first and the last customer exchange their references.
    text = "\n".join(
        line.replace(f",{c}0", ",X").replace(f",{c}1099", f",{c}0").replace(",X", f",{c}1099")
        if line.startswith((f"{c}-0,", f"{c}-1099,"))
        else line
        for line in lines
    )
    outcome = await importer(batches=True, many=text)
    assert outcome.well, outcome
    assert "0 created, 2 changed, 1,098 unchanged" in outcome.said
    assert (await importer.get(f"customers/{c}-0"))["external_refs"] == {"crm": f"{c}1099"}


async def test_a_dry_run_of_batches_writes_nothing(importer: Importer) -> None:
    c = unique("C")
    outcome = await importer(batches=True, dry_run=True, **files(c))
    assert outcome.well
    assert await importer.get(f"customers/{c}-1") is None
