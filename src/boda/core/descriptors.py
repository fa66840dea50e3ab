"""How the process's file descriptors are divided among their users.

Law of this file: the shares are less than the whole. Connections, from outside or from inside a
function, must never keep the platform from opening a function's pipes, an object or the database,
nor from accepting a connection.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass

WANTED = 65_536
OF_ENVIRONMENT = 24
"""Pipes, listening sockets, cgroup files and the first connections of one environment."""
_RESERVE = 1024
"""For the listener, the database, objects being read or written, and the start of sandboxes."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """clients: connections from outside. endpoints: connections of all environments to the AWS
    endpoint. runtimes: further ones of all environments to their Runtime APIs. environments: the
    most environments that the rest suffices for."""

    clients: int
    endpoints: int
    runtimes: int
    environments: int

    @classmethod
    def of(cls, total: int) -> Descriptors:
        clients = min(10_000, total // 2)
        endpoints = min(5_000, total // 8)
        runtimes = min(4_096, total // 16)
        left = total - clients - endpoints - runtimes
        left -= min(_RESERVE, left // 2)
        return cls(clients, endpoints, runtimes, max(1, left // OF_ENVIRONMENT))


def take(wanted: int = WANTED) -> int:
    """Raise this process's limit of open files as far as allowed, up to ``wanted``; return the
    limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard != unlimited and hard < wanted:
        with contextlib.suppress(OSError, ValueError):  # only root may
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        wanted = hard
    if soft == unlimited:
        return wanted
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


class SharedCount:
    """A number of things that several users take from."""

    __slots__ = ("left",)

    def __init__(self, count: int) -> None:
        self.left = count

    def take(self) -> bool:
        """Take one. Return False if none is left."""
        if self.left <= 0:
            return False
        self.left -= 1
        return True

    def give_back(self) -> None:
        self.left += 1
