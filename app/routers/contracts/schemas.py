"""Contracts on the wire."""

from datetime import date
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.http.corrections import Correction
from app.http.fields import (
    CUSTOMER,
    CivilDate,
    Code,
    IncludedMinutes,
    Input,
    Key,
    ShortText,
    StoredOutput,
)
from app.http.paging import PageQuery
from app.store.states import ContractState


class NewContract(Input):
    """A contract to sign."""

    customer_id: Key = Field(description=CUSTOMER)
    number: Code | None = Field(default=None, description="Made by the service if left out.")
    starts_on: CivilDate
    included_minutes: IncludedMinutes | None = Field(
        default=None, description="By default what the policy grants."
    )
    take_over_overrun: bool = Field(
        default=False,
        description="Cover the overrun of free hours and of unpaid cases, up to its minutes.",
    )


class ContractsQuery(PageQuery):
    customer_id: Key | None = Field(default=None, description=CUSTOMER)
    state: ContractState | None = None
    ends_before: CivilDate | None = None


class Renewal(Input):
    """The successor of a contract."""

    starts: Literal["today", "at_end"] = Field(
        description="`today`: both are in force for a while; `at_end`: where the old one ends."
    )
    number: Code | None = Field(default=None, description="Made by the service if left out.")
    take_over_overrun: bool = Field(
        default=False, description="Cover the overrun that stands now, up to the new minutes."
    )


class Cancellation(Input):
    """The end of a contract before its time."""

    cancelled_on: CivilDate = Field(
        description="The first day on which the contract no longer holds."
    )
    reason: ShortText = Field(description="Why it ends.")


class ContractCorrection(Correction):
    """What was entered wrong: what is left out stays."""

    starts_on: CivilDate | None = Field(
        default=None, description="The first day. The contract ends as long after it as ever."
    )
    included_minutes: IncludedMinutes | None = None
    number: Code | None = None


class Contract(StoredOutput):
    """A service agreement: minutes to use within twelve months."""

    id: UUID
    number: str
    customer_id: UUID
    starts_on: date
    ends_on: date
    included_minutes: int
    used_minutes: int
    overrun_minutes: int
    remaining_minutes: int
    renews: UUID | None
    cancelled_on: date | None
    cancellation_reason: str | None
    state: ContractState
