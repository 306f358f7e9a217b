"""Where webhooks may go, how they are signed, and what a hostile receiver can do."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.http.outgoing import addresses, connection, sender, signing
from app.http.outgoing.addresses import Allowed, Refused, Resolver, is_public, numeric
from app.http.outgoing.sender import Sender
from app.services.deliveries import Answer
from app.services.webhooks import new_secret
from tests.receiver import ALLOWED, Receiver, receiving

_CERTIFICATE = Path(__file__).with_name("hooks.example.pem")
"""Of `hooks.example`, by itself, with its key."""
_NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def send(url: str, *allowed: str, body: bytes = b"{}", **headers: str) -> Answer:
    made = Sender(Allowed.of(allowed or ALLOWED))
    try:
        return await made.send(url, headers, body, _NOW)
    finally:
        await made.close()


# --- addresses ------------------------------------------------------------------------------------

_REFUSED = [
    # Loopback, in every form that the resolver reads.
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "017700000001"),
    *("0.0.0.0", "0", "127.255.255.254"),
    # Private, shared, link-local and metadata.
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.100.100.200"),
    *("169.254.169.254", "0xa9fea9fe", "2852039166", "168.63.129.16"),
    # Documentation, benchmarks, relays, multicast, reserved, broadcast.
    *("192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "192.88.99.1", "192.0.0.8"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    # IPv6: loopback, unspecified, link-local, unique local, metadata, multicast, documentation.
    *("[::1]", "[::]", "[fe80::1]", "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]"),
    *("[2001:db8::1]", "[3fff::1]", "[100::1]", "[2001::1]"),
    # IPv4 within IPv6: mapped, compatible, NAT64, 6to4.
    *("[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[64:ff9b::10.0.0.1]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]"),
]


@pytest.mark.parametrize("host", _REFUSED)
def test_an_address_that_is_not_public_is_refused_in_every_form(host: str) -> None:
    with pytest.raises(Refused):
        Allowed().target(f"https://{host}/hook")
    bare = host.strip("[]")
    assert numeric(bare), host
    assert not any(map(is_public, numeric(bare)))


@pytest.mark.parametrize(
    "host",
    ["93.184.216.34", "8.8.8.8", "[2606:4700::1111]", "[64:ff9b::808:808]", "[::ffff:8.8.8.8]"],
)
def test_a_public_address_is_called(host: str) -> None:
    target = Allowed().target(f"https://{host}:8443/hook?x=1")
    assert (target.port, target.path) == (8443, "/hook?x=1")
    assert all(map(is_public, numeric(host.strip("[]"))))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:70000/",
        "https:///hook",
        "https://exa mple.com/",
        "https://example.com/\u00e9",
        "https://[::1/",
    ],
)
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        Allowed().target(url)


def test_what_is_allowed_by_name_may_be_private_and_plain() -> None:
    allowed = Allowed.of(("intranet.example", "10.1.0.0/16", "fd00:1::/32"))
    for url in (
        "http://intranet.example/",
        "https://INTRANET.example/",
        "http://10.1.2.3/",
        "https://167838211/",
        "https://[fd00:1::5]/",
        "https://[::ffff:10.1.2.3]/",
    ):
        allowed.target(url)
    allowed.check("intranet.example", [ip_address("192.168.7.7")])
    for url in (
        "http://10.2.0.1/",
        "https://10.2.0.1/",
        "http://other.example/",
        "http://8.8.8.8/",
    ):
        with pytest.raises(Refused):
            allowed.target(url)
    with pytest.raises(Refused):
        # One of them is enough.
        allowed.check("other.example", [ip_address("8.8.8.8"), ip_address("10.2.0.1")])
    allowed.check("other.example", [ip_address("8.8.8.8"), ip_address("10.1.0.1")])


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> Callable[[], int]:
    """Every name has these addresses: at each question the next answer, then the last for ever."""
    asked = 0
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        nonlocal asked
        if more.get("flags") == socket.AI_NUMERICHOST or not str(host).endswith(".example"):
            return real(host, port, *rest, **more)
        found = answers[min(asked, len(answers) - 1)]
        asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return lambda: asked


async def test_a_name_at_a_private_address_is_not_called(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, ["93.184.216.34", "127.0.0.1"])
    answer = await Sender(Allowed()).send(
        f"https://rebound.example:{receiver.port}/", {}, b"{}", _NOW
    )
    assert answer.error == "address_refused"
    assert receiver.connections == 0


async def test_a_name_that_changes_after_the_check_is_not_asked_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is allowed for its first address. Whoever connects by name would get the second."""
    monkeypatch.setattr(addresses, "is_public", lambda address: str(address) == "127.0.0.1")
    asked = names(monkeypatch, ["127.0.0.1"], ["10.9.9.9"])
    made = Sender(Allowed.of(("127.0.0.1/32", "other.example")))
    monkeypatch.setattr(Allowed, "check", _check_addresses)
    url = f"http://other.example:{receiver.port}/hook"
    assert (await made.send(url, {}, b"{}", _NOW)).status == 204
    assert asked() == 1
    assert receiver.calls[0].headers["host"] == f"other.example:{receiver.port}"
    # And it is asked at every attempt, also while a connection to the first address is open.
    assert (await made.send(url, {}, b"{}", _NOW)).error == "address_refused"
    assert asked() == 2
    assert len(receiver.calls) == 1
    await made.close()


