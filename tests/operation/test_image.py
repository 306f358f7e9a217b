"""The image of the Dockerfile, built by buildah and run by runc: start, health, drain and size.

No registry is asked: Debian 13 with its Python, laid out by debootstrap, stands in for the base
that the Dockerfile pins. Run by `bash .ci/run --full`; needs root and the packages `buildah`,
`runc` and `debootstrap`.

The container runs as an engine runs `docker run --user 54321:54321 --read-only --tmpfs /tmp
--cap-drop ALL --security-opt no-new-privileges --network host`: a user that the image does not
know, who can write to /tmp alone.
"""

import json
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import __version__
from app.store.roles import LOGIN, OWNER
from tests.command import ROOT
from tests.operation.clusters import Cluster, create_on, primary_in
from tests.operation.running import directory, free_port

pytestmark = pytest.mark.pooler

_SECONDS = 1_200
_USER = 54321
_LARGEST_LAYER = 230_000_000
"""Bytes that the image may add to its base, uncompressed."""
_BASE = """\
FROM scratch
ADD base.tar /
# As in the Python images of Docker: `python` and `pip` in /usr/local/bin.
RUN python3 -m venv /usr/local
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
"""
_NOT_OF_THE_BASE = ("dev", "proc", "sys", "var/cache/apt", "var/lib/apt/lists", "usr/share/doc")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


class Container:
    """A container of the image, seen through runc."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._runc = ("runc", f"--root={folder}/runc")
        self._name = f"{folder.parent.name}-{folder.name}"
        (folder / "config.json").write_text(json.dumps(config))
        self._log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [*self._runc, "run", f"--bundle={folder}", self._name],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside the service, as `docker exec` and a health check do."""
        return subprocess.run(
            [*self._runc, "exec", self._name, *command], capture_output=True, text=True, timeout=60
        )

    def signal(self, name: str) -> None:
        run(*self._runc, "kill", self._name, name)

    def wait(self) -> int:
        return self.process.wait(120)

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def end(self) -> None:
        if self.process.poll() is None:
            self.signal("KILL")
            self.process.wait(60)
        self._log.close()


class Engine:
    """buildah, with images and containers in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self.image: dict[str, Any] = {}
        """The configuration of the image, as Docker keeps it."""

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        places = (f"--root={self._folder}/images", f"--runroot={self._folder}/run")
        return run("buildah", *places, *arguments, cwd=cwd)

    def build(self, name: str, context: Path, *arguments: str) -> None:
        how = ["--isolation=chroot", "--network=host", "--format=docker", "--pull-never"]
        # A machine may need certificates of its own to reach its package index.
        if certificates := ssl.get_default_verify_paths().cafile:
            how.append(f"--volume={certificates}:/etc/ssl/certs/ca-certificates.crt:ro")
        self("bud", "--quiet", *how, f"--tag={name}", *arguments, context)

    @contextmanager
    def container(
        self, *command: str, program: Sequence[str] = (), **settings: Any
    ) -> Iterator[Container]:
        """A container that runs the image's own program with `command`, or another `program`."""
        self._started += 1
        folder = self._folder / f"container-{self._started}"
        folder.mkdir()
        run("runc", "spec", cwd=folder)
        config = json.loads((folder / "config.json").read_text())
        given = {f"ASSISTENZA_{name.upper()}": str(value) for name, value in settings.items()}
        own = self.image["config"]
        config["process"] |= {
            "terminal": False,
            "user": {"uid": _USER, "gid": _USER},
            "args": [*program] or [*own["Entrypoint"], *(command or own["Cmd"])],
            "env": [*own["Env"], *(f"{name}={value}" for name, value in given.items())],
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [],
        }
        origin = self("from", "assistenza")
        config["root"] = {"path": self("mount", origin), "readonly": True}
        config["mounts"] = [
            *(one for one in config["mounts"] if one["type"] not in ("cgroup", "sysfs")),
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
        ]
        # The network is the machine's, so that the database on loopback can be reached.
        config["linux"]["namespaces"] = [{"type": one} for one in ("pid", "ipc", "uts", "mount")]
        del config["linux"]["resources"]
        container = Container(folder, config)
        try:
            yield container
        finally:
            container.end()
            self("umount", origin)
            self("rm", origin)

    def run(self, *command: str, **how: Any) -> str:
        """What `docker run --rm assistenza COMMAND` prints."""
        with self.container(*command, **how) as container:
            assert container.wait() == 0, container.said()
            return container.said().strip()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with directory() as folder:
        yield folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    """With the image `assistenza`, just built."""
    if os.geteuid() or not all(map(shutil.which, ("buildah", "runc", "debootstrap"))):
        pytest.skip("buildah, runc, debootstrap or root is not here")
    base = folder / "base"
    base.mkdir()
    packages = "--include=ca-certificates,python3,python3-venv"
    run("debootstrap", "--variant=minbase", packages, "trixie", base / "root")
    left_out = [f"--exclude=./{one}" for one in _NOT_OF_THE_BASE]
    run("tar", "-C", base / "root", *left_out, "-cf", base / "base.tar", ".")
    shutil.rmtree(base / "root")
    (base / "Dockerfile").write_text(_BASE)
    engine = Engine(folder)
    engine.build("base", base)
    engine.build("assistenza", ROOT, "--build-arg=PYTHON=localhost/base")
    engine.image = json.loads(engine("inspect", "--type=image", "assistenza"))["Docker"]
    return engine


