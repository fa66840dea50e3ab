"""Removes the cgroups that an instance of the platform has left."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from boda.sandbox.cgroups.files import read, remove_group, write


def sweep(paths: Sequence[str], patience_s: float = 2.0) -> bool:
    """Kill the processes in these directories and remove them. Blocking.

    Returns False if some are left after patience_s, for a later sweep to remove.
    """
    bases = [Path(text) for text in paths if Path(text).name.startswith("boda-")]
    end = time.monotonic() + patience_s
    while not all([_swept(base) for base in bases]):  # noqa: C419  each of them, every time
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _swept(base: Path) -> bool:
    """Make one attempt; a killed process takes a moment to end."""
    try:
        groups = [*(entry for entry in base.iterdir() if entry.is_dir()), base]
    except OSError:
        return not base.exists()
    for group in groups:
        write(group, "freezer.state", "THAWED")
        write(group, "cgroup.freeze", "0")
        for pid in read(group, "cgroup.procs").split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), 9)
        remove_group(group)
    return not base.exists()
