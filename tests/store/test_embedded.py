"""The embedded PostgreSQL: real servers, really killed.

As root the server runs as another account, which cannot enter pytest's own temporary
directories: each test has one that anybody may pass through.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

import app
from app.store.embedded import (
    DataDirectoryUnusable,
    EmbeddedPostgres,
    ServerFailed,
    ServerInUse,
    VersionMismatch,
    account,
    cluster,
)
from app.store.embedded.access import run_in_thread
from app.store.embedded.memory import shared_buffers, usable_memory
from tests.eventually import eventually

ROOT = Path(app.__file__).parent.parent
MIB = 2**20
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A directory of a test's own, still to be made."""
    with _place() as directory:
        yield directory


@pytest.fixture(scope="module")
def used_dir() -> Iterator[Path]:
    """One with a cluster that is down; each test leaves it as it was."""
    with _place() as directory:
        with quick(directory).serve():
            pass
        yield directory


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """One that is up; each test makes its own tables."""
    with _place() as directory, quick(directory).serve() as server:
        yield server


@contextlib.contextmanager
def _place() -> Iterator[Path]:
    with contextlib.ExitStack() as last:
        parent = Path(tempfile.mkdtemp(prefix="assistenza-"))
        last.callback(shutil.rmtree, parent, ignore_errors=True)
        last.callback(_kill_what_works_in, parent)
        parent.chmod(0o755)
        yield parent / "data"


