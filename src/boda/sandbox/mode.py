"""How sandboxes are isolated on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_CAP_SYS_ADMIN = 21


@dataclass(frozen=True, slots=True)
class IsolationMode:
    """isolated: namespaces and a root of their own; else plain processes.
    privileged: with root's powers; else within an unprivileged user namespace.
    """

    isolated: bool
    privileged: bool

    @classmethod
    def of_this_process(cls, uids: range, *, plain: bool = False) -> IsolationMode:
        """uids: those that sandboxes would get from root. plain: no namespaces, even if they can
        be had."""
        return cls(not plain, not plain and _may_administer() and _has(uids))

    def describe(self) -> str:
        if not self.isolated:
            return "plain processes, not isolated from this machine or from one another"
        return "namespaces as root" if self.privileged else "an unprivileged user namespace"


def _may_administer() -> bool:
    if os.geteuid() != 0:
        return False
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def _has(uids: range) -> bool:
    """Whether such ids exist here: the root of a container often has few or none beside its own."""
    maps = (Path(f"/proc/self/{name}").read_text() for name in ("uid_map", "gid_map"))
    return all(_covers(text, uids) for text in maps)


def _covers(text: str, ids: range) -> bool:
    """Whether one line of a map of ids (first inside, first outside, how many) holds them all."""
    lines = ([int(word) for word in line.split()] for line in text.splitlines())
    return any(first <= ids.start and ids.stop <= first + count for first, _, count in lines)
