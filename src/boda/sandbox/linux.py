"""Sandboxes on Linux: namespaces, cgroups, seccomp; one zygote per runtime.

What is shared by all sandboxes of a platform is made at the first need and removed by ``close``:
the cgroup they lie in, the bridge, the ready volumes, the zygotes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import os
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from boda.core.clock import Clock, SystemClock
from boda.core.tasks import Tasks
from boda.core.urls import InsideEndpoint
from boda.sandbox import plan
from boda.sandbox.architectures import runs_here
from boda.sandbox.cgroups.absent import AbsentHierarchy
from boda.sandbox.cgroups.contract import Cgroup, CgroupHierarchy, CgroupLimits
from boda.sandbox.cgroups.discovery import open_hierarchy
from boda.sandbox.cgroups.fast_moves import enable_fast_moves
from boda.sandbox.contract import (
    Interpreter,
    Library,
    Sandbox,
    SandboxError,
    SandboxSpec,
)
from boda.sandbox.host import Host
from boda.sandbox.inits import Init, Inits
from boda.sandbox.lease import Lease, tag_of
from boda.sandbox.mode import Mode
from boda.sandbox.network import Network, NetworkUnavailable
from boda.sandbox.reach import NOTHING, Reach
from boda.sandbox.running import LinuxSandbox, Pipes
from boda.sandbox.shared import limit_bytes
from boda.sandbox.template import OWN_MB, Template, missing
from boda.sandbox.tiers import Tier, Tiers
from boda.sandbox.unread import watch
from boda.sandbox.volumes import Volumes
from boda.sandbox.zygotes import Kind, Zygote, Zygotes

FIRST_UID = 2_000_000
UIDS_PER_INSTANCE = 65_536
_REFILL_AFTER_S = 0.02


class _Numbers:
    """Small numbers, each used by one at a time."""

    def __init__(self, limit: int) -> None:
        self._fresh = iter(range(limit))
        self._returned: list[int] = []

    def take(self) -> int:
        if self._returned:
            return self._returned.pop(0)
        try:
            return next(self._fresh)
        except StopIteration:
            raise SandboxError("too many sandboxes at once") from None

    def give_back(self, number: int) -> None:
        self._returned.append(number)


class LinuxSandboxes:
    """See ``Sandboxes``.

    state_dir: for what lives no longer than the platform, on a disk with room for /tmp volumes.
    catalogue: runtimes by name. instance: the platform's name on this machine; no two platforms
    that run at once share one. network: outbound internet where possible; why it is not stands
    in ``network_missing``, and in ``untracked`` why the connections of a sandbox are not counted.
    reach: what is open of networks besides. plain: processes without namespaces, for trusted code
    where they cannot be had; everything that does not need them holds all the same. endpoint:
    where functions find AWS.
    """

    def __init__(
        self,
        state_dir: Path,
        catalogue: Mapping[str, Interpreter],
        library: Library,
        *,
        plain: bool = False,
        network: bool = True,
        reach: Reach = NOTHING,
        instance: str,
        clock: Clock | None = None,
        endpoint: InsideEndpoint | None = None,
    ) -> None:
        self._endpoint = endpoint or InsideEndpoint()
        self._tag = tag_of(instance)
        self._state = state_dir.resolve() / f"sandbox-{self._tag}"
        self._catalogue = catalogue
        first = FIRST_UID + int(self._tag, 16) % 1000 * UIDS_PER_INSTANCE
        self._first_uid = first
        self._mode = Mode.of_this_process(range(first, first + UIDS_PER_INSTANCE), plain=plain)
        self._clock = clock or SystemClock()
        self._want_network = network and not plain
        self._reach = reach
        self.network_missing = "" if network else "switched off"
        self.untracked = ""
        self._host = Host.of_this_machine()
        self._opened: asyncio.Task[None] | None = None
        self._closed = False
        self._lease: Lease | None = None
        self._hierarchy: CgroupHierarchy | None = None
        self._network: Network | None = None
        self._volumes: Volumes | None = None
        self._fast_moves: int | None = None
        self._tiers = Tiers()
        self._zygotes = Zygotes(
            library,
            self._host,
            self._mode,
            self._state,
            (state_dir.resolve(),),
            endpoint_name=self._endpoint.name,
        )
        self._common = plan.prepared(self._host) if self._mode.isolated else []
        self._inits = Inits(self._init_of)
        self._preparations: dict[tuple[str, ...], bytes] = {}
        self._starting = 0
        self._usual_mb = 512
        self._uids = _Numbers(UIDS_PER_INSTANCE)
        self._alive: set[LinuxSandbox] = set()
        self._watching: asyncio.Task[None] | None = None
        self._template_numbers = itertools.count(1)
        self._templates: dict[LinuxSandbox | None, Template] = {}
        self._ripening: dict[Template, asyncio.Task[None]] = {}
        self._background = Tasks()

    @property
    def mode(self) -> Mode:
        return self._mode

    @property
    def hierarchy(self) -> CgroupHierarchy:
        """Where limits are enforced; after ``open``."""
        return self._hierarchy or AbsentHierarchy()

    @property
    def gateway(self) -> str:
        """This machine's address in the sandboxes' network; "" where they have none."""
        subnet = self._network.subnet if self._network is not None else None
        return str(subnet[1]) if subnet is not None else ""

    @property
    def has_volumes(self) -> bool:
        """Whether /tmp is on disk."""
        return self._volumes is not None

    async def open(self) -> None:
        """Make what all sandboxes share; ``start`` and ``warm`` do it at the first need."""
        if self._closed:
            raise SandboxError("the sandboxes are closed")
        if self._opened is None:
            self._opened = asyncio.create_task(asyncio.to_thread(self._open))
        await asyncio.shield(self._opened)
        if self._watching is None and self._mode.isolated and not self._closed:
            self._watching = asyncio.create_task(watch(lambda: self._alive, self._clock))

    def _open(self) -> None:
        self._lease = Lease(self._tag)
        shutil.rmtree(self._state, ignore_errors=True)
        self._state.mkdir(parents=True, mode=0o700)
        self._hierarchy = open_hierarchy(self._tag)
        self._lease.record(self._hierarchy.paths)
        if os.geteuid() == 0:
            self._fast_moves = enable_fast_moves()
        if self._mode.isolated and self._mode.privileged and not Volumes.missing():
            self._volumes = Volumes(self._state / "volumes")
        if self._want_network:
            self._open_network()

    def _open_network(self) -> None:
        assert self._lease is not None
        network = Network(
            self._tag,
            first=int(self._tag, 16),
            reach=self._reach,
            nameservers=self._host.nameservers,
        )
        try:
            if not self._mode.privileged:
                raise NetworkUnavailable("a bridge and NAT are root's to make")
            network.open()
        except NetworkUnavailable as error:
            self.network_missing = str(error)
            return
        self._network = network
        self.untracked = network.untracked
        if network.forward_was is not None:
            self._lease.record_forwarding(network.forward_was)

    # Starting

    async def warm(
        self, runtime: str, code_dir: Path | None = None, layer_dirs: Sequence[Path] = ()
    ) -> None:
        await self.open()
        interpreter = self._interpreter(runtime)
        await self._zygotes.get(interpreter, "bare")
        self._refill_volumes()
        if code_dir is not None:
            tier = await self._tier(interpreter, code_dir, layer_dirs)
            await self._zygotes.get(interpreter, tier)
            self._inits.refill(Kind(interpreter.interpreter, tier))

    @property
    def can_fork(self) -> bool:
        return not self.templates_missing

    @functools.cached_property
    def templates_missing(self) -> str:
        """Why there are no templates here, or "". Looked at once: every call asks for it."""
        return missing(isolated=self._mode.isolated)

    async def ripen(self, template: Sandbox) -> None:
        origin = self._origin(template)
        await origin.complete()
        ripening = self._ripening.get(origin)
        if ripening is None:
            raise SandboxError("the template is gone")
        await asyncio.shield(ripening)

    async def fork(self, template: Sandbox, spec: SandboxSpec) -> Sandbox:
        origin = self._origin(template)
        if spec.runtime != template.spec.runtime or spec.template:
            raise SandboxError("a fork is an environment of its template's own function")
        await origin.complete()
        interpreter = self._interpreter(spec.runtime)
        return await self._begin(
            spec,
            origin.kind,
            lambda: self._zygotes.of_image(origin.kind, interpreter, origin.image),
            origin,
        )

    def _origin(self, template: Sandbox) -> Template:
        found = self._templates.get(template) if isinstance(template, LinuxSandbox) else None
        if found is None or self._closed:
            raise SandboxError("the template is gone")
        return found

    async def start(self, spec: SandboxSpec) -> Sandbox:
        if spec.template and (reason := self.templates_missing):
            raise SandboxError(reason)
        if spec.architecture and not runs_here(spec.runtime, spec.architecture):
            raise SandboxError(f"this machine does not run {spec.runtime} for {spec.architecture}")
        await self.open()
        interpreter = self._interpreter(spec.runtime)
        tier = await self._tier(interpreter, spec.code_dir, spec.layer_dirs)
        kind = Kind(interpreter.interpreter, tier)
        return await self._begin(spec, kind, lambda: self._zygotes.get(interpreter, tier))

    async def _begin(
        self,
        spec: SandboxSpec,
        kind: Kind,
        get: Callable[[], Awaitable[Zygote]],
        origin: Template | None = None,
    ) -> LinuxSandbox:
        """get: the zygote, when it is not there already."""
        self._starting += 1
        try:
            zygote = self._zygotes.ready(kind) or await get()
            try:
                return await self._start(spec, zygote, kind, origin)
            except SandboxError:
                if zygote.alive or self._closed:
                    raise
            # The zygote died under the order; another one is no worse for it.
            return await self._start(spec, await get(), kind, origin)
        finally:
            self._starting -= 1
            asyncio.get_running_loop().call_later(_REFILL_AFTER_S, self._refill, kind)

    def _refill(self, kind: Kind) -> None:
        """When nobody waits for a start, which would only be held up by it."""
        if self._starting or self._closed:
            return
        self._refill_volumes()
        if self._zygotes.ready(kind):
            self._inits.refill(kind)

    def _interpreter(self, runtime: str) -> Interpreter:
        interpreter = self._catalogue.get(runtime)
        if interpreter is None:
            raise SandboxError(f"this machine has no runtime {runtime}")
        return interpreter

    async def _tier(
        self, interpreter: Interpreter, code_dir: Path, layer_dirs: Sequence[Path]
    ) -> Tier:
        if interpreter.kind == "provided":
            return "bare"
        known = self._tiers.known(code_dir, layer_dirs)
        if known is not None:
            return known
        return await asyncio.to_thread(self._tiers.find, code_dir, layer_dirs)

    async def _start(
        self, spec: SandboxSpec, zygote: Zygote, kind: Kind, origin: Template | None = None
    ) -> LinuxSandbox:
        """One attempt. What was made for it is undone when it fails.

        origin: the template that it goes on from, whose zygote it is."""
        assert self._hierarchy is not None
        fds: dict[str, int] = {}
        marks: list[tuple[str, float]] = []
        pipes = init = group = volume = made = image = None
        number = self._uids.take()
        sandbox: LinuxSandbox | None = None
        try:
            share = plan.vcpus(spec.memory_mb)
            shared = self._shared_bytes(spec, zygote, kind, origin)
            if origin is None:
                memory = limit_bytes(spec.memory_mb, shared)
            else:
                # What it writes to of its image is in its cgroup; the rest nobody counts.
                memory = (spec.memory_mb + plan.BOOTSTRAP_MB) * plan.MIB
            limit = CgroupLimits(memory, max(share, 1.0), spec.processes)
            group = self._hierarchy.make(spec.sandbox_id, limit)
            marks.append(("cgroup", time.monotonic()))
            pipes = Pipes()
            fds["channel"], fds["log"], fds["console"] = pipes.there
            fds |= group.entries
            if group.freezer is not None:
                fds["freezer"] = group.freezer
            volume = await self._volume(spec.ephemeral_mb)
            if volume is not None:
                fds["volume"] = volume
            marks.append(("volume", time.monotonic()))
            if spec.network or self._network is None:
                init = self._inits.take(kind)
            if init is None:
                init = await self._new_init(zygote, network=spec.network)
            marks.append(("init", time.monotonic()))
            steps = self._environment_steps(spec, volume is not None)
            order = self._order(spec, zygote, group, steps, number, origin)
            if spec.template:
                made = self._template(spec)
                image = os.dup(made.there)
            elif origin is not None:
                image = await origin.files()
            if image is not None:
                fds["image"] = image

            async def release() -> None:
                if sandbox in self._templates:
                    await self._forget(self._templates.pop(sandbox))
                self._release(sandbox, number)

            sandbox = LinuxSandbox(
                spec,
                init,
                pipes,
                group,
                isolated=self._mode.isolated,
                cpu=share,
                clock=self._clock,
                name_step=lambda index: [*self._common, *steps][index].describe(),
                release=release,
                adapt=lambda environ: self._environ(spec, zygote, environ),
                lasting=origin is None and not spec.template,
                beside=None if made is None else made.size_bytes,
                shared_bytes=shared,
                mapped_bytes=self._mapped_bytes(spec, zygote, origin),
            )
            sandbox.marks = marks
            if made is not None:
                self._templates[sandbox] = made
            self._alive.add(sandbox)
            await sandbox.begin(order, fds)
            if made is not None:
                made.begin()
                self._ripening[made] = asyncio.create_task(self._ripen(made, spec))
            return sandbox
        except BaseException as error:
            if sandbox is not None:
                await sandbox.destroy()
            else:
                if pipes is not None:
                    pipes.close()
                if init is not None:
                    await init.end()
                if made is not None:
                    made.close()
                if group is not None:
                    group.remove()
                self._release(None, number)
            if isinstance(error, OSError):
                raise SandboxError(f"the sandbox could not be made: {error}") from error
            raise
        finally:
            for fd in (volume, image):
                if fd is not None:
                    os.close(fd)

    def _shared_bytes(
        self, spec: SandboxSpec, zygote: Zygote, kind: Kind, origin: Template | None
    ) -> int:
        """What a sandbox shares with others; see ``shared.py``."""
        if origin is not None or self._catalogue[spec.runtime].kind == "provided":
            return zygote.bare_bytes  # the runtime process is no copy of the zygote
        if kind.tier != "bare" and self._tiers.guessed(spec.code_dir, spec.layer_dirs):
            return 2 * zygote.bare_bytes
        return zygote.bare_bytes + zygote.resident_bytes

    def _mapped_bytes(
        self, spec: SandboxSpec, zygote: Zygote, origin: Template | None
    ) -> int | None:
        """What of that the runtime process maps of files; None where these cannot be told from
        an image."""
        if origin is not None or spec.template:
            return None
        return 0 if self._catalogue[spec.runtime].kind == "provided" else zygote.mapped_bytes

    async def _init_of(self, kind: Kind) -> Init:
        """Begin to make one before it is needed. SandboxError."""
        zygote = self._zygotes.ready(kind)
        if zygote is None:
            raise SandboxError("its zygote is gone")
        return await self._new_init(zygote, network=True)

    async def _new_init(self, zygote: Zygote, *, network: bool) -> Init:
        """Order one of a zygote. SandboxError, OSError."""
        netns = inode = init = None

        def release() -> None:
            if inode is not None and self._network is not None:
                self._network.give_back(inode)

        control, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with there:
                fds = {"init": there.fileno()}
                if network and self._network is not None:
                    netns = self._network.take()
                    if netns is None:
                        netns = await asyncio.to_thread(self._network.wait)
                    if netns is not None:
                        fds["netns"] = netns
                        inode = os.fstat(netns).st_ino
                init = Init(control, isolated=self._mode.isolated, release=release)
                await zygote.fork(self._preparation(tuple(fds)), list(fds.values()))
            return init
        except BaseException:
            if init is not None:
                init.lose("it could not be ordered")
                await init.ended()
            else:
                control.close()
                release()
            raise
        finally:
            if netns is not None:
                os.close(netns)

    def _template(self, spec: SandboxSpec) -> Template:
        interpreter = self._interpreter(spec.runtime)
        if interpreter.kind != "python":
            raise SandboxError("templates are of Python runtimes")
        limit = (spec.memory_mb + spec.ephemeral_mb + OWN_MB) * plan.MIB
        return Template(Kind(interpreter.interpreter, "bare", next(self._template_numbers)), limit)

    async def _ripen(self, made: Template, spec: SandboxSpec) -> None:
        """Have its zygote, and inits of that, before the first fork is wanted."""
        if await made.completed():
            interpreter = self._interpreter(spec.runtime)
            await self._zygotes.of_image(made.kind, interpreter, made.image)
            self._refill(made.kind)

    async def _forget(self, made: Template) -> None:
        """Let go of an image and of what waits to go on from it."""
        made.close()
        ripening = self._ripening.pop(made, None)
        if ripening is not None:
            await asyncio.wait({ripening})
            ripening.exception()  # told to whoever waited for it
        await self._inits.drop(made.kind)
        await self._zygotes.dismiss(made.kind)

    def _preparation(self, names: tuple[str, ...]) -> bytes:
        """What the zygote is told, which is always the same. names: of the descriptors."""
        known = self._preparations.get(names)
        if known is None:
            isolated = self._mode.isolated
            order = {
                "isolated": isolated,
                "change_uid": self._mode.privileged,
                "hostname": "sandbox",
                "steps": plan.wire(self._common),
                "listen": [["127.0.0.1", 0], ["127.0.0.1", 0]] if not isolated else self._listen(),
                "fds": names,
            }
            known = self._preparations[names] = json.dumps(order).encode()
        return known

    def _listen(self) -> list[list[Any]]:
        """Where an isolated sandbox listens: for the Runtime API and for the AWS endpoint."""
        endpoint = self._endpoint
        return [["127.0.0.1", plan.RUNTIME_API_PORT], [endpoint.address, endpoint.port]]

    async def _volume(self, size_mb: int) -> int | None:
        if self._volumes is None:
            return None
        self._usual_mb = size_mb
        fd = self._volumes.take_ready(size_mb)
        if fd is not None:
            return fd
        try:
            return await asyncio.to_thread(self._volumes.make, size_mb)
        except OSError as error:
            raise SandboxError(f"no file system for /tmp: {error}") from error

    def _refill_volumes(self) -> None:
        """Of the size that was wanted last."""
        volumes = self._volumes
        if volumes is None:
            return

        async def work() -> None:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(volumes.refill, self._usual_mb)

        if not self._background:
            self._background.spawn(work())

    def _environment_steps(self, spec: SandboxSpec, volume: bool) -> list[plan.Step]:
        if not self._mode.isolated:
            return []
        return plan.environment(
            spec.code_dir.resolve(),
            [folder.resolve() for folder in spec.layer_dirs],
            spec.ephemeral_mb,
            volume=volume,
            recursive=not self._mode.privileged,
        )

    def _order(
        self,
        spec: SandboxSpec,
        zygote: Zygote,
        group: Cgroup,
        steps: list[plan.Step],
        number: int,
        origin: Template | None,
    ) -> dict[str, Any]:
        """What the init is told to start; see ``guest/init.py``."""
        isolated = self._mode.isolated
        limits = plan.Limits(open_files=spec.open_files, processes=spec.processes).wire()
        if isolated:
            task, runtime, opt = "/var/task", "/var/runtime", ["/opt"]
            stdlib = "/var/lang"
        else:
            task, runtime = str(spec.code_dir.resolve()), str(zygote.library)
            opt = [str(folder.resolve()) for folder in reversed(spec.layer_dirs)]
            stdlib = str(zygote.runtime.prefix)
            del limits["processes"]  # would count every process of this user
        if "memory" not in self.hierarchy.can:
            # Better than nothing: each process on its own. A fork begins with what it copies.
            limits["data_bytes"] = (spec.memory_mb + plan.BOOTSTRAP_MB + 48) * plan.MIB
            if origin is not None:
                limits["data_bytes"] += os.fstat(origin.image).st_size
        kind: str = self._catalogue[spec.runtime].kind
        if spec.template:
            kind = "template"
        elif origin is not None:
            kind = "fork"
        if kind == "provided":
            argv = [f"{folder}/bootstrap" for folder in (task, *opt)]
        else:
            argv = [zygote.interpreter, f"{runtime}/_boda/fresh.py"]
        uid = self._first_uid + number if self._mode.privileged else 0
        return {
            "steps": plan.wire(steps),
            "first_step": len(self._common),
            "named": [
                f"127.0.0.1:{plan.RUNTIME_API_PORT}",
                self._endpoint.url,
            ],
            "cgroups": list(group.entries),
            "thawed": group.thawed,
            "environ": self._environ(spec, zygote, spec.environment),
            "defaults": {"LD_LIBRARY_PATH": plan.LIBRARY_PATH},
            "limits": limits,
            "uid": uid,
            "gid": uid,
            "kind": kind,
            "argv": argv,
            "task": task,
            "runtime": runtime,
            "opt": opt,
            "stdlib": [stdlib],
            "name": kind if kind == "provided" else zygote.runtime.name,
        }

    def _environ(
        self, spec: SandboxSpec, zygote: Zygote, environ: Mapping[str, str]
    ) -> dict[str, str]:
        """Without a root of its own a function must be told where its things really are."""
        if self._mode.isolated:
            return dict(environ)
        tmp = self._state / "tmp" / spec.sandbox_id
        tmp.mkdir(parents=True, exist_ok=True, mode=0o700)
        library = str(zygote.library)
        return {
            **environ,
            "LAMBDA_TASK_ROOT": str(spec.code_dir.resolve()),
            "LAMBDA_RUNTIME_DIR": library,
            "PYTHONPATH": environ.get("PYTHONPATH", library).replace("/var/runtime", library),
            "TMPDIR": str(tmp),
        }

    # The end

    def _release(self, sandbox: LinuxSandbox | None, number: int) -> None:
        self._uids.give_back(number)
        if sandbox is not None:
            self._alive.discard(sandbox)
            if not self._mode.isolated:
                shutil.rmtree(self._state / "tmp" / sandbox.spec.sandbox_id, ignore_errors=True)

    def memory_mb(self) -> int:
        return self.hierarchy.memory_bytes() >> 20

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._opened is None:
            return
        with contextlib.suppress(Exception):
            await self._opened
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.gather(*(sandbox.destroy() for sandbox in list(self._alive)))
        await self._inits.close()
        await self._zygotes.close()
        await self._background.drain()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._network is not None:
            self._network.close()
        if self._volumes is not None:
            self._volumes.close()
        clean = self._hierarchy is None or self._hierarchy.close()
        if self._fast_moves is not None:
            os.close(self._fast_moves)
        shutil.rmtree(self._state, ignore_errors=True)
        if self._lease is not None:
            self._lease.close(clean=clean)
