"""Outbound internet for sandboxes: a bridge, NAT, and a pool of prepared network namespaces.

    sandbox ─ eth0 ══ veth ─ bridge boda… ─ forward (nftables) ─ masquerade ─ the world

What a sandbox may reach is the internet beyond this machine. It may not reach the machine itself
(any address of it, boda's ports included), another sandbox, or anything private (reach.py), but
for the name servers and what the operator opens. A namespace is used once and never again. It has
no name: only descriptors hold it, so that it goes when its sandbox or the platform goes.

What is open of this machine's loopback is reached under the same address and port. Inside, a
packet to there is sent to the gateway instead, at a port that stands for the place; out here that
port leads to the place itself, which sees a client on its own loopback.

The kernel keeps two tables for all namespaces together, which nobody may fill for the others:
connections that it tracks are counted by sandbox, and of neighbours a sandbox knows its gateway
alone, since its address is no part of a network and it has no IPv6.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from boda.sandbox.netlink import (
    Netlink,
    enter_network,
    enter_new_network,
    is_running,
    own_network,
)
from boda.sandbox.reach import NOTHING, REFUSED, AddressRange, Reach, matches

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_TRACKED = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_IPV6 = Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
_PREFIX = 20  # 4,093 sandboxes

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
"""For a sandbox's own namespace, where something of the machine's loopback is open."""
_FIRST_LEAD = 1024

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
"""What is asked of a name server is forgotten soon: each question is a connection of its own."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections the kernel tracks for sandboxes. flows: for one. share: for all of one
    of 64 shares, which together have half of the machine's table."""

    flows: int
    share: int

    @classmethod
    def of(cls, most: int) -> ConnectionLimits:
        """most: the size of the machine's table."""
        flows = max(256, most // 512)
        return cls(flows, max(flows, most // 2 // _SHARES))


def rules(
    names: InterfaceNames,
    subnet: ipaddress.IPv4Network,
    tracking: ConnectionLimits | None,
    reach: Reach = NOTHING,
    nameservers: Sequence[str] = (),
) -> str:
    """For ``nft``. tracking: None where the kernel cannot count connections. nameservers: where
    sandboxes ask for names."""
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
        for match, host in zip(matches(_leads(subnet, reach)), reach.loopback, strict=True)
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


def rules_inside(subnet: ipaddress.IPv4Network, reach: Reach) -> str:
    """For ``nft`` in a sandbox's namespace; "" where nothing of the loopback is open."""
    if not reach.loopback:
        return ""
    pairs = zip(matches(reach.loopback), _leads(subnet, reach), strict=True)
    return INSIDE.format(
        leads=_lines(f"{match} dnat ip to {lead.address}:{lead.port}" for match, lead in pairs)
    )


def _leads(subnet: ipaddress.IPv4Network, reach: Reach) -> list[AddressRange]:
    """Where at the gateway each open place of the loopback is reached."""
    gateway = ipaddress.IPv4Network(subnet[1])
    return [AddressRange(gateway, _FIRST_LEAD + number) for number in range(len(reach.loopback))]


def _lines(lines: Iterable[str]) -> str:
    return "\n    ".join(lines)


class NetworkUnavailable(Exception):
    """No outbound network here; the message says why."""


@dataclass(frozen=True, slots=True)
class InterfaceNames:
    """What an instance calls its things, within the 15 characters of an interface name."""

    instance: str

    @property
    def bridge(self) -> str:
        return f"boda{self.instance[:8]}"

    @property
    def table(self) -> str:
        return f"boda_{self.instance}"

    def veth(self, number: int | str) -> str:
        return f"b{self.instance[:8]}v{number}"


def free_subnet(taken: Iterable[ipaddress.IPv4Network], first: int) -> ipaddress.IPv4Network:
    """A /20 of 10.192.0.0/10 that meets none of the routes. NetworkUnavailable."""
    busy = [network for network in taken if network.prefixlen > 0]
    choices = list(ipaddress.IPv4Network("10.192.0.0/10").subnets(new_prefix=_PREFIX))
    for offset in range(len(choices)):
        choice = choices[(first + offset) % len(choices)]
        if not any(choice.overlaps(network) for network in busy):
            return choice
    raise NetworkUnavailable("every network of 10.192.0.0/10 is in use")


def routes() -> list[ipaddress.IPv4Network]:
    """The destinations this machine has routes to."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            fields = line.split()
            address = int.from_bytes(bytes.fromhex(fields[1]), "little")
            mask = int.from_bytes(bytes.fromhex(fields[7]), "little")
            found.append(ipaddress.IPv4Network((address, mask.bit_count()), strict=False))
    return found


def hardware_of(address: ipaddress.IPv4Address) -> bytes:
    """The hardware address that goes with an address, always the same: then what a neighbour has
    learnt stays true when the address is used again."""
    return b"\x02\xb0" + address.packed


def _route_loopback(interface: str) -> None:
    """Let packets from and to loopback addresses through an interface; rules say which."""
    Path(f"/proc/sys/net/ipv4/conf/{interface}/route_localnet").write_text("1")


def _until_running(name: str) -> None:
    for _ in range(200):
        if is_running(name):
            return
        time.sleep(0.001)


def nft(script: str) -> None:
    """Apply rules, all or none. NetworkUnavailable."""
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise NetworkUnavailable("nft is missing (on Debian: apt-get install nftables)")
    done = subprocess.run(
        [program, "-f", "-"], input=script, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no reason given"]
        raise NetworkUnavailable(f"nft refuses the rules: {words[0]}")


class Network:
    """The bridge and the pool. ``open`` and ``close`` block; ``take`` does not.

    first: where to start looking for a free subnet. ready: how many namespaces to keep.
    reach, nameservers: what is open besides the internet.
    """

    def __init__(
        self,
        instance: str,
        *,
        ready: int = 4,
        first: int = 0,
        reach: Reach = NOTHING,
        nameservers: Sequence[str] = (),
    ) -> None:
        self._names = InterfaceNames(instance)
        self._reach = reach
        self._nameservers = nameservers
        self._inside = ""
        self._ready = ready
        self._first = first
        self._pool: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._free: list[int] = []
        self._held: dict[int, int] = {}
        self._lock = threading.Lock()
        self._count = 0
        self.subnet: ipaddress.IPv4Network | None = None
        self.untracked = ""
        """Why connections are not counted by sandbox, or ""."""
        self.forward_was: str | None = None
        """What ip_forward was, if it had to be changed; putting it back is the lease's affair,
        since other instances may count on it by then."""

    def open(self) -> None:
        """NetworkUnavailable; then nothing is left behind."""
        if os.geteuid() != 0:
            raise NetworkUnavailable("a bridge and NAT are root's to make")
        self.subnet = free_subnet(routes(), self._first)
        hosts = self.subnet.num_addresses - 2
        self._free = list(range(hosts, 1, -1))
        try:
            link = Netlink()
            try:
                link.add_bridge(self._names.bridge, hardware_of(self.subnet[1]))
                link.add_address(self._names.bridge, str(self.subnet[1]), _PREFIX)
                link.up(self._names.bridge)
            finally:
                link.close()
            self._rule(self.subnet)
            self._inside = rules_inside(self.subnet, self._reach)
            if self._inside:
                _route_loopback(self._names.bridge)
            self._allow_forwarding()
        except (OSError, NetworkUnavailable) as error:
            self._undo()
            raise NetworkUnavailable(str(error)) from error
        self._thread = threading.Thread(target=self._work, name="boda-network", daemon=True)
        self._thread.start()
        for _ in range(self._ready):
            self._orders.put(True)

    def _rule(self, subnet: ipaddress.IPv4Network) -> None:
        try:
            nft(self._rules(subnet, ConnectionLimits.of(int(_TRACKED.read_text()))))
        except (NetworkUnavailable, OSError, ValueError) as error:
            # An older kernel does not count. If that was not the reason, this fails as well.
            nft(self._rules(subnet, None))
            self.untracked = str(error)

    def _rules(self, subnet: ipaddress.IPv4Network, tracking: ConnectionLimits | None) -> str:
        return rules(self._names, subnet, tracking, self._reach, self._nameservers)

    def _allow_forwarding(self) -> None:
        self.forward_was = None
        present = FORWARD.read_text().strip()
        if present == "0":
            try:
                FORWARD.write_text("1")
            except OSError as error:
                raise NetworkUnavailable(
                    "net.ipv4.ip_forward is 0 and may not be changed here"
                ) from error
            self.forward_was = present

    def take(self) -> int | None:
        """The descriptor of a prepared namespace, whose owner closes it, or None if none is
        ready. Another is prepared meanwhile."""
        if self._thread is None:
            return None
        self._orders.put(True)
        try:
            return self._pool.get_nowait()
        except queue.Empty:
            return None

    def wait(self, timeout_s: float = 5.0) -> int | None:
        """Like ``take`` when that gave nothing, but waiting for the one being prepared."""
        with contextlib.suppress(queue.Empty):
            return self._pool.get(timeout=timeout_s)
        return None

    def give_back(self, namespace_inode: int) -> None:
        """The namespace's sandbox is gone; its address may be used again."""
        with self._lock:
            number = self._held.pop(namespace_inode, None)
            if number is not None:
                self._free.insert(0, number)

    def close(self) -> None:
        if self._thread is not None:
            self._orders.put(False)
            self._thread.join()
            self._thread = None
        with contextlib.suppress(queue.Empty):
            while True:
                os.close(self._pool.get_nowait())
        self._undo()

    def _undo(self) -> None:
        sweep(self._names.instance)

    def _work(self) -> None:
        """The thread that prepares: it changes its own namespace, which no other thread does."""
        self._home = own_network()
        link = Netlink()
        try:
            while self._orders.get():
                with contextlib.suppress(OSError, NetworkUnavailable):
                    self._prepare_one(link)
        finally:
            link.close()
            os.close(self._home)

    def _prepare_one(self, link: Netlink) -> None:
        assert self.subnet is not None
        with self._lock:
            if not self._free:
                return
            number = self._free.pop()
        self._count += 1
        veth = self._names.veth(self._count % 100_000)
        try:
            enter_new_network()
            try:
                namespace = own_network()
                inside = Netlink()
            finally:
                enter_network(self._home)
        except OSError:
            with self._lock:
                self._free.append(number)
            raise
        try:
            link.add_veth(veth, "eth0", namespace, hardware_of(self.subnet[number]))
            link.enslave(veth, self._names.bridge)
            enter_network(namespace)
            try:
                with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                    _IPV6.write_text("1")
                for name in ("lo", "eth0"):
                    inside.up(name)
                inside.add_address("eth0", str(self.subnet[number]), 32)
                inside.add_default_route("eth0", str(self.subnet[1]))
                if self._inside:
                    _route_loopback("eth0")
                    nft(self._inside)
                _until_running("eth0")
            finally:
                enter_network(self._home)
        except (OSError, NetworkUnavailable):
            os.close(namespace)
            with self._lock:
                self._free.append(number)
            raise
        finally:
            inside.close()
        with self._lock:
            self._held[os.fstat(namespace).st_ino] = number
        self._pool.put(namespace)


def sweep(instance: str) -> None:
    """Remove an instance's bridge and rules, if they are there."""
    names = InterfaceNames(instance)
    with contextlib.closing(Netlink()) as link:
        # A cable goes with its namespace, but the kernel takes its time over those.
        cables = [name for _, name in socket.if_nameindex() if name.startswith(names.veth(""))]
        for name in (*cables, names.bridge):
            with contextlib.suppress(OSError):
                link.delete(name)
    with contextlib.suppress(NetworkUnavailable):
        nft(f"table inet {names.table}\ndelete table inet {names.table}\n")
