"""Makes moving a process into a cgroup fast, by a mount option of version 1 hierarchies."""

from __future__ import annotations

import ctypes
import os


def enable_fast_moves() -> int | None:
    """Let processes enter a cgroup in microseconds, instead of the six milliseconds that the kernel
    otherwise waits for every processor. Linux 6.0 and newer, as root.

    The option is asked for by a cgroup mount with ``favordynmods``. This mount has no controllers,
    no path, and lives as long as the returned descriptor; None if there is no such option.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    cloexec, set_flag, set_string, create = 1, 0, 1, 6
    context = libc.syscall(430, b"cgroup", cloexec)
    if context < 0:
        return None
    try:
        options = [
            (set_flag, b"none", None),
            (set_string, b"name", f"boda{os.getpid()}".encode()),
            (set_flag, b"favordynmods", None),
            (create, None, None),
        ]
        for command, key, value in options:
            if libc.syscall(431, context, command, key, value, 0) < 0:
                return None
        mount = libc.syscall(432, context, cloexec, 0)
        return int(mount) if mount >= 0 else None
    finally:
        os.close(context)
