"""What the service sends to the database for a request: the very statements, in its own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx
from sqlalchemy import event

from app.http.logs import configure
from app.main import create_app
from app.settings import Settings
from app.store import direct
from app.store.database import Database


class Sent(NamedTuple):
    """A statement as the driver gets it, with `$1` for the first of its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()

    @property
    def is_counted(self) -> bool:
        return self.text not in ("BEGIN", "COMMIT", "ROLLBACK")


class Watched:
    """The service on a database, asked without a network."""

    def __init__(self, database: Database, client: httpx.AsyncClient) -> None:
        self._client = client
        self._sent: list[Sent] = []
        for engine in (database.reading, database.writing):
            event.listen(engine.sync_engine, "before_cursor_execute", self._statement)
        self._send = direct._send
        event.listen(database.writing.sync_engine, "begin", lambda _: self._mark("BEGIN"))
        event.listen(database.writing.sync_engine, "commit", lambda _: self._mark("COMMIT"))

    def _statement(
        self, _connection: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if many:
            (parameters,) = parameters
        self._sent.append(Sent(text, tuple(parameters)))

    def _mark(self, word: str) -> None:
        self._sent.append(Sent(word))

    async def send(self, connection: Any, driver: Any, text: str, values: list[Any]) -> Any:
        """In place of `app.store.direct._send`: hooks of engines do not see these statements."""
        self._sent.append(Sent(text, tuple(values)))
        return await self._send(connection, driver, text, values)

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[Any, list[Sent]]:
        """The answer's JSON, and what was sent for it. Raises httpx.HTTPStatusError."""
        self._sent = []
        answer = await self._client.request(method, path, json=body, headers=headers)
        answer.raise_for_status()
        return answer.json(), self._sent


def count(sent: list[Sent]) -> int:
    """Statements, BEGIN and COMMIT apart."""
    return sum(statement.is_counted for statement in sent)


@asynccontextmanager
async def watched(url: str, token: str) -> AsyncIterator[Watched]:
    """The service on the database `url`, asked with `token`."""
    configure("warning")
    settings = Settings(database_url=url)
    database = Database(settings)
    transport = httpx.ASGITransport(create_app(settings, database=database))
    try:
        async with httpx.AsyncClient(
            transport=transport,
            base_url="http://benchmark",
            headers={"Authorization": f"Bearer {token}"},
        ) as client:
            seen = Watched(database, client)
            with patch.object(direct, "_send", seen.send):
                yield seen
    finally:
        await database.close()
