"""How the state machine speaks to the service and to the model, and compares what they say."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

import httpx
from hypothesis.stateful import RuleBasedStateMachine

from app import clock
from tests.api.build import unique
from tests.long.agreement import agree
from tests.long.model import Customer
from tests.long.records import Refused

T = TypeVar("T")


class Counters:
    def __init__(self) -> None:
        self.steps = 0
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()


class Speaking(RuleBasedStateMachine):
    runner: asyncio.Runner
    client: httpx.AsyncClient
    counters: Counters

    def meet(self, start: date) -> None:
        """Two customers of the service, each with its model, at noon of a day."""
        self.now = datetime.combine(start, time(12), UTC)
        clock.now = lambda: self.now
        self.customers: list[tuple[str, Customer]] = []
        for _ in range(2):
            body = {"code": unique("M"), "name": "Model", "country": "IT"}
            self.customers.append((self.send("customers", body).json()["id"], Customer()))

    @property
    def today(self) -> date:
        return self.now.date()

    def send(self, path: str, body: dict[str, Any], method: str = "POST") -> httpx.Response:
        self.now += timedelta(seconds=1)
        return self.runner.run(self.client.request(method, f"/v1/{path}", json=body))

    def get(self, path: str, **query: Any) -> Any:
        answer = self.runner.run(self.client.get(f"/v1/{path}", params=query))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def both(
        self, expected: Callable[[], T], path: str, body: dict[str, Any], **how: Any
    ) -> tuple[T, dict[str, Any]] | None:
        """What the model does and the service's answer; None where both refuse alike."""
        self.counters.steps += 1
        answer = self.send(path, body, **how)
        try:
            done = expected()
        except Refused as error:
            wanted = error.answer
            got = (answer.status_code, answer.json().get("code"))
            assert got == wanted, (path, body, got, wanted, answer.text)
            self.counters.refused[wanted[1]] += 1
            return None
        assert answer.status_code in (200, 201), (path, body, answer.text)
        self.counters.done[next(iter(how.values()), path.split("/")[-1])] += 1
        return done, answer.json()

    def agree(self, who: int) -> None:
        id_, model = self.customers[who]
        agree(self.get, id_, model, self.today)

    def pick(
        self, items: Sequence[tuple[int, T]], number: int, likely: Callable[[T], bool]
    ) -> tuple[int, T]:
        """One of them; three times in four one that will not be refused out of hand."""
        fit = [each for each in items if likely(each[1])] if number % 4 != 3 else []
        return (fit or items)[number // 4 % len(fit or items)]

    def all(self, what: str) -> list[tuple[int, Any]]:
        """Every licence, contract or case of both, with whose it is."""
        return [(n, each) for n, (_, m) in enumerate(self.customers) for each in getattr(m, what)]