def _kill_what_works_in(directory: Path) -> None:
    """A test that failed leaves no server behind."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and Path(process.cwd()).is_relative_to(directory):
                process.kill()


def quick(data_dir: Path, **options: Any) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, durable=False, start_timeout=30, **options)


def sql(dsn: str, statement: str, *values: Any) -> Any:
    """The first value of one statement's answer."""

    async def ask() -> Any:
        connection = await asyncpg.connect(dsn, ssl=False)
        try:
            return await connection.fetchval(statement, *values)
        finally:
            await connection.close()

    return run_in_thread(ask())


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has reaped it: an orphan's new parent may not."""
    try:
        return not cluster.alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def service(
    data_dir: Path, body: str = "time.sleep(60)", mode: str = "serve", before: str = "", **how: Any
) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the server; it is up when this enters."""
    script = (
        "import sys, time, pathlib\n"
        "from app.store.embedded import EmbeddedPostgres\n"
        "data = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=sys.argv[2] == 'durable')\n"
        f"{before}with data.{mode}() as server:\n"
        "    print('UP', server.pid, server.app_dsn, flush=True)\n"
        f"    {body}\n"
    )
    command = [sys.executable, "-B", "-c", script, str(data_dir), how.pop("durable", "not")]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **how)
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("UP "):
                break
        assert "UP " in said, said
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# --- a server, its roles, its settings ----------------------------------------------------------


def test_a_restart_keeps_data_address_and_passwords(data_dir: Path) -> None:
    with quick(data_dir).serve() as server:
        sql(server.owner_dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        before, pid = server.owner_dsn, server.pid
    assert gone(pid)
    with quick(data_dir).serve() as server:
        assert server.owner_dsn == before
        assert server.pid != pid
        assert sql(server.owner_dsn, "SELECT answer FROM kept") == 42


def listening_ports(process: psutil.Process) -> set[int]:
    ports = set()
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a backend that has done its work
            found = each.net_connections("inet")
            ports |= {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}
    return ports


def test_its_socket_is_where_nobody_else_may_enter(server: EmbeddedPostgres) -> None:
    """Whoever could listen in its place while it is down would be sent the password."""
    directory = server.data_dir / "socket"
    status = directory.lstat()
    assert stat.S_ISDIR(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == (server.data_dir / "cluster").stat().st_uid
    assert sql(server.admin_dsn, "SHOW listen_addresses") == ""
    assert sql(server.admin_dsn, "SHOW unix_socket_directories") == str(directory)
    assert listening_ports(psutil.Process(server.pid)) == set()


@pytest.mark.parametrize("name", ["deep" * 20, "Tickets, 2026 & più"])
def test_a_path_no_socket_can_have_gets_a_short_private_directory(
    data_dir: Path, name: str
) -> None:
    mine = data_dir.parent / name
    link = mine / "socket"
    with quick(mine).serve() as server:
        directory = link.readlink()
        assert sql(server.app_dsn, "SELECT 1") == 1
        with quick(mine).share() as shared:
            assert shared.app_dsn == server.app_dsn
        status = directory.lstat()
        assert stat.S_IMODE(status.st_mode) == 0o700
        assert status.st_uid == (mine / "cluster").stat().st_uid
    assert not directory.exists()
    assert not link.is_symlink()


async def test_a_short_directory_that_was_cleaned_away_is_made_again(data_dir: Path) -> None:
    mine = data_dir.parent / ("deep" * 20)
    with quick(mine).serve() as server:
        shutil.rmtree((mine / "socket").readlink())
        os.kill(server.pid, signal.SIGKILL)
        watching = asyncio.create_task(server.watch(every=0.05))
        await asyncio.to_thread(eventually, lambda: answers(server.app_dsn))
        watching.cancel()


def test_no_password_goes_into_a_directory_of_somebody_else(data_dir: Path) -> None:
    mine = data_dir.parent / ("deep" * 20)
    with quick(mine).serve() as server:
        directory = (mine / "socket").readlink()
        account_id = (mine / "cluster").stat().st_uid
        sockets = server._socket_directory
        shutil.rmtree(directory)
        directory.mkdir()
        try:
            other = account.Account("somebody", account_id + 4242, account_id + 4242)
            with pytest.raises(DataDirectoryUnusable, match="belongs to another account"):
                sockets.prepare(other)
        finally:
            directory.rmdir()


def test_it_asks_for_passwords_and_keeps_words_out_of_its_log(
    server: EmbeddedPostgres,
) -> None:
    where = server.admin_dsn.partition("@")[2]
    with pytest.raises(asyncpg.InvalidPasswordError):
        sql(f"postgresql://postgres:wrong@{where}", "SELECT 1")
    rules = "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules"
    assert sql(server.admin_dsn, rules) == "scram-sha-256"
    assert sql(server.admin_dsn, "SHOW timezone") == "UTC"
    provider = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = $1"
    assert sql(server.admin_dsn, provider, "assistenza") == "bC.UTF-8"
    sql(server.owner_dsn, "CREATE TABLE word (word text PRIMARY KEY)")
    sql(server.owner_dsn, "INSERT INTO word VALUES ('statement-secret')")
    for statement in ("INSERT INTO word VALUES ('statement-secret')", "SELECT bad_secret"):
        with pytest.raises(asyncpg.PostgresError):
            sql(server.owner_dsn, statement)
    with pytest.raises(asyncpg.UniqueViolationError):
        sql(server.owner_dsn, "INSERT INTO word VALUES ($1)", "statement-secret")
    logs = "".join(path.read_text() for path in (server.data_dir / "cluster/log").iterdir())
    assert "duplicate key" in logs
    assert "statement-secret" not in logs


def test_durability_is_on_unless_given_up(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir).serve() as server:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert sql(server.admin_dsn, f"SHOW {setting}") == "on"


@pytest.mark.parametrize(
    ("memory", "buffers"),
    [
        (256 * MIB, "128MB"),
        (512 * MIB, "128MB"),
        (2048 * MIB, "512MB"),
        (4096 * MIB, "1024MB"),
        (65_536 * MIB, "1024MB"),
    ],
)
def test_its_buffers_follow_the_memory(memory: int, buffers: str) -> None:
    assert shared_buffers(memory) == buffers


def test_its_buffers_are_set(server: EmbeddedPostgres) -> None:
    bytes_set = "SELECT pg_size_bytes(current_setting('shared_buffers'))"
    assert sql(server.admin_dsn, bytes_set) == sql(
        server.admin_dsn, "SELECT pg_size_bytes($1)", shared_buffers(usable_memory())
    )


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        ("0::/\n", {"memory.max": 300 * MIB}),
        ("0::/a/b\n", {"a/b/memory.max": 300 * MIB, "a/memory.max": 400 * MIB}),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": 300 * MIB}),
        (
            "5:cpu:/\n4:memory:/a\n0::/\n",
            {
                "memory/a/memory.limit_in_bytes": 300 * MIB,
                "memory/memory.limit_in_bytes": 2**63 - 4096,
            },
        ),
        # The group as the machine sees it, in a container that sees it as the topmost.
        ("4:cpu,memory:/far/away\n", {"memory/memory.limit_in_bytes": 300 * MIB}),
    ],
    ids=["container", "within", "above", "version 1", "version 1 in a container"],
)
def test_a_limit_of_memory_counts(tmp_path: Path, own: str, limits: dict[str, object]) -> None:
    group = tmp_path / "own"
    group.write_text(own)
    for name, limit in limits.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    assert usable_memory(tmp_path / "groups", group) == 300 * MIB


def test_without_a_limit_all_memory_counts(tmp_path: Path) -> None:
    assert usable_memory(tmp_path, tmp_path / "absent") == psutil.virtual_memory().total


def test_the_files_are_private(server: EmbeddedPostgres) -> None:
    for name in ("credentials.json", "lock", "startup.log"):
        assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE((server.data_dir / "cluster").stat().st_mode) == 0o700
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == (0o711 if IS_ROOT else 0o700)
    assert not list(server.data_dir.glob("initdb-*"))


def test_the_roles_may_what_they_should_and_no_more(server: EmbeddedPostgres) -> None:
    who = "SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname LIKE 'assistenza%'"
    assert sql(server.admin_dsn, who) is False
    sql(server.owner_dsn, "CREATE TABLE one AS SELECT 1 AS n")
    sql(server.owner_dsn, "GRANT SELECT ON one TO assistenza_app")
    sql(server.owner_dsn, "CREATE TABLE two AS SELECT 2 AS n")
    sql(server.owner_dsn, "GRANT SELECT ON two TO assistenza_bound")
    assert sql(server.app_dsn, "SELECT n FROM one") == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        sql(server.app_dsn, "SELECT n FROM two")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        sql(server.app_dsn, "CREATE TABLE three (n int)")

    async def step_down() -> tuple[Any, Any]:
        connection = await asyncpg.connect(server.app_dsn, ssl=False)
        try:
            await connection.execute("SET ROLE assistenza_bound")
            n = await connection.fetchval("SELECT n FROM two")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetchval("SELECT n FROM one")
            return n, await connection.fetchval("SELECT current_user")
        finally:
            await connection.close()

    assert run_in_thread(step_down()) == (2, "assistenza_bound")
    for group in ("assistenza_app", "assistenza_bound"):
        sql(server.owner_dsn, f"CREATE ROLE member_of_{group}")
        sql(server.owner_dsn, f"GRANT {group} TO member_of_{group}")
    for role in ("assistenza_owner", "postgres"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            sql(server.app_dsn, f"SET ROLE {role}")


def test_a_row_filter_for_bound_tokens_does_not_touch_the_login_role(
    server: EmbeddedPostgres,
) -> None:
    sql(server.owner_dsn, "CREATE TABLE rows AS SELECT generate_series(1, 3) AS n")
    sql(server.owner_dsn, "GRANT SELECT ON rows TO assistenza_app, assistenza_bound")
    sql(server.owner_dsn, "ALTER TABLE rows ENABLE ROW LEVEL SECURITY")
    sql(server.owner_dsn, "CREATE POLICY everyone ON rows USING (true)")
    sql(
        server.owner_dsn,
        "CREATE POLICY bound ON rows AS RESTRICTIVE TO assistenza_bound USING (n = 2)",
    )
    assert sql(server.app_dsn, "SELECT count(*) FROM rows") == 3
    sql(server.owner_dsn, "ALTER TABLE rows FORCE ROW LEVEL SECURITY")
    assert sql(server.owner_dsn, "SELECT count(*) FROM rows") == 3


# --- who owns it, who borrows it ----------------------------------------------------------------


def test_a_second_serve_is_refused_at_once_and_a_command_shares(data_dir: Path) -> None:
    with service(data_dir) as first:
        started = time.monotonic()
        with (
            pytest.raises(ServerInUse, match=f"'assistenza serve' \\(process {first.pid}\\)"),
            quick(data_dir).serve(),
        ):
            pass
        assert time.monotonic() - started < 2
        with quick(data_dir).share() as shared:
            pid = shared.pid
            assert sql(shared.owner_dsn, "SELECT current_user") == "assistenza_owner"
        assert not gone(pid), "a command that borrows the server does not stop it"
        first.send_signal(signal.SIGTERM)
        assert first.wait(10) == 128 + signal.SIGTERM
        assert gone(pid), "SIGTERM ends the server with the service"


def test_the_same_process_cannot_own_it_twice_either(data_dir: Path) -> None:
    with quick(data_dir).serve(), pytest.raises(ServerInUse), quick(data_dir).serve():
        pass


def test_a_command_alone_starts_and_stops_it_and_a_serve_waits_for_it(data_dir: Path) -> None:
    with service(data_dir, "time.sleep(1)", mode="share") as command:
        with pytest.raises(ServerInUse, match="command"), quick(data_dir).serve(wait=0):
            pass
        with pytest.raises(ServerInUse, match="command"), quick(data_dir).share(wait=0):
            pass
        with quick(data_dir).serve() as server:
            assert command.wait(5) == 0
            assert sql(server.app_dsn, "SELECT 1") == 1
    with quick(data_dir).share() as server:
        pid = server.pid
    assert gone(pid)
    with pytest.raises(ServerFailed):
        _ = server.pid


# --- crashes ------------------------------------------------------------------------------------


def test_its_server_ends_when_the_service_is_killed(data_dir: Path) -> None:
    with service(data_dir, durable="durable") as first:
        with quick(data_dir).share() as shared:
            sql(shared.owner_dsn, "CREATE TABLE kept AS SELECT 'committed' AS word")
            pid = shared.pid
        first.kill()
        first.wait()
        eventually(lambda: gone(pid), 10)
    assert not (data_dir / "cluster/postmaster.pid").exists(), "it ended in good order"
    with quick(data_dir).serve() as server:
        assert sql(server.owner_dsn, "SELECT word FROM kept") == "committed"


def test_a_server_that_was_restarted_ends_with_a_killed_service_too(data_dir: Path) -> None:
    body = "import asyncio; asyncio.run(server.watch(every=0.05))"
    with service(data_dir, body) as first:
        with quick(data_dir).share() as shared:
            before, dsn = shared.pid, shared.app_dsn
        os.kill(before, signal.SIGKILL)
        eventually(lambda: gone(before) and answers(dsn), 10)
        with quick(data_dir).share() as shared:
            pid = shared.pid
        first.kill()
        first.wait()
        eventually(lambda: gone(pid), 10)


def test_a_server_that_outlives_the_service_is_replaced(data_dir: Path) -> None:
    """Its guard was killed too, or an earlier release started it, on a TCP port."""
    with service(data_dir, durable="durable") as first:
        with quick(data_dir).share() as shared:
            sql(shared.owner_dsn, "CREATE TABLE kept AS SELECT 'committed' AS word")
            pid, dsn = shared.pid, shared.owner_dsn
        guards = [one for one in psutil.Process(first.pid).children() if one.name() == "sh"]
        for guard in guards:
            guard.kill()
        first.kill()
        first.wait()
    assert guards
    assert not gone(pid)
    with quick(data_dir).serve() as server:
        assert gone(pid)
        assert server.owner_dsn == dsn
        assert sql(server.owner_dsn, "SELECT word FROM kept") == "committed"


def test_a_foreign_process_that_looks_like_postgresql_delays_nothing(used_dir: Path) -> None:
    """Anybody may call a program postgres, and write the cluster's tag into its title."""
    status = (used_dir / "cluster").stat()
    program = used_dir.parent / "postgres"
    shutil.copy(shutil.which("sleep") or "", program)
    title = f"postgres: assistenza-{status.st_dev:x}-{status.st_ino:x}: checkpointer"
    with subprocess.Popen([title, "60"], executable=program) as stranger:
        try:
            with EmbeddedPostgres(used_dir, durable=False, start_timeout=5).serve() as server:
                assert sql(server.app_dsn, "SELECT 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_after_both_are_killed_the_next_recovers(data_dir: Path) -> None:
    with service(data_dir, durable="durable") as first:
        with quick(data_dir).share() as shared:
            sql(shared.owner_dsn, "CREATE TABLE kept AS SELECT 'committed' AS word")
            pid = shared.pid
        first.kill()
        os.kill(pid, signal.SIGKILL)
    assert (data_dir / "cluster/postmaster.pid").exists()
    with quick(data_dir).serve() as server:
        assert server.pid != pid
        assert sql(server.owner_dsn, "SELECT word FROM kept") == "committed"


@pytest.mark.parametrize("first_line", ["{foreign}", "-{foreign}", "not a number", ""])
def test_a_stale_pid_file_with_a_strangers_pid_stands_in_nobodys_way(
    used_dir: Path, first_line: str
) -> None:
    owner = (used_dir / "cluster").stat()
    as_owner: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid} if IS_ROOT else {}
    # Of the server's own account: the one case in which PostgreSQL itself refuses to start.
    with subprocess.Popen(["sleep", "60"], **as_owner) as stranger:
        try:
            line = first_line.format(foreign=stranger.pid)
            rest = f"{used_dir / 'cluster'}\n1700000000\n5432\n\n127.0.0.1\n  1 2\nready\n"
            pid_file = used_dir / "cluster/postmaster.pid"
            pid_file.write_text(line and f"{line}\n{rest}")
            os.chown(pid_file, owner.st_uid, owner.st_gid)
            with quick(used_dir).serve() as server:
                assert server.pid != stranger.pid
                assert sql(server.app_dsn, "SELECT 1") == 1
            assert stranger.poll() is None, "the stranger lives on"
        finally:
            stranger.kill()


