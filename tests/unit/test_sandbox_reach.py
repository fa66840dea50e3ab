"""What is open and what is refused of networks, as data and as rules."""

from __future__ import annotations

import ipaddress

import pytest

from boda.sandbox.network_rules import InterfaceNames, inside_rules, outside_rules
from boda.sandbox.reach import METADATA, NOTHING, REFUSED, Reach

SUBNET = ipaddress.IPv4Network("10.192.0.0/20")


@pytest.mark.parametrize(
    "address",
    [
        *(METADATA, "169.254.0.23", "168.63.129.16", "192.0.0.192", "100.100.100.200"),
        *("0.0.0.1", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.127.255.255"),
        *("127.0.0.1", "127.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
        *("198.18.0.1", "198.19.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
        *("255.255.255.255",),
    ],
)
def test_what_is_not_of_the_internet_is_refused(address: str) -> None:
    found = ipaddress.IPv4Address(address)
    assert any(found in ipaddress.IPv4Network(network) for network in REFUSED)


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
        *("128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0"),
        *("172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0"),
        *("198.17.255.255", "198.20.0.0", "223.255.255.255"),
    ],
)
def test_the_internet_is_not(address: str) -> None:
    found = ipaddress.IPv4Address(address)
    assert not any(found in ipaddress.IPv4Network(network) for network in REFUSED)


def test_reading() -> None:
    reach = Reach.read(["10.1.0.0/16", "10.2.0.0/24:443", "10.3.0.1"], ["127.0.0.1:5432"])
    assert str(reach) == "10.1.0.0/16, 10.2.0.0/24:443, 10.3.0.1, 127.0.0.1:5432"
    assert reach and not NOTHING
    for address, port, allowed in (
        ("10.1.9.9", 1, True),
        ("10.2.0.9", 443, True),
        ("10.2.0.9", 80, False),
        ("127.0.0.1", 5432, True),
        ("127.0.0.1", 80, False),
        ("10.4.0.1", 443, False),
    ):
        assert reach.allows(address, port) is allowed
    assert [str(host) for host in reach.loopback] == ["127.0.0.1:5432"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "10.1.0.0/33", "10.1.0.1/16", "10.0.0.0/8:0", "10.0.0.0/8:65536", "10.0.0.0/8:"),
        *("10.0.0.0/8:http", "example.com", "10.0.0.0/8:-1", "fd00::/8", "::/0", "10.0.0.0/8:1:2"),
        *("10.0.0.0/8; drop", "10.0.0.0/8:80\naccept", "10.0.0.0/8:٨٠"),
    ],
)
def test_networks_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"CIDR|IPv6|port"):
        Reach.read([text])


@pytest.mark.parametrize(
    "text",
    [
        *("", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "localhost:80", ":80"),
        *("[::1]:80", "::1:80", "10.0.0.0/8:80", "0.0.0.0:80", "224.0.0.1:80"),
        "127.0.0.1:80 accept",
    ],
)
def test_hosts_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"ADDRESS:PORT|IPv6|port|host|boda"):
        Reach.read([], [text])


def test_what_is_of_a_sandboxs_own_network_is_found() -> None:
    reach = Reach.read([], ["10.9.9.9:80", "127.0.0.1:8080"])
    assert reach.within("127.0.0.1", 9001, 8080) == "127.0.0.1:8080"
    assert reach.within("127.0.0.1", 9001) == reach.within("10.9.9.9", 81) == ""


def test_without_a_word_nothing_is_opened() -> None:
    text = outside_rules(InterfaceNames("t"), SUBNET, None)
    assert "dnat" not in text and "snat" not in text and "dport" not in text
    assert text.count(" accept\n") == 2  # the internet, and what it answers
    assert inside_rules(SUBNET, NOTHING) == ""


def test_what_is_open_stands_before_what_is_refused() -> None:
    reach = Reach.read(["10.1.0.0/16:443"], ["127.0.0.1:5432", "127.0.0.9:5432", "10.9.9.9:80"])
    text = outside_rules(InterfaceNames("t"), SUBNET, None, reach, ["10.0.0.53"])
    entry, forward = text[text.index("chain input") :].split("chain forward")
    for part, places in (
        (entry, ("10.0.0.53/32", "127.0.0.1/32", "127.0.0.9/32", "10.9.9.9/32")),
        (forward, ("10.0.0.53/32", "10.1.0.0/16", "10.9.9.9/32")),
    ):
        refusal = part.index("reject with icmpx", part.index("drop"))
        assert all(part.index(f"ip daddr {place} ") < refusal for place in places)
        assert part.count(" accept\n") == len(places) + 2 * (part is forward)
    # Each place of the loopback has a port of the gateway's, the same in and outside.
    for number, place in ((1024, "127.0.0.1"), (1025, "127.0.0.9")):
        assert f"th dport {number} dnat ip to {place}:5432" in text
        inside = inside_rules(SUBNET, reach)
        line = (
            f"ip daddr {place}/32 meta l4proto {{ tcp, udp }} th dport 5432 dnat ip to 10.192.0.1"
        )
        assert f"{line}:{number}" in inside
