"""The platform's end of a zygote: start it, order forks, notice its death."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boda.sandbox import plan
from boda.sandbox.contract import Interpreter, SandboxError
from boda.sandbox.host import Host
from boda.sandbox.mode import Mode

LAUNCHER = Path(__file__).parent.parent / "guest" / "launcher.py"
_READY_TIMEOUT_S = 60.0
_LANGUAGE = "C.UTF-8"


class Zygote:
    """One runtime's zygote process. It may die at any time; ``alive`` then turns false.

    library: the prepared folder. mount_point: an empty folder of this zygote's own.
    """

    def __init__(
        self,
        runtime: Interpreter,
        library: Path,
        host: Host,
        mode: Mode,
        mount_point: Path,
        hidden: Sequence[Path],
    ) -> None:
        self.runtime = runtime
        self.library = library
        self._mode = mode
        self._mount_point = mount_point
        self._steps = plan.root(runtime, library, host, hidden) if mode.isolated else []
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._sending = asyncio.Lock()

    @property
    def alive(self) -> bool:
        return self._control is not None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def interpreter(self) -> str:
        """Where the interpreter is, as the runtime process sees it."""
        if not self._mode.isolated:
            return str(self.runtime.interpreter)
        return f"/var/lang/{self.runtime.interpreter.relative_to(self.runtime.prefix)}"

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
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    env={},
                    start_new_session=True,
                )
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
        self._control = ours
        loop.add_reader(ours.fileno(), self._spoke)

    def _order(self) -> dict[str, Any]:
        mode = self._mode
        environ = {
            "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
            "LANG": _LANGUAGE,
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
            ],
            "environ": environ,
        }

    def _check(self, answer: bytes) -> None:
        if not answer:
            raise SandboxError(f"the zygote of {self.runtime.name} died while it was starting")
        said = json.loads(answer)
        if "failed" in said:
            step = said.get("step")
            where = "" if step is None else f" ({self._steps[step].describe()})"
            raise SandboxError(
                f"the root of {self.runtime.name} could not be made{where}: {said['failed']}"
            )

    def _spoke(self) -> None:
        """It says nothing once it is ready, so this is its end."""
        self._drop()

    def _drop(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    async def fork(self, order: Mapping[str, Any], fds: Sequence[int]) -> None:
        """Order an environment. SandboxError when the zygote is gone."""
        data = json.dumps(order).encode()
        async with self._sending:
            while True:
                if self._control is None:
                    raise SandboxError(f"the zygote of {self.runtime.name} has died")
                try:
                    socket.send_fds(self._control, [data], list(fds))
                    return
                except BlockingIOError:
                    await asyncio.sleep(0.001)  # many forks are under way
                except OSError as error:
                    if error.errno == errno.EMSGSIZE:
                        raise SandboxError("the environment's variables are too long") from error
                    self._drop()
                    raise SandboxError(f"the zygote of {self.runtime.name}: {error}") from error

    async def close(self) -> None:
        self._drop()
        await self._end()
        with contextlib.suppress(OSError):
            self._mount_point.rmdir()

    async def _end(self) -> None:
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), 2.0)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
