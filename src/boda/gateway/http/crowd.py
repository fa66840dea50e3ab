"""The connections of one or several listeners, and the choice of those given up if there are too
many.

Law of this file: clients that open connections and leave them harm no others. A new connection is
refused only if all the others are being served; else those are given up for which the platform has
waited longest, of the owner with the most of them.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections.abc import Iterable
from typing import Protocol

_AT_ONCE = 32
"""A full crowd gives up one member in so many at once, since each choice takes long."""


class Member(Protocol):
    """A connection."""

    @property
    def owner(self) -> str:
        """The owner: a client's address, or an environment's id."""

    def waits_since(self) -> float | None:
        """Return since when the platform waits for the client; None while the client waits."""

    def abort(self) -> None: ...


class Crowd:
    """At most ``most`` members, which are members of the crowd ``around`` it as well."""

    __slots__ = ("_around", "_members", "_most")

    def __init__(self, most: int, around: Crowd | None = None) -> None:
        self._most = most
        self._around = around
        self._members: dict[Member, None] = {}

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, member: Member) -> bool:
        """Add a member, perhaps in place of others; it is a member until it leaves.

        Return whether it is to be served: False if the crowd is full.
        """
        room = len(self._members) < self._most or self._thin()
        self._members[member] = None
        if self._around is not None:
            room = self._around.enter(member) and room
        return room

    def leave(self, member: Member) -> None:
        self._members.pop(member, None)
        if self._around is not None:
            self._around.leave(member)

    def _thin(self) -> bool:
        """Give up a few members. Return False if none could be given up."""
        given_up = list(greediest(self._members, max(1, self._most // _AT_ONCE)))
        for member in given_up:
            self.leave(member)
            member.abort()
        return bool(given_up)


def owner_of(address: str) -> str:
    """Return the owner of a client's address: for IPv6 the /64 network, all of which one client may
    have."""
    if ":" not in address:
        return address
    groups = ipaddress.IPv6Address(address.partition("%")[0]).exploded.split(":")
    return ":".join(groups[:4])


def greediest(members: Iterable[Member], count: int) -> Iterable[Member]:
    """Yield so many of the members that are waited for: each time the oldest one of the owner with
    the most."""
    waiting: dict[str, list[tuple[float, int, Member]]] = {}
    for number, member in enumerate(members):
        since = member.waits_since()
        if since is not None:
            waiting.setdefault(member.owner, []).append((since, number, member))
    owners = [(-len(own), owner) for owner, own in waiting.items()]
    heapq.heapify(owners)
    for own in waiting.values():
        own.sort(reverse=True)
    for _ in range(count):
        if not owners:
            return
        size, owner = owners[0]
        yield waiting[owner].pop()[2]
        if size == -1:
            heapq.heappop(owners)
        else:
            heapq.heapreplace(owners, (size + 1, owner))
