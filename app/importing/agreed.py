"""What contracts and ticket packs have in common: once recorded, an import edits neither."""

from collections.abc import AsyncIterator, Mapping

from app.importing.owned import OWNED, Owned
from app.importing.reading import BadRow
from app.importing.staging import Stage


class Agreed(Owned):
    known_by = "number"

    def facts(self) -> Mapping[str, str]:
        """What has to be the same: each column, with when it counts, in SQL on the row `o`."""
        raise NotImplementedError

    def new(self, stage: Stage) -> AsyncIterator[BadRow]:
        """What is wrong with rows that are not known."""
        raise NotImplementedError

    async def compare(self, stage: Stage) -> AsyncIterator[BadRow]:
        facts = self.facts()
        differs = ", ".join(
            f"o.{name} IS DISTINCT FROM k.{name} AND {when} AS {name}"
            for name, when in facts.items()
        )
        kept = ", ".join(f"k.{name} AS kept_{name}" for name in facts)
        query = f"""SELECT * FROM (SELECT o.line, {differs}, {kept}
                FROM {OWNED} o JOIN {self.table} k ON k.id = o.known
                WHERE o.owner = o.customer_id
            ) AS compared WHERE {" OR ".join(facts)} ORDER BY line"""
        for row in await stage.fetch(query):
            for name in facts:
                if getattr(row, name):
                    was = getattr(row, f"kept_{name}")
                    stands = "empty" if was is None else was
                    reason = f"is {stands} on record; {self.columns.layout.kind} are not edited"
                    yield BadRow(row.line, name, reason)
        async for bad in self.new(stage):
            yield bad
