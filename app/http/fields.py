"""The types of the fields of requests and answers, shared so that every router validates alike.

Requests: no value is stripped or ignored, and none is converted but a text to NFC and `15.0` to
15. A number in quotes, `true` for 1, an unknown field, a NUL, half a surrogate pair and a date
without a year are all refused with 422. Bodies inherit from `Input`, merge patches from
`MergePatch`, query strings from `Query`.
Answers inherit from `Output`. Pydantic and orjson both write instants in UTC with `Z`: without a
fraction for whole seconds, otherwise with six digits.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit
from uuid import UUID

from babel import Locale
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from app.errors import MOST_ERRORS, InputCode
from app.ids import UUID_PATTERN, looks_like_id
from app.services.contacts import MOST_PHONES
from app.services.emails import read_domain

EARLIEST, LATEST = date(1990, 1, 1), date(2199, 12, 31)
"""Dates and instants outside this range are refused: they are typing errors, and date arithmetic
on them could overflow."""

CODE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
BASE64_PATTERN = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$"
"""RFC 4648, 4: whole groups of four characters, the last one padded."""
URL_PATTERN = (
    r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\u0000-\u0020\u007f\u0085/?#\\]+"
    r"([/?#][^\s\u0000-\u0020\u007f\u0085]*)?$"
)
"""An absolute URL (RFC 3986, 3). Its host and port are looked at separately."""
_NO_NUL = r"^[^\u0000]*$"
# Python counts more characters as white space than regular expressions in JSON Schema do.
_SOMETHING = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$"
_atom = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_email = re.compile(rf"(?=[^@]{{1,64}}@){_atom}(\.{_atom})*@({_label}\.)+(?=[A-Za-z]){_label}")
_civil_date = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_instant = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?(?P<offset>[Zz]|[+-]\d{2}:\d{2})?", re.ASCII
)
_space_for_plus = re.compile(r" (?=\d{2}:\d{2}$)", re.ASCII)
_whole_number = re.compile(r"(-?\d{1,18})(\.0{1,18})?", re.ASCII)

# Territories of Unicode's list that ISO 3166-1 does not assign, such as the EU and test codes.
_NO_COUNTRIES = {"AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"}
COUNTRIES = frozenset(
    code
    for code in map(str, Locale("en").territories)
    if len(code) == 2 and code.isalpha() and code not in _NO_COUNTRIES
)


def refuse(code: InputCode, **params: object) -> PydanticCustomError:
    """The error that a validator raises, with a code of ours: `raise refuse("blank")`."""
    return PydanticCustomError(f"ours.{code}", "refused", params)


_MOST_MARKS = 30
# Normalisation sorts the marks of a letter in quadratic time: 40,000 of them took three seconds.
# No language needs more than these (UAX #15, Stream-Safe Text Format).


def _too_many_marks(last: int) -> re.Pattern[str]:
    """Finds more marks in a row than `_MOST_MARKS`, of those up to the code point `last`."""
    marks = (chr(code) for code in range(0x300, last + 1) if unicodedata.combining(chr(code)))
    return re.compile(f"[{''.join(marks)}]{{{_MOST_MARKS + 1}}}")


# A class with characters beyond the basic plane is searched twenty times more slowly.
_too_many_common_marks, _too_many_marks_at_all = map(_too_many_marks, (0xFFFF, 0x1FFFF))
_beyond_basic_plane = re.compile("[\U00010000-\U0010ffff]")
_MOST_DECOMPOSED = 4
"""Code points of the longest canonical decomposition, such as that of U+1F82 (UAX #15)."""


def clean(text: str) -> str:
    """The text in NFC. Refuses characters that PostgreSQL cannot store (NUL, half a surrogate), and
    a letter with more than 30 combining marks."""
    if "\x00" in text:
        raise refuse("forbidden_characters")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refuse("forbidden_characters") from None
    crowded = _too_many_marks_at_all if _beyond_basic_plane.search(text) else _too_many_common_marks
    if crowded.search(text):
        raise refuse("forbidden_characters")
    return unicodedata.normalize("NFC", text)


def _checked(
    accepts: Callable[[str], object], code: InputCode, **params: object
) -> Callable[[str], str]:
    """A validator that refuses the texts which `accepts` denies."""

    def check(text: str) -> str:
        if not accepts(text):
            raise refuse(code, **params)
        return text

    return check


def _uuid(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str):
        raise refuse("wrong_type", expected="text")
    if not looks_like_id(value):
        raise refuse("bad_format", expected="form_id")
    return UUID(value)


def _out_of_range() -> PydanticCustomError:
    return refuse("out_of_range", earliest=str(EARLIEST), latest=str(LATEST))


def _date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        parsed = value
    elif not isinstance(value, str):
        raise refuse("wrong_type", expected="text")
    elif not _civil_date.fullmatch(value):
        raise refuse("bad_format", expected="form_date")
    else:
        try:
            parsed = date.fromisoformat(value)
        except ValueError:
            raise refuse("bad_format", expected="form_date") from None
    if not EARLIEST <= parsed <= LATEST:
        raise _out_of_range()
    return parsed


def _utc(value: object) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        parsed = value
    elif not isinstance(value, str):
        raise refuse("wrong_type", expected="text")
    else:
        match = _instant.fullmatch(value)
        if match is None:
            raise refuse("bad_format", expected="form_instant")
        if match["offset"] is None:
            raise refuse("offset_missing")
        try:
            parsed = datetime.fromisoformat(value.upper())
        except ValueError:
            raise refuse("bad_format", expected="form_instant") from None
    # Checked here because the conversion overflows in the first and last year of the calendar.
    if not EARLIEST.year < parsed.year < LATEST.year:
        try:
            parsed = parsed.astimezone(UTC)
        except OverflowError:
            raise _out_of_range() from None
        if not EARLIEST <= parsed.date() <= LATEST:
            raise _out_of_range()
    return parsed.astimezone(UTC)


def _utc_of_query(value: object) -> datetime:
    # An unescaped `+` in a query string arrives as a space.
    return _utc(_space_for_plus.sub("+", value) if isinstance(value, str) else value)


def _day_or_instant(value: object) -> date | datetime:
    is_day = isinstance(value, str) and _civil_date.fullmatch(value)
    return _date(value) if is_day else _utc_of_query(value)


def whole_number(text: str) -> int | None:
    """A whole number of at most 18 digits, which may have a fraction of zeros; None for others."""
    match = _whole_number.fullmatch(text)
    return int(match[1]) if match else None


def _digits(value: object) -> object:
    if isinstance(value, str):
        value = whole_number(value)
        if value is None:
            raise refuse("wrong_type", expected="integer")
    return value


def _without_fraction(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _address(text: str) -> str:
    """An e-mail address; a domain that is not ASCII in the form of IDNA."""
    local, at, domain = text.rpartition("@")
    if domain.isascii():
        plain = text
    else:
        try:
            in_ascii, domain = read_domain(domain)
        except ValueError:
            raise refuse("bad_format", expected="form_email") from None
        plain, text = local + at + in_ascii, local + at + domain
    if not _email.fullmatch(plain):
        raise refuse("bad_format", expected="form_email")
    return text


def _flag(value: object) -> bool:
    if value not in ("true", "false", True, False):
        raise refuse("not_allowed_value", allowed="true, false")
    return value in ("true", True)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port  # an invalid port raises ValueError
    except ValueError:
        return False
    return bool(host)


@dataclass(frozen=True)
class _Text:
    """A validator of texts, and the pattern that describes it in the OpenAPI document."""

    check: Callable[[str], str]
    pattern: str
    before: bool = False
    """Whether it comes before the length is checked, because it may shorten the text: by
    normalisation, to a quarter at most."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        inner = handler(source)
        if not self.before:
            return core_schema.no_info_after_validator_function(self.check, inner)
        length: Any = dict(inner).get("max_length")
        if length is None:
            raise TypeError("a length comes first: Annotated[str, Field(max_length=…), Sound]")
        longest = _MOST_DECOMPOSED * length

        def check(value: Any) -> Any:
            # What stays too long is left to the check of the length: to normalise a megabyte took
            # a third of a second.
            sound = isinstance(value, str) and len(value) <= longest
            return self.check(value) if sound else value

        return core_schema.no_info_before_validator_function(check, inner)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        known = handler(schema)
        # Keep a pattern of the field itself, which is stricter. `_SOMETHING` includes `_NO_NUL`.
        if known.get("pattern", _NO_NUL) == _NO_NUL:
            known["pattern"] = self.pattern
        return known


Sound = _Text(clean, _NO_NUL, before=True)
"""For texts of other lengths: `Annotated[str, Field(max_length=40), Sound]`."""
NotBlank = _Text(_checked(str.strip, "blank"), _SOMETHING)
Whole = BeforeValidator(_without_fraction)
"""For whole numbers in a body, where JSON may write `15.0`. It must come last, as `Digits`."""
Digits = BeforeValidator(_digits)
"""For whole numbers in a query string: `Annotated[int, Field(ge=1, le=200), Digits]`. It must come
last, otherwise the OpenAPI document lacks the bounds."""

Name = Annotated[
    str,
    Field(min_length=1, max_length=200),
    Sound,
    NotBlank,
]
"""A person's, company's or product's name."""
ShortText = Name
"""A subject, a reason, a version: 1 to 200 characters, not blank."""
Text = Annotated[
    str,
    Field(min_length=1, max_length=10_000),
    Sound,
    NotBlank,
]
"""A description, a comment, a resolution: 1 to 10,000 characters, not blank."""
Code = Annotated[
    str,
    Field(pattern=CODE_PATTERN, json_schema_extra={"not": {"pattern": UUID_PATTERN}}),
    AfterValidator(_checked(lambda text: not looks_like_id(text), "looks_like_id")),
]
"""A code, serial number or number. It may not look like an id, which paths also accept."""
Key = Annotated[str, Field(pattern=CODE_PATTERN)]
"""An id, code or number in a path, and wherever a body or a filter names another resource.
`app.ids.as_id` tells ids from the others."""
CUSTOMER = "The customer, by id or code."
"""What a `customer_id` of a request means."""
Id = Annotated[UUID, BeforeValidator(_uuid)]
CivilDate = Annotated[date, BeforeValidator(_date)]
"""`YYYY-MM-DD`, 1990 to 2199."""
Instant = Annotated[datetime, BeforeValidator(_utc)]
"""RFC 3339 with an offset, 1990 to 2199. The value is an aware datetime in UTC."""
QueryInstant = Annotated[datetime, BeforeValidator(_utc_of_query)]
"""An instant in a query string, where the `+` of an offset may have become a space."""
QueryDayOrInstant = Annotated[date | datetime, BeforeValidator(_day_or_instant)]
"""A civil date or an instant in a query string."""
Country = Annotated[
    str,
    Field(json_schema_extra={"enum": sorted(COUNTRIES)}),
    AfterValidator(_checked(COUNTRIES.__contains__, "bad_format", expected="form_country")),
]
"""ISO 3166-1 alpha-2 in capitals, and XK, which Kosovo uses."""
Email = Annotated[
    str,
    Field(max_length=254, json_schema_extra={"format": "idn-email"}),
    Sound,
    AfterValidator(_address),
]
"""The domain may be international (`müller.example`), in either form; the rest is ASCII."""
PhoneNumbers = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=60), Sound]], Field(max_length=MOST_PHONES)
]
"""A contact's phone numbers as people write them."""
VatNumber = Annotated[str, Field(min_length=1, max_length=40), Sound, NotBlank]
Clock = Annotated[str, Field(max_length=5, pattern=CLOCK_PATTERN)]
"""A time of the day, `HH:MM`."""
DeskName = Annotated[str, Field(max_length=32), Sound]
HttpUrl = Annotated[
    str,
    Field(max_length=2_000, pattern=URL_PATTERN, json_schema_extra={"format": "uri"}),
    Sound,
    AfterValidator(_checked(_is_url, "bad_format", expected="form_url")),
]
Minutes = Annotated[int, Field(ge=1, le=1_440), Whole]
"""Minutes worked: at least one, at most a day."""
IncludedMinutes = Annotated[int, Field(ge=1, le=1_000_000), Whole]
"""The minutes of a contract."""
TicketQuantity = Annotated[int, Field(ge=1, le=1000), Whole]
"""The tickets of a pack."""
QueryFlag = Annotated[bool, BeforeValidator(_flag)]
"""`true` or `false` in a query string, and no other spelling."""


