"""Every read finds its rows by an index, however many rows there are.

The service is asked everything that its OpenAPI document lets be read, on a large, analysed
database. Each statement that it sends is then explained with custom and with generic plans. A
sequential scan of a large table fails, and so does an index scan that reads much and filters it
away. A new list is asked because it is in the document; a parameter that this file does not know
fails the test.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import product
from typing import Any, Literal

import asyncpg
import httpx
import pytest
from sqlalchemy import TextClause, event

from app import clock
from app.services import usage_reports
from app.services.tokens import BOUND_SCOPES, hash_of
from app.store import direct, feed, webhooks
from app.store.raw_reads import PreparedQuery, RawReadPool, prepare
from app.store.tables.usage_days import SUMMED, WITHIN_CUSTOMERS
from app.store.usage_reports import SUM_DAYS
from tests.benchmarks.fill import fill, key
from tests.benchmarks.load import customer_id
from tests.conftest import Service
from tests.matrix.document import LOOKUPS, OPEN, Operation, operations

_CUSTOMERS = 50_000
_SOME, _RARE = 12_340, 777
_HOOK = "019a0000-000a-7000-8000-000000000000"
_OTHER_HOOK = "019a0000-000a-7000-8000-000000000001"
_TWINS, _TWIN = 10_000, key(8, "0")
LARGE = {
    "allowance_standings",
    "balances",
    "case_responses",
    "cases",
    "contacts",
    "contracts",
    "customers",
    "events",
    "external_refs",
    "feed",
    "ledger",
    "licence_upgrades",
    "licences",
    "merged_customers",
    "service_years",
    "standings",
    "ticket_packs",
    "ticket_uses",
    "time_entries",
    "usage_days",
    "webhook_attempts",
    "webhook_deliveries",
    "webhook_events",
    "webhook_lanes",
}
# Most rows that one node of a plan may read. A search looks through the first thousand rows of its
# list, and at what belongs to them.
_MOST_ROWS = 5_000
BOUNDED = {
    # These depend on other rows, so that no index lists them.
    "list_contracts state=suspended": "the contracts in force",
    "list_ticket_packs available=false": "the packs that still have a ticket",
    # In an order of its own, which no filter's index has.
    "list_cases queue=true": "the open cases",
    # It counts them.
    "get_backlog": "the open cases",
}
"""What cannot be flat, by operation and parameter, and what it reads at most."""


def _twin_id(n: int) -> str:
    return f"019a0000-0008-7000-8000-{n:012}"


def _standings() -> list[str]:
    """Most stand in NO_DEV, one in 5,000 in DEV and SA, one in 25,000 in TCK with a contract."""
    web = "ARRAY['web_forum']"
    editor = "ARRAY['web_forum', 'web_support_portal', 'email_support']"
    kinds = [
        f"(1, ARRAY['NO_DEV'], {web})",
        f"(2, ARRAY['NO_DEV', 'TCK'], {web} || '{{phone_support}}')",
        f"(3, ARRAY['DEV'], {editor})",
        f"(4, ARRAY['DEV', 'SA'], {editor} || '{{priority_support}}')",
        f"(5, ARRAY['SA', 'TCK'], {editor} || '{{remote_access,editor_upgrades}}')",
    ]
    return [
        f"INSERT INTO standing_kinds SELECT *, 1 FROM (VALUES {', '.join(kinds)}) k",
        f"""INSERT INTO standings (customer_id, position, evaluated_on, kind_id, changed_at, detail)
            SELECT {key(0, "0")}, 0, '2026-01-01', CASE WHEN n % 25000 = 1 THEN 5
                WHEN n % 5000 = 2 THEN 4 ELSE 1 + n % 3 END,
                '2026-01-01'::timestamptz + n * interval '1 minute', '{{}}'
            FROM generate_series(1, {_CUSTOMERS}) n""",
    ]


def _webhooks() -> list[str]:
    """Two webhooks, of which one has all deliveries: a few wait, of many customers."""
    states = (
        "CASE WHEN n % 5000 = 1 THEN 'abandoned' WHEN n % 5 = 2 THEN 'waiting' ELSE 'delivered'"
    )
    waits = f"state = 'waiting' AND endpoint_id = '{_HOOK}'"
    return [
        f"""INSERT INTO webhook_endpoints (id, url, headers, secret, after_position,
                created_at, updated_at)
            SELECT id, 'https://example.com/', '{{}}', 'whsec_', 0, now(), now()
            FROM unnest(ARRAY['{_HOOK}', '{_OTHER_HOOK}']::uuid[]) id""",
        f"""INSERT INTO webhook_events (id, position, type, body)
            SELECT 'a-' || n, n, 'case.opened', '{{}}' FROM generate_series(1, {_CUSTOMERS}) n""",
        f"""INSERT INTO webhook_deliveries
                (id, endpoint_id, customer_id, event_id, position, state, created_at)
            SELECT {key(9, "1")}, '{_HOOK}', {key(0, "0")}, 'a-' || n, n, {states} END, now()
            FROM generate_series(1, {_CUSTOMERS}) n""",
        f"""INSERT INTO webhook_lanes (endpoint_id, customer_id, due_at, tried_at)
            SELECT endpoint_id, customer_id, now() + position * interval '1 s', now()
            FROM webhook_deliveries WHERE {waits}""",
        """INSERT INTO webhook_attempts (delivery_id, number, at, duration_ms, answer_bytes)
            SELECT id, 1, now(), 5, 0 FROM webhook_deliveries""",
        f"""INSERT INTO webhook_recoveries (id, endpoint_id, since, only_failed, position,
                until_position, created_at)
            VALUES ('{_HOOK}', '{_HOOK}', now(), true, 0, 9, now())""",
    ]


def _more(today: date) -> list[str]:
    """More closed cases, and what is rare: one thing of each kind, all of one customer."""
    made = f"'{today - timedelta(days=10)}'::date"
    older = f"{made} - n % 700"
    columns = """number, requester_name, channel, category, priority_requested, priority,
        priority_support, subject, description, technician, state, paid_by, first_paid_by,
        resolution, opened_on, opened_at, closed_at, updated_at"""
    rare = f"'{customer_id(_RARE)}'"
    return [
        f"""INSERT INTO cases (id, customer_id, {columns})
            SELECT {key(7)}, {key(0, "0")}, '2025-' || i || lpad(n::text, 7, '0'),
                'Requester ' || n, 'email', 'question', 'normal', 'normal', false, 'Older subject',
                'Nothing is shown on panel ' || n, 'Technician ' || n % 20, 'closed', 'none',
                'none', 'Solved.', {older} - i, {older} - i, {older}, {older}
            FROM generate_series(1, {_CUSTOMERS}) n, generate_series(1, 3) i""",
        # Work of two years, of which the ledger has two rows for each entry.
        f"""INSERT INTO time_entries (id, customer_id, case_id, technician, minutes, worked_at,
                worked_on, recorded_at)
            SELECT {key(8, "1")}, {key(0, "0")}, {key(7, "1")}, 'Technician ' || n % 20, 20,
                {older}, {older}, {older}
            FROM generate_series(1, {_CUSTOMERS}) n""",
        """INSERT INTO ledger (customer_id, case_id, kind, overrun_minutes, time_entry_id,
                counts_on, recorded_at)
            SELECT customer_id, case_id, 'overrun', 10, id, worked_on, recorded_at
            FROM time_entries, generate_series(1, 2) WHERE technician LIKE 'Technician%'""",
        f"""INSERT INTO cases (id, customer_id, requester_email, requester_phone, serial_number,
                {columns})
            SELECT gen_random_uuid(), {rare}, 'quirinus@rare.example', '+4930999888', 'RARE-1',
                '2024-00000' || n, 'Quirinus Exotic', 'remote', 'bug', 'high', 'high', false,
                'Strange', 'Unheard-of whistling', 'Rarely Here', state, 'none', 'none', NULL,
                {made} - 3, {made} - 3, NULL, {made}
            FROM unnest(ARRAY['cancelled', 'waiting_for_customer'])
                WITH ORDINALITY s (state, n)""",
        # A customer in five was entered twice (R49).
        f"""INSERT INTO customers
                (id, code, name, country, language, created_at, updated_at, merged_at)
            SELECT {_TWIN}, 'M-' || n, 'Doublet ' || n, 'IT', 'it', {made}, {made}, {made}
            FROM generate_series(1, {_TWINS}) n""",
        f"""INSERT INTO merged_customers
            SELECT {_TWIN}, {key(0, "0")} FROM generate_series(1, {_TWINS}) n""",
        f"UPDATE customers SET country = 'MT', name = 'Zyxwvut Ltd' WHERE id = {rare}",
        f"""UPDATE contacts SET name = 'Xerxes Qwertz', email = 'xerxes@rare.example'
            WHERE customer_id = {rare}""",
        f"UPDATE licences SET kind = 'other' WHERE customer_id = {rare}",
        """UPDATE contracts SET cancelled_on = starts_on, cancellation_reason = 'An error.'
            WHERE number = 'SA-100-0'""",
        f"""UPDATE contracts SET starts_on = {made} + 15, ends_on = {made} + 380
            WHERE number = 'SA-105-0'""",
        """INSERT INTO events (customer_id, case_id, type, subject_id, occurred_at, actor, data)
            SELECT customer_id, id, 'case.opened', id, opened_at, 'fill',
                jsonb_build_object('state', 'open', 'paid_by', paid_by)
            FROM cases WHERE right(number, 1) = '7'""",
        """INSERT INTO feed (position, type, customer_id, case_id, subject_id, occurred_at, data)
            SELECT row_number() OVER (), 'case.opened', customer_id, id, id, opened_at,
                json_build_object('number', number, 'state', 'open', 'paid_by', paid_by,
                    'channel', channel)
            FROM cases""",
        f"""INSERT INTO feed (position, type, customer_id, subject_id, occurred_at, data)
            SELECT max(position) + 1, 'customer.archived', {rare}, {rare}, {made},
                '{{"code": "C-{_RARE}", "archived": true}}' FROM feed""",
        "UPDATE feed_state SET position = (SELECT max(position) FROM feed)",
        *_standings(),
        *_allowances(),
        *_webhooks(),
        """INSERT INTO case_responses (case_id, help_desk, ended_on, responded_at, response_minutes,
                resolution_minutes, aged_from, response_told, response_missed, resolution_missed,
                stale)
            SELECT id, 'it', CASE WHEN state IN ('closed', 'cancelled') THEN opened_on + 1 END,
                opened_at, 30, CASE WHEN state = 'closed' THEN 90 END,
                CASE WHEN state IN ('open', 'in_progress') THEN opened_at END, true, false, false,
                false
            FROM cases""",
    ]


def _allowances() -> list[str]:
    """One in ten is used by half or more, one in 500 is overrun, contracts alone are renewed."""
    share = "CASE WHEN h % 10 > 0 THEN h % 50 ELSE 50 + h % 51 END"
    return [
        f"""INSERT INTO allowance_standings (customer_id, key, kind, number, starts_on, ends_on,
                stops_on, granted, used, held, overrun, cancelled, begun, ends, renewed_by,
                used_percent)
            SELECT customer_id, id::text, kind, number, starts_on, ends_on, ends_on, 100, {share},
                0, CASE WHEN h % 500 = 7 THEN 5 ELSE 0 END, 0, true, ends,
                CASE WHEN kind = 'contract' AND h % 3 = 0 THEN id::text END, {share}
            FROM (
                SELECT customer_id, id, 'contract' AS kind, number, starts_on, ends_on,
                    NULL::jsonb AS ends, abs(hashtext(number)) AS h FROM contracts
                UNION ALL
                SELECT customer_id, id, 'ticket_pack', number, purchased_on, expires_on,
                    jsonb_build_object(expires_on, 1), abs(hashtext(number)) FROM ticket_packs
                UNION ALL
                SELECT customer_id, id, 'free_hours', NULL, starts_on, ends_on, NULL,
                    abs(hashtext(id::text)) FROM service_years) one""",
    ]


def _sums_of_usage(rules: str, today: date) -> list[str]:
    """Two years of sums by day: eight rows by each dimension, and as many by each pair of them."""
    said = rules.replace("'", "''")
    values = ", ".join(["'one'"] * len(WITHIN_CUSTOMERS))
    return [
        f"""INSERT INTO usage_days
            SELECT '{today}'::date - d, mask, {values}, {", ".join(["n"] * len(SUMMED))}
            FROM generate_series(1, 730) d, generate_series(0, 127) mask, generate_series(1, 8) n
            WHERE bit_count(mask::bit(7)) <= 2""",
        f"UPDATE usage_state SET through = '{today}'::date - 1, rules = '{said}'",
    ]


Plans = Literal["force_custom_plan", "force_generic_plan"]


@dataclass(frozen=True)
class Statement:
    """A statement as the driver gets it, and whether it was sent for a bound token."""

    text: str
    values: tuple[Any, ...]
    bound: bool


@dataclass
class Recorder:
    """What the service sends to its database."""

    sent: list[Statement] = field(default_factory=list)

    def listen(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        database = service.database
        for engine in (database.reading, database.writing, database.bound):
            bound = engine is database.bound

            def add(
                _connection: Any,
                _cursor: Any,
                text: str,
                values: Any,
                _context: Any,
                _many: bool,
                bound: bool = bound,
            ) -> None:
                self.sent.append(Statement(text, tuple(values), bound))

            event.listen(engine.sync_engine, "before_cursor_execute", add)
        send = direct._send

        async def send_and_add(connection: Any, driver: Any, text: str, values: list[Any]) -> Any:
            of = connection.engine.sync_engine
            self.sent.append(Statement(text, tuple(values), of is database.bound.sync_engine))
            return await send(connection, driver, text, values)

        monkeypatch.setattr(direct, "_send", send_and_add)
        fetch = RawReadPool.fetch

        async def fetch_and_add(
            pool: RawReadPool, query: PreparedQuery, parameters: dict[str, Any]
        ) -> Any:
            values = tuple(parameters[name] for name in query.names)
            self.sent.append(Statement(query.text, values, pool is database.bound_raw))
            return await fetch(pool, query, parameters)

        monkeypatch.setattr(RawReadPool, "fetch", fetch_and_add)

    def take(self) -> list[Statement]:
        taken, self.sent = self.sent, []
        return [one for one in taken if one.text.lstrip().upper().startswith(("SELECT", "WITH"))]


@dataclass
class World:
    service: Service
    recorder: Recorder
    anyone: httpx.AsyncClient
    bound: httpx.AsyncClient
    bound_hash: bytes
    today: date


@pytest.fixture(scope="module")
async def world(new_service: Callable[..., Awaitable[Service]]) -> AsyncIterator[World]:
    service = await new_service()
    today = service.today()
    rules = usage_reports.rules_of(service.policies, today).said()
    more = [*_more(today), *_sums_of_usage(rules, today)]
    await fill(service.admin_url, _CUSTOMERS, today, more=more, vacuum=False)
    scopes = sorted({one.scope for one in operations() if one.is_safe and one.scope})
    for_bound = sorted(BOUND_SCOPES.intersection(scopes))
    token = await service.token(*for_bound, customer_id=customer_id(_RARE))
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as monkeypatch:
        recorder.listen(service, monkeypatch)
        async with (
            _client(service, await service.token(*scopes)) as anyone,
            _client(service, token) as bound,
        ):
            yield World(service, recorder, anyone, bound, hash_of(token), today)


def _client(service: Service, token: str) -> httpx.AsyncClient:
    # Other tests compare answers with the document; here that would take most of the time.
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(service.app),
        base_url="http://test",
        headers={"Authorization": f"Bearer {token}"},
    )


# --- what is asked ---------------------------------------------------------------------------


def _values(world_today: date, name: str, schema: dict[str, Any]) -> list[str]:
    """What to ask a filter for: common, rare and absent values."""
    if name == "country":
        return ["IT", "MT", "FR"]
    if "enum" in schema:
        return list(schema["enum"])
    if name == "type":
        return ["contract.signed", "case.opened", "customer.archived"]
    if schema.get("type") == "boolean":
        return ["true", "false"]
    days = {
        "opened_after": [-10, -400, 5],
        "opened_before": [-10, -400, 5],
        "ends_before": [-4000, 30, 4000],
        "at": [-100],
        "changed_after": [-4000, 4000],
    }
    if name in days:
        dates = [str(world_today + timedelta(days=day)) for day in days[name]]
        is_instant = schema.get("format") == "date-time"
        return [f"{day}T00:00:00Z" if is_instant else day for day in dates]
    found = _FILTERS.get(name)
    assert found, f"{name}: say in _FILTERS which values are common, rare and absent"
    return found


_FILTERS = {
    "within_days": ["0", "30", "3660"],
    "used_percent": ["50", "99", "100"],
    "customer_id": [
        customer_id(_SOME),
        f"c-{_SOME}",
        customer_id(_CUSTOMERS + 1),
        "m-1234",
        _twin_id(1234),
    ],
    "external_ref": [f"crm:R-{_SOME}", "crm:nothing"],
    "after": ["now"],
    "customer": [customer_id(_SOME), f"c-{_SOME}", customer_id(_CUSTOMERS + 1), "m-1234"],
    "group_by": ["customer", "technician", "country", "paid_by"],
    "help_desk": ["it", "nowhere"],
    "event": ["a-12340", "nothing"],
    "serial_number": [f"s-{_SOME}-0", "rare-1", "nothing"],
    "technician": ["technician 3", "RARELY here", "Nobody"],
    "q": [
        "customer",
        "subject",
        "c-12340",
        "zyxwvut",
        "doublet",
        "m-1234",
        "xerxes",
        "xerxes@rare.example",
        "it00000012340",
        "heard-of whistling",
        "quirinus exotic",
        "QUIRINUS@rare.example",
        "+49 30 999888",
        "rare-1",
        "2024-000001",
        "nothing like this",
        "zz",
        "z",
    ],
}


_PATHS = {
    "customer": [customer_id(_SOME), f"c-{_SOME}", "m-1234", _twin_id(1234)],
    "licence": [f"s-{_SOME}-0"],
    "contract": [f"sa-{_SOME + 1}-0"],
    "ticket_pack": [f"t-{_SOME}"],
    "case": ["2024-000001", "2025-10012347"],
    "desk": ["it"],
    "call": ["019a0000-0009-7000-8000-000000012340"],
    "closure_id": ["019a0000-0009-7000-8000-000000012340"],
    "contact_id": ["019a0000-0006-7000-8000-000000012340"],
    "entry_id": ["019a0000-0009-7000-8000-000000012340"],
    "webhook": [_HOOK],
    "delivery": ["019a0000-0009-7000-8001-000000012340"],
    "recovery": [_HOOK],
    "token_id": ["019a0000-0009-7000-8000-000000012340"],
}
_LOOKUPS = {
    "customer_id": customer_id(_SOME),
    "customer_code": f"c-{_SOME}",
    "serial_number": f"s-{_SOME}-0",
    "case_number": f"2025-1{_SOME:07}",
    "phone": f"+39059{_SOME:07}",
    "email": f"Contact{_SOME}@example.com",
    "external_ref": f"crm:R-{_SOME}",
}
# Parameters that choose no rows of a large table, or more of one customer's.
_OTHERS = {
    *("limit", "cursor", "region", "explain", "service", "from", "to", "until", "at", "called"),
    *("wait", "window", "format", "dialect"),
}
_ALWAYS = {"service": "phone_support", "until": "+30", "from": "-30", "to": "0"}


def _requests(operation: Operation, today: date) -> Iterator[tuple[str, dict[str, str]]]:
    """Paths and queries: without a filter, with each value of each, and each with the queue's."""
    names = operation.parameters("path")
    unknown = names.keys() - _PATHS.keys()
    assert not unknown, f"{operation.name}: say in _PATHS what {unknown} may name"
    filters = {
        k: v
        for k, v in operation.parameters("query").items()
        if k not in _OTHERS or (operation.name, k) == ("list_customers", "service")
    }
    always: dict[str, str] = {}
    for name in operation.parameters("query").keys() & _ALWAYS.keys():
        value = _ALWAYS[name]
        if value.lstrip("+-").isdigit():
            value = str(today + timedelta(days=int(value)))
            value = f"{value}T00:00:00Z" if name == "until" else value
        if operation.parameters("query")[name]["x-required"]:
            always[name] = value
    if operation.name in ("get_usage", "get_response_times"):
        # Of all customers it reads the whole period, which is what it is for.
        always["customer"] = customer_id(_SOME)
    if "customer_code" in filters:
        queries = [{name: _LOOKUPS[name]} for name in LOOKUPS]
        queries += [one | {"at": f"{today - timedelta(days=60)}T00:00:00Z"} for one in queries]
        if "at" not in operation.parameters("query"):
            queries = queries[: len(LOOKUPS)]
    else:
        queries = [{}]
        for name, schema in filters.items():
            queries += [{name: value} for value in _values(today, name, dict(schema))]
        if "at" in operation.parameters("query"):
            queries.append({"at": f"{today - timedelta(days=60)}T00:00:00Z"})
        if "queue" in filters:
            alone = [one for one in queries if "queue" not in one]
            words = ("subject", "quirinus exotic", "z")
            queries += [one | {"queue": "true"} for one in alone if one.get("q", "z") in words]
            queries += [
                {"technician": "technician 3", "state": "waiting_for_customer"},
                {"state": "cancelled", "channel": "remote", "category": "question"},
            ]
    for keys in product(*(_PATHS[name] for name in names)):
        path = operation.path.format(**dict(zip(names, keys, strict=True)))
        for query in queries:
            yield path, always | query


