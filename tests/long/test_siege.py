"""Every known abuse at once, beside one steady client whose writes all succeed.

For `ASSISTENZA_LONG_SECONDS` seconds (60 by default): heads that never end, bodies that trickle,
12 exports that are read slowly, a bound token that floods, and 400 idle connections, against a
service with its settings as they come. Prints how the steady client fared.
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from statistics import quantiles
from typing import Any

import httpx
import pytest

from tests.long.home import ROOT, Home

pytestmark = pytest.mark.long
_SECONDS = float(os.environ.get("ASSISTENZA_LONG_SECONDS", "60"))
_WRITES_PER_SECOND = 10
_CUSTOMERS = 3_000


async def _steady(
    client: httpx.AsyncClient, customer: str, until: float
) -> tuple[list[float], Counter[int]]:
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    number = 0
    while time.monotonic() < until:
        number += 1
        began = time.monotonic()
        answer = await client.post("/v1/licences", json=licence(f"S-{number}", customer))
        seconds.append(time.monotonic() - began)
        statuses[answer.status_code] += 1
        await asyncio.sleep(max(0.0, began + 1 / _WRITES_PER_SECOND - time.monotonic()))
    return seconds, statuses


def licence(serial: str, customer: str) -> dict[str, Any]:
    return {
        "customer_id": customer,
        "serial_number": serial,
        "kind": "editor",
        "product": "Movicon",
        "version": "11",
        "purchased_on": "2026-01-15",
    }


async def test_a_steady_client_is_served(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.start()
    await home.ready()
    token = home.key()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=home.url, headers=headers, timeout=30) as client:
        rows = "".join(f"C-{n},Siege {n},IT\n" for n in range(_CUSTOMERS))
        home.load("customers.csv", "code,name,country\n" + rows)
        found = await client.get("/v1/entitlements?customer_code=C-0")
        customer = found.json()["customer"]["id"]
        first = await client.post("/v1/licences", json=licence("S-0", customer))
        assert first.status_code == 201, first.text
        bound = home.key("--name", "bound", "--customer", "C-0", "--scope", "cases:write")
        besieging = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.long.siege", cwd=ROOT, stdin=PIPE, stdout=PIPE
        )
        orders = {"port": home.port, "token": token, "bound": bound, "seconds": _SECONDS}
        told = asyncio.create_task(besieging.communicate(json.dumps(orders).encode()))
        seconds, statuses = await _steady(client, customer, time.monotonic() + _SECONDS)
        answers = Counter(json.loads((await told)[0]))
        after = await client.get("/readyz")
    p50, p99 = (quantiles(seconds, n=100)[n] * 1000 for n in (49, 98))
    with capsys.disabled():
        print(f"\n{len(seconds)} writes in {_SECONDS:.0f} s: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        print(f"  abuse answered: {dict(sorted(answers.items()))}")
    assert set(statuses) == {201}, (statuses, answers, home.last_words())
    assert after.status_code == 200
    # What was not done proves nothing.
    for seen in ("head 431", "body 408", "export 200", "export 429", "flood 429"):
        assert answers[seen], answers
