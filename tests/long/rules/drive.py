"""Sends a history's steps to the service over HTTP, plays them on the model, and compares both.

The service's clock is the model's. Records are known by their labels on both sides: serial numbers
and the numbers of contracts and packs are made of them, those of cases and the ids of entries kept.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from . import compare
from .answers import Answer
from .calls import REQUESTS, Records, instant
from .generate import History
from .player import Outcome, Step
from .policy import SERVICE_OF_CHANNEL

# Refusals for which the clauses name a status alone.
_BY_STATUS = {"invalid": 422, "in_future": 422}
# What is compared after a step besides the answer; after the last one, all.
_PARTS: dict[str, tuple[str, ...]] = {
    "lic": ("cases", "years"),
    "fix": ("cases", "entries", "contracts", "years"),
    "up": ("cases", "years"),
    "wd": ("cases", "entries", "contracts", "years"),
    "con": ("cases", "contracts", "years"),
    "ren": ("cases", "entries", "contracts", "years"),
    "ccon": ("cases", "entries", "contracts", "years"),
    "pack": ("packs",),
    "case": ("cases", "packs"),
    "time": ("cases", "contracts", "years"),
    "rev": ("cases", "contracts", "years"),
    "bug": ("cases", "contracts", "packs", "years"),
    "unbug": ("cases", "entries", "contracts", "packs", "years"),
    "take": ("cases",),
    "wait": ("cases",),
    "close": ("cases", "packs"),
    "reopen": ("cases", "packs"),
    "cancel": ("cases", "packs"),
    "bind": ("cases", "entries", "contracts", "packs", "years"),
    "end": ("cases", "entries", "contracts", "packs", "years", "queue"),
}
_Pair = tuple[str, Any, Any]


@dataclass(frozen=True)
class Disagreement:
    """Where the two first differ in a history."""

    number: int
    step: Step
    where: str
    model: Any
    service: Any

    @property
    def kind(self) -> str:
        """What it is about, whatever the labels."""
        return f"{self.step[0]}: {re.sub('[0-9]+', '', self.where)}"

    def __str__(self) -> str:
        step = [self.step[0], self.step[1], list(self.step[2]), self.step[3]]
        return (
            f"step {self.number} {step}: {self.where}\n"
            f"    model:   {self.model}\n    service: {self.service}"
        )


@dataclass(kw_only=True)
class Driver(Records):
    """A customer of the service, with its model."""

    client: httpx.AsyncClient
    every: int = 1
    """The records are compared after every step of this number; the answer as of now, always."""
    requests: int = 0

    async def play(self, history: History) -> Disagreement | None:
        """The first difference, if any."""
        body = {"code": self.code, "name": "Model", "country": self.player.customer.country}
        self.id = (await self._send("POST", "customers", body)).json()["id"]
        for number, step in enumerate(history.steps):
            records = number % self.every == 0
            for where, model, service in await self._both(step, records=records):
                if model != service:
                    return Disagreement(number, step, where, model, service)
        end: Step = ("end", "", (), {})
        for where, model, service in await self._compare("end"):
            if model != service:
                return Disagreement(len(history.steps), end, where, model, service)
        return None

    async def _both(self, step: Step, *, records: bool) -> list[_Pair]:
        kind, label, refs, arguments = step
        if kind in ("adv", "ask"):
            outcome = self.player.play(step)
            if outcome.answer is None:
                return []
            return await self._compare_answer(outcome.answer, self.player.instant(arguments))
        self.player.tick()
        resolved = self.player.resolve(step)
        if resolved is None:
            return []
        before = self.player.ask() if kind == "case" else None
        method, path, body = REQUESTS[kind](self, label, list(refs), resolved)
        outcome = self.player.apply(step, resolved)
        answer = await self._send(method, path, body)
        model, service = _results(outcome, answer)
        if model != service:
            return [("result", model, service)]
        if outcome.result == "refused":
            if before and outcome.codes == {"not_entitled"} and resolved["pay_with"] == "auto":
                return _refusal(before, resolved["channel"], answer.json())
            return []
        if kind == "case":
            self.cases[label] = answer.json()["number"]
        if kind == "time":
            self.entries[label] = refs[0], answer.json()["id"]
        return await self._compare(kind, records=records)

    async def _compare(self, kind: str, *, records: bool = True) -> list[_Pair]:
        """The answer as of now, then every record."""
        pairs = await self._compare_answer(self.player.ask(), None)
        if records and all(model == service for _, model, service in pairs):
            model = compare.model_state(self.player, _PARTS[kind])
            service = {part: await self._part(part) for part in _PARTS[kind]}
            pairs += compare.leaves(model, service)
        return pairs

    async def _compare_answer(self, answer: Answer, at: datetime | None) -> list[_Pair]:
        query = {} if at is None else {"at": instant(at)}
        seen = await self.get("entitlements", customer_id=self.id, **query)
        service = compare.service_answer(seen, self.label)
        return list(compare.leaves(compare.model_answer(answer), service))

    async def _part(self, part: str) -> Any:
        """A part of what the service shows of the customer, by labels."""
        match part:
            case "cases":
                cases = await self._listed("cases")
                return {self.label(c["number"]): compare.service_case(c, self.label) for c in cases}
            case "contracts":
                contracts = await self._listed("contracts")
                return {self.label(c["number"]): compare.service_contract(c) for c in contracts}
            case "packs":
                packs = {
                    p: await self.get(f"ticket-packs/{self.code}-{p}") for p in self.player.packs
                }
                return {p: compare.service_pack(seen, self.label) for p, seen in packs.items()}
            case "years":
                return compare.service_years(await self.get(f"customers/{self.id}/usage"))
            case "queue":
                queue = await self.get("cases", customer_id=self.id, queue="true")
                return [self.label(each["number"]) for each in queue["items"]]
            case "entries":
                return {label: await self._entry(label) for label in self.entries}

    async def _entry(self, label: str) -> dict[str, Any]:
        case, id_ = self.entries[label]
        seen = await self.get(f"cases/{self.cases[case]}/time-entries/{id_}")
        return compare.service_entry(seen, self.label)

    async def _listed(self, what: str) -> list[dict[str, Any]]:
        page = await self.get(what, customer_id=self.id, limit="200")
        assert page["next_cursor"] is None
        items: list[dict[str, Any]] = page["items"]
        return items

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        self.requests += 1
        answer = await self.client.get(f"/v1/{path}", params=query)
        assert answer.status_code == 200, (path, query, answer.text)
        found: dict[str, Any] = answer.json()
        return found

    async def _send(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        self.requests += 1
        answer = await self.client.request(method, f"/v1/{path}", json=body)
        assert answer.status_code < 500, (method, path, body, answer.text)
        return answer


def _results(outcome: Outcome, answer: httpx.Response) -> tuple[Any, Any]:
    """Both results. Where several clauses refuse a step, the code of any of them will do."""
    if answer.status_code < 400:
        return sorted(outcome.codes) or "done", "done"
    problem = answer.json()
    codes = {problem["code"], *(each["code"] for each in problem.get("errors") or ())}
    for code in sorted(outcome.codes):
        if code in codes or _BY_STATUS.get(code) == answer.status_code:
            return code, code
    return sorted(outcome.codes) or "done", sorted(codes)


def _refusal(before: Answer, channel: str, problem: dict[str, Any]) -> list[_Pair]:
    """A refused opening says what the answer says of the channel's service."""
    service = before.body.service(SERVICE_OF_CHANNEL[channel])
    reasons = sorted((each.column, each.code) for each in service.reasons)
    return [
        ("refusal.reasons", reasons, compare.codes(problem["reasons"])),
        ("refusal.unlocked_by", list(service.unlocked_by), sorted(problem["unlocked_by"])),
    ]
