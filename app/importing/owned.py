"""What licences, contracts and ticket packs have in common: each is some customer's."""

from collections.abc import AsyncIterator
from typing import ClassVar

from app.importing.kinds import Kind, repeated
from app.importing.reading import BadRow
from app.importing.staging import ROWS, Stage

OWNED = "import_owned"
"""The staged rows with their `customer_id`, and what is `known` under the same name, if anything,
with its `owner`."""


class Owned(Kind):
    table: ClassVar[str]
    known_by: ClassVar[str]
    """The column by which a row is known again, whatever its case."""

    async def check(self, stage: Stage) -> AsyncIterator[BadRow]:
        await stage.table_as(
            OWNED,
            f"""SELECT r.*, c.id AS customer_id, k.id AS known, k.customer_id AS owner
                FROM {ROWS} r LEFT JOIN customers c ON lower(c.code COLLATE "C") = r.customer_key
                LEFT JOIN {self.table} k ON lower(k.{self.known_by} COLLATE "C") = r.key""",
            "line",
        )
        for row in await stage.fetch(f"SELECT line FROM {OWNED} WHERE customer_id IS NULL"):
            yield BadRow(row.line, "customer_code", "is the code of no customer")
        async for bad in repeated(stage, OWNED, "key", self.known_by):
            yield bad
        others = f"SELECT line FROM {OWNED} WHERE owner <> customer_id"
        for row in await stage.fetch(others):
            yield BadRow(row.line, self.known_by, "is taken by another customer")
        async for bad in self.compare(stage):
            yield bad

    def compare(self, stage: Stage) -> AsyncIterator[BadRow]:
        """What is wrong between a row and what is known of the same customer."""
        raise NotImplementedError
