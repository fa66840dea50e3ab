"""Finds the cgroup hierarchy in which this platform can make its cgroups."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boda.sandbox.cgroups.absent import AbsentHierarchy
from boda.sandbox.cgroups.contract import CgroupHierarchy
from boda.sandbox.cgroups.files import read
from boda.sandbox.cgroups.version1 import CONTROLLERS, Version1Hierarchy
from boda.sandbox.cgroups.version2 import PLATFORM, Version2Hierarchy
from boda.sandbox.contract import SandboxError


def open_hierarchy(instance: str) -> CgroupHierarchy:
    """Return the best hierarchy here: version 2 if it has the controllers, else version 1."""
    name = f"boda-{instance}"
    try:
        mounts, own = list(_mounts()), _own_paths()
    except OSError:
        return AbsentHierarchy()
    for mount in mounts:
        if mount.kind != "cgroup2":
            continue
        controllers = set(read(mount.point, "cgroup.controllers").split())
        if not {"memory", "pids"} <= controllers:
            continue
        # At the real root of the tree inner groups may hold processes, so root goes there; it
        # alone has no cgroup.type.
        at_root = os.geteuid() == 0 and not (mount.point / "cgroup.type").exists()
        top = mount.point if at_root else _place(mount, own.get("", "/"))
        with contextlib.suppress(SandboxError):
            return Version2Hierarchy(top, name, whole=top == mount.point)
    tops: dict[str, Path] = {}
    for mount in mounts:
        if mount.kind == "cgroup":
            for controller in mount.controllers & set(CONTROLLERS):
                tops[controller] = _place(mount, own.get(controller, "/"))
    with contextlib.suppress(SandboxError):
        return Version1Hierarchy(tops, name)
    return AbsentHierarchy()


@dataclass(frozen=True, slots=True)
class CgroupMount:
    """A mount of a cgroup tree. root: the part of the tree that it shows. kind: the file system."""

    point: Path
    root: str
    kind: str
    controllers: frozenset[str]


def _mounts() -> Iterator[CgroupMount]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if kind[0] in ("cgroup", "cgroup2"):
            point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields[4])
            yield CgroupMount(Path(point), fields[3], kind[0], frozenset(kind[2].split(",")))


def _own_paths() -> dict[str, str]:
    """Return this process's cgroup by controller; version 2 under the empty name."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def _place(mount: CgroupMount, own: str) -> Path:
    """Return the directory of a cgroup below a mount, which may show only a part of the tree."""
    if mount.root != "/" and own.startswith(mount.root):
        own = own[len(mount.root) :]
    if own.endswith("/" + PLATFORM):
        own = own[: -len(PLATFORM) - 1]  # an earlier platform has moved its processes there
    path = mount.point / own.lstrip("/")
    return path if path.is_dir() else mount.point
