"""The service against the independent model of the clauses: random histories, step by step.

`ASSISTENZA_LONG_SECONDS` says for how long (60 by default), `ASSISTENZA_HISTORIES` for how many
histories at most, `ASSISTENZA_SEED` from which seed on (1 by default, so that every run begins with
the same histories). Records are compared after every step, or after every one of
`ASSISTENZA_COMPARE_EVERY`, and at the end; answers after every step. A history ends at its first
disagreement.
"""

import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from app import clock
from app.services.tokens import SCOPES
from tests.conftest import Service
from tests.long.rules.drive import Disagreement, Driver
from tests.long.rules.generate import generate
from tests.long.rules.player import Player

pytestmark = pytest.mark.long
_SECONDS = float(os.environ.get("ASSISTENZA_LONG_SECONDS", "60"))
_HISTORIES = int(os.environ.get("ASSISTENZA_HISTORIES", "0")) or 10**9
_EVERY = int(os.environ.get("ASSISTENZA_COMPARE_EVERY", "1"))
_SEED = int(os.environ.get("ASSISTENZA_SEED", "1"))
_SHOWN = 12


async def test_the_service_agrees_with_the_clauses(
    new_service: Callable[..., Awaitable[Service]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = await new_service(connections=16)
    found: list[tuple[int, Disagreement]] = []
    played = requests = 0
    until = time.monotonic() + _SECONDS
    async with await service.client_with(*SCOPES) as client:
        while time.monotonic() < until and played < _HISTORIES:
            seed = _SEED + played
            history = generate(seed)
            player = Player(history.base)
            monkeypatch.setattr(clock, "now", lambda player=player: player.now)
            driver = Driver(player, f"M{seed}", client=client, every=_EVERY)
            disagreement = await driver.play(history)
            if disagreement is not None:
                found.append((seed, disagreement))
            played += 1
            requests += driver.requests
    with capsys.disabled():
        print(f"\n{played} histories, {requests} requests (ASSISTENZA_SEED={_SEED})")
        kinds = Counter((each.step[0], each.where) for _, each in found)
        for (kind, where), times in kinds.most_common():
            print(f"  {times:4} x {kind}: {where}")
    shown = "\n".join(f"seed {seed}, {each}" for seed, each in found[:_SHOWN])
    assert not found, f"{len(found)} of {played} histories disagree\n{shown}"
    assert played  # a run in which nothing was played proves nothing