def test_a_server_started_by_hand_on_our_data_is_never_pushed_aside(used_dir: Path) -> None:
    directory = used_dir / "cluster"
    who = account.server_account(used_dir, directory)
    how: dict[str, Any] = {"user": who.uid, "group": who.gid, "extra_groups": []} if who else {}
    with quick(used_dir).serve() as server:
        pass
    program = account.programs(who, used_dir / "binaries")["postgres"]
    options = ["-h", "", "-k", str(used_dir / "socket")]
    with subprocess.Popen(
        [program, "-D", str(directory), *options], stderr=subprocess.DEVNULL, **how
    ) as by_hand:
        eventually(lambda: answers(server.app_dsn), 10)
        pid_file = directory / "postmaster.pid"
        pid_file.rename(used_dir / "kept")
        with (
            pytest.raises(ServerFailed, match=f"{by_hand.pid}.* have not ended|still in use"),
            EmbeddedPostgres(used_dir, start_timeout=0.3).serve(),
        ):
            pass
        (used_dir / "kept").rename(pid_file)
        assert by_hand.poll() is None
        # Adopted, as it takes our passwords. Root without CAP_SYS_PTRACE (a container) cannot
        # know it for ours; then PostgreSQL refuses to start a second.
        with contextlib.suppress(ServerFailed), quick(used_dir).serve() as server:
            assert server.pid == by_hand.pid
        by_hand.send_signal(signal.SIGINT)
        assert by_hand.wait(10) == 0


