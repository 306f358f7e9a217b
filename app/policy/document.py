"""The policy document: its shape, its checks, and which version is in force on a date."""

import hashlib
import json
import tomllib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from datetime import date, time
from decimal import Decimal
from functools import cached_property
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import holidays
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.policy.civil import Hours, Schedule

Column = Literal["NO_DEV", "DEV", "SA", "TCK"]
COLUMNS: tuple[Column, ...] = ("NO_DEV", "DEV", "SA", "TCK")
Service = Literal[
    "web_forum",
    "web_support_portal",
    "support_downloads",
    "email_support",
    "phone_support",
    "remote_access",
    "priority_support",
    "editor_upgrades",
]
SERVICES: tuple[Service, ...] = (
    "web_forum",
    "web_support_portal",
    "support_downloads",
    "email_support",
    "phone_support",
    "remote_access",
    "priority_support",
    "editor_upgrades",
)
Channel = Literal["email", "phone", "remote"]
PaidBy = Literal["free_hours", "contract", "ticket"]
Language = Literal["it", "en", "de"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_WEEKDAYS: tuple[Weekday, ...] = Weekday.__args__  # type: ignore[attr-defined]
# What a column may count against: hours of development status, of a contract, or a ticket.
_PAYS: dict[Column, PaidBy | None] = {
    "NO_DEV": None,
    "DEV": "free_hours",
    "SA": "contract",
    "TCK": "ticket",
}


class PolicyError(Exception):
    """A policy document cannot be used. The text names the file, the place and what is wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, ignored_types=(cached_property,)
    )


Text = Annotated[str, Field(min_length=1, max_length=1000)]


class Texts(_Part):
    """One text in the service's three languages (R8, R39)."""

    it: Text
    en: Text
    de: Text


class Cell(_Part):
    """What one column grants of one service."""

    granted: bool
    pays: PaidBy | None = None
    requires: PaidBy | None = None
    provenance: Literal["stated", "inferred"]
    source: Text | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if not self.granted and (self.pays or self.requires):
            raise ValueError("a cell that grants nothing can neither pay nor require")
        if (self.provenance == "stated") != (self.source is not None):
            raise ValueError("a stated cell quotes its source, an inferred one has none")
        return self

    @cached_property
    def needs(self) -> PaidBy | None:
        """What must have something left for this cell to grant (R9, R10)."""
        return self.pays or self.requires


class Cells(_Part):
    NO_DEV: Cell
    DEV: Cell
    SA: Cell
    TCK: Cell

    @model_validator(mode="after")
    def _own_allowance(self) -> Self:
        for column in COLUMNS:
            cell: Cell = getattr(self, column)
            for what in (cell.pays, cell.requires):
                if what is not None and what != _PAYS[column]:
                    raise ValueError(f"{column} cannot be paid by {what}")
        return self


class ServiceRow(_Part):
    id: Service
    names: Texts
    channel: Channel | None = None
    cells: Cells

    @cached_property
    def by_column(self) -> dict[Column, Cell]:
        return {column: getattr(self.cells, column) for column in COLUMNS}

    @cached_property
    def grants(self) -> dict[Column, tuple[PaidBy | None, PaidBy | None]]:
        """The columns that grant it: what each needs something left of, and what pays (R9)."""
        cells = self.by_column.items()
        return {column: (cell.needs, cell.pays) for column, cell in cells if cell.granted}

    @cached_property
    def likeness(self) -> tuple[tuple[Column, PaidBy | None], ...]:
        """Rows alike in this are denied for the same reasons (R12)."""
        return tuple((column, needs) for column, (needs, _) in self.grants.items())


Months = Annotated[int, Field(ge=1, le=120)]
Minutes = Annotated[int, Field(ge=1, le=1_000_000)]


class Development(_Part):
    months: Months
    transfer_counts_as_purchase: bool = False
    """Whether getting a licence by a transfer is a purchase in the sense of R2 (R44)."""


class FreeHours(_Part):
    minutes: Minutes
    months: Months
    anchor: Literal["any", "editor"]


class ContractTerms(_Part):
    minutes: Minutes
    months: Months


class TicketTerms(_Part):
    months: Months


class CaseTerms(_Part):
    reopen_within_days: Annotated[int, Field(ge=1, le=3650)]


class ResponseTarget(_Part):
    """Working minutes of the customer's desk until a case is answered and resolved (R42)."""

    priority: Literal["high", "normal", "low"]
    priority_support: bool = False
    """For cases with priority support alone; they take it before the one for all."""
    first_response_minutes: Annotated[int, Field(ge=1, le=100_000)] | None = None
    resolution_minutes: Annotated[int, Field(ge=1, le=100_000)] | None = None


DaysLevel = Annotated[int, Field(ge=1, le=366)]
PercentLevel = Annotated[int, Field(ge=1, le=100)]


def _descending(levels: tuple[int, ...]) -> tuple[int, ...]:
    if list(levels) != sorted(set(levels), reverse=True):
        raise ValueError("days stand from most to fewest, each once")
    return levels


DaysLevels = Annotated[
    tuple[DaysLevel, ...], Field(strict=False, max_length=10), AfterValidator(_descending)
]


class EndingLevels(_Part):
    """How many days before its end each kind of allowance is announced."""

    free_hours: DaysLevels = ()
    contract: DaysLevels = ()
    ticket: DaysLevels = ()


class Notices(_Part):
    """When an allowance is announced (R41). A document without this part announces nothing."""

    days_before_end: EndingLevels = EndingLevels()
    used_percent: Annotated[tuple[PercentLevel, ...], Field(strict=False, max_length=10)] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if list(self.used_percent) != sorted(set(self.used_percent)):
            raise ValueError("used_percent stands from least to most, each once")
        return self


class AllowanceTerms(_Part):
    free_hours: FreeHours
    contract: ContractTerms
    ticket: TicketTerms


class Calendar(_Part):
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    subdivision: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,3}$")] | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        # The library's list of all countries imports 250 modules.
        try:
            known = holidays.country_holidays(self.country)
        except NotImplementedError:
            known = None
        if known is None or known.country != self.country:  # another one for an alias, as for "UK"
            raise ValueError(f"no holiday calendar for {self.country}")
        if self.subdivision is not None and self.subdivision not in known.subdivisions:
            raise ValueError(f"no holiday calendar for {self.country}-{self.subdivision}")
        return self