async def _ask(
    world: World, client: httpx.AsyncClient, operation: Operation
) -> list[tuple[str, Statement]]:
    """The statements of every request, each with the request that it was sent for."""
    found = []
    for path, query in _requests(operation, world.today):
        # Two pages, because the second is another statement.
        for _ in range(2):
            answer = await client.get(path, params=query)
            assert answer.status_code in (200, 404), f"{path} {query}: {answer.text}"
            asked = "&".join(f"{name}={value}" for name, value in query.items())
            name = f"{operation.name} ?{asked}" if asked else operation.name
            found += [(name, statement) for statement in world.recorder.take()]
            body = answer.json() if "json" in answer.headers["Content-Type"] else {}
            cursor = body.get("next_cursor") if isinstance(body, dict) else None
            if cursor is None:
                break
            parameter = "after" if operation.name == "list_events" else "cursor"
            query = {**query, parameter: cursor}
    return found


# --- how it is answered ----------------------------------------------------------------------


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    if isinstance(value, list | tuple):
        elements = [
            "NULL" if one is None else json.dumps(str(one), ensure_ascii=False) for one in value
        ]
        return f"'{{{','.join(elements)}}}'".replace("''", "''''")
    text = value.isoformat() if isinstance(value, date | datetime) else str(value)
    return "'" + text.replace("'", "''") + "'"


