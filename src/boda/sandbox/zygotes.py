"""The platform's end of the zygotes: start them, order forks, notice their deaths.

There is one bare zygote per interpreter in use; those of the other tiers are its forks, made when
a function first needs one (``tiers.py``, ``guest/zygote.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from boda.core.errors import PlatformError
from boda.core.locks import Locks
from boda.sandbox import plan
from boda.sandbox.contract import Interpreter, Library, SandboxError
from boda.sandbox.host import Host
from boda.sandbox.mode import Mode
from boda.sandbox.shared import mapped_bytes, resident_bytes
from boda.sandbox.tiers import Tier

_log = logging.getLogger(__name__)
LAUNCHER = Path(__file__).parent.parent / "guest" / "launcher.py"
_READY_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 2.0
_ATTEMPTS = 8
"""A zygote whose addresses meet those of an image is started again, with others."""
CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC, which Python does not name
_LANGUAGE = "C.UTF-8"


class Kind(NamedTuple):
    """Which zygote. Runtimes of one interpreter share it: custom ones use a Python's.

    template: the number of the template whose image its forks go on from; 0 for those of a tier.
    """

    interpreter: Path
    tier: Tier
    template: int = 0


class Zygotes:
    """All zygotes of a platform, started at their first need and again after their death.

    state: where each may have an empty folder. hidden: folders that must not show in a root.
    endpoint_name: a host name of functions' AWS endpoint, or "".
    """

    def __init__(
        self,
        library: Library,
        host: Host,
        mode: Mode,
        state: Path,
        hidden: Sequence[Path],
        *,
        endpoint_name: str = "",
    ) -> None:
        self._endpoint_name = endpoint_name
        self._library = library
        self._host = host
        self._mode = mode
        self._state = state
        self._hidden = hidden
        self._made = 0
        self._closed = False
        self._known: dict[Kind, Zygote] = {}
        self._locks: Locks[Kind] = Locks()
        self._compiling: dict[Path, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[Zygote]:
        return iter([zygote for zygote in self._known.values() if zygote.alive])

    def ready(self, kind: Kind) -> Zygote | None:
        """The zygote, if it is there already."""
        zygote = self._known.get(kind)
        return zygote if zygote is not None and zygote.alive else None

    async def get(self, runtime: Interpreter, tier: Tier) -> Zygote:
        """The zygote, started if need be. SandboxError."""
        key = Kind(runtime.interpreter, tier)
        async with self._locks.of(key):
            zygote = self._known.get(key)
            if zygote is not None:
                if zygote.alive:
                    return zygote
                await zygote.close()
            if tier == "bare":
                zygote = await self._start(runtime)
            else:
                bare = await self.get(runtime, "bare")
                assert isinstance(bare, BareZygote)
                await asyncio.shield(self._compiling[runtime.interpreter])
                zygote = await bare.grow(tier)
            if self._closed:
                await zygote.close()
                raise SandboxError("the sandboxes are closed")
            self._known[key] = zygote
            return zygote

    async def of_image(self, kind: Kind, runtime: Interpreter, image: int) -> Zygote:
        """The one whose forks go on from an image, started if need be. SandboxError.

        image: a descriptor of the image's file, which may not change any more."""
        image = os.dup(image)  # whoever gave it may let go of it meanwhile
        try:
            async with self._locks.of(kind):
                zygote = self._known.get(kind)
                if zygote is not None:
                    if zygote.alive:
                        return zygote
                    await zygote.close()
                for attempt in range(_ATTEMPTS):
                    made = await self._bare(runtime, image)
                    try:
                        await made.start()
                        break
                    except Collision:
                        if attempt == _ATTEMPTS - 1:
                            raise
                if self._closed:
                    await made.close()
                    raise SandboxError("the sandboxes are closed")
                self._known[kind] = made
                return made
        finally:
            os.close(image)

    async def dismiss(self, kind: Kind) -> None:
        """End one that is not needed any more. Its forks live on."""
        async with self._locks.of(kind):
            zygote = self._known.pop(kind, None)
            if zygote is not None:
                await zygote.close()

    async def _bare(self, runtime: Interpreter, image: int | None = None) -> BareZygote:
        try:
            folder = await asyncio.to_thread(self._library.prepare, runtime)
        except (OSError, PlatformError) as error:
            raise _not_laid_out(error) from None
        self._made += 1
        place = self._state / f"root-{self._made}"
        return BareZygote(
            *(runtime, folder, self._host, self._mode, place, self._hidden),
            *(self._endpoint_name, image),
        )

    async def _start(self, runtime: Interpreter) -> Zygote:
        zygote = await self._bare(runtime)
        await zygote.start()
        if runtime.interpreter not in self._compiling:
            task = asyncio.create_task(self._compile(runtime))
            self._compiling[runtime.interpreter] = task
        return zygote

    async def _compile(self, runtime: Interpreter) -> None:
        """What the bare zygote does not need; a function that does not wait for it is slower."""
        try:
            await asyncio.to_thread(self._library.finish, runtime)
        except (OSError, PlatformError) as error:
            _log.warning("%s", _not_laid_out(error))

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*self._compiling.values())
        await asyncio.gather(*(zygote.close() for zygote in self._known.values()))


