"""Memory does not grow under a mixed load: lookups, and cases opened, worked on and closed.

For `ASSISTENZA_LONG_SECONDS` seconds (30 by default; 3600 for the proof of an hour). The first
third fills pools and caches. From the second to the last third the processes of the service may
grow by what the allocator keeps, however many requests they have answered.
"""

import asyncio
import os
from statistics import median

import pytest

from app import clock
from app.policy.civil import civil_date
from app.policy.document import load
from tests.benchmarks.busy import add_busy
from tests.benchmarks.common import databases, postgres, scratch, service, token_for
from tests.benchmarks.mixed import Mix, mixed
from tests.benchmarks.workers import memory

pytestmark = pytest.mark.long
_SECONDS = float(os.environ.get("ASSISTENZA_LONG_SECONDS", "30"))
_CUSTOMERS, _BUSY = 300, 50
# Each part of the load is a process of its own, which takes a second to start.
_AT_ONCE = max(2.0, _SECONDS / 300)
# Half of what a leak of 2 kB for each request would add in ten seconds at 400 requests a second.
_ALLOCATOR = 4 * 2**20


async def test_memory_does_not_grow(capsys: pytest.CaptureFixture[str]) -> None:
    with scratch() as directory, postgres(directory) as server:
        async with databases(server, _CUSTOMERS) as (database,):
            now = clock.now()
            today = civil_date(now, load().zone)
            first = _CUSTOMERS + 1
            await add_busy(database.owner_url, first, first + _BUSY, today)
            scopes = ("entitlements:read", "cases:read", "cases:write", "cases:work")
            token = await token_for(database.owner_url, now, *scopes)
            with service(directory, database) as (port, pid):
                mix = Mix(
                    port=port,
                    token=token,
                    customers=_CUSTOMERS,
                    first=first,
                    busy=_BUSY,
                    connections=8,
                    seconds=_AT_ONCE,
                    warm_up=0,
                )
                seen = [(0, memory(pid).own)]
                for _ in range(max(9, round(_SECONDS / _AT_ONCE))):
                    done = await asyncio.to_thread(mixed, mix)
                    requests = sum(map(len, done.times.values()))
                    seen.append((seen[-1][0] + requests, memory(pid).own))
    third = len(seen) // 3
    before, after = seen[third : 2 * third], seen[-third:]
    requests = after[0][0] - before[0][0]
    grown = median(size for _, size in after) - median(size for _, size in before)
    with capsys.disabled():
        print(
            f"\n{seen[-1][0]} requests: {seen[0][1] / 2**20:.0f} MiB idle, then"
            f" {', '.join(f'{size / 2**20:.1f}' for _, size in seen[1:])};"
            f" {grown / requests:.0f} bytes for each of {requests}"
        )
    assert grown < _ALLOCATOR
