"""What Schemathesis does besides what it does of its own; loaded by it (`SCHEMATHESIS_HOOKS`).

It checks why valid data is refused, and sends headers that the document does not name.
"""

import random
import string
from typing import Any

import schemathesis

# What a schema cannot say: that a reference exists, that dates are in order, that exactly one of
# several is given, what a number in a national plan looks like. Every other refusal of data that
# satisfies the schema is a schema that says too little.
_BEYOND_SCHEMAS = {
    "unknown_reference",
    "in_future",
    "wrong_order",
    "exactly_one",
    "bad_cursor",
    "not_a_phone_number",
    "duplicate",
    # What is stored, the schema does not know.
    "read_only",
    "out_of_range",
}
_BEYOND_SCHEMAS_AT = {
    # Read as it is dialled: spaces around it and a `#` at its end do not count.
    ("query/case_number", "bad_format"),
    ("/case_number", "bad_format"),
    # With `queue=true` there is one page.
    ("query/cursor", "unknown_parameter"),
    # CSV alone has dialects, whether `format` or `Accept` asks for it.
    ("query/dialect", "unknown_parameter"),
    # The names of the desks are the policy's, which the operator may replace.
    ("/help_desk", "not_allowed_value"),
    # A token bound to a customer may leave it out.
    ("/customer_id", "missing"),
    # The address of a link of this service, say.
    ("/url", "not_public"),
    # A port out of range, no host before the port, or an address with half of its brackets.
    ("/url", "bad_format"),
    ("/example_url", "bad_format"),
    # A header that the request itself needs, in whatever case.
    ("/headers", "invalid"),
    # What the file contains.
    ("/file", "not_csv"),
    ("/file", "not_a_csv_file"),
    ("/file", "not_utf8"),
    ("/file", "blank"),
    ("/file", "too_many"),
    ("/file", "too_long"),
    ("/file", "columns_missing"),
    ("/file", "columns_repeated"),
    ("/file", "columns_unknown"),
    ("/file", "column_needed"),
}
_PROBLEMS_BEYOND_SCHEMAS = {
    "anonymous_caller",
    "training_not_covered",
    "serial_number_required",
    "serial_number_not_of_customer",
    "worked_before_opening",
    "idempotency_key_reused",
    "rows_refused",
}

_TAGS = ["*", '"x"', 'W/"x"', '"', ",,", '"x" "y"', 'W/"', "\xff"]
_HEADERS = {
    "If-Match": _TAGS,
    "If-None-Match": _TAGS,
    "Accept": ["*/*", "text/csv", "text/html;q=1e9", "image/png", ";;q=,", "application/*;q=0"],
    "Accept-Language": ["it", "de;q=much", "*;q=0", "it," * 1000, "\xff"],
    "Idempotency-Key": ["once", "x" * 256, "\xff", '"'],
    "X-Request-Id": ["mine", "x" * 256, "\xff"],
    "Traceparent": ["00-" + "0" * 32 + "-1-1", "\xff"],
}


_chance = random.Random(1)


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Every third request carries a header of those that everybody may send."""
    if _chance.random() < 1 / 3:
        name = _chance.choice(list(_HEADERS))
        value = _chance.choice(_HEADERS[name])
        if value == "once":
            value = "".join(_chance.choices(string.ascii_letters, k=2))
        case.headers[name] = value
    wait = (case.query or {}).get("wait")
    if isinstance(wait, int) and not isinstance(wait, bool) and 1 < wait <= 30:
        # The time is for other requests.
        case.query["wait"] = 1


@schemathesis.check
def refused_for_what_no_schema_says(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """`positive_data_acceptance`, for the answers that it cannot tell apart by their status."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code != 422:
        return
    problem = response.json()
    errors = problem.get("errors", ())
    if problem["code"] in _PROBLEMS_BEYOND_SCHEMAS or (
        errors and all(_beyond_schemas(error, case) for error in errors)
    ):
        return
    raise AssertionError(f"valid data was refused: {problem['code']} {errors}")


def _beyond_schemas(error: dict[str, str], case: schemathesis.Case[Any]) -> bool:
    pointer, code = error["pointer"], error["code"]
    return (
        pointer.startswith("header/")
        or code in _BEYOND_SCHEMAS
        or (pointer, code) in _BEYOND_SCHEMAS_AT
    )
