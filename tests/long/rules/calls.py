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
    id: str = ""
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
    return "POST", "licences", {**_fields(d, a), "serial_number": f"{d.code}-{a['serial']}"}


def _send_again(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    return "PUT", f"licences/by-serial/{_serial(d, refs[0])}", _fields(d, a)


def _fields(d: Records, a: Arguments) -> dict[str, Any]:
    return {
        "customer_id": d.id,
        "kind": a["kind"],
        "product": "Product",
        "version": "1",
        "purchased_on": _day(a["day"]),
    }


def _serial(d: Records, label: str) -> str:
    return f"{d.code}-{d.player.licences[label].serial}"


def _day(day: date) -> str:
    return day.isoformat()


def _upgrade(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {"version": label, "upgraded_on": _day(a["day"]), "paid_by": a["paid_by"]}
    return "POST", f"licences/{_serial(d, refs[0])}/upgrades", body


def _withdraw(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {"withdrawn_on": _day(a["day"]), "reason": "A reason"}
    return "POST", f"licences/{_serial(d, refs[0])}/withdrawal", body


def _sign(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body: dict[str, Any] = {
        "customer_id": d.id,
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
        "customer_id": d.id,
        "number": f"{d.code}-{label}",
        "quantity": a["quantity"],
        "purchased_on": _day(a["day"]),
    }
    return "POST", "ticket-packs", body


def _open(d: Records, label: str, refs: list[str], a: Arguments) -> _Request:
    body = {
        "customer_id": d.id,
        "requester": {"name": "A requester"},
        "subject": "A subject",
        "description": "A description",
        "channel": a["channel"],
        "category": a["category"],
        "pay_with": a["pay_with"],
        "priority_requested": a["priority"],
    }
    if a["serial"] is not None:
        body["serial_number"] = f"{d.code}-{a['serial']}"
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


_Maker = Callable[[Records, str, list[str], Arguments], _Request]
REQUESTS: dict[str, _Maker] = {
    "lic": _register,
    "fix": _send_again,
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