class OpeningHours(_Part):
    opens: time
    closes: time

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.opens >= self.closes:
            raise ValueError("opens must be before closes")
        return self


class Tariff(_Part):
    amount: Annotated[Decimal, Field(strict=False, gt=0)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    per_minutes: Annotated[int, Field(ge=1)]
    note: Texts


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"no time zone {name!r}") from error


class HelpDesk(_Part):
    """A desk that answers the phone (R34)."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    names: Texts
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")]
    language: Language
    countries: frozenset[Annotated[str, Field(pattern=r"^[A-Z]{2}$")]] = Field(strict=False)
    time_zone: str
    calendar: Calendar
    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1, strict=False)]
    hours: Annotated[tuple[OpeningHours, ...], Field(min_length=1, strict=False)]
    tariff: Tariff | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        _zone(self.time_zone)
        if len(set(self.weekdays)) != len(self.weekdays):
            raise ValueError("a weekday stands twice")
        for before, after in pairwise(self.hours):
            if after.opens < before.closes:
                raise ValueError("hours overlap or are out of order")
        return self

    @cached_property
    def schedule(self) -> Schedule:
        return Schedule(
            zone=_zone(self.time_zone),
            weekdays=frozenset(_WEEKDAYS.index(day) for day in self.weekdays),
            hours=tuple(Hours(opens=h.opens, closes=h.closes) for h in self.hours),
            country=self.calendar.country,
            subdivision=self.calendar.subdivision,
        )


class SalesContact(_Part):
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)]
    names: Texts


class Advice(_Part):
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    texts: Texts


class Policy(_Part):
    """One version of the vendor's support policy."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    effective_from: date
    time_zone: str
    development: Development
    allowances: AllowanceTerms
    cases: CaseTerms
    notices: Notices = Notices()
    services: Annotated[tuple[ServiceRow, ...], Field(strict=False)]
    help_desks: Annotated[tuple[HelpDesk, ...], Field(min_length=1, strict=False)]
    sales_contact: SalesContact
    advice: Annotated[tuple[Advice, ...], Field(strict=False)]
    response_targets: Annotated[tuple[ResponseTarget, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        _zone(self.time_zone)
        if tuple(service.id for service in self.services) != SERVICES:
            raise ValueError(f"services must be, in this order: {', '.join(SERVICES)}")
        channels = Counter(service.channel for service in self.services if service.channel)
        if channels != {"email": 1, "phone": 1, "remote": 1}:
            raise ValueError("each of the channels email, phone and remote needs one service")
        for what, names in {
            "help desk": [desk.id for desk in self.help_desks],
            "help desk country": [c for desk in self.help_desks for c in desk.countries],
            "advice": [advice.id for advice in self.advice],
            "response target": [
                f"{one.priority}{' with priority support' if one.priority_support else ''}"
                for one in self.response_targets
            ],
        }.items():
            twice = [name for name, times in Counter(names).items() if times > 1]
            if twice:
                raise ValueError(f"{what} {twice[0]!r} stands twice")
        if sum(not desk.countries for desk in self.help_desks) != 1:
            raise ValueError("exactly one help desk, the one for all others, names no countries")
        return self

    @cached_property
    def id(self) -> str:
        return f"{self.name}/{self.effective_from.isoformat()}"

    @cached_property
    def anchored_by_any(self) -> bool:
        """Whether the purchase of any licence starts service years anew, not an Editor's alone."""
        return self.allowances.free_hours.anchor == "any"

    @cached_property
    def derived(self) -> dict[tuple[Column, ...], Any]:
        """What `app.policy.decide` derives from this version once for each combination of columns,
        instead of once for each answer."""
        return {}

    @cached_property
    def covers(self) -> dict[PaidBy, frozenset[Channel]]:
        """The channels whose cases each kind of allowance pays for (R14-R16)."""
        return {
            kind: frozenset(
                service.channel
                for service in self.services
                if service.channel and any(cell.pays == kind for cell in service.by_column.values())
            )
            for kind in ("free_hours", "contract", "ticket")
        }

    @cached_property
    def service_of_channel(self) -> dict[Channel, ServiceRow]:
        return {service.channel: service for service in self.services if service.channel}

    @cached_property
    def _desks(self) -> dict[str, HelpDesk]:
        return {desk.id: desk for desk in self.help_desks}

    @cached_property
    def _desk_of_country(self) -> dict[str, HelpDesk]:
        return {country: desk for desk in self.help_desks for country in desk.countries}

    @cached_property
    def _desk_for_others(self) -> HelpDesk:
        return next(desk for desk in self.help_desks if not desk.countries)

    def desk_for(self, country: str, named: str | None) -> HelpDesk:
        """The desk a customer calls (R35). A named desk that this version lacks is passed over."""
        desk = self._desks.get(named) if named else None
        return desk or self._desk_of_country.get(country, self._desk_for_others)


class Policies:
    """Every version of the policy, each in force from its day until the next one's."""

    def __init__(self, versions: Iterable[Policy]) -> None:
        self.versions = tuple(sorted(versions, key=lambda policy: policy.effective_from))
        if not self.versions:
            raise PolicyError("no policy document was found")
        self._starts = [policy.effective_from for policy in self.versions]
        self.zone = _zone(self.versions[0].time_zone)
        for before, after in pairwise(self.versions):
            if before.effective_from == after.effective_from:
                raise PolicyError(f"two policy documents are effective from {after.effective_from}")
            if (before.name, before.time_zone) != (after.name, after.time_zone):
                raise PolicyError(
                    f"policy documents {before.id} and {after.id} differ in name or time_zone"
                )

    @cached_property
    def year_months(self) -> int | None:
        """How long a service year lasts, if all versions agree (R14, R17)."""
        months = {policy.allowances.free_hours.months for policy in self.versions}
        return months.pop() if len(months) == 1 else None

    @cached_property
    def anchor_by_any(self) -> bool:
        """Whether some version lets any licence begin a service year (R14)."""
        return any(policy.anchored_by_any for policy in self.versions)

    def in_force(self, on: date) -> Policy:
        """The version in force on a date; dates before the first use the first (R17)."""
        if len(self.versions) == 1:
            return self.versions[0]
        return self.versions[max(bisect_right(self._starts, on) - 1, 0)]

    @property
    def starts(self) -> list[date]:
        return self._starts

    @cached_property
    def fingerprint(self) -> str:
        """Equal for documents that say the same."""
        said = [policy.model_dump(mode="python") for policy in self.versions]
        text = json.dumps(said, sort_keys=True, default=_plain)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def desk_ids(self) -> frozenset[str]:
        return frozenset(desk.id for policy in self.versions for desk in policy.help_desks)


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else str(value)


def parse(text: str, file: str) -> Policy:
    """Read one document. Raises PolicyError naming `file`, the place and what is wrong."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{file}: {error}") from error
    try:
        return Policy.model_validate(raw)
    except ValidationError as error:
        faults = (
            f"{file}: {_place(fault['loc'], raw)}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise PolicyError("\n".join(faults)) from error


def _place(location: tuple[int | str, ...], raw: Any) -> str:
    """Where in the document a fault lies, a list's entry by its id where it has one."""
    words: list[str] = []
    for step in location:
        try:
            raw = raw[step]
        except (KeyError, IndexError, TypeError):
            raw = None
        if isinstance(step, int) and words:
            name = raw.get("id", step) if isinstance(raw, dict) else step
            words[-1] += f"[{name}]"
        else:
            words.append(str(step))
    return ".".join(words) or "document"


def load(directory: Path | None = None) -> Policies:
    """The published policy, or every *.toml of `directory` in its place. Raises PolicyError."""
    if directory is None:
        document = files("app.policy").joinpath("progea.toml")
        return Policies([parse(document.read_text("utf-8"), "progea.toml")])
    if not directory.is_dir():
        raise PolicyError(f"{directory}: is no directory with policy documents (*.toml)")
    paths = sorted(directory.glob("*.toml"))
    if not paths:
        raise PolicyError(f"{directory}: holds no policy document (*.toml)")
    texts = []
    for path in paths:
        try:
            texts.append((path.read_text("utf-8"), str(path)))
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyError(f"{path}: cannot be read: {error}") from error
    return Policies(parse(text, file) for text, file in texts)
