"""The connections of one or of several listeners, and who is given up when they are too many.

Law of this file: whoever opens connections and leaves them harms nobody but itself. A newcomer is
turned away only if all the others are being served; else those go that have kept the platform
waiting longest, of the owner who has most of them.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections.abc import Iterable
from typing import Protocol

_AT_ONCE = 32
"""A crowd that is full is thinned by one in so many: to look for each by itself would take long."""


class Member(Protocol):
    """A connection."""

    @property
    def owner(self) -> str:
        """Whose it is: a client's address, or an environment's id."""

    def waits_since(self) -> float | None:
        """Since when the platform waits for its client; None while its client waits."""

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
        """Whether there is room for it, perhaps where another was. It is a member either way,
        until it leaves."""
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
        """Give up a few; whether any could be given up."""
        given_up = list(greediest(self._members, max(1, self._most // _AT_ONCE)))
        for member in given_up:
            self.leave(member)
            member.abort()
        return bool(given_up)


def owner_of(address: str) -> str:
    """Who a client's address belongs to: of IPv6, whoever has one has 2**64 of them."""
    if ":" not in address:
        return address
    groups = ipaddress.IPv6Address(address.partition("%")[0]).exploded.split(":")
    return ":".join(groups[:4])


def greediest(members: Iterable[Member], count: int) -> Iterable[Member]:
    """So many of those that are waited for: each time the oldest of whoever has most of them."""
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
