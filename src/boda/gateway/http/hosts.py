"""The platform's own host names, and the detection of requests made by other sites' pages.

A page makes its browser send requests, also to addresses that only this machine reaches. Two facts
reveal such a page: the name by which it calls the platform, if the page's owner has a name resolve
to this machine (DNS rebinding), and the origin that the browser states. All checks of host names
are made here. Source: Fetch standard, "Origin header"; W3C, "Fetch Metadata Request Headers".
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

from boda.gateway.http.wire import WireRequest

LOOPBACK = ("localhost", "localhost.localstack.cloud")
"""Names that resolve to the asking machine only, with all names below them."""
_MACHINE = frozenset({"host.docker.internal", "host.containers.internal"})
"""The names by which containers call their machine; names below ``internal`` cannot be
registered."""
_OF_AWS = ".amazonaws.com"
"""The names by which tools call AWS itself, if the machine resolves them to the platform. The owner
of a name below it cannot choose its address; a page from there is still another site's."""

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
        # passes requests on. A page's owner cannot rebind an address, so calls by address are no
        # danger.
        self._any_address = address is None or address.is_unspecified
        called = set(_MACHINE)
        if address is None:
            called.add(listening.lower())
        if self._any_address:
            called |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._called = frozenset(called)
        self._known: dict[str, bool] = {}

    def ours(self, host: str) -> bool:
        """Return whether a ``Host`` header names this platform, or is empty."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()  # clients can send names that never come again
            known = self._known[host] = not host or self._is_ours(host)
        return known

    def foreign(self, request: WireRequest) -> str:
        """Return the origin of another site's page that made a browser send a request, or "".

        If the browser states no origin (an image's address, a link), its other statements about the
        page are used.
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
        # A name without a dot, such as a container's, cannot be registered in the public DNS.
        return self._any_address and bool(name) and "." not in name

    def _is_own(self, authority: str) -> bool:
        """Return whether only pages of this machine, or of a trusted name, have this origin."""
        name = _host_of(authority)
        address = _address(name)
        if address is not None:
            return address.is_loopback or name in self._own
        return name in self._own or name.endswith(self._below)


def _host_of(authority: str) -> str:
    """Return the host of ``host:port``, "" if there is none."""
    found = _AUTHORITY.fullmatch(authority)
    return (found[1] or found[2]).lower() if found is not None else ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
