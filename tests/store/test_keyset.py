"""Lists read page by page, on a real PostgreSQL."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, Uuid, literal_column, select, text, values

from app.http.cursors import Cursors
from app.store.keyset import Listing
from tests.conftest import Service


async def test_pages_follow_each_other(service: Service) -> None:
    numbers = select(literal_column("n", Integer).label("n")).select_from(
        text("generate_series(0, 4) AS n")
    )
    listing = Listing("numbers", numbers, (literal_column("n", Integer),))
    cursors = Cursors(b"k" * 32)
    seen: list[int] = []
    after: list[int] | None = [-1]
    async with service.database.reading.connect() as connection:
        while after is not None:
            shown, after = await listing.page(connection, 2, after)
            seen += [row.n for row in shown]
            if after is not None:
                after = cursors.decode("n", cursors.encode("n", *after), (int,))
        assert seen == list(range(5))
        shown, after = await listing.page(connection, 5, None)
    assert ([row.n for row in shown], after) == (list(range(5)), None)


async def test_keyset_comparison(service: Service) -> None:
    """Both directions, by two keys, of which the first repeats."""
    rows = [
        (datetime(2026, 1, day, tzinfo=UTC), UUID(int=n)) for day, n in ((1, 1), (1, 2), (2, 0))
    ]
    table = values(Column("at", DateTime(timezone=True)), Column("id", Uuid()), name="t").data(rows)
    for descending in (False, True):
        listing = Listing("t", select(table), (table.c.at, table.c.id), descending)
        assert listing.key_types == (datetime, UUID)
        wanted = list(reversed(rows)) if descending else rows
        async with service.database.reading.connect() as connection:
            found, _ = await listing.page(connection, 5, None)
            assert [tuple(row) for row in found] == wanted
            for place, after in enumerate(wanted):
                found, _ = await listing.page(connection, 5, after)
                assert [tuple(row) for row in found] == wanted[place + 1 :]
