"""`kill -9` of the service while it calls webhooks: nothing is lost, and the order is kept.

Real processes on a durable database. The receiver fails, hangs, answers 429 and closes connections
at random; another endpoint always hangs. `ASSISTENZA_KILLS` says how often something is killed (4
by default), `ASSISTENZA_SEED` with which chances.
"""

import asyncio
import os
import random
import time
from typing import Any

import httpx
import pytest
from standardwebhooks import WebhookVerificationError

from tests.long.home import READY, Home
from tests.long.test_feed import _every, _settled
from tests.long.test_kill import Load
from tests.receiver import ALLOWED, Call, Receiver, Reply, misordered, receiving

pytestmark = pytest.mark.long
_KILLS = int(os.environ.get("ASSISTENZA_KILLS", "4"))
# A lease of what was in flight, and a minute between two successes that have all tried again.
_SETTLED = 240.0


class Moods:
    """Answers at random, and verifies every call."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.secrets: list[str] = []
        self.unverified: list[str] = []
        self.failures = 0
        self.good = False
        """Whether it answers everything well from now on."""
        self._flying: set[tuple[str, str]] = set()
        self.crowded: list[str] = []

    async def answer(self, call: Call) -> Reply:
        if call.path == "/hangs":
            return Reply(hang=60)
        self._verify(call)
        lane = (call.path, str(call.event.get("partitionkey")))
        if lane in self._flying:
            self.crowded.append(f"{lane} {call.id}")
        self._flying.add(lane)
        try:
            await asyncio.sleep(self._random.uniform(0, 0.02))
        finally:
            self._flying.discard(lane)
        if self.good or self._random.random() < 0.7:
            return Reply()
        self.failures += 1
        return self._random.choice(
            [
                Reply(500),
                Reply(503),
                Reply(429, {"Retry-After": "1"}),
                Reply(close=True),
                Reply(raw=b"nonsense\r\n\r\n"),
                Reply(200, hang=1.0),
            ]
        )

    def _verify(self, call: Call) -> None:
        for secret in self.secrets:
            try:
                call.verify(secret)
            except WebhookVerificationError:
                continue
            return
        self.unverified.append(call.id)


async def _post(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/{path}", json=body)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_everything_is_delivered_in_order_over_kills(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("ASSISTENZA_SEED", "0")) or random.randrange(1, 2**31)
    print(f"ASSISTENZA_SEED={seed}")
    said = asyncio.run(_kill_and_deliver(home, seed))
    with capsys.disabled():
        print(f"\n{said} (ASSISTENZA_SEED={seed})")


async def _kill_and_deliver(home: Home, seed: int) -> str:
    home.variables["ASSISTENZA_WEBHOOK_ALLOW"] = ",".join(ALLOWED)
    home.start()
    await home.ready()
    load = Load(home, home.key(), seed)
    moods = Moods(seed)
    async with receiving() as receiver:
        receiver.answering = moods.answer
        async with load.client() as client:
            hook = await _post(client, "webhooks", url=receiver.url("/hook"))
            await _post(client, "webhooks", url=receiver.url("/hangs"))
            path = f"webhooks/{hook['id']}"
            moods.secrets.append(hook["secret"])
            await load.prepare()
        for number in range(_KILLS):
            load.stop.clear()
            working = asyncio.create_task(load.run())
            await asyncio.sleep(load.random.uniform(0.5, 2.0))
            (home.kill_service if number % 3 < 2 else home.kill_database)()
            await asyncio.sleep(0.2)
            load.stop.set()
            await asyncio.wait_for(working, READY)
            await home.ready()
            await load.again()
            async with load.client() as client:
                # Both secrets sign for a while, the old one of the last time included.
                rotated = await _post(client, f"{path}/secret-rotation", old_valid_for_seconds=60)
            moods.secrets.append(rotated["secret"])
        async with load.client() as client:
            whole = await _settled(home, client)
            calls = len(receiver.calls)
            moods.good = True
            await _deliver_the_rest(client, receiver, path, {one["id"] for one in whole})
            assert moods.unverified == []
            assert moods.crowded == []
            assert misordered([one for one in receiver.calls if one.path == "/hook"]) == []
            for state in ("waiting", "abandoned"):
                left = (await client.get(f"/v1/{path}/deliveries?state={state}")).json()["items"]
                assert left == []
    return (
        f"{_KILLS} kills, {len(whole)} events delivered by {calls} calls, of which"
        f" {moods.failures} failed"
    )


async def _deliver_the_rest(
    client: httpx.AsyncClient, receiver: Receiver, path: str, expected: set[str]
) -> None:
    """Wait until a receiver that is well has heard everything."""
    deadline = time.monotonic() + _SETTLED
    while True:
        # A success has everything tried that waits for its next attempt.
        await _post(client, f"{path}/test", type="case.opened")
        await asyncio.sleep(2)
        heard = {call.id for call in receiver.calls if call.path == "/hook"}
        missing = expected - heard
        waiting = (await client.get(f"/v1/{path}/deliveries?state=waiting")).json()["items"]
        if not missing and not waiting:
            assert {one["id"] for one in await _every(client)} <= heard
            return
        assert time.monotonic() < deadline, (missing, waiting)
