"""Notices equal those of an independent model of R41 over `kill -9` of the process that follows.

`ASSISTENZA_LONG_SECONDS` says for how long (60 by default), half of it with a follower that is not
killed, but whose transactions are rolled back; `ASSISTENZA_SEED` with which history to begin.
"""

import asyncio
import os
import random
import sys
import time
from asyncio.subprocess import PIPE, Process

import httpx
import pytest

from app import clock
from tests.api.test_notices_agree import RolledBack, live
from tests.conftest import Service
from tests.long.home import ROOT

pytestmark = pytest.mark.long
_SECONDS = float(os.environ.get("ASSISTENZA_LONG_SECONDS", "60"))
_SEED = int(os.environ.get("ASSISTENZA_SEED", "1000"))
_LENGTH = 80


class Killed:
    """Follows by a process of its own, which is killed at random."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._chance = random.Random(7)
        self._process: Process | None = None
        self.kills = 0
        """How many times before it had ended its work."""

    async def __call__(self) -> None:
        while not await self._follow():
            pass

    async def _follow(self) -> bool:
        if self._process is None:
            command = (sys.executable, "-B", "-m", "tests.long.follower")
            environment = {**os.environ, "ASSISTENZA_DATABASE_URL": self._url}
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE
            )
            assert await self._answer() == b"ready\n"
        assert self._process.stdin is not None
        self._process.stdin.write(f"{clock.now().isoformat()}\n".encode())
        if self._chance.random() < 0.25:
            await asyncio.sleep(self._chance.uniform(0, 0.06))
            self.kills += await self.end() == b""
            return False
        return await self._answer() == b"done\n"

    async def _answer(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        return await asyncio.wait_for(self._process.stdout.readline(), 60)

    async def end(self) -> bytes:
        """Kill the process: what it had said."""
        if self._process is None:
            return b""
        process, self._process = self._process, None
        process.kill()
        said, _ = await process.communicate()
        return said


async def test_notices_agree_over_many_histories(
    service: Service, client: httpx.AsyncClient
) -> None:
    until, number, found = time.monotonic() + _SECONDS / 2, 0, 0
    while not number or time.monotonic() < until:
        follow = RolledBack(service, _SEED + number)
        found += await live(client, follow, _SEED + number, _LENGTH)
        number += 1
    assert found


async def test_notices_agree_over_kills(
    service: Service, client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    follow = Killed(service.server.url(service.database_name, service.server.login))
    until, number, found = time.monotonic() + _SECONDS / 2, 0, 0
    try:
        while not number or time.monotonic() < until:
            found += await live(client, follow, _SEED + 500 + number, _LENGTH // 2)
            number += 1
    finally:
        await follow.end()
    assert follow.kills
    with capsys.disabled():
        print(f"\n{follow.kills} kills in {number} histories with {found} notices")