class Explainer:
    """Explains statements as the service's own login, or as the role of bound tokens."""

    def __init__(self, connection: asyncpg.Connection, world: World) -> None:
        self._connection = connection
        self._world = world
        self._known: dict[tuple[Statement, Plans], list[str]] = {}

    async def faults(self, statement: Statement, plans: Plans) -> list[str]:
        """What is wrong with the plan of a statement, which is run."""
        known = (statement, plans)
        if any(isinstance(value, list) for value in statement.values):
            known = (Statement(statement.text, (str(statement.values),), statement.bound), plans)
        if known not in self._known:
            plan = await self._explain(statement, plans)
            self._known[known] = list(_faults(plan))
        return self._known[known]

    async def _explain(self, statement: Statement, plans: Plans) -> dict[str, Any]:
        connection = self._connection
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(f"SET LOCAL plan_cache_mode = {plans}")
            await connection.execute("SET LOCAL jit = off")
            if statement.bound:
                await connection.execute("SET LOCAL ROLE assistenza_bound")
                await connection.fetch(
                    "SELECT * FROM admit_bound($1, now())", self._world.bound_hash
                )
            await connection.execute(f"PREPARE explained AS {statement.text}")
            values = ", ".join(map(_literal, statement.values))
            rows = await connection.fetch(
                "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE explained"
                + (f" ({values})" if values else "")
            )
            await connection.execute("DEALLOCATE explained")
            plan: dict[str, Any] = json.loads(rows[0][0])[0]["Plan"]
            return plan
        finally:
            await transaction.rollback()


