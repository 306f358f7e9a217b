"""The requests that a history's steps come to, for whoever has made the records they refer to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from .player import Arguments, Player


@dataclass
class Records:
    """What was made at the service, by label; `code` makes its numbers unique."""

    player: Player
    code: str
    ids: list[str] = field(default_factory=list)
    """Of the customers."""
    licences: dict[str, str] = field(default_factory=dict)
    upgrades: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The ids of the licence that had it when it was bought, and its own."""
    cases: dict[str, str] = field(default_factory=dict)
    entries: dict[str, tuple[str, str]] = field(default_factory=dict)

    def label(self, number: str) -> str:
        """A record's label, by its number."""
        labels = {number: label for label, number in self.cases.items()}
        return labels.get(number) or number.removeprefix(f"{self.code}-")


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


_Request = tuple[str, str, dict[str, Any]]


def _register(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {**_fields(d, a.get("who", 0), a), "serial_number": f"{d.code}-{a['serial']}"}
    return "POST", "licences", body


def _send(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    serial = f"{d.code}-{d.player.licences[refs[0]].serial}"
    return "PUT", f"licences/by-serial/{serial}", _fields(d, a["who"], a)


def _fields(d: Records, who: int, a: Arguments) -> dict[str, Any]:
    return {
        "customer_id": d.ids[who],
        "kind": a["kind"],
        "product": "Product",
        "version": "1",
        "purchased_on": _day(a["day"]),
    }


def _licence(d: Records, label: str) -> str:
    """The path of a licence: with its id, since others may have had the serial number."""
    return f"licences/{d.licences[label]}"


def _correct_licence(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {"kind": a["kind"], "purchased_on": _day(a["day"])}
    return "POST", f"{_licence(d, refs[0])}/correction", body


def _reverse_upgrade(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    of = next(label for label, each in d.player.upgrades.items() if each is a["upgrade"])
    licence, upgrade = d.upgrades[of]
    return "POST", f"licences/{licence}/upgrades/{upgrade}/reversal", {}


def _transfer(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    to = d.ids[1 - d.player.owner[refs[0]]]
    return "POST", f"{_licence(d, refs[0])}/transfer", {"to_customer_id": to, "on": _day(a["day"])}


def _correct_contract(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {"starts_on": _day(a["day"]), "included_minutes": a["included"]}
    return "POST", f"contracts/{d.code}-{refs[0]}/correction", body


def _cancel_tickets(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body: dict[str, Any] = {"cancelled_on": _day(a["day"])}
    if a["quantity"] is not None:
        body["quantity"] = a["quantity"]
    return "POST", f"ticket-packs/{d.code}-{refs[0]}/cancellation", body


def _correct_pack(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    return "POST", f"ticket-packs/{d.code}-{refs[0]}/correction", {"purchased_on": _day(a["day"])}


def _taken_back(path: str) -> "_Maker":
    def request(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
        of = _licence(d, refs[0]) if path == "licences" else f"{path}/{d.code}-{refs[0]}"
        return "POST", f"{of}/reinstatement", {}

    return request


def _move(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {"customer_id": d.ids[a["to"]], "as_overrun": a["as_overrun"]}
    body["serial_number"] = _given_serial(d, a)
    return "POST", f"cases/{d.cases[refs[0]]}/move", body


def _merge(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    return "POST", f"customers/{d.ids[a['who']]}/merge", {"into": d.ids[1 - a["who"]]}


def _given_serial(d: Records, a: Arguments) -> str | None:
    return None if a["serial"] is None else f"{d.code}-{a['serial']}"


def _change_serial(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    return "PATCH", f"cases/{d.cases[refs[0]]}", {"serial_number": _given_serial(d, a)}


def _day(day: date) -> str:
    return day.isoformat()


def _upgrade(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {"version": label, "upgraded_on": _day(a["day"]), "paid_by": a["paid_by"]}
    return "POST", f"{_licence(d, refs[0])}/upgrades", body


def _withdraw(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {"withdrawn_on": _day(a["day"]), "reason": "A reason"}
    return "POST", f"{_licence(d, refs[0])}/withdrawal", body


def _sign(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body: dict[str, Any] = {
        "customer_id": d.ids[a.get("who", 0)],
        "number": f"{d.code}-{label}",
        "starts_on": _day(a["day"]),
    }
    if a["included"] is not None:
        body["included_minutes"] = a["included"]
    if a["take"]:
        body["take_over_overrun"] = True
    return "POST", "contracts", body


def _renew(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    number = f"{d.code}-{label}"
    body = {"starts": a["starts"], "number": number, "take_over_overrun": a["take"]}
    return "POST", f"contracts/{d.code}-{refs[0]}/renewal", body


def _cancel_contract(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {"cancelled_on": _day(a["day"]), "reason": "A reason"}
    return "POST", f"contracts/{d.code}-{refs[0]}/cancellation", body


def _buy_pack(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {
        "customer_id": d.ids[a.get("who", 0)],
        "number": f"{d.code}-{label}",
        "quantity": a["quantity"],
        "purchased_on": _day(a["day"]),
    }
    return "POST", "ticket-packs", body


def _open(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {
        "customer_id": d.ids[a.get("who", 0)],
        "requester": {"name": "A requester"},
        "subject": "A subject",
        "description": "A description",
        "channel": a["channel"],
        "category": a["category"],
        "pay_with": a["pay_with"],
        "priority_requested": a["priority"],
    }
    if a["serial"] is not None:
        body["serial_number"] = _given_serial(d, a)
    if a["opened_at"] is not None:
        body["opened_at"] = instant(a["opened_at"])
    return "POST", "cases", body


def _record_time(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    worked_at = instant(a["worked_at"])
    body = {"technician": "A technician", "minutes": a["minutes"], "worked_at": worked_at}
    return "POST", f"cases/{d.cases[refs[0]]}/time-entries", body


def _reverse(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    case, id_ = d.entries[refs[0]]
    path = f"cases/{d.cases[case]}/time-entries/{id_}/reversal"
    return "POST", path, {"reason": "A reason"}


def _on_case(path: str, **body: str) -> "_Maker":
    def request(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
        return "POST", f"cases/{d.cases[refs[0]]}/{path}", dict(body)

    return request


def _category(category: str) -> "_Maker":
    def request(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
        return "PATCH", f"cases/{d.cases[refs[0]]}", {"category": category}

    return request


def _bind(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    return "POST", f"cases/{d.cases[refs[0]]}/binding", {"pay_with": a["pay_with"]}


CORRECTIONS = frozenset({"xlic", "rup", "rwd", "tr", "xcon", "rcon", "ctk", "xpack", "mv", "mg"})
"""The steps that take `reason` and `dry_run`."""
_Maker = Callable[[Records, str, list[str], Arguments], _Request]
REQUESTS: dict[str, _Maker] = {
    "lic": _register,
    "fix": _send,
    "xlic": _correct_licence,
    "rup": _reverse_upgrade,
    "rwd": _taken_back("licences"),
    "tr": _transfer,
    "xcon": _correct_contract,
    "rcon": _taken_back("contracts"),
    "ctk": _cancel_tickets,
    "xpack": _correct_pack,
    "mv": _move,
    "mg": _merge,
    "ser": _change_serial,
    "up": _upgrade,
    "wd": _withdraw,
    "con": _sign,
    "ren": _renew,
    "ccon": _cancel_contract,
    "pack": _buy_pack,
    "case": _open,
    "time": _record_time,
    "rev": _reverse,
    "bug": _category("bug"),
    "unbug": _category("problem"),
    "take": _on_case("transition", to="in_progress"),
    "wait": _on_case("transition", to="waiting_for_customer"),
    "close": _on_case("closure", resolution="A resolution"),
    "reopen": _on_case("reopening", reason="A reason"),
    "cancel": _on_case("cancellation", reason="A reason"),
    "bind": _bind,
}
