"""One zygote: the process that sandboxes are forked from, as the platform starts and commands it.

There is one bare zygote per interpreter in use; those of the other tiers are its forks, made when
a function first needs one (``tiers.py``, ``guest/zygote.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boda.sandbox import plan
from boda.sandbox.contract import Interpreter, SandboxError
from boda.sandbox.host import HostFacts
from boda.sandbox.mode import IsolationMode
from boda.sandbox.shared import mapped_bytes, resident_bytes
from boda.sandbox.tiers import Tier

LAUNCHER = Path(__file__).parent.parent / "guest" / "launcher.py"
_READY_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 2.0
CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC, which Python does not name
_LANGUAGE = "C.UTF-8"


class Zygote:
    """One zygote process. It may die at any time; ``alive`` then turns false.

    library: the folder seen as ``/var/runtime``. resident_bytes: its memory when it was ready;
    mapped_bytes: the part of that which is mapped from files. bare_bytes: the memory of the bare
    zygote of its interpreter.
    """

    def __init__(self, runtime: Interpreter, library: Path, mode: IsolationMode) -> None:
        self.runtime = runtime
        self.library = library
        self.pid = 0
        self.resident_bytes = 0
        self.mapped_bytes = 0
        self.bare_bytes = 0
        self._mode = mode
        self._control: socket.socket | None = None
        self._sending = asyncio.Lock()

    @property
    def alive(self) -> bool:
        return self._control is not None

    @property
    def interpreter(self) -> str:
        """The path of the interpreter, as the runtime process sees it."""
        if not self._mode.isolated:
            return str(self.runtime.interpreter)
        return f"/var/lang/{self.runtime.interpreter.relative_to(self.runtime.prefix)}"

    def _listen(self, control: socket.socket) -> None:
        """Take any message for its end: once ready, a zygote sends none."""
        self._control = control
        self.resident_bytes = resident_bytes(self.pid)
        self.mapped_bytes = mapped_bytes(self.pid)
        self.bare_bytes = self.bare_bytes or self.resident_bytes
        asyncio.get_running_loop().add_reader(control.fileno(), self.drop)

    def drop(self) -> None:
        """Give it no more orders, as it has died or shall end."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    async def fork(self, order: bytes, fds: Sequence[int]) -> None:
        """Order a fork (``guest/zygote.py``). Raises SandboxError if the zygote has died."""
        async with self._sending:
            while True:
                if self._control is None:
                    raise SandboxError(f"the zygote of {self.runtime.name} has died")
                try:
                    socket.send_fds(self._control, [order], list(fds))
                    return
                except BlockingIOError:
                    await asyncio.sleep(0.001)  # many forks are under way
                except OSError as error:
                    self.drop()
                    raise SandboxError(f"the zygote of {self.runtime.name}: {error}") from error

    async def close(self) -> None:
        """Return when its process has ended."""
        raise NotImplementedError


class AddressCollision(SandboxError):
    """The addresses of a zygote overlap those of its image, by chance."""


