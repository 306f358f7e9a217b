"""The page `app/store/REPLICATION.md`: its commands are run in its order, on servers of Debian's.

Between them customers are written, the primary is killed, and what each step promises is looked at.
Run by `bash .ci/run --full`; needs the package `postgresql`.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import ROOT
from tests.operation.running import directory, environment, free_port

pytestmark = pytest.mark.pooler

_SECONDS = 300
_BASH = ("bash", "-eu", "-o", "pipefail", "-c")
_PAGE = (ROOT / "app" / "store" / "REPLICATION.md").read_text("utf-8")
_CODES = "SELECT string_agg(code, ' ' ORDER BY code) FROM customers"

# What is there before the page begins, and what ends it.
_BEGIN = """
trap 'kill $(jobs -p) || true; wait || true
    for data in $data1 $data2 $restored; do pg_ctl -D $data -s -m immediate stop || true; done' EXIT
initdb -D $data1 -U postgres -A trust >/dev/null
cat > $data1/pg_hba.conf <<END
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
END
cat >> $data1/postgresql.conf <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
END
pg_ctl -D $data1 -w -o "-p $port1" -l $work/log1 start
assistenza roles > $work/roles.sql
psql "$db1 user=postgres" -q -v ON_ERROR_STOP=1 -f $work/roles.sql
owner=postgresql://assistenza_owner:CHANGE-ME-2@127.0.0.1:$port1/assistenza
ASSISTENZA_MIGRATION_DATABASE_URL=$owner assistenza migrate
write() {
    curl -sf -o /dev/null "$api/v1/customers" -H "Authorization: Bearer $token" \\
        -H 'Content-Type: application/json' \\
        -d '{"code": "'$1'", "name": "Esempio", "country": "IT"}'
}
"""
_BEFORE = {
    "Back to an instant": """
token=$(assistenza keys create --name a --scope customers:write)
write KEPT
psql "$db1 user=postgres" -Atc 'SELECT now()' > $work/good
sleep 1
write WRONG
""",
    "`db1` is gone": """
write LAST
kill -9 $(head -n 1 $data1/postmaster.pid)
""",
}
_AFTER = {
    "Asynchronous or synchronous": """
echo "sync_state: $(psql "$db1 user=postgres" -Atc 'SELECT sync_state FROM pg_stat_replication')"
""",
    "`db1` is gone": f"""
write NEXT
echo "db2: $(psql "$db2 user=postgres dbname=assistenza" -Atc "{_CODES}")"
""",
    "`db1` comes back": f"""
write BOTH
until [ "$(psql "$db1 user=postgres dbname=assistenza" -Atc "{_CODES}")" = \\
    "$(psql "$db2 user=postgres dbname=assistenza" -Atc "{_CODES}")" ]; do sleep 0.2; done
echo "db1: $(psql "$db1 user=postgres dbname=assistenza" -Atc "{_CODES}")"
""",
}
# In the section, before the rehearsal ends.
_REHEARSED = f"""
echo "restored: $(psql "$db1 port=$port3 user=postgres dbname=assistenza" -Atc "{_CODES}")"
"""


def script() -> str:
    """All of the page's commands, with the servers where they are here."""
    parts = [_BEGIN]
    for section in _PAGE.split("\n## ")[1:]:
        heading = section.partition("\n")[0]
        blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        if heading == "Back to an instant":
            blocks.insert(-1, _REHEARSED)
        parts += [_BEFORE.get(heading, ""), *blocks, _AFTER.get(heading, "")]
    text = "\n".join(parts)
    for written, here in (
        ("10.0.0.0/24", "127.0.0.1/32"),
        ("10.0.0.21:5432", "127.0.0.1:$port1"),
        ("10.0.0.22:5432", "127.0.0.1:$port2"),
        ("10.0.0.21:5433", "127.0.0.1:$port3"),
        ("port=5433", "port=$port3"),
        ("port = 5433", "port = $port3"),
        ("good='2026-11-26 18:30:00+01'", "good=$(cat $work/good)"),
    ):
        assert written in text, written
        text = text.replace(written, here)
    # The copies of a server's settings name its port.
    for number in "12":
        start = f'pg_ctl -D "$data{number}" -w'
        assert start in text
        text = text.replace(start, f'{start} -l $work/log{number} -o "-p $port{number}"')
    start = 'pg_ctl -D "$restored" -w'
    return text.replace(f"{start} start", f"{start} -l $work/log3 start")


@pytest.fixture
def work() -> Iterator[Path]:
    with directory() as work:
        yield work


def programs(folder: Path) -> None:
    """PostgreSQL's programs as the account that they run as, and `assistenza`, in a folder."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
    assert found, "PostgreSQL is not installed: apt-get install postgresql"
    as_server = ""
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        as_server = "setpriv --reuid postgres --regid postgres --clear-groups "
    commands = {"assistenza": f"PYTHONPATH={ROOT} exec {sys.executable} -B -m app.cli"}
    for program in ("initdb", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_verifybackup", "psql"):
        commands[program] = f"exec {as_server}{found[-1] / program}"
    for name, command in commands.items():
        (folder / name).write_text(f'#!/bin/sh\n{command} "$@"\n')
        (folder / name).chmod(0o755)


def test_the_commands_of_the_page(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "bin").mkdir()
    programs(work / "bin")
    for name in ("archive", "backups"):
        (work / name).mkdir()
    if os.geteuid() == 0:
        for path in (work, work / "archive", work / "backups"):
            shutil.chown(path, "postgres", "postgres")
    ports = [free_port() for _ in range(4)]
    names = {
        "db1": f"host=127.0.0.1 port={ports[0]}",
        "db2": f"host=127.0.0.1 port={ports[1]}",
        **{name: str(work / name) for name in ("data1", "data2", "restored", "archive", "backups")},
        **{f"port{number}": str(port) for number, port in enumerate(ports[:3], 1)},
        "work": str(work),
        "api": f"http://127.0.0.1:{ports[3]}",
        "PATH": f"{work / 'bin'}:{os.environ['PATH']}",
    }
    # The settings would be what the page exports.
    variables = environment({"port": ports[3], "log_format": "json"}) | {"HOME": str(work)}
    with (work / "said").open("w+") as said:
        done = subprocess.run(
            # It ends what is under way, so that the script can end what it has started.
            ["timeout", "--kill-after=60", str(_SECONDS), *_BASH, script()],
            env=variables | names,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        said.seek(0)
        text = said.read()
    lines = [line for line in text.splitlines() if not line.startswith("{")]
    assert done.returncode == 0, "\n".join(lines[-60:])
    assert "sync_state: sync" in lines
    assert "restored: KEPT" in lines
    assert "db2: KEPT LAST NEXT WRONG" in lines
    assert "db1: BOTH KEPT LAST NEXT WRONG" in lines
    assert [line[-15:] for line in lines if "Differences" in line] == ["Differences: 0."] * 2
    assert text.count("Began epoch ") == 2
    assert "Moved " not in text
    with capsys.disabled():
        print("\n" + "\n".join(line for line in lines if re.match(r"\w+: ", line)))
