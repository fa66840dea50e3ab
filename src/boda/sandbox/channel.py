"""The socket pair between the platform and a runtime process, which passes no descriptors.

Law: the platform never closes a file that a function opened. Closing a TCP socket that lingers
takes as long as the function has set, and the process that closes it last waits: a platform of one
thread would stand still. Since 6.16 Linux can refuse such messages to their sender
(``SO_PASSRIGHTS``, socket(7)); on older kernels a process that exits at once takes the descriptors
along, since the exit of a process waits for no socket.
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
    """Return the platform's end and the runtime's end. Raises OSError."""
    ours, theirs = socket.socketpair()
    try:
        ours.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        ours = GuardedSocket(fileno=ours.detach())
    return ours, theirs


class GuardedSocket(socket.socket):
    """The platform's end on a kernel that lets descriptors through."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive bytes. Raises ConnectionAbortedError if descriptors came along."""
        data, rights, _, _ = self.recvmsg(bufsize, _ROOM, flags | socket.MSG_CMSG_CLOEXEC)
        if rights:
            passed = [fd for _, _, packed in rights for (fd,) in struct.iter_unpack("i", packed)]
            _close_elsewhere(passed)
            raise ConnectionAbortedError("the runtime sent descriptors")
        return data

    def close(self) -> None:
        """Close the socket, after the runtime has ended. Unread messages may carry descriptors."""
        if self.fileno() >= 0 and _unread(self.fileno()):
            _close_elsewhere([self.detach()])
        else:
            super().close()


def _unread(fd: int) -> bool:
    return any(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))


def _close_elsewhere(fds: Sequence[int]) -> None:
    """Close descriptors without waiting, by the exit of a process that has them last."""

    def hand_over() -> None:
        holder = None
        with contextlib.suppress(OSError):
            holder = subprocess.Popen(_HOLDER, stdin=subprocess.PIPE, pass_fds=fds)
        for fd in fds:
            os.close(fd)
        if holder is not None:
            holder.communicate()

    threading.Thread(target=hand_over, name="boda-let-go", daemon=True).start()
