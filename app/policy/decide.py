"""The decision: every service of the matrix with its grants, reasons and what would unlock it."""

from datetime import date, timedelta
from typing import NamedTuple

from app.policy.civil import add_months
from app.policy.document import COLUMNS, Cell, Column, PaidBy, Policies, Policy, ServiceRow
from app.policy.facts import (
    Contract,
    Facts,
    Grant,
    Pack,
    Reason,
    ServiceAnswer,
    ServiceYear,
    Step,
)
from app.policy.standing import Standing, counting, stand
from app.policy.years import anchors, period, periods, year_from, year_of

_DAY = timedelta(days=1)


class Answer(NamedTuple):
    """What a customer may use on a civil date, and why.

    Equal answers mean that nothing has changed for the customer from one date to another (R13).
    """

    policy: str
    columns: tuple[Column, ...]
    services: tuple[ServiceAnswer, ...]
    service_year: ServiceYear | None
    contracts: tuple[Contract, ...]
    suspended: bool
    """The contracts above wait for an Editor (R4)."""
    packs: tuple[tuple[Pack, int], ...]
    """Each with the tickets available on the date."""


class Decision(NamedTuple):
    on: date
    answer: Answer
    standing: Standing
    valid_until: date | None
    """The next day on which the answer differs if nobody does anything (R13)."""


def decide(policies: Policies, facts: Facts, on: date) -> Decision:
    """What a customer with these facts may use on a date, and until when that holds.

    `on` is a civil date of the vendor's time zone, `facts` are those of the instant in question
    (R13).
    """
    standing = stand(policies, facts, on)
    answer = _answer(policies, facts, standing)
    ends = _ends(standing)
    for day in changing_days(policies, facts, on):
        if day in ends:
            return Decision(on, answer, standing, day)
        later = stand(policies, facts, day)
        # If the standings differ, so do the answers. They are compared first because the rest costs
        # more.
        if (
            later.columns != standing.columns
            or later.service_year != standing.service_year
            or later.contracts != standing.contracts
            or later.packs != standing.packs
            or _differs(policies, facts, later, answer)
        ):
            return Decision(on, answer, standing, day)
    return Decision(on, answer, standing, None)


def _ends(standing: Standing) -> list[date]:
    """Days on which something that the answer shows has ended, whatever else happens by then."""
    ends = [contract.closes_on for contract in standing.contracts]
    # A held ticket counts after its end (R5), and a lengthened one ends later (R19).
    ends += [one.expires_on for one in standing.packs if not (one.held or one.lengthened)]
    if standing.service_year is not None:
        ends.append(standing.service_year.ends_on)
    return ends


def _differs(policies: Policies, facts: Facts, later: Standing, answer: Answer) -> bool:
    """Whether a later answer differs from one with the same columns, year, contracts and packs."""
    if (
        later.policy.id != answer.policy
        or _suspended(later) != answer.suspended
        or _available(later) != answer.packs
    ):
        return True
    # As much is left, so the same services are granted. The others may be denied for other reasons.
    reasons = _Reasons(policies, facts, later)
    for row, service in zip(later.policy.services, answer.services, strict=True):
        if not service.granted_by and reasons.denial(row) != (service.reasons, service.unlocked_by):
            return True
    return False


def answer_on(policies: Policies, facts: Facts, on: date) -> Answer:
    """The answer of a date, without searching until when it holds."""
    return _answer(policies, facts, stand(policies, facts, on))


def service_valid_until(
    policies: Policies, facts: Facts, decision: Decision, service: ServiceAnswer
) -> date | None:
    """The next day on which the answer for one service differs (R13)."""
    for day in changing_days(policies, facts, decision.on):
        if service not in answer_on(policies, facts, day).services:
            return day
    return None


