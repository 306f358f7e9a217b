"""Where a webhook may go: to public addresses, and to what the operator allows by name.

Whoever manages webhooks chooses a URL, and the service stands within the operator's network:
without these checks it would call what only that network can reach.
"""

import asyncio
import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from threading import Thread
from typing import Any, Literal
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The special-purpose registries of IANA (RFC 6890), multicast, and the address at which Azure
# answers its virtual machines. Listed here, because those of `ipaddress` differ between versions
# of Python.
_NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
# Global unicast without Teredo and others (2001::/23), documentation and 6to4.
_GLOBAL_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
# An address behind these is the IPv4 address in its last 32 bits (RFC 4291, 6052).
_MAPPED, _NAT64 = IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")

_printable = re.compile(r"[\x21-\x7e]+")
_MOST_THREADS = 100


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet could reach this address."""
    if isinstance(address, IPv6Address):
        if address in _MAPPED or address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        return address in _GLOBAL_6 and not any(address in one for one in _NOT_PUBLIC_6)
    return not any(address in one for one in _NOT_PUBLIC_4)


class Refused(Exception):
    """The service does not call this URL, or not at the address that its host has now."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its parts."""

    scheme: Literal["http", "https"]
    host: str
    """A name, or an address in any of the forms that the resolver reads."""
    port: int
    authority: str
    """Host and port as the URL has them: the value of the header `Host`."""
    path: str
    """With the query."""


@dataclass(frozen=True)
class Allowed:
    """What the operator allows besides public addresses (ASSISTENZA_WEBHOOK_ALLOW)."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str]) -> "Allowed":
        hosts, networks = set(), []
        for name in names:
            try:
                networks.append(ip_network(name))
            except ValueError:
                hosts.add(name)
        return cls(frozenset(hosts), tuple(networks))

    @classmethod
    def everything_of(cls, url: str) -> "Allowed":
        """The host of one URL, wherever it is: for an operator's own command."""
        try:
            host = urlsplit(url).hostname
        except ValueError:
            host = None
        return cls(frozenset({host} if host else ()))

    def target(self, url: str) -> Target:
        """The parts of a URL that may be called as far as it shows by itself. Asks nobody.

        Raises Refused for another scheme, for plain http to what is not allowed by name, and for an
        address that is not public, in whatever form it is written.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise Refused from None
        if not _printable.fullmatch(url) or not host or parts.scheme not in ("http", "https"):
            raise Refused
        if "@" in parts.netloc or parts.fragment or port == 0:
            raise Refused
        addresses = numeric(host)
        named = host in self.hosts or any(map(self._covers, addresses))
        if parts.scheme == "http" and not named:
            raise Refused
        self.check(host, addresses)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        standard = 443 if parts.scheme == "https" else 80
        scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
        return Target(scheme, host, port or standard, parts.netloc, path)

    def check(self, host: str, addresses: Iterable[Address]) -> None:
        """Raises Refused unless all addresses of a host may be called."""
        if host in self.hosts:
            return
        if not all(is_public(one) or self._covers(one) for one in addresses):
            raise Refused

    def _covers(self, address: Address) -> bool:
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in one for one in self.networks)


def numeric(host: str) -> Sequence[Address]:
    """The address that a host is, in any form: `127.0.0.1`, `2130706433`, `0x7f.1`, `0177.0.0.1`.

    Nothing for a name.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return ()
    return _addresses(found)


class Resolver:
    """Asks for the addresses of names, each in a thread of its own.

    The event loop's resolver has a few threads for everybody: one name whose servers are silent
    would hold up all others. Whoever asks for a name that is being asked for gets the same answer.
    """

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Future[Sequence[Address]]] = {}

    async def addresses(self, host: str) -> Sequence[Address]:
        """All addresses of a host, in the order in which to try them. Raises OSError."""
        known = numeric(host)
        if known:
            return known
        asked = self._asked.get(host)
        if asked is None:
            if len(self._asked) >= _MOST_THREADS:
                raise OSError("too many names are being asked for")
            loop = asyncio.get_running_loop()
            asked = self._asked[host] = loop.create_future()
            # Read even where nobody waits any more.
            asked.add_done_callback(lambda done: done.exception())
            Thread(target=self._ask, args=(host, loop, asked), name="resolver", daemon=True).start()
        return await asyncio.shield(asked)

    def _ask(
        self,
        host: str,
        loop: asyncio.AbstractEventLoop,
        asked: "asyncio.Future[Sequence[Address]]",
    ) -> None:
        found: Sequence[Address] = ()
        error: OSError | None = None
        try:
            found = _addresses(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            error = OSError("the name is not known")

        def tell() -> None:
            del self._asked[host]
            if error is None:
                asked.set_result(found)
            else:
                asked.set_exception(error)

        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell)


def _addresses(found: Iterable[tuple[Any, ...]]) -> list[Address]:
    return list(dict.fromkeys(ip_address(place[0]) for *_, place in found))
