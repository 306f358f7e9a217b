"""The examples of the OpenAPI document, made by calling the service:

    python -m tests.openapi.examples

loads the demo into a database of its own, makes at least one call of every operation, and writes
request bodies and successful answers to `app/http/openapi/examples.json`. Clock, ids and secrets
are fixed, so that the file is the same on every day and every machine.
"""

import asyncio
import json
import random
import re
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID

import httpx
from fastapi import FastAPI
from sqlalchemy import select

from app import clock, ids
from app.demo import prepare
from app.http import logs, middleware
from app.http.cursors import Cursors
from app.http.openapi.examples import FILE, Example
from app.ids import UUID_PATTERN
from app.jobs.publishing import follow, hand_over, publish
from app.main import create_app
from app.policy.document import Policies, ResponseTarget
from app.services import deliveries, tokens, webhooks
from app.services.deliveries import Answer, Attempt
from app.settings import Settings
from app.store import migrations
from app.store.database import Database
from app.store.embedded import EmbeddedPostgres
from app.store.tables import customers

PATH = Path(__file__).parents[2] / "app" / "http" / "openapi" / FILE
DAY = "2026-11-23"
_ID = re.compile(UUID_PATTERN.strip("^$"))
_STARTS_AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


class _Clock:
    """Stands still but for `tick`, whoever reads it."""

    def __init__(self) -> None:
        self.instant = _STARTS_AT

    def now(self) -> datetime:
        return self.instant

    def tick(self) -> None:
        self.instant += timedelta(seconds=90)

    def move_to(self, hour: int) -> None:
        """Begins a group of calls at its own hour: a call added to one moves no other."""
        self.instant = _STARTS_AT.replace(hour=hour)


class _Unrandom:
    """Bytes and texts that look random, and are the same in each run."""

    def __init__(self) -> None:
        self._counter = count()

    def urandom(self, size: int) -> bytes:
        return blake2b(str(next(self._counter)).encode(), digest_size=size).digest()

    def token_bytes(self, size: int) -> bytes:
        return b"example".ljust(size)

    def token_urlsafe(self, _: int) -> str:
        # As long as a real secret, and seen to be none.
        return f"example{next(self._counter):036}"


def _id_for(place: str) -> str:
    """A UUID of version 7 of the examples' day."""
    milliseconds = int(_STARTS_AT.timestamp() * 1000)
    value = milliseconds << 80 | int.from_bytes(blake2b(place.encode(), digest_size=10).digest())
    value = value & ~(0xF << 76) | 0x7 << 76
    return str(UUID(int=value & ~(0x3 << 62) | 0x2 << 62))


@contextmanager
def everything_fixed() -> Iterator[_Clock]:
    """The clock, ids and secrets of the service fixed."""
    fixed, unrandom = _Clock(), _Unrandom()
    now_ns = SimpleNamespace(time_ns=lambda: int(fixed.instant.timestamp() * 1_000_000_000))
    with (
        patch.object(clock, "now", fixed.now),
        patch.object(ids, "time", now_ns),
        patch.object(ids, "os", unrandom),
        patch.object(middleware, "urandom", unrandom.urandom),
        patch.object(tokens, "secrets", unrandom),
        patch.object(webhooks, "secrets", unrandom),
        patch.object(random, "uniform", lambda least, _: least),
    ):
        yield fixed


class Recorder:
    """Makes calls, and keeps the first of each operation with each status."""

    def __init__(self, client: httpx.AsyncClient, fixed: _Clock) -> None:
        self.client = client
        self.clock = fixed
        self.examples: dict[str, Example] = {}

    async def call(
        self, operation: str, method: str, path: str, body: Any = None, **headers: str
    ) -> Any:
        """The body of the answer: parsed if it is JSON."""
        self.clock.tick()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.client.request(method, path, json=body, headers=sent)
        if not answer.is_success:
            raise RuntimeError(f"{operation} was answered {answer.status_code}: {answer.text}")
        example = self.examples.setdefault(operation, {})
        if body is not None:
            example.setdefault("request", body)
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        answered = answer.json() if media_type == "application/json" else answer.text
        if media_type:
            of_status = example.setdefault("responses", {}).setdefault(str(answer.status_code), {})
            of_status.setdefault(media_type, _shown(operation, answered))
        return answered


