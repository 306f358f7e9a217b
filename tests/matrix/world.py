"""What customers have, by the names under which a request may refer to it."""

import secrets
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.ids import new_id
from app.services import help_desks, webhooks
from tests.api.build import Customer, made, unique


@dataclass(frozen=True)
class Holdings:
    """Everything of one customer, or of nobody: what a request calls it by id, and by name."""

    by_id: dict[str, Any]
    by_name: dict[str, Any]

    def hide(self, text: str) -> str:
        """The text with each of these things replaced by what it is."""
        names = (*self.by_id.values(), *self.by_name.values())
        for value in sorted((one for one in names if isinstance(one, str)), key=len, reverse=True):
            text = text.replace(value, "…")
        return text


def _phone() -> str:
    return f"+39347{secrets.randbelow(9_000_000) + 1_000_000}"


def _holdings(names: dict[str, Any], **called: str) -> Holdings:
    """`called`: what a path takes in place of an id."""
    ids = {
        "desk": "it",
        **names,
        "into": names["twin"],
        "customer_id": names["customer"],
        "to_customer_id": names["customer"],
        "contract_id": names["contract"],
        "customer_code": called["customer"],
        "code": called["customer"],
        "id": names["contact_id"],
        "serial_number": called["licence"],
        "case_number": called["case"],
        "number": called["contract"],
        "external_ref": f"crm:{names['external_refs']['crm']}",
    }
    names = {
        **ids,
        **called,
        "into": called["twin"],
        "customer_id": called["customer"],
        "number": called["ticket_pack"],
    }
    return Holdings(ids, names)


def nobody() -> Holdings:
    """Names as good as any, of nothing."""
    ids = ("customer", "twin", "licence", "contract", "ticket_pack", "case")
    others = (
        "call",
        "contact_id",
        "entry_id",
        "token_id",
        "upgrade_id",
        "closure_id",
        "comment_id",
        "webhook",
        "delivery",
        "recovery",
    )
    return _holdings(
        {name: str(new_id()) for name in (*ids, *others)}
        | {
            "phone": _phone(),
            "email": f"{unique('nobody').lower()}@example.com",
            "external_refs": {"crm": unique("R")},
        },
        **{name: unique("N") for name in ids},
    )


async def somebody(client: httpx.AsyncClient, today: date) -> Holdings:
    """A new customer who has one of everything."""
    phone, email, ref = _phone(), f"{unique('help').lower()}@example.com", unique("R")
    contact = {"name": "Help desk", "email": email, "phones": [phone]}
    customer = await Customer.new(client, today, contacts=[contact], external_refs={"crm": ref})
    # The same company, entered twice (R49).
    twin = await Customer.new(client, today)
    licence = await customer.licence(days=-90)
    path = f"licences/{licence['id']}/upgrades"
    upgraded = await customer.post(path, 201, version="12", paid_by="purchase")
    contract = await customer.contract(days=-20)
    pack = await customer.pack(3)
    # What ends soon.
    for days in (-350, -349):
        await customer.pack(1, days=days)
    case = await customer.open()
    entry = await customer.work(case, 5, note="Seen by telephone")
    comment = await customer.step(case, "comments", 201, body="Please restart it.")
    (contact,) = (await customer.get(f"customers/{customer.id}"))["contacts"]
    issued = await made(
        await client.post(
            f"/v1/customers/{customer.id}/tokens", json={"scopes": ["entitlements:read"]}
        )
    )
    at = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    call = {"call_id": unique("call"), "number": phone, "started_at": at, "case": case["number"]}
    call = await made(await client.post("/v1/calls", json=call))
    past = {name: plain(today)[name] for name in ("starts_at", "ends_at")}
    reason = {"it": "Ferie", "en": "Holidays", "de": "Ferien"}
    with pytest.MonkeyPatch.context() as patch:
        # Everybody's is on the same days.
        patch.setattr(help_desks, "MOST_OVERLAPPING", 10_000)
        closed = await client.post("/v1/help-desks/it/closures", json={**past, "reason": reason})
    closure = await made(closed)
    url = {"url": "https://hooks.example.com/"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webhooks, "MOST_ENDPOINTS", 10_000)
        hook = await made(await client.post("/v1/webhooks", json=url))
    path = f"/v1/webhooks/{hook['id']}"
    for _ in range(2):
        test = await client.post(f"{path}/test", json={"type": "case.opened"})
    since = {"since": at, "only_failed": True}
    recovery = await made(await client.post(f"{path}/recovery", json=since), 202)
    return _holdings(
        {
            "webhook": hook["id"],
            "delivery": (await made(test))["id"],
            "recovery": recovery["id"],
            "closure_id": closure["id"],
            "comment_id": comment["data"]["comment_id"],
            "call": call["id"],
            "customer": customer.id,
            "twin": twin.id,
            "licence": licence["id"],
            "contract": contract["id"],
            "ticket_pack": pack["id"],
            "case": case["id"],
            "contact_id": contact["id"],
            "entry_id": entry["id"],
            "token_id": issued["id"],
            "upgrade_id": upgraded["upgrades"][0]["id"],
            "phone": phone,
            "email": email,
            "external_refs": {"crm": ref},
        },
        customer=customer.code,
        twin=twin.code,
        licence=licence["serial_number"],
        contract=contract["number"],
        ticket_pack=pack["number"],
        case=case["number"],
    )


def plain(today: date) -> dict[str, Any]:
    """What is nobody's and must yet be right: dates that agree with each other."""
    return {
        "from": str(today - timedelta(days=30)),
        "to": str(today),
        "withdrawn_on": str(today),
        "cancelled_on": str(today),
        "on": str(today),
        "starts_at": (datetime.now(UTC) - timedelta(hours=2)).isoformat(),
        "ends_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
        "file": b64encode(b"code,name,country\nC-FILE,File,IT\n").decode(),
        "until": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
    }
