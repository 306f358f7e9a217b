"""The customers of the demo's history: what they bought, and how often they ask.

Firms, codes and serial numbers are made up. They are other customers than the examples, whose
balances the history must not change.
"""

from typing import Literal, NamedTuple

from app.demo.days import Day, ago
from app.demo.steps import Customer


class Purchase(NamedTuple):
    on: Day
    kind: Literal["editor", "runtime", "contract", "renewal", "tickets"]
    number: str
    amount: int | None = None
    """The minutes of a contract, the quantity of a pack."""
    of: str = ""
    """The contract that a renewal follows at its end."""


class Firm(NamedTuple):
    customer: Customer
    purchases: tuple[Purchase, ...]
    cases_a_year: int
    stays: Literal["open", "waiting"] | None
    """Where a case of some days ago still is; None: every case has ended."""

    @property
    def serial_number(self) -> str:
        """That of its Editor."""
        return next(one.number for one in self.purchases if one.kind == "editor")


def _firm(
    code: str,
    name: str,
    country: str,
    language: Literal["it", "en", "de"],
    shows: str,
    cases_a_year: int,
    *purchases: Purchase,
    stays: Literal["open", "waiting"] | None = None,
) -> Firm:
    return Firm(Customer(code, name, country, language, shows), purchases, cases_a_year, stays)


FIRMS = (
    _firm(
        "C-0041",
        "Linea Modello Bottiglie S.p.A.",
        "IT",
        "it",
        "DEV+SA: thirteen months of cases, and a contract that was renewed",
        24,
        Purchase(ago(months=25), "editor", "ED-0041"),
        Purchase(ago(months=5), "runtime", "RT-0041"),
        Purchase(ago(months=13), "contract", "SA-0041-1"),
        Purchase(ago(months=1, days=9), "renewal", "SA-0041-2", of="SA-0041-1"),
    ),
    _firm(
        "C-0042",
        "Prova Imballaggi S.r.l.",
        "IT",
        "it",
        "NO_DEV+TCK: thirteen months of cases paid by tickets",
        14,
        Purchase(ago(months=20), "editor", "ED-0042"),
        Purchase(ago(months=13), "tickets", "TP-0042-1", 6),
        Purchase(ago(months=8), "tickets", "TP-0042-2", 5),
        Purchase(ago(months=2), "tickets", "TP-0042-3", 8),
        stays="open",
    ),
    _firm(
        "C-0043",
        "Esempio Trattamento Acque S.r.l.",
        "IT",
        "it",
        "DEV+SA: free hours first, a contract when they were spent",
        20,
        Purchase(ago(months=11), "editor", "ED-0043"),
        Purchase(ago(months=6), "contract", "SA-0043"),
    ),
    _firm(
        "C-0044",
        "Campione Ceramiche S.r.l.",
        "IT",
        "it",
        "NO_DEV: a contract that ended twenty days ago, and cases refused since",
        18,
        Purchase(ago(months=26), "editor", "ED-0044"),
        Purchase(ago(months=12, days=20), "contract", "SA-0044"),
    ),
    _firm(
        "C-0045",
        "Muster Getränke AG",
        "DE",
        "de",
        "SA: thirteen months of cases, and a contract that was renewed",
        22,
        Purchase(ago(months=30), "editor", "ED-0045"),
        Purchase(ago(months=13), "contract", "SA-0045-1"),
        Purchase(ago(months=1, days=4), "renewal", "SA-0045-2", of="SA-0045-1"),
    ),
    _firm(
        "C-0046",
        "Beispiel Kläranlagen GmbH",
        "DE",
        "de",
        "DEV+TCK: free hours for the mails, tickets for the calls",
        12,
        Purchase(ago(months=10), "editor", "ED-0046"),
        Purchase(ago(months=9), "tickets", "TP-0046-1", 4),
        Purchase(ago(months=3), "tickets", "TP-0046-2", 6),
        stays="waiting",
    ),
    _firm(
        "C-0047",
        "Probe Stahlbau GmbH",
        "AT",
        "de",
        "SA: a contract of eight months with minutes of its own",
        20,
        Purchase(ago(months=18), "editor", "ED-0047"),
        Purchase(ago(months=8), "contract", "SA-0047", 900),
    ),
    _firm(
        "C-0048",
        "Specimen Foods Ltd",
        "GB",
        "en",
        "SA: a contract with minutes of its own, and many calls",
        30,
        Purchase(ago(months=20), "editor", "ED-0048"),
        Purchase(ago(months=9), "contract", "SA-0048", 3000),
    ),
)
