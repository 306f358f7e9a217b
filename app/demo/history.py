"""Thirteen months of support before the day of loading, so that every chart has a shape.

Everything goes through the services, each step with the clock of its own instant. Which steps there
are follows from the day of loading alone, and the last of them lie on the day before it. It is one
transaction: a loading that was broken off begins the history anew.
"""

from collections.abc import Awaitable, Callable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zlib import crc32

from app.demo.days import ago
from app.demo.firms import FIRMS, Firm, Purchase
from app.errors import RecordedRefusal
from app.policy.civil import civil_date, start_of_day, state
from app.policy.document import Channel, HelpDesk, Policies
from app.services import (
    case_changes,
    case_opening,
    case_steps,
    contracts,
    customers,
    licences,
    ticket_packs,
    time_entries,
)
from app.services.cases import Category, Priority
from app.services.contacts import GivenContact
from app.services.unit_of_work import Caller, UnitOfWork
from app.store.database import Connection

_BEGINS = ago(months=13)
_DAY = timedelta(days=1)
_OPEN_SINCE = timedelta(days=9, hours=14)
_NAMES = {"it": "Help desk Italia", "de": "Help Desk Deutschland", "abroad": "Help desk abroad"}
_SECOND_LEVEL = "Second level"
# In August and at the turn of the year little is asked.
_SEASON = {1: 0.9, 2: 1.1, 3: 1.2, 8: 0.5, 9: 1.3, 12: 0.7}
_SUBJECTS = {
    "it": (
        ("Pagina lenta dopo l'aggiornamento", "La pagina principale si apre in dieci secondi."),
        ("Trend senza dati", "Dal mattino il grafico delle temperature resta vuoto."),
        ("Allarme che non si tacita", "Un allarme resta attivo anche dopo la tacitazione."),
        ("Ricette e unità di misura", "Come si cambia l'unità di misura di una ricetta?"),
        ("Driver e nuovo PLC", "Il driver non legge le variabili del nuovo PLC."),
    ),
    "de": (
        ("Bild öffnet langsam", "Seit dem Update öffnet das Hauptbild erst nach zehn Sekunden."),
        ("Kurve ohne Werte", "Seit heute früh bleibt die Temperaturkurve leer."),
        ("Alarm lässt sich nicht quittieren", "Ein Alarm bleibt trotz Quittierung aktiv."),
        ("Rezepte und Einheiten", "Wie ändert man die Einheit in einem Rezept?"),
        ("Treiber und neue Steuerung", "Der Treiber liest die neue Steuerung nicht."),
    ),
    "en": (
        ("Screen opens slowly", "Since the update the main screen takes ten seconds to open."),
        ("Trend without values", "The temperature trend has been empty since this morning."),
        ("Alarm cannot be acknowledged", "An alarm stays active after it was acknowledged."),
        ("Recipes and units", "How does one change the unit of a recipe?"),
        ("Driver and new controller", "The driver does not read the new controller."),
    ),
}
_TWICE = {"it": "Aperta due volte", "de": "Doppelt eröffnet", "en": "Opened twice"}
_SOLVED = {"it": "Risolto.", "de": "Gelöst.", "en": "Solved."}


class _Opened:
    """A case of the history, once it is open."""

    number: str | None = None
    """None for one that was refused: its steps are left out."""


class _Step(NamedTuple):
    at: datetime
    place: int
    """Keeps the steps of one instant in order."""
    take: Callable[[UnitOfWork], Awaitable[object]]
    case: _Opened | None = None


async def load_history(
    connection: Connection, caller: Caller, policies: Policies, today: date
) -> None:
    """Write the history that ends on the day before `today`, unless it is there."""
    for step in sorted(_steps(policies, today), key=lambda one: one[:2]):
        if step.case is not None and step.case.number is None and step.place % _STRIDE:
            continue
        day = civil_date(step.at, policies.zone)
        await step.take(UnitOfWork(connection, caller, step.at, day, policies))


_STRIDE = 100
"""Places between the first steps of two cases."""


def _steps(policies: Policies, today: date) -> Iterator[_Step]:
    ends = start_of_day(today, policies.zone)
    place = 0
    for firm in FIRMS:
        desk = policies.in_force(today).desk_for(firm.customer.country, None)
        begins = _at(policies, _BEGINS(today), time(8))
        yield _Step(begins, place, _creation(firm))
        for number, bought in enumerate(firm.purchases, start=1):
            day = bought.on(today)
            at = max(_at(policies, day, time(9)), begins)
            yield _Step(at, place + number, _purchase(firm, bought, day))
        place += _STRIDE
        for plan in _plans(firm, desk, begins, ends):
            lived = list(_lived(firm, desk, plan))
            if plan.stays is not None or lived[-1].at < ends:
                yield from (
                    step._replace(place=place + number) for number, step in enumerate(lived)
                )
            place += _STRIDE


def _at(policies: Policies, day: date, clock: time) -> datetime:
    return datetime.combine(day, clock, policies.zone)


def _share(*named: object) -> float:
    """A number from 0 to 1 that looks random and is always the same for the same names."""
    return crc32(repr(named).encode()) / 2**32


def _creation(firm: Firm) -> Callable[[UnitOfWork], Awaitable[object]]:
    body = firm.customer.body | {"vat_number": None}
    people = [GivenContact(**contact) for contact in body.pop("contacts")]
    return lambda work: customers.create(work, body, people)


