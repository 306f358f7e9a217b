"""R9-R12: what is granted, why something is denied, and what would change it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from .charging import kind_of
from .columns import last_purchase
from .facts import Case, CaseMoment, Year, granted
from .policy import COLUMNS, MATRIX, SERVICE_OF_CHANNEL, Column, term_end
from .purchases import is_renewed
from .situation import Situation

Fact = int | str | date | None


@dataclass(frozen=True)
class Grant:
    """What a column grants, by what it is paid, and what is left: minutes, or tickets."""

    column: Column
    paid_by: str
    left: int | None


@dataclass(frozen=True)
class Reason:
    column: Column
    code: str
    facts: tuple[tuple[str, Fact], ...] = ()


@dataclass(frozen=True)
class ServiceAnswer:
    service: str
    granted_by: tuple[Grant, ...]
    reasons: tuple[Reason, ...]
    unlocked_by: tuple[str, ...]  # in alphabetical order, as are those that follow
    continues: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        return bool(self.granted_by)


def answer(s: Situation, service: str) -> ServiceAnswer:
    """One service; a denial has all its reasons and all single steps that would change it (R12)."""
    verdicts = [_verdict(s, service, column) for column in COLUMNS]
    grants = tuple(each for each in verdicts if isinstance(each, Grant))
    reasons = tuple(each for each in verdicts if isinstance(each, Reason))
    return ServiceAnswer(
        service,
        grants,
        () if grants else reasons,
        () if grants else tuple(sorted(_unlocked_by(s, service))),
        _continues(s.snapshot.cases, service),
    )


def _needs_contract_minutes(service: str) -> bool:
    """R9, R10: paid by hours, or following from being able to open a case that a contract pays."""
    return MATRIX[service].get("SA") == "hours" or service == "priority_support"


def _verdict(s: Situation, service: str, column: Column) -> Grant | Reason | None:
    """What a column says about a service; None if it has nothing to say."""
    pay = MATRIX[service].get(column)
    if pay is None:
        return Reason(column, "not_in_matrix") if column in s.columns else None
    match column:
        case "DEV":
            return _dev(s, service)
        case "SA":
            return _sa(s, service)
        case "TCK":
            return _tickets(s, service)
        case _:
            return Grant(column, "nothing", None) if column in s.columns else None


def _dev(s: Situation, service: str) -> Grant | Reason:
    if not s.editor:
        return Reason("DEV", "no_editor_licence")
    if not s.dev:
        last = last_purchase(s.customer, s.on)
        lapsed = None if last is None else term_end(last)  # R14: nothing was ever bought
        facts = (("purchased_on", last), ("lapsed_on", lapsed))
        return Reason("DEV", "last_purchase_lapsed", facts)
    if MATRIX[service]["DEV"] == "nothing":
        return Grant("DEV", "nothing", None)
    if s.year is None:  # R14: no Editor that is held was bought
        return Reason("DEV", "no_free_hours")
    left = s.snapshot.left(s.year)
    if left > 0:
        return Grant("DEV", "free_hours", left)
    used = s.snapshot.balance(s.year).used
    return Reason("DEV", "hours_exhausted", (("granted", granted(s.year)), ("used", used)))


def _sa(s: Situation, service: str) -> Grant | Reason:
    if not s.contracts:
        ended = [each.end for each in s.customer.contracts if not each.never_in_force]
        last = max((day for day in ended if day <= s.on), default=None)
        return Reason("SA", "no_contract_in_force", (("last_ended_on", last),))
    if not s.editor:
        return Reason("SA", "contract_suspended")
    if _needs_contract_minutes(service) and s.contract_minutes <= 0:
        totals = (
            ("granted", sum(each.included for each in s.contracts)),
            ("used", sum(s.snapshot.balance(each).used for each in s.contracts)),
        )
        return Reason("SA", "hours_exhausted", totals)
    if MATRIX[service]["SA"] == "hours":
        return Grant("SA", "contract", s.contract_minutes)
    return Grant("SA", "nothing", None)


def _tickets(s: Situation, service: str) -> Grant | Reason:
    """Exactly one code: any held; else by the latest packs, those of one day together."""
    by_ticket = MATRIX[service]["TCK"] == "ticket"
    if by_ticket and s.available:
        return Grant("TCK", "ticket", s.available)
    if not by_ticket and "TCK" in s.columns:
        return Grant("TCK", "nothing", None)
    consumed = sum(counts.consumed for _, counts in s.packs)
    if s.held:
        return Reason("TCK", "tickets_all_in_use", (("held", s.held), ("consumed", consumed)))
    if not s.packs:
        return Reason("TCK", "no_tickets")
    latest = max(pack.purchased for pack, _ in s.packs)
    last = [counts for pack, counts in s.packs if pack.purchased == latest]
    expired = sum(counts.expired for counts in last)
    if expired:
        ends = max(counts.ends for counts in last if counts.expired)
        return Reason("TCK", "tickets_expired", (("expired_on", ends), ("expired", expired)))
    return Reason("TCK", "tickets_consumed", (("consumed", consumed),))


def _unlocked_by(s: Situation, service: str) -> set[str]:
    """R12: the single steps that would allow a denied service if taken on the day."""
    cells = MATRIX[service]
    steps: set[str] = set()
    if "DEV" in cells:
        by_hours = cells["DEV"] == "hours"
        if _new_editor_helps(s, by_hours=by_hours):
            steps.add("buy_editor_licence")
        asleep = s.year_asleep
        something_left = asleep is not None and s.snapshot.left(asleep) > 0
        if s.editor and not s.dev and (something_left or not by_hours):
            steps.add("buy_any_licence")
    if "SA" in cells:
        minutes = s.contract_minutes > 0 or not _needs_contract_minutes(service)
        if s.contracts and not s.editor and minutes:
            steps.add("buy_editor_licence")
        renewable = any(
            each.cancelled is None and not is_renewed(s.customer, each) for each in s.contracts
        )
        if s.editor and not renewable:
            steps.add("sign_contract")
        if s.editor and renewable:
            steps.add("renew_contract")
    if "TCK" in cells:
        steps.add("buy_tickets")
    return steps


def _new_editor_helps(s: Situation, *, by_hours: bool) -> bool:
    """R12: an Editor bought on the day brings DEV, and its year (R14) has something left."""
    if not by_hours:
        return not s.editor
    if s.snapshot.left(Year(s.on)) <= 0:  # the year that would begin has begun already
        return False
    return not s.editor or s.year_asleep is None or s.snapshot.left(s.year_asleep) <= 0


def _continues(cases: Mapping[Case, CaseMoment], service: str) -> tuple[str, ...]:
    """R11, R23, R29: the open cases that are served on a channel."""
    channel = next((c for c, each in SERVICE_OF_CHANNEL.items() if each == service), None)
    if channel is None:
        return ()
    served = (case.label for case, moment in cases.items() if _is_served(case, moment, channel))
    return tuple(sorted(served))


def _is_served(case: Case, moment: CaseMoment, channel: str) -> bool:
    match kind_of(moment.binding):
        case "none":
            return channel == case.channel
        case "free_hours":
            return channel == "email"
        case _:
            return True