def _not_laid_out(error: Exception) -> SandboxError:
    """When the disk is full, for example."""
    return SandboxError(f"what functions find beside their code could not be laid out: {error}")


class Zygote:
    """One zygote process. It may die at any time; ``alive`` then turns false.

    library: the folder seen as ``/var/runtime``. resident_bytes: what it had in memory when it was
    ready, mapped_bytes: of that, of files. bare_bytes: what the bare zygote of its interpreter had.
    """

    def __init__(self, runtime: Interpreter, library: Path, mode: Mode) -> None:
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
        """Where the interpreter is, as the runtime process sees it."""
        if not self._mode.isolated:
            return str(self.runtime.interpreter)
        return f"/var/lang/{self.runtime.interpreter.relative_to(self.runtime.prefix)}"

    def _listen(self, control: socket.socket) -> None:
        """It says nothing once it is ready, so whatever comes is its end."""
        self._control = control
        self.resident_bytes = resident_bytes(self.pid)
        self.mapped_bytes = mapped_bytes(self.pid)
        self.bare_bytes = self.bare_bytes or self.resident_bytes
        asyncio.get_running_loop().add_reader(control.fileno(), self._drop)

    def _drop(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    async def fork(self, order: bytes, fds: Sequence[int]) -> None:
        """Give an order (``guest/zygote.py``). SandboxError when the zygote is gone."""
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
                    self._drop()
                    raise SandboxError(f"the zygote of {self.runtime.name}: {error}") from error

    async def close(self) -> None:
        """Return when its process has ended."""
        raise NotImplementedError


class Collision(SandboxError):
    """The addresses of a zygote meet those of its image, by chance."""


class BareZygote(Zygote):
    """The first zygote of an interpreter, started afresh.

    mount_point: an empty folder of this zygote's own. image: of a template, from which its forks
    go on instead of loading a function.
    """

    def __init__(
        self,
        runtime: Interpreter,
        library: Path,
        host: Host,
        mode: Mode,
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
        """Return when it is ready to fork. SandboxError with the step that failed."""
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
        """Have it fork a zygote of another tier; return when that is ready. SandboxError."""
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
        said = json.loads(answer)
        if "again" in said:
            kind = Collision if said["again"] else SandboxError
            raise kind(f"the template's image cannot be used: {said['failed']}")
        if "failed" in said:
            step = said.get("step")
            where = "" if step is None else f" ({self._steps[step].describe()})"
            raise SandboxError(
                f"the root of {self.runtime.name} could not be made{where}: {said['failed']}"
            )

    async def close(self) -> None:
        self._drop()
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
    """A fork of a bare zygote that has loaded more. It outlives the one it came from."""

    def __init__(self, runtime: Interpreter, library: Path, mode: Mode) -> None:
        super().__init__(runtime, library, mode)
        self._pidfd = -1

    async def meet(self, control: socket.socket) -> None:
        """Return when it is announced and ready, whichever is told first. SandboxError."""
        ready = False
        while not ready or self._pidfd < 0:
            await _readable(control.fileno())
            data, fds, _, _ = socket.recv_fds(control, 1 << 16, 1, CLOEXEC)
            if not data:
                raise SandboxError(f"a zygote of {self.runtime.name} died while it was starting")
            said = json.loads(data)
            if said.get("event") == "forked":
                self.pid, self._pidfd = said["pid"], fds[0]
            elif "ready" in said:
                ready = True
            else:
                raise SandboxError(f"a zygote of {self.runtime.name}: {said['reason']}")
        self._listen(control)

    async def close(self) -> None:
        self._drop()
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
    """Return when there is something to read; of a pidfd, when its process has ended."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(fd, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(fd)
