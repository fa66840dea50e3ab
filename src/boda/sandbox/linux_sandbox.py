"""One sandbox on Linux, from the start of its runtime process to its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from boda.core.clock import Clock
from boda.sandbox import channel
from boda.sandbox.cgroups.contract import Cgroup
from boda.sandbox.contract import Exit, ResourceUsage, SandboxError, SandboxSpec
from boda.sandbox.init_process import InitProcess
from boda.sandbox.shared import limit_bytes, mapped_bytes

START_TIMEOUT_S = 20.0
BOOST_S = 10.0
"""The time for which a starting runtime may use a whole vCPU at most."""
_END_TIMEOUT_S = 10.0
_WORTH_BYTES = 1 << 20
"""Bytes of mapped files that are worth another limit."""


class RuntimePipes:
    """The platform's ends of a runtime process's channel, console and log.

    guest_ends: the descriptors of the other ends, until ``close_guest_ends``.
    """

    def __init__(self) -> None:
        self.channel, self._guest_channel = channel.pair()
        self.channel.setblocking(False)
        self.console, self._guest_console = os.pipe()
        self.log, self._guest_log = os.pipe()
        os.set_blocking(self.console, False)
        os.set_blocking(self.log, False)

    @property
    def guest_ends(self) -> tuple[int, int, int]:
        return (self._guest_channel.fileno(), self._guest_log, self._guest_console)

    def close_guest_ends(self) -> None:
        """Close the guest's ends, once the guest has copies."""
        self._guest_channel.close()
        for name in ("_guest_console", "_guest_log"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)

    def close(self) -> None:
        self.close_guest_ends()
        self.channel.close()
        for name in ("console", "log"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)


