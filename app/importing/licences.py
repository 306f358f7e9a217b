"""A row of a licences file."""

from typing import Any

from app.errors import InputError, InvalidInput
from app.http.fields import CivilDate, Code, Input, Name, ShortText
from app.ids import new_id
from app.importing.cells import Moment, both_or_neither, read_as
from app.policy.facts import LicenceKind


class _LicenceRow(Input):
    customer_code: Code
    serial_number: Code
    kind: LicenceKind
    product: Name
    version: ShortText
    purchased_on: CivilDate
    withdrawn_on: CivilDate | None = None
    withdrawal_reason: ShortText | None = None


def record(cells: dict[str, str], moment: Moment) -> dict[str, Any]:
    """The staged row. Raises InvalidInput."""
    given = read_as(_LicenceRow, dict(cells))
    errors = both_or_neither(given, "withdrawn_on", "withdrawal_reason")
    if given.purchased_on > moment.today:
        errors.append(InputError("/purchased_on", "in_future"))
    if given.withdrawn_on is not None and given.withdrawn_on < given.purchased_on:
        errors.append(InputError("/withdrawn_on", "wrong_order"))
    if errors:
        raise InvalidInput(*errors)
    return {
        **given.model_dump(exclude={"customer_code"}),
        "key": given.serial_number.lower(),
        "customer_key": given.customer_code.lower(),
        "id": new_id(),
    }
