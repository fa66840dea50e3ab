"""The parts of the network that need none: choosing a subnet, names, rules, reading routes."""

from __future__ import annotations

import ipaddress

import pytest

from boda.sandbox.instance_lease import tag_of
from boda.sandbox.network import NetworkUnavailable, free_subnet, hardware_of
from boda.sandbox.network_rules import ConnectionLimits, InterfaceNames, outside_rules

N = ipaddress.IPv4Network


def test_a_subnet_meets_none_of_the_routes() -> None:
    taken = [N("10.192.0.0/20"), N("10.192.16.0/24"), N("192.168.0.0/16")]
    assert free_subnet(taken, 0) == N("10.192.32.0/20")
    assert free_subnet([], 5) == N("10.192.80.0/20")
    assert free_subnet([N("0.0.0.0/0")], 0) == N("10.192.0.0/20")  # the default route is no claim


def test_different_instances_begin_at_different_places_and_go_round() -> None:
    assert free_subnet([], 1023) == N("10.255.240.0/20")
    assert free_subnet([N("10.255.240.0/20")], 1023) == N("10.192.0.0/20")


def test_when_all_are_taken_it_says_so() -> None:
    with pytest.raises(NetworkUnavailable, match="in use"):
        free_subnet([N("10.0.0.0/8")], 0)


def test_names_fit_into_an_interface_name() -> None:
    names = InterfaceNames(tag_of("an instance with a very long name indeed"))
    assert len(names.bridge) <= 15 and len(names.veth(99_999)) <= 15
    assert names.veth(1).startswith(names.veth(""))
    assert tag_of("a") != tag_of("b")


def test_hardware_addresses_follow_addresses() -> None:
    one = hardware_of(ipaddress.IPv4Address("10.192.0.7"))
    assert one == bytes([0x02, 0xB0, 10, 192, 0, 7])  # locally administered, not a group's
    assert one != hardware_of(ipaddress.IPv4Address("10.192.0.8"))


@pytest.mark.parametrize("tracking", [None, ConnectionLimits(256, 1024)])
def test_rules_refuse_before_they_allow(tracking: ConnectionLimits | None) -> None:
    names = InterfaceNames("t")
    text = outside_rules(names, N("10.192.0.0/20"), tracking)
    forward = text[text.index("chain forward") : text.index("chain postrouting")]
    allowed = forward.index('iifname "bodat" accept')
    assert forward.index("169.254.0.0/16") < allowed
    assert forward.index('oifname "bodat" reject') < allowed
    assert forward.rstrip(" }\n").endswith('oifname "bodat" drop')
    assert 'iifname "bodat" reject' in text[: text.index("chain forward")]
    for limit in ("ct count over 256 ", "ct count over 1024 "):
        assert (limit in forward[:allowed]) == (tracking is not None)


@pytest.mark.parametrize("most", [4_096, 65_536, 262_144, 4_000_000])
def test_sandboxes_together_leave_half_of_the_tracked_connections(most: int) -> None:
    tracking = ConnectionLimits.of(most)
    assert 256 <= tracking.flows <= tracking.share
    if most >= 32_768:  # below that, so many that functions can work
        assert 64 * tracking.share <= most // 2
