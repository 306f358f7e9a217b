"""The same framework doing nothing, and doing only our statement: a server to be measured beside.

Run as `python -m tests.benchmarks.bare_and_raw --port PORT`, with BENCHMARK_DATABASE_URL and
BENCHMARK_TOKEN_HASH (hexadecimal) in the environment.
"""

import argparse
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response

from app.services.lookups import SINGLE, single_statement
from tests.benchmarks.load import HOST

_STATEMENT = single_statement("now", "c.id = :key")
_PARAMETERS = {
    "token_hash": "$1::bytea",
    "now": "$2::timestamptz",
    "at": "$2::timestamptz",
    "key": "$3::uuid",
}
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


def statement(**values: str) -> str:
    """The statement of GET /v1/entitlements?customer_id=, `values` in its parameters' place."""
    parameters = _PARAMETERS | values
    return _PARAMETER.sub(lambda match: parameters[match[1]], _STATEMENT.text)


async def _leave(_: object) -> None:
    pass


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Without the pool's usual second round trip to reset the connection: we make none either.
    url = os.environ["BENCHMARK_DATABASE_URL"]
    async with asyncpg.create_pool(url, max_size=10, reset=_leave) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=_lifespan)
_TOKEN_HASH = bytes.fromhex(os.environ.get("BENCHMARK_TOKEN_HASH", ""))
_TEXT = statement()


@app.get("/bare")
async def bare() -> Response:
    return Response(b"{}", media_type="application/json")


@app.get("/raw")
async def raw(request: Request, customer_id: UUID) -> Response:
    async with request.app.state.pool.acquire() as connection:
        row = await connection.fetchrow(_TEXT, _TOKEN_HASH, datetime.now(UTC), customer_id)
    return Response(row["facts"], media_type="application/json")


@app.get("/raw/{lookup}")
async def raw_lookup(request: Request, lookup: str, key: str) -> Response:
    """The statement of any lookup; `key` is what the service makes of the caller's value."""
    query, now = SINGLE[False, lookup, "now"], datetime.now(UTC)
    given = {
        "token_hash": _TOKEN_HASH,
        "now": now,
        "at": now,
        "on": now.date(),
        "key": UUID(key) if lookup == "customer_id" else key,
    }
    async with request.app.state.pool.acquire() as connection:
        (row,) = await connection.fetch(query.text, *(given[name] for name in query.names))
    if row["facts"] is None:
        raise LookupError(f"{lookup} {key} finds no one customer")
    return Response(row["facts"], media_type="application/json")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    uvicorn.run(app, host=HOST, port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