def test_the_start_waits_for_the_backends_of_a_killed_server(data_dir: Path) -> None:
    with service(data_dir) as first:
        with quick(data_dir).share() as shared:
            pid = shared.pid
            backend = next(
                child
                for child in psutil.Process(pid).children()
                if "checkpointer" in " ".join(child.cmdline())
            )
        backend.suspend()
        first.kill()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: gone(pid), 10)
    try:
        with (
            pytest.raises(ServerFailed, match=f"{backend.pid}.* have not ended"),
            EmbeddedPostgres(data_dir, start_timeout=0.5).serve(),
        ):
            pass
    finally:
        backend.resume()
    with quick(data_dir).serve() as server:
        assert gone(backend.pid)
        assert sql(server.app_dsn, "SELECT 1") == 1


async def test_a_dead_server_is_restarted_at_its_address(data_dir: Path) -> None:
    with quick(data_dir).serve() as server:
        watching = asyncio.create_task(server.watch(every=0.05))
        dsn = server.app_dsn
        for _ in range(2):
            pid = server.pid
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(eventually, lambda: answers(dsn))
            assert gone(pid)
            await asyncio.sleep(0.2)  # the watcher asks it too, before it watches again
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        last = server.pid
    assert gone(last)


def answers(dsn: str) -> bool:
    try:
        return bool(sql(dsn, "SELECT 1") == 1)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False


