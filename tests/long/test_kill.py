"""`kill -9` in the middle of the work: what was acknowledged is there, and once.

Real processes on a durable database: `assistenza serve` with its embedded PostgreSQL, killed by
turns (the service, the database server) while clients write. A write that was not acknowledged
is sent again with its Idempotency-Key. `ASSISTENZA_KILLS` says how often (4 by default),
`ASSISTENZA_SEED` with which chances.
"""

import asyncio
import os
import random
import time
from collections import Counter
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest

from tests.long.home import READY, Home

pytestmark = pytest.mark.long
_KILLS = int(os.environ.get("ASSISTENZA_KILLS", "4"))
_CLIENTS = 6
_KINDS = ["case"] * 2 + ["time"] * 3 + ["comment", "cancel", "licence", "pack"]


class Write(NamedTuple):
    """One request; its key is also the text by which its effect is found again."""

    key: str
    path: str
    body: dict[str, Any]


# Every effect of a key, wherever it lies.
_EFFECTS = """
    SELECT key, count(*) FROM (
        SELECT subject AS key FROM cases
        UNION ALL SELECT note FROM time_entries
        UNION ALL SELECT serial_number FROM licences
        UNION ALL SELECT number FROM ticket_packs
        UNION ALL SELECT data->>'body' FROM events WHERE type = 'case.commented'
        UNION ALL SELECT data->>'reason' FROM events WHERE type = 'case.cancelled') effects
    WHERE key IS NOT NULL GROUP BY key"""