class BareZygote(Zygote):
    """A zygote that is started from the interpreter.

    mount_point: an empty folder of this zygote's own. image: of a template, which its forks become
    instead of loading a function.
    """

    def __init__(
        self,
        runtime: Interpreter,
        library: Path,
        host: HostFacts,
        mode: IsolationMode,
        mount_point: Path,
        hidden: Sequence[Path],
        endpoint_name: str,
        image: int | None = None,
    ) -> None:
        super().__init__(runtime, library, mode)
        self._image = image
        self._mount_point = mount_point
        self._steps = (
            plan.root(runtime, library, host, hidden, endpoint_name) if mode.isolated else []
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return when it is ready to fork. Raises SandboxError that names the failed step."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                if self._mode.isolated:
                    self._mount_point.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", LAUNCHER, str(theirs.fileno())),
                    pass_fds=(theirs.fileno(), *self._image_given),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    env={},
                    start_new_session=True,
                )
            self.pid = self._process.pid
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(ours, json.dumps(self._order()).encode())
            answer = await asyncio.wait_for(loop.sock_recv(ours, 1 << 16), _READY_TIMEOUT_S)
            self._check(answer)
        except BaseException as error:
            ours.close()
            await self._end()
            if isinstance(error, OSError | TimeoutError):
                raise SandboxError(f"the zygote of {self.runtime.name}: {error}") from error
            raise
        self._listen(ours)

    async def grow(self, tier: Tier) -> GrownZygote:
        """Let it fork a zygote of another tier; return when that is ready. Raises SandboxError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        grown = GrownZygote(self.runtime, self.library, self._mode)
        grown.bare_bytes = self.resident_bytes
        try:
            with theirs:
                order = json.dumps({"tier": tier, "fds": ["control"]}).encode()
                await self.fork(order, [theirs.fileno()])
            await asyncio.wait_for(grown.meet(ours), _READY_TIMEOUT_S)
        except BaseException as error:
            ours.close()
            await grown.close()
            if isinstance(error, OSError | TimeoutError):
                raise SandboxError(f"the zygote of {self.runtime.name}: {error}") from error
            raise
        return grown

    @property
    def _image_given(self) -> list[int]:
        return [] if self._image is None else [self._image]

    def _order(self) -> dict[str, Any]:
        mode = self._mode
        environ = {
            "PATH": plan.PATH,
            "LANG": _LANGUAGE,
            # Restartable sequences tie the kernel to addresses that a fork of a template leaves.
            "GLIBC_TUNABLES": "glibc.pthread.rseq=0",
            "PYTHONPATH": "/var/runtime" if mode.isolated else str(self.library),
        }
        if mode.isolated:
            environ["LD_LIBRARY_PATH"] = plan.LIBRARY_PATH
        return {
            "user_namespace": (
                None if mode.privileged else {"uid": os.geteuid(), "gid": os.getegid()}
            ),
            "root": str(self._mount_point) if mode.isolated else None,
            "steps": plan.wire(self._steps),
            "argv": [
                *(self.interpreter, "-s", "-m", "_boda.zygote"),
                "isolated" if mode.isolated else "process",
                *map(str, self._image_given),
            ],
            "environ": environ,
        }

    def _check(self, answer: bytes) -> None:
        if not answer:
            raise SandboxError(f"the zygote of {self.runtime.name} died while it was starting")
        message = json.loads(answer)
        if "again" in message:
            kind = AddressCollision if message["again"] else SandboxError
            raise kind(f"the template's image cannot be used: {message['failed']}")
        if "failed" in message:
            step = message.get("step")
            where = "" if step is None else f" ({self._steps[step].describe()})"
            raise SandboxError(
                f"the root of {self.runtime.name} could not be made{where}: {message['failed']}"
            )

    async def close(self) -> None:
        self.drop()
        await self._end()
        with contextlib.suppress(OSError):
            self._mount_point.rmdir()

    async def _end(self) -> None:
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), _END_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class GrownZygote(Zygote):
    """A fork of a bare zygote that has loaded more modules. It may outlive the bare one."""

    def __init__(self, runtime: Interpreter, library: Path, mode: IsolationMode) -> None:
        super().__init__(runtime, library, mode)
        self._pidfd = -1

    async def meet(self, control: socket.socket) -> None:
        """Return when it is announced and ready, in either order. Raises SandboxError."""
        ready = False
        while not ready or self._pidfd < 0:
            await _readable(control.fileno())
            data, fds, _, _ = socket.recv_fds(control, 1 << 16, 1, CLOEXEC)
            if not data:
                raise SandboxError(f"a zygote of {self.runtime.name} died while it was starting")
            message = json.loads(data)
            if message.get("event") == "forked":
                self.pid, self._pidfd = message["pid"], fds[0]
            elif "ready" in message:
                ready = True
            else:
                raise SandboxError(f"a zygote of {self.runtime.name}: {message['reason']}")
        self._listen(control)

    async def close(self) -> None:
        self.drop()
        if self._pidfd < 0:
            return
        pidfd, self._pidfd = self._pidfd, -1
        try:
            await asyncio.wait_for(_readable(pidfd), _END_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            await _readable(pidfd)
        finally:
            os.close(pidfd)


async def _readable(fd: int) -> None:
    """Return when the descriptor is readable; a pidfd is when its process has ended."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(fd, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(fd)