def _purchase(firm: Firm, bought: Purchase, day: date) -> Callable[[UnitOfWork], Awaitable[object]]:
    code, number = firm.customer.code, bought.number
    if bought.kind == "contract":
        return lambda work: contracts.sign(
            work,
            customer_id=code,
            starts_on=day,
            number=number,
            included_minutes=bought.amount,
            take_over_overrun=False,
        )
    if bought.kind == "renewal":
        return lambda work: contracts.renew(
            work, bought.of, starts="at_end", number=number, take_over_overrun=True
        )
    if bought.kind == "tickets":
        return lambda work: ticket_packs.purchase(
            work, customer_id=code, number=number, quantity=bought.amount or 1, purchased_on=day
        )
    product = "Plant Editor" if bought.kind == "editor" else "Plant Runtime"
    return lambda work: licences.register(
        work,
        customer_id=code,
        serial_number=number,
        purchased_on=day,
        kind=bought.kind,
        product=product,
        version="4.1",
    )


class _Plan(NamedTuple):
    """What will come of a case, if it is opened."""

    name: tuple[str, int]
    """The customer's code and the number of the case among its own."""
    at: datetime
    channel: Channel
    category: Category
    priority: Priority
    stays: Literal["open", "waiting"] | None = None
    """Where it stays; None: it is closed or cancelled in the end."""


def _plans(firm: Firm, desk: HelpDesk, begins: datetime, ends: datetime) -> Iterator[_Plan]:
    """Cases at working instants, as many a year as the firm has, by the season.

    The last one may stay open for some days.
    """
    code, at, number = firm.customer.code, begins + _DAY, 0
    if firm.stays is not None:
        since = _working(desk, ends - _OPEN_SINCE)
        yield _Plan((code, 0), since, "email", "question", "low", firm.stays)
    while True:
        number += 1
        pause = 365 / firm.cases_a_year / _SEASON.get(at.month, 1.0)
        at += pause * _DAY * (0.3 + 1.4 * _share(code, number, "pause"))
        at = _later(desk, at.replace(second=0, microsecond=0), 3 * _share(code, number, "hour"))
        if at >= ends:
            return
        by = _share(code, number, "channel")
        channel: Channel = "email" if by < 0.5 else "phone" if by < 0.9 else "remote"
        category: Category = "question" if _share(code, number, "category") < 0.4 else "problem"
        urgent = _share(code, number, "priority")
        priority: Priority = "high" if urgent < 0.15 else "low" if urgent > 0.85 else "normal"
        yield _Plan((code, number), at, channel, category, priority)


def _lived(firm: Firm, desk: HelpDesk, plan: _Plan) -> Iterator[_Step]:
    """The steps of a case, in order; their places are not set yet."""
    opened, at, language = _Opened(), plan.at, firm.customer.language

    def step(act: Callable[..., Awaitable[object]], *given: object, **more: object) -> _Step:
        return _Step(at, 0, lambda work: act(work, opened.number, *given, **more), opened)

    def later(hours: float) -> datetime:
        return _later(desk, at, hours)

    yield _Step(at, 0, lambda work: _open(work, firm, plan, opened), opened)
    if plan.stays == "open":
        return
    turn = _share(*plan.name, "turn")
    if turn < 0.04 and plan.stays is None:
        at = later(0.5)
        yield step(case_steps.cancel, _TWICE[language])
        return
    at = later(0.2 + 5 * _share(*plan.name, "response") ** 2)
    yield step(case_changes.change, {"technician": _NAMES[desk.id]}, _unconditionally)
    at = later(0.05)
    yield step(case_steps.move, "in_progress")
    if plan.stays == "waiting":
        at = later(0.05)
        yield step(case_steps.move, "waiting_for_customer")
        return
    visits = 1 + (turn > 0.5) + (turn > 0.8)
    for visit in range(visits):
        minutes = 15 * (1 + int(5 * _share(*plan.name, visit, "minutes") ** 2))
        begun, at = at, later(minutes / 60)
        yield step(
            time_entries.record,
            technician=_NAMES[desk.id] if visit < 2 else _SECOND_LEVEL,
            minutes=minutes,
            worked_at=begun,
            note=None,
            internal=False,
        )
        if visit + 1 < visits:
            yield step(case_steps.move, "waiting_for_customer")
            at = later(3 + 20 * _share(*plan.name, visit, "waiting"))
            yield step(case_steps.move, "in_progress")
    if plan.category == "problem" and turn > 0.92:
        yield step(case_changes.change, {"category": "bug"}, _unconditionally)
    at = later(0.2)
    yield step(case_steps.close, _SOLVED[language])


async def _open(work: UnitOfWork, firm: Firm, plan: _Plan, opened: _Opened) -> None:
    contact = firm.customer.contacts[0]
    subjects = _SUBJECTS[firm.customer.language]
    subject, description = subjects[int(_share(*plan.name, "subject") * len(subjects))]
    try:
        row = await case_opening.open_case(
            work,
            customer_id=firm.customer.code,
            requester={
                "contact_id": None,
                "name": contact["name"],
                "email": contact["email"],
                "phone": contact["phones"][0],
            },
            channel=plan.channel,
            category=plan.category,
            priority_requested=plan.priority,
            pay_with="auto",
            serial_number=firm.serial_number,
            bound_open_cases=0,
            subject=subject,
            description=description,
        )
    except RecordedRefusal as refusal:
        # Nothing was written before it, so that there is nothing to roll back.
        await refusal.record(work.connection)
    else:
        opened.number = row.number


def _unconditionally(_: object) -> None:
    """No precondition."""


def _working(desk: HelpDesk, at: datetime) -> datetime:
    """The next instant at which the desk works."""
    found = state(desk.schedule, at)
    return at if found.open else found.changes_at


def _later(desk: HelpDesk, at: datetime, hours: float) -> datetime:
    """So many hours of the desk's working time later, on a full minute."""
    left = timedelta(minutes=max(round(hours * 60), 1))
    while True:
        at = _working(desk, at)
        until = state(desk.schedule, at).changes_at
        if at + left < until:
            return at + left
        left -= until - at
        at = until
