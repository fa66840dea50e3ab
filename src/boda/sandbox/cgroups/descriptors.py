"""The descriptors of a cgroup's files that stay open as long as the cgroup exists."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from boda.sandbox.cgroups.files import read_number_at


class CgroupDescriptors:
    """The descriptors of one cgroup, closed with it."""

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}
        self.freezer: int | None = None
        self._peak: int | None = None
        self._fulls = 0

    def peak_bytes(self) -> int:
        """Return the highest memory since the last reset; 0 if nothing counts it."""
        return read_number_at(self._peak)

    def _open_peak(self, path: Path) -> None:
        """Keep the file open: in version 2 a reset holds for this descriptor alone."""
        with contextlib.suppress(OSError):
            self._peak = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def _freezer_write(self, text: bytes) -> None:
        # Through the open descriptor, since a caller waits for its answer meanwhile.
        if self.freezer is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self.freezer, text, 0)

    def _open(self, name: str, path: Path, file: str) -> None:
        self.entries[name] = os.open(f"{path}/{file}", os.O_WRONLY | os.O_CLOEXEC)

    def _close(self) -> None:
        for fd in self.entries.values():
            os.close(fd)
        self.entries = {}
        if self.freezer is not None:
            os.close(self.freezer)
            self.freezer = None
        if self._peak is not None:
            os.close(self._peak)
            self._peak = None
