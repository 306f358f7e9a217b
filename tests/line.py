"""The line between the service and its database, which a test can cut, close or leave dead."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import URL

Watch = Callable[[bytes], bool]


@dataclass
class Line:
    """A relay on 127.0.0.1 to a server; `host` may be the directory of its Unix socket.

    `dead`: nothing goes through any more and nobody is told, as when a host vanishes.
    `cut_before` and `cut_after`: break a connection at the first piece to the server for which
    they say yes, before the server has seen it or after it has answered.
    `freeze()`: as `dead`, but for the connections that there are; new ones are served.
    """

    host: str
    port: int
    dead: bool = False
    cut_before: Watch | None = None
    cut_after: Watch | None = None
    _server: asyncio.Server | None = None
    _address: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _generation: int = 0

    async def open(self) -> int:
        """Takes connections (again); the port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._address)
        self._address = int(self._server.sockets[0].getsockname()[1])
        return self._address

    async def close(self) -> None:
        """Refuses connections, and breaks those that there are."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Breaks every connection; new ones are taken."""
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """From now on nothing goes through the connections that there are."""
        self._generation += 1

    async def _relay(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        if self.host.startswith("/"):
            opened = asyncio.open_unix_connection(f"{self.host}/.s.PGSQL.{self.port}")
        else:
            opened = asyncio.open_connection(self.host, self.port)
        from_server, to_server = await opened
        both = {to_client, to_server}
        self._writers |= both
        cutting = asyncio.Event()
        generation = self._generation

        async def up() -> None:
            while piece := await from_client.read(65_536):
                await self._while_dead(generation)
                if self.cut_before and self.cut_before(piece):
                    self.cut_before = None
                    return
                if self.cut_after and self.cut_after(piece):
                    self.cut_after = None
                    cutting.set()
                to_server.write(piece)

        async def down() -> None:
            while piece := await from_server.read(65_536):
                await self._while_dead(generation)
                if cutting.is_set():
                    return
                to_client.write(piece)

        ways = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in both:
                writer.transport.abort()
            self._writers -= both

    async def _while_dead(self, generation: int) -> None:
        while self.dead or generation < self._generation:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def where(url: URL) -> tuple[str, int]:
    """Host and port of an address; the host may be the directory of a Unix socket."""
    query = {name: str(value) for name, value in url.query.items()}
    host = url.host or query.get("host", "127.0.0.1")
    return host, url.port or int(query.get("port", "5432"))


@asynccontextmanager
async def line_to(url: URL) -> AsyncIterator[tuple[Line, int]]:
    """A line to the server at an address: the line, and its port on 127.0.0.1."""
    line = Line(*where(url))
    yield line, await line.open()
    await line.close()


def through(url: URL, port: int) -> URL:
    """The address as it is reached through the line on this port."""
    return url.set(host="127.0.0.1", port=port).difference_update_query(["host", "port"])
