"""Sandboxes on Linux: namespaces, cgroups, seccomp; one zygote per runtime."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from boda.core.clock import Clock, SystemClock
from boda.core.urls import InsideEndpoint
from boda.sandbox import plan
from boda.sandbox.architectures import runs_here
from boda.sandbox.cgroups.contract import CgroupHierarchy, CgroupLimits
from boda.sandbox.contract import Interpreter, Library, Sandbox, SandboxError, SandboxSpec
from boda.sandbox.host import HostFacts
from boda.sandbox.init_pool import InitPool
from boda.sandbox.init_process import InitProcess
from boda.sandbox.instance_lease import tag_of
from boda.sandbox.linux_sandbox import LinuxSandbox, RuntimePipes
from boda.sandbox.mode import IsolationMode
from boda.sandbox.network import Network
from boda.sandbox.orders import SandboxOrders
from boda.sandbox.reach import NOTHING, Reach
from boda.sandbox.resources import PlatformResources
from boda.sandbox.shared import limit_bytes
from boda.sandbox.template_image import TemplateImage, templates_missing
from boda.sandbox.template_images import TemplateImages
from boda.sandbox.tiers import Tier, TierFinder
from boda.sandbox.unread import watch
from boda.sandbox.zygote import Zygote
from boda.sandbox.zygote_pool import ZygoteKey, ZygotePool

FIRST_UID = 2_000_000
UIDS_PER_INSTANCE = 65_536
_REFILL_AFTER_S = 0.02


class _UidPool:
    """Numbers of user ids, each used by one sandbox at a time."""

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

    state_dir: for files that live no longer than the platform, on a disk with room for /tmp
    volumes. catalogue: runtimes by name. instance: the platform's name on this machine; no two
    platforms that run at once share one. network: outbound internet if possible; the reason why
    not is in ``network_missing``. reach: the networks that are open besides. plain: processes
    without namespaces, for trusted code where namespaces are not possible; all that does not need
    them works all the same. endpoint: the address of AWS for functions.
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
        endpoint = endpoint or InsideEndpoint()
        tag = tag_of(instance)
        state = state_dir.resolve() / f"sandbox-{tag}"
        self._catalogue = catalogue
        first = FIRST_UID + int(tag, 16) % 1000 * UIDS_PER_INSTANCE
        uids = range(first, first + UIDS_PER_INSTANCE)
        self._mode = IsolationMode.of_this_process(uids, plain=plain)
        self._clock = clock or SystemClock()
        host = HostFacts.of_this_machine()
        bridge = Network(tag, first=int(tag, 16), reach=reach, nameservers=host.nameservers)
        wanted = network and not plain
        self._resources = PlatformResources(tag, state, self._mode, bridge if wanted else None)
        self._resources.network_missing = "" if network else "switched off"
        self._tiers = TierFinder()
        self._zygotes = ZygotePool(
            *(library, host, self._mode, state, (state_dir.resolve(),)),
            endpoint_name=endpoint.name,
        )
        self._inits = InitPool(self._make_init)
        self._orders = SandboxOrders(self._mode, host, endpoint, catalogue, first, state)
        self._images = TemplateImages(self._zygotes, self._inits, self._refill)
        self._uids = _UidPool(UIDS_PER_INSTANCE)
        self._alive: set[LinuxSandbox] = set()
        self._starting = 0
        self._opened: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def mode(self) -> IsolationMode:
        return self._mode

    @property
    def hierarchy(self) -> CgroupHierarchy:
        """The hierarchy that enforces limits; after ``open``."""
        return self._resources.hierarchy

    @property
    def gateway(self) -> str:
        """This machine's address in the sandboxes' network, or "" if they have none."""
        return self._resources.gateway

    @property
    def network_missing(self) -> str:
        """Why sandboxes have no outbound network, or ""; after ``open``."""
        return self._resources.network_missing

    @property
    def untracked(self) -> str:
        """Why the connections of a sandbox are not counted, or ""; after ``open``."""
        return self._resources.untracked

    @property
    def has_volumes(self) -> bool:
        """Whether /tmp is on disk; after ``open``."""
        return self._resources.volumes is not None

    async def open(self) -> None:
        """Open the shared resources; ``start`` and ``warm`` do so at the first need."""
        if self._closed:
            raise SandboxError("the sandboxes are closed")
        if self._opened is None:
            self._opened = asyncio.create_task(asyncio.to_thread(self._resources.open))
        await asyncio.shield(self._opened)
        if self._watching is None and self._mode.isolated and not self._closed:
            self._watching = asyncio.create_task(watch(lambda: self._alive, self._clock))

    # Starting

    async def warm(
        self, runtime: str, code_dir: Path | None = None, layer_dirs: Sequence[Path] = ()
    ) -> None:
        await self.open()
        interpreter = self._interpreter(runtime)
        await self._zygotes.get(interpreter, "bare")
        self._resources.refill_volumes()
        if code_dir is not None:
            tier = await self._tier(interpreter, code_dir, layer_dirs)
            await self._zygotes.get(interpreter, tier)
            self._inits.refill(ZygoteKey(interpreter.interpreter, tier))

    @property
    def can_fork(self) -> bool:
        return not self.templates_missing

    @functools.cached_property
    def templates_missing(self) -> str:
        """Why templates are not possible here, or ""; determined once, as every call reads it."""
        return templates_missing(isolated=self._mode.isolated)

    async def ripen(self, template: Sandbox) -> None:
        await self._images.ripe(template)

    async def fork(self, template: Sandbox, spec: SandboxSpec) -> Sandbox:
        if self._closed:
            raise SandboxError("the template is gone")
        image = self._images.of(template)
        if spec.runtime != template.spec.runtime or spec.template:
            raise SandboxError("a fork is an environment of its template's own function")
        await image.complete()
        interpreter = self._interpreter(spec.runtime)
        return await self._launch(
            spec,
            image.key,
            lambda: self._zygotes.of_image(image.key, interpreter, image.image),
            image,
        )

    async def start(self, spec: SandboxSpec) -> Sandbox:
        if spec.template and (reason := self.templates_missing):
            raise SandboxError(reason)
        if spec.architecture and not runs_here(spec.runtime, spec.architecture):
            raise SandboxError(f"this machine does not run {spec.runtime} for {spec.architecture}")
        await self.open()
        interpreter = self._interpreter(spec.runtime)
        tier = await self._tier(interpreter, spec.code_dir, spec.layer_dirs)
        key = ZygoteKey(interpreter.interpreter, tier)
        return await self._launch(spec, key, lambda: self._zygotes.get(interpreter, tier))

    async def _launch(
        self,
        spec: SandboxSpec,
        key: ZygoteKey,
        get: Callable[[], Awaitable[Zygote]],
        origin: TemplateImage | None = None,
    ) -> LinuxSandbox:
        """Start a sandbox, and once more if its zygote dies meanwhile.

        get: starts the zygote, if it does not run. origin: the image that a fork becomes.
        """
        self._starting += 1
        try:
            zygote = self._zygotes.ready(key) or await get()
            try:
                return await self._start(spec, zygote, key, origin)
            except SandboxError:
                if zygote.alive or self._closed:
                    raise
            # The zygote died before it forked; another one can.
            return await self._start(spec, await get(), key, origin)
        finally:
            self._starting -= 1
            asyncio.get_running_loop().call_later(_REFILL_AFTER_S, self._refill, key)

    def _refill(self, key: ZygoteKey) -> None:
        """Make volumes and inits ready, unless that would hold up a start that is under way."""
        if self._starting or self._closed:
            return
        self._resources.refill_volumes()
        if self._zygotes.ready(key):
            self._inits.refill(key)

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
        self,
        spec: SandboxSpec,
        zygote: Zygote,
        key: ZygoteKey,
        origin: TemplateImage | None = None,
    ) -> LinuxSandbox:
        """Make one attempt; undo its steps if it fails."""
        resources = self._resources
        fds: dict[str, int] = {}
        marks: list[tuple[str, float]] = []
        pipes = init = group = volume = made = image = None
        number = self._uids.take()
        sandbox: LinuxSandbox | None = None
        try:
            share = plan.vcpus(spec.memory_mb)
            shared = self._shared_bytes(spec, zygote, key, origin)
            if origin is None:
                memory = limit_bytes(spec.memory_mb, shared)
            else:
                # Pages of its image that it writes to are in its cgroup; no cgroup has the others.
                memory = (spec.memory_mb + plan.BOOTSTRAP_MB) * plan.MIB
            limit = CgroupLimits(memory, max(share, 1.0), spec.processes)
            group = resources.hierarchy.make(spec.sandbox_id, limit)
            marks.append(("cgroup", time.monotonic()))
            pipes = RuntimePipes()
            fds["channel"], fds["log"], fds["console"] = pipes.guest_ends
            fds |= group.entries
            if group.freezer is not None:
                fds["freezer"] = group.freezer
            volume = await resources.volume(spec.ephemeral_mb)
            if volume is not None:
                fds["volume"] = volume
            marks.append(("volume", time.monotonic()))
            if spec.network or resources.network is None:
                init = self._inits.take(key)
            if init is None:
                init = await self._new_init(zygote, network=spec.network)
            marks.append(("init", time.monotonic()))
            steps = self._orders.steps(spec, volume is not None)
            order = self._orders.start(
                *(spec, zygote, group, steps, number),
                image_bytes=None if origin is None else os.fstat(origin.image).st_size,
                memory_limited="memory" in resources.hierarchy.can,
            )
            if spec.template:
                made = self._images.make(self._interpreter(spec.runtime), spec)
                image = os.dup(made.template_end)
            elif origin is not None:
                image = await origin.files()
            if image is not None:
                fds["image"] = image

            async def release() -> None:
                if sandbox is not None:
                    await self._images.forget(sandbox)
                self._release(sandbox, number)

            sandbox = LinuxSandbox(
                spec,
                init,
                pipes,
                group,
                isolated=self._mode.isolated,
                cpu=share,
                clock=self._clock,
                name_step=lambda index: self._orders.describe_step(steps, index),
                release=release,
                adapt=lambda environ: self._orders.environ(spec, zygote, environ),
                lasting=origin is None and not spec.template,
                beside=None if made is None else made.size_bytes,
                shared_bytes=shared,
                mapped_bytes=self._mapped_bytes(spec, zygote, origin),
            )
            sandbox.marks = marks
            if made is not None:
                self._images.add(sandbox, made)
            self._alive.add(sandbox)
            await sandbox.launch(order, fds)
            if made is not None:
                self._images.receive(made, self._interpreter(spec.runtime))
            return sandbox
        except BaseException as error:
            if init is not None and init.unborn:
                zygote.drop()  # it was killed and its own socket is still to close
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
        self, spec: SandboxSpec, zygote: Zygote, key: ZygoteKey, origin: TemplateImage | None
    ) -> int:
        """Return the memory that a sandbox shares with others; see ``shared.py``."""
        if origin is not None or self._catalogue[spec.runtime].kind == "provided":
            return zygote.bare_bytes  # the runtime process is no copy of the zygote
        if key.tier != "bare" and self._tiers.guessed(spec.code_dir, spec.layer_dirs):
            return 2 * zygote.bare_bytes
        return zygote.bare_bytes + zygote.resident_bytes

    def _mapped_bytes(
        self, spec: SandboxSpec, zygote: Zygote, origin: TemplateImage | None
    ) -> int | None:
        """Return the part of that which the runtime process maps from files.

        None if they cannot be told from an image.
        """
        if origin is not None or spec.template:
            return None
        return 0 if self._catalogue[spec.runtime].kind == "provided" else zygote.mapped_bytes

    async def _make_init(self, key: ZygoteKey) -> InitProcess:
        """Order an init before it is needed. Raises SandboxError."""
        zygote = self._zygotes.ready(key)
        if zygote is None:
            raise SandboxError("its zygote is gone")
        return await self._new_init(zygote, network=True)

    async def _new_init(self, zygote: Zygote, *, network: bool) -> InitProcess:
        """Order an init of a zygote. Raises SandboxError or OSError."""
        netns = inode = init = None

        def release() -> None:
            if inode is not None:
                self._resources.give_namespace_back(inode)

        control, guest_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with guest_end:
                fds = {"init": guest_end.fileno()}
                if network:
                    netns = await self._resources.namespace()
                    if netns is not None:
                        fds["netns"] = netns
                        inode = os.fstat(netns).st_ino
                init = InitProcess(control, isolated=self._mode.isolated, release=release)
                await zygote.fork(self._orders.preparation(tuple(fds)), list(fds.values()))
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

    # The end

    def _release(self, sandbox: LinuxSandbox | None, number: int) -> None:
        self._uids.give_back(number)
        if sandbox is not None:
            self._alive.discard(sandbox)
            if not self._mode.isolated:
                shutil.rmtree(self._orders.tmp(sandbox.spec), ignore_errors=True)

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
        await self._resources.refilled()
        await asyncio.to_thread(self._resources.close)
