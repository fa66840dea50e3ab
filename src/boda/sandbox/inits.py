"""The platform's end of an init, and those that are made before they are needed.

Half of what it takes to start a sandbox is the same for every function: the fork, namespaces,
most mounts, the listening sockets, the network. A few inits that have got so far are kept for each
zygote in use, so that a cold start finds one. Law: each becomes the sandbox of one function, once,
and is never used for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from boda.core.tasks import Tasks
from boda.sandbox.contract import SandboxError
from boda.sandbox.zygotes import CLOEXEC, Kind

_END_TIMEOUT_S = 10.0
_PREPARE_TIMEOUT_S = 20.0


class Owner(Protocol):
    """Who has taken an init."""

    def heard(self, said: dict[str, Any]) -> None: ...

    def lost(self, reason: str) -> None:
        """Its socket has closed, for whatever reason; nothing more will be heard."""


class Init:
    """See ``guest/init.py``.

    control: this side of its socket. release: called once, when nothing is left of it.
    pid: as the host sees it; 0 until it has been forked. listeners: the two sockets it opened.
    """

    def __init__(
        self, control: socket.socket, *, isolated: bool, release: Callable[[], None]
    ) -> None:
        self.pid = 0
        self.listeners: list[socket.socket] = []
        self.gone = ""
        """Why it can no longer be reached, or "" while it can."""
        self._control = control
        self._isolated = isolated
        self._release: Callable[[], None] | None = release
        self._owner: Owner | None = None
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        self._forked = asyncio.Event()
        self._prepared = asyncio.Event()
        self._dead = asyncio.Event()
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._hear)

    def belong(self, owner: Owner) -> None:
        """From now on it is this owner's, for good."""
        self._owner = owner
        if self.gone:
            owner.lost(self.gone)

    async def prepared(self) -> None:
        """Return when it waits to be told what to start. SandboxError."""
        try:
            await asyncio.wait_for(self._prepared.wait(), _PREPARE_TIMEOUT_S)
        except TimeoutError:
            raise SandboxError("a sandbox was not made ready in time") from None
        if self.gone:
            raise SandboxError(self.gone)

    def tell(self, command: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """SandboxError when it cannot be told."""
        if self.gone:
            raise SandboxError(self.gone)
        try:
            socket.send_fds(self._control, [json.dumps(command).encode()], fds)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise SandboxError("the environment's variables are too long") from error
            raise SandboxError(f"the sandbox is gone: {error}") from error

    def lose(self, reason: str) -> None:
        """Let go of its socket, which is its end."""
        if self.gone:
            return
        self.gone = reason
        self._forked.set()
        self._prepared.set()
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        if self._owner is not None:
            self._owner.lost(reason)

    def kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def forked(self) -> None:
        """Return when it is known whether there is a process, and which."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._forked.wait(), _END_TIMEOUT_S)

    async def ended(self) -> None:
        """Return when its process has ended, which losing or killing it brings about; then
        nothing is left of it."""
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
        """End one that belongs to nobody."""
        await self.forked()
        if self._isolated:
            self.kill()
        self.lose("it was not needed")
        await self.ended()

    def _hear(self) -> None:
        while not self.gone:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, 1 << 16, 4, CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.lose("the sandbox ended without a word")
                return
            self._understand(json.loads(data), fds)

    def _understand(self, said: dict[str, Any], fds: list[int]) -> None:
        event = said["event"]
        if event == "forked":
            self.pid, self._pidfd = said["pid"], fds[0]
            self._loop.add_reader(self._pidfd, self._died)
            self._forked.set()
        elif event == "prepared":
            self.listeners = [socket.socket(fileno=fd) for fd in fds]
            for listener in self.listeners:
                listener.setblocking(False)
            self._prepared.set()
        elif self._owner is not None:
            self._owner.heard(said)
        else:
            self.lose(f"a sandbox could not be made ready: {said.get('reason')}")

    def _died(self) -> None:
        """It has ended, and in its pid namespace everything else before it."""
        self._loop.remove_reader(self._pidfd)
        self._dead.set()
        self._hear()  # its last words may still be unread
        self.lose("the sandbox ended")


class Inits:
    """Those that wait, a few for each zygote. Any of a zygote's serves for every function that
    is forked from it.

    make: begins to make one. ready: how many to keep for each.
    """

    def __init__(self, make: Callable[[Kind], Awaitable[Init]], *, ready: int = 2) -> None:
        self._make = make
        self._ready = ready
        self._waiting: dict[Kind, list[Init]] = {}
        self._refills: dict[Kind, asyncio.Task[None]] = {}
        self._ending = Tasks()
        self._closed = False

    def take(self, kind: Kind) -> Init | None:
        waiting = self._waiting.get(kind, [])
        while waiting:
            init = waiting.pop(0)
            if not init.gone:
                return init
            self._ending.spawn(init.end())
        return None

    def refill(self, kind: Kind) -> None:
        """Begin to have the wanted number again."""
        if not self._closed and kind not in self._refills:
            self._refills[kind] = asyncio.create_task(self._fill(kind))

    async def _fill(self, kind: Kind) -> None:
        waiting = self._waiting.setdefault(kind, [])
        try:
            while len(waiting) < self._ready and not self._closed:
                init = await self._make(kind)
                try:
                    await init.prepared()
                except BaseException:
                    await init.end()
                    raise
                waiting.append(init)
        except SandboxError:
            pass  # whoever needs one makes it and is told
        finally:
            del self._refills[kind]

    async def drop(self, kind: Kind) -> None:
        """Have none of a zygote that is not needed any more."""
        if kind in self._refills:
            await asyncio.wait({self._refills[kind]})
        await asyncio.gather(*(init.end() for init in self._waiting.pop(kind, [])))

    async def close(self) -> None:
        self._closed = True
        if self._refills:
            await asyncio.wait(list(self._refills.values()))
        every = [init for waiting in self._waiting.values() for init in waiting]
        self._waiting.clear()
        await asyncio.gather(self._ending.drain(), *(init.end() for init in every))
