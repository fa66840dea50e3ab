"""The platform's end of an init: the process that makes a sandbox and stays its first process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from boda.sandbox.contract import SandboxError
from boda.sandbox.zygote import CLOEXEC

_END_TIMEOUT_S = 10.0
_PREPARE_TIMEOUT_S = 20.0


class InitOwner(Protocol):
    """The sandbox that an init belongs to."""

    def init_reported(self, message: dict[str, Any]) -> None: ...

    def init_lost(self, reason: str) -> None:
        """Called after the init's socket has closed, for whatever reason."""


class InitProcess:
    """Commands one init, and receives its reports; see ``guest/init.py``.

    control: the platform's end of its socket. release: called once, after its end. pid: as the
    host sees it; 0 until it has been forked. listeners: the two listening sockets that it opened.
    lost: why it cannot be reached any more, or "". unborn: whether its socket closed before a word
    came, which no living zygote lets happen.
    """

    def __init__(
        self, control: socket.socket, *, isolated: bool, release: Callable[[], None]
    ) -> None:
        self.pid = 0
        self.listeners: list[socket.socket] = []
        self.lost = ""
        self.unborn = False
        self._control = control
        self._isolated = isolated
        self._release: Callable[[], None] | None = release
        self._owner: InitOwner | None = None
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        self._forked = asyncio.Event()
        self._prepared = asyncio.Event()
        self._dead = asyncio.Event()
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._receive)

    def belong(self, owner: InitOwner) -> None:
        """Give it to an owner, for good."""
        self._owner = owner
        if self.lost:
            owner.init_lost(self.lost)

    async def prepared(self) -> None:
        """Return when it waits for its order to start. Raises SandboxError if it cannot."""
        try:
            await asyncio.wait_for(self._prepared.wait(), _PREPARE_TIMEOUT_S)
        except TimeoutError:
            raise SandboxError("a sandbox was not made ready in time") from None
        if self.lost:
            raise SandboxError(self.lost)

    def send(self, command: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a command. Raises SandboxError if it cannot be sent."""
        if self.lost:
            raise SandboxError(self.lost)
        try:
            socket.send_fds(self._control, [json.dumps(command).encode()], fds)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise SandboxError("the environment's variables are too long") from error
            self._receive()  # why it ended may still be unread
            raise SandboxError(self.lost or f"the sandbox is gone: {error}") from error

    def lose(self, reason: str) -> None:
        """Close its socket, which makes it end."""
        if self.lost:
            return
        self.lost = reason
        self._forked.set()
        self._prepared.set()
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        if self._owner is not None:
            self._owner.init_lost(reason)

    def kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def forked(self) -> None:
        """Return when the process has been forked, or never will be."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._forked.wait(), _END_TIMEOUT_S)

    async def ended(self) -> None:
        """Return when its process has ended, after ``lose`` or ``kill``, and release it."""
        if self._pidfd >= 0:
            try:
                await asyncio.wait_for(self._dead.wait(), _END_TIMEOUT_S)
            except TimeoutError:
                self.kill()
                self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        for listener in self.listeners:
            listener.close()
        release, self._release = self._release, None
        if release is not None:
            release()

    async def end(self) -> None:
        """End an init that has no owner."""
        await self.forked()
        if self._isolated:
            self.kill()
        self.lose("it was not needed")
        await self.ended()

    def _receive(self) -> None:
        while not self.lost:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, 1 << 16, 4, CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.unborn = not self.pid
                self.lose("the sandbox ended without a word")
                return
            self._handle(json.loads(data), fds)

    def _handle(self, message: dict[str, Any], fds: list[int]) -> None:
        event = message["event"]
        if event == "forked":
            self.pid, self._pidfd = message["pid"], fds[0]
            self._loop.add_reader(self._pidfd, self._died)
            self._forked.set()
        elif event == "prepared":
            self.listeners = [socket.socket(fileno=fd) for fd in fds]
            for listener in self.listeners:
                listener.setblocking(False)
            self._prepared.set()
        elif self._owner is not None:
            self._owner.init_reported(message)
        else:
            self.lose(f"a sandbox could not be made ready: {message.get('reason')}")

    def _died(self) -> None:
        """Called when it has ended, as have all other processes of its pid namespace."""
        self._loop.remove_reader(self._pidfd)
        self._dead.set()
        self._receive()  # its last report may still be unread
        self.lose("the sandbox ended")
