"""Outbound internet for sandboxes: a bridge, NAT, and a pool of prepared network namespaces.

    sandbox ─ eth0 ══ veth ─ bridge boda… ─ forward (nftables) ─ masquerade ─ the world

A sandbox reaches the internet beyond this machine. It reaches neither the machine itself (any
address of it, boda's ports included), nor another sandbox, nor anything private (``reach.py``),
except for the name servers and what the operator opens (``network_rules.py``). A namespace is used
once and never again. It has no name: only descriptors hold it, so that it goes when its sandbox or
the platform goes.

The kernel keeps two tables for all namespaces together, which no sandbox may fill for the others:
the connections that it tracks are counted by sandbox, and a sandbox has its gateway as its only
neighbour, since its address is no part of a network and it has no IPv6.
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
from pathlib import Path

from boda.sandbox.netlink import (
    Netlink,
    enter_network,
    enter_new_network,
    is_running,
    own_network,
)
from boda.sandbox.network_rules import (
    ConnectionLimits,
    InterfaceNames,
    inside_rules,
    outside_rules,
)
from boda.sandbox.reach import NOTHING, Reach

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_TRACKED = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_IPV6 = Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
_PREFIX = 20  # 4,093 sandboxes


class NetworkUnavailable(Exception):
    """There can be no outbound network here, for the reason of the message."""


def free_subnet(taken: Iterable[ipaddress.IPv4Network], first: int) -> ipaddress.IPv4Network:
    """Return a /20 of 10.192.0.0/10 that overlaps no route. Raises NetworkUnavailable."""
    busy = [network for network in taken if network.prefixlen > 0]
    choices = list(ipaddress.IPv4Network("10.192.0.0/10").subnets(new_prefix=_PREFIX))
    for offset in range(len(choices)):
        choice = choices[(first + offset) % len(choices)]
        if not any(choice.overlaps(network) for network in busy):
            return choice
    raise NetworkUnavailable("every network of 10.192.0.0/10 is in use")


def routes() -> list[ipaddress.IPv4Network]:
    """Return the destinations of this machine's routes."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            fields = line.split()
            address = int.from_bytes(bytes.fromhex(fields[1]), "little")
            mask = int.from_bytes(bytes.fromhex(fields[7]), "little")
            found.append(ipaddress.IPv4Network((address, mask.bit_count()), strict=False))
    return found


def hardware_of(address: ipaddress.IPv4Address) -> bytes:
    """Return the hardware address for an address.

    It is always the same, so that neighbours' tables stay true when the address is used again.
    """
    return b"\x02\xb0" + address.packed


def _route_loopback(interface: str) -> None:
    """Let packets from and to loopback addresses through an interface; the rules filter them."""
    Path(f"/proc/sys/net/ipv4/conf/{interface}/route_localnet").write_text("1")


def _until_running(name: str) -> None:
    for _ in range(200):
        if is_running(name):
            return
        time.sleep(0.001)


def nft(script: str) -> None:
    """Apply rules, all or none. Raises NetworkUnavailable."""
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
    """The bridge and the pool of namespaces. ``open`` and ``close`` block; ``take`` does not.

    first: the index at which the search for a free subnet starts. ready: how many namespaces to
    keep. reach, nameservers: what is open besides the internet.
    untracked: why connections are not counted by sandbox, or "". forward_was: the value of
    ip_forward before ``open``, if that changed it. The instance lease restores it, since other
    instances may rely on it by then.
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
        self.forward_was: str | None = None

    def open(self) -> None:
        """Make the bridge and the rules. Raises NetworkUnavailable, and then leaves nothing."""
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
            self._inside = inside_rules(self.subnet, self._reach)
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
            # An older kernel cannot count. If that was not the reason, this fails as well.
            nft(self._rules(subnet, None))
            self.untracked = str(error)

    def _rules(self, subnet: ipaddress.IPv4Network, tracking: ConnectionLimits | None) -> str:
        return outside_rules(self._names, subnet, tracking, self._reach, self._nameservers)

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
        """Return the descriptor of a prepared namespace, for the caller to close; None if none is
        ready. Another one is prepared meanwhile."""
        if self._thread is None:
            return None
        self._orders.put(True)
        try:
            return self._pool.get_nowait()
        except queue.Empty:
            return None

    def wait(self, timeout_s: float = 5.0) -> int | None:
        """Wait for the namespace that is being prepared, after ``take`` has returned None."""
        with contextlib.suppress(queue.Empty):
            return self._pool.get(timeout=timeout_s)
        return None

    def give_back(self, namespace_inode: int) -> None:
        """Reuse the address of a namespace whose sandbox has ended."""
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
        """Prepare namespaces, in a thread of its own, as it changes the thread's namespace."""
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
        # A veth goes with its namespace, but the kernel removes namespaces late.
        veths = [name for _, name in socket.if_nameindex() if name.startswith(names.veth(""))]
        for name in (*veths, names.bridge):
            with contextlib.suppress(OSError):
                link.delete(name)
    with contextlib.suppress(NetworkUnavailable):
        nft(f"table inet {names.table}\ndelete table inet {names.table}\n")