_READS = "reads"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _faults(plan: dict[str, Any]) -> Iterator[str]:
    for node in _nodes(plan):
        kind, table = node["Node Type"], node.get("Relation Name")
        if kind == "Seq Scan" and table in LARGE:
            yield f"sequential scan of {table}"
        if table in LARGE or kind == "Bitmap Index Scan":
            # Rows are averages over the loops, rounded.
            each = node["Actual Rows"] + sum(
                node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck")
            )
            read = each * node["Actual Loops"]
            if read > _MOST_ROWS:
                where = table or node["Index Name"]
                yield f"{_READS} {read:,.0f} rows of {where} in a {kind}"


def _is_bounded(name: str) -> bool:
    operation, _, query = name.partition(" ?")
    return operation in BOUNDED or any(f"{operation} {one}" in BOUNDED for one in query.split("&"))


async def _check(world: World, asked: list[tuple[str, Statement]]) -> None:
    server = world.service.server
    url = server.url(world.service.database_name, server.login)
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    found: dict[str, None] = {}
    try:
        explainer = Explainer(connection, world)
        plans: Plans
        for plans in ("force_custom_plan", "force_generic_plan"):
            for name, statement in asked:
                for fault in await explainer.faults(statement, plans):
                    if not (_is_bounded(name) and fault.startswith(_READS)):
                        found[f"{name} ({plans}): {fault}"] = None
    finally:
        await connection.close()
    assert not found, "\n" + "\n".join(found)


