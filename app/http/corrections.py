"""Corrections on the wire: each gives its reason, and can be tried out (R40)."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field
from starlette.responses import Response

from app.http.context import Context
from app.http.decisions import EntitlementsBody, desk_of, entitlements_body
from app.http.fields import Input, Output, ShortText
from app.http.responses import TrialResponse, ok
from app.policy.civil import Closures
from app.policy.decide import decide
from app.policy.facts import CasePaidBy
from app.services import help_desks
from app.services.dry_runs import Preview, preview
from app.store.facts import Known


class Correction(Input):
    """A correction of what was recorded."""

    reason: ShortText = Field(description="Why it is corrected. It is kept with the correction.")
    dry_run: bool = Field(
        default=False,
        description="`true`: answer what would change, and change nothing.",
    )


class ChangedFact(Output):
    """What would change of one record."""

    event: str = Field(description="The type of event that would be recorded.")
    id: UUID
    name: str | None = Field(description="The serial number, number or code of the record.")
    before: dict[str, Any] = Field(description="The fields that would change, as they are.")
    after: dict[str, Any] = Field(description="The same fields as they would be.")


class ChargedAllowance(Output):
    """A contract by id and number, or a service year by its first day."""

    kind: CasePaidBy
    id: UUID | None = None
    number: str | None = None
    service_year_start: date | None = None


class ChargeMoved(Output):
    """Minutes that would count on a day against an allowance, or no longer would (negative)."""

    case_number: str
    allowance: ChargedAllowance | None = Field(
        description="Null for overrun of a case that no allowance pays for."
    )
    counts_on: date = Field(description="The day on which the minutes count.")
    used_minutes: int
    overrun_minutes: int


class OtherCustomer(Output):
    """The answers for a second customer whom the step concerns."""

    before: EntitlementsBody = Field(description="The answer as things are.")
    after: EntitlementsBody = Field(description="The answer after the step.")


class DryRun(Output):
    """What a step would change. Nothing was written."""

    facts: list[ChangedFact] = Field(description="What would change of each record.")
    charges_moved: list[ChargeMoved] = Field(
        description="What would be added to charges and overrun, by case, allowance and day."
    )
    before: EntitlementsBody = Field(description="What the customer may use as things are.")
    after: EntitlementsBody = Field(description="What the customer could use after the step.")
    other: OtherCustomer | None = Field(
        default=None,
        description=(
            "The same for the second customer of a transfer or move; for a record that is merged,"
            " what its code answers."
        ),
    )


async def corrected(
    context: Context,
    body: Correction,
    lock: Callable[[], Awaitable[Sequence[UUID]]],
    step: Callable[..., Awaitable[Any]],
    shape: Callable[[Any], BaseModel],
) -> Response:
    """Take a step with the fields of the body, or try it out.

    `lock` locks the customers whom the step concerns, and returns their ids.
    """
    given = {name: getattr(body, name) for name in body.model_fields_set | {"reason"}}
    dry_run = given.pop("dry_run", False)
    language = {"Content-Language": context.language}
    if not dry_run:
        return ok(context, shape(await step(**given)), headers=language)
    found = await preview(context, await lock(), lambda: step(**given))
    closures = await help_desks.standing(context, context.now)
    return TrialResponse.of(_body(context, found, closures), language)


def _body(context: Context, found: Preview, closures: Closures) -> dict[str, Any]:
    (before, after), *others = (
        [_entitlements(context, one, closures) for one in pair] for pair in found.customers
    )
    body: dict[str, Any] = {
        "facts": [change._asdict() for change in found.facts],
        "charges_moved": [moved._asdict() for moved in found.charges_moved],
        "before": before,
        "after": after,
    }
    if others:
        body["other"] = dict(zip(("before", "after"), others[0], strict=True))
    return body


def _entitlements(context: Context, customer: Known, closures: Closures) -> dict[str, Any]:
    facts = customer.facts()
    decision = decide(context.policies, facts, context.today)
    desk = desk_of(decision.standing.policy, customer, context.now, closures)
    return entitlements_body(
        customer, facts, decision, context.policies, context.now, desk, context.language
    )
