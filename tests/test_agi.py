"""The script for Asterisk, run as Asterisk does: the call on its standard input, its commands on
its standard output."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
import uvicorn

from app.connectors.asterisk import ask, is_restricted, quoted
from app.policy import civil
from app.policy.document import load
from app.services.tokens import SCOPES
from tests.api.build import Customer
from tests.conftest import Service

_DESK = "059454224"


@dataclass
class Asterisk:
    """A dial plan's side of the script."""

    script: Path
    token_file: Path
    url: str

    async def run(self, *, url: str | None = None, **told: str) -> tuple[dict[str, str], list[str]]:
        """The variables that the script sets, and what it runs besides."""
        environment = {
            "request": "assistenza.py",
            "language": "it",
            "uniqueid": "1764000000.17",
            "callingpres": "0",
            "dnid": _DESK,
            "arg_1": url or self.url,
            "arg_2": str(self.token_file),
            **told,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(self.script),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        lines = "".join(f"agi_{name}: {value}\n" for name, value in environment.items())
        process.stdin.write(f"{lines}\n".encode())
        variables, others = {}, []
        while sent := (await process.stdout.readline()).decode().rstrip("\n"):
            words = sent.split(" ", 3)
            if words[:2] == ["SET", "VARIABLE"]:
                assert words[3][0] == words[3][-1] == '"'
                variables[words[2]] = words[3][1:-1]
            else:
                others.append(sent)
            process.stdin.write(b"200 result=1\n")
        process.stdin.close()
        assert await process.wait() == 0
        return variables, others


@pytest.fixture(scope="module")
async def customer(service: Service) -> Customer:
    async with await service.client_with(*SCOPES) as client:
        people = [{"name": "Plant", "phones": ["+39 059 0000001"]}]
        customer = await Customer.new(client, service.today(), contacts=people)
        await customer.pack(3)
        shared = [{"name": "Switchboard", "phones": ["+39 0721 411112"]}]
        for _ in range(2):
            await Customer.new(client, service.today(), contacts=shared)
        customer.serials = [(await customer.open())["number"]]
        return customer


@pytest.fixture(scope="module")
async def asterisk(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asterisk]:
    folder = tmp_path_factory.mktemp("asterisk")
    script, token_file = folder / "assistenza.py", folder / "token"
    command = [sys.executable, "-m", "app.cli", "agi"]
    printing = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    printed, _ = await printing.communicate()
    script.write_bytes(printed)
    token_file.write_text(await service.token("entitlements:read") + "\n")
    config = uvicorn.Config(service.app, port=0, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listening]))
    yield Asterisk(script, token_file, f"http://127.0.0.1:{listening.getsockname()[1]}")
    server.should_exit = True
    await serving


def route(when_open: str) -> str:
    """What the route is at this moment."""
    return when_open if _open_now() else "closed"


def _open_now() -> bool:
    policy = load().versions[-1]
    return civil.state(policy.desk_for("IT", None).schedule, datetime.now(UTC)).open


async def test_a_customer_is_put_through(asterisk: Asterisk, customer: Customer) -> None:
    found, others = await asterisk.run(callerid="+390590000001")
    assert found["ASSISTENZA_OUTCOME"] == "allowed"
    assert found["ASSISTENZA_ROUTE"] == route("serve")
    assert found["ASSISTENZA_CUSTOMER"] == customer.code
    assert found["ASSISTENZA_CASES"] == customer.serials[0]
    assert found["ASSISTENZA_LANGUAGE"] == "it"
    assert found["ASSISTENZA_SAY"].startswith(
        "Può utilizzare il servizio Assistenza Tecnica Telefonica. Ha ancora a disposizione"
        " 2 ticket."
    )
    assert others == []