def _shown(operation: str, answered: Any) -> Any:
    """An answer without what would be too long to read or differs in each run."""
    if operation == "list_events":
        # The cursor is sealed with a key of the database.
        return {**answered, "next_cursor": "zW3n-8r0yq1", "has_more": False}
    if operation == "stream_events":
        opened, first, *_ = answered.split("\n\n")
        first = re.sub("^id: .*$", "id: zW3n-8r0yq1", first, flags=re.MULTILINE)
        return re.sub('"id":"[0-9a-f]{8}-', '"id":"5c8d1f0a-', f"{opened}\n\n{first}\n\n")
    if operation == "list_problems":
        if isinstance(answered, str):
            head, *rows = re.split("(?=<li>)", answered)
            return head + "".join(rows[:3]) + "</ul>\n</body></html>\n"
        return answered | {"items": answered["items"][:3]}
    if operation == "metrics":
        family = "assistenza_problems"
        return "".join(line for line in answered.splitlines(keepends=True) if family in line)
    if isinstance(answered, dict) and answered.get("next_cursor"):
        # A cursor holds ids, and each database has a key of its own.
        return answered | {"next_cursor": Cursors(b"example".ljust(32)).encode(operation, 2)}
    return answered


def _renamed(examples: dict[str, Example]) -> dict[str, Example]:
    """The examples, each id replaced by one that depends on where it stands first.

    The ids that were made depend on how many were made before: a new event anywhere would change
    them all.
    """
    known: dict[str, str] = {}

    def rename(place: str, text: str) -> str:
        for position, match in enumerate(_ID.finditer(text)):
            known.setdefault(match[0], _id_for(f"{place}#{position}"))
        return _ID.sub(lambda match: known[match[0]], text)

    def walk(place: str, node: Any) -> Any:
        if isinstance(node, dict):
            return {name: walk(f"{place}/{name}", value) for name, value in node.items()}
        if isinstance(node, list):
            return [walk(f"{place}/{index}", value) for index, value in enumerate(node)]
        return rename(place, node) if isinstance(node, str) else node

    renamed: dict[str, Example] = walk("", examples)
    return renamed


async def _bind_late(record: Recorder) -> None:
    """A case that was recorded as a bug proves to be none, and is bound to a ticket sold later."""
    client = record.client
    body = {"name": "Nuova Bottega S.r.l.", "country": "IT"}
    customer = (await client.put("/v1/customers/by-code/C-0102", json=body)).json()["id"]
    case = {
        "customer_id": customer,
        "requester": {"name": "Ufficio tecnico"},
        "subject": "Report prints twice",
        "description": "Every report is printed twice.",
        "category": "bug",
    }
    path = f"/v1/cases/{(await client.post('/v1/cases', json=case)).json()['id']}"
    await client.patch(path, json={"category": "problem"})
    pack = {"customer_id": customer, "quantity": 1, "purchased_on": DAY}
    await client.post("/v1/ticket-packs", json=pack)
    await record.call("bind_case", "POST", f"{path}/binding", {"pay_with": "ticket"})


async def _move(record: Recorder) -> None:
    """A case opened for the wrong customer goes to the one that called."""
    client = record.client
    case = {
        "customer_id": "C-0001",
        "requester": {"name": "Ufficio tecnico"},
        "subject": "Printer is not found",
        "description": "The new printer is not in the list.",
        "serial_number": "ED-0001",
        "opened_at": "2026-11-23T08:15:00Z",
    }
    path = f"/v1/cases/{(await client.post('/v1/cases', json=case)).json()['id']}"
    pack = {"customer_id": "C-0102", "quantity": 1, "purchased_on": DAY}
    await client.post("/v1/ticket-packs", json=pack)
    move = {"customer_id": "C-0102", "reason": "Nuova Bottega called"}
    await record.call("move_to_customer", "POST", f"{path}/move", move)


