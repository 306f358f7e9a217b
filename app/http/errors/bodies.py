"""The bodies of problems (RFC 9457), for the OpenAPI document and for whoever embeds a problem.

Every problem has the members of `ProblemBody`. A class of `CARRYING` names what an error's body
carries beyond them, so that a generated client reads `reasons` or `candidates` as typed members.
`ProblemMembers` leaves out `code` and `status`, which each kind of problem fixes: generators
cannot narrow a member that a common part has declared.
"""

from datetime import date
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.errors import (
    AlreadyExists,
    AmbiguousLookup,
    AmbiguousPerson,
    CorrectionConflicts,
    CursorExpired,
    CustomerMerged,
    InvalidInput,
    NotEnoughTickets,
    NotEntitled,
    RowsRefused,
    ServiceError,
    WrongState,
)
from app.http.decisions import ReasonBody, SalesContactBody
from app.policy.facts import Step


class InputErrorBody(BaseModel):
    """One fault of the input."""

    pointer: str = Field(
        description=(
            "Where the fault is: a JSON Pointer (RFC 6901) into the body, or `query/`, `path/` or "
            "`header/` and a parameter's name, or `line/`, a line of a file, and a column's name."
        ),
        examples=["/contacts/0/name", "query/limit", "line/12/country"],
    )
    code: str = Field(
        description="What is wrong there, for a program to branch on.", examples=["too_long"]
    )
    message: str = Field(description="The same for a person, in the language of the answer.")


class ProblemMembers(BaseModel):
    """What every problem has beside its `code` and `status` (RFC 9457)."""

    type: str = Field(
        description="The address of the problem's explanation, relative to this service.",
        examples=["/problems/not_found"],
    )
    title: str = Field(description="What kind of problem it is, in the language of the answer.")
    detail: str = Field(description="What happened and what to do, in the language of the answer.")
    request_id: str | None = Field(
        description="The id under which the service has logged the request, as in `X-Request-Id`."
    )
    say: str | None = Field(
        default=None,
        description="A sentence for a phone system to speak. Only from `/v1/entitlements/check`.",
    )


class ProblemBody(ProblemMembers):
    """Any problem. Some carry more, such as `reasons` or `candidates`."""

    model_config = ConfigDict(extra="allow")

    status: int = Field(description="The HTTP status of the answer.", examples=[404])
    code: str = Field(
        description="The kind of problem, for a program to branch on.", examples=["not_found"]
    )
    errors: list[InputErrorBody] | None = Field(
        default=None, description="Every fault of an input that is refused."
    )


class Faults(BaseModel):
    errors: list[InputErrorBody] = Field(
        description="Every fault that was found, at most 100.",
        examples=[[{"pointer": "/name", "code": "missing", "message": "This is required."}]],
    )


class RefusedRows(Faults):
    bad_rows: int = Field(description="How many rows of the file have a fault.", examples=[1])


class TakenValue(BaseModel):
    field: str = Field(
        description="The field whose value is taken: `code`, `serial_number`, `version`, …",
        examples=["number"],
    )


class States(BaseModel):
    state: str = Field(description="The state in which the resource is.", examples=["closed"])
    wanted_state: str = Field(
        description="The state that the request would lead to.", examples=["in_progress"]
    )


class Refusal(BaseModel):
    reasons: list[ReasonBody] = Field(
        description="Why each column of the service matrix does not grant the service.",
        examples=[
            [
                {
                    "column": "SA",
                    "code": "no_contract_in_force",
                    "message": "No service agreement is in force.",
                    "facts": {"last_ended_on": "2026-03-01"},
                }
            ]
        ],
    )
    unlocked_by: list[Step] = Field(
        description="The purchases of which each alone would grant the service.",
        examples=[["renew_contract"]],
    )
    sales_contact: SalesContactBody | None = Field(
        default=None,
        description="Whom to ask. Absent where no purchase would help.",
        examples=[{"email": "sales@example.com", "name": "Sales"}],
    )


class Candidate(BaseModel):
    """A customer that a lookup found among others."""

    id: UUID = Field(description="The id of the customer.")
    code: str
    name: str


class Candidates(BaseModel):
    candidates: list[Candidate] = Field(
        description="The customers that were found: the first 20 by code.",
        examples=[
            [
                {
                    "id": "019aa6f0-5b1c-7c3e-9d2f-0a1b2c3d4e5f",
                    "code": "C-0001",
                    "name": "Acme Automazione S.r.l.",
                },
                {
                    "id": "019aa6f0-5b1c-7c3e-9d2f-0a1b2c3d4e60",
                    "code": "C-0002",
                    "name": "Acme Service S.r.l.",
                },
            ]
        ],
    )
    more: bool = Field(
        description="There are more than are listed: ask by something more particular.",
        examples=[False],
    )


class ConflictingRecord(BaseModel):
    """A record in the way."""

    kind: Literal["upgrade", "charge", "ticket", "contract", "licence"] = Field(
        description=(
            "An upgrade that a contract paid for, a charge, a ticket in use, the contract that "
            "renews another, or the licence of another holder."
        )
    )
    name: str = Field(
        description=(
            "What people call it by: the version of an upgrade, the number of the case with the "
            "charge or ticket, the number of a contract, the serial number of a licence."
        )
    )
    on: date = Field(description="The day on which it counts.")
    minutes: int | None = Field(default=None, description="The minutes of a charge.")


class Conflicts(BaseModel):
    conflicts: list[ConflictingRecord] = Field(
        description="The records that stand in the way of the correction.",
        examples=[[{"kind": "upgrade", "name": "12", "on": "2026-11-23"}]],
    )


class Available(BaseModel):
    available: int = Field(
        description="How many tickets can be taken out of the pack on that day.", examples=[2]
    )


class Survivor(BaseModel):
    """The customer of whom another record became part."""

    id: UUID = Field(description="The id of the customer.")
    code: str
    name: str


class MergedInto(BaseModel):
    into: Survivor = Field(
        description="The customer that has everything of it, and to whom its code and id lead.",
        examples=[
            {
                "id": "019aa6f0-5b1c-7c3e-9d2f-0a1b2c3d4e5f",
                "code": "C-0001",
                "name": "Acme Automazione S.r.l.",
            }
        ],
    )


class NamedPerson(BaseModel):
    """One of several people."""

    contact_id: UUID | None = Field(description="Null for somebody named on cases only.")
    name: str = Field(description="The name.")


class People(BaseModel):
    people: list[NamedPerson] = Field(
        description="Those who have the address or number.",
        examples=[
            [{"contact_id": None, "name": "Anna Rossi"}, {"contact_id": None, "name": "Bruno Neri"}]
        ],
    )


class WhereToGoOn(BaseModel):
    begin_after: str = Field(
        description="The cursor after which to read on.", examples=["zW3n-8r0yq1"]
    )
    missed: bool = Field(
        description="Whether events between the two are gone; then read the resources anew.",
        examples=[False],
    )


CARRYING: dict[type[ServiceError], type[BaseModel]] = {
    InvalidInput: Faults,
    RowsRefused: RefusedRows,
    AlreadyExists: TakenValue,
    WrongState: States,
    NotEntitled: Refusal,
    AmbiguousLookup: Candidates,
    CorrectionConflicts: Conflicts,
    NotEnoughTickets: Available,
    AmbiguousPerson: People,
    CustomerMerged: MergedInto,
    CursorExpired: WhereToGoOn,
}
"""What the body of an error carries beyond `ProblemBody`."""


def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """The members of a body by their first examples, those without one left out."""
    return {name: field.examples[0] for name, field in model.model_fields.items() if field.examples}