def _check_addresses(self: Allowed, host: str, found: Any) -> None:
    if not all(addresses.is_public(one) for one in found):
        raise Refused


async def test_the_next_address_is_tried_where_nobody_listens(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    url = f"http://two.example:{receiver.port}/"
    assert (await send(url, "two.example")).status == 204


async def test_a_name_whose_servers_are_silent_holds_up_no_other(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ends = socket.getaddrinfo, asyncio.Event()
    loop = asyncio.get_running_loop()

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        if more.get("flags") == socket.AI_NUMERICHOST or host == "localhost":
            return real(host, *rest, **more)
        asyncio.run_coroutine_threadsafe(ends.wait(), loop).result(10)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    made = Sender(Allowed.of(("localhost", "127.0.0.1/32")))
    silent = [
        asyncio.create_task(made.send(f"https://s{n}.example/", {}, b"{}", _NOW)) for n in range(40)
    ]
    await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        answer = await made.send(f"http://localhost:{receiver.port}/", {}, b"{}", _NOW)
    assert answer.status == 204
    ends.set()
    assert {one.error for one in await asyncio.gather(*silent)} == {"name_not_found"}
    await made.close()


async def test_a_name_is_asked_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names(monkeypatch, ["93.184.216.34"])
    resolver = Resolver()
    found = await asyncio.gather(*(resolver.addresses("one.example") for _ in range(20)))
    assert {str(one) for each in found for one in each} == {"93.184.216.34"}
    assert asked() < 20


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answer(status=307, headers={"Location": receiver.url("/elsewhere")})
    answer = await send(receiver.url())
    assert (answer.status, answer.is_success) == (307, False)
    assert [call.path for call in receiver.calls] == ["/hook"]


async def test_no_proxy_of_the_environment_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await send(receiver.url())).status == 204


# --- a hostile receiver ---------------------------------------------------------------------------


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "SECONDS", 0.5)


@pytest.mark.usefixtures("in_a_hurry")
async def test_a_receiver_that_hangs_is_left_in_time(receiver: Receiver) -> None:
    receiver.answer(hang=5)
    answer = await send(receiver.url())
    assert (answer.status, answer.error) == (None, "timeout")
    assert answer.duration_ms < 3_000


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize(
    "piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-A: b\r\n"]
)
async def test_a_head_that_never_ends_is_left_in_time(receiver: Receiver, piece: bytes) -> None:
    """Byte by byte each read would be in time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(piece)
            while True:
                writer.write(b"X-More: x\r\n" if b"200" in piece else piece)
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await send(f"http://127.0.0.1:{port}/")
    server.close()
    assert (answer.status, answer.error) == (None, "timeout")


async def test_a_huge_head_is_no_answer(receiver: Receiver) -> None:
    receiver.answer(raw=b"HTTP/1.1 200 OK\r\nX-Large: " + b"x" * 1_000_000)
    answer = await send(receiver.url())
    assert (answer.status, answer.error) == (None, "bad_answer")


async def test_what_is_not_http_is_no_answer(receiver: Receiver) -> None:
    receiver.answer(raw=b"220 mail.example ESMTP\r\n\r\n")
    assert (await send(receiver.url())).error == "bad_answer"


async def test_of_a_long_answer_one_kilobyte_is_read(receiver: Receiver) -> None:
    receiver.answer(status=500, body=b"Mario Rossi " * 100_000)
    answer = await send(receiver.url())
    assert (answer.status, answer.answer_bytes) == (500, 1_024)
    assert "Mario" not in repr(answer)


async def test_the_status_counts_where_the_body_never_comes(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_BODY_SECONDS", 0.2)
    receiver.answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    answer = await send(receiver.url())
    assert (answer.status, answer.error, answer.answer_bytes) == (200, None, 3)
    assert answer.duration_ms < 3_000


async def test_a_connection_that_is_closed_is_a_failure(receiver: Receiver) -> None:
    receiver.answer(close=True)
    assert (await send(receiver.url())).error == "bad_answer"
    assert (await send("http://127.0.0.1:1/")).error == "connection_failed"


async def test_plain_http_behind_https_is_told() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    answer = await send(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    server.close()
    assert answer.error == "tls_failed"


async def test_the_certificate_is_that_of_the_host_and_not_of_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes to the address that was checked; name and certificate are those of the URL."""
    names(monkeypatch, ["127.0.0.1"])
    wanted: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_CERTIFICATE)
    context.sni_callback = lambda _, name, __: wanted.append(name)
    async with receiving(context) as receiver:
        for trusted, host, error in (
            (True, "hooks", None),
            (True, "other", "tls_failed"),
            (False, "hooks", "tls_failed"),
        ):
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(_CERTIFICATE))
            else:
                monkeypatch.delenv("SSL_CERT_FILE")
            answer = await send(f"https://{host}.example:{receiver.port}/", "127.0.0.1/32")
            assert answer.error == error
    assert wanted == ["hooks.example", "other.example", "hooks.example"]
    assert [call.headers["host"] for call in receiver.calls] == [f"hooks.example:{receiver.port}"]


