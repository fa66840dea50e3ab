"""The image of a runtime that has run a function's init: what a snapshot is on AWS.

Law: a template belongs to one function version in one revision, as the environments forked from
it do. It serves no call and hears no answer: its process runs init and the before-snapshot hooks
and says so. From then on there is only the image. Whatever else it says is its end.

Its log is a stream of its own, as on AWS, where init is logged when a version is published.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal, Protocol

from boda.core.errors import AwsError
from boda.core.tasks import Tasks
from boda.fleet.alarm import Alarm
from boda.fleet.exits import (
    INVALID_ENTRYPOINT,
    OUT_OF_MEMORY,
    SANDBOX_FAILURE,
    describe_exit,
    refused_entry,
)
from boda.fleet.extensions import extensions_of
from boda.fleet.levels import levels_of
from boda.fleet.metering import record_init
from boda.fleet.output import Output
from boda.fleet.reports import Reports, Status, stream_name
from boda.fleet.surroundings import Closable, Snapshot, Surroundings, mib, spec_of
from boda.fleet.variables import variables
from boda.runtime.api import RuntimeApi
from boda.runtime.function import FunctionVersion
from boda.runtime.session import Session
from boda.runtime.stream import Source
from boda.sandbox.contract import Sandbox, SandboxError

_log = logging.getLogger(__name__)

Cause = Literal["timeout", "init", "entrypoint", "memory", "role", "platform", "dropped"]
_UNKNOWN = "Runtime.Unknown"
_KEYS_S = 300.0
"""So soon the keys that init fetches are said to lapse: what is forked asks for keys of its own."""


class SnapshotFailed(Exception):
    """There is no template.

    cause: ``timeout``, ``init`` (what the function or its hooks did), ``entrypoint`` and
    ``memory`` are the function's; ``role``: it does not give its keys; ``platform``: no sandbox;
    ``dropped``: nobody wants it any more. error_type: as the runtime named it, or "".
    """

    def __init__(self, cause: Cause, error_type: str = "", words: str = "") -> None:
        super().__init__(words or error_type or cause)
        self.cause: Cause = cause
        self.error_type = error_type


class Owner(Protocol):
    """Where templates live. dead: it is no more to be used; buried: nothing of it is left."""

    def template_ready(self, template: Template) -> None: ...

    def template_dead(self, template: Template) -> None: ...

    def template_buried(self, template: Template) -> None: ...

    def killed_by_machine(self) -> None: ...


class Template:
    """``start`` once; ``ready`` then returns or raises what became of it.

    leases: forks that are being made of it. used_at: when one was last made, or an environment of
    its version ended; monotonic.
    """

    def __init__(
        self,
        around: Surroundings,
        version: FunctionVersion,
        owner: Owner,
    ) -> None:
        self.id = around.ids.hex(32)
        self.version = version
        self.state: Literal["starting", "init", "snapshotted", "ready", "dead"] = "starting"
        self.leases = 0
        self.retiring = False
        self.used_at = self._born = around.clock.monotonic()
        self._around = around
        self._owner = owner
        self._clock = around.clock
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._stream = stream_name(version, around.clock.now(), self.id)
        self._reports = Reports(version, "snap-start")
        key = version.log_stream(self._stream)
        levels = levels_of(version.log.format, version.log.application_level)
        self._output = Output(key, around.telemetry, around.clock, levels)
        self._deadline = Alarm(around.clock, self._timed_out)
        self._sandbox: Sandbox | None = None
        self._session: Session | None = None
        self._api: RuntimeApi | None = None
        self._endpoint: Closable | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._tasks = Tasks()
        self._begun_s = self._born
        self._image_bytes = 0

    @property
    def sandbox(self) -> Sandbox:
        """What is forked; only while ready."""
        assert self._sandbox is not None
        return self._sandbox

    async def ready(self) -> None:
        """Return when it can be forked. SnapshotFailed."""
        await asyncio.shield(self._ready)

    def start(self) -> None:
        self._tasks.spawn(self._start())

    def destroy(self, error: SnapshotFailed | None = None) -> None:
        """Idempotent. error: told to who waits for it."""
        if self.state == "dead":
            return
        self.state = "dead"
        self._deadline.close()
        self._deafen()
        if not self._ready.done():
            self._ready.set_exception(error or SnapshotFailed("dropped"))
        self._owner.template_dead(self)
        if self._watcher is not None and self._watcher is not asyncio.current_task():
            self._watcher.cancel()
        self._tasks.spawn(self._bury())

    def _deafen(self) -> None:
        """There is no process any more that could speak or ask."""
        if self._session is not None:
            self._session.close()
        if self._api is not None:
            self._api.close()
        self._output.detach()
        if self._endpoint is not None:
            self._endpoint.close()

    async def destroyed(self) -> None:
        """Return when everything it began has ended."""
        await self._tasks.drain()

    @property
    def image_bytes(self) -> int:
        """What each fork of it begins with; to be asked for once one was made."""
        if not self._image_bytes:
            self._image_bytes = self.sandbox.usage().memory_bytes
        return self._image_bytes

    def memory_mb(self) -> int:
        """What it takes now."""
        alive = self._alive
        return 0 if alive is None else mib(alive.usage().memory_bytes)

    @property
    def _alive(self) -> Sandbox | None:
        return None if self.state == "dead" else self._sandbox

    def snapshot(self) -> Snapshot:
        alive = self._alive
        return Snapshot.of(
            self.version,
            id=self.id,
            state="template" if self.state == "ready" else "template-init",
            memory_bytes=0 if alive is None else alive.usage().memory_bytes,
            age_s=self._clock.monotonic() - self._born,
            pid=0 if alive is None else alive.pid,
        )

    async def _start(self) -> None:
        around, version = self._around, self.version
        try:
            await around.verify(version)
        except AwsError as error:
            self.destroy(SnapshotFailed("platform", "", error.message))
            return
        try:
            keys, metadata = around.keys(version, _KEYS_S), around.metadata(version)
            environment = variables(
                *(version, self._stream, keys, metadata.token, "snap-start"),
                endpoint_url=around.settings.endpoint_url,
            )
            spec = spec_of(version, self.id, environment, template=True)
            sandbox = await around.sandboxes.start(spec)
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
        self._endpoint = around.serve_endpoint(sandbox.endpoint, self.id)
        self._begun_s = min(self._clock.monotonic(), sandbox.began_s)
        begun_at = around.since(self._begun_s)
        extensions = extensions_of(self.version.layer_dirs)
        self._output.write(self._reports.init_start(begun_at, extensions=extensions), begun_at)
        self._deadline.set(self._begun_s + around.settings.snapshot_limit_s(version))
        self._session = session = Session(sandbox.channel, self)
        self._output.attach(sandbox.console, sandbox.log)
        self._api = RuntimeApi(
            sandbox.runtime_api, session, keys, self._clock, around.connections, metadata
        )
        session.open()
        self._watcher = self._tasks.spawn(self._watch(sandbox, session))

    async def _watch(self, sandbox: Sandbox, session: Session) -> None:
        end = await sandbox.wait_runtime()
        session.drain()  # whether it ended with an image
        if self.state == "init" and end.machine:
            self._report("failure", SANDBOX_FAILURE)
            self._owner.killed_by_machine()
            self.destroy(SnapshotFailed("platform", SANDBOX_FAILURE, "the machine ended it"))
        elif self.state == "init":
            error_type, words = describe_exit(end)
            self._failed("error", error_type, words)
        else:
            self._deafen()

    async def _bury(self) -> None:
        sandbox = self._sandbox
        if sandbox is not None:
            try:
                await sandbox.destroy()
            except Exception:
                _log.exception("sandbox %s could not be destroyed", self.id)
        self._owner.template_buried(self)

    # What the runtime says

    def runtime_snapshotted(self) -> None:
        if self.state != "init":
            self.runtime_broke("a second snapshot")
            return
        self._report("success")
        self.state = "snapshotted"
        self._tasks.spawn(self._ripen())

    async def _ripen(self) -> None:
        """The runtime may have lied: it is ready when the platform has seen its image."""
        try:
            await self._around.sandboxes.ripen(self.sandbox)
        except SandboxError as error:
            _log.warning("no image of %s: %s", self.version.qualified_arn, error)
            self.destroy(SnapshotFailed("init", _UNKNOWN, str(error)))
            return
        if self.state == "snapshotted":
            self.state = "ready"
            self._ready.set_result(None)
            self._owner.template_ready(self)

    def runtime_init_failed(self, error_type: str, body: bytes) -> None:
        if self.state == "init":
            words = refused_entry(error_type, body)
            if words is not None:
                line = f"RequestId: unknown Error: {words}\n{error_type}\n"
                self._output.write((line,), self._clock.now())
            self._failed("error", error_type, "")

    def runtime_broke(self, reason: str) -> None:
        _log.warning("the template of %s: %s", self.version.qualified_arn, reason)
        if self.state == "init":
            self._failed("error", _UNKNOWN, reason)
        else:
            self.destroy()

    def runtime_ready(self) -> None:
        self.runtime_broke("a template asked for an invocation")

    def runtime_answered(self, payload: bytes, ready: bool) -> None:
        self.runtime_broke("a template answered")

    def runtime_failed(self, error_type: str, body: bytes, ready: bool) -> None:
        self.runtime_broke("a template answered")

    def runtime_streams(self, content_type: str, source: Source) -> None:
        self.runtime_broke("a template answered")

    def runtime_part(self, data: bytes) -> None:
        self.runtime_broke("a template answered")

    def runtime_streamed(self, ready: bool) -> bool:
        self.runtime_broke("a template answered")
        return False

    # What comes of it

    def _timed_out(self) -> None:
        self._failed("timeout", "", "")

    def _failed(self, status: Status, error_type: str, words: str) -> None:
        self._report(status, error_type)
        cause: Cause = "init"
        if status == "timeout":
            cause = "timeout"
        elif error_type == OUT_OF_MEMORY:
            cause = "memory"
        elif error_type == INVALID_ENTRYPOINT:
            cause = "entrypoint"
        self.destroy(SnapshotFailed(cause, error_type, words))

    def _report(self, status: Status, error_type: str = "") -> None:
        self._deadline.clear()
        took_ms = (self._clock.monotonic() - self._begun_s) * 1000
        now = self._clock.now()
        self._output.drain()
        lines = self._reports.init_done(now, took_ms, "init", status, error_type)
        self._output.write(lines, now)
        record_init(self._around.telemetry, self.version, took_ms, now)