class Load:
    """Clients that write until the line goes dead, and remember what they were told."""

    def __init__(self, home: Home, token: str, seed: int) -> None:
        self.home = home
        self.headers = {"Authorization": f"Bearer {token}"}
        self.random = random.Random(seed)
        self.customers: list[tuple[str, str]] = []
        self.acknowledged: dict[str, Write] = {}
        self.unknown: dict[str, Write] = {}
        self.retried: Counter[str] = Counter()
        self.cases: list[str] = []
        self.stop = asyncio.Event()
        self._count = 0

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.home.url, headers=self.headers, timeout=20)

    async def prepare(self) -> None:
        async with self.client() as client:
            for n in range(4):
                body = {"code": f"K-{n}", "name": "Kill", "country": "IT"}
                id_ = (await client.post("/v1/customers", json=body)).json()["id"]
                serial = f"K-{n}-0"
                await self._must(client, "licences", self._licence(id_, serial))
                today = time.strftime("%Y-%m-%d", time.gmtime())
                await self._must(client, "contracts", {"customer_id": id_, "starts_on": today})
                self.customers.append((id_, serial))

    async def _must(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
        answer = await client.post(f"/v1/{path}", json=body)
        assert answer.status_code == 201, answer.text

    def _licence(self, customer: str, serial: str) -> dict[str, Any]:
        return {
            "customer_id": customer,
            "serial_number": serial,
            "kind": "editor",
            "product": "Movicon",
            "version": "11",
            "purchased_on": "2026-01-15",
        }

    def _next(self) -> Write:
        self._count += 1
        key = f"W-{self._count}"
        customer, serial = self.random.choice(self.customers)
        kind = self.random.choice(_KINDS)
        if kind == "case" or not self.cases:
            opening = {
                "customer_id": customer,
                "serial_number": serial,
                "requester": {"name": "Plant engineer"},
                "subject": key,
                "description": "What was seen.",
                "channel": self.random.choice(["email", "phone"]),
            }
            return Write(key, "cases", opening)
        case = self.random.choice(self.cases)
        today = time.strftime("%Y-%m-%d", time.gmtime())
        body: dict[str, Any]
        match kind:
            case "time":
                body = {"technician": "T", "minutes": self.random.randint(1, 9), "note": key}
                return Write(key, f"cases/{case}/time-entries", body)
            case "comment":
                return Write(key, f"cases/{case}/comments", {"body": key})
            case "cancel":
                return Write(key, f"cases/{case}/cancellation", {"reason": key})
            case "licence":
                return Write(key, "licences", self._licence(customer, key))
            case _:
                body = {"customer_id": customer, "number": key, "quantity": 3}
                return Write(key, "ticket-packs", body | {"purchased_on": today})

    async def run(self) -> None:
        await asyncio.gather(*(self._work() for _ in range(_CLIENTS)))

    async def _work(self) -> None:
        async with self.client() as client:
            while not self.stop.is_set():
                if not await self.send(client, self._next()):
                    return

    async def send(self, client: httpx.AsyncClient, write: Write) -> bool:
        """False where nobody knows what became of it."""
        try:
            answer = await client.post(
                f"/v1/{write.path}", json=write.body, headers={"Idempotency-Key": write.key}
            )
        except httpx.TransportError:
            self.unknown[write.key] = write
            return False
        # 503 says that it may be sent again; nothing else may go wrong by the kill.
        if answer.status_code >= 500 or answer.json().get("code") == "request_in_progress":
            assert answer.status_code in (409, 503), answer.text
            self.unknown[write.key] = write
            return False
        self.unknown.pop(write.key, None)
        if answer.status_code < 300:
            self.acknowledged[write.key] = write
            if write.path == "cases":
                self.cases.append(answer.json()["id"])
            if "idempotent-replayed" in answer.headers:
                self.retried["replayed"] += 1
        return True

    async def again(self) -> None:
        """Everything of which nobody knows, with its key, until there is an answer."""
        deadline = time.monotonic() + READY
        async with self.client() as client:
            for write in list(self.unknown.values()):
                self.retried["sent"] += 1
                while not await self.send(client, write):
                    assert time.monotonic() < deadline, self.home.last_words()
                    await asyncio.sleep(0.1)
        assert not self.unknown


async def _effects(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    try:
        return {row[0]: row[1] for row in await connection.fetch(_EFFECTS)}
    finally:
        await connection.close()


def test_nothing_acknowledged_is_lost_and_nothing_is_done_twice(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("ASSISTENZA_SEED", "0")) or random.randrange(1, 2**31)
    print(f"ASSISTENZA_SEED={seed}")
    said = asyncio.run(_kill_and_count(home, seed))
    with capsys.disabled():
        print(f"\n{said} (ASSISTENZA_SEED={seed})")


async def _kill_and_count(home: Home, seed: int) -> str:
    home.start()
    await home.ready()
    load = Load(home, home.key(), seed)
    await load.prepare()
    under_way = 0
    for number in range(_KILLS):
        load.stop.clear()
        working = asyncio.create_task(load.run())
        await asyncio.sleep(load.random.uniform(0.3, 2.0))
        if working.done():
            working.result()
        (home.kill_service if number % 2 == 0 else home.kill_database)()
        # Whoever is through does not notice; the rest find the line dead.
        await asyncio.sleep(0.2)
        load.stop.set()
        await asyncio.wait_for(working, READY)
        under_way += len(load.unknown)
        await home.ready()
        await load.again()
    with home.database() as url:
        effects = await _effects(url)
    lost = [key for key in load.acknowledged if effects.get(key, 0) == 0]
    doubled = [key for key, times in effects.items() if times > 1]
    strangers = set(effects) - set(load.acknowledged) - {serial for _, serial in load.customers}
    assert (lost, doubled, strangers) == ([], [], set())
    assert (reconciled := home.reconcile()).returncode == 0, reconciled.stdout
    assert under_way >= _KILLS, "the kills hit nothing: they prove nothing"
    return (
        f"{_KILLS} kills, {len(load.acknowledged)} writes acknowledged, {under_way} under way when"
        f" killed, {load.retried['sent']} sent again ({load.retried['replayed']} had been done),"
        f" {len(lost)} lost, {len(doubled)} doubled"
    )
