"""One execution environment: a sandbox, the runtime in it, and one invocation at a time.

Law: an environment belongs to one function version in one revision and one tenant, all its life.
What an old runtime process sends never reaches a new one's session; what is not an answer to the
invocation in hand ends the environment, and its caller gets an error, never somebody else's
answer.

The runtime's messages arrive as callbacks (``runtime_*``), so that an invocation needs no task and
no timer of its own.
"""

from __future__ import annotations

import logging
import math
from typing import Protocol

from boda.core.errors import AwsError
from boda.core.tasks import Tasks
from boda.fleet.active_invocation import ActiveInvocation
from boda.fleet.alarm import Alarm
from boda.fleet.context import FleetContext
from boda.fleet.environment_log import EnvironmentLog
from boda.fleet.exits import (
    SANDBOX_FAILURE,
    UNKNOWN,
    RuntimeFailure,
    exit_failure,
    init_failure,
    timeout_failure,
)
from boda.fleet.extensions import extensions_of
from boda.fleet.launcher import Launcher
from boda.fleet.lifecycle import AVAILABLE, State, move
from boda.fleet.peak_memory import PeakMemory, mib
from boda.fleet.refusals import ended_by_machine, restore_failed, restore_timed_out
from boda.fleet.reports import Phase, RestoreTimes
from boda.fleet.runtime_link import RuntimeLink
from boda.fleet.status import EnvironmentStatus
from boda.fleet.templates import Templates
from boda.runtime.call import Call, Done
from boda.runtime.function import FunctionVersion, Initialization
from boda.runtime.session import RESPONSE_TOO_LARGE, too_large_body
from boda.runtime.stream import FlowControl, ResponseSink
from boda.sandbox.contract import Exit, Sandbox

_log = logging.getLogger(__name__)


class EnvironmentOwner(Protocol):
    """The fleet, as its environments call it."""

    def environment_available(self, environment: Environment) -> None: ...

    def environment_stopping(self, environment: Environment) -> None: ...

    def environment_dead(self, environment: Environment, error: Exception | None) -> None: ...

    def killed_by_machine(self) -> None: ...


class EnvironmentLost(Exception):
    """The environment died before it took the invocation; another one can take it."""


