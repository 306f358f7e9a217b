"""Telephone numbers: whatever people write, kept in E.164."""

import re
import unicodedata
from enum import Enum
from typing import NamedTuple
from urllib.parse import unquote

import phonenumbers


def e164(text: str, region: str | None) -> str | None:
    """The number in E.164, or None for what is none (ITU-T E.164).

    A national number is read in `region`, an ISO 3166-1 country; an extension is dropped. Judged by
    length alone: the published ranges lag behind the numbers that are handed out.
    """
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


class Exchange(NamedTuple):
    """How a telephone exchange writes numbers."""

    region: str | None = None
    """The country (ISO 3166-1) in which its national numbers are read."""
    trunk_prefix: str = ""
    """The digits that it may write before an outside number: those that its users dial for a
    line."""


class NoNumber(Enum):
    """Why a caller has no number."""

    WITHHELD = "withheld"
    UNUSABLE = "unusable"
    """An extension of the exchange, or anything else that the public network does not reach."""


# What exchanges write in place of a number that they do not know or may not tell, in lower case,
# with one space for everything that is neither letter nor digit.
_WITHHELD = frozenset(
    """
    anonymous;anonymous call;anonymous caller;anonymous number
    private;private call;private caller;private number
    restricted;restricted call;restricted caller;restricted number
    unknown;unknown call;unknown caller;unknown number;caller unknown;number unknown
    unavailable;number unavailable;not available;number not available;n a
    withheld;number withheld;withheld number;caller withheld;caller id withheld
    blocked;blocked call;blocked caller;blocked number;caller id blocked;id blocked
    hidden;hidden number;out of area;no caller id;no callerid;no number;none;null;nil

    anonimo;anonima;chiamata anonima;chiamante anonimo;numero anonimo;utente anonimo
    privato;privata;numero privato;chiamata privata
    nascosto;numero nascosto;id nascosto;oscurato;numero oscurato
    riservato;numero riservato;sconosciuto;numero sconosciuto;chiamante sconosciuto
    non disponibile;numero non disponibile;indisponibile;nessun numero

    anonym;anonymer anruf;anonymer anrufer;anonyme nummer
    privat;private nummer;private rufnummer
    unbekannt;unbekannte nummer;unbekannte rufnummer;unbekannter anrufer;unbekannter teilnehmer
    unterdrückt;unterdrueckt;nummer unterdrückt;nummer unterdrueckt
    rufnummer unterdrückt;rufnummer unterdrueckt;unterdrückte nummer;unterdrückte rufnummer
    nicht verfügbar;nicht verfuegbar;nicht übermittelt;rufnummer nicht verfügbar
    keine nummer;keine rufnummer;verborgen;geheim;gesperrt
    """.replace("\n", ";")
    .replace("    ", "")
    .strip(";")
    .split(";")
) - {""}
# The same words as Twilio writes them, by the keys of a telephone: ANONYMOUS, RESTRICTED, BLOCKED,
# UNKNOWN, UNAVAILABLE.
_WITHHELD_ON_KEYS = frozenset({"+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"})
_ANONYMOUS_HOST = "anonymous.invalid"  # RFC 3323, section 4.1.1.3

# RFC 3261, section 25.1: `name-addr`, with a display name that is quoted or made of tokens.
_name_addr = re.compile(r'(?:"(?:[^"\\]|\\.)*"\s*|[^"<]*)<([^<>]*)>', re.DOTALL)
_scheme = re.compile(r"(tel|sips?):", re.IGNORECASE)
_other_signs = re.compile(r"[\W_]+")
_nothing = re.compile(r"[\s._–—-]*|0+")
_plus_as_space = re.compile(r" +(?=[0-9])")


def caller_number(text: str, exchange: Exchange) -> str | NoNumber:
    """A caller's number in E.164 however a telephone exchange writes it, or why there is none.

    A `name-addr` or `addr-spec` (RFC 3261), or a `tel` URI (RFC 3966), is taken apart first: words
    in a display name are a person's name. A `+` that was not escaped in an address arrives as a
    space; `00` stands for it too, unless `exchange.region` reads it otherwise.
    """
    user, host, parameters = _taken_apart(text)
    number, *of_user = user.split(";")
    words = _other_signs.sub(" ", unicodedata.normalize("NFKC", number).casefold()).strip()
    if (
        _nothing.fullmatch(number.strip())
        or words in _WITHHELD
        or number.strip() in _WITHHELD_ON_KEYS
        or host.lower() == _ANONYMOUS_HOST
        or "user=anonymous" in parameters
    ):
        return NoNumber.WITHHELD
    if plus := _plus_as_space.match(number):
        number = "+" + number[plus.end() :]
    contexts = [one.partition("=")[2] for one in of_user if one.startswith("phone-context=")]
    if contexts and contexts[0].startswith("+") and not number.startswith("+"):
        number = contexts[0] + number
    return _read(number, exchange) or NoNumber.UNUSABLE


def _taken_apart(text: str) -> tuple[str, str, list[str]]:
    """The user part of a caller's address with its own parameters, the host, and the parameters of
    the address. A number that stands alone is a user part."""
    named = _name_addr.match(text.lstrip())
    address = named[1] if named else text
    scheme = _scheme.match(address.lstrip())
    if scheme:
        address = address.lstrip()[scheme.end() :]
    user, at, rest = address.partition("@")
    if not at:
        return unquote(user).partition("?")[0], "", []
    host, *parameters = rest.partition("?")[0].split(";")
    # A user part may have a password, and any sign by its code.
    user = unquote(user.partition(":")[0])
    return user, host.partition(":")[0].strip(), [one.strip().lower() for one in parameters]


def _read(text: str, exchange: Exchange) -> str | None:
    readings = [_international_or_national(text, exchange.region)]
    prefix = exchange.trunk_prefix
    if prefix and text.startswith(prefix):
        readings.insert(0, _international_or_national(text[len(prefix) :], exchange.region))
    found = [one for one in readings if one is not None]
    if len(found) > 1:
        # The prefix may be the beginning of a number that was sent without it: take the reading
        # that a telephone can have.
        found.sort(key=lambda one: not phonenumbers.is_valid_number(phonenumbers.parse(one)))
    return found[0] if found else None


def _international_or_national(text: str, region: str | None) -> str | None:
    international = e164("+" + text[2:], None) if text.startswith("00") else None
    return international or e164(text, region)
