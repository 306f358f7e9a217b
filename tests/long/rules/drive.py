"""Sends a history's steps to the service over HTTP, plays them on the model, and compares both.

The service's clock is the model's. Records are known by their labels on both sides: serial numbers
and the numbers of contracts and packs are made of them, those of cases and the ids of entries kept.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from . import compare
from .answers import Answer
from .calls import CORRECTIONS, REQUESTS, Records, instant
from .generate import History
from .player import OF_BOTH, Arguments, Outcome, Step
from .policy import SERVICE_OF_CHANNEL, desk

# Refusals for which the clauses name a status alone.
_BY_STATUS = {"invalid": 422, "in_future": 422}
# Refusals for which they leave the reason open.
_ANY = "refused"
# What is compared after a step besides the answer; after the last one, all.
_ALL = ("licences", "cases", "entries", "contracts", "packs", "years", "queue")
_PARTS: dict[str, tuple[str, ...]] = {
    "lic": ("licences", "cases", "years"),
    "fix": ("licences", "cases", "entries", "contracts", "years"),
    "xlic": ("licences", "cases", "entries", "contracts", "years"),
    "up": ("cases", "years"),
    "rup": ("cases", "entries", "contracts", "years"),
    "wd": ("licences", "cases", "entries", "contracts", "years"),
    "rwd": ("licences", "cases", "entries", "contracts", "years"),
    "tr": ("licences", "cases", "contracts", "years"),
    "con": ("cases", "contracts", "years"),
    "ren": ("cases", "entries", "contracts", "years"),
    "ccon": ("cases", "entries", "contracts", "years"),
    "xcon": ("cases", "entries", "contracts", "years"),
    "rcon": ("cases", "entries", "contracts", "years"),
    "pack": ("packs",),
    "ctk": ("packs",),
    "xpack": ("cases", "packs"),
    "case": ("cases", "packs"),
    "mv": _ALL,
    "mg": _ALL,
    "ser": ("cases",),
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
    "end": _ALL,
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
    """Two customers of the service, with their model."""

    client: httpx.AsyncClient
    every: int = 1
    """The records are compared after every step of this number; the answer as of now, always."""
    requests: int = 0

    async def play(self, history: History) -> Disagreement | None:
        """The first difference, if any."""
        for who, customer in enumerate(self.player.customers):
            body = {"code": f"{self.code}-{who}", "name": "Model", "country": customer.country}
            self.ids.append((await self._send("POST", "customers", body)).json()["id"])
        for number, step in enumerate(history.steps):
            records = number % self.every == 0
            for where, model, service in await self._both(step, records=records):
                if model != service:
                    return Disagreement(number, step, where, model, service)
        end: Step = ("end", "", (), {})
        for where, model, service in await self._compare("end", (0, 1)):
            if model != service:
                return Disagreement(len(history.steps), end, where, model, service)
        return None

    async def _both(self, step: Step, *, records: bool) -> list[_Pair]:
        kind, label, refs, arguments = step
        if kind in ("adv", "ask"):
            outcome = self.player.play(step)
            if outcome.answer is None:
                return []
            at, who = self.player.instant(arguments), arguments.get("who", 0)
            return await self._compare_answer(outcome.answer, at, who)
        if kind == "shut":
            return await self._shut(step)
        self.player.tick()
        resolved = self.player.resolve(step)
        if resolved is None:
            return []
        who = self.player.who(step)
        before = self.player.ask(who=who)
        method, path, body = REQUESTS[kind](self, label, list(refs), {**arguments, **resolved})
        tried = None
        if kind in CORRECTIONS:
            body["reason"] = "A reason"
            tried = await self._send(method, path, {**body, "dry_run": True})
        outcome = self.player.apply(step, resolved)
        answer = await self._send(method, path, body)
        model, service = _results(outcome, answer)
        if model != service:
            return [("result", model, service)]
        pairs = self._tried(step, tried, answer, before)
        if outcome.result == "refused":
            if kind in CORRECTIONS:
                return pairs + await self._compare(kind, (0, 1), records=records)
            if kind == "case" and _is_asked_now(outcome, resolved):
                return _refusal(before, resolved["channel"], answer.json())
            return []
        await self._keep(step, answer.json())
        whose = (0, 1) if kind in OF_BOTH else (who,)
        return pairs + await self._compare(kind, whose, records=records)

    async def _shut(self, step: Step) -> list[_Pair]:
        """R13, R48: while a closure stands, answers but for the desk's state are as without it."""
        self.player.play(step)
        now = self.player.now
        starts, ends = (now + timedelta(hours=step[3][name]) for name in ("from", "to"))
        reason = {"it": "Chiuso", "en": "Closed", "de": "Geschlossen"}
        body = {"starts_at": instant(starts), "ends_at": instant(ends), "reason": reason}
        path = f"help-desks/{desk(self.player.customers[0].country)}/closures"
        made = await self._send("POST", path, body)
        if not made.is_success:
            return [("result", "done", made.json()["code"])]
        pairs = await self._compare_answer(self.player.ask(), None, 0)
        gone = await self.client.delete(f"/v1/{path}/{made.json()['id']}")
        return [*pairs, ("closure.deleted", 204, gone.status_code)]

    async def _keep(self, step: Step, made: dict[str, Any]) -> None:
        """The ids and numbers of what a step made."""
        kind, label, refs, _ = step
        if kind == "case" or kind == "mv":
            self.cases[label] = made["number"]
        elif kind == "time":
            self.entries[label] = refs[0], made["id"]
        elif kind == "up":
            upgrade = next(each for each in made["upgrades"] if each["version"] == label)
            self.upgrades[label] = made["id"], upgrade["id"]
        elif kind == "mg":  # of two holdings of a licence the later one counts
            last = {id(each): label for label, each in self.player.licences.items()}
            for known, licence in self.player.licences.items():
                self.licences[known] = self.licences[last[id(licence)]]
        if label in self.player.licences:  # one that has come back has another id than before
            for known, licence in self.player.licences.items():
                if licence is self.player.licences[label]:
                    self.licences[known] = made["id"]

    def _tried(
        self,
        step: Step,
        tried: httpx.Response | None,
        answer: httpx.Response,
        before: Answer,
    ) -> list[_Pair]:
        """The same step tried before says the same, and what came of it."""
        if tried is None:
            return []
        pairs: list[_Pair] = [("dry_run.status", answer.status_code, tried.status_code)]
        if tried.is_success and step[0] != "mg":  # whose answers those of a merge are is left open
            body, after = tried.json(), self.player.ask(who=self.player.who(step))
            for name, model in (("before", before), ("after", after)):
                seen = compare.service_answer(body[name], self.label)
                pairs += compare.leaves(compare.model_answer(model), seen, f"dry_run.{name}")
        return pairs

    async def _compare(
        self, kind: str, whose: Sequence[int], *, records: bool = True
    ) -> list[_Pair]:
        """The answers as of now, then every record."""
        pairs: list[_Pair] = []
        for who in whose:
            pairs += await self._compare_answer(self.player.ask(who=who), None, who)
        if records and all(model == service for _, model, service in pairs):
            for who in whose:
                model = compare.model_state(self.player, _PARTS[kind], who)
                service = {part: await self._part(part, who) for part in _PARTS[kind]}
                pairs += compare.leaves(model, service)
        return pairs

    async def _compare_answer(self, answer: Answer, at: datetime | None, who: int) -> list[_Pair]:
        query = {} if at is None else {"at": instant(at)}
        seen = await self.get("entitlements", customer_id=self.ids[who], **query)
        service = compare.service_answer(seen, self.label)
        return list(compare.leaves(compare.model_answer(answer), service))

    async def _part(self, part: str, who: int) -> Any:
        """A part of what the service shows of a customer, by labels."""
        id_, player = self.ids[who], self.player
        match part:
            case "licences":
                return compare.service_licences(await self._listed("licences", id_), self.label)
            case "cases":
                cases = await self._listed("cases", id_)
                return {self.label(c["number"]): compare.service_case(c, self.label) for c in cases}
            case "contracts":
                contracts = await self._listed("contracts", id_)
                return {self.label(c["number"]): compare.service_contract(c) for c in contracts}
            case "packs":
                packs = {
                    p: await self.get(f"ticket-packs/{self.code}-{p}")
                    for p in player.mine(player.packs, who)
                }
                return {p: compare.service_pack(seen, self.label) for p, seen in packs.items()}
            case "years":
                return compare.service_years(await self.get(f"customers/{id_}/usage"))
            case "queue":
                queue = await self.get("cases", customer_id=id_, queue="true")
                return [self.label(each["number"]) for each in queue["items"]]
            case "entries":
                mine = player.mine(player.entries, who)
                return {label: await self._entry(label) for label in mine}

    async def _entry(self, label: str) -> dict[str, Any]:
        case, id_ = self.entries[label]
        seen = await self.get(f"cases/{self.cases[case]}/time-entries/{id_}")
        return compare.service_entry(seen, self.label)

    async def _listed(self, what: str, id_: str) -> list[dict[str, Any]]:
        page = await self.get(what, customer_id=id_, limit="200")
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
        if code == _ANY or code in codes or _BY_STATUS.get(code) == answer.status_code:
            return code, code
    return sorted(outcome.codes) or "done", sorted(codes)


def _is_asked_now(outcome: Outcome, resolved: Arguments) -> bool:
    """Whether a refused opening says what the answer as of now says."""
    nothing_pays = outcome.codes == {"not_entitled"}
    return nothing_pays and resolved["pay_with"] == "auto" and not resolved["opened_at"]


def _refusal(before: Answer, channel: str, problem: dict[str, Any]) -> list[_Pair]:
    """A refused opening says what the answer says of the channel's service."""
    service = before.body.service(SERVICE_OF_CHANNEL[channel])
    reasons = sorted((each.column, each.code) for each in service.reasons)
    return [
        ("refusal.reasons", reasons, compare.codes(problem["reasons"])),
        ("refusal.unlocked_by", list(service.unlocked_by), sorted(problem["unlocked_by"])),
    ]
