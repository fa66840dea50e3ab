"""The networks that sandboxes may reach, as data: nothing private except what the operator opens.

A function runs its caller's code, and services in private ranges (databases, routers, the metadata
service that gives away a cloud machine's keys) often trust every client that reaches them. So all
addresses except the public internet are refused, and the name servers' port 53 is open.
Source: IANA IPv4 Special-Purpose Address Registry; the clouds' documentation of their metadata.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

REFUSED = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private (RFC 1918)
    "100.64.0.0/10",  # between a provider and its customers (RFC 6598); metadata of some clouds
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # Azure's agent, name server and metadata, at an address like any other
    "169.254.0.0/16",  # link-local (RFC 3927); the metadata of most clouds
    "172.16.0.0/12",  # private (RFC 1918)
    "192.0.0.0/24",  # protocol assignments (RFC 6890); metadata of some clouds
    "192.168.0.0/16",  # private (RFC 1918)
    "198.18.0.0/15",  # benchmarks of devices (RFC 2544), used as one more private range
    "224.0.0.0/3",  # multicast, reserved, and broadcast
)
"""IPv6 is refused as a whole: sandboxes have none."""

METADATA = "169.254.169.254"
"""The address at which most clouds give a machine its keys."""


@dataclass(frozen=True, slots=True)
class AddressRange:
    """A network's addresses with one port, or None for all ports."""

    network: ipaddress.IPv4Network
    port: int | None = None

    @property
    def address(self) -> ipaddress.IPv4Address:
        return self.network.network_address

    def __str__(self) -> str:
        alone = self.network.prefixlen == 32
        where = str(self.address if alone else self.network)
        return where if self.port is None else f"{where}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reach:
    """The address ranges that are open besides the internet.

    networks: beyond this machine. hosts: single addresses with a port each, of this machine, its
    loopback included, or beyond it.
    """

    networks: tuple[AddressRange, ...] = ()
    hosts: tuple[AddressRange, ...] = ()

    @classmethod
    def read(cls, networks: Iterable[str] = (), hosts: Iterable[str] = ()) -> Reach:
        """Parse ``CIDR[:PORT]`` and ``ADDRESS:PORT``. Raises ValueError with a sentence."""
        return cls(tuple(map(_network, networks)), tuple(map(_host, hosts)))

    def __bool__(self) -> bool:
        return bool(self.networks or self.hosts)

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.networks, *self.hosts)))

    @property
    def loopback(self) -> tuple[AddressRange, ...]:
        """The hosts on this machine's loopback."""
        return tuple(host for host in self.hosts if host.address.is_loopback)

    @property
    def routed(self) -> tuple[AddressRange, ...]:
        """The hosts that are not on the loopback, to which packets are routed."""
        return tuple(host for host in self.hosts if not host.address.is_loopback)

    def within(self, address: str, *ports: int) -> str:
        """Return a host with this address and one of these ports, or ""."""
        own = ipaddress.IPv4Address(address)
        clashes = [host for host in self.hosts if host.address == own and host.port in ports]
        return str(clashes[0]) if clashes else ""

    def allows(self, address: str, port: int) -> bool:
        """Whether an address and port are open."""
        found = ipaddress.IPv4Address(address)
        return any(
            found in place.network and place.port in (None, port)
            for place in (*self.networks, *self.hosts)
        )


NOTHING = Reach()


def matches(ranges: Sequence[AddressRange]) -> list[str]:
    """Return an nft expression for each address range, which matches packets to it."""
    ports = "meta l4proto {{ tcp, udp }} th dport {}"
    return [
        f"ip daddr {place.network}" + ("" if place.port is None else f" {ports.format(place.port)}")
        for place in ranges
    ]


def _network(text: str) -> AddressRange:
    where, colon, port = text.partition(":")
    if text.count(":") > 1:
        raise ValueError(f"{text} is of IPv6, which functions do not have")
    try:
        network = ipaddress.IPv4Network(where)
    except ValueError as error:
        raise ValueError(f"{text} is not CIDR[:PORT], such as 10.1.0.0/16:443 ({error})") from None
    return AddressRange(network, _port(port, text) if colon else None)


def _host(text: str) -> AddressRange:
    where, colon, port = text.rpartition(":")
    if ":" in where or text.startswith("["):
        raise ValueError(f"{text} is of IPv6, which functions do not have")
    try:
        address = ipaddress.IPv4Address(where)
    except ValueError:
        raise ValueError(f"{text} is not ADDRESS:PORT, such as 127.0.0.1:5432") from None
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text} is not the address of a host")
    place = AddressRange(ipaddress.IPv4Network(address), _port(port, text) if colon else None)
    if place.port is None:
        raise ValueError(f"{text} is not ADDRESS:PORT, such as 127.0.0.1:5432")
    return place


def _port(text: str, whole: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536:
        return int(text)
    raise ValueError(f"{whole} ends in no port")
