"""Licences, known again by their serial numbers, as by `PUT /v1/licences/by-serial/…`.

With the columns of a withdrawal a licence can be withdrawn; none is ever given back, and one that
is withdrawn is not replaced.
"""

from collections.abc import AsyncIterator
from typing import Any, ClassVar
from uuid import UUID

from app.errors import InputError, InvalidInput
from app.http.fields import CivilDate, Code, Id, ShortText
from app.ids import new_id
from app.importing.kinds import ACTOR, Counts, read_as, said
from app.importing.owned import OWNED, Owned
from app.importing.reading import BadRow, Row
from app.importing.staging import Stage
from app.routers.licences.schemas import NewLicence
from app.store.events import record_each

NOBODY = UUID(int=0)
"""Where the API has a customer's id, a file has its code."""
_FACTS = ("kind", "product", "version", "purchased_on")
_WITHDRAWAL = ("withdrawn_on", "withdrawal_reason")


class _LicenceRow(NewLicence):
    customer_id: Id = NOBODY
    customer_code: Code
    withdrawn_on: CivilDate | None = None
    withdrawal_reason: ShortText | None = None


def both_or_neither(body: dict[str, Any], first: str, second: str) -> list[InputError]:
    """A day and its reason go together."""
    if (body.get(first) is None) == (body.get(second) is None):
        return []
    return [InputError(f"/{second if body.get(second) is None else first}", "missing")]


class Licences(Owned):
    table = "licences"
    known_by = "serial_number"
    staged: ClassVar = {
        "line": "integer",
        "key": "text",
        "customer_key": "text",
        "id": "uuid",
        "serial_number": "text",
        "kind": "text",
        "product": "text",
        "version": "text",
        "purchased_on": "date",
        "withdrawn_on": "date",
        "withdrawal_reason": "text",
    }

    def record(self, row: Row) -> tuple[Any, ...]:
        given = read_as(_LicenceRow, dict(row.cells))
        errors = both_or_neither(given.model_dump(), *_WITHDRAWAL)
        if given.purchased_on > self.moment.today:
            errors.append(InputError("/purchased_on", "in_future"))
        if given.withdrawn_on is not None and given.withdrawn_on < given.purchased_on:
            errors.append(InputError("/withdrawn_on", "wrong_order"))
        if errors:
            raise InvalidInput(*errors)
        return (
            row.line,
            given.serial_number.lower(),
            given.customer_code.lower(),
            new_id(),
            given.serial_number,
            *(getattr(given, name) for name in (*_FACTS, *_WITHDRAWAL)),
        )

    async def compare(self, stage: Stage) -> AsyncIterator[BadRow]:
        facts = " OR ".join(f"o.{name} IS DISTINCT FROM k.{name}" for name in _FACTS)
        withdrawal = "false"
        if "withdrawn_on" in self.columns:
            withdrawal = " OR ".join(f"o.{name} IS DISTINCT FROM k.{name}" for name in _WITHDRAWAL)
        await stage.table_as(
            "import_known",
            f"""SELECT o.line, k.id, {facts} AS changed, {withdrawal} AS withdrawn,
                k.withdrawn_on,
                (SELECT min(u.upgraded_on) FROM licence_upgrades u WHERE u.licence_id = k.id)
                    AS upgraded_on
                FROM {OWNED} o JOIN licences k ON k.id = o.known
                WHERE o.owner = o.customer_id""",
            "line",
        )
        refused = """SELECT line, withdrawn_on, withdrawn FROM import_known
            WHERE (changed AND withdrawn_on <= :today)
                OR (withdrawn AND withdrawn_on IS NOT NULL)"""
        for row in await stage.fetch(refused):
            column = "withdrawn_on" if row.withdrawn else "serial_number"
            reason = f"was withdrawn on {row.withdrawn_on} and is not replaced"
            yield BadRow(row.line, column, reason)
        early = f"""SELECT line FROM import_known JOIN {OWNED} o USING (line)
            WHERE changed AND upgraded_on < o.purchased_on"""
        for row in await stage.fetch(early):
            yield BadRow(row.line, "purchased_on", said("wrong_order"))

    async def write(self, stage: Stage) -> Counts:
        # Before the rows change: what they were is in the events.
        was, is_ = (
            f"""jsonb_strip_nulls(jsonb_build_object({
                ", ".join(
                    f"'{name}', CASE WHEN o.{name} <> k.{name} THEN {side}.{name} END"
                    for name in _FACTS
                )
            }))"""
            for side in ("k", "o")
        )
        new = ", ".join(f"'{name}', o.{name}" for name in _FACTS)
        await record_each(
            stage.connection,
            ACTOR,
            self.moment.now,
            f"""SELECT type, customer_id, subject_id,
                    jsonb_build_object('serial_number', serial_number) || data AS data
                FROM (
                    SELECT o.line, 1 AS step, 'licence.registered' AS type, o.customer_id,
                        o.id AS subject_id, o.serial_number,
                        jsonb_build_object('after', jsonb_build_object({new})) AS data
                    FROM {OWNED} o WHERE known IS NULL
                    UNION ALL
                    SELECT o.line, 1, 'licence.registered', o.customer_id, k.id, k.serial_number,
                        jsonb_build_object('before', {was}, 'after', {is_})
                    FROM {OWNED} o JOIN import_known USING (line) JOIN licences k ON k.id = o.known
                    WHERE changed
                    UNION ALL
                    SELECT o.line, 2, 'licence.withdrawn', o.customer_id, coalesce(k.id, o.id),
                        coalesce(k.serial_number, o.serial_number),
                        jsonb_build_object('withdrawn_on', o.withdrawn_on,
                            'reason', o.withdrawal_reason)
                    FROM {OWNED} o LEFT JOIN import_known m USING (line)
                    LEFT JOIN licences k ON k.id = o.known
                    WHERE o.withdrawn_on IS NOT NULL AND (o.known IS NULL OR m.withdrawn)
                ) AS happened ORDER BY line, step""",
        )
        columns = ", ".join((*_FACTS, *_WITHDRAWAL))
        created = await stage.run(
            f"""INSERT INTO licences (id, customer_id, serial_number, {columns}, created_at)
            SELECT id, customer_id, serial_number, {columns}, CAST(:now AS timestamptz)
            FROM {OWNED} WHERE known IS NULL ORDER BY line"""
        )
        columns = ", ".join(
            f"{name} = o.{name}"
            for name in (*_FACTS, *(_WITHDRAWAL if "withdrawn_on" in self.columns else ()))
        )
        changed = await stage.run(
            f"""UPDATE licences k SET {columns} FROM {OWNED} o JOIN import_known m USING (line)
            WHERE k.id = o.known AND (m.changed OR m.withdrawn)"""
        )
        total = await stage.count(OWNED)
        return Counts(created, changed, total - created - changed)