async def test_a_disk_that_is_almost_full_stops_writes_and_nothing_else(data_dir: Path) -> None:
    """Without room for its log PostgreSQL would stop, and refuse to start again."""
    write = "CREATE TABLE IF NOT EXISTS kept ()"
    with quick(data_dir, reserve=0).serve() as server:
        watching = asyncio.create_task(server.watch(every=0.05))
        sql(server.owner_dsn, write)
        server._reserve = 2**60

        def refused() -> bool:
            try:
                sql(server.owner_dsn, write)
            except asyncpg.ReadOnlySQLTransactionError:
                return True
            return False

        await asyncio.to_thread(eventually, refused)
        assert sql(server.app_dsn, "SELECT 1") == 1
        server._reserve = 0
        await asyncio.to_thread(eventually, lambda: not refused())
        watching.cancel()
    with (
        quick(data_dir, reserve=2**60).serve() as server,
        pytest.raises(asyncpg.ReadOnlySQLTransactionError),
    ):
        sql(server.owner_dsn, write)
    with quick(data_dir).serve() as server:
        sql(server.owner_dsn, write)


async def test_watching_outlives_a_restart_that_fails(data_dir: Path) -> None:
    with quick(data_dir).serve() as server:
        version = data_dir / "cluster/PG_VERSION"
        kept = version.read_text()
        watching = asyncio.create_task(server.watch(every=0.05))
        version.write_text("9\n")
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.sleep(0.5)
        assert not watching.done()
        version.write_text(kept)
        await asyncio.to_thread(eventually, lambda: answers(server.app_dsn))
        watching.cancel()


