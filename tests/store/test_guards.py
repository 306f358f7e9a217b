"""What the database refuses by itself, to the role that serves and to the role of bound tokens.

Each is tried in SQL: the checks of the services stand in front of it, and may fail one day.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.ids import new_id
from app.jobs.housekeeping import EXPIRED_TOKENS_KEPT, Housekeeping
from app.services import tokens
from app.services.tokens import BOUND_SCOPES, SCOPES, hash_of
from tests.api.build import Customer
from tests.conftest import Service

_TOKEN = "SELECT * FROM tokens WHERE hash = $1"
_NEW_TOKEN = """INSERT INTO tokens (id, name, hash, scopes, customer_id, created_at)
    VALUES ($1, 'somebody', $2, $3, $4, now())"""
_EVENT = """INSERT INTO events
        (type, customer_id, case_id, subject_id, occurred_at, actor, actor_id, data)
    VALUES ('case.commented', $1, $2, $2, now(), $3, $4,
        '{"number": "1", "body": "Seen.", "internal": false}')"""


@pytest.fixture
async def serving(service: Service) -> AsyncIterator[asyncpg.Connection]:
    """As the role that serves requests."""
    url = service.server.url(service.database_name, service.server.login)
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    customer = await Customer.new(client, today)
    await customer.licence(days=-40)
    return customer


@pytest.fixture
async def holder(
    service: Service, serving: asyncpg.Connection, customer: Customer
) -> AsyncIterator[asyncpg.Record]:
    """A token bound to the customer, admitted on `serving`, which then has the bound role."""
    token = await service.token(*BOUND_SCOPES, customer_id=customer.id)
    row = await stored(serving, token)
    await serving.execute("SET ROLE assistenza_bound")
    async with serving.transaction():
        await serving.execute("SELECT admit_bound($1, now())", hash_of(token))
        yield row


async def stored(connection: asyncpg.Connection, token: str) -> asyncpg.Record:
    row = await connection.fetchrow(_TOKEN, hash_of(token))
    assert row is not None
    return row


async def refused(
    connection: asyncpg.Connection, error: type[asyncpg.PostgresError], command: str, *values: Any
) -> asyncpg.PostgresError:
    with pytest.raises(error) as caught:
        async with connection.transaction():
            await connection.execute(command, *values)
    return caught.value


# --- tokens -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again", ["NULL", "now() + interval '1 day'", "revoked_at - interval '1 s'"]
)
async def test_a_revoked_token_stays_revoked(
    service: Service, serving: asyncpg.Connection, again: str
) -> None:
    row = await stored(serving, await service.token("customers:read"))
    await serving.execute("UPDATE tokens SET revoked_at = now() WHERE id = $1", row["id"])
    await refused(
        serving,
        asyncpg.IntegrityConstraintViolationError,
        f"UPDATE tokens SET revoked_at = {again} WHERE id = $1",
        row["id"],
    )
    # The housekeeper may still note that it was used before.
    await serving.execute("UPDATE tokens SET last_used_at = now() WHERE id = $1", row["id"])


@pytest.mark.parametrize("days", [None, 1])
async def test_no_token_is_deleted_before_it_has_expired(
    service: Service, serving: asyncpg.Connection, days: int | None
) -> None:
    """Deleted and made again it would no longer be revoked."""
    expires_at = days and datetime.now(UTC) + timedelta(days=days)
    token = await service.token("customers:read", expires_at=expires_at)
    await refused(
        serving,
        asyncpg.IntegrityConstraintViolationError,
        "DELETE FROM tokens WHERE hash = $1",
        hash_of(token),
    )


@pytest.mark.parametrize("scope", sorted(SCOPES - BOUND_SCOPES))
async def test_a_bound_token_with_another_scope_cannot_be_stored(
    serving: asyncpg.Connection, customer: Customer, scope: str
) -> None:
    values = (new_id(), scope.encode(), ["cases:read", scope], UUID(customer.id))
    violated = await refused(serving, asyncpg.CheckViolationError, _NEW_TOKEN, *values)
    assert violated.constraint_name == "ck_tokens_bound_scopes"


async def test_the_database_knows_the_scopes_of_bound_tokens(serving: asyncpg.Connection) -> None:
    constraint = await serving.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conname = 'ck_tokens_bound_scopes'"
    )
    assert set(re.findall(r"[a-z]+:[a-z]+(?=')", constraint)) == BOUND_SCOPES


async def test_revoking_a_key_by_its_id_ends_what_it_has_issued(
    service: Service, serving: asyncpg.Connection, customer: Customer
) -> None:
    key = await service.token("tokens:issue", "usage:read")
    async with service.client(key) as website:
        url = f"/v1/customers/{customer.id}/tokens"
        issued = (await website.post(url, json={"scopes": ["usage:read"]})).json()["token"]
    usage = f"/v1/customers/{customer.id}/usage"
    async with service.client(issued) as bound:
        assert (await bound.get(usage)).status_code == 200
        row = await stored(serving, key)
        async with service.database.writing.begin() as connection:
            # The key, the token, and the one to which the link beside it leads.
            assert await tokens.revoke(connection, datetime.now(UTC), str(row["id"])) == 3
        assert (await bound.get(usage)).status_code == 401


async def test_a_key_issues_nothing_while_it_is_being_revoked(
    service: Service, serving: asyncpg.Connection, customer: Customer
) -> None:
    """Or a token issued at that moment would outlive its issuer."""
    key = await service.token("tokens:issue", "usage:read")
    row = await stored(serving, key)
    async with service.client(key) as website:
        async with service.database.writing.begin() as connection:
            await tokens.revoke(connection, datetime.now(UTC), str(row["id"]))
            url = f"/v1/customers/{customer.id}/tokens"
            issuing = asyncio.create_task(website.post(url, json={"scopes": ["usage:read"]}))
            await asyncio.sleep(0.3)
        assert (await issuing).status_code == 401
    assert not await serving.fetchval("SELECT count(*) FROM tokens WHERE issued_by = $1", row["id"])


async def test_tokens_that_expired_long_ago_are_deleted_and_their_events_keep_the_name(
    service: Service, serving: asyncpg.Connection, customer: Customer
) -> None:
    now = datetime.now(UTC)
    long_ago, lately = (now - EXPIRED_TOKENS_KEPT + timedelta(days=days) for days in (-1, 1))
    issuer = await service.token("tokens:issue", name="old-website")
    issuer_id = (await stored(serving, issuer))["id"]
    bound = await service.token(
        "usage:read", customer_id=customer.id, expires_at=long_ago, issued_by=issuer_id
    )
    await service.server.run_in(
        service.database_name,
        "UPDATE tokens SET expires_at = $1 WHERE id = $2",
        long_ago,
        issuer_id,
    )
    kept = [
        await service.token("usage:read", expires_at=lately),
        await service.token("usage:read", expires_at=now + timedelta(days=1)),
        await service.token("usage:read", revoked_at=long_ago),
    ]
    await serving.execute(_EVENT, UUID(customer.id), None, "old-website", issuer_id)

    keeping = Housekeeping()
    for _ in range(2):  # an issuer goes after what it has issued
        keeping._forgot_at = None
        await keeping.tidy(service.database)
    for token in (issuer, bound):
        assert await serving.fetchrow(_TOKEN, hash_of(token)) is None
    for token in kept:
        assert await serving.fetchrow(_TOKEN, hash_of(token)) is not None
    actors = await serving.fetch("SELECT actor FROM events WHERE actor_id = $1", issuer_id)
    assert [row["actor"] for row in actors] == ["old-website"]


# --- the ledger ---------------------------------------------------------------------------------


async def test_a_charge_is_not_reversed_twice(
    serving: asyncpg.Connection, customer: Customer
) -> None:
    case = await customer.open()
    await customer.work(case, 40)
    entry = await customer.work(case, 15)
    await customer.step(case, f"time-entries/{entry['id']}/reversal", reason="Wrong.")
    columns = """customer_id, case_id, allowance_id, kind, used_minutes, time_entry_id, reverses,
        counts_on, recorded_at"""
    violated = await refused(
        serving,
        asyncpg.UniqueViolationError,
        f"INSERT INTO ledger ({columns}) SELECT {columns} FROM ledger"
        " WHERE kind = 'reversal' AND time_entry_id = $1",
        UUID(entry["id"]),
    )
    assert violated.constraint_name == "uq_ledger_reverses"


# --- the role of bound tokens -------------------------------------------------------------------


async def test_a_bound_token_writes_its_own_events_alone(
    service: Service,
    client: httpx.AsyncClient,
    serving: asyncpg.Connection,
    customer: Customer,
    today: date,
    holder: asyncpg.Record,
) -> None:
    case = UUID((await customer.open())["id"])
    other = await Customer.new(client, today)
    own = (UUID(customer.id), case, holder["name"], holder["id"])
    await serving.execute(_EVENT, *own)
    for values in (
        (UUID(other.id), *own[1:]),
        (None, *own[1:]),
        (*own[:2], "somebody else", holder["id"]),
        (*own[:3], new_id()),
        (*own[:3], None),
    ):
        error = await refused(serving, asyncpg.InsufficientPrivilegeError, _EVENT, *values)
        assert "row-level security" in str(error)


async def test_before_a_token_is_admitted_the_bound_role_writes_no_event(
    serving: asyncpg.Connection, customer: Customer
) -> None:
    await serving.execute("SET ROLE assistenza_bound")
    values = (UUID(customer.id), None, "", None)
    await refused(serving, asyncpg.InsufficientPrivilegeError, _EVENT, *values)


async def test_a_bound_token_moves_no_minutes(
    serving: asyncpg.Connection, customer: Customer, holder: asyncpg.Record
) -> None:
    case = await customer.open()
    await customer.work(case, 40)
    (charge,) = await serving.fetch("SELECT * FROM ledger WHERE case_id = $1", UUID(case["id"]))
    columns = """customer_id, case_id, allowance_id, kind, used_minutes, time_entry_id, reverses,
        counts_on, recorded_at"""
    error = await refused(
        serving,
        asyncpg.InsufficientPrivilegeError,
        f"INSERT INTO ledger ({columns}) SELECT customer_id, case_id, allowance_id, 'reversal',"
        " -used_minutes, time_entry_id, id, counts_on, recorded_at FROM ledger WHERE id = $1",
        charge["id"],
    )
    assert "row-level security" in str(error)


async def test_every_table_of_customers_rows_has_a_policy_for_the_bound_role(
    serving: asyncpg.Connection,
) -> None:
    """R38: a new table without one would show, once it is granted, the rows of all customers."""
    rows = await serving.fetch(
        """SELECT c.relname, c.relrowsecurity AND EXISTS (
                SELECT FROM pg_policy p WHERE p.polrelid = c.oid
                    AND 'assistenza_bound'::regrole = ANY (p.polroles)) AS walled
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'customer_id'
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"""
    )
    assert len(rows) >= 14
    assert [row["relname"] for row in rows if not row["walled"]] == []


async def test_the_bound_role_reads_through_policies_alone(serving: asyncpg.Connection) -> None:
    """Also tables that name a customer in another column."""
    readable = await serving.fetch(
        """SELECT relname FROM pg_class c
        WHERE relkind IN ('r', 'p', 'v', 'm') AND relnamespace = 'public'::regnamespace
            AND NOT relrowsecurity AND has_any_column_privilege('assistenza_bound', oid,
                'SELECT, INSERT, UPDATE')"""
    )
    # Closures are the same for everybody (R48), and so is how far the feed of events is. Of the
    # combinations of columns and services it may not read how many customers have each.
    assert {row["relname"] for row in readable} == {
        "help_desk_closures",
        "feed_state",
        "feed_epochs",
        "standing_kinds",
    }
