"""Telephone numbers: whatever people write, kept in E.164."""

import re

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


_scheme = re.compile("(tel|sips?):", re.IGNORECASE)


def caller_number(text: str, region: str | None) -> str | None:
    """A caller's number in E.164 however a telephone exchange writes it, or None.

    A `+` that was not escaped in an address arrives as a leading space; `00` stands for it too,
    unless `region` reads it otherwise; a SIP or tel address is taken apart (RFC 3261, RFC 3966).
    """
    if text.startswith(" "):
        text = "+" + text.lstrip(" ")
    if scheme := _scheme.match(text):
        text = text[scheme.end() :].partition("@")[0]
    international = e164("+" + text[2:], None) if text.startswith("00") else None
    return international or e164(text, region)
