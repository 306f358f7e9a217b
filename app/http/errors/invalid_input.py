"""Pydantic's errors translated into codes of ours, without repeating the input."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from app.errors import MOST_ERRORS, InputCode, InputError
from app.http.fields import BASE64_PATTERN, CLOCK_PATTERN, CODE_PATTERN, URL_PATTERN
from app.http.references import REFERENCE_PATTERN

_LONGEST_NAME = 100
_quoted = re.compile("'([^']*)'")

_CODES: dict[str, InputCode] = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "json_invalid": "malformed_json",
    "string_unicode": "forbidden_characters",
    "string_too_long": "too_long",
    "string_too_short": "too_short",
    "too_long": "too_many",
    "too_short": "too_few",
    "greater_than_equal": "too_small",
    "less_than_equal": "too_large",
    "literal_error": "not_allowed_value",
    "enum": "not_allowed_value",
    "union_tag_invalid": "not_allowed_value",
    "union_tag_not_found": "missing",
    "string_pattern_mismatch": "bad_format",
    "int_parsing_size": "too_long",
}
# The name of the limit in pydantic's context, for the codes whose message has one.
_LIMITS: dict[str, str] = {
    "string_too_long": "max_length",
    "string_too_short": "min_length",
    "too_long": "max_length",
    "too_short": "min_length",
    "greater_than_equal": "ge",
    "less_than_equal": "le",
}
_MOST_DIGITS = 4_300
"""Of an integer that pydantic reads from a text."""
_EXPECTED = {
    "string_type": "text",
    "int_type": "integer",
    "int_parsing": "integer",
    "int_from_float": "integer",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "list_type": "list",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
}
# What a field with this pattern expects, as a word of the catalogues.
_FORMS = {
    BASE64_PATTERN: "form_base64",
    CODE_PATTERN: "form_code",
    CLOCK_PATTERN: "form_clock",
    REFERENCE_PATTERN: "form_reference",
    URL_PATTERN: "form_url",
}


def explain(
    errors: Iterable[Mapping[str, Any]], body: object = None, most: int = MOST_ERRORS
) -> list[InputError]:
    """The first faults in the errors of a RequestValidationError; `body` is needed for the
    pointers."""
    explained: list[InputError] = []
    for error in errors:
        one = _explain(error, body)
        # Each branch of a union reports the same field: one message for it is enough.
        if one not in explained:
            explained.append(one)
        if len(explained) == most:
            break
    return explained


def _explain(error: Mapping[str, Any], body: object) -> InputError:
    kind: str = error["type"]
    place, *rest = error["loc"] or ("body",)
    code, params = _code_of(kind, error.get("ctx") or {})
    if code == "wrong_type" and error.get("input", ...) is None:
        code, params = "null_not_allowed", {}
    if code == "malformed_json":
        rest = []
    if place == "body":
        return InputError(_pointer(rest, body, code), code, params)
    if code == "unknown_field":
        code = "unknown_parameter"
    return InputError("/".join([place, *map(safe_name, rest[:1])]), code, params)


def _code_of(kind: str, context: Mapping[str, Any]) -> tuple[InputCode, Mapping[str, object]]:
    if kind.startswith("ours."):
        return cast("InputCode", kind.removeprefix("ours.")), context
    if kind in _EXPECTED:
        return "wrong_type", {"expected": _EXPECTED[kind]}
    code = _CODES.get(kind, "invalid")
    if kind == "int_parsing_size":
        return code, {"limit": _MOST_DIGITS}
    if kind in _LIMITS:
        return code, {"limit": context[_LIMITS[kind]]}
    if code == "bad_format":
        return code, {"expected": _FORMS.get(context["pattern"], "form_documented")}
    if code == "not_allowed_value":
        # Pydantic's list has an English "or" before the last value.
        allowed = _quoted.findall(context.get("expected") or context["expected_tags"])
        return code, {"allowed": ", ".join(allowed)}
    return code, {}


def safe_name(name: object) -> str:
    """A name from the input that is safe to send back: shortened, and valid UTF-8."""
    return str(name)[:_LONGEST_NAME].encode("utf-8", "replace").decode()


def _pointer(path: Sequence[str | int], body: object, code: InputCode) -> str:
    """The RFC 6901 pointer of a pydantic location.

    Pydantic also puts the names of union branches and validators into its path. A step that is
    neither a key nor an index of the value there is left out, unless it is the missing key.
    """
    parts: list[str] = []
    value: Any = body
    for position, step in enumerate(path):
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_list or (isinstance(value, dict) and step in value):
            value = value[step]
        elif not (code == "missing" and position == len(path) - 1):
            continue
        parts.append("/" + safe_name(step).replace("~", "~0").replace("/", "~1"))
    return "".join(parts)