def changing_days(policies: Policies, facts: Facts, after: date) -> list[date]:
    """Every later day on which time alone might change an answer, in order (R13)."""
    days = [*policies.starts]
    lapses = date.min
    anchoring: set[date] = set()
    for licence in facts.licences:
        if licence.withdrawn_on is not None:
            if licence.withdrawn_on <= after:
                continue
            days.append(licence.withdrawn_on)
        if licence.held_from is not None:
            days.append(licence.held_from)
            for held in licence.earlier:
                days += held
        for bought in counting(policies, licence):
            ends_on = add_months(bought, policies.in_force(bought).development.months)
            days += (bought, ends_on)
            if ends_on > lapses:
                lapses = ends_on
        anchoring.update(anchors(policies, licence))
    # An anniversary renews the hours while DEV stands (R14). Later ones change no answer: a year
    # that sleeps is shown by its recorded use alone, whose days follow.
    for anchor in anchoring if lapses > after else ():
        for starts_on, ends_on in periods(policies, anchor, after, lapses):
            days += (starts_on, ends_on)
    for starts_on, year in facts.service_years.items():
        # On the first day of a service year another Editor does not renew the hours; from the
        # second day on it does, so `unlocked_by` may change (R12, R14).
        days += (starts_on, starts_on + _DAY, year.ends_on)
        # A year is shown with the end that the purchase which anchors it now gives it.
        for anchor in anchoring:
            if anchor <= starts_on:
                first, ends_on = period(policies, anchor, starts_on)
                if first == starts_on:
                    days.append(ends_on)
    for contract in facts.contracts:
        days += (contract.starts_on, contract.closes_on)
    for pack in facts.packs:
        days += (pack.purchased_on, pack.expires_on)
        for ticket in pack.lengthened:
            days.append(ticket.expires_on)
        for cancelled_on, _ in pack.cancelled_later:
            days.append(cancelled_on)
    return sorted({day for day in days if day > after})


def _answer(policies: Policies, facts: Facts, standing: Standing) -> Answer:
    policy, columns, left = standing.policy, standing.columns, standing.left
    reasons: _Reasons | None = None
    services: list[ServiceAnswer] = []
    # One loop, written out: this runs for every answer.
    for row, known, cells in policy.derived.get(columns) or _granting(policy, columns):
        if known is None:
            # R9: allowed when a column grants it and, where something pays, something is left.
            grants = [
                Grant(column, pays, left[pays]) if pays else _UNCOUNTED[column]
                for column, needs, pays in cells
                if needs is None or left[needs] > 0
            ]
            if grants:
                known = ServiceAnswer(row.id, tuple(grants), (), ())
            else:
                if reasons is None:
                    reasons = _Reasons(policies, facts, standing)
                known = ServiceAnswer(row.id, (), *reasons.denial(row))
        services.append(known)
    return Answer(
        policy.id,
        columns,
        tuple(services),
        standing.service_year,
        standing.contracts,
        _suspended(standing),
        _available(standing),
    )


def _suspended(standing: Standing) -> bool:
    return bool(standing.contracts) and not standing.holds_editor


def _available(standing: Standing) -> tuple[tuple[Pack, int], ...]:
    return tuple([(pack, pack.available(standing.on)) for pack in standing.packs])


class _Granting(NamedTuple):
    """What grants a service to customers who stand in certain columns."""

    row: ServiceRow
    answer: ServiceAnswer | None
    """The same for all of them, if nothing has to be left and nothing pays."""
    cells: tuple[tuple[Column, PaidBy | None, PaidBy | None], ...]
    """Each column that grants it, what it needs something left of, and what pays."""


def _granting(policy: Policy, columns: tuple[Column, ...]) -> tuple[_Granting, ...]:
    """For each service, in the order of the matrix."""
    found = []
    for row in policy.services:
        cells = tuple((one, *row.grants[one]) for one in columns if one in row.grants)
        answer = None
        if cells and all(needs is None for _, needs, _ in cells):
            uncounted = tuple(_UNCOUNTED[column] for column, _, _ in cells)
            answer = ServiceAnswer(row.id, uncounted, (), ())
        found.append(_Granting(row, answer, cells))
    policy.derived[columns] = granting = tuple(found)
    return granting


