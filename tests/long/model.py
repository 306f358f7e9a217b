"""One customer's support as a clerk with a notebook would keep it (R1-R7, R14-R30).

Written from the clauses alone and sharing nothing with the service, to be compared with it step
by step. It keeps what stands, not what happened: a charge taken back is struck out.
"""

from collections.abc import Iterable
from datetime import date, datetime

from tests.long.records import (
    OPEN,
    Case,
    Entry,
    Hours,
    Licence,
    Line,
    Pack,
    Payer,
    Refused,
    Ticket,
    a_year_after,
)

COVERED = {"free_hours": {"email"}, "contract": {"email", "phone", "remote"}}


class Customer:
    def __init__(self) -> None:
        self.licences: list[Licence] = []
        self.years: list[Hours] = []
        self.contracts: list[Hours] = []
        self.packs: list[Pack] = []
        self.cases: list[Case] = []
        self.lines: list[Line] = []

    # --- where the customer stands ----------------------------------------------------------

    def editor(self, on: date) -> bool:
        return any(lic.kind == "editor" and lic.held(on) for lic in self.licences)

    def last_purchase(self, on: date) -> date | None:
        bought = [
            day
            for lic in self.licences
            if lic.held(on)
            for day in (lic.bought, *lic.paid_upgrades)
            if day <= on
        ]
        return max(bought, default=None)

    def development(self, on: date) -> bool:
        last = self.last_purchase(on)
        return self.editor(on) and last is not None and on < a_year_after(last)

    def year(self, on: date) -> Hours | None:
        """The service year that stands, written down when first used."""
        last = self.last_purchase(on)
        if last is None or not self.development(on):
            return None
        for year in self.years:
            if year.starts == last:
                return year
        self.years.append(Hours("free_hours", last, a_year_after(last), 300))
        return self.years[-1]

    def in_force(self, on: date) -> list[Hours]:
        """Contracts, with or without an Editor, in the order in which they pay."""
        found = [c for c in self.contracts if c.starts <= on < c.closes]
        return sorted(found, key=lambda c: (c.closes, c.starts, c.id))

    def available(self, pack: Pack, on: date) -> bool:
        return pack.bought <= on < pack.expires and len(pack.used) < pack.quantity

    def holds(self, pack: Pack) -> bool:
        return any(case.state in OPEN for case in pack.used.values())

    def columns(self, on: date) -> list[str]:
        found = ["DEV"] if self.development(on) else []
        if self.editor(on) and self.in_force(on):
            found.append("SA")
        found = found or ["NO_DEV"]
        if any(self.available(p, on) or self.holds(p) for p in self.packs):
            found.append("TCK")
        return found

    # --- the notebook -----------------------------------------------------------------------

    def used(self, hours: Hours) -> int:
        return sum(x.minutes for x in self.lines if x.payer is hours and not x.overrun)

    def overrun(self, hours: Hours) -> int:
        return sum(x.minutes for x in self.lines if x.payer is hours and x.overrun)

    def left(self, hours: Hours) -> int:
        return hours.granted - self.used(hours)

    def pays_on(self, hours: Hours, day: date) -> bool:
        if not hours.starts <= day < hours.closes:
            return False
        if hours.kind == "contract":
            return True
        last = self.last_purchase(day)
        return last is None or last <= hours.starts

    def choose(self, channel: str, on: date, wanted: str = "auto") -> Payer:
        """What pays for a new case (R18)."""
        year = self.year(on)
        hours = [year] if year and channel == "email" else []
        if self.editor(on):
            hours += self.in_force(on)
        for each in hours:
            if self.left(each) > 0 and wanted in ("auto", each.kind):
                return each
        if wanted in ("auto", "ticket"):
            for pack in sorted(self.packs, key=lambda p: (p.expires, p.bought, p.id)):
                if self.available(pack, on):
                    return Ticket(pack, min({*range(1, pack.quantity + 1)} - {*pack.used}))
        return None

    def charge(self, entry: Entry) -> None:
        """R16, R20, R21: own allowance, then other hours of that day, then overrun."""
        case, day, minutes = entry.case, entry.worked_on, entry.minutes
        payer = case.payer
        if isinstance(payer, Ticket) or case.category == "bug":
            return
        if isinstance(payer, Hours):
            year = self.year(day)
            others = [year] if year else []
            others += self.in_force(day) if self.editor(day) else []
            order = [payer] if self.pays_on(payer, day) else []
            order += [h for h in others if h is not payer and case.channel in COVERED[h.kind]]
            for hours in order:
                part = min(minutes, self.left(hours))
                if part:
                    self.lines.append(Line(entry, hours, part, False, day))
                    minutes -= part
        if minutes:
            self.lines.append(Line(entry, payer, minutes, True, day))

    def strike(self, entries: Iterable[Entry]) -> None:
        """R22, R30: taken back wherever it went; hours given back cover overrun first."""
        mine = set(entries)
        struck = [x for x in self.lines if x.entry in mine]
        self.lines = [x for x in self.lines if x.entry not in mine]
        for hours in {x.payer for x in struck if not x.overrun}:
            assert isinstance(hours, Hours)
            self._cover(hours, [x for x in self._overruns(hours) if self._inside(x, hours)])

    def _inside(self, line: Line, hours: Hours) -> bool:
        return self.pays_on(hours, line.entry.worked_on)

    def _overruns(self, hours: Hours) -> list[Line]:
        found = [x for x in self.lines if x.payer is hours and x.overrun]
        return sorted(found, key=lambda x: x.entry.worked_at)

    def _cover(self, by: Hours, overruns: list[Line], dated: date | None = None) -> None:
        for line in overruns:
            part = min(line.minutes, self.left(by))
            line.minutes -= part
            if part:
                day = dated or line.entry.worked_on
                taken_over = line.payer is not by
                self.lines.append(Line(line.entry, by, part, False, day, taken_over))
        self.lines = [x for x in self.lines if x.minutes]

    # --- steps ------------------------------------------------------------------------------

    def withdraw(self, lic: Licence, on: date) -> None:
        if lic.withdrawn:
            raise Refused(409, "wrong_state")
        if on < lic.bought:
            raise Refused(422, "invalid_input")
        lic.withdrawn = on

    def upgrade(self, lic: Licence, on: date, today: date, paid_by: str) -> None:
        if on > today or on < lic.bought:
            raise Refused(422, "invalid_input")
        if not lic.held(today):
            raise Refused(409, "wrong_state")
        if paid_by == "purchase":
            lic.paid_upgrades.append(on)
        elif lic.kind != "editor" or "SA" not in self.columns(on):
            raise Refused(409, "not_entitled")

    def sign(self, starts: date, minutes: int) -> Hours:
        if not self.editor(starts):
            raise Refused(409, "editor_licence_required")
        self.contracts.append(Hours("contract", starts, a_year_after(starts), minutes))
        return self.contracts[-1]

    def renew(self, old: Hours, today: date, starts: str, take_over: bool) -> Hours:
        if old.cancelled or today < old.starts:
            raise Refused(409, "wrong_state")
        if any(c.renews is old and not c.cancelled for c in self.contracts):
            raise Refused(409, "already_renewed")
        if not self.editor(today):
            raise Refused(409, "editor_licence_required")
        new = self.sign(today if starts == "today" else old.ends, 1200)
        new.renews = old
        if take_over:
            self._cover(new, self._overruns(old), dated=new.starts)
        return new

    def cancel_contract(self, contract: Hours, on: date) -> None:
        if contract.cancelled:
            raise Refused(409, "wrong_state")
        if not contract.starts <= on <= contract.ends:
            raise Refused(422, "invalid_input")
        for x in self.lines:
            if x.payer is contract and not x.overrun and not x.taken_over and x.counts_on >= on:
                raise Refused(409, "contract_has_later_charges")
        contract.cancelled = on
        for x in self.lines:
            if x.payer is contract and x.taken_over:
                x.payer, x.overrun, x.taken_over = contract.renews, True, False
                x.counts_on = x.entry.worked_on

    def open(
        self, today: date, channel: str, wanted: str, serial: str | None, bug: bool
    ) -> tuple[Payer, bool]:
        """What pays, and whether there is priority support. Raises Refused."""
        if serial is not None:
            if not any(lic.serial == serial and lic.held(today) for lic in self.licences):
                raise Refused(422, "serial_number_not_of_customer")
        elif self.editor(today):
            raise Refused(422, "serial_number_required")
        granting = {"email": {"DEV", "SA", "TCK"}}.get(channel, {"SA", "TCK"})
        payer = None if bug else self.choose(channel, today, wanted)
        if payer is None and not (bug and granting & set(self.columns(today))):
            raise Refused(409, "not_entitled")
        spare = sum(self.left(c) for c in self.in_force(today)) if self.editor(today) else 0
        return payer, spare > 0

    def add(self, case: Case) -> None:
        self.cases.append(case)
        self._hold(case)

    def _hold(self, case: Case) -> None:
        if isinstance(case.payer, Ticket):
            case.payer.pack.used[case.payer.position] = case

    def _release(self, case: Case) -> None:
        if isinstance(case.payer, Ticket):
            del case.payer.pack.used[case.payer.position]

    def work(self, entry: Entry, now: datetime) -> None:
        if entry.case.state not in OPEN:
            raise Refused(409, "wrong_state")
        if entry.worked_at > now:
            raise Refused(422, "invalid_input")
        if entry.worked_on < entry.case.opened_on:
            raise Refused(422, "worked_before_opening")
        entry.case.entries.append(entry)
        self.charge(entry)

    def reverse(self, entry: Entry) -> None:
        if entry.case.state == "cancelled":
            raise Refused(409, "wrong_state")
        if entry.reversed:
            raise Refused(409, "already_reversed")
        entry.reversed = True
        self.strike([entry])

    def classify(self, case: Case, category: str, today: date) -> None:
        if case.state == "cancelled":
            raise Refused(409, "wrong_state")
        was, case.category = case.category, category
        if category == "bug" != was:
            self.strike(case.entries)
            self._release(case)
            case.payer = None
        elif was == "bug" != category:
            payer = case.first
            if payer is None or (isinstance(payer, Ticket) and payer.position in payer.pack.used):
                payer = case.first = self.choose(case.channel, today)
            case.payer = payer
            self._hold(case)
            for entry in self.standing(case):
                self.charge(entry)

    def standing(self, case: Case) -> list[Entry]:
        found = [entry for entry in case.entries if not entry.reversed]
        return sorted(found, key=lambda entry: entry.worked_at)

    def move(self, case: Case, step: str) -> None:
        allowed, becomes = {
            "take": ({"open", "waiting_for_customer"}, "in_progress"),
            "wait": ({"in_progress"}, "waiting_for_customer"),
            "close": (OPEN, "closed"),
            "reopen": ({"closed"}, "in_progress"),
            "cancel": (OPEN, "cancelled"),
        }[step]
        if case.state not in allowed:
            raise Refused(409, "wrong_state")
        if step == "cancel":
            if self.standing(case):
                raise Refused(409, "case_has_work")
            self._release(case)
        case.state = becomes
