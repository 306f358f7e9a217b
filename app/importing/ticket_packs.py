"""A row of a ticket packs file."""

from typing import Any

from app.errors import invalid
from app.http.fields import CivilDate, Code, Input, TicketQuantity
from app.ids import new_id
from app.importing.cells import Moment, read_as, with_number
from app.services.ticket_packs import expiry


class _TicketPackRow(Input):
    customer_code: Code
    number: Code
    quantity: TicketQuantity
    purchased_on: CivilDate


def record(cells: dict[str, str], moment: Moment) -> dict[str, Any]:
    """The staged row. Raises InvalidInput."""
    given = read_as(_TicketPackRow, with_number(cells, "quantity"))
    if given.purchased_on > moment.today:
        raise invalid("/purchased_on", "in_future")
    return {
        **given.model_dump(exclude={"customer_code"}),
        "key": given.number.lower(),
        "customer_key": given.customer_code.lower(),
        "id": new_id(),
        "expires_on": expiry(moment.policies, given.purchased_on),
    }
