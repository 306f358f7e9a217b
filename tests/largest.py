"""A customer with as much of everything as the service lets anybody make, and the calls whose
answers grow with it. The tests bound the answers; a benchmark tells how long each takes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx

from app.ids import new_id
from app.services.tokens import SCOPES
from tests.conftest import Service

PACKS, OPEN_CASES, COMMENTS, MOVEMENTS, UPGRADES, CROWD = 1_000, 500, 1_000, 8_000, 500, 200
_TEXT = "repeat('x', 10000)"
_FILL = [
    """INSERT INTO customers (id, code, name, country, language, created_at, updated_at)
        VALUES ({customer}, 'LARGEST', 'Largest', 'IT', 'it', now(), now())""",
    """INSERT INTO licences
            (id, customer_id, serial_number, kind, product, version, purchased_on, created_at)
        VALUES ({licence}, {customer}, 'LARGEST', 'editor', 'Product', '1', current_date - 800,
            now())""",
    f"""INSERT INTO licence_upgrades
            (id, customer_id, licence_id, version, upgraded_on, paid_by, created_at)
        SELECT gen_random_uuid(), {{customer}}, {{licence}}, repeat('v', 190) || n,
            current_date - 700, 'purchase', now()
        FROM generate_series(1, {UPGRADES}) n""",
    # Each ends on a day of its own, so that each changes the forecast.
    f"""INSERT INTO ticket_packs
            (id, customer_id, number, quantity, purchased_on, expires_on, created_at)
        SELECT gen_random_uuid(), {{customer}}, 'LARGEST-' || n, 1000, current_date - 1 - n % 300,
            (current_date - 1 - n % 300 + interval '12 months')::date, now()
        FROM generate_series(1, {PACKS}) n""",
    f"""INSERT INTO cases (id, customer_id, number, requester_name, serial_verified, channel,
            category, priority_requested, priority, priority_support, subject, description,
            steps_to_reproduce, state, paid_by, first_paid_by, opened_on, opened_at, updated_at)
        SELECT CASE n WHEN 1 THEN {{case}} ELSE gen_random_uuid() END, {{customer}},
            'LARGEST-' || n, 'Somebody', false, 'email', 'problem', 'normal', 'normal', false,
            'Large', {_TEXT}, {_TEXT},
            'open', 'none', 'none', current_date - 30, now() - interval '30 days', now()
        FROM generate_series(1, {OPEN_CASES}) n""",
    f"""INSERT INTO events (customer_id, case_id, subject_id, type, occurred_at, actor, data)
        SELECT {{customer}}, {{case}}, {{case}}, 'case.commented', now(), 'somebody',
            jsonb_build_object('number', 'LARGEST-1', 'body', {_TEXT}, 'internal', false)
        FROM generate_series(1, {COMMENTS}) n""",
    f"""INSERT INTO time_entries
            (id, customer_id, case_id, technician, minutes, worked_at, worked_on, recorded_at)
        SELECT gen_random_uuid(), {{customer}}, {{case}}, 'Somebody', 1, now() - interval '9 days',
            current_date - 9, now()
        FROM generate_series(1, {MOVEMENTS}) n""",
    """INSERT INTO ledger
            (customer_id, case_id, kind, overrun_minutes, time_entry_id, counts_on, recorded_at)
        SELECT {customer}, {case}, 'overrun', 1, id, current_date - 9, now()
        FROM time_entries WHERE customer_id = {customer}""",
    f"""INSERT INTO customers (id, code, name, country, language, created_at, updated_at)
        SELECT gen_random_uuid(), 'CROWD-' || n, repeat('n', 190), 'IT', 'it', now(), now()
        FROM generate_series(1, {CROWD}) n""",
    """INSERT INTO contacts (id, customer_id, position, name, email, phones)
        SELECT gen_random_uuid(), id, p, repeat('n', 200), repeat('m', 240) || '@example.com',
            array_fill('+390599990000'::text, ARRAY[10])
        FROM customers, generate_series(1, 100) p WHERE code LIKE 'CROWD-%'""",
    "ANALYZE",
]


class Call(NamedTuple):
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = {}


@dataclass
class Largest:
    client: httpx.AsyncClient
    calls: dict[str, Call]

    async def send(self, name: str) -> httpx.Response:
        method, path, body, headers = self.calls[name]
        if isinstance(body, bytes):
            headers = {"Content-Type": "application/json", **headers}
            return await self.client.request(method, path, content=body, headers=headers)
        more = {} if body is None else {"json": body}
        return await self.client.request(method, path, headers=headers, **more)


def _body_of_faults() -> bytes:
    """The body of a mebibyte with the most faults: fields that nobody knows."""
    names = (f'"{n:x}":0' for n in range(200_000))
    body, length = [], 2
    for name in names:
        length += len(name) + 1
        if length > 1_048_000:
            break
        body.append(name)
    return b"{" + ",".join(body).encode() + b"}"


def _marked_customer() -> bytes:
    """As many texts as a customer has that are normalised, all as long as they may be before."""
    contact = {
        "name": "u\u0308" * 400,
        "email": "u\u0308" * 500,
        "phones": ["u\u0308" * 120] * 10,
    }
    return json.dumps({"contacts": [contact] * 100}, ensure_ascii=False).encode()


async def fill(service: Service, client: httpx.AsyncClient | None = None) -> Largest:
    """Fill an empty database. `client` is by default one that checks the answers."""
    customer, licence, case = new_id(), new_id(), new_id()
    names = {"customer": customer, "licence": licence, "case": case}
    for statement in _FILL:
        used = [name for name in names if f"{{{name}}}" in statement]
        numbered = {name: f"${number}" for number, name in enumerate(used, 1)}
        await service.server.run_in(
            service.database_name,
            statement.format_map(numbered),
            *(names[name] for name in used),
        )
    purchase = {"kind": "ticket_pack", "quantity": 1}
    by_code = "customer_code=LARGEST"
    contacts = [{"name": "", "phones": ["x"] * 10, "email": "x", "y": 0}] * 100
    one_each = {f"s{n}": "r" for n in range(50_000)}
    calls = {
        "entitlements": Call("GET", f"/v1/entitlements?{by_code}"),
        "explained": Call("GET", f"/v1/entitlements?{by_code}&explain=true"),
        "entitlements then": Call("GET", f"/v1/entitlements?{by_code}&at=2026-01-01T00:00:00Z"),
        "check": Call("GET", f"/v1/entitlements/check?{by_code}&service=phone_support"),
        "batch": Call(
            "POST",
            "/v1/entitlements/batch",
            {"lookups": [{"customer_code": "LARGEST"}] * 500 + [{"phone": "+390599990000"}] * 500},
        ),
        "batch of faults": Call("POST", "/v1/entitlements/batch", {"lookups": [{"x": 0}] * 1000}),
        "simulation": Call(
            "POST",
            "/v1/entitlements/simulation",
            {"customer_code": "LARGEST", "assume": [purchase] * 50},
        ),
        "forecast": Call("GET", f"/v1/entitlements/forecast?{by_code}&until=2027-10-01T00:00:00Z"),
        "usage": Call("GET", "/v1/customers/LARGEST/usage"),
        "statement": Call("GET", "/v1/customers/LARGEST/statement?from=2020-01-01&to=2029-01-01"),
        "statement as CSV": Call(
            "GET",
            "/v1/customers/LARGEST/statement?from=2020-01-01&to=2029-01-01",
            headers={"Accept": "text/csv"},
        ),
        "cases": Call("GET", "/v1/cases?limit=200"),
        "queue": Call("GET", "/v1/cases?queue=true&limit=200"),
        "case": Call("GET", "/v1/cases/LARGEST-1"),
        "timeline": Call("GET", "/v1/cases/LARGEST-1/timeline?limit=200"),
        "customers": Call("GET", "/v1/customers?limit=200"),
        "customer": Call("GET", "/v1/customers/CROWD-1"),
        "licences": Call("GET", "/v1/licences?limit=200"),
        "licence": Call("GET", "/v1/licences/LARGEST"),
        "packs": Call("GET", "/v1/ticket-packs?limit=200"),
        "pack": Call("GET", "/v1/ticket-packs/LARGEST-1"),
        "tickets": Call("GET", "/v1/ticket-packs/LARGEST-1/tickets?limit=200"),
        "ambiguous": Call("GET", "/v1/entitlements?phone=%2B390599990000"),
        "unknown fields": Call("POST", "/v1/customers", _body_of_faults()),
        "unknown fields of a question": Call(
            "POST", "/v1/entitlements/simulation", _body_of_faults()
        ),
        "wrong contacts": Call("POST", "/v1/customers", {"contacts": contacts}),
        "wrong references": Call("POST", "/v1/customers", {"external_refs": one_each}),
        "empty lists": Call(
            "POST", "/v1/customers", b'{"x":[' + b",".join([b"[]"] * 349_000) + b"]}"
        ),
        "most values": Call("POST", "/v1/customers", {"x": [1.5] * 49_000}),
        "text of letters with marks": Call(
            "POST",
            "/v1/cases",
            json.dumps({"description": "u\u0308" * 349_000}, ensure_ascii=False).encode(),
        ),
        "many texts with marks": Call("POST", "/v1/customers", _marked_customer()),
        "odd telephone numbers": Call(
            "POST",
            "/v1/customers",
            {
                "code": "ODD",
                "name": "Odd",
                "country": "IT",
                "contacts": [
                    {"name": "Somebody", "phones": [f"+39 {'.' * 50}{n}" for n in range(10)]}
                ]
                * 100,
            },
        ),
    }
    return Largest(client or await service.client_with(*SCOPES), calls)
