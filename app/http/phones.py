"""Telephone numbers: whatever people write, kept in E.164."""

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
