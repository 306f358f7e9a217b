"""`kill -9` while events are read, then a restore: every reader hears every event once.

Real processes on a durable database. Readers remember the cursor of the last answer that they got
whole, and go on from there. `ASSISTENZA_KILLS` says how often something is killed (4 by default),
`ASSISTENZA_SEED` with which chances.
"""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.streams import parsed
from tests.command import ROOT
from tests.conftest import publish_all
from tests.feed_order import misordered
from tests.long.home import READY, Home
from tests.long.test_kill import Load
from tests.restoring import dump, other_server, restore, service_on, superuser

pytestmark = pytest.mark.long
_KILLS = int(os.environ.get("ASSISTENZA_KILLS", "4"))

Events = list[dict[str, Any]]


class Reader:
    """Reads on from its cursor whenever the service answers."""

    def __init__(self, load: Load, limit: int, wait: int) -> None:
        self._load = load
        self._query: dict[str, Any] = {"limit": limit, "wait": wait}
        self.heard: list[str] = []
        self.interrupted = 0

    async def once(self, client: httpx.AsyncClient) -> bool:
        """Read a page: whether there are more."""
        try:
            answer = await client.get("/v1/events", params=self._query)
        except httpx.TransportError:
            self.interrupted += 1
            await asyncio.sleep(0.05)
            return True
        if answer.status_code == 503:
            self.interrupted += 1
            await asyncio.sleep(0.05)
            return True
        # A crash begins no epoch: there is no 410.
        assert answer.status_code == 200, answer.text
        page = answer.json()
        self.heard += [event["id"] for event in page["items"]]
        self._query["after"] = page["next_cursor"]
        return bool(page["items"])

    async def run(self, ended: asyncio.Event) -> None:
        async with self._load.client() as client:
            while True:
                last = ended.is_set()
                if not await self.once(client):
                    if last:
                        return
                    await asyncio.sleep(0.02)


class Listener:
    """Takes its stream up again, from the last event that came whole."""

    def __init__(self, load: Load, begin: str) -> None:
        self._load = load
        self._last = begin
        self.heard: Events = []
        self.interrupted = 0

    async def run(self) -> None:
        async with self._load.client() as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await self._listen(client)
                self.interrupted += 1
                await asyncio.sleep(0.05)

    async def _listen(self, client: httpx.AsyncClient) -> None:
        headers = {"Last-Event-ID": self._last}
        async with client.stream("GET", "/v1/events/stream", headers=headers) as answer:
            if answer.status_code == 503:
                return
            assert answer.status_code == 200, answer.status_code
            pending = ""
            async for text in answer.aiter_text():
                *whole, pending = (pending + text).split("\n\n")
                for part in whole:
                    if "data: " in part:
                        event = parsed(part)
                        self.heard.append(event)
                        self._last = event["id"]


async def _every(client: httpx.AsyncClient, **query: Any) -> Events:
    found: Events = []
    while True:
        answer = await client.get("/v1/events", params={"limit": 200, **query})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["items"]
        query["after"] = page["next_cursor"]
        if not page["has_more"]:
            return found


def test_readers_hear_every_event_once_over_kills_and_a_restore(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("ASSISTENZA_SEED", "0")) or random.randrange(1, 2**31)
    print(f"ASSISTENZA_SEED={seed}")
    said = asyncio.run(_kill_and_read(home, seed, tmp_path / "dump"))
    with capsys.disabled():
        print(f"\n{said} (ASSISTENZA_SEED={seed})")


async def _kill_and_read(home: Home, seed: int, file: Path) -> str:
    home.start()
    await home.ready()
    token = home.key()
    load = Load(home, token, seed)
    await load.prepare()
    async with load.client() as client:
        first: Events = []
        while not first:
            first = (await client.get("/v1/events?limit=1&wait=10")).json()["items"]
        begin = (await client.get("/v1/events?limit=1")).json()["next_cursor"]
    readers = [Reader(load, 2, 0), Reader(load, 50, 0), Reader(load, 5, 1)]
    listener = Listener(load, begin)
    ended = asyncio.Event()
    reading = [asyncio.create_task(one.run(ended)) for one in readers]
    listening = asyncio.create_task(listener.run())
    for number in range(_KILLS):
        load.stop.clear()
        working = asyncio.create_task(load.run())
        await asyncio.sleep(load.random.uniform(0.5, 2.0))
        (home.kill_service if number % 2 == 0 else home.kill_database)()
        await asyncio.sleep(0.2)
        load.stop.set()
        await asyncio.wait_for(working, READY)
        await home.ready()
        await load.again()
    async with load.client() as client:
        whole = await _settled(home, client)
        ended.set()
        await asyncio.wait_for(asyncio.gather(*reading), READY)
        deadline = time.monotonic() + READY
        while len(listener.heard) < len(whole) - 1 and time.monotonic() < deadline:
            assert not listening.done(), listening.exception()
            await asyncio.sleep(0.1)
        listening.cancel()
        expected = [one["id"] for one in whole]
        for reader in readers:
            assert reader.heard == expected
        assert [one["event"] for one in listener.heard] == [one["type"] for one in whole[1:]]
        interrupted = sum(one.interrupted for one in readers) + listener.interrupted
        assert interrupted >= _KILLS, "the kills hit no reader: they prove nothing"
        cursor = (await client.get("/v1/events?after=now")).json()["next_cursor"]
        with home.database() as url:
            compared, wrong = await misordered(url)
            assert wrong == []
            await dump(url, file)
    with other_server() as server:
        await restore(server.owner_dsn, file)
        environment = {"PATH": os.environ["PATH"], "ASSISTENZA_DATA_DIR": str(server.data_dir)}
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "app.cli", "after-restore"],
            cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        async with (
            service_on(server.app_dsn, superuser(server)) as copy,
            copy.client(token) as there,
        ):
            assert [one["id"] for one in await _every(there)] == expected
            body = {"name": "After the restore", "code": "K-R", "country": "IT"}
            assert (await there.post("/v1/customers", json=body)).status_code == 201
            await publish_all(copy)
            rest = await _every(there, after=cursor)
            assert [one["type"] for one in rest] == ["customer.created"]
            _, wrong = await misordered(superuser(server))
            assert wrong == []
    return (
        f"{_KILLS} kills, {compared} events of {len(readers) + 1} readers compared, interrupted"
        f" {interrupted} times; the restored database has them all"
    )


async def _settled(home: Home, client: httpx.AsyncClient) -> Events:
    """All events, once every one that was recorded is published and the standings have followed."""
    deadline, before = time.monotonic() + READY, -1
    while True:
        found = await _every(client)
        if len(found) == before:
            return found
        assert time.monotonic() < deadline, home.last_words()
        before = len(found)
        await asyncio.sleep(1.5)