_UNCOUNTED = {column: Grant(column, None, None) for column in COLUMNS}
_NOT_IN_MATRIX = {column: Reason(column, "not_in_matrix") for column in COLUMNS}


def narrowed(
    policies: Policies, facts: Facts, standing: Standing, row: ServiceRow, paid_by: PaidBy
) -> ServiceAnswer:
    """Why one kind of allowance does not pay for a service: that column's reason and steps."""
    column = _COLUMN_OF[paid_by]
    cells = {c: cell if c == column else _GRANTS_NOTHING for c, cell in row.by_column.items()}
    reasons = _Reasons(policies, facts, standing)
    found = tuple(reason for reason in reasons.of(cells) if reason.column == column)
    return ServiceAnswer(
        row.id,
        (),
        found or (_NOT_IN_MATRIX[column],),
        reasons.unlocked_by(cells),
    )


_COLUMN_OF: dict[PaidBy, Column] = {"free_hours": "DEV", "contract": "SA", "ticket": "TCK"}
_GRANTS_NOTHING = Cell(granted=False, provenance="inferred")


class _Reasons:
    """Why columns do not grant, and which single step would (R12). Computes each at most once."""

    def __init__(self, policies: Policies, facts: Facts, standing: Standing) -> None:
        self._policies = policies
        self._facts = facts
        self._standing = standing
        self._known: dict[Column, Reason] = {}
        self._denials: dict[object, tuple[tuple[Reason, ...], tuple[Step, ...]]] = {}
        self._left_if_bought: dict[bool, int] = {}

    def denial(self, row: ServiceRow) -> tuple[tuple[Reason, ...], tuple[Step, ...]]:
        """Why a service is denied, and what would change that."""
        denial = self._denials.get(row.likeness)
        if denial is None:
            cells = row.by_column
            denial = self._denials[row.likeness] = (self.of(cells), self.unlocked_by(cells))
        return denial

    def of(self, cells: dict[Column, Cell]) -> tuple[Reason, ...]:
        standing = self._standing
        found = [self._reason(column) for column in COLUMNS[1:] if cells[column].granted]
        found += [
            _NOT_IN_MATRIX[column] for column in standing.columns if not cells[column].granted
        ]
        return tuple(found)

    def _reason(self, column: Column) -> Reason:
        reason = self._known.get(column)
        if reason is None:
            match column:
                case "DEV":
                    reason = self._development()
                case "SA":
                    reason = self._contract()
                case _:
                    reason = self._ticket()
            self._known[column] = reason
        return reason

    def _development(self) -> Reason:
        standing = self._standing
        if not standing.holds_editor:
            return Reason("DEV", "no_editor_licence")
        if "DEV" not in standing.columns:
            return Reason(
                "DEV",
                "last_purchase_lapsed",
                {
                    "last_purchase_on": standing.last_purchase,
                    "lapsed_on": standing.development_ends,
                },
            )
        year = standing.service_year
        if year is None:
            return self._no_free_hours()
        return Reason("DEV", "hours_exhausted", _hours((year,)))

    def _no_free_hours(self) -> Reason:
        """DEV stands by another purchase, but every Editor held was got by a transfer (R14)."""
        on = self._standing.on
        held = (one for one in self._facts.licences if one.kind == "editor" and one.held(on))
        latest = max(held, key=lambda one: (one.held_from or date.min, one.id))
        facts = {"purchased_on": latest.purchased_on, "transferred_on": latest.held_from}
        return Reason("DEV", "no_free_hours", facts)

    def _contract(self) -> Reason:
        standing = self._standing
        if not standing.contracts:
            on = standing.on
            ended = [c.closes_on for c in self._facts.contracts if c.starts_on < c.closes_on <= on]
            coming = [c.starts_on for c in self._facts.contracts if c.closes_on > c.starts_on > on]
            facts: dict[str, date] = {}
            if ended:
                facts["last_ended_on"] = max(ended)
            if coming:
                facts["next_starts_on"] = min(coming)
            return Reason("SA", "no_contract_in_force", facts)
        if not standing.holds_editor:
            contract = standing.contracts[0]
            return Reason(
                "SA",
                "contract_suspended",
                {"number": contract.number, "ends_on": contract.closes_on},
            )
        return Reason("SA", "hours_exhausted", _hours(standing.contracts))

    def _ticket(self) -> Reason:
        on = self._standing.on
        every = self._facts.packs_by(on)
        packs = [pack for pack in every if pack.purchased_on <= on and not pack.is_void]
        held = sum(pack.held for pack in packs)
        consumed = sum(pack.consumed for pack in packs)
        if held:
            return Reason("TCK", "tickets_all_in_use", {"held": held, "consumed": consumed})
        if not packs:
            return Reason("TCK", "no_tickets")
        # The latest pack says why; packs of one day are taken together.
        bought_on = max(pack.purchased_on for pack in packs)
        latest = [pack for pack in packs if pack.purchased_on == bought_on]
        expired = sum(pack.expired(on) for pack in latest)
        if expired:
            ended_on = max(pack.ends_on for pack in latest if pack.unused)
            return Reason("TCK", "tickets_expired", {"expired_on": ended_on, "expired": expired})
        return Reason("TCK", "tickets_consumed", {"consumed": consumed})

    def unlocked_by(self, cells: dict[Column, Cell]) -> tuple[Step, ...]:
        """Single steps, each enough by itself (R12), for a service that is denied."""
        standing = self._standing
        dev, contract = cells["DEV"], cells["SA"]
        steps: list[Step] = []
        if not standing.holds_editor:
            revived = sum(c.remaining_minutes for c in standing.contracts)
            if (dev.granted and (not dev.needs or self._left_after(editor=True))) or (
                contract.granted and standing.contracts and (not contract.needs or revived)
            ):
                steps.append("buy_editor_licence")
        else:
            if dev.granted:
                if not dev.needs or self._left_after(editor=False):
                    steps.append("buy_any_licence")
                elif self._left_after(editor=True):
                    steps.append("buy_editor_licence")
            if contract.granted:
                # R24: neither a renewed nor a cancelled contract can be renewed (again).
                renewable = any(
                    not c.renewed and c.cancelled_on is None for c in standing.contracts
                )
                steps.append("renew_contract" if renewable else "sign_contract")
        if cells["TCK"].granted:
            steps.append("buy_tickets")
        return tuple(steps)

    def _left_after(self, *, editor: bool) -> int:
        """Free minutes that a new case would find if a licence were bought today (R12, R14).

        An Editor starts a service year today. If one starts today anyway, its minutes may be used
        already. Any other licence lets the running year, which sleeps, pay again; where the policy
        says that any purchase starts a year (`anchored_by_any`), it does what an Editor does.
        """
        left = self._left_if_bought.get(editor)
        if left is None:
            standing = self._standing
            if editor or standing.policy.anchored_by_any:
                left = year_from(self._policies, self._facts, standing.on).remaining_minutes
            elif standing.anchor is None:
                left = 0
            else:
                year = year_of(self._policies, self._facts, standing.anchor, standing.on)
                left = year.remaining_minutes
            self._left_if_bought[editor] = left
        return left


def _hours(allowances: tuple[Contract | ServiceYear, ...]) -> dict[str, int]:
    return {
        "granted_minutes": sum(a.granted_minutes for a in allowances),
        "used_minutes": sum(a.used_minutes for a in allowances),
        "overrun_minutes": sum(a.overrun_minutes for a in allowances),
    }


def continuing(policy: Policy, facts: Facts) -> dict[str, list[str]]:
    """Open cases by the service on which they go on being served (R11).

    A case is served on every channel that its own allowance covers, and on its own channel if
    nothing pays for it (R23, R29).
    """
    found: dict[str, list[str]] = {}
    for case in facts.open_cases:
        kind = case.paid_by
        channels = {case.channel} if kind == "none" else policy.covers[kind] | {case.channel}
        for channel in channels:
            found.setdefault(policy.service_of_channel[channel].id, []).append(case.number)
    return found
