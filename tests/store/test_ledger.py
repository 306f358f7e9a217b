"""What the database itself refuses, whoever asks: the role that serves, and the schema's owner."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.api.build import Customer
from tests.conftest import Service

pytestmark = pytest.mark.parametrize("role", ["app", "owner"])
Refused = (asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError)


@dataclass
class Books:
    """A customer with a contract of 100 minutes, 60 of them charged, and two tickets, one held."""

    customer: Customer
    contract: dict[str, Any]
    pack: dict[str, Any]
    paid: dict[str, Any]
    held: dict[str, Any]
    entry: dict[str, Any]


@pytest.fixture(scope="module")
async def books(client: httpx.AsyncClient, service: Service) -> tuple[Books, Books]:
    """Of two customers."""
    made = []
    for _ in range(2):
        customer = await Customer.new(client, service.today())
        await customer.licence(days=-800)
        contract = await customer.contract(included_minutes=100)
        pack = await customer.pack(quantity=2)
        paid, held = await customer.open(), await customer.open(pay_with="ticket")
        entry = await customer.work(paid, 60)
        made.append(Books(customer, contract, pack, paid, held, entry))
    return made[0], made[1]


@pytest.fixture
async def database(service: Service, role: str) -> AsyncIterator[asyncpg.Connection]:
    login = service.server.login if role == "app" else None
    connection = await asyncpg.connect(service.server.url(service.database_name, login))
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def write(database: asyncpg.Connection, kind: str, book: Books, **fields: Any) -> int:
    """One entry, as the ledger's writer would put it."""
    entry: dict[str, Any] = {
        "kind": kind,
        "customer_id": book.customer.id,
        "case_id": book.paid["id"],
        "allowance_id": book.contract["id"],
        **({"time_entry_id": book.entry["id"]} if kind in ("charge", "overrun") else {}),
        **fields,
    }
    names = ", ".join(entry)
    places = ", ".join(f"${number}" for number in range(1, len(entry) + 1))
    made: int = await database.fetchval(
        f"INSERT INTO ledger ({names}, counts_on, recorded_at)"
        f" VALUES ({places}, current_date, now()) RETURNING id",
        *entry.values(),
    )
    return made


async def ticket(
    database: asyncpg.Connection, kind: str, book: Books, position: int, **fields: Any
) -> int:
    moves = {
        "hold": {"held": 1},
        "consumption": {"held": -1, "consumed": 1},
        "reopening": {"held": 1, "consumed": -1},
        "release": {"held": -1},
    }[kind]
    where = {"allowance_id": book.pack["id"], "ticket_position": position}
    return await write(database, kind, book, **{**where, **moves, **fields})


async def balance(database: asyncpg.Connection, allowance: dict[str, Any]) -> tuple[int, ...]:
    """Used, overrun, held, consumed."""
    query = "SELECT used_minutes, overrun_minutes, held, consumed FROM balances"
    row = await database.fetchrow(f"{query} WHERE allowance_id = $1", UUID(allowance["id"]))
    assert row is not None
    return tuple(row)


# --- append-only ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "UPDATE ledger SET customer_id = customer_id",
        "UPDATE ledger SET customer_id = customer_id WHERE false",
        "DELETE FROM ledger",
        "TRUNCATE ledger CASCADE",
        # Row by row, because an erasure may take a person's words out of an event (R43).
        "UPDATE events SET customer_id = customer_id",
        "UPDATE events SET data = '{}'",
        "DELETE FROM events",
        "TRUNCATE events CASCADE",
    ],
)
async def test_what_is_written_stays(
    database: asyncpg.Connection, books: tuple[Books, Books], command: str
) -> None:
    """R30, R33: a wrong entry is reversed, never changed."""
    with pytest.raises(Refused):
        await database.execute(command)


# --- minutes ----------------------------------------------------------------------------------


async def test_an_entry_moves_its_balance(
    database: asyncpg.Connection, books: tuple[Books, Books]
) -> None:
    """R20, R21: and a reversal takes it back."""
    mine, theirs = books
    charge = await write(database, "charge", mine, used_minutes=40)
    await write(database, "overrun", mine, overrun_minutes=5)
    assert await balance(database, mine.contract) == (100, 5, 0, 0)
    back = {"used_minutes": -40, "reverses": charge, "time_entry_id": mine.entry["id"]}
    await write(database, "reversal", mine, **back)
    assert await balance(database, mine.contract) == (60, 5, 0, 0)
    assert await balance(database, theirs.contract) == (60, 0, 0, 0)


async def test_no_allowance_is_overdrawn(
    database: asyncpg.Connection, books: tuple[Books, Books]
) -> None:
    """R21: 60 of 100 minutes are used."""
    with pytest.raises(asyncpg.CheckViolationError, match="ck_balances_used_minutes"):
        await write(database, "charge", books[0], used_minutes=41)


