"""The log stream of one environment or template: the function's output and the platform's lines.

The platform's own lines (``reports.py``) stand behind the output that was written before them, so
each of them that ends a phase reads the pipes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from boda.fleet.context import FleetContext
from boda.fleet.exits import RuntimeFailure
from boda.fleet.levels import levels_of
from boda.fleet.output import Output
from boda.fleet.reports import Phase, ReportFigures, Reports, Status, stream_name
from boda.runtime.function import FunctionVersion, Initialization


class EnvironmentLog:
    """Writes the log of one environment or template.

    stream: the log stream's name. output: the reader of the runtime process's pipes.
    init_begun_s, init_ended_s: of the last init or restore, monotonic.
    """

    __slots__ = (
        "_clock",
        "_context",
        "_reports",
        "init_begun_s",
        "init_ended_s",
        "output",
        "stream",
    )

    def __init__(
        self,
        context: FleetContext,
        version: FunctionVersion,
        environment_id: str,
        initialization: Initialization,
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._reports = Reports(version, initialization)
        self.init_begun_s = 0.0
        self.init_ended_s = 0.0
        self.stream = stream_name(version, context.clock.now(), environment_id)
        self.output = Output(
            version.log_stream(self.stream),
            context.telemetry,
            context.clock,
            levels_of(version.log.format, version.log.application_level),
        )

    # Init and restore

    def init_started(self, phase: Phase, extensions: Sequence[str] = ()) -> None:
        """Write INIT_START. extensions: names of those that the function's layers bring along."""
        at = self._context.epoch_s(self.init_begun_s)
        self.output.write(self._reports.init_start(at, phase, extensions=extensions), at)

    def init_ended(self, phase: Phase, status: Status, error_type: str = "") -> None:
        """Write INIT_REPORT and measure the init."""
        self.output.drain()
        self.init_ended_s = self._clock.monotonic()
        now_s = self._clock.now()
        kind = "" if status == "timeout" else error_type
        lines = self._reports.init_done(now_s, self.init_ms, phase, status, kind)
        self.output.write(lines, now_s)

    def restore_started(self) -> None:
        """Write RESTORE_START."""
        at = self._context.epoch_s(self.init_begun_s)
        self.output.write(self._reports.restore_start(at), at)

    def restore_ended(self, status: Status, error_type: str = "") -> None:
        """Write RESTORE_REPORT and measure the restore."""
        self.output.drain()
        self.init_ended_s = self._clock.monotonic()
        now_s = self._clock.now()
        kind = "" if status == "timeout" else error_type
        self.output.write(self._reports.restore_done(now_s, self.init_ms, status, kind), now_s)

    def entry_refused(self, request_id: str, failure: RuntimeFailure) -> None:
        """Write the error of a runtime process that could not be executed at all."""
        line = f"RequestId: {request_id} Error: {failure.words}\n{failure.error_type}\n"
        self.output.write((line,), self._clock.now())

    # Invocations

    def invocation_started(self, request_id: str, now_s: float) -> None:
        """Write START. now_s: epoch seconds."""
        self.output.write(self._reports.start(now_s, request_id), now_s)

    def invocation_ended(self, request_id: str, figures: ReportFigures) -> None:
        """Write END and REPORT."""
        now_s = self._clock.now()
        self.output.write(self._reports.end(now_s, request_id, figures), now_s)

    @property
    def init_ms(self) -> float:
        """How long the last init or restore took."""
        return (self.init_ended_s - self.init_begun_s) * 1000
