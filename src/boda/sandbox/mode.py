"""The kinds of isolation, and the one that is possible here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_CAP_SYS_ADMIN = 21


@dataclass(frozen=True, slots=True)
class IsolationMode:
    """A kind of isolation.

    isolated: sandboxes have namespaces and a root of their own, or are plain processes. privileged:
    they are made with root's capabilities, or within an unprivileged user namespace.
    """

    isolated: bool
    privileged: bool

    @classmethod
    def of_this_process(cls, uids: range, *, plain: bool = False) -> IsolationMode:
        """Return the best kind for this process.

        uids: of the sandboxes, if it is privileged. plain: no namespaces, even if possible.
        """
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
    """Whether these ids exist here; a container's root often has few or none beside its own."""
    maps = (Path(f"/proc/self/{name}").read_text() for name in ("uid_map", "gid_map"))
    return all(_covers(text, uids) for text in maps)


def _covers(text: str, ids: range) -> bool:
    """Whether one line of an id map (first inside, first outside, count) includes all ids."""
    lines = ([int(word) for word in line.split()] for line in text.splitlines())
    return any(first <= ids.start and ids.stop <= first + count for first, _, count in lines)
