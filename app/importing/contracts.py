"""A row of a contracts file."""

from typing import Any

from app.errors import InvalidInput, out_of_range
from app.http.fields import CivilDate, Code, IncludedMinutes, Input, ShortText
from app.ids import new_id
from app.importing.cells import Moment, both_or_neither, read_as, with_number
from app.services.contracts import terms


class _ContractRow(Input):
    customer_code: Code
    number: Code
    starts_on: CivilDate
    included_minutes: IncludedMinutes | None = None
    cancelled_on: CivilDate | None = None
    cancellation_reason: ShortText | None = None


def record(cells: dict[str, str], moment: Moment) -> dict[str, Any]:
    """The staged row. Raises InvalidInput."""
    given = read_as(_ContractRow, with_number(cells, "included_minutes"))
    ends_on, minutes = terms(moment.policies, given.starts_on, given.included_minutes)
    errors = both_or_neither(given, "cancelled_on", "cancellation_reason")
    if given.cancelled_on is not None and not given.starts_on <= given.cancelled_on <= ends_on:
        errors += out_of_range("/cancelled_on", given.starts_on, ends_on).errors
    if errors:
        raise InvalidInput(*errors)
    return {
        **given.model_dump(exclude={"customer_code"}),
        "key": given.number.lower(),
        "customer_key": given.customer_code.lower(),
        "id": new_id(),
        "ends_on": ends_on,
        "included_minutes": minutes,
        "minutes_given": given.included_minutes is not None,
    }