async def _call_everything(record: Recorder, bound: Recorder) -> None:
    """At least one call of every operation. `bound` speaks as the reserved area of C-0001."""
    call = record.call
    customer = "C-0001"

    await call("get_entitlements", "GET", f"/v1/entitlements?customer_code={customer}")
    await call(
        "check_entitlement",
        "GET",
        "/v1/entitlements/check?service=phone_support&phone=%2B39%20059%2000000%2001",
        Accept_Language="en",
    )
    phone_call = {
        "call_id": "1764000000.17",
        "number": '"Mario Rossi" <sip:+390590000001@pbx.example.com>',
        "called": "+39059454224",
        "started_at": "2026-11-23T09:00:00Z",
        "outcome": "allowed",
    }
    noted = await call("note_call", "POST", "/v1/calls", phone_call)
    phone_call["ended_at"] = "2026-11-23T09:10:00Z"
    await call("note_call", "POST", "/v1/calls", phone_call)
    await call("list_calls", "GET", f"/v1/calls?customer_id={customer}")
    await call("get_call", "GET", f"/v1/calls/{noted['id']}")
    await call(
        "batch_entitlements",
        "POST",
        "/v1/entitlements/batch",
        {"lookups": [{"customer_code": "C-0002"}, {"serial_number": "ED-9999"}]},
    )
    await bound.call("export_entitlements", "GET", "/v1/entitlements/export")
    await call(
        "simulate_entitlements",
        "POST",
        "/v1/entitlements/simulation",
        {"customer_code": "C-0004", "assume": [{"kind": "licence", "licence_kind": "editor"}]},
    )
    await call(
        "forecast_entitlements",
        "GET",
        "/v1/entitlements/forecast?customer_code=C-0003&until=2026-12-01T00:00:00Z",
    )

    record.clock.move_to(9)
    new = {
        "code": "C-0100",
        "name": "Nuova Automazione S.r.l.",
        "country": "IT",
        "language": "it",
        "vat_number": "IT00000000000",
        "external_refs": {"crm": "K00100"},
        "contacts": [
            {
                "name": "Ufficio tecnico",
                "email": "tecnico@c-0100.example.com",
                "phones": ["+39 059 00000 99"],
            }
        ],
    }
    made = await call("create_customer", "POST", "/v1/customers", new)
    put = {name: value for name, value in new.items() if name != "code"} | _refs("K00101")
    await call("put_customer", "PUT", "/v1/customers/by-code/C-0101", put)
    await call("put_customer", "PUT", "/v1/customers/by-code/C-0101", put | {"country": "CH"})
    await call("list_customers", "GET", "/v1/customers?limit=2")
    known = await call("get_customer", "GET", f"/v1/customers/{customer}")
    await call("update_customer", "PATCH", "/v1/customers/C-0100", {"vat_number": None})
    contact = await call(
        "create_contact",
        "POST",
        "/v1/customers/C-0100/contacts",
        {"name": "Ufficio acquisti", "email": "acquisti@c-0100.example.com", "phones": []},
    )
    contact_path = f"/v1/customers/C-0100/contacts/{contact['id']}"
    await call("get_contact", "GET", contact_path)
    await call("update_contact", "PATCH", contact_path, {"phones": ["+39 059 00000 98"]})
    await call("delete_contact", "DELETE", contact_path)
    person = {"name": "Ufficio tecnico"}
    data = "/v1/customers/C-0100/personal-data"
    await call("export_personal_data", "POST", f"{data}/export", person)
    await call("erase_personal_data", "POST", f"{data}/erasure", person)
    gone = {"reason": "The company no longer exists"}
    await call("archive_customer", "POST", "/v1/customers/C-0101/archiving", gone)
    await call("restore_customer", "POST", "/v1/customers/C-0101/restoring", {"reason": "It does"})
    await record.client.put("/v1/customers/by-code/C-0104", json=put | _refs("K00104"))
    twice = {"into": "C-0101", "reason": "Entered twice"}
    await call("merge_customer", "POST", "/v1/customers/C-0104/merge", twice)
    token = await call(
        "issue_token",
        "POST",
        f"/v1/customers/{customer}/tokens",
        {"scopes": ["entitlements:read", "cases:read"], "expires_in_seconds": 900},
    )
    await call("get_token", "GET", f"/v1/customers/{customer}/tokens/{token['id']}")
    await call("get_own_token", "GET", "/v1/token")
    code = token["url"].rpartition("/")[2]
    await call("redeem_sign_in_link", "POST", "/v1/sign-in-links/redemption", {"code": code})

    record.clock.move_to(10)
    licence = {
        "customer_id": made["id"],
        "serial_number": "ED-0100",
        "kind": "editor",
        "product": "Plant Editor",
        "version": "4.1",
        "purchased_on": DAY,
    }
    await call("create_licence", "POST", "/v1/licences", licence)
    runtime = licence | {"kind": "runtime", "product": "Plant Runtime"}
    del runtime["serial_number"]
    await call("put_licence", "PUT", "/v1/licences/by-serial/RT-0100", runtime)
    await call("put_licence", "PUT", "/v1/licences/by-serial/RT-0100", runtime | {"version": "4.2"})
    await call("list_licences", "GET", f"/v1/licences?customer_id={known['id']}&limit=2")
    await call("get_licence", "GET", "/v1/licences/ED-0001")
    await call("update_licence", "PATCH", "/v1/licences/ED-0100", {"version": "4.2"})
    upgraded = await call(
        "upgrade_licence",
        "POST",
        "/v1/licences/ED-0100/upgrades",
        {"version": "4.3", "upgraded_on": DAY, "paid_by": "purchase"},
    )
    await call(
        "reverse_upgrade",
        "POST",
        f"/v1/licences/ED-0100/upgrades/{upgraded['upgrades'][0]['id']}/reversal",
        {"reason": "Posted to the wrong licence"},
    )
    await call(
        "withdraw_licence",
        "POST",
        "/v1/licences/RT-0100/withdrawal",
        {"withdrawn_on": DAY, "reason": "Returned for a refund"},
    )
    await call(
        "reinstate_licence",
        "POST",
        "/v1/licences/RT-0100/reinstatement",
        {"reason": "It was another licence that was returned"},
    )
    await call(
        "correct_licence",
        "POST",
        "/v1/licences/RT-0100/correction",
        {"purchased_on": "2026-11-20", "reason": "The invoice says 20 November"},
    )

    await call(
        "transfer_licence",
        "POST",
        "/v1/licences/RT-0100/transfer",
        {"to_customer_id": "C-0002", "on": DAY, "reason": "Sold with the machine"},
    )
    await call("get_licence_history", "GET", "/v1/licences/RT-0100/history")

    record.clock.move_to(11)
    contract = {"customer_id": made["id"], "starts_on": DAY, "included_minutes": 900}
    signed = await call("create_contract", "POST", "/v1/contracts", contract)
    await call("list_contracts", "GET", "/v1/contracts?state=in_force&limit=2")
    await call("get_contract", "GET", "/v1/contracts/SA-0001")
    await call(
        "renew_contract",
        "POST",
        "/v1/contracts/SA-0001/renewal",
        {"starts": "at_end", "number": "SA-0001-2"},
    )
    await call(
        "cancel_contract",
        "POST",
        f"/v1/contracts/{signed['number']}/cancellation",
        {"cancelled_on": "2026-12-31", "reason": "The plant is closed"},
    )
    await call(
        "reinstate_contract",
        "POST",
        f"/v1/contracts/{signed['number']}/reinstatement",
        {"reason": "The plant goes on after all"},
    )
    await call(
        "correct_contract",
        "POST",
        f"/v1/contracts/{signed['number']}/correction",
        {"included_minutes": 960, "reason": "The order says 16 hours"},
    )
    pack = {"customer_id": made["id"], "quantity": 3, "purchased_on": DAY}
    sold = await call("create_ticket_pack", "POST", "/v1/ticket-packs", pack)
    await call("list_ticket_packs", "GET", f"/v1/ticket-packs?customer_id={known['id']}&limit=2")
    await call("get_ticket_pack", "GET", "/v1/ticket-packs/TP-0001")
    await call("list_tickets", "GET", "/v1/ticket-packs/TP-0001/tickets?limit=2")
    await call(
        "cancel_tickets",
        "POST",
        f"/v1/ticket-packs/{sold['number']}/cancellation",
        {"quantity": 1, "cancelled_on": DAY, "reason": "One ordered too many"},
    )
    await call(
        "correct_ticket_pack",
        "POST",
        f"/v1/ticket-packs/{sold['number']}/correction",
        {"purchased_on": "2026-11-20", "reason": "The invoice says 20 November"},
    )

    record.clock.move_to(12)
    case = await call(
        "open_case",
        "POST",
        "/v1/cases",
        {
            "customer_id": known["id"],
            "requester": {"name": "Ufficio tecnico", "email": "tecnico@c-0001.example.com"},
            "subject": "Alarm list stays empty",
            "description": "After the update to 4.2 the alarm list of the first line is empty.",
            "channel": "phone",
            "serial_number": "ED-0001",
            "priority_requested": "high",
        },
        Idempotency_Key="0b0f6f0e-6a54-4e55-9a36-2d1f5a5f1c11",
    )
    path = f"/v1/cases/{case['number']}"
    await call("list_cases", "GET", "/v1/cases?queue=true&limit=2")
    await call("get_case", "GET", path)
    await call("change_case", "PATCH", path, {"technician": "Help desk Italia", "priority": "high"})
    await call("move_case", "POST", f"{path}/transition", {"to": "in_progress"})
    comment = await call(
        "comment_case", "POST", f"{path}/comments", {"body": "Please send the project's log file."}
    )
    await call(
        "redact_comment",
        "POST",
        f"{path}/comments/{comment['data']['comment_id']}/redaction",
        {"reason": "Meant for another case"},
    )
    work = {"technician": "Help desk Italia", "minutes": 35, "note": "Log file gone through"}
    entry = await call("record_time", "POST", f"{path}/time-entries", work)
    await call("get_time_entry", "GET", f"{path}/time-entries/{entry['id']}")
    await call(
        "reverse_time",
        "POST",
        f"{path}/time-entries/{entry['id']}/reversal",
        {"reason": "Time of another case"},
    )
    await call(
        "redact_note",
        "POST",
        f"{path}/time-entries/{entry['id']}/redaction",
        {"reason": "It named a person"},
    )
    await call("close_case", "POST", f"{path}/closure", {"resolution": "A filter was set."})
    await call("reopen_case", "POST", f"{path}/reopening", {"reason": "Empty again since noon"})
    await call("get_case_timeline", "GET", f"{path}/timeline?limit=3")
    await call("cancel_case", "POST", f"{path}/cancellation", {"reason": "Opened twice"})
    await _bind_late(record)
    await _move(record)

    record.clock.move_to(13)
    await call("get_service_matrix", "GET", "/v1/service-matrix")
    await call("list_help_desks", "GET", "/v1/help-desks")
    closure = await call(
        "close_help_desk",
        "POST",
        "/v1/help-desks/it/closures",
        {
            "starts_at": "2026-12-24T00:00:00+01:00",
            "ends_at": "2026-12-25T00:00:00+01:00",
            "hours": [{"opens": "08:30", "closes": "11:00"}],
            "reason": {"it": "Vigilia di Natale", "en": "Christmas Eve", "de": "Heiligabend"},
        },
    )
    await call("list_help_desk_closures", "GET", "/v1/help-desks/it/closures")
    await call("get_help_desk_closure", "GET", f"/v1/help-desks/it/closures/{closure['id']}")
    await call("reopen_help_desk", "DELETE", f"/v1/help-desks/it/closures/{closure['id']}")
    await call("list_import_kinds", "GET", "/v1/imports/kinds")
    file = "customer_code;number;quantity;purchased_on\nC-0001;TP-0900;5;2026-11-23\n"
    await call(
        "import_file",
        "POST",
        "/v1/imports",
        {"file": b64encode(file.encode()).decode(), "dry_run": True},
    )
    await call("get_customer_usage", "GET", f"/v1/customers/{customer}/usage")
    statement = f"/v1/customers/{customer}/statement?from=2026-11-01&to=2026-12-01"
    await call("get_customer_statement", "GET", statement)
    await call("get_customer_statement", "GET", statement, Accept="text/csv")
    await call("livez", "GET", "/livez")
    await call("readyz", "GET", "/readyz")
    await call("metrics", "GET", "/metrics")
    for accept in ("application/json", "text/html"):
        await call("list_problems", "GET", "/problems", Accept=accept)
        await call("explain_problem", "GET", "/problems/not_entitled", Accept=accept)


