"""The five routing messages, over netlink, that give an environment its network.

A message is a header, a fixed part and attributes; the kernel answers each with an error number,
0 for success. A veth pair, an address and a route made this way take under a millisecond.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence

_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE = 16, 17, 20, 24
_REQUEST, _ACK, _CREATE, _EXCLUSIVE = 1, 4, 0x400, 0x200
_ERROR = 2

_ADDRESS = 1
_IFNAME, _MASTER, _LINKINFO, _NET_NS_FD = 3, 10, 18, 28
_PROTINFO = 12
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_PORT_ISOLATED = 33
_NESTED = 0x8000
_UP = 1
_RUNNING = 0x40
_GET_FLAGS = 0x8913

Attribute = tuple[int, bytes]


def _attributes(pairs: Sequence[Attribute]) -> bytes:
    out = b""
    for kind, value in pairs:
        length = 4 + len(value)
        out += struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)
    return out


def _link(index: int = 0, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def _name(text: str) -> bytes:
    return text.encode() + b"\0"


class Netlink:
    """A routing socket in the network namespace of the thread that opened it."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def _ask(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Send one message and wait for its acknowledgement. Raises OSError."""
        self._sequence += 1
        header = struct.pack(
            "=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, self._sequence, 0
        )
        self._socket.send(header + body)
        for number, sequence, payload in self._answers():
            if sequence == self._sequence and number == _ERROR:
                error = -struct.unpack_from("=i", payload)[0]
                if error:
                    raise OSError(error, os.strerror(error))
                return

    def _answers(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            data = self._socket.recv(65536)
            while len(data) >= 16:
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
                yield kind, sequence, data[16:length]
                data = data[(length + 3) & ~3 :]

    def add_bridge(self, name: str, hardware: bytes) -> None:
        """Add a bridge with a hardware address of its own.

        Otherwise it would take the lowest address of its ports, and neighbours that have cached it
        would lose the bridge with that port.
        """
        info = _attributes([(_INFO_KIND, b"bridge")])
        attributes = [(_IFNAME, _name(name)), (_ADDRESS, hardware), (_LINKINFO | _NESTED, info)]
        self._ask(_NEWLINK, _link() + _attributes(attributes), _CREATE | _EXCLUSIVE)

    def add_veth(self, name: str, peer: str, peer_namespace: int, hardware: bytes) -> None:
        """Add a veth pair: one end here, the other, with the hardware address, in the namespace of
        the descriptor."""
        inner = _link() + _attributes(
            [
                (_IFNAME, _name(peer)),
                (_ADDRESS, hardware),
                (_NET_NS_FD, struct.pack("=I", peer_namespace)),
            ]
        )
        data = _attributes([(_VETH_PEER | _NESTED, inner)])
        info = _attributes([(_INFO_KIND, b"veth"), (_INFO_DATA | _NESTED, data)])
        body = _link() + _attributes([(_IFNAME, _name(name)), (_LINKINFO | _NESTED, info)])
        self._ask(_NEWLINK, body, _CREATE | _EXCLUSIVE)

    def enslave(self, name: str, bridge: str) -> None:
        """Attach an interface to the bridge, up, and isolated from the bridge's other ports."""
        index = socket.if_nametoindex(name)
        master = struct.pack("=I", socket.if_nametoindex(bridge))
        self._ask(_NEWLINK, _link(index, _UP, _UP) + _attributes([(_MASTER, master)]))
        port = _attributes([(_PORT_ISOLATED, b"\1")])
        body = _link(index, family=socket.AF_BRIDGE) + _attributes([(_PROTINFO | _NESTED, port)])
        self._ask(_NEWLINK, body)

    def up(self, name: str) -> None:
        self._ask(_NEWLINK, _link(socket.if_nametoindex(name), _UP, _UP))

    def add_address(self, name: str, address: str, prefix: int) -> None:
        raw = socket.inet_aton(address)
        body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, socket.if_nametoindex(name))
        body += _attributes([(2, raw), (1, raw)])  # IFA_LOCAL, IFA_ADDRESS
        self._ask(_NEWADDR, body, _CREATE | _EXCLUSIVE)

    def add_default_route(self, name: str, gateway: str) -> None:
        """Add a default route through a gateway that is in no network of the link."""
        address = socket.inet_aton(gateway)
        link = struct.pack("=I", socket.if_nametoindex(name))
        # RTA_DST and RTA_OIF with the scope of a link, then RTA_GATEWAY.
        for length, scope, attributes in (
            (32, 253, [(1, address), (4, link)]),
            (0, 0, [(5, address)]),
        ):
            body = struct.pack("=BBBBBBBBI", socket.AF_INET, length, 0, 0, 254, 3, scope, 1, 0)
            self._ask(_NEWROUTE, body + _attributes(attributes), _CREATE | _EXCLUSIVE)

    def delete(self, name: str) -> None:
        """Delete an interface. Raises OSError if there is none of this name."""
        self._ask(_DELLINK, _link(socket.if_nametoindex(name)))


def is_running(name: str) -> bool:
    """Whether a link carries traffic, which takes a moment after ``up``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh22x", name.encode(), 0)
        answer = fcntl.ioctl(probe, _GET_FLAGS, request)
    return bool(struct.unpack_from("h", answer, 16)[0] & _RUNNING)


_libc = ctypes.CDLL(None, use_errno=True)
_NEWNET = 0x40000000


def own_network() -> int:
    """Return a descriptor of the calling thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def enter_new_network() -> None:
    """Give the calling thread, and only it, a new network namespace. Raises OSError."""
    if _libc.unshare(_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare network")


def enter_network(fd: int) -> None:
    if _libc.setns(fd, _NEWNET):
        raise OSError(ctypes.get_errno(), "setns network")
