"""The image of a function that is initialised, and the zygote whose forks go on from it.

The template's own runtime process, which is hostile like any other, writes the image into a pipe;
here it is taken from there, counted, into a file in memory that is then sealed: nobody can change
it any more, whoever has it open. What is in it the platform never looks at. A zygote of its own
puts it where it belongs and forks; only a process that has given up all power becomes what the
image is of (``guest/template_restore.py``). So a fork of a template is a sandbox like any other
one, and no process of the template has a part in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path

from boda.sandbox.contract import SandboxError
from boda.sandbox.zygotes import Kind

OWN_MB = 192
"""What an image may take beyond the function's memory and /tmp: the interpreter and its modules,
which are not the function's, and the image's own lists."""

MACHINES = ("x86_64",)
"""Those that ``guest/template_machine.py`` knows."""

_HEAD = struct.Struct(">QIIQ")
"""Of an image: how long it is, two lengths that are not the platform's business, and how much of
its end is a tar of /tmp."""
_PIPE_BYTES = 1 << 20
_LATE_S = 2.0
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MOVABLE = 0x01  # splice: SPLICE_F_MOVE


def missing(
    *, isolated: bool, machine: str | None = None, smaps: Path = Path("/proc/self/smaps")
) -> str:
    """Why there can be no templates here; "" where there can."""
    if not isolated:
        return "plain processes have no addresses of their own, and what is initialised keeps its"
    machine = machine or os.uname().machine
    if machine not in MACHINES:
        return f"templates need a processor of the kind {' or '.join(MACHINES)}, not {machine}"
    if not smaps.with_name("pagemap").exists():
        return "this kernel does not say which pages a process has of its own"
    with contextlib.suppress(OSError):
        inside = False
        for line in smaps.read_text().splitlines():
            if line.endswith("]") or "-" in line.split(" ", 1)[0]:
                inside = line.endswith("[vdso]")
            elif inside and line.startswith("VmFlags:") and "sl" in line.split():
                return "this kernel seals its pages in processes, so no image can be gone on from"
    return ""


class Template:
    """One template's image. kind: of its zygote. limit: in bytes."""

    def __init__(self, kind: Kind, limit: int) -> None:
        self.kind = kind
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._pipe, self.there = os.pipe()
        """``there`` is the template's end."""
        os.set_blocking(self._pipe, False)
        with contextlib.suppress(OSError):  # an ordinary user may have used up what pipes may take
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._image = os.memfd_create("template", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._head = b""
        self._left = 0
        self._whole: asyncio.Future[None] = self._loop.create_future()
        self._reading = False
        self._closed = False

    def begin(self) -> None:
        """Take what the template writes; its end is with the template now."""
        self._close_there()
        self._reading = True
        self._loop.add_reader(self._pipe, self._take)

    def _take(self) -> None:
        """No more than a pipe full, so that others get their turn."""
        try:
            if len(self._head) < _HEAD.size:
                self._begin_image()
            elif self._left:
                count = os.splice(
                    self._pipe, self._image, min(self._left, _PIPE_BYTES), flags=_MOVABLE
                )
                self._left -= count
                if not count:
                    raise SandboxError("the template ended before its image was complete")
            if len(self._head) == _HEAD.size and not self._left:
                fcntl.fcntl(self._image, fcntl.F_ADD_SEALS, _SEALS)
                self._stop(None)
        except BlockingIOError:
            return
        except SandboxError as error:
            self._stop(error)
        except OSError as error:
            self._stop(SandboxError(f"the image could not be taken: {error}"))

    def _begin_image(self) -> None:
        data = os.read(self._pipe, _HEAD.size - len(self._head))
        if not data:
            raise SandboxError("the template ended before its image was complete")
        self._head += data
        if len(self._head) == _HEAD.size:
            (size, _, _, tar) = _HEAD.unpack(self._head)
            if not len(self._head) < size <= self._limit:
                raise SandboxError(f"an image of {size} bytes is more than {self._limit}")
            if tar > size - len(self._head):
                raise SandboxError("an image that is longer than it is")
            os.write(self._image, self._head)
            self._left = size - len(self._head)

    def _stop(self, error: SandboxError | None) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
        if not self._whole.done():
            if error is None:
                self._whole.set_result(None)
            else:
                self._whole.set_exception(error)
                self._whole.exception()  # perhaps nobody forks it

    async def complete(self) -> None:
        """Return when the image is; that is soon after the template has said so. SandboxError."""
        try:
            await asyncio.wait_for(asyncio.shield(self._whole), _LATE_S)
        except TimeoutError:
            raise SandboxError("the template has no snapshot yet") from None

    async def completed(self) -> bool:
        """Whether there is an image, once that is known."""
        await asyncio.wait({self._whole})
        return self._whole.exception() is None

    async def files(self) -> int | None:
        """A file with what was in the template's /tmp, for one fork and its own to close; None
        where that is nothing. SandboxError, OSError.

        No two forks are given the same one: it would be a way from one to the other."""
        (size, _, _, tar) = _HEAD.unpack(self._head)
        if not tar:
            return None
        image = os.dup(self.image)
        try:
            return await asyncio.to_thread(_copy, image, size - tar, tar)
        finally:
            os.close(image)

    @property
    def image(self) -> int:
        """The image's file. SandboxError when it is gone."""
        if self._closed:
            raise SandboxError("the template is gone")
        return self._image

    def size_bytes(self) -> int:
        """What it takes so far: the image, which its zygote has in memory once more."""
        return 0 if self._closed else 2 * os.fstat(self._image).st_size

    def _close_there(self) -> None:
        if self.there >= 0:
            os.close(self.there)
            self.there = -1

    def close(self) -> None:
        """Let go of the image. What was forked of it goes on. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._close_there()
        if self._reading:
            self._stop(SandboxError("the template is gone"))
        elif not self._whole.done():
            os.close(self._pipe)
            self._whole.set_exception(SandboxError("the template is gone"))
            self._whole.exception()
        os.close(self._image)


def _copy(source: int, at: int, count: int) -> int:
    made = os.memfd_create("files", os.MFD_CLOEXEC)
    try:
        while count:
            copied = os.sendfile(made, source, at, count)
            if not copied:
                raise OSError(errno.EIO, "the image is cut off")
            at, count = at + copied, count - copied
        os.lseek(made, 0, os.SEEK_SET)
    except BaseException:
        os.close(made)
        raise
    return made