async def _deliver(record: Recorder, database: Database, status: int) -> None:
    """What is due for webhooks, as if a receiver had answered with this status."""
    now, lease = record.clock.now(), ids.new_id()
    answer = Answer(84, status, None, None, 0)
    async with database.writing.begin() as connection:
        claimed = await deliveries.claim(connection, now, lease, {})
        attempts = [Attempt(one, now, answer) for one in claimed]
        await deliveries.record(connection, attempts, (), now)


async def _manage_webhooks(record: Recorder, database: Database) -> None:
    """A webhook from its beginning to its end."""
    record.clock.move_to(14)
    call = record.call
    hook = {
        "url": "https://crm.example.com/hooks/assistenza",
        "types": ["contract.signed", "entitlements.changed"],
        "description": "The CRM",
        "headers": {"X-Tenant": "progea"},
    }
    made = await call("create_webhook", "POST", "/v1/webhooks", hook)
    path = f"/v1/webhooks/{made['id']}"
    await call("list_webhooks", "GET", "/v1/webhooks")
    await call("get_webhook", "GET", path)
    types = ["contract.signed", "contract.renewed", "entitlements.changed"]
    await call("update_webhook", "PATCH", path, {"types": types})
    await call("send_test_event", "POST", f"{path}/test", {"type": "contract.signed"})
    await _deliver(record, database, 503)
    record.clock.tick()
    await _deliver(record, database, 204)
    page = await call("list_webhook_deliveries", "GET", f"{path}/deliveries?state=delivered")
    one = f"{path}/deliveries/{page['items'][0]['id']}"
    await call("get_webhook_delivery", "GET", one)
    await call("retry_webhook_delivery", "POST", f"{one}/retry")
    since = {"since": f"{DAY}T08:00:00Z", "only_failed": True}
    begun = await call("recover_webhook", "POST", f"{path}/recovery", since)
    while await hand_over(database):
        pass
    await call("get_webhook_recovery", "GET", f"{path}/recoveries/{begun['id']}")
    day = {"old_valid_for_seconds": 86_400}
    await call("rotate_webhook_secret", "POST", f"{path}/secret-rotation", day)
    await call("delete_webhook", "DELETE", path)


