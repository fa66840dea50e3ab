"""Which host names are this platform's own, and which requests another site's page has made.

A browser sends what any page makes it send, also to addresses that only this machine reaches.
Two things give such a page away: the name it calls the platform by, where the page's owner lets a
name of theirs lead to this machine (DNS rebinding), and the origin that the browser states.
Everything that asks "is this host ours?" asks here. Source: Fetch standard, "Origin header"; W3C,
"Fetch Metadata Request Headers".
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

from boda.gateway.http.wire import WireRequest

LOOPBACK = ("localhost", "localhost.localstack.cloud")
"""Names that lead nowhere but to the machine that asks, with all names below them."""
_MACHINE = frozenset({"host.docker.internal", "host.containers.internal"})
"""What containers call their machine; nobody can own a name below ``internal``."""
_OF_AWS = ".amazonaws.com"
"""What tools call AWS itself by, where the machine leads that here. Whoever has a name below it
cannot choose where it leads; what a page from there sends is a stranger's all the same."""

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+?)\.?)(?::\d{0,5})?", re.IGNORECASE)
_NAME = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.IGNORECASE)
_REMEMBERED = 1024


class Hosts:
    """The names of one platform.

    listening: the address or name it listens on. names: further ones, such as a proxy's;
    ``*.example.com`` stands for every name below. Raises ValueError if one is no host name.
    """

    def __init__(self, listening: str = "127.0.0.1", names: Iterable[str] = ()) -> None:
        exact: set[str] = set()
        below = {f".{name}" for name in LOOPBACK}
        for name in (*LOOPBACK, *names):
            if _NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} is not a host name")
            (below if name.startswith("*.") else exact).add(name.removeprefix("*").lower())
        self._own = frozenset(exact)
        self._below = tuple(below)
        address = _address(listening)
        self._listening = address
        # The addresses behind a name or a wildcard are many, and may be another machine's that
        # passes requests on. A page's owner cannot have a browser call them by address and be
        # taken for them, which is what rebinding is about.
        self._any_address = address is None or address.is_unspecified
        called = set(_MACHINE)
        if address is None:
            called.add(listening.lower())
        if self._any_address:
            called |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._called = frozenset(called)
        self._known: dict[str, bool] = {}

    def ours(self, host: str) -> bool:
        """Whether a ``Host`` header names this platform; one that is empty names nobody else."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()  # anybody can send names that never come again
            known = self._known[host] = not host or self._is_ours(host)
        return known

    def foreign(self, request: WireRequest) -> str:
        """The origin of another site's page that made a browser send a request, "" for none.

        Where the browser states no origin (an image's address, a link), what it says of the page
        stands for it.
        """
        headers = request.headers
        origin = headers.get("origin")
        if origin is None:
            return "cross-site" if headers.get("sec-fetch-site") == "cross-site" else ""
        authority = origin.partition("://")[2]
        if authority and (authority.lower() == request.host.lower() or self._is_own(authority)):
            return ""
        return origin or "null"

    def _is_ours(self, host: str) -> bool:
        if self._is_own(host):
            return True
        name = _host_of(host)
        address = _address(name)
        if address is not None:
            return self._any_address or address == self._listening
        if name in self._called or name.endswith(_OF_AWS):
            return True
        # A name without a dot, as a container's, is nobody's in the public DNS.
        return self._any_address and bool(name) and "." not in name

    def _is_own(self, authority: str) -> bool:
        """Whether only pages of this machine, or of somebody it was told to trust, are there."""
        name = _host_of(authority)
        address = _address(name)
        if address is not None:
            return address.is_loopback or name in self._own
        return name in self._own or name.endswith(self._below)


def _host_of(authority: str) -> str:
    """The host of ``host:port``, "" where there is none."""
    found = _AUTHORITY.fullmatch(authority)
    return (found[1] or found[2]).lower() if found is not None else ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