class Input(BaseModel):
    """A body. Unknown fields are refused, and values of another type are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    most_unknown: ClassVar[int] = MOST_ERRORS
    """The unknown fields of which each is an error."""

    @model_validator(mode="before")
    @classmethod
    def _report_few_unknown_fields(cls, value: Any) -> Any:
        return cls.with_few_unknown_fields(value, cls.most_unknown)

    @classmethod
    def with_few_unknown_fields(cls, value: Any, most: int) -> Any:
        """A body of 1 MiB can hold a hundred thousand unknown fields: an error for each took 4 s.

        Those beyond the `most` that an answer lists are not looked at.
        """
        if isinstance(value, dict) and len(value) > most:
            known = {field.alias or name for name, field in cls.model_fields.items()}
            unknown = (name for name in value if name not in known)
            kept = known.union(islice(unknown, most))
            value = {name: one for name, one in value.items() if name in kept}
        return value


class Listed(Input):
    """One of many in a body, such as a contact. A few of its unknown fields are reported, as an
    answer lists MOST_ERRORS faults of the whole body."""

    most_unknown = 5


class SentBack(Input):
    """The body of a PUT, which may be what a GET has answered: fields that cannot be written say
    what is stored, or are refused. Such a field is declared `id: Id = read_only()`."""

    def repeated(self) -> dict[str, Any]:
        """The read-only fields that were sent."""
        return self.model_dump(include=self._read_only() & self.model_fields_set)

    def writable(self, *without: str) -> dict[str, Any]:
        """All other fields, but for some."""
        return self.model_dump(exclude={*self._read_only(), *without})

    @classmethod
    def _read_only(cls) -> set[str]:
        return {
            name
            for name, field in cls.model_fields.items()
            if isinstance(field.json_schema_extra, dict) and "readOnly" in field.json_schema_extra
        }


def read_only() -> Any:
    """The default of a read-only field of a body."""
    return Field(default_factory=lambda: None, json_schema_extra={"readOnly": True})


class Query(BaseModel):
    """A query string. All values are texts, so they are converted to the types of the fields.

    `strict_query` refuses unknown parameters. The model cannot: it would also refuse parameters
    that the route declares beside it.
    """

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


def absent(description: str | None = None) -> Any:
    """The default of the fields of a merge patch: a field that is left out is not changed."""
    return Field(default_factory=lambda: None, description=description)


class MergePatch(Input):
    """An RFC 7396 patch. `name: Name = absent()` may be left out but not be null;
    `vat_number: Code | None = absent()` is cleared by null."""

    def changes(self) -> dict[str, Any]:
        """The fields that were sent, nulls included, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Output(BaseModel):
    """An answer, or part of one."""

    model_config = ConfigDict(extra="forbid")


class StoredOutput(Output):
    """An answer that shows a row, or an object of a service, field by field."""

    @classmethod
    def of(cls, stored: Any) -> Self:
        return cls.model_validate(stored, from_attributes=True)