class LinuxSandbox:
    """See ``Sandbox``. Made by ``LinuxSandboxes``; ``release`` is called after its end.

    marks: when each part of the start was done, on the machine's monotonic clock, in seconds.
    """

    channel: socket.socket
    console: int
    log: int
    runtime_api: socket.socket
    endpoint: socket.socket
    began_s: float
    marks: list[tuple[str, float]]

    def __init__(
        self,
        spec: SandboxSpec,
        init: InitProcess,
        pipes: RuntimePipes,
        group: Cgroup,
        *,
        isolated: bool,
        cpu: float,
        clock: Clock,
        name_step: Callable[[int], str],
        release: Callable[[], Awaitable[None]],
        adapt: Callable[[Mapping[str, str]], dict[str, str]] = dict,
        lasting: bool = True,
        beside: Callable[[], int] | None = None,
        shared_bytes: int = 0,
        mapped_bytes: int | None = None,
    ) -> None:
        """adapt: converts variables for a sandbox without a root of its own. lasting: whether its
        runtime may be started again. beside: returns the memory that the platform holds for it, in
        bytes. shared_bytes: the memory that it shares with others at its start; mapped_bytes: the
        part of that which its runtime maps from files, None if files are not to be counted
        (``shared.py``).
        """
        self.spec = spec
        self.shared_bytes = self._begun_with_bytes = shared_bytes
        self._mapped_bytes = mapped_bytes
        self.began_s = 0.0
        self.marks = []
        self._init = init
        self._pipes = pipes
        self._take_ends()
        self._group = group
        self._isolated = isolated
        self._cpu = cpu
        self._clock = clock
        self._name_step = name_step
        self._release = release
        self._adapt = adapt
        self._lasting = lasting
        self._beside = beside
        self._loop = asyncio.get_running_loop()
        self._generation = 0
        self._running: asyncio.Future[None] = self._loop.create_future()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._kills_seen = 0
        self._boost: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._stopped = False
        init.belong(self)

    @property
    def pid(self) -> int:
        return self._init.pid

    # unread.WatchedSandbox

    @property
    def awake(self) -> bool:
        return not self._stopped and self._ending is None

    @property
    def unread_limit(self) -> int:
        return self.spec.memory_mb << 18  # a quarter, as of other sockets

    def end_runtime(self) -> None:
        self._send({"op": "signal", "signal": signal.SIGKILL})

    # Starting

    async def launch(self, order: dict[str, Any], fds: Mapping[str, int]) -> None:
        """Order the init to start; return when the runtime process runs its bootstrap.

        Raises SandboxError.
        """
        self._init.send({"op": "start", **order, "fds": list(fds)}, list(fds.values()))
        self._pipes.close_guest_ends()
        await self.started()

    async def started(self) -> None:
        """Return when the runtime process runs its bootstrap. Raises SandboxError."""
        self._lend_cpu()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await asyncio.shield(self._running)
        except TimeoutError as error:
            raise SandboxError("the sandbox did not start in time") from error

    async def restart(self, environment: Mapping[str, str]) -> None:
        if self._init.lost or self._ending is not None:
            raise SandboxError("the sandbox is gone")
        if not self._lasting:
            raise SandboxError("templates and what is forked of them start once")
        self.thaw()
        self._retire_exit()
        self._group.ran_full()
        self._generation += 1
        self._running = self._loop.create_future()
        self._exit = self._loop.create_future()
        before, self._pipes = self._pipes, RuntimePipes()
        self._take_ends()
        command = {
            "op": "restart",
            "generation": self._generation,
            "environ": self._adapt(environment),
        }
        try:
            try:
                self._init.send(command, self._pipes.guest_ends)
            finally:
                self._pipes.close_guest_ends()
            await self.started()
        finally:
            before.close()  # once the process that wrote into them has ended

    def _take_ends(self) -> None:
        self.channel = self._pipes.channel
        self.console, self.log = self._pipes.console, self._pipes.log

    def _retire_exit(self) -> None:
        """Let ``wait_runtime`` of the previous process return that it was killed."""
        self._end_with(Exit(None, signal.SIGKILL))

    def _end_with(self, end: Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(end)

    # InitOwner

    def init_reported(self, message: dict[str, Any]) -> None:
        event = message["event"]
        if event == "running":
            self.began_s = message["began_s"]
            self.marks += [(name, at) for name, at in message["marks"]]
            self.runtime_api, self.endpoint = self._init.listeners
            if message["generation"] == self._generation and not self._running.done():
                self._running.set_result(None)
        elif event == "exit":
            if message["generation"] == self._generation and not self._exit.done():
                self._exit.set_result(self._exit_of(message["status"], message["signal"]))
        elif event == "failed":
            step = message.get("step")
            where = "" if step is None else f" ({self._name_step(step)})"
            self._init.lose(f"the sandbox could not be made{where}: {message['reason']}")

    def init_lost(self, reason: str) -> None:
        if not self._running.done():
            self._running.set_exception(SandboxError(reason))
            self._running.exception()  # it may not be awaited any more
        if self._isolated:
            # Its init is out of the function's reach: nobody but the kernel ends it.
            self._end_with(Exit(None, signal.SIGKILL, machine=self._ending is None))
        else:
            self._end_with(self._exit_of(None, signal.SIGKILL))

    def _exit_of(self, status: int | None, number: int | None) -> Exit:
        if number != signal.SIGKILL:
            return Exit(status, number)
        kills, own = self._group.oom_kills(), self._group.ran_full()
        killed, self._kills_seen = kills > self._kills_seen, kills
        return Exit(status, number, killed and own, killed and not own)

    def _send(self, command: dict[str, Any]) -> None:
        with contextlib.suppress(SandboxError):
            self._init.send(command)

    # The runtime process

    async def wait_runtime(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def stop_runtime(self, grace_s: float = 0.0) -> None:
        self.thaw()
        if grace_s > 0 and not self._exit.done():
            self._send({"op": "signal", "signal": signal.SIGTERM})
            timer = asyncio.ensure_future(self._clock.sleep(grace_s))
            waited: set[asyncio.Future[Any]] = {timer, self._exit}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
        self._send({"op": "signal", "signal": signal.SIGKILL})
        await asyncio.wait({self._exit}, timeout=_END_TIMEOUT_S)

    # Resources

    def freeze(self) -> None:
        self._stopped = True
        if self._group.freezer is not None:
            self._group.freeze()
        else:
            self._send({"op": "signal", "signal": signal.SIGSTOP})

    def thaw(self) -> None:
        if not self._stopped:
            return
        self._stopped = False
        if self._group.freezer is not None:
            self._group.thaw()
        else:
            self._send({"op": "signal", "signal": signal.SIGCONT})

    def usage(self) -> ResourceUsage:
        usage = self._group.usage()
        if self._beside is None:
            return usage
        return dataclasses.replace(usage, memory_bytes=usage.memory_bytes + self._beside())

    def peak_bytes(self) -> int:
        return self._group.peak_bytes()

    def reset_peak(self) -> None:
        self._group.reset_peak()

    def init_done(self) -> None:
        self._limit_cpu()
        self._count_files()

    def _count_files(self) -> None:
        if self._mapped_bytes is None:
            return
        mapped = max((mapped_bytes(pid) for pid in self._group.processes()), default=0)
        more = mapped - self._mapped_bytes
        if more >= _WORTH_BYTES:
            self.shared_bytes = self._begun_with_bytes + more
            left = limit_bytes(self.spec.memory_mb, self.shared_bytes)
            # Memory that init has taken is not taken back; the function only gets no more.
            self._group.lower_memory(max(left, self._group.usage().memory_bytes + _WORTH_BYTES))

    def _limit_cpu(self) -> None:
        if self._boost is not None:
            self._boost.cancel()
            self._boost = None
            self._group.set_cpu(self._cpu)

    def _lend_cpu(self) -> None:
        if self._cpu < 1.0:
            if self._generation:  # the first time, the group was made so
                self._limit_cpu()
                self._group.set_cpu(1.0)
            self._boost = asyncio.create_task(self._take_cpu_back())

    async def _take_cpu_back(self) -> None:
        await self._clock.sleep(BOOST_S)
        self._boost = None
        self._group.set_cpu(self._cpu)

    # The end

    async def destroy(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self._boost is not None:
            self._boost.cancel()
            self._boost = None
        # Its fork may be under way: only a known process can be ended.
        await self._init.forked()
        if self._isolated:
            self._init.kill()
        self._group.kill()
        self.thaw()
        self._init.lose("the sandbox was destroyed")
        await self._init.ended()
        self._pipes.close()
        for pause_s in (0.0, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0):
            await asyncio.sleep(pause_s)
            if self._group.remove():
                break
        await self._release()
