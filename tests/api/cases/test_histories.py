"""Histories of several steps, with the results that the clauses want, lived over HTTP.

`tests/scenarios/histories.json` explains its format under `about`.
"""

import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import clock
from app.policy.civil import civil_date
from app.policy.document import Policies
from tests.api.build import Customer, unique
from tests.conftest import Service
from tests.invariants import Invariants

_FILE = Path(__file__).parents[2] / "scenarios" / "histories.json"
_OWN = Path(__file__).parents[2] / "scenarios" / "more_histories.json"
# Steps of endpoints that the service does not offer yet.
_NOT_OFFERED = {"tr"}


def _playable(history: dict[str, Any]) -> bool:
    return not any(kind in _NOT_OFFERED for kind, *_ in history["steps"])


HISTORIES = [
    history
    for file in (_FILE, _OWN)
    for history in json.loads(file.read_text("utf-8"))["histories"]
    if _playable(history)
]


class Life:
    """One history under way: what each label names, and the answer of the last step."""

    def __init__(self, customers: list[Customer], policies: Policies, base: datetime) -> None:
        self.customers = customers
        self.customer = customers[0]
        self.policies = policies
        self.now = base
        self.known: dict[str, dict[str, Any]] = {}
        self.last: httpx.Response | None = None

    @property
    def today(self) -> date:
        return civil_date(self.now, self.policies.zone)

    def day(self, offset: int) -> str:
        return str(self.today + timedelta(days=offset))

    async def _send(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        self.last = await self.customer.client.request(method, f"/v1/{path}", json=body)
        assert self.last.status_code < 500, self.last.text
        return self.last

    async def _make(self, label: str, kind: str, path: str, body: dict[str, Any]) -> None:
        answer = await self._send("POST", path, body)
        if answer.is_success:
            self.known[label] = answer.json() | {"_is": kind}

    async def step(self, kind: str, label: str, of: list[str], given: dict[str, Any]) -> None:
        self.customer = self.customers[given.pop("who", 0)]
        things = [self.known[name] for name in of if name in self.known]
        thing: dict[str, Any] = things[0] if things else {}
        reason = {"reason": "As agreed."}
        customer = {"customer_id": self.customer.id}
        match kind:
            case "lic":
                body = self._licence(given["what"], self.day(given["off"]))
                await self._make(
                    label, "licence", "licences", {**body, "serial_number": unique("S")}
                )
            case "fix":
                kept = {"kind": thing["kind"], "purchased_on": thing["purchased_on"]}
                if given["off"] is not None:
                    kept["purchased_on"] = self.day(given["off"])
                kept["kind"] = given["what"] or kept["kind"]
                body = self._licence(kept["kind"], kept["purchased_on"])
                answer = await self._send(
                    "PUT", f"licences/by-serial/{thing['serial_number']}", body
                )
                if answer.is_success:
                    thing |= kept
            case "up":
                body = {
                    "version": f"12.{len(self.known)}.{label}",
                    "upgraded_on": self.day(given["off"]),
                    "paid_by": given["paid_by"],
                }
                await self._send("POST", f"licences/{thing['id']}/upgrades", body)
            case "wd":
                body = {"withdrawn_on": self.day(given["off"]), **reason}
                await self._send("POST", f"licences/{thing['id']}/withdrawal", body)
            case "rwd":
                await self._send("POST", f"licences/{thing['id']}/reinstatement", reason)
            case "rup":
                licence = await self.customer.get(f"licences/{thing['id']}")
                path = f"licences/{thing['id']}/upgrades/{licence['upgrades'][-1]['id']}/reversal"
                await self._send("POST", path, reason)
            case "con":
                body = {**customer, "starts_on": self.day(given["off"])}
                if given["included"]:
                    body["included_minutes"] = given["included"]
                body["take_over_overrun"] = bool(given.get("take"))
                await self._make(label, "contract", "contracts", body)
            case "ren":
                body = {"starts": given["starts"], "take_over_overrun": given["take"]}
                await self._make(label, "contract", f"contracts/{thing['id']}/renewal", body)
            case "ccon":
                begin = self.today if given["rel"] == "today" else thing["starts_on"]
                start = date.fromisoformat(str(begin))
                body = {"cancelled_on": str(start + timedelta(days=given["off"])), **reason}
                await self._send("POST", f"contracts/{thing['id']}/cancellation", body)
            case "xcon":
                changes: dict[str, Any] = {"included_minutes": given["included"]}
                if given["off"] is not None:
                    changes["starts_on"] = self.day(given["off"])
                await self._send("POST", f"contracts/{thing['id']}/correction", changes | reason)
            case "rcon":
                await self._send("POST", f"contracts/{thing['id']}/reinstatement", reason)
            case "pack":
                body = {
                    **customer,
                    "purchased_on": self.day(given["off"]),
                    "quantity": given["quantity"],
                }
                await self._make(label, "pack", "ticket-packs", body)
            case "ctk":
                body = {"cancelled_on": self.day(given["off"]), "quantity": given["quantity"]}
                await self._send("POST", f"ticket-packs/{thing['id']}/cancellation", body | reason)
            case "case":
                await self._make(label, "case", "cases", self._case(given))
            case "time":
                body = {
                    "technician": "Help desk",
                    "minutes": given["minutes"],
                    "worked_at": self._worked_at(thing, given),
                }
                await self._make(label, "entry", f"cases/{thing['id']}/time-entries", body)
            case "rev":
                path = f"cases/{thing['case_id']}/time-entries/{thing['id']}/reversal"
                await self._send("POST", path, reason)
            case "bug" | "unbug":
                category = {"bug": "bug", "unbug": "problem"}[kind]
                await self._send("PATCH", f"cases/{thing['id']}", {"category": category})
            case "take" | "wait":
                to = {"take": "in_progress", "wait": "waiting_for_customer"}[kind]
                await self._send("POST", f"cases/{thing['id']}/transition", {"to": to})
            case "close":
                body = {"resolution": "Replaced."}
                await self._send("POST", f"cases/{thing['id']}/closure", body)
            case "reopen":
                await self._send("POST", f"cases/{thing['id']}/reopening", reason)
            case "cancel":
                await self._send("POST", f"cases/{thing['id']}/cancellation", reason)
            case "mv":
                other = self.customers[1]
                serials = self._serials(other)
                body = {
                    "customer_id": other.id,
                    "serial_number": serials[0] if serials else None,
                    "as_overrun": given["as_overrun"],
                    **reason,
                }
                await self._make(label, "case", f"cases/{thing['id']}/move", body)
            case "bind":
                body = {"pay_with": given["pay_with"]}
                await self._send("POST", f"cases/{thing['id']}/binding", body)
            case "adv":
                self.now += timedelta(hours=given["hours"])
            case "expect":
                await self._expect(thing, given)
            case _:
                raise AssertionError(kind)

    def _licence(self, kind: str, purchased_on: str) -> dict[str, Any]:
        return {
            "customer_id": self.customer.id,
            "kind": kind,
            "product": "Movicon",
            "version": "11",
            "purchased_on": purchased_on,
        }

    def _case(self, given: dict[str, Any]) -> dict[str, Any]:
        body = {
            "customer_id": self.customer.id,
            "requester": {"name": "Plant engineer"},
            "subject": "Screen stays blank",
            "description": "After the start the screen stays blank.",
            **{name: given[name] for name in ("channel", "category", "pay_with")},
        }
        if "ago" in given:
            body["opened_at"] = (self.now - timedelta(hours=given["ago"])).isoformat()
        own = self._serials(self.customer)
        if given["serial"] == "foreign":
            body["serial_number"] = "X-another-customer"
        elif given["serial"] == "own" and own:
            body["serial_number"] = own[0]
        return body

    def _serials(self, customer: Customer) -> list[str]:
        return [
            one["serial_number"]
            for one in self.known.values()
            if one["_is"] == "licence" and one["customer_id"] == customer.id
        ]

    def _worked_at(self, case: dict[str, Any], given: dict[str, Any]) -> str:
        if given["when"] == "opened":
            return str(case["opened_at"])
        if given["when"] == "now":
            return self.now.isoformat()
        day = self.today - timedelta(days=given["k"])
        clock_time = time(given["h"], given["m"])
        return datetime.combine(day, clock_time, self.policies.zone).isoformat()

    # --- what is expected -------------------------------------------------------------------

    async def _expect(self, thing: dict[str, Any], wanted: dict[str, Any]) -> None:
        seen: dict[str, Any] = {"on": str(self.today)}
        if "refused" in wanted:
            assert self.last is not None
            seen["refused"] = [self.last.json().get("code")]
        match thing.get("_is"):
            case "case":
                seen |= await self._of_case(thing)
            case "contract":
                seen |= await self._of_contract(thing)
            case "pack":
                seen |= await self._of_pack(thing, wanted)
        seen |= await self._of_answer(wanted)
        assert {name: seen[name] for name in wanted if name in seen} == {
            name: value for name, value in wanted.items() if name != "hours_ago"
        }

    async def _of_case(self, thing: dict[str, Any]) -> dict[str, Any]:
        case = await self.customer.case(thing["number"])
        return {
            "paid_by": case["paid_by"]["kind"],
            "year": case["paid_by"]["service_year_start"],
            "charged": case["charged_minutes"],
            "overrun": case["overrun_minutes"],
            "state": case["state"],
            "verified": case["serial_verified"],
        }

    async def _of_contract(self, thing: dict[str, Any]) -> dict[str, Any]:
        contract = await self.customer.get(f"contracts/{thing['id']}")
        others = await self.customer.get(f"contracts?customer_id={self.customer.id}")
        return {
            "used": contract["used_minutes"],
            "left": contract["remaining_minutes"],
            "contract_overrun": contract["overrun_minutes"],
            "renewed": any(
                one["renews"] == thing["id"] and one["cancelled_on"] != one["starts_on"]
                for one in others["items"]
            ),
        }

    async def _of_pack(self, thing: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
        pack = await self.customer.get(f"ticket-packs/{thing['id']}")
        usage = await self.customer.get(f"customers/{self.customer.id}/usage")
        (used,) = (one for one in usage["allowances"] if one.get("id") == thing["id"])
        return {
            "pack": {name: pack[name] for name in wanted.get("pack", ())},
            "ticket_ends": max(ticket["expires_on"] for ticket in pack["tickets"]),
            "pack_ends": used["ends_on"],
        }

    async def _of_answer(self, wanted: dict[str, Any]) -> dict[str, Any]:
        query = {}
        if wanted.get("hours_ago"):
            query["at"] = (self.now - timedelta(hours=wanted["hours_ago"])).isoformat()
        answer = await self.customer.entitlements(**query)
        years = [one for one in answer["allowances"] if one["kind"] == "free_hours"]
        year = years[0] if years else {}
        services = {one["service"]: one for one in answer["services"]}
        expired = [
            reason["facts"]
            for reason in services["phone_support"]["reasons"]
            if reason["code"] == "tickets_expired"
        ]
        until = answer["valid_until"]
        seen: dict[str, Any] = {
            "columns": answer["columns"],
            "free": year.get("remaining_minutes"),
            "free_used": year.get("used_minutes"),
            "free_starts": year.get("starts_on"),
            "free_ends": year.get("ends_on"),
            "allowed": [name for name, one in services.items() if one["allowed"]],
            "tickets": sum(one.get("available", 0) for one in answer["allowances"]),
            "changes_on": until
            and str(civil_date(datetime.fromisoformat(until), self.policies.zone)),
            "tickets_expired_on": expired[0]["expired_on"] if expired else None,
            "tickets_expired": expired[0]["expired"] if expired else None,
            "unlocked_by": {
                name: sorted(services[name]["unlocked_by"])
                for name in wanted.get("unlocked_by", ())
            },
        }
        if "unlocked_by" in wanted:
            wanted["unlocked_by"] = {
                name: sorted(steps) for name, steps in wanted["unlocked_by"].items()
            }
        return seen


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history["name"])
async def test_history(
    service: Service,
    client: httpx.AsyncClient,
    policies: Policies,
    monkeypatch: pytest.MonkeyPatch,
    history: dict[str, Any],
) -> None:
    base = history["start"]["base"]
    begin = datetime.fromisoformat(base) if base else datetime.now(UTC)
    country = history["start"]["country"]
    day = civil_date(begin, policies.zone)
    customers = [await Customer.new(client, day, country=country) for _ in range(2)]
    invariants = {customer.id: Invariants(service) for customer in customers}
    life = Life(customers, policies, begin)
    monkeypatch.setattr(clock, "now", lambda: life.now)
    for kind, label, of, given in history["steps"]:
        await life.step(kind, label, of, dict(given))
        for customer_id, watch in invariants.items():
            await watch.check(customer_id)
