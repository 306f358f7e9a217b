"""Whether a long history makes `GET /v1/entitlements` slower.

    python -m tests.benchmarks.ledger [--rows 10000] [--seconds 5]

Two customers who own the same and have used the same: one with `--rows` ledger rows behind it, the
other with ten, and closed cases in proportion. Their questions are interleaved, at one connection.
"""

import argparse
import asyncio
from pathlib import Path

import asyncpg

from app import clock
from app.policy.civil import civil_date
from app.policy.document import load
from tests.benchmarks.common import (
    Filled,
    databases,
    get,
    measure,
    middle,
    postgres,
    say,
    scratch,
    service,
)
from tests.benchmarks.load import Plan, Sample, customer_id

_ROUNDS = 5
_FEW = 10
_BACKGROUND = 1_000
_WANTED = 1.5
# Of one shape, for `fill` repeats itself every sixty customers, and with a contract in force.
_LONG, _SHORT = 31, 91

# A case closed ten days ago, with $3 pieces of work recorded wrongly and taken back: two ledger
# rows each, and in the end no minute is used. So both customers have the same answer.
_CASE = """
    INSERT INTO cases (id, customer_id, number, requester_name, channel, category,
        priority_requested, priority, priority_support, subject, description, state, paid_by,
        allowance_id, first_paid_by, first_allowance_id, resolution, opened_on, opened_at,
        closed_at, updated_at)
    SELECT gen_random_uuid(), customer_id, '2026-9' || lpad(nextval('case_numbers')::text, 7, '0'),
        'Requester', 'email', 'problem', 'normal', 'normal', false, 'Subject', 'Description',
        'closed', 'contract', id, 'contract', id, 'Solved.', $2::date - 20, $2::date - 20,
        $2::date - 10, $2::date - 10
    FROM contracts WHERE customer_id = $1 AND $2::date - 20 >= starts_on
    ORDER BY starts_on DESC LIMIT 1
    RETURNING id"""
_WORK = """
    INSERT INTO time_entries (id, customer_id, case_id, technician, minutes, worked_at, worked_on,
        recorded_at, reversed_at, reversal_reason)
    SELECT gen_random_uuid(), customer_id, id, 'technician', 15, $2::date - 15, $2::date - 15,
        $2::date - 15, $2::date - 14, 'Another case.'
    FROM cases, generate_series(1, $3::int) WHERE id = $1"""
_CHARGES = """
    INSERT INTO ledger (customer_id, case_id, allowance_id, kind, used_minutes, time_entry_id,
        counts_on, recorded_at)
    SELECT e.customer_id, k.id, k.allowance_id, 'charge', e.minutes, e.id, e.worked_on,
        e.recorded_at
    FROM time_entries e JOIN cases k ON k.id = e.case_id WHERE k.id = $1"""
_REVERSALS = """
    INSERT INTO ledger (customer_id, case_id, allowance_id, kind, used_minutes, time_entry_id,
        reverses, counts_on, recorded_at)
    SELECT customer_id, case_id, allowance_id, 'reversal', -used_minutes, time_entry_id, id,
        counts_on, recorded_at + interval '1 day'
    FROM ledger WHERE case_id = $1 AND kind = 'charge'"""
_PER_CASE = 5


async def _lengthen(connection: asyncpg.Connection, number: int, rows: int) -> None:
    """A transaction for each case, as they are really made."""
    customer = customer_id(number)
    today = civil_date(clock.now(), load().zone)
    there, _ = await _length(connection, customer)
    missing = (rows - there) // 2
    while missing > 0:
        entries = min(_PER_CASE, missing)
        async with connection.transaction():
            case = await connection.fetchval(_CASE, customer, today)
            await connection.execute(_WORK, case, today, entries)
            await connection.execute(_CHARGES, case)
            await connection.execute(_REVERSALS, case)
        missing -= entries
    there, closed = await _length(connection, customer)
    say(f"customer {number}: {there:,} ledger rows, {closed:,} closed cases")


async def _length(connection: asyncpg.Connection, customer: str) -> tuple[int, int]:
    """Ledger rows and closed cases of a customer."""
    rows = await connection.fetchval("SELECT count(*) FROM ledger WHERE customer_id = $1", customer)
    closed = await connection.fetchval(
        "SELECT count(*) FROM cases WHERE customer_id = $1 AND state = 'closed'", customer
    )
    return rows, closed


async def _histories(database: Filled, rows: int) -> None:
    connection = await asyncpg.connect(database.owner_url)
    try:
        await connection.execute("SET synchronous_commit = off; SET timezone = 'UTC'")
        await _lengthen(connection, _SHORT, _FEW)
        await _lengthen(connection, _LONG, rows)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _beside(directory: Path, database: Filled, seconds: float) -> dict[int, list[Sample]]:
    samples: dict[int, list[Sample]] = {_SHORT: [], _LONG: []}
    with service(directory, database) as (port, _):
        for round_number in range(_ROUNDS):
            for number, several in samples.items():
                path = f"/v1/entitlements?customer_id={customer_id(number)}"
                plan = Plan(
                    port=port,
                    request=get(port, path, database.token),
                    customers=1,
                    connections=1,
                    seconds=seconds / _ROUNDS,
                    warm_up=0.3 if round_number else 2.0,
                )
                several.append(measure(plan))
    return samples


async def compare(directory: Path, rows: int, seconds: float) -> None:
    with postgres(directory) as server:
        async with databases(server, _BACKGROUND) as (database,):
            await _histories(database, rows)
            samples = await asyncio.to_thread(_beside, directory, database, seconds)
    p50 = {number: middle(several).p50 for number, several in samples.items()}
    for number, length in ((_SHORT, _FEW), (_LONG, rows)):
        several = ", ".join(f"{sample.p50:.3f}" for sample in samples[number])
        say(f"{length:>7,} ledger rows: p50 {p50[number]:.3f} ms at one connection ({several})")
    ratio = p50[_LONG] / p50[_SHORT]
    say(f"{rows:,} rows take {ratio:.2f} times what {_FEW} take (wanted: at most {_WANTED})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ledger")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each customer, in all")
    arguments = parser.parse_args()
    with scratch() as directory:
        asyncio.run(compare(directory, arguments.rows, arguments.seconds))


if __name__ == "__main__":
    main()