@pytest.fixture(scope="module")
async def primary(folder: Path, engine: Engine) -> AsyncIterator[Cluster]:
    """A PostgreSQL with a database that the image has migrated."""
    with primary_in(folder) as primary:
        await create_on(primary.server)
        engine.run("migrate", migration_database_url=primary.url(OWNER))
        yield primary


def status(address: str, path: str, **headers: str) -> int | None:
    """None: nobody answers."""
    try:
        return httpx.get(f"{address}{path}", headers=headers, timeout=10).status_code
    except httpx.TransportError:
        return None


def until(condition: Callable[[], bool], container: Container) -> float:
    """The seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert container.process.poll() is None, container.said()
        assert time.monotonic() < began + 120, container.said()
        time.sleep(0.05)
    return time.monotonic() - began


def test_it_serves_as_any_user_on_a_read_only_root_and_drains(
    engine: Engine, primary: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    database = primary.url(LOGIN)
    create = ("keys", "create", "--name", "a", "--scope", "admin")
    token = engine.run(*create, database_url=database).splitlines()[-1]
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    health = engine.image["config"]["Healthcheck"]["Test"]
    assert health[0] == "CMD"
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": port, "database_url": database}
    with engine.container(**settings, workers=2, drain_seconds=3) as container:
        started = until(lambda: status(address, "/readyz") == 200, container)
        assert container.execute(*health[1:]).returncode == 0
        assert container.execute("id", "-u").stdout == f"{_USER}\n"
        for place in ("/", "/opt/assistenza", "/var/tmp", "/home"):
            refused = container.execute("touch", f"{place}/file")
            assert refused.returncode != 0, place
            assert "Read-only file system" in refused.stderr, place
        assert container.execute("touch", "/tmp/file").returncode == 0
        authorised = {"Authorization": f"Bearer {token}"}
        assert status(address, "/metrics") == 401
        assert status(address, "/metrics", **authorised) == 200

        container.signal("TERM")
        asked_at = time.monotonic()
        until(lambda: status(address, "/readyz") == 503, container)
        assert time.monotonic() - asked_at < 1.5
        assert container.execute(*health[1:]).returncode != 0
        assert status(address, "/metrics", **authorised) == 200
        assert container.wait() == 0, container.said()
        drained = time.monotonic() - asked_at
        assert 3 <= drained < 20
    with capsys.disabled():
        print(f"\nimage: ready after {started:.1f} s, ended {drained:.1f} s after SIGTERM")


def test_it_adds_little_to_its_base_and_no_postgresql(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads(json.loads(engine("inspect", "--type=image", "assistenza"))["Manifest"])
    base, added = [layer["size"] for layer in manifest["layers"]]
    with capsys.disabled():
        print(f"\nimage: {added / 1e6:.0f} MB on a base of {base / 1e6:.0f} MB, uncompressed")
    assert added < _LARGEST_LAYER
    assert engine.image["config"]["User"] == "10001"
    with engine.container() as container:
        assert container.wait() != 0
        assert "ASSISTENZA_DATABASE_URL" in container.said()


def test_the_bill_of_materials_names_what_is_installed(engine: Engine) -> None:
    code = (
        "from importlib.metadata import distributions;"
        "print(*{f'{one.name}=={one.version}' for one in distributions()})"
    )
    installed = engine.run(program=["python", "-c", code]).split()
    bill = json.loads(run("sh", ROOT / "requirements" / "sbom.sh"))
    listed = [
        f"{one['name']}=={one['version']}"
        for one in (bill["metadata"]["component"], *bill["components"])
    ]
    assert f"assistenza=={__version__}" in listed
    assert sorted(map(_normal, installed)) == sorted(map(_normal, listed))


def _normal(package: str) -> str:
    name, _, version = package.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"
