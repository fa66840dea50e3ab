"""The socket pair between the platform and a runtime process, over which no descriptors travel.

Law: the platform never closes a file that a function opened. To close a TCP socket that lingers
takes as long as the function said, and whoever closes it last waits: for a platform of one thread
that is the end. Linux can refuse such messages to their sender since 6.16 (``SO_PASSRIGHTS``,
socket(7)); on older kernels a process that ends at once takes them with it, since the end of a
process waits for no socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence

_SO_PASSRIGHTS = 83
_MOST = 253
"""Descriptors that one message can carry (SCM_MAX_FD)."""

_ROOM = socket.CMSG_SPACE(_MOST * struct.calcsize("i"))
_HOLDER = (sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()")


def pair() -> tuple[socket.socket, socket.socket]:
    """The platform's end and the runtime's. OSError."""
    ours, theirs = socket.socketpair()
    try:
        ours.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        ours = GuardedSocket(fileno=ours.detach())
    return ours, theirs


class GuardedSocket(socket.socket):
    """The platform's end where the kernel lets descriptors through."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """ConnectionAbortedError: descriptors came along, which no honest runtime sends."""
        data, rights, _, _ = self.recvmsg(bufsize, _ROOM, flags | socket.MSG_CMSG_CLOEXEC)
        if rights:
            _let_go([fd for _, _, packed in rights for (fd,) in struct.iter_unpack("i", packed)])
            raise ConnectionAbortedError("the runtime sent descriptors")
        return data

    def close(self) -> None:
        """What was not read may carry some as well. Call it when the runtime has ended."""
        if self.fileno() >= 0 and _unread(self.fileno()):
            _let_go([self.detach()])
        else:
            super().close()


def _unread(fd: int) -> bool:
    return any(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))


def _let_go(fds: Sequence[int]) -> None:
    """Close them without waiting: by the end of a process that has them last."""

    def hand_over() -> None:
        holder = None
        with contextlib.suppress(OSError):
            holder = subprocess.Popen(_HOLDER, stdin=subprocess.PIPE, pass_fds=fds)
        for fd in fds:
            os.close(fd)
        if holder is not None:
            holder.communicate()

    threading.Thread(target=hand_over, name="boda-let-go", daemon=True).start()
