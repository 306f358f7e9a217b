"""How the service reaches its own server: passwords, and the first words on a connection."""

import asyncio
import json
import secrets
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from app.store.embedded.cluster import HOST, SUPERUSER
from app.store.embedded.errors import DataDirectoryUnusable, ServerFailed
from app.store.embedded.files import write_private
from app.store.roles import DATABASE, LOGIN, OWNER, roles_sql

_CONNECT_SECONDS = 5.0
# A server that ends between greeting and first query makes asyncpg raise InternalClientError.
_UNREACHABLE = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

T = TypeVar("T")


class Access:
    """The passwords of one server, kept in a file that only the service can read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._passwords: dict[str, str] = {}

    def load(self, *, may_create: bool) -> None:
        """Read the passwords, or draw them for a new server. Raises DataDirectoryUnusable."""
        if may_create and not self._file.exists():
            # Before the cluster, which could not be entered without them.
            drawn = {role: secrets.token_urlsafe(32) for role in (SUPERUSER, OWNER, LOGIN)}
            write_private(self._file, json.dumps(drawn))
        try:
            self._passwords = dict(json.loads(self._file.read_text()))
        except (FileNotFoundError, ValueError, TypeError) as error:
            raise self._unfit("is missing or damaged") from error

    def _unfit(self, what: str) -> DataDirectoryUnusable:
        return DataDirectoryUnusable(
            f"{self._file}, with the passwords of the database beside it, {what}: bring it back"
            " from the same backup as the data, or choose another ASSISTENZA_DATA_DIR"
        )

    @property
    def superuser_password(self) -> str:
        return self._passwords[SUPERUSER]

    def dsn(self, user: str, database: str, port: int) -> str:
        return f"postgresql://{user}:{self._passwords[user]}@{HOST}:{port}/{database}"

    def answers(self, port: int, directory: Path) -> bool:
        """Whether the server of this directory takes queries on this port.

        Raises DataDirectoryUnusable if it does not take the passwords.
        """
        try:
            return directory.samefile(run_apart(self._data_directory(port)))
        except asyncpg.InvalidPasswordError as error:
            raise self._unfit("does not fit that database") from error
        except _UNREACHABLE:
            return False  # starting, recovering, stopping, or gone meanwhile

    def set_up_roles(self, port: int) -> None:
        """Create or mend the roles and the database. Raises ServerFailed."""
        try:
            run_apart(self._set_up_roles(port))
        except _UNREACHABLE as error:
            raise ServerFailed(f"the database's roles could not be set up: {error}") from error

    async def _data_directory(self, port: int) -> str:
        connection = await self._connect(port)
        try:
            return str(await connection.fetchval("SHOW data_directory"))
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)

    async def _set_up_roles(self, port: int) -> None:
        connection = await self._connect(port)
        try:
            async with connection.transaction():
                for statement in roles_sql(self._passwords[LOGIN], self._passwords[OWNER]):
                    await connection.execute(statement)
            known = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
            if not await connection.fetchval(known, DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)

    async def _connect(self, port: int) -> Any:
        return await asyncpg.connect(
            host=HOST,
            port=port,
            user=SUPERUSER,
            password=self.superuser_password,
            database=SUPERUSER,
            ssl=False,
            timeout=_CONNECT_SECONDS,
            command_timeout=60.0,
        )


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a thread of its own, whether or not a loop runs in ours."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()
