"""The URLs under which the platform is reached, from outside and from inside an environment."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

USUAL_ENDPOINT = "http://127.0.0.1:4566"
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """The URL by which clients call the platform: ``http://boda.example:4566``.

    scheme: ``http`` or ``https``. host: a name, or an address without brackets. port: the scheme's
    own if the URL has none.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> PublicUrl:
        """Parse a URL. Raises ValueError, with a sentence, if it is not of this form."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        if parts.scheme not in _PORTS or not host or parts.username is not None or port == 0:
            raise ValueError(f"{text!r} is no URL like http://boda.example:4566")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"{text!r} says more than scheme, host and port")
        if address_of(host) is None and not _NAME.fullmatch(host):
            raise ValueError(f"{host!r} is not a host name")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme])

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host if it is an address, else None."""
        return address_of(self.host)

    @property
    def netloc(self) -> str:
        """Host and port as in a ``Host`` header."""
        shown = in_url(self.host)
        return shown if self.port == _PORTS[self.scheme] else f"{shown}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    def below(self, labels: str) -> str:
        """Return the same URL with ``labels`` before the host, which must be a name."""
        return f"{self.scheme}://{labels}.{self.netloc}"


@dataclass(frozen=True, slots=True)
class InsideEndpoint:
    """The AWS endpoint inside an environment.

    url: the value of AWS_ENDPOINT_URL. address, port: of the listening socket inside the
    environment's own network. name: a host name that resolves to the address, or "".
    """

    url: str = USUAL_ENDPOINT
    address: str = "127.0.0.1"
    port: int = 4566
    name: str = ""

    @classmethod
    def of(cls, port: int, public: PublicUrl | None, taken: int) -> InsideEndpoint:
        """Return an endpoint with the public URL if it can be served inside, else with the
        platform's own.

        port: the platform's. taken: a port that another listener inside uses. The endpoint inside
        has no TLS, so behind an https URL functions use the platform's own address.
        """
        if public is not None and public.scheme == "http" and public.port != taken:
            address = public.address
            if address is None:
                return cls(str(public), "127.0.0.1", public.port, public.host)
            if address.version == 4:
                return cls(str(public), public.host, public.port)
        inside = cls().port if port == taken else port
        return cls(f"http://127.0.0.1:{inside}", "127.0.0.1", inside)


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the host as an address, None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def in_url(host: str) -> str:
    """Return the host that clients connect to, as a URL spells it."""
    if host in ("0.0.0.0", ""):  # noqa: S104
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