# The export reads every customer, which is what it is for. A stream asks as the list of events
# does, and has no end.
READS = [
    one
    for one in operations()
    if one.is_safe and one.name not in {*OPEN, "export_entitlements", "stream_events"}
]


def _of_webhooks(position: int) -> dict[TextClause, dict[str, Any]]:
    """What the worker and whoever hands over to it ask. No lane is due, and 10,000 wait."""
    now = clock.now()
    claiming = {
        "now": now - timedelta(days=1),
        "lease": _HOOK,
        "seconds": 30.0,
        "endpoints": [_HOOK],
        "taken": [3],
        "mosts": [40],
        "most": 10,
    }
    lanes = {"endpoints": [_HOOK] * 2, "customers": [customer_id(n) for n in (2, 7)]}
    span = {"after": 0, "until": position, "most": 500}
    return {
        webhooks.CLAIM_DUE: claiming,
        webhooks.CLAIM_WOKEN: claiming,
        webhooks.HEADS: {**lanes, "now": now},
        webhooks.DROP_EMPTY: lanes,
        webhooks.RECORD: {
            "deliveries": [_HOOK, _OTHER_HOOK],
            "numbers": [1, 2],
            "states": ["delivered", "waiting"],
            "steps": [0, 1],
            "firsts": [now] * 2,
            "dues": [now] * 2,
            "nows": [now] * 2,
            "ats": [now] * 2,
            "durations": [5, 6],
            "statuses": [204, None],
            "errors": [None, "timeout"],
            "bytes": [0, 0],
        },
        webhooks.RELEASE: {**lanes, "dues": [now] * 2, "ats": [now] * 2},
        webhooks.ABANDONED: {"endpoint": _HOOK, "tests": webhooks.TESTS, **span},
        webhooks.RETRY: {"ids": [_HOOK, _OTHER_HOOK]},
        webhooks.PRUNE: {"position": 400, "most": 500},
        webhooks.PRUNE_EVENTS: {"position": 400, "most": 500},
    }