async def _fail(record: Recorder, database: Database) -> None:
    """A receiver that fails for five days."""
    hook = {"url": "https://old-crm.example.com/hook", "types": ["case.closed"]}
    made = (await record.client.post("/v1/webhooks", json=hook)).json()
    await record.client.post(f"/v1/webhooks/{made['id']}/test", json={"type": "case.closed"})
    for days in (0, 4, 1):
        record.clock.instant += timedelta(days=days, minutes=2)
        await _deliver(record, database, 500)


async def _hear(record: Recorder, app: FastAPI, database: Database) -> None:
    """What has happened meanwhile, and what time alone brings: one event of each type."""

    async def told(policies: Policies = app.state.policies) -> None:
        while await publish(database) or await follow(database, policies):
            pass

    async def sent(path: str, body: Any, status: int = 201) -> Any:
        answer = await record.client.post(f"/v1/{path}", json=body)
        if answer.status_code != status:
            raise RuntimeError(f"{path} was answered {answer.status_code}: {answer.text}")
        return answer.json()

    today = record.clock.now().date()
    customer = await sent(
        "customers", {"code": "C-0900", "name": "Esempio S.r.l.", "country": "IT"}
    )
    licence = {
        "customer_id": customer["id"],
        "serial_number": "ED-0900",
        "kind": "editor",
        "product": "Editor",
        "version": "4.2",
        "purchased_on": str(today),
    }
    await sent("licences", licence)
    await sent("contracts", {"customer_id": customer["id"], "starts_on": str(today)})
    refused = {
        "customer_id": customer["id"],
        "serial_number": "ED-0900",
        "requester": {"name": "Ufficio tecnico"},
        "channel": "phone",
        "pay_with": "ticket",
        "subject": "The screen stays blank",
        "description": "After the start the screen stays blank.",
    }
    await sent("cases", refused, 409)
    late = {"channel": "email", "pay_with": "auto", "priority_requested": "high"}
    await sent("cases", refused | late)
    await told()
    await record.call("get_usage_columns", "GET", "/v1/usage/columns")
    await record.call("get_usage_columns", "GET", "/v1/usage/columns?format=csv")
    usage = "/v1/usage?window=month&group_by=technician&channel=email"
    await record.call("get_usage", "GET", usage)
    await record.call("get_usage", "GET", f"{usage}&format=csv")
    series = "/v1/customers/C-0900/usage/series?window=month"
    await record.call("get_customer_usage_series", "GET", series)
    await record.call("get_customer_usage_series", "GET", f"{series}&format=csv")
    case = await sent("cases", refused | {"pay_with": "contract"})
    work = {"technician": "Paolo Verdi", "minutes": 1300}
    entry = await sent(f"cases/{case['number']}/time-entries", work)
    await told()
    expiring = "/v1/usage/expiring?customer_id=C-0900"
    await record.call("list_expiring_allowances", "GET", expiring)
    await record.call("list_expiring_allowances", "GET", f"{expiring}&format=csv")
    reversal = f"cases/{case['number']}/time-entries/{entry['id']}/reversal"
    await sent(reversal, {"reason": "Entered twice"}, 200)
    await told()
    await record.call("get_backlog", "GET", "/v1/usage/backlog")
    await record.call("get_backlog", "GET", "/v1/usage/backlog?format=csv")
    responses = "/v1/usage/response-times?group_by=priority"
    await record.call("get_response_times", "GET", responses)
    await record.call("get_response_times", "GET", f"{responses}&format=csv")
    withdrawal = {"withdrawn_on": str(today), "reason": "Sent back"}
    await sent("licences/ED-0900/withdrawal", withdrawal, 200)
    await told()
    await sent("licences/ED-0900/reinstatement", {"reason": "It came back"}, 200)
    await told()
    record.clock.instant += timedelta(days=400)
    await told()
    await _fail(record, database)
    await told(_promising(app.state.policies))
    page = await record.call("list_events", "GET", "/v1/events?limit=200")
    record.examples["list_events"]["responses"]["200"]["application/json"]["items"] = _one_each(
        [*page["items"], *await _rest(record, page)]
    )
    # A stream ends with the service.
    app.state.watch.close()
    first = (await record.client.get("/v1/events?limit=1")).json()["next_cursor"]
    query = f"type=contract.signed&after={first}"
    await record.call("stream_events", "GET", f"/v1/events/stream?{query}")


