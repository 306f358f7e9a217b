"""Licences on the wire."""

from datetime import date
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.http.fields import (
    CivilDate,
    Code,
    Id,
    Input,
    MergePatch,
    Name,
    Output,
    ShortText,
    StoredOutput,
    absent,
)
from app.http.paging import PageQuery
from app.policy.facts import LicenceKind


class LicenceFields(Input):
    customer_id: Id
    kind: LicenceKind
    product: Name
    version: ShortText
    purchased_on: CivilDate


class NewLicence(LicenceFields):
    serial_number: Code


class SentLicence(LicenceFields):
    reason: ShortText | None = Field(
        default=None, description="Why what is known is corrected; `sent again` if left out."
    )


class LicencePatch(MergePatch):
    product: Name = absent()
    version: ShortText = absent()


class LicencesQuery(PageQuery):
    customer_id: Id | None = None
    kind: LicenceKind | None = None
    serial_number: Code | None = None


class Withdrawal(Input):
    withdrawn_on: CivilDate
    reason: ShortText


class NewUpgrade(Input):
    version: ShortText
    upgraded_on: CivilDate | None = None
    paid_by: Literal["purchase", "contract"]


class Upgrade(Output):
    version: str
    upgraded_on: date
    paid_by: Literal["purchase", "contract"]
    contract_id: UUID | None


class Licence(StoredOutput):
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