async def test_publishing_and_pruning_find_their_rows_by_an_index(world: World) -> None:
    due = feed.instant_position(clock.now())
    statements: dict[TextClause, dict[str, Any]] = {
        feed.UNPUBLISHED: {"most": 500},
        feed.TAKE: {"ids": list(range(1, 500))},
        feed.PRUNE: {"through": due, "most": 500},
        **_of_webhooks(due),
    }
    asked = []
    for clause, values in statements.items():
        query = prepare(clause)
        named = tuple(values[name] for name in query.names)
        asked.append((query.text, Statement(query.text, named, bound=False)))
    await _check(world, asked)


@pytest.mark.parametrize(
    "query",
    [
        {"window": "day", "group_by": "technician"},
        {"window": "week", "group_by": ["channel", "paid_by"]},
        {"window": "month", "group_by": ["country", "help_desk"]},
    ],
    ids=str,
)
async def test_usage_reads_the_sums_of_its_dimensions_and_the_records_of_today(
    world: World, query: dict[str, Any]
) -> None:
    year = {"from": str(world.today - timedelta(days=365))}
    answer = await world.anyone.get("/v1/usage", params=year | query)
    assert answer.status_code == 200
    assert answer.json()["totals"]["cases_opened"] > 0
    await _check(world, [("usage", one) for one in world.recorder.take()])


