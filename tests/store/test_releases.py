"""A database that an earlier release made and filled is served after its migration.

The earlier release's program is taken from the history: CHANGELOG.md says which commit it is.
"""

import asyncio
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.main import create_app
from app.policy.document import Policies
from app.settings import Settings
from app.store import migrations
from app.store.database import Database
from tests.conftest import Server, Service

ROOT = Path(__file__).parents[2]
_CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
# .ci/run works on a copy without the history, and names the checkout that it copied.
_HISTORY = os.environ.get("ASSISTENZA_TEST_HISTORY", str(ROOT))


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of 0.1.0."""
    found = re.search(r"^## 0\.1\.0 \(.*commit (\w+)\)$", _CHANGELOG, re.MULTILINE)
    assert found is not None
    done = subprocess.run(
        ["git", "-C", _HISTORY, "archive", "--format=zip", found[1], "app", "alembic"],
        capture_output=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 0:
        pytest.skip(f"the history with commit {found[1]} is not here")
    folder = tmp_path_factory.mktemp("release")
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as files:
        files.extractall(folder)
    return folder


@pytest.fixture
async def empty(server: Server) -> AsyncIterator[str]:
    name = f"{server.prefix}_release"
    await server.run(f"CREATE DATABASE {name}")
    yield name
    await server.run(f"DROP DATABASE {name} WITH (FORCE)")


async def _assistenza(program: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=program,
        env={**os.environ, "ASSISTENZA_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=300,
    )


async def test_0_1_0(
    server: Server, empty: str, first_release: Path, policies: Policies, tmp_path: Path
) -> None:
    owner, login = server.url(empty), server.url(empty, server.login)
    customers, licences = tmp_path / "customers.csv", tmp_path / "licences.csv"
    customers.write_text("code,name,country\nOLD-1,Esempio,IT\n")
    licences.write_text(
        "customer_code,serial_number,kind,product,version,purchased_on\n"
        "OLD-1,S-1,editor,Editor,4.2,2026-11-02\n"
    )
    for url, *arguments in (
        (owner, "migrate"),
        (login, "import", str(customers), str(licences)),
        (login, "keys", "create", "--name", "crm", "--scope", "entitlements:read"),
    ):
        done = await _assistenza(first_release, url, *arguments)
        assert done.returncode == 0, done.stderr
    token = done.stdout.strip()

    # The new program needs its own schema, the old one its own: stop, migrate, start.
    refused = await _assistenza(ROOT, login, "serve")
    assert refused.returncode == 1
    assert refused.stderr == (
        "assistenza: the database's schema is at version 0002, this program needs"
        f" {migrations.head()}. Run `assistenza migrate` first.\n"
    )
    migrated = await _assistenza(ROOT, owner, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    refused = await _assistenza(first_release, login, "serve")
    assert refused.returncode == 1
    assert "this program needs 0002" in refused.stderr

    settings = Settings(database_url=login)
    database = Database(settings)
    app = create_app(settings, policies=policies, database=database)
    service = Service(app, database, server, empty, policies)
    try:
        async with service.client(token) as client:
            for path in ("/livez", "/readyz"):
                assert (await client.get(path)).status_code == 200
            answer = await client.get(
                "/v1/entitlements?customer_code=OLD-1&at=2026-12-01T09:00:00Z"
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["columns"] == ["DEV"]
    finally:
        await database.close()
