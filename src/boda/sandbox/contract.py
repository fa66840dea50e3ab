"""Sandboxes, as the rooms above see them.

A sandbox is a set of namespaces, limits and mounts with an init process (``guest/init.py``) that
the zygote of its runtime forked. The init starts the runtime process (``guest/bootstrap.py`` or
``/var/task/bootstrap``), reaps it and reports its end; it can start it again in the same sandbox,
with ``/tmp`` kept, which is what a reset is.

The platform opens, before the sandbox starts, and hands over:
  channel   a Unix stream socket pair: framed messages with the bootstrap (``runtime/frames.py``)
  console   a pipe: everything the runtime process and its children write to fd 1 and 2
  log       a pipe: framed records of the bootstrap (print and logging, with times)
and receives from inside the sandbox's own network namespace two listening TCP sockets:
  runtime_api  127.0.0.1:9001   the Runtime API over HTTP
  endpoint     127.0.0.1:4566   the AWS endpoint of functions
A sandbox is identified by the socket on which a request arrives, never by a token.

A template is a sandbox that initialises a function once, for many sandboxes to start from
(SnapStart). Its bootstrap sends SNAPSHOTTED instead of READY; then its processes end and
``wait_runtime`` returns, and the image of its memory and the contents of its /tmp are kept until
``destroy``. ``Sandboxes.fork`` makes sandboxes from it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


class Interpreter(Protocol):
    """An entry of the catalogue of runtimes, as the sandbox needs it.

    prefix: the installation; interpreter: the executable below it. kind: whether the sandbox runs
    the Python bootstrap or ``/var/task/bootstrap``.
    """

    @property
    def name(self) -> str: ...
    @property
    def interpreter(self) -> Path: ...
    @property
    def version(self) -> str: ...
    @property
    def prefix(self) -> Path: ...
    @property
    def kind(self) -> Literal["python", "provided"]: ...


class Library(Protocol):
    """Makes the folder that functions see as ``/var/runtime``."""

    def prepare(self, runtime: Interpreter) -> Path:
        """Return the folder, complete, with the guest compiled for this interpreter. Blocking."""

    def finish(self, runtime: Interpreter) -> None:
        """Compile the rest for this interpreter, after ``prepare``. Blocking."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """The description of a sandbox to make.

    sandbox_id: unique, safe in file names. runtime: an identifier of the catalogue.
    environment: all variables of the runtime process. processes: processes and threads together.
    CPU follows memory: 1 vCPU per 1,769 MB. network: outbound internet if the machine permits it.
    template: the runtime process initialises the function and runs its before-snapshot hooks, and
    is then kept as an image; see ``Sandboxes.fork``. architecture: of the code; "": any.
    """

    sandbox_id: str
    runtime: str
    code_dir: Path
    layer_dirs: tuple[Path, ...] = ()
    memory_mb: int = 128
    ephemeral_mb: int = 512
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1024
    open_files: int = 1024
    network: bool = True
    template: bool = False
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a runtime process. One of status and signal is set.

    status: exit status 0–255. signal: the signal's number. oom: killed because the sandbox was at
    its own limit of memory. machine: killed by the kernel below that limit, for the machine's
    memory, or with its init; the function is not at fault.
    """

    status: int | None
    signal: int | None
    oom: bool = False
    machine: bool = False


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """The use of a sandbox. memory_bytes: now, including a template's image. peak_bytes: the
    highest since the last reset_peak. cpu_s: seconds."""

    memory_bytes: int
    peak_bytes: int
    cpu_s: float


class Sandbox(Protocol):
    """A running sandbox. Every method is safe after its end.

    channel, console and log are the platform's ends for the present runtime process; ``restart``
    replaces them. All are non-blocking. shared_bytes: memory that it shares with other sandboxes,
    and that counts as used all the same. began_s: the start of the present runtime process, on the
    machine's monotonic clock.
    """

    spec: SandboxSpec
    channel: socket.socket
    console: int
    log: int
    runtime_api: socket.socket
    endpoint: socket.socket
    shared_bytes: int
    began_s: float

    @property
    def pid(self) -> int:
        """The id of the init process, as the host sees it."""

    async def wait_runtime(self) -> Exit:
        """Return when the present runtime process has ended."""

    async def restart(self, environment: Mapping[str, str]) -> None:
        """Kill all processes except init and start the runtime again; ``/tmp`` is kept."""

    async def stop_runtime(self, grace_s: float = 0.0) -> None:
        """Send SIGTERM, and after the grace SIGKILL, to all processes except init."""

    def freeze(self) -> None:
        """Take its CPU away. Idempotent."""

    def thaw(self) -> None:
        """Let its processes run again; return when they may. Idempotent."""

    def usage(self) -> ResourceUsage: ...

    def peak_bytes(self) -> int:
        """Return ``usage().peak_bytes`` by one system call, as it is read after invocations."""

    def reset_peak(self) -> None: ...

    def init_done(self) -> None:
        """Note the end of the runtime process's init. Idempotent.

        Until then, and for ten seconds at most after each start of a runtime process, it may use
        a whole vCPU, as on AWS. From now on it has the CPU share of its memory, and the files that
        it has mapped count as used (``shared_bytes``).
        """

    async def destroy(self) -> None:
        """Kill all processes, remove cgroups, mounts, network; close all descriptors.
        Idempotent."""


class SandboxError(Exception):
    """A sandbox could not be made; the message names the step that failed."""


class Sandboxes(Protocol):
    """Makes sandboxes. There is one per platform."""

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Fork a sandbox from the runtime's zygote, which is started if needed. Raises
        SandboxError."""

    async def warm(
        self, runtime: str, code_dir: Path | None = None, layer_dirs: Sequence[Path] = ()
    ) -> None:
        """Start the zygote from which this code's environments are forked, before it is needed;
        without code, the bare zygote of the runtime."""

    @property
    def can_fork(self) -> bool:
        """Whether templates are possible on this machine."""

    async def ripen(self, template: Sandbox) -> None:
        """Return when a template that has sent SNAPSHOTTED can be forked at once.

        Raises SandboxError if its image is missing or cannot be used.
        """

    async def fork(self, template: Sandbox, spec: SandboxSpec) -> Sandbox:
        """Return a new sandbox whose runtime process continues from the template's snapshot.

        It has its own namespaces, limits, network, descriptors and identity, like any sandbox;
        ``spec.environment`` replaces the template's variables, and its /tmp starts as a copy of the
        template's. The bootstrap runs the after-restore hooks and sends READY, or an INIT_ERROR if
        one fails. ``spec`` must name the template's runtime and code. The template may be destroyed
        before the sandbox. Its ``restart`` raises SandboxError; make another fork instead.

        Raises SandboxError if ``template`` has no snapshot yet or has been destroyed, or templates
        are not possible here.
        """

    def memory_mb(self) -> int:
        """Return the memory of all sandboxes together; 0 if nothing counts it."""

    async def close(self) -> None:
        """Destroy all sandboxes and zygotes; leave no process, mount, namespace or cgroup."""
