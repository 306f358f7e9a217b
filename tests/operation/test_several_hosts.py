"""An address with several servers: the primary is found, whoever else is named beside it."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.store.roles import DATABASE, LOGIN, OWNER
from tests.command import run
from tests.operation.clusters import Cluster, prepare, primary_in, standby_in
from tests.operation.running import directory, free_port, running


@pytest.fixture(scope="module")
def parent() -> Iterator[Path]:
    with directory() as parent:
        yield parent


@pytest.fixture(scope="module")
def primary(parent: Path) -> Iterator[Cluster]:
    with primary_in(parent) as primary:
        asyncio.run(prepare(primary))
        yield primary


@pytest.fixture(scope="module")
def standby(parent: Path, primary: Cluster) -> Iterator[Cluster]:
    with standby_in(parent, primary) as standby:
        yield standby


def addresses(user: str, *servers: str) -> list[str]:
    """One address of several servers in each spelling."""
    hosts = "&".join(f"host={server}" for server in servers)
    return [
        f"postgresql://{user}@{','.join(servers)}/{DATABASE}",
        f"postgresql://{user}@/{DATABASE}?{hosts}",
    ]


@pytest.mark.parametrize("spelling", [0, 1])
@pytest.mark.parametrize("kind", ["", "target_session_attrs=read-write"])
def test_commands_find_the_primary(
    primary: Cluster, standby: Cluster, spelling: int, kind: str
) -> None:
    servers = (f"127.0.0.1:{free_port()}", standby.server, primary.server)
    owner, login = (
        address + (f"{'&' if '?' in address else '?'}{kind}" if kind else "")
        for address in (addresses(user, *servers)[spelling] for user in (OWNER, LOGIN))
    )
    variables = {"ASSISTENZA_DATABASE_URL": login, "ASSISTENZA_MIGRATION_DATABASE_URL": owner}
    for words in (
        ("migrate",),
        ("keys", "create", "--name", "a", "--scope", "admin"),
        ("reconcile",),
        ("after-restore",),
    ):
        done = run(*words, env=variables)
        assert done.returncode == 0, done.stderr


def test_a_command_names_every_server_that_will_not_do(primary: Cluster, standby: Cluster) -> None:
    dead = f"127.0.0.1:{free_port()}"
    address = addresses(LOGIN, dead, standby.server)[0]
    done = run("keys", "list", ASSISTENZA_DATABASE_URL=address)
    assert done.returncode == 1
    assert f"the database cannot be used: {dead}: " in done.stderr
    assert f"{standby.server}: target_session_attrs=primary does not fit" in done.stderr


def test_the_service_goes_on_after_a_promotion(parent: Path) -> None:
    """The first server named is stopped in the middle; the second is promoted."""
    with directory() as own, primary_in(own) as primary:
        asyncio.run(prepare(primary))
        with standby_in(own, primary) as standby:
            address = addresses(LOGIN, primary.server, standby.server)[0]
            token = run(
                "keys", "create", "--name", "a", "--scope", "customers:write",
                ASSISTENZA_DATABASE_URL=address,
            ).stdout.strip()  # fmt: skip
            headers = {"Authorization": f"Bearer {token}"}
            with running(database_url=address) as service:
                customers = f"{service.address}/v1/customers"

                def create(code: str) -> int:
                    body = {"code": code, "name": "Esempio", "country": "IT"}
                    return httpx.post(customers, json=body, headers=headers).status_code

                assert create("C-1") == 201
                primary.stop(signal.SIGINT)
                assert create("C-2") == 503
                standby.promote()
                service.wait_until_ready()
                assert create("C-2") == 201
