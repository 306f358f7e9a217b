"""What Schemathesis checks besides its own checks; loaded by it, as `SCHEMATHESIS_HOOKS`."""

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
    "out_of_range",
}
_BEYOND_SCHEMAS_AT = {
    # With `queue=true` there is one page.
    ("query/cursor", "unknown_parameter"),
    # The names of the desks are the policy's, which the operator may replace.
    ("/help_desk", "not_allowed_value"),
    # A token bound to a customer may leave it out.
    ("/customer_id", "missing"),
}
_PROBLEMS_BEYOND_SCHEMAS = {
    "anonymous_caller",
    "training_not_covered",
    "serial_number_required",
    "serial_number_not_of_customer",
    "worked_before_opening",
}


@schemathesis.check
def refused_for_what_no_schema_says(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """`positive_data_acceptance`, for the answers that it cannot tell apart by their status."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code != 422:
        return
    problem = response.json()
    if problem["code"] in _PROBLEMS_BEYOND_SCHEMAS:
        return
    for error in problem.get("errors", ()):
        pointer, code = error["pointer"], error["code"]
        if code in _BEYOND_SCHEMAS or (pointer, code) in _BEYOND_SCHEMAS_AT:
            return
        # To JSON Schema 5.0 is an integer; we take no number with a point for one.
        if code == "wrong_type" and isinstance(_at(case.body, pointer), float):
            return
    raise AssertionError(f"valid data was refused: {problem['code']} {problem.get('errors')}")


def _at(value: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        value = value[int(step) if isinstance(value, list) else step]
    return value
