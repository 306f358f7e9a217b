"""How a person is recognised in what is stored about a customer (R43).

A field that holds one name, address or number is a person's only if its whole value is. In a text
it is a name of two words or more, an address or a number: a first name alone may be anybody's.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from app.services.emails import ascii_form, spellings

# Runs of separators are bounded, so that matching takes time in proportion to the text.
_BETWEEN_WORDS = r"\s{1,9}"
_BETWEEN_DIGITS = r"[\s./()-]{0,3}"
_SHORTEST_NATIONAL = 6
# At word boundaries, and neither within nor directly before the rest of an e-mail address.
_BEFORE, _AFTER = r"(?<![\w@])", r"(?!\w|[\w.+%-]{0,64}@)"
_ADDRESS_BEFORE, _ADDRESS_AFTER = r"(?<![\w%])(?<!\w[.+-])", r"(?![.-]?\w)"
_IN_DOMAIN = re.compile(r"@[\w.-]*\Z")
_LONGEST_DOMAIN = 254
_SEPARATORS = {code: None for code in range(0x3001) if chr(code).isspace() or chr(code) in "./()-"}


class _Form(NamedTuple):
    """How a name, address or number is written."""

    part: str
    """What every text with it contains, in small letters and without separators between digits."""
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Person:
    """What a person is called, as far as nobody else of the customer is called so."""

    names: frozenset[str]
    """As `folded` gives them."""
    emails: frozenset[str]
    """As `ascii_form` gives them."""
    phones: frozenset[str]
    """In E.164."""
    forms: tuple[_Form, ...]

    @classmethod
    def called(cls, names: Iterable[str], emails: Iterable[str], phones: Iterable[str]) -> "Person":
        names, emails, phones = list(names), list(emails), list(phones)
        return cls(
            frozenset(map(folded, names)),
            frozenset(map(ascii_form, emails)),
            frozenset(phones),
            tuple(
                _Form(part, re.compile(pattern, re.IGNORECASE))
                for part, pattern in (
                    *(form for email in emails for form in _address_forms(email)),
                    *(form for name in sorted(names, key=len) for form in _name_forms(name)),
                    *map(_number_form, phones),
                )
            ),
        )

    def has(self, field: str, value: str) -> bool:
        """Whether the whole value of a `name`, `email` or `phone` is the person's."""
        if field == "name":
            return folded(value) in self.names
        return ascii_form(value) in self.emails if field == "email" else value in self.phones

    def without(self, text: str, pseudonym: str) -> str:
        """A text with the pseudonym in place of the person."""

        def replaced(match: re.Match[str]) -> str:
            start = match.start()
            in_domain = _IN_DOMAIN.search(text, max(0, start - _LONGEST_DOMAIN), start)
            return match.group() if in_domain else pseudonym

        # Searching for the parts first: the patterns alone took a hundred times as long.
        small = text.casefold()
        small += "\n" + small.translate(_SEPARATORS)
        for form in self.forms:
            if form.part in small:
                text = form.pattern.sub(replaced, text)
        return text


def folded(name: str) -> str:
    """What all spellings of a name have in common."""
    return " ".join(name.casefold().split())


def _name_forms(name: str) -> Iterator[tuple[str, str]]:
    """A name of at least two words, the last word last or first."""
    words = name.split()
    if sum(any(map(str.isalpha, word)) for word in words) < 2:
        return
    part = max(words, key=len).casefold()
    escaped = [re.escape(word) for word in words]
    yield part, _BEFORE + _BETWEEN_WORDS.join(escaped) + _AFTER
    turned = (escaped[-1], *escaped[:-1])
    yield part, _BEFORE + f",?{_BETWEEN_WORDS}".join(turned) + _AFTER


def _address_forms(email: str) -> Iterator[tuple[str, str]]:
    for spelling in spellings(email):
        yield spelling.casefold(), _ADDRESS_BEFORE + re.escape(spelling) + _ADDRESS_AFTER


def _number_form(phone: str) -> tuple[str, str]:
    """A number however it is written, with and without the country's code of 1 to 3 digits."""
    digits = phone.removeprefix("+")
    forms = [rf"(?:\+|00)?\(?{_BETWEEN_DIGITS.join(digits)}"]
    for code in (1, 2, 3):
        national = digits[code:]
        if len(national) >= _SHORTEST_NATIONAL:
            forms.append(f"0?{_BETWEEN_DIGITS.join(national)}")
    return digits[-_SHORTEST_NATIONAL:], f"{_BEFORE}(?:{'|'.join(forms)}){_AFTER}"
