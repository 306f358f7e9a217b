"""Customers whose cases never end: an Editor, and a contract that no run exhausts."""

from datetime import date

import asyncpg

from tests.benchmarks.fill import key

# The development period is over and so are its free hours: the contract pays, and tickets would.
_STATEMENTS = [
    f"""INSERT INTO customers (id, code, name, country, language, created_at, updated_at)
        SELECT {key(0, "0")}, 'B-' || n, 'Busy ' || n, 'IT', 'it', $3::date, $3::date
        FROM generate_series($1::int, $2::int) n""",
    f"""INSERT INTO licences (id, customer_id, serial_number, kind, product, version, purchased_on,
            created_at)
        SELECT {key(1, "0")}, {key(0, "0")}, 'B-' || n, 'editor', 'Product', '1.0',
            $3::date - 500, $3::date
        FROM generate_series($1::int, $2::int) n""",
    f"""INSERT INTO contracts (id, customer_id, number, starts_on, ends_on, included_minutes,
            created_at)
        SELECT {key(2)}, {key(0, "0")}, 'B-' || n || '-' || i, $3::date - 100 - 400 * i,
            ($3::date - 100 - 400 * i + interval '12 months')::date, 100000000, $3::date
        FROM generate_series($1::int, $2::int) n, generate_series(0, 1) i""",
    f"""INSERT INTO ticket_packs (id, customer_id, number, quantity, purchased_on, expires_on,
            created_at)
        SELECT {key(3, "0")}, {key(0, "0")}, 'B-' || n, 5, $3::date - 100,
            ($3::date - 100 + interval '12 months')::date, $3::date
        FROM generate_series($1::int, $2::int) n""",
]


async def add_busy(url: str, first: int, last: int, today: date) -> None:
    """Adds customers `first` to `last`, as the database's owner."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET timezone = 'UTC'")
        for statement in _STATEMENTS:
            await connection.execute(statement, first, last, today)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
