"""The image of an initialised function, and the zygote whose forks go on from it.

The template's own runtime process, which is hostile like any other, writes the image into a pipe;
here the bytes are moved, counted, into a file in memory that is then sealed: nobody can change it
any more, also with an open descriptor. The platform never looks into the image. A zygote of its own
maps it and forks; a fork gives up all power before it becomes the process of the image
(``guest/template_restore.py``). So a fork of a template is a sandbox like any other, and no process
of the template has a part in it.
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
from boda.sandbox.zygote_pool import ZygoteKey

OWN_MB = 192
"""Allowed for an image beyond the function's memory and /tmp: for the interpreter and its modules,
which are not the function's, and for the image's own lists."""

MACHINES = ("x86_64",)
"""The machines that ``guest/template_machine.py`` knows."""

_HEAD = struct.Struct(">QIIQ")
"""The head of an image: its length, two lengths that the platform ignores, and the length of the
tar of /tmp at its end."""
_PIPE_BYTES = 1 << 20
_LATE_S = 2.0
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MOVABLE = 0x01  # splice: SPLICE_F_MOVE


def templates_missing(
    *, isolated: bool, machine: str | None = None, smaps: Path = Path("/proc/self/smaps")
) -> str:
    """Return why templates are not possible here, or ""."""
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


class TemplateImage:
    """Receives and keeps the image of one template.

    key: of its zygote. limit: in bytes. template_end: the end of the pipe for the template.
    """

    def __init__(self, key: ZygoteKey, limit: int) -> None:
        self.key = key
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._pipe, self.template_end = os.pipe()
        os.set_blocking(self._pipe, False)
        with contextlib.suppress(OSError):  # an ordinary user has a limit for all pipes together
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._image = os.memfd_create("template", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._head = b""
        self._left = 0
        self._whole: asyncio.Future[None] = self._loop.create_future()
        self._reading = False
        self._closed = False

    def receive(self) -> None:
        """Start to receive the image, once the template has its end of the pipe."""
        self._close_template_end()
        self._reading = True
        self._loop.add_reader(self._pipe, self._take)

    def _take(self) -> None:
        """Move at most one pipe full, so that the event loop is not held up."""
        try:
            if len(self._head) < _HEAD.size:
                self._take_head()
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

    def _take_head(self) -> None:
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
                self._whole.exception()  # it may never be awaited

    async def complete(self) -> None:
        """Return when the image is complete, soon after the template has said so.

        Raises SandboxError if it is not.
        """
        try:
            await asyncio.wait_for(asyncio.shield(self._whole), _LATE_S)
        except TimeoutError:
            raise SandboxError("the template has no snapshot yet") from None

    async def completed(self) -> bool:
        """Wait for the end of the image, good or bad; return whether it is complete."""
        await asyncio.wait({self._whole})
        return self._whole.exception() is None

    async def files(self) -> int | None:
        """Return a new file with the contents of the template's /tmp; None if that was empty.

        The caller closes it. Each fork gets a file of its own: a shared one would connect them.
        Raises SandboxError or OSError.
        """
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
        """The image's file. Raises SandboxError after ``close``."""
        if self._closed:
            raise SandboxError("the template is gone")
        return self._image

    def size_bytes(self) -> int:
        """Return its memory so far: the image, and the zygote's copy of it."""
        return 0 if self._closed else 2 * os.fstat(self._image).st_size

    def _close_template_end(self) -> None:
        if self.template_end >= 0:
            os.close(self.template_end)
            self.template_end = -1

    def close(self) -> None:
        """Close the image. Its forks live on. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._close_template_end()
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