def _promising(policies: Policies) -> Policies:
    """The same rules, with a time within which a case is answered: the published ones have none."""
    target = ResponseTarget(priority="high", first_response_minutes=240)
    return Policies(
        one.model_copy(update={"response_targets": (target,)}) for one in policies.versions
    )


async def _rest(record: Recorder, page: Any) -> list[Any]:
    found: list[Any] = []
    while page["has_more"]:
        after = {"limit": "200", "after": page["next_cursor"]}
        page = (await record.client.get("/v1/events", params=after)).json()
        found += page["items"]
    return found


def _one_each(events: list[Any]) -> list[Any]:
    """The first event of each type; the name of the epoch differs in each database."""
    first: dict[str, Any] = {}
    for event in events:
        shown = {**event, "id": event["id"].replace(event["id"].partition("-")[0], "5c8d1f0a")}
        first.setdefault(event["type"], shown)
    return list(first.values())


def _refs(crm: str) -> dict[str, Any]:
    return {"external_refs": {"crm": crm}}


async def make(url: str) -> dict[str, Example]:
    """The examples, made on a migrated and empty database."""
    # The jobs of the application take ids too, which come one after another.
    settings = Settings(database_url=url, background_process=False)
    with everything_fixed() as fixed:
        await prepare(settings)
        database = Database(settings)
        try:
            app = create_app(settings, database=database)
            async with database.writing.begin() as connection:
                owner = select(customers.c.id).where(customers.c.code == "C-0001")
                customer_id = await connection.scalar(owner)
                _, everything = await tokens.store(
                    connection, fixed.instant, name="examples", scopes=tokens.SCOPES
                )
                _, reserved_area = await tokens.store(
                    connection,
                    fixed.instant,
                    name="website",
                    scopes=["entitlements:read"],
                    customer_id=customer_id,
                )
            async with _client(app, everything) as client, _client(app, reserved_area) as website:
                record, bound = Recorder(client, fixed), Recorder(website, fixed)
                await _call_everything(record, bound)
                await _manage_webhooks(record, database)
                await _hear(record, app, database)
        finally:
            await database.close()
        examples = record.examples | bound.examples
        return _renamed(
            {
                operation["operationId"]: examples[operation["operationId"]]
                for methods in app.openapi()["paths"].values()
                for operation in methods.values()
            }
        )


def _client(app: FastAPI, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://example",
        headers={"Authorization": f"Bearer {token}", "X-Request-Id": "example-1"},
    )


def rendered(examples: dict[str, Example]) -> str:
    """The content of the file."""
    return json.dumps(examples, indent=1, ensure_ascii=False) + "\n"


async def _migrate_and_make(url: str) -> dict[str, Example]:
    await migrations.upgrade(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    return await make(url)


def _main() -> None:
    logs.configure("error")
    with tempfile.TemporaryDirectory(prefix="assistenza-examples-") as name:
        directory = Path(name)
        # As root, PostgreSQL runs as another account, which has to come through here.
        directory.chmod(0o755)
        with EmbeddedPostgres(directory / "data", durable=False).serve() as server:
            examples = asyncio.run(_migrate_and_make(server.admin_dsn))
    PATH.write_text(rendered(examples), "utf-8")


if __name__ == "__main__":
    _main()
