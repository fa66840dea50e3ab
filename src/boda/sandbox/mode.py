"""How sandboxes are isolated on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Isolation = Literal["full", "process"]

_CAP_SYS_ADMIN = 21


@dataclass(frozen=True, slots=True)
class Mode:
    """isolated: namespaces and a root of their own; else plain processes.
    privileged: with root's powers; else within an unprivileged user namespace.
    """

    isolated: bool
    privileged: bool

    @classmethod
    def of_this_process(cls, isolation: Isolation) -> Mode:
        return cls(isolation == "full", isolation == "process" or _may_administer())

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
