"""Licences on the wire."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field

from app.http.corrections import Correction
from app.http.fields import (
    CUSTOMER,
    CivilDate,
    Code,
    Id,
    Input,
    Key,
    Listed,
    MergePatch,
    Name,
    Output,
    SentBack,
    ShortText,
    StoredOutput,
    absent,
    read_only,
)
from app.http.paging import PageQuery
from app.policy.facts import LicenceKind
from app.services.licences import History


class LicenceFields(Input):
    """What is known of a licence."""

    customer_id: Key = Field(description=CUSTOMER)
    kind: LicenceKind
    product: Name
    version: ShortText
    purchased_on: CivilDate


class NewLicence(LicenceFields):
    """A licence to register."""

    serial_number: Code = Field(
        description="A number that no other licence has, whatever the case of its letters."
    )


class SentUpgrade(Listed):
    """An upgrade as it was read."""

    id: Id | None = None
    version: ShortText
    upgraded_on: CivilDate
    paid_by: Literal["purchase", "contract"]
    contract_id: Id | None = None


class SentLicence(SentBack, LicenceFields):
    """What is known of a licence, and why it is corrected."""

    id: Id = read_only()
    serial_number: Code = read_only()
    held_from: CivilDate = read_only()
    transferred_on: CivilDate | None = read_only()
    withdrawn_on: CivilDate | None = read_only()
    withdrawal_reason: ShortText | None = read_only()
    upgrades: Annotated[list[SentUpgrade], Field(max_length=1000)] = read_only()

    reason: ShortText | None = Field(
        default=None, description="Why what is known is corrected; `sent again` if left out."
    )


class LicencePatch(MergePatch):
    """Changes of a licence (RFC 7396): what is left out stays."""

    product: Name = absent()
    version: ShortText = absent()


class LicencesQuery(PageQuery):
    customer_id: Key | None = Field(default=None, description=CUSTOMER)
    kind: LicenceKind | None = None
    serial_number: Code | None = None


class Withdrawal(Input):
    """The end of a licence."""

    withdrawn_on: CivilDate = Field(
        description="The first day on which the licence no longer counts."
    )
    reason: ShortText


class LicenceCorrection(Correction):
    """What was entered wrong: what is left out stays."""

    purchased_on: CivilDate | None = Field(
        default=None, description="The day of the purchase, not in the future."
    )
    kind: LicenceKind | None = None
    serial_number: Code | None = Field(
        default=None, description="A number that no other licence has."
    )
    product: Name | None = None


class NewUpgrade(Input):
    """An upgrade of a licence."""

    version: ShortText
    upgraded_on: CivilDate | None = Field(
        default=None, description="The day of the upgrade. By default today."
    )
    paid_by: Literal["purchase", "contract"]


class Upgrade(Output):
    """An upgrade of a licence."""

    id: UUID
    version: str
    upgraded_on: date
    paid_by: Literal["purchase", "contract"]
    contract_id: UUID | None


class Licence(StoredOutput):
    """A licence of a customer."""

    id: UUID
    customer_id: UUID
    serial_number: str
    kind: LicenceKind
    product: str
    version: str
    purchased_on: date
    held_from: date = Field(
        description="The first day on which the customer holds it: of the purchase or a transfer."
    )
    transferred_on: date | None = Field(
        description="The day from which another customer holds it. Null if it was not passed on."
    )
    withdrawn_on: date | None
    withdrawal_reason: str | None
    upgrades: list[Upgrade]

    @classmethod
    def of(cls, stored: Any) -> Self:
        stated = cls.model_fields.keys() - {"transferred_on"}
        fields = {name: getattr(stored, name) for name in stated}
        fields["held_from"] = stored.held_from or stored.purchased_on
        fields["transferred_on"] = None
        if stored.passed_on:
            fields["transferred_on"] = stored.withdrawn_on
            fields["withdrawn_on"] = fields["withdrawal_reason"] = None
        return cls.model_validate(fields)


class Transfer(Correction):
    """To whom a licence passes, and when."""

    to_customer_id: Key = Field(description=CUSTOMER)
    on: CivilDate = Field(
        description=(
            "The first day on which the other customer holds it: not in the future, and after the "
            "day on which it was got and its last upgrade."
        )
    )


class Holding(Output):
    """A time in which one customer held a serial number."""

    licence_id: UUID
    customer_id: UUID
    held_from: date
    held_until: date | None = Field(description="The first day on which it no longer was held.")
    got_by: Literal["purchase", "transfer"]
    ended_by: Literal["withdrawal", "transfer"] | None


class HistoryStep(Output):
    """What was recorded of a licence."""

    type: str = Field(description="The type of event.")
    licence_id: UUID
    customer_id: UUID
    recorded_at: datetime
    actor: str
    reason: str | None
    before: dict[str, Any] | None = Field(description="The fields that it changed, before.")
    after: dict[str, Any] | None = Field(description="The fields that it changed, after.")


class LicenceHistory(Output):
    """Who held a serial number, and what was recorded of it."""

    serial_number: str
    holdings: list[Holding] = Field(description="Oldest first. No two overlap.")
    steps: list[HistoryStep] = Field(description="In the order of recording.")

    @classmethod
    def of(cls, history: History) -> Self:
        held = [
            {
                "licence_id": row.id,
                "customer_id": row.customer_id,
                "held_from": row.held_from or row.purchased_on,
                "held_until": row.withdrawn_on,
                "got_by": "purchase" if row.held_from is None else "transfer",
                "ended_by": row.withdrawn_on and ("transfer" if row.passed_on else "withdrawal"),
            }
            for row in history.held
        ]
        steps = [
            {
                "type": row.type,
                "licence_id": row.subject_id,
                "customer_id": row.customer_id,
                "recorded_at": row.occurred_at,
                "actor": row.actor,
                **{name: row.data.get(name) for name in ("reason", "before", "after")},
            }
            for row in history.steps
        ]
        return cls.model_validate(
            {"serial_number": history.serial_number, "holdings": held, "steps": steps}
        )