async def test_summing_a_day_reads_the_records_of_that_day(world: World) -> None:
    query = prepare(SUM_DAYS)
    rules = usage_reports.rules_of(world.service.policies, world.today)
    given = {"days": [world.today + timedelta(days=3)], **rules.parameters()}
    named = tuple(given[name] for name in query.names)
    await _check(world, [("summing", Statement(query.text, named, bound=False))])


@pytest.mark.parametrize("operation", READS, ids=lambda one: one.name)
async def test_every_read_finds_its_rows_by_an_index(world: World, operation: Operation) -> None:
    asked = await _ask(world, world.anyone, operation)
    await _check(world, asked)


@pytest.mark.parametrize(
    "operation",
    [one for one in READS if one.scope is None or one.scope in BOUND_SCOPES],
    ids=lambda one: one.name,
)
async def test_and_for_a_bound_token(world: World, operation: Operation) -> None:
    asked = await _ask(world, world.bound, operation)
    assert not asked or any(statement.bound for _, statement in asked)
    await _check(world, asked)


@pytest.mark.parametrize("name", LOOKUPS)
@pytest.mark.parametrize("past", [False, True])
async def test_a_batch_finds_its_customers_by_an_index(world: World, name: str, past: bool) -> None:
    one = {name: _LOOKUPS[name]}
    body: dict[str, Any] = {"lookups": [one] * 2}
    if past:
        body["at"] = f"{world.today - timedelta(days=60)}T00:00:00Z"
    for client in (world.anyone, world.bound):
        answer = await client.post("/v1/entitlements/batch", json=body)
        assert answer.status_code == 200
        await _check(world, [(f"batch by {name}", one) for one in world.recorder.take()])


