"""Connect to the embedded server: its passwords, whether it answers, and its roles."""

import asyncio
import json
import secrets
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from app.store.embedded.cluster import SUPERUSER
from app.store.embedded.errors import DataDirectoryUnusable, ServerFailed
from app.store.embedded.files import write_private
from app.store.embedded.sockets import PORT
from app.store.roles import DATABASE, LOGIN, OWNER, roles_sql

_CONNECT_SECONDS = 5.0
# If the server stops between handshake and first query, asyncpg raises InternalClientError.
_UNREACHABLE = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

T = TypeVar("T")


class Access:
    """The passwords of one server, stored in a file that only its owner can read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._passwords: dict[str, str] = {}

    def load(self, *, may_create: bool) -> None:
        """Read the passwords, or generate them for a new server. Raises DataDirectoryUnusable."""
        if may_create and not self._file.exists():
            # Written before the cluster is created: without its passwords nobody could log in.
            generated = {role: secrets.token_urlsafe(32) for role in (SUPERUSER, OWNER, LOGIN)}
            write_private(self._file, json.dumps(generated))
        try:
            self._passwords = dict(json.loads(self._file.read_text()))
        except (FileNotFoundError, ValueError, TypeError) as error:
            raise self._unusable("is missing or damaged") from error

    def _unusable(self, reason: str) -> DataDirectoryUnusable:
        return DataDirectoryUnusable(
            f"{self._file}, which holds the database's passwords, {reason}: restore it from the"
            " same backup as the data, or choose another ASSISTENZA_DATA_DIR"
        )

    @property
    def superuser_password(self) -> str:
        return self._passwords[SUPERUSER]

    def dsn(self, user: str, database: str, sockets: Path) -> str:
        where = f"host={sockets}&port={PORT}"
        return f"postgresql://{user}:{self._passwords[user]}@/{database}?{where}"

    def answers(self, sockets: Path, directory: Path) -> bool:
        """Whether a server with its socket there answers queries, and on the data in `directory`.

        Raises DataDirectoryUnusable if it rejects the passwords.
        """
        try:
            return directory.samefile(run_in_thread(self._data_directory(sockets)))
        except asyncpg.InvalidPasswordError as error:
            raise self._unusable("does not match that database") from error
        except _UNREACHABLE:
            return False  # starting, recovering, stopping, or stopped meanwhile

    def set_up_roles(self, sockets: Path) -> None:
        """Create the roles and the database, or correct existing roles. Raises ServerFailed."""
        try:
            run_in_thread(self._set_up_roles(sockets))
        except _UNREACHABLE as error:
            raise ServerFailed(f"the database's roles could not be set up: {error}") from error

    def forbid_writes(self, sockets: Path, forbidden: bool) -> None:
        """Let every new transaction be read-only, or no longer. Raises ServerFailed."""
        try:
            run_in_thread(self._forbid_writes(sockets, forbidden))
        except _UNREACHABLE as error:
            raise ServerFailed(f"the database could not be made read-only: {error}") from error

    async def _forbid_writes(self, sockets: Path, forbidden: bool) -> None:
        connection = await self._connect(sockets)
        try:
            value = "on" if forbidden else "off"
            await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)

    async def _data_directory(self, sockets: Path) -> str:
        connection = await self._connect(sockets)
        try:
            return str(await connection.fetchval("SHOW data_directory"))
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)

    async def _set_up_roles(self, sockets: Path) -> None:
        connection = await self._connect(sockets)
        try:
            async with connection.transaction():
                for statement in roles_sql(self._passwords[LOGIN], self._passwords[OWNER]):
                    await connection.execute(statement)
            if not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE
            ):
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)

    async def _connect(self, sockets: Path) -> Any:
        return await asyncpg.connect(
            host=str(sockets),
            port=PORT,
            user=SUPERUSER,
            password=self.superuser_password,
            database=SUPERUSER,
            ssl=False,
            timeout=_CONNECT_SECONDS,
            command_timeout=60.0,
            server_settings={"default_transaction_read_only": "off"},
        )


def run_in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a new thread: the caller's thread may have a running loop."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()