@pytest.mark.parametrize(
    ("told", "outcome", "said"),
    [
        ({"callerid": "+390590009876"}, "unknown_caller", "Non abbiamo trovato la sua azienda"),
        ({"callerid": "+390721411112"}, "ambiguous_caller", "Abbiamo trovato più di un'azienda."),
        ({"callerid": "unknown"}, "withheld_number", "Il suo numero è nascosto."),
        ({"callerid": "anonymous"}, "withheld_number", "Il suo numero è nascosto."),
        (
            {"callerid": "+390590000001", "callingpres": "32"},
            "withheld_number",
            "Il suo numero è nascosto.",
        ),
        ({"callerid": "204"}, "unusable_number", "Non riconosciamo il suo numero di telefono."),
    ],
)
async def test_other_callers_are_asked_who_they_are(
    asterisk: Asterisk, customer: Customer, told: dict[str, str], outcome: str, said: str
) -> None:
    found, _ = await asterisk.run(**told)
    assert found["ASSISTENZA_OUTCOME"] == outcome
    assert found["ASSISTENZA_ROUTE"] == route("identify")
    assert found["ASSISTENZA_SAY"].startswith(said)
    assert found["ASSISTENZA_CUSTOMER"] == found["ASSISTENZA_CASES"] == ""


async def test_a_dialled_case_number_names_the_customer_and_is_spoken(
    asterisk: Asterisk, customer: Customer
) -> None:
    dialled = customer.serials[0].replace("-", "") + "#"
    found, others = await asterisk.run(callerid="unknown", arg_3=dialled, arg_4="Flite")
    assert (found["ASSISTENZA_OUTCOME"], found["ASSISTENZA_CUSTOMER"]) == ("allowed", customer.code)
    assert others == [f'EXEC Flite "{found["ASSISTENZA_SAY"]}"']
    wrong, _ = await asterisk.run(callerid="unknown", arg_3="2026999999")
    assert wrong["ASSISTENZA_OUTCOME"] == "unknown_caller"


async def test_a_refused_token_has_a_sentence_too(asterisk: Asterisk, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("assistenza_" + "x" * 43)
    found, _ = await asterisk.run(callerid="+390590000001", arg_2=str(wrong))
    assert found["ASSISTENZA_ROUTE"] == "fallback"
    assert found["ASSISTENZA_SAY"].startswith("Al momento non possiamo verificare")


async def test_without_the_service_it_falls_back_within_two_seconds(asterisk: Asterisk) -> None:
    """Nobody listens, somebody listens and says nothing, and somebody sends byte by byte."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)
        except ConnectionError:
            pass
        writer.close()

    free = socket.create_server(("127.0.0.1", 0))
    refusing = free.getsockname()[1]
    free.close()
    servers = [await asyncio.start_server(one, "127.0.0.1", 0) for one in (say_nothing, drip)]
    ports = [refusing, *(one.sockets[0].getsockname()[1] for one in servers)]
    for port in ports:
        began = monotonic()
        found, _ = await asterisk.run(url=f"http://127.0.0.1:{port}", language="de_DE")
        assert monotonic() - began < 2
        assert found["ASSISTENZA_ROUTE"] == "fallback"
        assert found["ASSISTENZA_LANGUAGE"] == "de"
        assert found["ASSISTENZA_SAY"] == (
            "Wir können Ihren Anspruch auf Support im Moment nicht prüfen."
        )
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "token_file", "said"),
    [
        ("", "", "the script takes the service's address and the file with its token"),
        ("http://127.0.0.1", "", "the script takes the service's address and the file"),
        ("support.example.com", "token", "'support.example.com' does not begin with https://"),
    ],
)
def test_arguments_that_are_wrong(url: str, token_file: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ask(url, token_file, {})


def test_an_argument_of_a_command_is_one() -> None:
    assert quoted('a "b"\\\nc') == '"a \\"b\\"\\\\ c"'


def test_a_presentation_that_is_restricted() -> None:
    # Q.931: allowed, restricted, and not available.
    assert [is_restricted(one) for one in ("0", "3", "32", "35", "67", "")] == [
        False, False, True, True, True, False,
    ]  # fmt: skip