async def test_a_connection_is_used_again_by_the_same_host_alone(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or what one host's certificate proved would be taken as proof of another's."""
    names(monkeypatch, ["127.0.0.1"])
    made = Sender(Allowed.of(("a.example", "b.example")))
    for host in ("a", "a", "a", "b"):
        url = f"http://{host}.example:{receiver.port}/"
        assert (await made.send(url, {}, b"{}", _NOW)).status == 204
    await made.close()
    assert receiver.connections == 2


@pytest.mark.parametrize(
    ("raw", "status", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, 1),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, 1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 200, 2),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 2),
        # What follows would be taken for the answer to the next request.
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 500, 2),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\nmore", 500, 2),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 101, 2),
    ],
)
async def test_a_connection_is_used_again_after_a_whole_answer_alone(
    receiver: Receiver, raw: bytes, status: int, connections: int
) -> None:
    receiver.answer(raw=raw)
    made = Sender(Allowed.of(ALLOWED))
    for _ in range(2):
        assert (await made.send(receiver.url(), {}, b"{}", _NOW)).status == status
    await made.close()
    assert receiver.connections == connections


async def test_a_connection_is_left_after_a_while(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_KEPT_SECONDS", 0.05)
    made = Sender(Allowed.of(ALLOWED))
    for _ in range(2):
        assert (await made.send(receiver.url(), {}, b"{}", _NOW)).status == 204
        await asyncio.sleep(0.2)
    assert receiver.connections == 2


async def test_nothing_is_kept_of_a_place_without_connections(receiver: Receiver) -> None:
    """A receiver's addresses may change without end."""
    made = Sender(Allowed.of(ALLOWED))
    assert (await made.send(receiver.url(), {}, b"{}", _NOW)).status == 204
    assert made._kept
    receiver.answer(raw=b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert (await made.send(receiver.url(), {}, b"{}", _NOW)).status == 200
    assert made._kept == {}


async def test_a_connection_that_has_just_been_closed_is_not_used_again() -> None:
    """Although the event loop has not read its end yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def serve() -> None:
            for _ in range(2):
                line, _ = server.accept()
                with line:
                    line.recv(65_536)
                    line.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        serving = asyncio.create_task(asyncio.to_thread(serve))
        made = Sender(Allowed.of(ALLOWED))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        for _ in range(2):
            assert (await made.send(url, {}, b"{}", _NOW)).status == 204
            threading.Event().wait(0.1)  # The event loop does not run meanwhile.
        await serving
        await made.close()


async def test_a_header_with_a_line_break_is_not_sent(receiver: Receiver) -> None:
    made = Sender(Allowed.of(ALLOWED))
    answer = await made.send(receiver.url(), {"X-A": "b\r\nX-C: d"}, b"{}", _NOW)
    assert answer.error == "address_refused"
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("9" * 30, float("9" * 30)),
        (format_datetime(_NOW + timedelta(minutes=5), usegmt=True), 300.0),
        (format_datetime(_NOW - timedelta(minutes=5), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("1.5", None),
        ("\u0661", None),
        ("Thu, 01 Jan 2026 00:00:00 +99999999999999999999", None),
        ("Thu, 01 Jan 2026 99999999999999999999:00:00 GMT", None),
    ],
)
async def test_how_long_the_receiver_wants_to_be_left_alone(
    receiver: Receiver, value: str, seconds: float | None
) -> None:
    receiver.answer(status=503, headers={"Retry-After": value})
    assert (await send(receiver.url())).retry_after == seconds


# --- signatures -----------------------------------------------------------------------------------


def test_the_public_package_verifies_what_is_signed() -> None:
    now, body = datetime.now(UTC), '{"type":"contract.signed","note":"è"}'.encode()
    old, new = new_secret(), new_secret()
    for secrets in ([new], [new, old]):
        headers = signing.headers("5c8d-17", body, secrets, now)
        for secret in secrets:
            assert Webhook(secret).verify(body, headers)["type"] == "contract.signed"
        assert Webhook(new).sign("5c8d-17", now, body.decode()) in headers["webhook-signature"]
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(new_secret()).verify(body, headers)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(new).verify(body + b" ", headers)
