"""The image of a runtime that has run a function's init: a snapshot in AWS's terms.

Law: a template belongs to one function version in one revision, as the environments forked from
it do. It serves no call: its process runs init and the before-snapshot hooks, reports that, and
ends. From then on there is only the image. Any other message of the process ends the template.

Its log is a stream of its own, as on AWS, where init is logged when a version is published.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal, Protocol

from boda.core.errors import AwsError
from boda.core.tasks import Tasks
from boda.fleet.alarm import Alarm
from boda.fleet.context import FleetContext, sandbox_spec
from boda.fleet.environment_log import EnvironmentLog
from boda.fleet.exits import (
    INVALID_ENTRYPOINT,
    OUT_OF_MEMORY,
    SANDBOX_FAILURE,
    UNKNOWN,
    RuntimeFailure,
    exit_failure,
    init_failure,
)
from boda.fleet.extensions import extensions_of
from boda.fleet.metering import record_init
from boda.fleet.peak_memory import mib
from boda.fleet.reports import Status
from boda.fleet.runtime_link import RuntimeLink
from boda.fleet.status import EnvironmentStatus
from boda.fleet.variables import variables
from boda.runtime.function import FunctionVersion
from boda.runtime.stream import FlowControl, ResponseSink
from boda.sandbox.contract import Exit, Sandbox, SandboxError

_log = logging.getLogger(__name__)

Cause = Literal["timeout", "init", "entrypoint", "memory", "role", "platform", "dropped"]
_KEYS_S = 300.0
"""Keys that init fetches are said to lapse so soon, so that forks fetch keys of their own."""


class SnapshotFailed(Exception):
    """No template could be made.

    cause: ``timeout``, ``init`` (an error of the function or its hooks), ``entrypoint`` and
    ``memory`` are the function's faults; ``role``: the role gives no keys; ``platform``: there is
    no sandbox; ``dropped``: the version was retired. error_type: as the runtime named it, or "".
    """

    def __init__(self, cause: Cause, error_type: str = "", words: str = "") -> None:
        super().__init__(words or error_type or cause)
        self.cause: Cause = cause
        self.error_type = error_type


class TemplateOwner(Protocol):
    """The ``Templates``, as each template calls them. dead: it is not to be used any more; buried:
    its sandbox was destroyed."""

    def template_ready(self, template: Template) -> None: ...

    def template_dead(self, template: Template) -> None: ...

    def template_buried(self, template: Template) -> None: ...

    def killed_by_machine(self) -> None: ...


class Template:
    """Makes and keeps the image of one function version. ``start`` once, then await ``ready``.

    leases: forks that are being made of it. used_at: when a fork was last made, or an environment
    of its version ended; monotonic.
    """

    def __init__(
        self,
        context: FleetContext,
        version: FunctionVersion,
        owner: TemplateOwner,
    ) -> None:
        self.id = context.ids.hex(32)
        self.version = version
        self.state: Literal["starting", "init", "snapshotted", "ready", "dead"] = "starting"
        self.leases = 0
        self.retiring = False
        self.used_at = self._created_s = context.clock.monotonic()
        self._context = context
        self._owner = owner
        self._clock = context.clock
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._log = EnvironmentLog(context, version, self.id, "snap-start")
        self._deadline = Alarm(context.clock, self._timed_out)
        self._tasks = Tasks()
        self._link = RuntimeLink(
            context, version, self._log.output, self, self._tasks, self._runtime_exited
        )
        self._sandbox: Sandbox | None = None
        self._image_bytes = 0

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox to fork; only while ready."""
        assert self._sandbox is not None
        return self._sandbox

    async def ready(self) -> None:
        """Return when it can be forked. Raises SnapshotFailed if it never can."""
        await asyncio.shield(self._ready)

    def start(self) -> None:
        self._tasks.spawn(self._start())

    def destroy(self, error: SnapshotFailed | None = None) -> None:
        """End the template. Idempotent. error: raised by ``ready``."""
        if self.state == "dead":
            return
        self.state = "dead"
        self._deadline.close()
        self._link.close()
        if not self._ready.done():
            self._ready.set_exception(error or SnapshotFailed("dropped"))
        self._owner.template_dead(self)
        self._tasks.spawn(self._bury())

    async def destroyed(self) -> None:
        """Return when all that the template had started has ended."""
        await self._tasks.drain()

    @property
    def image_bytes(self) -> int:
        """The memory that each fork starts with; measured once the first fork was made."""
        if not self._image_bytes:
            self._image_bytes = self.sandbox.usage().memory_bytes
        return self._image_bytes

    def memory_mb(self) -> int:
        """Return the memory in use now, in MiB."""
        alive = self._alive
        return 0 if alive is None else mib(alive.usage().memory_bytes)

    @property
    def _alive(self) -> Sandbox | None:
        return None if self.state == "dead" else self._sandbox

    def status(self) -> EnvironmentStatus:
        alive = self._alive
        return EnvironmentStatus.of(
            self.version,
            id=self.id,
            state="template" if self.state == "ready" else "template-init",
            memory_bytes=0 if alive is None else alive.usage().memory_bytes,
            age_s=self._clock.monotonic() - self._created_s,
            pid=0 if alive is None else alive.pid,
        )

    async def _start(self) -> None:
        context, version = self._context, self.version
        try:
            await context.verify(version)
        except AwsError as error:
            self.destroy(SnapshotFailed("platform", "", error.message))
            return
        try:
            keys = context.keys(version, _KEYS_S)
            environment = variables(
                *(version, self._log.stream, keys, self._link.metadata.token, "snap-start"),
                endpoint_url=context.settings.endpoint_url,
            )
            spec = sandbox_spec(version, self.id, environment, template=True)
            sandbox = await context.sandboxes.start(spec)
        except AwsError as error:
            self.destroy(SnapshotFailed("role", "", error.message))
            return
        except SandboxError as error:
            _log.warning("no template of %s: %s", version.qualified_arn, error)
            self.destroy(SnapshotFailed("platform", "", str(error)))
            return
        except Exception as error:
            _log.exception("no template of %s", version.qualified_arn)
            self.destroy(SnapshotFailed("platform", "", str(error)))
            return
        self._sandbox = sandbox
        if self.state == "dead":
            await sandbox.destroy()
            return
        self.state = "init"
        self._link.serve_endpoint(sandbox, self.id)
        begun_s = min(self._clock.monotonic(), sandbox.began_s)
        self._log.init_begun_s = begun_s
        self._log.init_started("init", extensions_of(version.layer_dirs))
        self._deadline.set(begun_s + context.settings.snapshot_limit_s(version))
        self._link.attach(sandbox, keys)

    def _runtime_exited(self, end: Exit) -> None:
        if self.state == "init" and end.machine:
            self._report("failure", SANDBOX_FAILURE)
            self._owner.killed_by_machine()
            self.destroy(SnapshotFailed("platform", SANDBOX_FAILURE, "the machine ended it"))
        elif self.state == "init":
            self._failed(exit_failure(end))
        else:
            self._link.close()  # the process has ended, and only its image is left

    async def _bury(self) -> None:
        sandbox = self._sandbox
        if sandbox is not None:
            try:
                await sandbox.destroy()
            except Exception:
                _log.exception("sandbox %s could not be destroyed", self.id)
        self._owner.template_buried(self)

    # Callbacks of the session

    def runtime_snapshotted(self) -> None:
        if self.state != "init":
            self.runtime_broke("a second snapshot")
            return
        self._report("success")
        self.state = "snapshotted"
        self._tasks.spawn(self._ripen())

    async def _ripen(self) -> None:
        """Wait for the image that the runtime claims to have written, then be ready."""
        try:
            await self._context.sandboxes.ripen(self.sandbox)
        except SandboxError as error:
            _log.warning("no image of %s: %s", self.version.qualified_arn, error)
            self.destroy(SnapshotFailed("init", UNKNOWN, str(error)))
            return
        if self.state == "snapshotted":
            self.state = "ready"
            self._ready.set_result(None)
            self._owner.template_ready(self)

    def runtime_init_failed(self, error_type: str, body: bytes) -> None:
        if self.state == "init":
            failure = init_failure(error_type, body)
            if failure.body is None:
                self._log.entry_refused("unknown", failure)
            self._failed(RuntimeFailure("error", error_type))

    def runtime_broke(self, reason: str) -> None:
        _log.warning("the template of %s: %s", self.version.qualified_arn, reason)
        if self.state == "init":
            self._failed(RuntimeFailure("error", UNKNOWN, reason))
        else:
            self.destroy()

    def runtime_ready(self) -> None:
        self.runtime_broke("a template asked for an invocation")

    def runtime_answered(self, payload: bytes, ready: bool) -> None:
        self.runtime_broke("a template answered")

    def runtime_failed(self, error_type: str, body: bytes, ready: bool) -> None:
        self.runtime_broke("a template answered")

    def runtime_streams(self, content_type: str, source: FlowControl) -> ResponseSink | None:
        self.runtime_broke("a template answered")
        return None

    def runtime_streamed(self, ready: bool) -> bool:
        self.runtime_broke("a template answered")
        return False

    # The end of init

    def _timed_out(self) -> None:
        self._failed(RuntimeFailure("timeout", ""))

    def _failed(self, failure: RuntimeFailure) -> None:
        self._report(failure.status, failure.error_type)
        cause: Cause = "init"
        if failure.status == "timeout":
            cause = "timeout"
        elif failure.error_type == OUT_OF_MEMORY:
            cause = "memory"
        elif failure.error_type == INVALID_ENTRYPOINT:
            cause = "entrypoint"
        self.destroy(SnapshotFailed(cause, failure.error_type, failure.words))

    def _report(self, status: Status, error_type: str = "") -> None:
        """Log the end of init, and bill the init."""
        self._deadline.clear()
        self._log.init_ended("init", status, error_type)
        init_ms, now_s = self._log.init_ms, self._clock.now()
        record_init(self._context.telemetry, self.version, init_ms, now_s)
