"""Imports of contracts, identified by their numbers (R15, R17)."""

from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar

from app.policy.facts import Licence
from app.policy.standing import holds_editor
from app.services.imports.owned import OWNED, Agreed
from app.services.imports.staging import Counts, Fault
from app.store.event_types import EventType

_CANCELLATION = ("cancelled_on", "cancellation_reason")
_BATCH = 2_000


class ContractImport(Agreed):
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

    def _facts(self) -> Mapping[str, str]:
        facts = {"starts_on": "true", "included_minutes": "o.minutes_given"}
        if "cancelled_on" in self.fields:
            facts |= dict.fromkeys(_CANCELLATION, "true")
        return facts

    async def _faults(self) -> None:
        await super()._faults()
        # Only holders of an Editor on the first day, as known now, sign a contract (R15).
        last = 0
        while rows := await self.stage.fetch(
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
                    self.stage.report(Fault(row.line, "/starts_on", "editor_licence_required"))

    async def write(self) -> Counts:
        fields = "id, customer_id, number, starts_on, ends_on, included_minutes"
        created = await self.stage.run(
            f"""INSERT INTO contracts ({fields}, {", ".join(_CANCELLATION)}, created_at)
            SELECT {fields}, {", ".join(_CANCELLATION)}, CAST(:now AS timestamptz)
            FROM {OWNED} WHERE known IS NULL ORDER BY line"""
        )
        await self.stage.record_each(
            f"""SELECT type, customer_id, subject_id,
                    jsonb_build_object('number', number) || data AS data
                FROM (
                    SELECT line, 1 AS step, '{EventType.CONTRACT_SIGNED}' AS type, customer_id,
                        id AS subject_id, number,
                        jsonb_build_object('starts_on', starts_on, 'ends_on', ends_on,
                            'included_minutes', included_minutes) AS data
                    FROM {OWNED} WHERE known IS NULL
                    UNION ALL
                    SELECT line, 2, '{EventType.CONTRACT_CANCELLED}', customer_id, id, number,
                        jsonb_build_object('cancelled_on', cancelled_on,
                            'reason', cancellation_reason)
                    FROM {OWNED} WHERE known IS NULL AND cancelled_on IS NOT NULL
                ) AS happened ORDER BY line, step"""
        )
        return Counts(created, 0, await self.stage.count(OWNED) - created)


def _licences(
    kinds: list[Any], bought: list[date | None], withdrawn: list[date | None]
) -> tuple[Licence, ...]:
    return tuple(
        Licence("", "", kind, purchased_on, withdrawn_on)
        for kind, purchased_on, withdrawn_on in zip(kinds, bought, withdrawn, strict=True)
        if purchased_on is not None
    )
