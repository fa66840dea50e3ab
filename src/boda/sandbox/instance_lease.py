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
from collections.abc import Iterator
from pathlib import Path

from boda.sandbox import network
from boda.sandbox.cgroups import leftovers
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


class InstanceLease:
    """A claim on an instance's name, until closed or dead."""

    def __init__(
        self, tag: str, folder: Path | None = None, *, forward: Path = network.FORWARD
    ) -> None:
        """SandboxError when another platform holds the name."""
        self._folder = folder or shared_folder()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._folder.stat().st_uid != os.geteuid():
            raise SandboxError(f"{self._folder} belongs to somebody else; remove it")
        self._path = self._folder / f"{tag}.json"
        self._forward = forward
        with self._alone():
            self._sweep()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o600)
            if not _lock(self._fd):
                os.close(self._fd)
                raise SandboxError("another platform is running as this instance")

    def record(self, cgroup_paths: tuple[str, ...]) -> None:
        """What to remove should this instance die."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps({"cgroups": cgroup_paths}).encode(), 0)

    def record_forwarding(self, was: str) -> None:
        """This instance has let the machine forward; the last one to go puts it back."""
        with contextlib.suppress(FileExistsError), (self._folder / "ip_forward").open("x") as file:
            file.write(was)

    def close(self, *, clean: bool = True) -> None:
        """clean: everything has been removed; else the record stays, for the next to sweep."""
        with self._alone():
            if clean:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            os.close(self._fd)
            self._sweep()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One platform at a time looks at the others."""
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _sweep(self) -> None:
        """Clean up after the dead; after the last of the living too."""
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
            self._put_forwarding_back()

    def _clean(self, tag: str, text: bytes) -> bool:
        if os.geteuid() == 0:
            network.sweep(tag)
        paths: list[str] = []
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            paths = [str(path) for path in json.loads(text or b"{}").get("cgroups", [])]
        return leftovers.sweep([path for path in paths if path.endswith(f"/boda-{tag}")])

    def _put_forwarding_back(self) -> None:
        note = self._folder / "ip_forward"
        with contextlib.suppress(OSError):
            was = note.read_text()
            note.unlink()
            if was == "0":
                self._forward.write_text(was)


def _lock(fd: int) -> bool:
    """Whether nobody else holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