async def test_a_batch_of_a_thousand(world: World) -> None:
    lookups = []
    for n in range(1, 1001):
        values = [
            customer_id(n),
            f"C-{n}",
            f"S-{n}-0",
            f"2025-1{n:07}",
            f"+39059{n:07}",
            f"contact{n}@example.com",
        ]
        lookups.append(dict([list(zip(LOOKUPS, values, strict=False))[n % 6]]))
    answer = await world.anyone.post("/v1/entitlements/batch", json={"lookups": lookups})
    assert all("entitlements" in one for one in answer.json()["results"])
    await _check(world, [("batch of a thousand", one) for one in world.recorder.take()])


def test_what_is_bounded_is_still_asked(world: World) -> None:
    asked = {
        f"{operation.name} {name}={value}"
        for operation in READS
        for _, query in _requests(operation, world.today)
        for name, value in query.items()
    }
    assert asked | {operation.name for operation in READS} >= BOUNDED.keys()


@pytest.mark.parametrize("past", [False, True], ids=["now", "past"])
@pytest.mark.parametrize("name", LOOKUPS)
async def test_a_lookup_is_not_planned_for_each_key(world: World, name: str, past: bool) -> None:
    query = {name: _LOOKUPS[name]}
    if past:
        query["at"] = f"{world.today - timedelta(days=60)}T00:00:00Z"
    for client in (world.anyone, world.bound):
        world.recorder.take()
        await client.get("/v1/entitlements", params=query)
        (statement,) = world.recorder.take()
        connection = await asyncpg.connect(world.service.admin_url)
        try:
            prepared = await connection.prepare(statement.text)
            # PostgreSQL plans five times for the values, and then compares the costs.
            for _ in range(8):
                await prepared.fetch(*statement.values)
            kept = await connection.fetchval(
                "SELECT generic_plans FROM pg_prepared_statements WHERE name = $1",
                prepared.get_name(),
            )
            assert kept == 3, statement.text
        finally:
            await connection.close()
