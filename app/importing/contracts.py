"""Contracts, known again by their numbers (R15, R17)."""

from collections.abc import AsyncIterator, Mapping
from datetime import date
from typing import Any, ClassVar

from app.errors import EditorLicenceRequired, InputError, InvalidInput
from app.http.errors.catalogue import CATALOGUES
from app.http.fields import CivilDate, Code, Id, ShortText
from app.ids import new_id
from app.importing.agreed import Agreed
from app.importing.kinds import ACTOR, Counts, number, read_as
from app.importing.licences import NOBODY, both_or_neither
from app.importing.owned import OWNED
from app.importing.reading import BadRow, Row
from app.importing.staging import Stage
from app.policy.facts import Licence
from app.policy.standing import holds_editor
from app.routers.contracts.schemas import NewContract
from app.services.contracts import terms as agreed
from app.store.events import record_each

_CANCELLATION = ("cancelled_on", "cancellation_reason")
_BATCH = 2_000


class _ContractRow(NewContract):
    customer_id: Id = NOBODY
    customer_code: Code
    number: Code
    cancelled_on: CivilDate | None = None
    cancellation_reason: ShortText | None = None


class Contracts(Agreed):
    table = "contracts"
    staged: ClassVar = {
        "line": "integer",
        "key": "text",
        "customer_key": "text",
        "id": "uuid",
        "number": "text",
        "starts_on": "date",
        "ends_on": "date",
        "included_minutes": "integer",
        "minutes_given": "boolean",
        "cancelled_on": "date",
        "cancellation_reason": "text",
    }

    def record(self, row: Row) -> tuple[Any, ...]:
        body: dict[str, Any] = dict(row.cells)
        if "included_minutes" in body:
            body["included_minutes"] = number(body["included_minutes"])
        given = read_as(_ContractRow, body)
        starts_on = given.starts_on
        ends_on, minutes = agreed(self.moment.policies, starts_on, given.included_minutes)
        errors = both_or_neither(given.model_dump(), *_CANCELLATION)
        if given.cancelled_on is not None and not starts_on <= given.cancelled_on <= ends_on:
            errors.append(InputError("/cancelled_on", "out_of_range"))
        if errors:
            raise InvalidInput(*errors)
        return (
            row.line,
            given.number.lower(),
            given.customer_code.lower(),
            new_id(),
            given.number,
            starts_on,
            ends_on,
            minutes,
            given.included_minutes is not None,
            given.cancelled_on,
            given.cancellation_reason,
        )

    def facts(self) -> Mapping[str, str]:
        facts = {"starts_on": "true", "included_minutes": "o.minutes_given"}
        if "cancelled_on" in self.columns:
            facts |= dict.fromkeys(_CANCELLATION, "true")
        return facts

    async def new(self, stage: Stage) -> AsyncIterator[BadRow]:
        """Signed only by holders of an Editor on the first day, as known now (R15)."""
        last = 0
        reason = CATALOGUES["en"].text(f"problems.{EditorLicenceRequired.code}.detail")
        while rows := await stage.fetch(
            f"""SELECT o.line, o.starts_on, array_agg(l.kind) AS kinds,
                array_agg(l.purchased_on) AS bought, array_agg(l.withdrawn_on) AS withdrawn
            FROM (SELECT * FROM {OWNED} WHERE known IS NULL AND customer_id IS NOT NULL
                AND line > :last ORDER BY line LIMIT :most) AS o
            LEFT JOIN licences l ON l.customer_id = o.customer_id
            GROUP BY o.line, o.starts_on ORDER BY o.line""",
            last=last,
            most=_BATCH,
        ):
            last = rows[-1].line
            for row in rows:
                if not holds_editor(_licences(row.kinds, row.bought, row.withdrawn), row.starts_on):
                    yield BadRow(row.line, "starts_on", reason)

    async def write(self, stage: Stage) -> Counts:
        fields = "id, customer_id, number, starts_on, ends_on, included_minutes"
        created = await stage.run(
            f"""INSERT INTO contracts ({fields}, {", ".join(_CANCELLATION)}, created_at)
            SELECT {fields}, {", ".join(_CANCELLATION)}, CAST(:now AS timestamptz)
            FROM {OWNED} WHERE known IS NULL ORDER BY line"""
        )
        await record_each(
            stage.connection,
            ACTOR,
            self.moment.now,
            f"""SELECT type, customer_id, subject_id,
                    jsonb_build_object('number', number) || data AS data
                FROM (
                    SELECT line, 1 AS step, 'contract.signed' AS type, customer_id,
                        id AS subject_id, number,
                        jsonb_build_object('starts_on', starts_on, 'ends_on', ends_on,
                            'included_minutes', included_minutes) AS data
                    FROM {OWNED} WHERE known IS NULL
                    UNION ALL
                    SELECT line, 2, 'contract.cancelled', customer_id, id, number,
                        jsonb_build_object('cancelled_on', cancelled_on,
                            'reason', cancellation_reason)
                    FROM {OWNED} WHERE known IS NULL AND cancelled_on IS NOT NULL
                ) AS happened ORDER BY line, step""",
        )
        total = await stage.count(OWNED)
        return Counts(created, 0, total - created)


def _licences(
    kinds: list[Any], bought: list[date | None], withdrawn: list[date | None]
) -> tuple[Licence, ...]:
    return tuple(
        Licence("", "", kind, purchased_on, withdrawn_on)
        for kind, purchased_on, withdrawn_on in zip(kinds, bought, withdrawn, strict=True)
        if purchased_on is not None
    )
