"""`assistenza listen`: events for a receiver that is being written."""

import asyncio
import os
import re
import signal
import sys

import httpx

from tests.api.build import Customer
from tests.command import ROOT, run
from tests.conftest import Service, publish_all
from tests.receiver import receiving

_LINE = re.compile(r"\d\d:\d\d:\d\d ([\w.]+) ([0-9a-f]{8}-\d+) (\w+) \d+ ms\n")


async def test_it_forwards_what_happens_and_prints_each_answer(
    service: Service, client: httpx.AsyncClient
) -> None:
    url = service.server.url(service.database_name, service.server.login)
    printed = [
        await asyncio.to_thread(run, "listen", "--print-secret", ASSISTENZA_DATABASE_URL=url)
        for _ in range(2)
    ]
    assert printed[0].stdout == printed[1].stdout
    secret = printed[0].stdout.strip()
    before, customer = [await Customer.new(client, service.today()) for _ in range(2)]
    await publish_all(service)
    async with receiving() as receiver:
        listening = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", "listen", "--forward-to", receiver.url("/x?y=1")),
            *("--customer", customer.code),
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": "/x", "ASSISTENZA_DATABASE_URL": url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Tests that a shell runs in the background inherit that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert listening.stdout is not None
        assert listening.stderr is not None
        async with asyncio.timeout(60):
            assert b"Waiting for events" in await listening.stderr.readline()
            outcomes = []
            for status in (204, 500):
                receiver.answer(status=status, body=b"Mario Rossi" if status == 500 else b"")
                await before.licence()
                await customer.licence()
                await publish_all(service)
                line = (await listening.stdout.readline()).decode()
                match = _LINE.fullmatch(line)
                assert match is not None, line
                outcomes.append(match.groups())
            receiver.answer(close=True)
            await customer.pack()
            await publish_all(service)
            last = (await listening.stdout.readline()).decode()
            listening.send_signal(signal.SIGINT)
            assert await listening.wait() in (0, 130)
            assert b"Traceback" not in await listening.stderr.read()
    assert [(type_, outcome) for type_, _, outcome in outcomes] == [
        ("licence.registered", "204"),
        ("licence.registered", "500"),
    ]
    assert "tickets.purchased" in last
    assert " bad_answer " in last
    # Each once, whatever was answered.
    assert receiver.heard[:2] == [id_ for _, id_, _ in outcomes]
    assert len(receiver.calls) == 3
    for call in receiver.calls:
        call.verify(secret)
        assert call.path == "/x?y=1"
        assert call.event["partitionkey"] == customer.id


async def test_what_it_cannot_do_is_one_line(service: Service) -> None:
    url = service.server.url(service.database_name, service.server.login)

    def refused(*options: str) -> str:
        done = run("listen", *options, ASSISTENZA_DATABASE_URL=url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def check() -> None:
        hook = ("--forward-to", "http://localhost:1/")
        assert "name either" in refused()
        assert "name either" in refused(*hook, "--print-secret")
        assert "is not of the form" in refused("--forward-to", "ftp://localhost/")
        assert "is not of the form" in refused("--forward-to", "http://me@localhost/")
        assert "'case.exploded' is not a type" in refused(*hook, "--type", "case.exploded")
        assert "no customer has the code or id 'C-404'" in refused(*hook, "--customer", "C-404")

    await asyncio.to_thread(check)
