"""What an example consists of: a customer, and the API calls that make its history.

A step that creates something is a POST, so that its Idempotency-Key tells a second run that it was
done. A PATCH sets a state and may be repeated.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from app.demo.days import Day

DOMAIN = "example.com"
_ROLES = {
    "it": (("Ufficio tecnico", "tecnico"), ("Ufficio acquisti", "acquisti")),
    "de": (("Technische Abteilung", "technik"), ("Einkauf", "einkauf")),
    "en": (("Engineering", "engineering"), ("Purchasing", "purchasing")),
}
# Numbers that nobody has: reserved for fiction where the country does that (DE, FR, GB, SE, US),
# elsewhere well formed but never assigned.
_PHONES = {
    "AT": "+43155501{:02}",
    "CH": "+419100000{:02}",
    "DE": "+4930231250{:02}",
    "ES": "+349100000{:02}",
    "FR": "+331990000{:02}",
    "GB": "+4420794600{:02}",
    "IT": "+3905900000{:02}",
    "PL": "+482200000{:02}",
    "SE": "+468465004{:02}",
    "US": "+121255501{:02}",
}


class Known(NamedTuple):
    """In a body: stands for a value from an earlier answer."""

    name: Literal["customer", "requester"]


class Step(NamedTuple):
    path: str
    """May contain the name of a kept id: `/v1/cases/{case}/closure`."""
    body: Mapping[str, Any]
    """A `Day` in it is replaced by its date, a `Known` by the value kept."""
    keeps: str | None = None
    """The name under which later steps find the answer's id."""
    method: Literal["POST", "PATCH"] = "POST"


class Customer(NamedTuple):
    code: str
    name: str
    country: str
    language: Literal["it", "en", "de"]
    shows: str
    """The customer's columns once everything is loaded, and what else the example shows."""
    records: tuple[Step, ...] = ()
    """Licences, contracts and ticket packs."""
    cases: tuple[Step, ...] = ()
    """Cases, and later changes of the records."""
    help_desk: str | None = None
    switchboard: str | None = None
    """A phone number shared with other customers, in place of its own."""

    @property
    def columns(self) -> list[str]:
        return self.shows.partition(":")[0].split("+")

    @property
    def contacts(self) -> list[dict[str, Any]]:
        """Roles, not people; the first is who opens cases."""
        phone = self.switchboard or _PHONES[self.country].format(int(self.code[2:]))
        return [
            {"name": role, "email": f"{box}@{self.code.lower()}.{DOMAIN}", "phones": phones}
            for (role, box), phones in zip(_ROLES[self.language], ([phone], []), strict=True)
        ]

    @property
    def body(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "name": self.name,
            "country": self.country,
            "language": self.language,
            "help_desk": self.help_desk,
            "external_refs": {"crm": f"K{int(self.code[2:]):05}", "demo": self.shows},
            "contacts": self.contacts,
        }


def editor(serial_number: str, bought: Day) -> Step:
    return _licence("editor", "Plant Editor", serial_number, bought)


def runtime(serial_number: str, bought: Day) -> Step:
    return _licence("runtime", "Plant Runtime", serial_number, bought)


def other(serial_number: str, bought: Day) -> Step:
    return _licence("other", "Plant Data Server", serial_number, bought)


def _licence(kind: str, product: str, serial_number: str, bought: Day) -> Step:
    return Step(
        "/v1/licences",
        {
            "customer_id": Known("customer"),
            "serial_number": serial_number,
            "kind": kind,
            "product": product,
            "version": "4.1",
            "purchased_on": bought,
        },
    )


def upgraded(serial_number: str, on: Day, paid_by: Literal["purchase", "contract"]) -> Step:
    return Step(
        f"/v1/licences/{serial_number}/upgrades",
        {"version": "4.2", "upgraded_on": on, "paid_by": paid_by},
    )


def withdrawn(serial_number: str, on: Day, reason: str) -> Step:
    return Step(f"/v1/licences/{serial_number}/withdrawal", {"withdrawn_on": on, "reason": reason})


def transferred(serial_number: str, on: Day, reason: str) -> Step:
    """From its holder to this customer (R44)."""
    return Step(
        f"/v1/licences/{serial_number}/transfer",
        {"to_customer_id": Known("customer"), "on": on, "reason": reason},
    )


def bought_really(serial_number: str, on: Day, reason: str) -> Step:
    """Corrects the day of purchase of a licence (R40)."""
    return Step(f"/v1/licences/{serial_number}/correction", {"purchased_on": on, "reason": reason})


def contract(number: str, starts: Day, minutes: int | None = None) -> Step:
    body = {"customer_id": Known("customer"), "number": number, "starts_on": starts}
    return Step("/v1/contracts", body if minutes is None else body | {"included_minutes": minutes})


def renewed(
    number: str, by: str, starts: Literal["today", "at_end"], *, take_over: bool = False
) -> Step:
    return Step(
        f"/v1/contracts/{number}/renewal",
        {"starts": starts, "number": by, "take_over_overrun": take_over},
    )


def cancelled(number: str, on: Day, reason: str) -> Step:
    return Step(f"/v1/contracts/{number}/cancellation", {"cancelled_on": on, "reason": reason})


def tickets(number: str, quantity: int, bought: Day) -> Step:
    return Step(
        "/v1/ticket-packs",
        {
            "customer_id": Known("customer"),
            "number": number,
            "quantity": quantity,
            "purchased_on": bought,
        },
    )


def taken_out(number: str, quantity: int, on: Day, reason: str) -> Step:
    """Takes unused tickets out of a pack (R45)."""
    return Step(
        f"/v1/ticket-packs/{number}/cancellation",
        {"quantity": quantity, "cancelled_on": on, "reason": reason},
    )


def case(subject: str, description: str, **more: str) -> Step:
    """Opens a case; the steps after it belong to this one until the next. `more`: its channel,
    category, serial_number, pay_with and so on."""
    body = {
        "customer_id": Known("customer"),
        "requester": Known("requester"),
        "subject": subject,
        "description": description,
    }
    return Step("/v1/cases", body | more, keeps="case")


def assigned(technician: str, **more: str) -> Step:
    """To a technician, who may set the priority at once."""
    return Step("/v1/cases/{case}", {"technician": technician} | more, method="PATCH")


def taken_up() -> Step:
    return Step("/v1/cases/{case}/transition", {"to": "in_progress"})


def waiting() -> Step:
    return Step("/v1/cases/{case}/transition", {"to": "waiting_for_customer"})


def comment(text: str, *, internal: bool = False) -> Step:
    return Step("/v1/cases/{case}/comments", {"body": text, "internal": internal})


def worked(technician: str, minutes: int, note: str) -> Step:
    """Recorded as worked now: an earlier instant might lie before the case's opening day."""
    return Step(
        "/v1/cases/{case}/time-entries",
        {"technician": technician, "minutes": minutes, "note": note},
        keeps="entry",
    )


def not_worked(reason: str) -> Step:
    """Reverses the last time entry."""
    return Step("/v1/cases/{case}/time-entries/{entry}/reversal", {"reason": reason})


def found_a_bug() -> Step:
    return Step("/v1/cases/{case}", {"category": "bug"}, method="PATCH")


def closed(resolution: str) -> Step:
    return Step("/v1/cases/{case}/closure", {"resolution": resolution})


def reopened(reason: str) -> Step:
    return Step("/v1/cases/{case}/reopening", {"reason": reason})


def case_cancelled(reason: str) -> Step:
    return Step("/v1/cases/{case}/cancellation", {"reason": reason})
