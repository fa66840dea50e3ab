"""Bounds unread messages in netlink sockets, which no cgroup counts.

A function queries its own network over such sockets, as getaddrinfo does, and each may hold
megabytes of answers. A working function has one or two of them open; a runtime whose sockets hold
too much is ended, as the kernel would end it for its memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from boda.core.clock import Clock

LOOK_S = 0.25
_READ = 4

log = logging.getLogger("boda.sandbox")


class WatchedSandbox(Protocol):
    """A sandbox, as it is watched. awake: it may be computing. unread_limit: in bytes."""

    @property
    def pid(self) -> int: ...
    @property
    def awake(self) -> bool: ...
    @property
    def unread_limit(self) -> int: ...

    def end_runtime(self) -> None: ...


def unread_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """Return the unread bytes of all netlink sockets in a process's network namespace; 0 if the
    process has ended. Blocking."""
    try:
        lines = (proc / str(pid) / "net/netlink").read_text().splitlines()[1:]
        return sum(int(line.split()[_READ]) for line in lines)
    except (OSError, ValueError, IndexError):
        return 0


def _measure(pids: list[int]) -> list[int]:
    return [unread_bytes(pid) for pid in pids]


async def watch(alive: Callable[[], Iterable[WatchedSandbox]], clock: Clock) -> None:
    """Check sandboxes that may be computing, again and again; frozen ones receive nothing more."""
    while True:
        await clock.sleep(LOOK_S)
        awake = [sandbox for sandbox in alive() if sandbox.awake and sandbox.pid]
        if not awake:
            continue
        found = await asyncio.to_thread(_measure, [sandbox.pid for sandbox in awake])
        for sandbox, size in zip(awake, found, strict=True):
            if size > sandbox.unread_limit:
                log.warning("a runtime was ended: its netlink sockets held %d MiB", size >> 20)
                sandbox.end_runtime()
