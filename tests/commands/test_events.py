"""`assistenza events tail`: what happens, as lines of JSON."""

import asyncio
import json

import httpx

from tests.api.build import Customer
from tests.command import run
from tests.conftest import Service, publish_all


async def test_it_prints_what_was_asked_for(service: Service, client: httpx.AsyncClient) -> None:
    url = service.server.url(service.database_name, service.server.login)
    one, other = [await Customer.new(client, service.today()) for _ in range(2)]
    await one.licence()
    await publish_all(service)

    def tail(*options: str) -> list[tuple[str, str]]:
        done = run("events", "tail", "--once", *options, ASSISTENZA_DATABASE_URL=url)
        assert (done.returncode, done.stderr) == (0, "")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return [(event["type"], event["partitionkey"]) for event in events]

    def refused(*options: str) -> str:
        done = run("events", "tail", "--once", *options, ASSISTENZA_DATABASE_URL=url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def check() -> None:
        created = ("customer.created", one.id)
        assert tail("--oldest") == [
            created,
            ("customer.created", other.id),
            ("licence.registered", one.id),
        ]
        assert tail("--oldest", "--customer", one.code) == [created, ("licence.registered", one.id)]
        assert tail("--oldest", "--type", "licence.registered") == [("licence.registered", one.id)]
        assert tail() == []
        assert "'case.exploded' is not a type of event" in refused("--type", "case.exploded")
        assert "no customer has the code or id 'C-404'" in refused("--customer", "C-404")

    # In a thread: the fixtures' loop must not stand still.
    await asyncio.to_thread(check)