def test_ctrl_c_in_the_terminal_reaches_the_service_first(data_dir: Path) -> None:
    # The service takes its time to end; meanwhile its server must still answer.
    before = (
        "import signal, psutil\n"
        "def leave(*_):\n"
        "    time.sleep(0.3)\n"
        "    print('STATUS', psutil.Process(server.pid).status())\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGINT, leave)\n"
    )
    with service(data_dir, before=before, start_new_session=True) as first:
        os.killpg(first.pid, signal.SIGINT)
        assert first.wait(10) == 0
        assert first.stdout is not None
        said = first.stdout.read()
        assert "STATUS" in said
        assert "zombie" not in said


# --- what stops it from starting, said clearly --------------------------------------------------


def test_data_of_another_major_version_are_refused(used_dir: Path) -> None:
    (used_dir / "cluster/PG_VERSION").write_text("17\n")
    with pytest.raises(VersionMismatch, match=r"PostgreSQL 17.*pg_dump"), quick(used_dir).serve():
        pass
    (used_dir / "cluster/PG_VERSION").write_text("18\n")
    with quick(used_dir).serve():
        pass


def test_lost_passwords_are_told(used_dir: Path) -> None:
    kept = (used_dir / "credentials.json").rename(used_dir / "kept")
    with pytest.raises(DataDirectoryUnusable, match="missing"), quick(used_dir).serve():
        pass
    assert not (used_dir / "credentials.json").exists(), "new ones would open nothing"
    kept.rename(used_dir / "credentials.json")


def test_a_start_that_fails_says_what_the_server_said(used_dir: Path) -> None:
    settings = used_dir / "cluster/postgresql.conf"
    kept = settings.read_text()
    settings.write_text("no_such_setting = 1\n")
    with pytest.raises(ServerFailed, match="no_such_setting"), quick(used_dir).serve():
        pass
    settings.write_text(kept)


def test_a_half_made_cluster_is_made_anew(data_dir: Path) -> None:
    (data_dir / "cluster.new").mkdir(parents=True)
    (data_dir / "cluster.new/PG_VERSION").write_text("18\n")
    with quick(data_dir).serve() as server:
        assert sql(server.app_dsn, "SELECT 1") == 1
    assert not (data_dir / "cluster.new").exists()


def test_old_logs_go(used_dir: Path) -> None:
    logs = used_dir / "cluster/log"
    for day in range(10, 30):
        (logs / f"postgresql-200001{day}-000000.log").touch()
    with quick(used_dir).serve():
        assert len(list(logs.iterdir())) <= 9


# --- accounts -----------------------------------------------------------------------------------


