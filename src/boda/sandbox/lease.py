"""Which instances of the platform are alive on this machine, so that the next one may clean up.

Each keeps a locked file in a folder that all share; it lists what an instance has made outside
its own processes. A file whose lock can be had belongs to an instance that is no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from pathlib import Path

from boda.sandbox import cgroups, network
from boda.sandbox.contract import SandboxError


def tag_of(instance: str) -> str:
    """Eight hexadecimal digits: short enough for the name of a network interface."""
    return hashlib.sha256(instance.encode()).hexdigest()[:8]


def shared_folder() -> Path:
    """/run/boda for root; else a folder of one's own."""
    if os.geteuid() == 0:
        return Path("/run/boda")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "boda"
    return Path(tempfile.gettempdir()) / f"boda-{os.geteuid()}"


class Lease:
    """A claim on an instance's name, until closed or dead."""

    def __init__(self, tag: str, folder: Path | None = None) -> None:
        """SandboxError when another platform holds the name."""
        self._folder = folder or shared_folder()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._folder.stat().st_uid != os.geteuid():
            raise SandboxError(f"{self._folder} belongs to somebody else; remove it")
        self._path = self._folder / f"{tag}.json"
        self._sweep()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise SandboxError("another platform is running as this instance") from error

    def record(self, *, cgroup_paths: tuple[str, ...], forward_was: str | None) -> None:
        """What to remove should this instance die."""
        text = json.dumps({"cgroups": cgroup_paths, "forward_was": forward_was})
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def close(self) -> None:
        """Everything has been removed."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._fd)

    def _sweep(self) -> None:
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._clean(path.stem, os.pread(fd, 1 << 16, 0))
                    path.unlink()
                finally:
                    os.close(fd)

    def _clean(self, tag: str, text: bytes) -> None:
        try:
            left = json.loads(text or b"{}")
            cgroup_paths = [str(path) for path in left.get("cgroups", [])]
        except (ValueError, AttributeError, TypeError):
            return
        cgroups.sweep([path for path in cgroup_paths if path.endswith(f"/boda-{tag}")])
        if os.geteuid() == 0:
            network.sweep(tag)
            if left.get("forward_was") == "0":
                with contextlib.suppress(OSError):
                    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
