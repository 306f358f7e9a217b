"""Imports of licences, identified by their serial numbers, as by `PUT /v1/licences/by-serial/…`.

Another day of purchase or kind is a correction: service years and their cases follow (R40). A file
with columns for a withdrawal can withdraw a licence. A withdrawal is never undone, and a withdrawn
licence is not changed.
"""

from typing import ClassVar
from uuid import UUID

from app.policy.facts import Licence
from app.services.imports.owned import OWNED, Owned
from app.services.imports.staging import Counts
from app.services.licences import SENT, STORED_AS_SENT, as_sent
from app.services.service_years import follow_licences
from app.store.event_types import EventType
from app.store.facts import load
from app.store.ledger import Ledger

_WITHDRAWAL = ("withdrawn_on", "withdrawal_reason")
_SENT = as_sent("o")
"""A row as the CRM sent it."""
_SENT_ANEW = f"""jsonb_strip_nulls(
    {_SENT} || jsonb_build_object('serial_number', k.sent->'serial_number'))"""
"""The same for a stored licence `k`, which keeps the serial number that the CRM knows (R40)."""


class LicenceImport(Owned):
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

    def _stored(self) -> str:
        return STORED_AS_SENT

    async def _compare(self) -> None:
        facts = " OR ".join(f"o.{name} IS DISTINCT FROM k.{name}" for name in SENT)
        # What was sent last, sent again, changes nothing (R40).
        facts = f"({facts}) AND k.sent - 'serial_number' IS DISTINCT FROM {_SENT}"
        withdrawal = "false"
        if "withdrawn_on" in self.fields:
            withdrawal = " OR ".join(f"o.{name} IS DISTINCT FROM k.{name}" for name in _WITHDRAWAL)
        await self.stage.table_as(
            "import_known",
            f"""SELECT o.line, k.id, {facts} AS changed, {withdrawal} AS withdrawn,
                (o.kind <> k.kind OR o.purchased_on <> k.purchased_on)
                    AND k.sent - 'serial_number' IS DISTINCT FROM {_SENT} AS corrected,
                k.withdrawn_on, k.kind,
                (SELECT min(u.upgraded_on) FROM licence_upgrades u
                    WHERE u.licence_id = k.id AND u.reversed_at IS NULL)
                    AS upgraded_on
                FROM {OWNED} o JOIN licences k ON k.id = o.known
                WHERE o.owner = o.customer_id""",
            "line",
        )
        refused = """SELECT line, withdrawn_on AS "on",
                CASE WHEN withdrawn THEN 'withdrawn_on' ELSE 'serial_number' END AS field
            FROM import_known
            WHERE (changed AND withdrawn_on <= :today)
                OR (withdrawn AND withdrawn_on IS NOT NULL)"""
        early = f"""SELECT line FROM import_known JOIN {OWNED} o USING (line)
            WHERE changed AND upgraded_on < o.purchased_on"""
        upgraded = f"""SELECT m.line, m.kind AS kept
            FROM import_known m JOIN {OWNED} o USING (line)
            WHERE m.corrected AND m.kind <> o.kind AND EXISTS (SELECT FROM licence_upgrades u
                WHERE u.licence_id = m.id AND u.paid_by = 'contract'
                    AND u.reversed_at IS NULL)"""
        await self.stage.faults("withdrawn", "/{field}", refused)
        await self.stage.faults("wrong_order", "/purchased_on", early)
        await self.stage.faults("free_upgrade", "/kind", upgraded)

    async def write(self) -> Counts:
        # The events are recorded first, because they say what the rows were before.
        was, is_ = (
            f"""jsonb_strip_nulls(jsonb_build_object({
                ", ".join(
                    f"'{name}', CASE WHEN o.{name} IS DISTINCT FROM k.{name} THEN {side}.{name} END"
                    for name in SENT
                )
            }))"""
            for side in ("k", "o")
        )
        await self.stage.record_each(
            f"""SELECT type, customer_id, subject_id,
                    jsonb_build_object('serial_number', serial_number) || data AS data
                FROM (
                    SELECT o.line, 1 AS step, '{EventType.LICENCE_REGISTERED}' AS type,
                        o.customer_id, o.id AS subject_id, o.serial_number,
                        jsonb_build_object('after', {_SENT}) AS data
                    FROM {OWNED} o WHERE known IS NULL
                    UNION ALL
                    SELECT o.line, 1, CASE WHEN corrected THEN '{EventType.LICENCE_CORRECTED}'
                        ELSE '{EventType.LICENCE_REGISTERED}' END,
                        o.customer_id, k.id, k.serial_number,
                        jsonb_build_object('before', {was}, 'after', {is_})
                            || CASE WHEN corrected THEN '{{"reason": "sent again"}}'
                                ELSE '{{}}'::jsonb END
                    FROM {OWNED} o JOIN import_known USING (line) JOIN licences k ON k.id = o.known
                    WHERE changed
                    UNION ALL
                    SELECT o.line, 2, '{EventType.LICENCE_WITHDRAWN}',
                        o.customer_id, coalesce(k.id, o.id),
                        coalesce(k.serial_number, o.serial_number),
                        jsonb_build_object('withdrawn_on', o.withdrawn_on,
                            'reason', o.withdrawal_reason)
                    FROM {OWNED} o LEFT JOIN import_known m USING (line)
                    LEFT JOIN licences k ON k.id = o.known
                    WHERE o.withdrawn_on IS NOT NULL AND (o.known IS NULL OR m.withdrawn)
                ) AS happened ORDER BY line, step"""
        )
        followed = await self._followed()
        columns = ", ".join((*SENT, *_WITHDRAWAL))
        created = await self.stage.run(
            f"""INSERT INTO licences (id, customer_id, serial_number, {columns}, sent, created_at)
            SELECT id, customer_id, serial_number, {columns}, {_SENT}, CAST(:now AS timestamptz)
            FROM {OWNED} o WHERE known IS NULL ORDER BY line"""
        )
        for condition, names in (
            ("changed", (*SENT, "sent")),
            ("withdrawn", _WITHDRAWAL),
        ):
            columns = ", ".join(
                f"{name} = {_SENT_ANEW if name == 'sent' else f'o.{name}'}" for name in names
            )
            await self.stage.run(
                f"""UPDATE licences k SET {columns} FROM {OWNED} o JOIN import_known m USING (line)
                WHERE k.id = o.known AND m.{condition}"""
            )
        changed = await self.stage.count("import_known WHERE changed OR withdrawn")
        for customer_id, (was_held, ids) in followed.items():
            ledger = Ledger(self.stage.connection, self.policies, customer_id, self.now)
            await follow_licences(ledger, self.stage.actor, was_held, ids)
        total = await self.stage.count(OWNED)
        return Counts(created, changed, total - created - changed)

    async def _followed(self) -> dict[UUID, tuple[tuple[Licence, ...], list[UUID]]]:
        """The customers with service years of which licences change: what they hold before the
        change, and the ids of those licences."""
        query = f"""SELECT o.customer_id, array_agg(m.id ORDER BY o.line) AS ids
            FROM import_known m JOIN {OWNED} o USING (line)
            WHERE (m.corrected OR m.withdrawn) AND EXISTS (
                SELECT FROM service_years y WHERE y.customer_id = o.customer_id)
            GROUP BY o.customer_id ORDER BY o.customer_id"""
        return {
            row.customer_id: (
                (await load(self.stage.connection, row.customer_id)).facts().licences,
                row.ids,
            )
            for row in await self.stage.fetch(query)
        }
