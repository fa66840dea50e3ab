"""What a sandbox is.

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
A sandbox is known by the socket a request arrives on, never by a token.

A template is a sandbox that initialises a function once, for many sandboxes to begin where it
ended (SnapStart). Its bootstrap says SNAPSHOTTED where another one would say READY; then its work
is done, its processes end and ``wait_runtime`` returns, and what is kept, until ``destroy``, is
the image of its memory and the contents of its /tmp. ``Sandboxes.fork`` makes sandboxes of it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


class Interpreter(Protocol):
    """An entry of the catalogue of runtimes, as much of it as the sandbox needs.

    prefix: the installation; interpreter: the executable below it. kind: what runs in the
    sandbox, the Python bootstrap or ``/var/task/bootstrap``.
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
    """The folder functions see as ``/var/runtime``."""

    def prepare(self, runtime: Interpreter) -> Path:
        """The folder, complete and fit for the bare zygote of this interpreter. Blocking."""

    def finish(self, runtime: Interpreter) -> None:
        """Have all of it compiled for this interpreter; ``prepare`` comes first. Blocking."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What to build.

    sandbox_id: unique, safe in file names. runtime: an identifier of the catalogue.
    environment: the variables of the runtime process, complete.
    processes: processes and threads together. CPU follows memory: 1 vCPU per 1,769 MB.
    network: outbound internet where the machine permits it.
    template: the runtime process initialises the function and runs its hooks before snapshot, and
    is then kept as an image; see ``Sandboxes.fork``. architecture: for which the code is; "": any.
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
    """How the runtime process ended. One of the two is set.

    status: exit status 0–255. signal: the signal's number. oom: killed because the sandbox was at
    its own limit of memory. machine: killed by the kernel below that limit, since somebody else
    had none left, or with its init; the function is not at fault.
    """

    status: int | None
    signal: int | None
    oom: bool = False
    machine: bool = False


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """memory_bytes: now, a template's image included. peak_bytes: the highest since the last
    reset_peak. cpu_s: seconds."""

    memory_bytes: int
    peak_bytes: int
    cpu_s: float


class Sandbox(Protocol):
    """A running sandbox. Every method is safe after its death.

    channel, console and log are the platform's ends for the present runtime process; ``restart``
    replaces them. All are non-blocking.
    """

    spec: SandboxSpec
    channel: socket.socket
    console: int
    log: int
    runtime_api: socket.socket
    endpoint: socket.socket
    shared_bytes: int
    """Memory that it shares with other sandboxes, and that counts as used all the same."""
    began_s: float
    """When the present runtime process began, on the machine's monotonic clock."""

    @property
    def pid(self) -> int:
        """The init process, as the host sees it."""

    async def wait_runtime(self) -> Exit:
        """Return when the present runtime process has ended."""

    async def restart(self, environment: Mapping[str, str]) -> None:
        """Kill every process but init and start the runtime again; ``/tmp`` is kept."""

    async def stop_runtime(self, grace_s: float = 0.0) -> None:
        """SIGTERM, then after the grace SIGKILL, for every process but init."""

    def freeze(self) -> None:
        """No CPU from now on. Idempotent."""

    def thaw(self) -> None:
        """Idempotent; returns when processes may run."""

    def usage(self) -> ResourceUsage: ...

    def peak_bytes(self) -> int:
        """``usage().peak_bytes`` alone, for one system call: it is asked for after invocations."""

    def reset_peak(self) -> None: ...

    def init_done(self) -> None:
        """The runtime process has ended its init. Idempotent.

        Until then, and for ten seconds at most after each start of a runtime process, it may use
        a whole vCPU: AWS lends functions CPU for their init. From now on it is held to the share
        of its memory, and what it has mapped of files counts as used (``shared_bytes``)."""

    async def destroy(self) -> None:
        """Kill everything, remove cgroups, mounts, network; close every descriptor. Idempotent."""


class SandboxError(Exception):
    """A sandbox could not be made; the message says at which step."""


class Sandboxes(Protocol):
    """Makes sandboxes. One per platform."""

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Fork one from the runtime's zygote, starting that first if needed. SandboxError."""

    async def warm(
        self, runtime: str, code_dir: Path | None = None, layer_dirs: Sequence[Path] = ()
    ) -> None:
        """Have ready, before it is needed, the zygote that this code's environments are forked
        from; without code, the bare one of the runtime."""

    @property
    def can_fork(self) -> bool:
        """Whether templates are possible on this machine."""

    async def ripen(self, template: Sandbox) -> None:
        """Return when a template that has said SNAPSHOTTED can be forked at once.

        SandboxError when it lied: there is no image, or none that can be gone on from."""

    async def fork(self, template: Sandbox, spec: SandboxSpec) -> Sandbox:
        """A new sandbox whose runtime process goes on where the template's was snapshotted.

        It is like any other in everything but its memory: own namespaces, limits, network,
        descriptors and identity; ``spec.environment`` replaces the template's variables, and its
        /tmp begins as a copy of the template's. The bootstrap runs the hooks after restore and
        says READY, or sends an INIT_ERROR when one fails. ``spec`` must name the template's
        runtime and code. The sandbox does not depend on its template: that may be destroyed
        first. Its ``restart`` raises SandboxError: whoever needs another one forks again.

        SandboxError when ``template`` has no snapshot yet, has been destroyed, or templates are
        not possible here.
        """

    def memory_mb(self) -> int:
        """What all sandboxes use together; 0 where nothing counts it."""

    async def close(self) -> None:
        """Destroy every sandbox and zygote; leave no process, mount, namespace or cgroup."""
