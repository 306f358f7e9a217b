"""Search by words: the text of a row that is searched, and what words find in it.

Texts are compared in lower case. A trigram index on the same expression finds them (pg_trgm).
"""

import re
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, ColumnElement, String, Text, bindparam, func, literal_column, or_
from sqlalchemy import and_ as all_of

_phone = re.compile(r"[\d\s()+./-]+", re.ASCII)
_FEWEST_DIGITS = 5
# Each further condition makes the index read more lists of rows; the whole text is compared anyway.
_MOST_INDEXED = 3
_letters_or_digits = re.compile(r"[^\W_]")
_long_enough = re.compile(r"[^\W_]{3}")
_wildcard = re.compile(r"[%_\\]")
_special = re.compile(r"[^\w\s]")


def searched(*columns: str) -> str:
    """SQL for the text in which words are looked for. It begins with a space, so that every word
    has something before it."""
    first, *others = (f"COALESCE({column}, ''::text)" for column in columns)
    # With the parentheses that PostgreSQL shows, so that the two can be compared.
    joined = f"' '::text || {first}"
    for other in others:
        joined = f"(({joined}) || ' '::text) || {other}"
    return f"lower({joined})"


class Words(NamedTuple):
    """What a search text asks for: a text must match all patterns of both kinds."""

    likes: tuple[str, ...]
    regular: tuple[str, ...] = ()
    digits: str | None = None
    """The digits of a telephone number. A text that contains them matches too."""

    def match(self, text: str) -> ColumnElement[bool]:
        """The text (an SQL expression) has all these words."""
        document = literal_column(text, Text)
        every = {"LIKE": self.likes, "~": self.regular}
        conditions = [
            document.bool_op(operator)(func.all(_folded(patterns)))
            for operator, patterns in every.items()
            if patterns
        ]
        return self._or_digits(text, all_of(*conditions))

    def indexed(self, text: str) -> ColumnElement[bool]:
        """A condition that an index answers, true wherever `match` is."""
        document = literal_column(text, Text)
        pairs = [("~", one) for one in self.regular] + [("LIKE", one) for one in self.likes]
        some = [
            document.bool_op(operator)(func.lower(bindparam(None, pattern, String)))
            for operator, pattern in pairs[:_MOST_INDEXED]
        ]
        return self._or_digits(text, all_of(*some))

    def _or_digits(self, text: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        if self.digits is None:
            return condition
        return or_(condition, literal_column(text, Text).like(f"%{self.digits}%"))


def beginnings(q: str) -> Words | None:
    """The words of `q`, or their beginnings. None if it has no letter or digit.

    Words begin after anything but a letter or digit, very short ones after a space: no index finds
    them elsewhere.
    """
    words = _words(q)
    short = [_after_space(word) for word in words if not _long_enough.search(word)]
    regular = [
        rf"[^[:alnum:]]{_special.sub(_escaped, word)}"
        for word in words
        if _long_enough.search(word)
    ]
    return Words(tuple(short), tuple(regular)) if words else None


def parts(q: str) -> Words | None:
    """Parts of words; very short ones only after a space, because no index finds them elsewhere.

    A telephone number in any notation too. None if `q` has no letter or digit.
    """
    likes = [
        f"%{_wildcard.sub(_escaped, word)}%" if _long_enough.search(word) else _after_space(word)
        for word in _words(q)
    ]
    if not likes:
        return None
    # A national number begins with zeros that its international form may lack.
    digits = re.sub(r"\D", "", q).lstrip("0") if _phone.fullmatch(q) else ""
    return Words(tuple(likes), digits=digits if len(digits) >= _FEWEST_DIGITS else None)


def _after_space(word: str) -> str:
    return f"% {_wildcard.sub(_escaped, word)}%"


def _folded(patterns: Sequence[str]) -> ColumnElement[Any]:
    # The database folds case, as it does in the index.
    joined = bindparam(None, "\n".join(patterns), String)
    return func.string_to_array(func.lower(joined), "\n", type_=ARRAY(Text))


def _escaped(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def _words(q: str) -> list[str]:
    """The words of `q`, longest first, without the punctuation around them."""
    found = {word.strip(string.punctuation) for word in q.split()}
    found = {word for word in found if _letters_or_digits.search(word)}
    return sorted(found, key=lambda word: (-len(word), word))
