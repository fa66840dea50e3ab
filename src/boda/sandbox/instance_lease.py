"""The instances of the platform on this machine, so that a later one cleans up after dead ones.

Each keeps a locked file in a shared folder, which lists what the instance has made outside its own
processes. A file that is not locked belongs to a dead instance.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from boda.sandbox import network
from boda.sandbox.cgroups import leftovers
from boda.sandbox.contract import SandboxError


def tag_of(instance: str) -> str:
    """Hash a name to eight hexadecimal digits, short enough for a network interface's name."""
    return hashlib.sha256(instance.encode()).hexdigest()[:8]


def shared_folder() -> Path:
    """Return the folder of the lease files: /run/boda for root, else the user's own."""
    if os.geteuid() == 0:
        return Path("/run/boda")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "boda"
    return Path(tempfile.gettempdir()) / f"boda-{os.geteuid()}"


class InstanceLease:
    """The lock of an instance's name, held until ``close`` or the end of the process."""

    def __init__(
        self, tag: str, folder: Path | None = None, *, forward: Path = network.FORWARD
    ) -> None:
        """Raises SandboxError if another platform holds the name."""
        self._folder = folder or shared_folder()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._folder.stat().st_uid != os.geteuid():
            raise SandboxError(f"{self._folder} belongs to somebody else; remove it")
        self._path = self._folder / f"{tag}.json"
        self._forward = forward
        with self._exclusive():
            self._sweep()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o600)
            if not _lock(self._fd):
                os.close(self._fd)
                raise SandboxError("another platform is running as this instance")

    def record(self, cgroup_paths: tuple[str, ...]) -> None:
        """Record the cgroups to remove if this instance dies."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps({"cgroups": cgroup_paths}).encode(), 0)

    def record_forwarding(self, was: str) -> None:
        """Record the former value of ip_forward, which the last instance restores."""
        with contextlib.suppress(FileExistsError), (self._folder / "ip_forward").open("x") as file:
            file.write(was)

    def close(self, *, clean: bool = True) -> None:
        """Release the name. clean: all cgroups were removed; else the record stays for a sweep."""
        with self._exclusive():
            if clean:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            os.close(self._fd)
            self._sweep()

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock under which a platform looks at the others."""
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _sweep(self) -> None:
        """Clean up after dead instances; restore ip_forward if none is alive."""
        living = False
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    if _lock(fd):
                        if self._clean(path.stem, os.pread(fd, 1 << 16, 0)):
                            path.unlink()
                    else:
                        living = True
                finally:
                    os.close(fd)
        if not living:
            self._restore_forwarding()

    def _clean(self, tag: str, text: bytes) -> bool:
        if os.geteuid() == 0:
            network.sweep(tag)
        paths: list[str] = []
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            paths = [str(path) for path in json.loads(text or b"{}").get("cgroups", [])]
        return leftovers.sweep([path for path in paths if path.endswith(f"/boda-{tag}")])

    def _restore_forwarding(self) -> None:
        note = self._folder / "ip_forward"
        with contextlib.suppress(OSError):
            was = note.read_text()
            note.unlink()
            if was == "0":
                self._forward.write_text(was)


def _lock(fd: int) -> bool:
    """Lock a file; False if another process holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