@pytest.mark.parametrize("field", ["used_minutes", "overrun_minutes"])
async def test_no_balance_is_negative(
    database: asyncpg.Connection, books: tuple[Books, Books], field: str
) -> None:
    """R30: nothing is given back that was not charged."""
    book = books[0]
    charge = await database.fetchval(
        "SELECT min(id) FROM ledger WHERE time_entry_id = $1", UUID(book.entry["id"])
    )
    back = {field: -61, "reverses": charge, "time_entry_id": book.entry["id"]}
    with pytest.raises(asyncpg.CheckViolationError, match=f"ck_balances_{field}"):
        await write(database, "reversal", book, **back)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("charge", {"used_minutes": 0}),
        ("charge", {"used_minutes": -5}),
        ("charge", {"used_minutes": 5, "overrun_minutes": 5}),
        ("charge", {"used_minutes": 5, "time_entry_id": None}),
        ("charge", {"used_minutes": 5, "allowance_id": None}),
        ("overrun", {"overrun_minutes": -5}),
        ("reversal", {"used_minutes": -5}),
        ("hold", {"held": 1}),
        ("gift", {"used_minutes": 5}),
    ],
)
async def test_every_kind_of_entry_has_its_shape(
    database: asyncpg.Connection, books: tuple[Books, Books], kind: str, fields: dict[str, Any]
) -> None:
    """R21, R30: so that a balance is a sum over entries that each say what they are."""
    with pytest.raises(asyncpg.CheckViolationError, match="ck_ledger_"):
        await write(database, kind, books[0], **fields)


async def test_a_tickets_balance_takes_no_minutes(
    database: asyncpg.Connection, books: tuple[Books, Books]
) -> None:
    """R16."""
    book = books[0]
    with pytest.raises(asyncpg.CheckViolationError, match="ck_balances_ticket_minutes"):
        await write(database, "charge", book, allowance_id=book.pack["id"], used_minutes=1)


# --- tickets ----------------------------------------------------------------------------------


async def test_a_ticket_goes_from_hold_to_consumption_and_back(
    database: asyncpg.Connection, books: tuple[Books, Books]
) -> None:
    """R19, R29."""
    book = books[0]
    states = []
    for kind in ("hold", "consumption", "reopening", "release"):
        await ticket(database, kind, book, 2)
        states.append((await balance(database, book.pack))[2:])
    # The other ticket is held all the while.
    assert states == [(2, 0), (1, 1), (2, 0), (1, 0)]


@pytest.mark.parametrize("consumed", [False, True])
async def test_no_ticket_serves_two_cases(
    database: asyncpg.Connection, books: tuple[Books, Books], consumed: bool
) -> None:
    """R19: neither a held nor a consumed one."""
    book = books[0]
    if consumed:
        await ticket(database, "consumption", book, 1, case_id=book.held["id"])
    with pytest.raises(asyncpg.UniqueViolationError, match="pk_ticket_uses"):
        await ticket(database, "hold", book, 1)


async def test_no_case_takes_two_tickets(
    database: asyncpg.Connection, books: tuple[Books, Books]
) -> None:
    """R19."""
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_ticket_uses_case_id"):
        await ticket(database, "hold", books[0], 2, case_id=books[0].held["id"])


@pytest.mark.parametrize("position", [0, 3])
async def test_a_pack_has_no_more_tickets_than_were_bought(
    database: asyncpg.Connection, books: tuple[Books, Books], position: int
) -> None:
    """R19."""
    with pytest.raises(asyncpg.CheckViolationError, match="ck_ticket_uses_position"):
        await ticket(database, "hold", books[0], position)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("consumption", {}),
        ("release", {}),
        ("release", {"held": 0, "consumed": -1}),
        ("reopening", {}),
    ],
)
async def test_no_case_moves_anothers_ticket(
    database: asyncpg.Connection, books: tuple[Books, Books], kind: str, fields: dict[str, Any]
) -> None:
    """R19: nor one out of turn."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await ticket(database, kind, books[0], 1, **fields)


# --- customers --------------------------------------------------------------------------------


@pytest.mark.parametrize("foreign", ["allowance_id", "case_id", "time_entry_id", "cause_case_id"])
async def test_nothing_of_another_customer_is_charged(
    database: asyncpg.Connection, books: tuple[Books, Books], foreign: str
) -> None:
    """R38."""
    mine, theirs = books
    other = {
        "allowance_id": theirs.contract["id"],
        "case_id": theirs.paid["id"],
        "time_entry_id": theirs.entry["id"],
        "cause_case_id": theirs.paid["id"],
    }[foreign]
    with pytest.raises(asyncpg.ForeignKeyViolationError, match=f"fk_ledger_{foreign}"):
        await write(database, "charge", mine, **{"used_minutes": 1, foreign: other})


async def test_no_ticket_of_another_customer_is_held(
    database: asyncpg.Connection, books: tuple[Books, Books]
) -> None:
    """R38, R19."""
    mine, theirs = books
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await ticket(database, "hold", mine, 2, allowance_id=theirs.pack["id"])
