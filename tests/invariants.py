"""What holds after every step, read from the database (R20, R22)."""

from typing import Any
from uuid import UUID

from app.policy.allocate import Source, pays_on
from app.policy.facts import Contract, ServiceYear
from app.store.facts import load
from tests.conftest import Service

# What stands of charges and overrun. `taken_over` charges are dated their contract's first day.
_STANDING = """
    SELECT l.id, l.kind, l.allowance_id, l.counts_on, t.worked_on, y.starts_on AS year,
        l.used_minutes + coalesce(r.used, 0) AS used,
        l.overrun_minutes + coalesce(r.overrun, 0) AS overrun,
        l.counts_on <> t.worked_on AS taken_over
    FROM ledger l
    JOIN time_entries t ON t.id = l.time_entry_id
    LEFT JOIN service_years y ON y.id = l.allowance_id
    LEFT JOIN LATERAL (
        SELECT sum(used_minutes) AS used, sum(overrun_minutes) AS overrun
        FROM ledger WHERE reverses = l.id) r ON true
    WHERE l.customer_id = $1 AND l.kind IN ('charge', 'overrun')
    ORDER BY l.id"""


class Invariants:
    """Watches one customer; `check` is called after each step."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._seen = 0

    async def check(self, customer_id: str) -> None:
        service = self._service
        rows = await service.server.run_in(service.database_name, _STANDING, customer_id)
        async with service.database.writing.connect() as connection:
            facts = (await load(connection, UUID(customer_id))).facts()
        allowances: dict[Source, Contract | ServiceYear] = {
            Source("contract", contract.id): contract for contract in facts.contracts
        }
        for year in facts.service_years.values():
            allowances[Source("free_hours", starts_on=year.starts_on)] = year
        for allowance in allowances.values():
            assert 0 <= allowance.used_minutes <= allowance.granted_minutes
        for row in rows:
            source = _source(row)
            if source is None:
                continue
            inside = pays_on(service.policies, facts, source, row["worked_on"])
            # R22: never both minutes left and overrun of a day inside the period.
            if row["overrun"] and inside:
                assert not allowances[source].remaining_minutes, row
            # R20: nothing is charged for a day outside the period as recorded at that step.
            if row["used"] and row["id"] > self._seen:
                assert inside or row["taken_over"], row
        self._seen = max((row["id"] for row in rows), default=self._seen)


def _source(row: Any) -> Source | None:
    if row["allowance_id"] is None:
        return None
    if row["year"] is not None:
        return Source("free_hours", starts_on=row["year"])
    return Source("contract", str(row["allowance_id"]))