def test_mode_bits_tell_what_an_account_blocked_at(tmp_path: Path) -> None:
    somebody = account.Account("somebody", os.getuid() + 4242, os.getgid() + 4242)
    (tmp_path / "a/b").mkdir(parents=True)
    program = tmp_path / "a/b/program"
    program.touch(0o755)
    for directory in (*tmp_path.parents[:-2], tmp_path, tmp_path / "a", tmp_path / "a/b"):
        if directory.stat().st_uid == os.getuid() and tmp_path.parents[2] in directory.parents:
            directory.chmod(0o711)
    base = somebody.blocked_at(tmp_path / "x")
    (tmp_path / "a").chmod(0o700)
    assert somebody.blocked_at(program) == (base or tmp_path / "a")
    owner = account.Account("owner", os.getuid(), os.getgid())
    assert owner.can_run(program)
    program.chmod(0o644)
    assert not owner.can_run(program)


def _modes(path: Path) -> dict[Path, tuple[int, int, int]]:
    found = [path, *path.parents, Path(asyncpg.__file__).parents[1]]
    return {p: (p.stat().st_mode, p.stat().st_uid, p.stat().st_gid) for p in found}


def _as_nobody(work: Callable[[], None]) -> None:
    """Run it in a child process that has become `nobody`. Forked: nobody may have no Python."""
    import pwd

    nobody = pwd.getpwnam("nobody")
    with warnings.catch_warnings():
        # From 3.12 on: other threads; here they are a pool's, which wait for work.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


if IS_ROOT:

    def test_root_runs_it_as_an_account_without_rights_and_opens_nothing(data_dir: Path) -> None:
        before = _modes(data_dir.parent)
        with quick(data_dir).serve() as server:
            process = psutil.Process(server.pid)
            assert process.username() in {"postgres", "nobody"}
            assert set(process.gids()) == {(data_dir / "cluster").stat().st_gid}
            assert (data_dir / "credentials.json").stat().st_uid == 0
        assert _modes(data_dir.parent) == before

    def test_a_directory_closed_to_that_account_is_named(data_dir: Path) -> None:
        data_dir.parent.chmod(0o700)
        with (
            pytest.raises(DataDirectoryUnusable, match=f"enter {data_dir.parent}: choose another"),
            quick(data_dir).serve(),
        ):
            pass
        assert stat.S_IMODE(data_dir.parent.stat().st_mode) == 0o700

    def test_programs_closed_to_that_account_are_copied_once(
        data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(account.Account, "can_run", lambda *_: False)
        (data_dir / "binaries/1.2.3").mkdir(parents=True)
        data_dir.chmod(0o711)
        copy = data_dir / "binaries" / account.version()
        with quick(data_dir).serve() as server:
            assert Path(psutil.Process(server.pid).exe()).is_relative_to(copy)
            assert sql(server.app_dsn, "SELECT 1") == 1
        assert [path.name for path in copy.parent.iterdir()] == [copy.name]
        made = copy.stat().st_mtime_ns
        with quick(data_dir).serve():
            assert copy.stat().st_mtime_ns == made

    def test_an_ordinary_user_runs_it_and_root_then_keeps_to_that_user(
        data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nobody = account.server_account(Path("/nowhere"), Path("/nowhere"))
        assert nobody is not None
        runnable = account.programs(nobody, data_dir.parent / "copies")
        monkeypatch.setattr("app.store.embedded.server.programs", lambda *_: runnable)
        home = data_dir.parent / "home"
        home.mkdir()
        shutil.chown(home, "nobody")
        mine = home / "data"
        answer: Any = None

        def use() -> None:
            with quick(mine).serve() as server:
                assert psutil.Process(server.pid).username() == "nobody"
                sql(server.owner_dsn, "CREATE TABLE IF NOT EXISTS kept ()")

        with quick(data_dir).serve() as server:
            # Also loads what nobody may not be able to read.
            answer = sql(server.app_dsn, "SELECT 1")
        assert answer == 1
        _as_nobody(use)
        with quick(mine).serve() as server:
            assert psutil.Process(server.pid).username() == "nobody"
        assert {path.owner() for path in mine.iterdir()} == {"nobody"}
        _as_nobody(use)

    def test_another_users_data_are_told_from_damage(data_dir: Path) -> None:
        with quick(data_dir).serve():
            pass

        def refused() -> None:
            with pytest.raises(DataDirectoryUnusable, match="account"), quick(data_dir).serve():
                pass

        _as_nobody(refused)
