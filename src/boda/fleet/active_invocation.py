"""The invocation that an environment runs, from its start to its outcome."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from boda.core.errors import AwsError
from boda.fleet.context import FleetContext
from boda.fleet.environment_log import EnvironmentLog
from boda.fleet.exits import RuntimeFailure
from boda.fleet.peak_memory import PeakMemory
from boda.fleet.reports import ReportFigures, RestoreTimes, Status
from boda.runtime.call import Call, Done, Outcome
from boda.runtime.frames import Invocation
from boda.runtime.function import FunctionVersion
from boda.runtime.stream import FlowControl, JoinedResponse, ResponseSink


class ActiveInvocation:
    """The call in hand, of which an environment has one at a time.

    call, ended: None while there is none. sink: the receiver of a streamed answer. begun_s: when
    the call started, monotonic; invoked_at: the same in epoch seconds. init_ms, restore: of the
    environment's init, to be reported and billed with the next outcome.
    """

    __slots__ = (
        "_clock",
        "_ids",
        "_log",
        "_memory",
        "_version",
        "begun_s",
        "call",
        "ended",
        "init_ms",
        "invoked_at",
        "restore",
        "sink",
    )

    def __init__(
        self,
        context: FleetContext,
        version: FunctionVersion,
        log: EnvironmentLog,
        memory: PeakMemory,
    ) -> None:
        self._clock = context.clock
        self._ids = context.ids
        self._version = version
        self._log = log
        self._memory = memory
        self.call: Call | None = None
        self.ended: Done | None = None
        self.sink: ResponseSink | None = None
        self.begun_s = 0.0
        self.invoked_at = 0.0
        self.init_ms: float | None = None
        self.restore: RestoreTimes | None = None

    def take(self, call: Call, ended: Done) -> None:
        """Start to run the call."""
        self.call, self.ended = call, ended
        self.begun_s = self._clock.monotonic()
        self.invoked_at = self._clock.now()
        if call.tail:
            self._log.output.begin_tail()

    @property
    def request_id(self) -> str:
        return self.call.request_id if self.call is not None else "unknown"

    def message(self) -> Invocation:
        """Return one attempt at the call, as the runtime receives it."""
        call = self.call
        assert call is not None
        return Invocation(
            self._ids.bytes(8),
            call.request_id,
            int((self.invoked_at + self._version.timeout_s) * 1000),
            call.invoked_arn,
            call.payload,
            call.trace_id,
            call.client_context,
            "",
            call.tenant,
        )

    def open_stream(self, content_type: str, source: FlowControl) -> ResponseSink | None:
        """Return the receiver of the answer's parts."""
        if self.call is not None:
            self.sink = self.call.stream or JoinedResponse()
            self.sink.open(content_type, source)
        return self.sink

    def drop(self) -> Done | None:
        """Forget the call without an outcome; return its callback, for the caller to call."""
        ended = self.ended
        self.call = self.ended = None
        if self.sink is not None:
            self.sink.detach()
            self.sink = None
        return ended

    def conclude(
        self,
        status: Status,
        payload: bytes,
        error_type: str,
        fault: bool,
        error: AwsError | None = None,
    ) -> Callable[[], None]:
        """Log the end of the call and forget the call.

        Returns a function that passes on the outcome, or ``error`` instead. Call it when the
        environment is ready for the next call, which the callback may start at once.
        """
        call, ended = self.call, self.drop()
        if call is None or ended is None:
            return _no_outcome
        ended_s = self._clock.monotonic()
        output = self._log.output
        output.drain()
        duration_ms = (ended_s - self.begun_s) * 1000
        if status == "timeout":
            duration_ms = self._version.timeout_s * 1000.0
        init_ms, self.init_ms = self.init_ms, None
        billed_ms = max(1, math.ceil(duration_ms + (init_ms or 0.0)))
        restore, self.restore = self.restore, None
        if restore is not None:
            billed_ms += restore.billed_ms
        memory_mb = self._memory.measure_mb(ended_s)
        figures = ReportFigures(
            duration_ms, billed_ms, memory_mb, init_ms, status, error_type, fault, restore
        )
        self._log.invocation_ended(call.request_id, figures)
        if error is not None:
            return partial(ended, None, error)
        outcome = Outcome(
            payload,
            self._version.version,
            "" if status == "success" else "Unhandled",
            error_type,
            duration_ms,
            billed_ms,
            init_ms,
            memory_mb,
            output.end_tail() if call.tail else b"",
            self.invoked_at,
        )
        return partial(ended, outcome, None)

    def fail(self, failure: RuntimeFailure) -> Callable[[], None]:
        """Conclude the call, if there is one, with a failure that the platform noticed."""
        if self.call is None:
            return _no_outcome
        body = failure.payload(self.call.request_id)
        return self.conclude(failure.status, body, failure.error_type, True)


def _no_outcome() -> None:
    """Pass nothing on, since no call was in hand."""
