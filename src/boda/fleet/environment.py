"""One execution environment: a sandbox, the runtime in it, and one invocation at a time.

Law: an environment belongs to one function version in one revision and one tenant, all its life.
What an old runtime process says is never heard by a new one's session; what is not an answer to
the invocation in hand ends the environment, and its caller gets an error, never somebody else's
answer.

The runtime's words arrive as callbacks (``runtime_*``), so that an invocation needs no task and no
timer of its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

from boda.core.errors import AwsError
from boda.core.tasks import Tasks
from boda.fleet.alarm import Alarm
from boda.fleet.exits import (
    EXIT_ERROR,
    SANDBOX_FAILURE,
    TIMED_OUT,
    describe_exit,
    error_body,
    refused_entry,
    timeout_words,
)
from boda.fleet.extensions import extensions_of
from boda.fleet.levels import levels_of
from boda.fleet.lifecycle import AVAILABLE, State, move
from boda.fleet.output import Output
from boda.fleet.refusals import ended_by_machine
from boda.fleet.reports import Figures, Phase, Reports, Restored, Status, stream_name
from boda.fleet.surroundings import Closable, Snapshot, Surroundings, mib, spec_of
from boda.fleet.templates import Templates, restore_failed, restore_timed_out
from boda.fleet.variables import variables
from boda.runtime.api import RuntimeApi
from boda.runtime.call import Call, Outcome
from boda.runtime.credentials import ContainerCredentials, RoleCredential
from boda.runtime.frames import Invocation
from boda.runtime.function import FunctionVersion, Initialization
from boda.runtime.session import RESPONSE_TOO_LARGE, Session, too_large_body
from boda.runtime.stream import Joined, Sink, Source
from boda.sandbox.contract import Sandbox, SandboxError, SandboxSpec

_log = logging.getLogger(__name__)

_SAMPLE_EVERY_S = 0.02


class Owner(Protocol):
    """Where environments live."""

    def environment_available(self, environment: Environment) -> None: ...

    def environment_stopping(self, environment: Environment) -> None: ...

    def environment_dead(self, environment: Environment, error: Exception | None) -> None: ...

    def killed_by_machine(self) -> None: ...


class Gone(Exception):
    """The environment died before it took the invocation; another one can."""


Ended = Callable[[Outcome | None, Exception | None], None]
"""Hears once how an invocation ended: with an outcome, or with an error and no outcome. It is
called when the environment can take the next one, and must not raise."""


class Environment:
    """See the module. ``start`` once; then ``run`` whenever it is available.

    provisioned: kept whether or not calls need it. initialised: its runtime was ready once.
    killed: the machine ended it.
    templates: given where it is to be forked from its version's template; such a one is not reset
    after a failure, since another is forked as fast.
    """

    def __init__(
        self,
        around: Surroundings,
        owner: Owner,
        version: FunctionVersion,
        tenant: str,
        *,
        provisioned: bool = False,
        templates: Templates | None = None,
    ) -> None:
        self.provisioned = provisioned
        self.initialised = False
        self.killed = False
        self._templates = templates
        self._initialization: Initialization = "on-demand"
        if templates is not None:
            self._initialization = "snap-start"
        elif provisioned:
            self._initialization = "provisioned-concurrency"
        self.id = around.ids.hex(32)
        self.version = version
        self.tenant = tenant
        self.state: State = "starting"
        self.retiring = False
        self.idle_since = 0.0
        self.invocations = 0
        self.retire_at = math.inf
        self.frozen = False
        self._around = around
        self._owner = owner
        self._clock = around.clock
        self._born = around.clock.monotonic()
        self._stream = stream_name(version, around.clock.now(), self.id)
        self._reports = Reports(version, self._initialization)
        key = version.log_stream(self._stream)
        levels = levels_of(version.log.format, version.log.application_level)
        self._output = Output(key, around.telemetry, around.clock, levels)
        self._deadline = Alarm(around.clock, self._deadline_reached)
        self._freeze = Alarm(around.clock, self._freeze_now)
        self._sandbox: Sandbox | None = None
        self._session: Session | None = None
        self._api: RuntimeApi | None = None
        self._keys: ContainerCredentials | None = None
        self._metadata = around.metadata(version)
        self._endpoint: Closable | None = None
        self._tasks = Tasks()
        self._watcher: asyncio.Task[None] | None = None
        self._call: Call | None = None
        self._ended: Ended | None = None
        self._sink: Sink | None = None
        self._begun_s = 0.0
        self._invoked_at = 0.0
        self._init_begun_s = 0.0
        self._init_ms: float | None = None
        self._restored: Restored | None = None
        self._peak_bytes = 0
        self._begun_with_bytes = 0
        self._sampled_s = -math.inf

    # Life

    async def start(self) -> None:
        """Make the sandbox and begin init; the owner hears of what becomes of it."""
        around, version = self._around, self.version
        try:
            spec = spec_of(version, self.id, self._variables())
            if self._templates is None:
                await around.verify(version)
                sandbox = await around.sandboxes.start(spec)
            else:
                sandbox = await self._forked(self._templates, spec)
        except SandboxError as error:
            _log.warning("no environment for %s: %s", version.qualified_arn, error)
            self._not_started(error)
            return
        except AwsError as error:  # the role does not give its keys, or there is no template
            self._not_started(error)
            return
        except Exception as error:
            _log.exception("no environment for %s", version.qualified_arn)
            self._not_started(error)
            return
        if self.state == "dead":
            await sandbox.destroy()
            return
        self._sandbox = sandbox
        self._move("started")
        self._endpoint = around.serve_endpoint(sandbox.endpoint, self.id)
        if self._templates is not None:
            begun_at = around.since(self._init_begun_s)
            self._output.write(self._reports.restore_start(begun_at), begun_at)
            self._deadline.set(self._init_begun_s + around.settings.restore_limit_s)
            self._listen()
            return
        # It ran before the platform heard of it.
        self._init_begun_s = min(self._clock.monotonic(), sandbox.began_s)
        begun_at = around.since(self._init_begun_s)
        extensions = extensions_of(version.layer_dirs)
        lines = self._reports.init_start(begun_at, extensions=extensions)
        self._output.write(lines, begun_at)
        limit_s = around.settings.init_limit_s
        if self.provisioned:
            limit_s = max(around.settings.provisioned_init_limit_s, version.timeout_s)
        self._deadline.set(self._init_begun_s + limit_s)
        self._listen()

    async def _forked(self, templates: Templates, spec: SandboxSpec) -> Sandbox:
        """A fork of the version's template; where that one has failed, of a new one."""
        failed = False
        while True:
            template = await templates.lease(self.version, retiring=self.retiring)
            try:
                self._init_begun_s = self._clock.monotonic()
                sandbox = await self._around.sandboxes.fork(template.sandbox, spec)
                self._begun_with_bytes = template.image_bytes
                return sandbox
            except SandboxError as error:
                template.destroy()
                if failed or self.state == "dead":
                    raise
                failed = True
                _log.warning("a new template of %s: %s", self.version.qualified_arn, error)
            finally:
                templates.release(template)

    def _not_started(self, error: Exception) -> None:
        if self.state != "dead":
            self._die(error)

    def destroy(self) -> None:
        """End it now, whatever it does; a running invocation fails. Idempotent."""
        if self.state == "dead":
            return
        stopped = AwsError("ServiceException", "The execution environment was stopped.", 500)
        self._abandon(stopped)

    @property
    def forked(self) -> bool:
        """Whether it is made of its version's template."""
        return self._templates is not None

    async def destroyed(self) -> None:
        """Return when everything it began has ended."""
        await self._tasks.drain()

    def lapsed(self, now_s: float) -> bool:
        """Whether its role's credentials are near their end; never before it served at all.

        now_s: epoch seconds, as credentials end by the wall clock, also after it has jumped.
        """
        return self.retire_at <= now_s and self.invocations > 0

    @property
    def peak_bytes(self) -> int:
        """The highest use of memory that was seen since its runtime began."""
        return self._peak_bytes

    def memory_mb(self) -> int:
        """What it uses now."""
        return mib(self._memory_bytes())

    def _memory_bytes(self) -> int:
        if self._sandbox is None or self.state == "dead":
            return 0
        return self._sandbox.usage().memory_bytes

    def snapshot(self) -> Snapshot:
        return Snapshot.of(
            self.version,
            id=self.id,
            state=self.state,
            frozen=self.frozen,
            memory_bytes=self._memory_bytes(),
            age_s=self._clock.monotonic() - self._born,
            invocations=self.invocations,
            pid=self._sandbox.pid if self._sandbox is not None else 0,
        )

    def _variables(self) -> dict[str, str]:
        settings, version = self._around.settings, self.version
        if self._templates is not None:
            self._keys = self._around.keys(version)
            return self._variables_with(self._keys)
        credential = self._around.credentials(version)
        if credential.expires_at is not None:
            margin = settings.credentials_margin_s + version.timeout_s
            self.retire_at = credential.expires_at - margin
        return self._variables_with(credential)

    def _variables_with(self, keys: RoleCredential | ContainerCredentials) -> dict[str, str]:
        return variables(
            self.version,
            self._stream,
            keys,
            self._metadata.token,
            self._initialization,
            endpoint_url=self._around.settings.endpoint_url,
        )

    def _listen(self) -> None:
        """Begin with the present runtime process of the sandbox."""
        sandbox = self._sandbox
        assert sandbox is not None
        session = Session(sandbox.channel, self)
        self._session = session
        self._output.attach(sandbox.console, sandbox.log)
        if self._api is None:
            self._api = RuntimeApi(
                sandbox.runtime_api,
                session,
                self._keys,
                self._clock,
                self._around.connections,
                self._metadata,
            )
        else:
            self._api.renew(session)
        session.open()
        self._watcher = self._tasks.spawn(self._watch(sandbox, session))

    def _deafen(self) -> None:
        """Hear nothing more of the present runtime process; its output so far is kept."""
        if self._session is not None:
            self._session.close()
            self._session = None
        self._output.detach()

    async def _watch(self, sandbox: Sandbox, session: Session) -> None:
        end = await sandbox.wait_runtime()
        if self._session is not session:
            return
        session.drain()  # an answer that was given before the end counts
        if self._session is not session:
            return
        if end.machine:
            self._killed_by_machine()
        else:
            self._runtime_ended(*describe_exit(end))

    def _killed_by_machine(self) -> None:
        """The kernel took the memory for others. That is no outcome of an invocation, and what an
        init inside an invocation has not reached can be run by another environment."""
        _log.warning("the machine ended an environment of %s", self.version.qualified_arn)
        self.killed = True
        self._owner.killed_by_machine()
        now = self._clock.now()
        if self.state in ("init", "resetting"):
            phase: Phase = "init" if self.state == "init" else "invoke"
            took_ms = (self._clock.monotonic() - self._init_begun_s) * 1000
            self._output.drain()
            lines = self._reports.init_done(now, took_ms, phase, "failure", SANDBOX_FAILURE)
            self._output.write(lines, now)
        tell = _nothing
        if self._call is not None and self.state == "resetting":
            ended = self._let_go()
            if ended is not None:
                tell = partial(ended, None, Gone())
        else:
            tell = self._conclude("failure", b"", SANDBOX_FAILURE, True, ended_by_machine())
        self._die(None)
        tell()

    def _runtime_ended(self, error_type: str, words: str) -> None:
        if self.state == "idle" and self._templates is not None:
            self._die(None)
        elif self.state in ("init", "resetting"):
            self._init_failed("error", error_type, None, words)
        elif self.state == "busy":
            if self._call is not None:
                self._fail("error", error_type, words)
            else:
                # It answered and ended before it asked for more.
                self._deadline.clear()
                self._move("fail")
                self._stop()
        elif self.state == "idle":
            self._deafen()
            self._move("exit")

    def _die(self, error: Exception | None) -> None:
        self.state = move(self.state, "destroy")
        self._deadline.close()
        self._freeze.close()
        if self._api is not None:
            self._api.close()
        self._deafen()
        if self._endpoint is not None:
            self._endpoint.close()
        self._owner.environment_dead(self, error)
        if self._watcher is not None and self._watcher is not asyncio.current_task():
            self._watcher.cancel()
        if self._sandbox is not None:
            self._tasks.spawn(self._destroy_sandbox(self._sandbox))

    async def _destroy_sandbox(self, sandbox: Sandbox) -> None:
        try:
            await sandbox.destroy()
        except Exception:
            _log.exception("sandbox %s could not be destroyed", self.id)

    # Invocations

    def run(self, call: Call, ended: Ended) -> None:
        """Begin an invocation. ended: gets its outcome, or an AwsError, or Gone; perhaps before
        this returns."""
        if self.state not in AVAILABLE:
            ended(None, Gone())
            return
        self._move("assign")
        clock = self._clock
        self._call, self._ended = call, ended
        self._begun_s = clock.monotonic()
        self._invoked_at = clock.now()
        self.invocations += 1
        if self.frozen:
            self._thaw()
        self._freeze.clear()
        if call.tail:
            self._output.begin_tail()
        if self.state == "busy":
            # Before anything is noted of it, so that the function works meanwhile. What it
            # writes is read later, and so stands behind START in any case.
            self._hand_over()
            self._log_start(self._invoked_at)
        else:
            self._tasks.spawn(self._reset())
        self._deadline.set(self._begun_s + self.version.timeout_s)

    def _log_start(self, now_s: float) -> None:
        """Behind an init inside the invocation, as on AWS."""
        self._output.write(self._reports.start(now_s, self._request_id), now_s)

    def _hand_over(self) -> None:
        call, session = self._call, self._session
        assert call is not None and session is not None
        session.invoke(
            Invocation(
                self._around.ids.bytes(8),
                call.request_id,
                int((self._invoked_at + self.version.timeout_s) * 1000),
                call.invoked_arn,
                call.payload,
                call.trace_id,
                call.client_context,
                "",
                call.tenant,
            )
        )

    async def _reset(self) -> None:
        """Start the runtime again in the same sandbox; its init is part of the invocation."""
        sandbox = self._sandbox
        assert sandbox is not None
        self._init_begun_s = self._clock.monotonic()
        self._init_ms = None
        if self._api is not None:
            self._api.hold()
        try:
            await sandbox.restart(self._variables())
        except Exception as error:
            _log.warning("environment %s could not be reset: %s", self.id, error)
            if self.state == "resetting":
                self._abandon(Gone())
            return
        self._peak_bytes, self._sampled_s = 0, -math.inf
        sandbox.reset_peak()
        if self.state == "resetting":
            now = self._clock.now()
            self._output.write(self._reports.init_start(now, "invoke"), now)
            self._listen()

    def _abandon(self, error: Exception) -> None:
        """Die, without an outcome for the invocation in hand."""
        ended = self._let_go()
        self._die(None)
        if ended is not None:
            ended(None, error)

    def _let_go(self) -> Ended | None:
        """Nothing more counts for the invocation in hand."""
        ended = self._ended
        self._call = self._ended = None
        if self._sink is not None:
            self._sink.detach()
            self._sink = None
        return ended

    # What the runtime says

    def runtime_ready(self) -> None:
        self.initialised = True
        if self.state == "init" and self._templates is not None:
            self._restore_done()
        elif self.state == "init":
            self._deadline.clear()
            self._init_ms = (self._clock.monotonic() - self._init_begun_s) * 1000
            now = self._clock.now()
            self._output.drain()
            self._output.write(self._reports.init_done(now, self._init_ms, "init", "success"), now)
            self._tell_init_done()
            self._move("ready")
            self._available()
        elif self.state == "resetting":
            took_ms = (self._clock.monotonic() - self._init_begun_s) * 1000
            now = self._clock.now()
            self._output.drain()
            self._output.write(self._reports.init_done(now, took_ms, "invoke", "success"), now)
            self._log_start(now)
            self._tell_init_done()
            self._move("ready")
            self._hand_over()
        elif self.state == "busy" and self._call is None:
            self._finish()

    def runtime_init_failed(self, error_type: str, body: bytes) -> None:
        if self.state not in ("init", "resetting"):
            return
        words = refused_entry(error_type, body)
        if words is not None:
            line = f"RequestId: {self._request_id} Error: {words}\n{error_type}\n"
            self._output.write([line], self._clock.now())
            self._init_failed("error", error_type, None, words)
        else:
            self._init_failed("error", error_type, body, "")

    def runtime_snapshotted(self) -> None:
        self.runtime_broke("the runtime says that it is a template, which it is not")

    def runtime_answered(self, payload: bytes, ready: bool) -> None:
        tell = self._conclude("success", payload, "", False)
        if ready:
            self._finish()
        tell()

    def runtime_streams(self, content_type: str, source: Source) -> None:
        call = self._call
        if call is not None:
            self._sink = call.stream or Joined()
            self._sink.begin(content_type, source)

    def runtime_part(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.feed(data)

    def runtime_streamed(self, ready: bool) -> bool:
        sink = self._sink
        if sink is None:
            return True
        if sink.overflowed:
            self.runtime_failed(RESPONSE_TOO_LARGE, too_large_body(sink.limit), ready)
            return False
        self.runtime_answered(sink.payload, ready)
        return True

    def runtime_failed(self, error_type: str, body: bytes, ready: bool) -> None:
        if not body and self._sink is not None:
            body = self._sink.payload  # it broke off without a word
        fault = error_type == RESPONSE_TOO_LARGE
        tell = self._conclude("error", body, error_type or "Runtime.Unknown", fault)
        if ready:
            self._finish()
        tell()

    def runtime_broke(self, reason: str) -> None:
        _log.warning("environment %s of %s: %s", self.id, self.version.qualified_arn, reason)
        words = "Runtime broke the protocol"
        if self.state in ("init", "resetting"):
            self._init_failed("error", "Runtime.Unknown", None, words)
            return
        tell = _nothing
        if self._call is not None:
            body = error_body("Runtime.Unknown", self._call.request_id, words)
            tell = self._conclude("error", body, "Runtime.Unknown", True)
        if self.state != "dead":
            self._die(None)
        tell()

    # What comes of it

    def _restore_done(self) -> None:
        self._deadline.clear()
        ended_s = self._clock.monotonic()
        restore_ms = (ended_s - self._init_begun_s) * 1000
        assert self._sandbox is not None
        own_s = ended_s - min(ended_s, max(self._sandbox.began_s, self._init_begun_s))
        self._restored = Restored(restore_ms, math.ceil(own_s * 1000))
        self._output.drain()
        now = self._clock.now()
        self._output.write(self._reports.restore_done(now, restore_ms, "success"), now)
        self._tell_init_done()
        self._move("ready")
        self._available()

    def _restore_failed(self, status: Status, error_type: str) -> None:
        """Nobody could run in what became of it."""
        took_ms = (self._clock.monotonic() - self._init_begun_s) * 1000
        self._deafen()
        kind = "" if status == "timeout" else error_type
        now = self._clock.now()
        self._output.write(self._reports.restore_done(now, took_ms, status, kind), now)
        self._die(restore_timed_out() if status == "timeout" else restore_failed())

    def _finish(self) -> None:
        """The runtime waits for the next invocation."""
        self._deadline.clear()
        self._move("finish")
        self._available()

    def _available(self) -> None:
        self.idle_since = self._clock.monotonic()
        self._freeze.set(self.idle_since + self._around.settings.freeze_after_s)
        self._owner.environment_available(self)

    def _deadline_reached(self) -> None:
        if self.state == "init":
            self._init_failed("timeout", "", None, "")
        elif self.state == "resetting":
            self._init_failed("timeout", TIMED_OUT, None, timeout_words(self.version.timeout_s))
        elif self.state == "busy":
            if self._call is not None:
                self._fail("timeout", TIMED_OUT, timeout_words(self.version.timeout_s))
            else:
                self._move("fail")
                self._stop()

    def _init_failed(self, status: Status, error_type: str, body: bytes | None, words: str) -> None:
        """Init failed: before any invocation it is tried again inside the first one, inside an
        invocation it is that invocation's error."""
        if self._templates is not None:
            self._restore_failed(status, error_type)
            return
        phase: Phase = "init" if self.state == "init" else "invoke"
        took_ms = (self._clock.monotonic() - self._init_begun_s) * 1000
        self._deadline.clear()
        self._deafen()
        kind = "" if status == "timeout" else error_type
        now = self._clock.now()
        self._output.write(self._reports.init_done(now, took_ms, phase, status, kind), now)
        tell = _nothing
        if self._call is not None:
            self._log_start(now)
            if body is None:
                body = error_body(error_type or EXIT_ERROR, self._call.request_id, words)
            tell = self._conclude(status, body, error_type or EXIT_ERROR, True)
        self._init_ms = None
        self._move("fail")
        self._stop()
        tell()

    def _fail(self, status: Status, error_type: str, words: str) -> None:
        """A timeout or the end of the process during the invocation."""
        call = self._call
        assert call is not None
        self._deafen()
        body = error_body(error_type, call.request_id, words)
        tell = self._conclude(status, body, error_type, True)
        self._deadline.clear()
        self._move("fail")
        self._stop()
        tell()

    def _stop(self) -> None:
        """Let no process of the runtime live on; then the environment can be reset."""
        self._deafen()
        if self._templates is not None:
            self._die(None)
            return
        assert self._sandbox is not None
        self._owner.environment_stopping(self)
        self._tasks.spawn(self._stopped(self._sandbox))

    async def _stopped(self, sandbox: Sandbox) -> None:
        try:
            await sandbox.stop_runtime()
        except Exception as error:
            _log.warning("environment %s could not be stopped: %s", self.id, error)
            if self.state != "dead":
                self._die(None)
            return
        if self.state == "stopping":
            self._move("stopped")
            self._available()

    def _conclude(
        self,
        status: Status,
        payload: bytes,
        error_type: str,
        fault: bool,
        error: AwsError | None = None,
    ) -> Callable[[], None]:
        """Log the end of the invocation.

        Returns what gives its caller the outcome, or ``error`` instead: to be called when this
        environment is ready for the next invocation, which the caller may begin at once.
        """
        call, ended = self._call, self._let_go()
        if call is None or ended is None:
            return _nothing
        ended_s = self._clock.monotonic()
        output = self._output
        output.drain()
        duration_ms = (ended_s - self._begun_s) * 1000
        if status == "timeout":
            duration_ms = self.version.timeout_s * 1000.0
        init_ms, self._init_ms = self._init_ms, None
        billed_ms = max(1, math.ceil(duration_ms + (init_ms or 0.0)))
        restored, self._restored = self._restored, None
        if restored is not None:
            billed_ms += restored.billed_ms
        memory_mb = self._memory_mb(ended_s)
        now = self._clock.now()
        figures = Figures(
            duration_ms, billed_ms, memory_mb, init_ms, status, error_type, fault, restored
        )
        output.write(self._reports.end(now, call.request_id, figures), now)
        if error is not None:
            return partial(ended, None, error)
        outcome = Outcome(
            payload,
            self.version.version,
            "" if status == "success" else "Unhandled",
            error_type,
            duration_ms,
            billed_ms,
            init_ms,
            memory_mb,
            output.end_tail() if call.tail else b"",
            self._invoked_at,
        )
        return partial(ended, outcome, None)

    def _memory_mb(self, now_s: float) -> int:
        """The highest use so far. Invocations that follow closely share a measurement, which
        costs a system call."""
        assert self._sandbox is not None
        if now_s - self._sampled_s > _SAMPLE_EVERY_S:
            self._sampled_s = now_s
            self._peak_bytes = max(self._peak_bytes, self._sandbox.peak_bytes())
        # The kernel lets it have a little more than AWS's limit, which is told as the limit.
        used_bytes = self._begun_with_bytes + self._sandbox.shared_bytes + self._peak_bytes
        return min(mib(used_bytes), self.version.memory_mb)

    # Small things

    def _freeze_now(self) -> None:
        if self.state in AVAILABLE and not self.frozen and self._sandbox is not None:
            self._sandbox.freeze()
            self.frozen = True

    def _thaw(self) -> None:
        assert self._sandbox is not None
        self._sandbox.thaw()
        self.frozen = False

    @property
    def _request_id(self) -> str:
        return self._call.request_id if self._call is not None else "unknown"

    def _tell_init_done(self) -> None:
        """Init may use a whole vCPU, invocations the share of their memory."""
        assert self._sandbox is not None
        self._sandbox.init_done()

    def _move(self, event: str) -> None:
        self.state = move(self.state, event)


def _nothing() -> None:
    """There is nobody to tell."""
