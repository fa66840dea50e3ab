"""``/tmp`` on disk: a file system of exactly the size that a function is configured with.

As on AWS, the files in /tmp use neither the function's memory nor another function's disk. A volume
is a sparse file, formatted, attached to a loop device and mounted without a path (``fsmount``):
only descriptors hold it, and with the last one mount, device and file are gone, even after ``kill
-9``. On a machine without loop devices /tmp is memory (tmpfs) and counts as such.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import threading
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_LOOP_CONTROL_FREE, _LOOP_CONFIGURE = 0x4C82, 0x4C0A
_AUTOCLEAR, _DIRECT_IO = 4, 16
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_NOSUID_NODEV_NOATIME = 2 | 4 | 0x10

# No journal: a volume never outlives its sandbox. One inode for every 16 KiB, as mkfs would.
_MKFS = (
    *("mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "128", "-m", "0"),
    *("-O", "^has_journal,^resize_inode,^metadata_csum,sparse_super2,extent,uninit_bg"),
    *("-E", "lazy_itable_init=1,nodiscard"),
)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


class VolumePool:
    """Makes volumes; keeps some of the usual size ready. Thread-safe; its methods block.

    folder: of the files until they are mounted; on a disk with room.
    """

    def __init__(self, folder: Path, *, ready: int = 2) -> None:
        self._folder = folder
        self._wanted = ready
        self._ready: dict[int, list[int]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._templates: dict[int, Path] = {}

    @staticmethod
    def missing() -> str:
        """Return why volumes are not possible here, or ""."""
        if os.geteuid() != 0:
            return "loop devices are root's"
        if not os.path.exists("/dev/loop-control"):
            return "there is no /dev/loop-control"
        if shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return "mkfs.ext4 is missing"
        return ""

    def take_ready(self, size_mb: int) -> int | None:
        """Return a volume that is ready, or None. Does not block."""
        with self._lock:
            ready = self._ready.get(size_mb)
            return ready.pop() if ready else None

    def refill(self, size_mb: int) -> None:
        """Make volumes of this size until enough are ready; close those of other sizes."""
        while True:
            with self._lock:
                surplus = [fd for size, fds in self._ready.items() if size != size_mb for fd in fds]
                self._ready = {size_mb: self._ready.get(size_mb, [])}
                enough = self._closed or len(self._ready[size_mb]) >= self._wanted
            for fd in surplus:
                os.close(fd)
            if enough:
                return
            fd = self.make(size_mb)
            with self._lock:
                if not self._closed:
                    self._ready.setdefault(size_mb, []).append(fd)
                    continue
            os.close(fd)

    def make(self, size_mb: int) -> int:
        """Return the descriptor of a new mount without a path. Raises OSError."""
        image = self._copy(self._template(size_mb))
        try:
            device, name = self._attach(image)
        finally:
            os.close(image)
        try:
            return self._mount(name)
        finally:
            os.close(device)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            ready, self._ready = self._ready, {}
        for fds in ready.values():
            for fd in fds:
                os.close(fd)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _template(self, size_mb: int) -> Path:
        """Return a formatted file of this size, to be copied; formatting costs more than a copy."""
        with self._lock:
            path = self._templates.get(size_mb)
            if path is not None:
                return path
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{size_mb}.ext4"
        unfinished = self._folder / f".{size_mb}-{threading.get_ident()}"
        # The function can fill the configured size, so the file system's tables are added to it.
        inodes = max(1024, size_mb * 64)
        overhead = inodes * 128 + size_mb * 4096 + (10 << 20)
        with unfinished.open("wb") as file:
            file.truncate((size_mb << 20) + overhead)
        done = subprocess.run(
            [*_MKFS, "-N", str(inodes), unfinished],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        )
        if done.returncode:
            unfinished.unlink(missing_ok=True)
            raise OSError(f"mkfs.ext4: {done.stderr.strip()[:200]}")
        unfinished.rename(path)
        with self._lock:
            self._templates[size_mb] = path
        return path

    def _copy(self, template: Path) -> int:
        """Copy a sparse file to one without a name; return its descriptor."""
        source = os.open(template, os.O_RDONLY | os.O_CLOEXEC)
        try:
            target = os.open(self._folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(source).st_size
                os.ftruncate(target, size)
                at = 0
                while at < size:
                    try:
                        start = os.lseek(source, at, os.SEEK_DATA)
                    except OSError:
                        break  # only a hole is left
                    at = os.lseek(source, start, os.SEEK_HOLE)
                    while start < at:
                        chunk = os.pread(source, min(1 << 20, at - start), start)
                        os.pwrite(target, chunk, start)
                        start += len(chunk)
            except OSError:
                os.close(target)
                raise
            return target
        finally:
            os.close(source)

    def _attach(self, image: int) -> tuple[int, str]:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            for _ in range(64):  # another process may take the free number first
                number = fcntl.ioctl(control, _LOOP_CONTROL_FREE)
                name = f"/dev/loop{number}"
                if not os.path.exists(name):
                    with contextlib.suppress(FileExistsError):
                        os.mknod(name, 0o60600, os.makedev(7, number))
                device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
                info = bytearray(232)
                for flags in (_AUTOCLEAR | _DIRECT_IO, _AUTOCLEAR):
                    struct.pack_into("<I", info, 52, flags)
                    config = struct.pack("<II", image, 0) + bytes(info) + bytes(64)
                    try:
                        fcntl.ioctl(device, _LOOP_CONFIGURE, config)
                        return device, name
                    except OSError:
                        continue
                os.close(device)
            raise OSError("no free loop device")
        finally:
            os.close(control)

    def _mount(self, device: str) -> int:
        context = _call(_FSOPEN, b"ext4", 1)
        try:
            _call(_FSCONFIG, context, _SET_STRING, b"source", device.encode(), 0)
            _call(_FSCONFIG, context, _SET_STRING, b"errors", b"continue", 0)
            _call(_FSCONFIG, context, _CREATE, None, None, 0)
            mount = _call(_FSMOUNT, context, 1, _NOSUID_NODEV_NOATIME)
        finally:
            os.close(context)
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
        try:
            with contextlib.suppress(OSError):
                os.rmdir("lost+found", dir_fd=root)
            os.fchmod(root, 0o1777)
        finally:
            os.close(root)
        return mount