class Environment:
    """Runs the invocations of one function version. ``start`` once, then ``run`` when available.

    provisioned: kept whether or not calls need it. initialised: its runtime was ready once.
    killed: the kernel killed it for the machine's memory. retire_at: when its role's credentials
    are near their end, epoch seconds. templates: of the fleet, if it is forked from its version's
    template. Such an environment is not reset after a failure: another fork is as fast.
    """

    def __init__(
        self,
        context: FleetContext,
        owner: EnvironmentOwner,
        version: FunctionVersion,
        tenant: str,
        *,
        provisioned: bool = False,
        templates: Templates | None = None,
    ) -> None:
        self.provisioned = provisioned
        self.initialised = False
        self.killed = False
        initialization: Initialization = "on-demand"
        if templates is not None:
            initialization = "snap-start"
        elif provisioned:
            initialization = "provisioned-concurrency"
        self._templates = templates
        self.id = context.ids.hex(32)
        self.version = version
        self.tenant = tenant
        self.state: State = "starting"
        self.retiring = False
        self.idle_since = 0.0
        self.invocations = 0
        self.retire_at = math.inf
        self.frozen = False
        self._context = context
        self._owner = owner
        self._clock = context.clock
        self._created_s = context.clock.monotonic()
        self._log = EnvironmentLog(context, version, self.id, initialization)
        self._deadline = Alarm(context.clock, self._deadline_reached)
        self._freeze = Alarm(context.clock, self._freeze_now)
        self._tasks = Tasks()
        self._link = RuntimeLink(
            context, version, self._log.output, self, self._tasks, self._runtime_exited
        )
        self._memory = PeakMemory(version.memory_mb)
        self._invocation = ActiveInvocation(context, version, self._log, self._memory)
        self._launcher = Launcher(
            *(context, version, self.id, self._log, self._memory),
            *(templates, initialization, self._link.metadata.token),
        )
        self._sandbox: Sandbox | None = None

    # Start and end

    async def start(self) -> None:
        """Make the sandbox and start init. Its end, good or bad, is reported to the owner."""
        try:
            sandbox = await self._launcher.launch(self)
        except Exception as error:
            if self.state != "dead":
                self._die(error)
            return
        if self.state == "dead":
            await sandbox.destroy()
            return
        self._sandbox = sandbox
        self.retire_at = self._launcher.retire_at
        self._move("started")
        self._link.serve_endpoint(sandbox, self.id)
        if self._templates is not None:
            self._log.restore_started()
        else:
            self._log.init_started("init", extensions_of(self.version.layer_dirs))
        self._deadline.set(self._log.init_begun_s + self._init_limit_s)
        self._link.attach(sandbox, self._launcher.credentials)

    @property
    def _init_limit_s(self) -> float:
        settings = self._context.settings
        if self._templates is not None:
            return settings.restore_limit_s
        if self.provisioned:
            return max(settings.provisioned_init_limit_s, self.version.timeout_s)
        return settings.init_limit_s

    def destroy(self) -> None:
        """End the environment in whatever state; a running invocation fails. Idempotent."""
        if self.state == "dead":
            return
        stopped = AwsError("ServiceException", "The execution environment was stopped.", 500)
        self._abandon(stopped)

    async def destroyed(self) -> None:
        """Return when all that the environment had started has ended."""
        await self._tasks.drain()

    def _abandon(self, error: Exception) -> None:
        """Die, and let the caller of the invocation in hand have an error."""
        ended = self._invocation.drop()
        self._die(None)
        if ended is not None:
            ended(None, error)

    def _die(self, error: Exception | None) -> None:
        self._move("destroy")
        self._deadline.close()
        self._freeze.close()
        self._link.close()
        self._owner.environment_dead(self, error)
        if self._sandbox is not None:
            self._tasks.spawn(self._destroy_sandbox(self._sandbox))

    async def _destroy_sandbox(self, sandbox: Sandbox) -> None:
        try:
            await sandbox.destroy()
        except Exception:
            _log.exception("sandbox %s could not be destroyed", self.id)

    # Status

    @property
    def forked(self) -> bool:
        """Whether it is forked from its version's template."""
        return self._templates is not None

    def lapsed(self, now_s: float) -> bool:
        """Whether its role's credentials are near their end; False before the first invocation.

        now_s: epoch seconds, as credentials end by the wall clock, also after it has jumped.
        """
        return self.retire_at <= now_s and self.invocations > 0

    @property
    def peak_bytes(self) -> int:
        return self._memory.peak_bytes

    def memory_mb(self) -> int:
        """Return the memory in use now, in MiB."""
        return mib(self._memory_bytes())

    def _memory_bytes(self) -> int:
        if self._sandbox is None or self.state == "dead":
            return 0
        return self._sandbox.usage().memory_bytes

    def status(self) -> EnvironmentStatus:
        return EnvironmentStatus.of(
            self.version,
            id=self.id,
            state=self.state,
            frozen=self.frozen,
            memory_bytes=self._memory_bytes(),
            age_s=self._clock.monotonic() - self._created_s,
            invocations=self.invocations,
            pid=self._sandbox.pid if self._sandbox is not None else 0,
        )

    # Invocations

    def run(self, call: Call, ended: Done) -> None:
        """Start an invocation.

        ended: called exactly once, possibly before this returns, with the outcome, an AwsError or
        EnvironmentLost. By then the environment can run the next call.
        """
        if self.state not in AVAILABLE:
            ended(None, EnvironmentLost())
            return
        self.state = move(self.state, "assign")
        invocation = self._invocation
        invocation.take(call, ended)
        self.invocations += 1
        if self.frozen:
            self._thaw()
        self._freeze.clear()
        if self.state == "busy":
            # Before START is written, so that the function works meanwhile. What it writes is read
            # later, and so stands behind START in any case.
            self._hand_over()
            self._log.invocation_started(call.request_id, invocation.invoked_at)
        else:
            self._tasks.spawn(self._reset())
        self._deadline.set(invocation.begun_s + self.version.timeout_s)

    def _hand_over(self) -> None:
        session = self._link.session
        assert session is not None
        session.invoke(self._invocation.message())

    async def _reset(self) -> None:
        """Start the runtime again in the same sandbox; its init is part of the invocation."""
        sandbox = self._sandbox
        assert sandbox is not None
        self._log.init_begun_s = self._clock.monotonic()
        self._invocation.init_ms = None
        self._link.hold()
        try:
            variables = self._launcher.variables()
            self.retire_at = self._launcher.retire_at
            await sandbox.restart(variables)
        except Exception as error:
            _log.warning("environment %s could not be reset: %s", self.id, error)
            if self.state == "resetting":
                self._abandon(EnvironmentLost())
            return
        self._memory.reset()
        if self.state == "resetting":
            self._log.init_started("invoke")
            self._link.attach(sandbox, self._launcher.credentials)

    # Callbacks of the session

    def runtime_ready(self) -> None:
        self.initialised = True
        if self.state == "init":
            self._deadline.clear()
            if self._templates is not None:
                self._restored()
            else:
                self._log.init_ended("init", "success")
                self._invocation.init_ms = self._log.init_ms
            self._end_init()
            self._available()
        elif self.state == "resetting":
            self._log.init_ended("invoke", "success")
            self._log.invocation_started(self._invocation.request_id, self._clock.now())
            self._end_init()
            self._hand_over()
        elif self.state == "busy" and self._invocation.call is None:
            self._finish()

    def _restored(self) -> None:
        """Log the restore, which the first invocation is billed for."""
        assert self._sandbox is not None
        log = self._log
        log.restore_ended("success")
        own_begun_s = min(log.init_ended_s, max(self._sandbox.began_s, log.init_begun_s))
        billed_ms = math.ceil((log.init_ended_s - own_begun_s) * 1000)
        self._invocation.restore = RestoreTimes(log.init_ms, billed_ms)

    def _end_init(self) -> None:
        """From now on the runtime has the share of CPU that goes with its memory."""
        assert self._sandbox is not None
        self._sandbox.init_done()
        self._move("ready")

    def runtime_init_failed(self, error_type: str, body: bytes) -> None:
        if self.state in ("init", "resetting"):
            failure = init_failure(error_type, body)
            if failure.body is None:
                self._log.entry_refused(self._invocation.request_id, failure)
            self._init_failed(failure)

    def runtime_snapshotted(self) -> None:
        self.runtime_broke("the runtime says that it is a template, which it is not")

    def runtime_answered(self, payload: bytes, ready: bool) -> None:
        pass_on = self._invocation.conclude("success", payload, "", False)
        if ready:
            self._finish()
        pass_on()

    def runtime_streams(self, content_type: str, source: FlowControl) -> ResponseSink | None:
        return self._invocation.open_stream(content_type, source)

    def runtime_streamed(self, ready: bool) -> bool:
        sink = self._invocation.sink
        if sink is None:
            return True
        if sink.overflowed:
            self.runtime_failed(RESPONSE_TOO_LARGE, too_large_body(sink.limit), ready)
            return False
        self.runtime_answered(sink.payload, ready)
        return True

    def runtime_failed(self, error_type: str, body: bytes, ready: bool) -> None:
        sink = self._invocation.sink
        if not body and sink is not None:
            body = sink.payload  # the stream broke off without an error
        fault = error_type == RESPONSE_TOO_LARGE
        pass_on = self._invocation.conclude("error", body, error_type or UNKNOWN, fault)
        if ready:
            self._finish()
        pass_on()

    def runtime_broke(self, reason: str) -> None:
        _log.warning("environment %s of %s: %s", self.id, self.version.qualified_arn, reason)
        failure = RuntimeFailure("error", UNKNOWN, "Runtime broke the protocol")
        if self.state in ("init", "resetting"):
            self._init_failed(failure)
            return
        pass_on = self._invocation.fail(failure)
        if self.state != "dead":
            self._die(None)
        pass_on()

    # The end of an invocation, of the runtime process, of a deadline

    def _finish(self) -> None:
        """The runtime waits for the next invocation."""
        self._deadline.clear()
        self.state = move(self.state, "finish")
        self._available()

    def _available(self) -> None:
        self.idle_since = self._clock.monotonic()
        self._freeze.set(self.idle_since + self._context.settings.freeze_after_s)
        self._owner.environment_available(self)

    def _runtime_exited(self, end: Exit) -> None:
        if end.machine:
            self._killed_by_machine()
        elif self.state != "idle":
            self._fail(exit_failure(end))
        elif self._templates is not None:
            self._die(None)
        else:
            self._link.detach()
            self._move("exit")

    def _killed_by_machine(self) -> None:
        """The kernel took the memory for others. That is no outcome of an invocation, and what an
        init inside an invocation has not reached can be run by another environment."""
        _log.warning("the machine ended an environment of %s", self.version.qualified_arn)
        self.killed = True
        self._owner.killed_by_machine()
        if self.state in ("init", "resetting"):
            phase: Phase = "init" if self.state == "init" else "invoke"
            self._log.init_ended(phase, "failure", SANDBOX_FAILURE)
        if self.state == "resetting":
            self._abandon(EnvironmentLost())
            return
        pass_on = self._invocation.conclude(
            "failure", b"", SANDBOX_FAILURE, True, ended_by_machine()
        )
        self._die(None)
        pass_on()

    def _deadline_reached(self) -> None:
        self._fail(timeout_failure(self.version.timeout_s))

    def _fail(self, failure: RuntimeFailure) -> None:
        """Stop the runtime after an exit or a timeout; the invocation in hand, if any, fails."""
        if self.state in ("init", "resetting"):
            self._init_failed(failure)
        elif self.state == "busy":
            self._deadline.clear()
            self._link.detach()
            pass_on = self._invocation.fail(failure)
            self._stop()
            pass_on()

    def _init_failed(self, failure: RuntimeFailure) -> None:
        """Log the failure of an init or a restore, and stop the runtime.

        An init before any invocation is tried again inside the first one; inside an invocation it
        is that invocation's error; a failed restore ends the environment.
        """
        status, invocation = failure.status, self._invocation
        self._deadline.clear()
        self._link.detach()
        if self._templates is not None:
            self._log.restore_ended(status, failure.error_type)
            self._die(restore_timed_out() if status == "timeout" else restore_failed())
            return
        phase: Phase = "init" if self.state == "init" else "invoke"
        self._log.init_ended(phase, status, failure.error_type)
        if invocation.call is not None:
            self._log.invocation_started(invocation.request_id, self._clock.now())
        pass_on = invocation.fail(failure)
        invocation.init_ms = None
        self._stop()
        pass_on()

    def _stop(self) -> None:
        """Kill all processes of the runtime; then the environment can be reset."""
        self._move("fail")
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

    # Freezing

    def _freeze_now(self) -> None:
        if self.state in AVAILABLE and not self.frozen and self._sandbox is not None:
            self._sandbox.freeze()
            self.frozen = True

    def _thaw(self) -> None:
        assert self._sandbox is not None
        self._sandbox.thaw()
        self.frozen = False

    def _move(self, event: str) -> None:
        self.state = move(self.state, event)
