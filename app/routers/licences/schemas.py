"""Licences on the wire."""

from datetime import date
from typing import Annotated, Literal
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


class SentUpgrade(Input):
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
    withdrawn_on: date | None
    withdrawal_reason: str | None
    upgrades: list[Upgrade]
