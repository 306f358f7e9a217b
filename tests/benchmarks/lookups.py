"""How fast an entitlement is answered by each lookup, and one that has not changed, in one run.

    python -m tests.benchmarks.lookups [--customers 100000] [--seconds 1] [--rounds 5]

Customers at random, 8 connections, on the real service with its token check, ETag, log and metrics.
The baseline is FastAPI that sends the statement of the same lookup through asyncpg and returns the
facts as the database gives them. Everything is compared with the baseline by id too, and answers
with 304 with answers to the same customers with 200.
"""

import argparse
import asyncio
import platform
from contextlib import ExitStack
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from tests.benchmarks.common import (
    Filled,
    bare_and_raw,
    databases,
    get,
    measure,
    middle,
    postgres,
    say,
    scratch,
    service,
    wait_until_idle,
)
from tests.benchmarks.entitlements import LOOKUPS
from tests.benchmarks.load import HOST, Plan, Sample, customer_id

_CONNECTIONS = 8
_ASKED_AGAIN = 1_000
_WANTED = 0.65
_BY_ID = "customer_id"
_AGAIN, _UNCHANGED = f"200, {_ASKED_AGAIN:,} customers", f"304, {_ASKED_AGAIN:,} customers"


def _raw(lookup: str) -> str:
    return f"asyncpg, {lookup}"


def _unchanged(port: int, token: str) -> tuple[str, list[str]]:
    """A request with a place for a customer and the ETag of its answer, and what fills it."""
    place = "/v1/entitlements?customer_id="
    values = []
    headers = {"Authorization": f"Bearer {token}", "Accept": "*/*"}
    with httpx.Client(base_url=f"http://{HOST}:{port}", headers=headers) as client:
        for number in range(1, _ASKED_AGAIN + 1):
            customer = customer_id(number)
            etag = client.get(place + customer).raise_for_status().headers["etag"]
            values.append(f"{customer} HTTP/1.1\r\nIf-None-Match: {etag}")
    return get(port, f"{place}{{value}}", token).replace(" HTTP/1.1\r\n", "\r\n", 1), values


def _interleave(
    directory: Path, database: Filled, seconds: float, rounds: int
) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {}
    with ExitStack() as servers:
        ours, our_pid = servers.enter_context(service(directory, database))
        peer, peer_pid = servers.enter_context(bare_and_raw(directory, database))

        def plan(port: int, path: str, customers: int) -> Plan:
            token = database.token if port == ours else None
            return Plan(
                port=port,
                request=get(port, path, token),
                customers=customers,
                connections=_CONNECTIONS,
                seconds=seconds,
            )

        by_id = f"/v1/entitlements?customer_id={LOOKUPS['customer_id']}"
        plans: dict[str, Plan] = {}
        for name, value in LOOKUPS.items():
            plans[_raw(name)] = plan(peer, f"/raw/{name}?key={value}", database.customers)
            plans[name] = plan(ours, f"/v1/entitlements?{name}={value}", database.customers)
        plans[_AGAIN] = plan(ours, by_id, _ASKED_AGAIN)
        # After the fill it first looks at what each customer may use.
        wait_until_idle(our_pid)
        request, values = _unchanged(ours, database.token)
        plans[_UNCHANGED] = plans[_AGAIN].model_copy(update={"request": request, "values": values})
        for _ in range(rounds):
            for name, one in plans.items():
                pid = peer_pid if one.port == peer else our_pid
                status = 304 if name == _UNCHANGED else 200
                samples.setdefault(name, []).append(measure(one, pid, status=status))
    return samples


async def compare(directory: Path, customers: int, seconds: float, rounds: int) -> None:
    with postgres(directory) as server:
        async with databases(server, customers) as (database,):
            samples = await asyncio.to_thread(_interleave, directory, database, seconds, rounds)
    for name, several in samples.items():
        say(f"{name}: " + ", ".join(f"{one.rate:,.0f}" for one in several) + " a second")
    figures = {name: middle(several) for name, several in samples.items()}
    raw = figures[_raw(_BY_ID)]
    baselines = set(map(_raw, LOOKUPS))
    table = Table(title=f"{customers:,} customers, {rounds} rounds of {seconds:g} s")
    headings = ("a second", "p50 ms", "p99 ms", "its CPU µs", "of asyncpg", "by CPU", "of it by id")
    for heading in ("", *headings):
        table.add_column(heading, justify="right" if heading else "left")
    for name, one in figures.items():
        same = figures.get(_raw(name), one if name in baselines else raw)
        table.add_row(
            name,
            *(f"{one.rate:,.0f}", f"{one.p50:.2f}", f"{one.p99:.2f}", f"{one.cpu or 0:.0f}"),
            f"{one.rate / same.rate:.2f}",
            f"{(same.cpu or 0) / one.cpu:.2f}" if one.cpu else "",
            f"{one.rate / raw.rate:.2f}",
        )
    Console(width=120).print(table)
    below = [name for name in LOOKUPS if figures[name].rate < _WANTED * figures[_raw(name)].rate]
    say(f"below {_WANTED} of asyncpg with the same statement: {', '.join(below) or 'none'}")
    say(f"304 beside 200: {figures[_UNCHANGED].rate / figures[_AGAIN].rate:.2f} of the rate")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.lookups")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    say(f"Python {platform.python_version()}, {platform.machine()} {platform.system()}")
    with scratch() as directory:
        asyncio.run(compare(directory, arguments.customers, arguments.seconds, arguments.rounds))


if __name__ == "__main__":
    main()
