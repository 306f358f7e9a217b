"""What imports of licences, contracts and ticket packs have in common: each belongs to a customer.

Licences may be corrected. Contracts and ticket packs are `Agreed`: an import does not edit them.
"""

from collections.abc import Mapping
from typing import ClassVar

from app.services.imports.staging import ROWS, Fault, Import, repeated

OWNED = "import_owned"
"""The staged rows, each with its `customer_id`, and with the id (`known`) and customer (`owner`)
of what is stored under the same serial number or number, if anything is."""


class Owned(Import):
    table: ClassVar[str]
    known_by: ClassVar[str]
    """The column that identifies a row, in upper or lower case."""

    def _stored(self) -> str:
        """The row that is stored under the number of the staged row `r` of the customer `c`."""
        return f"""SELECT * FROM {self.table} s
            WHERE lower(s.{self.known_by} COLLATE "C") = r.key"""

    async def _faults(self) -> None:
        await self.stage.table_as(
            OWNED,
            f"""SELECT r.*, c.id AS customer_id, k.id AS known, k.customer_id AS owner
                FROM {ROWS} r LEFT JOIN (
                    SELECT lower(n.code COLLATE "C") AS key, coalesce(m.survivor_id, n.id) AS id
                    FROM customers n LEFT JOIN merged_customers m ON m.customer_id = n.id
                ) c ON c.key = r.customer_key
                LEFT JOIN LATERAL ({self._stored()}) k ON true""",
            "line",
        )
        key = f"/{self.known_by}"
        unknown = f"SELECT line FROM {OWNED} WHERE customer_id IS NULL"
        others = f"SELECT line FROM {OWNED} WHERE owner <> customer_id"
        await self.stage.faults("unknown_customer", "/customer_code", unknown)
        await self.stage.faults("already_on_line", key, repeated(OWNED, "key"))
        await self.stage.faults("of_another_customer", key, others)
        await self._compare()

    async def _compare(self) -> None:
        """Report what is wrong between a row and what is stored of the same customer."""
        raise NotImplementedError


class Agreed(Owned):
    known_by = "number"

    def _facts(self) -> Mapping[str, str]:
        """The columns that must equal what is stored, each with an SQL condition on the row `o`
        under which it is compared."""
        raise NotImplementedError

    async def _compare(self) -> None:
        facts = self._facts()
        differs = ", ".join(
            f"o.{name} IS DISTINCT FROM k.{name} AND {when} AS {name}"
            for name, when in facts.items()
        )
        stored = ", ".join(f"k.{name} AS stored_{name}" for name in facts)
        query = f"""SELECT * FROM (SELECT o.line, {differs}, {stored}
                FROM {OWNED} o JOIN {self.table} k ON k.id = o.known
                WHERE o.owner = o.customer_id
            ) AS compared WHERE {" OR ".join(facts)} ORDER BY line"""
        async for row in self.stage.stream(query):
            for name in facts:
                if getattr(row, name):
                    params = {"stored": getattr(row, f"stored_{name}")}
                    self.stage.report(Fault(row.line, f"/{name}", "not_edited", params))
