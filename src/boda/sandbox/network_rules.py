"""The nftables rules of the sandboxes' network, as text. Pure.

What a sandbox may reach is the internet beyond this machine, and what the operator opens
(``reach.py``). An address of this machine's loopback is reached under the same address and port.
The rules inside redirect such a packet to the gateway, at a port that stands for the address; the
rules outside redirect that port to the address itself, where it comes from the loopback.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from boda.sandbox.reach import NOTHING, REFUSED, AddressRange, Reach, matches

RULES = """
table inet {table}
delete table inet {table}
table inet {table} {{
  {sets}
  {lead}
  chain input {{
    type filter hook input priority -150; policy accept;
    iifname "{bridge}" ip saddr != {subnet} drop
    {counts}
    {own}
    iifname "{bridge}" reject with icmpx admin-prohibited
  }}
  chain forward {{
    type filter hook forward priority -150; policy accept;
    iifname "{bridge}" oifname "{bridge}" reject with icmpx admin-prohibited
    iifname "{bridge}" ip saddr != {subnet} drop
    iifname "{bridge}" meta nfproto ipv6 drop
    {counts}
    {beyond}
    iifname "{bridge}" ip daddr {{ {refused} }} reject with icmpx admin-prohibited
    iifname "{bridge}" accept
    oifname "{bridge}" ct state established,related accept
    oifname "{bridge}" drop
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {subnet} oifname != "{bridge}" masquerade
  }}
}}
"""


_LEAD = """
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    {leads}
  }}
  chain incoming {{
    type nat hook input priority 100; policy accept;
    iifname "{bridge}" ip daddr 127.0.0.0/8 snat ip to 127.0.0.1
  }}
"""
INSIDE = """
table ip boda {{
  chain output {{
    type nat hook output priority -100; policy accept;
    {leads}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    oifname "eth0" ip saddr 127.0.0.0/8 masquerade
  }}
}}
"""
"""For a sandbox's own namespace, if an address of the machine's loopback is open."""
_FIRST_PORT = 1024

_SHARES = 64
_SETS = f"""
  ct timeout names {{ protocol udp; l3proto ip; policy = {{ unreplied : 5, replied : 5 }}; }}
  set flows {{ type ipv4_addr; flags dynamic; size 4096; }}
  set shares {{ type ipv4_addr; flags dynamic; size {_SHARES}; }}
"""
_COUNTS = """
    iifname "{bridge}" meta nfproto ipv4 udp dport 53 ct timeout set "names"
    iifname "{bridge}" ct state new add @flows {{ ip saddr ct count over {flows} }} reject
    iifname "{bridge}" ct state new add @shares {{ ip saddr & {mask} ct count over {share} }} reject
"""
"""Questions to a name server are forgotten soon: each is a connection of its own."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The connections that the kernel tracks for sandboxes.

    flows: for one sandbox. share: for all sandboxes of one of 64 shares, which together have half
    of the machine's table.
    """

    flows: int
    share: int

    @classmethod
    def of(cls, most: int) -> ConnectionLimits:
        """Divide the machine's table, of size most."""
        flows = max(256, most // 512)
        return cls(flows, max(flows, most // 2 // _SHARES))


@dataclass(frozen=True, slots=True)
class InterfaceNames:
    """The names of an instance's interfaces and table, of 15 characters at most."""

    instance: str

    @property
    def bridge(self) -> str:
        return f"boda{self.instance[:8]}"

    @property
    def table(self) -> str:
        return f"boda_{self.instance}"

    def veth(self, number: int | str) -> str:
        return f"b{self.instance[:8]}v{number}"


def outside_rules(
    names: InterfaceNames,
    subnet: ipaddress.IPv4Network,
    tracking: ConnectionLimits | None,
    reach: Reach = NOTHING,
    nameservers: Sequence[str] = (),
) -> str:
    """Return the rules for this machine's namespace, for ``nft``.

    tracking: None if the kernel cannot count connections. nameservers: of the sandboxes.
    """
    sets = counts = ""
    if tracking is not None:
        sets = _SETS
        counts = _COUNTS.format(
            bridge=names.bridge,
            flows=tracking.flows,
            share=tracking.share,
            mask=f"0.0.0.{_SHARES - 1}",
        )
    asked = [AddressRange(ipaddress.IPv4Network(address), 53) for address in nameservers]
    own = [*(f"ct status dnat {match}" for match in matches(reach.loopback))]
    own += matches((*asked, *reach.routed))
    beyond = matches((*asked, *reach.routed, *reach.networks))
    leads = [
        f'iifname "{names.bridge}" {match} dnat ip to {host.address}:{host.port}'
        for match, host in zip(matches(_gateway_ports(subnet, reach)), reach.loopback, strict=True)
    ]
    return RULES.format(
        table=names.table,
        bridge=names.bridge,
        subnet=subnet,
        sets=sets,
        counts=counts,
        refused=", ".join(REFUSED),
        lead=_LEAD.format(bridge=names.bridge, leads=_lines(leads)) if leads else "",
        own=_lines(f'iifname "{names.bridge}" {match} accept' for match in own),
        beyond=_lines(f'iifname "{names.bridge}" {match} accept' for match in beyond),
    )


def inside_rules(subnet: ipaddress.IPv4Network, reach: Reach) -> str:
    """Return the rules for a sandbox's namespace; "" if no address of the loopback is open."""
    if not reach.loopback:
        return ""
    pairs = zip(matches(reach.loopback), _gateway_ports(subnet, reach), strict=True)
    return INSIDE.format(
        leads=_lines(f"{match} dnat ip to {lead.address}:{lead.port}" for match, lead in pairs)
    )


def _gateway_ports(subnet: ipaddress.IPv4Network, reach: Reach) -> list[AddressRange]:
    """Return the gateway's port for each open address of the loopback."""
    gateway = ipaddress.IPv4Network(subnet[1])
    return [AddressRange(gateway, _FIRST_PORT + number) for number in range(len(reach.loopback))]


def _lines(lines: Iterable[str]) -> str:
    return "\n    ".join(lines)
