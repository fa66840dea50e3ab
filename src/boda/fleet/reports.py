"""The platform's own log lines: INIT_START, RESTORE_START, START, END, REPORT and so on. Pure.

In the Text format they are AWS's tab-separated lines, in the JSON format its ``platform.*``
records, which the system log level filters (Lambda developer guide,
"monitoring-cloudwatchlogs-log-level").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from boda.runtime.function import FunctionVersion, Initialization, runtime_arn
from boda.sandbox.architectures import own

Status = Literal["success", "error", "failure", "timeout"]
Phase = Literal["init", "invoke"]

_RANKS = {"DEBUG": 0, "INFO": 1, "WARN": 2}


@dataclass(slots=True)
class ReportFigures:
    """The figures of REPORT.

    init_ms: None on a warm start. fault: the platform noticed the failure (an exit, a timeout),
    which the Text format shows as a status; an exception of the handler shows in its own line
    only. restore: set in the first invocation after a restore.
    """

    duration_ms: float
    billed_ms: int
    max_memory_mb: int
    init_ms: float | None
    status: Status
    error_type: str = ""
    fault: bool = False
    restore: RestoreTimes | None = None


@dataclass(frozen=True, slots=True)
class RestoreTimes:
    """The duration of a restore, and the part of it that is billed: since the start of the
    function's own process (Lambda developer guide, "snapstart-monitoring")."""

    duration_ms: float
    billed_ms: int


class Reports:
    """Makes the lines of one function version. Methods return lines to append, or none."""

    def __init__(
        self, version: FunctionVersion, initialization: Initialization = "on-demand"
    ) -> None:
        self._version = version
        self._initialization = initialization
        self._json = version.log.format == "JSON"
        self._rank = _RANKS.get(version.log.system_level or "INFO", 1)

    def init_start(
        self, now_s: float, phase: Phase = "init", *, extensions: Sequence[str] = ()
    ) -> list[str]:
        """Return the lines before init.

        An init inside an invocation, which AWS calls suppressed, has no line in the Text format.
        extensions: names of those that the function's layers bring along.
        """
        if phase == "invoke" and not self._json:
            return []
        kind = {"initializationType": self._initialization, "phase": self._phase(phase)}
        begun = self._begun(now_s, "INIT_START", "platform.initStart", kind)
        return begun + self._not_started(now_s, extensions)

    def _not_started(self, now_s: float, extensions: Sequence[str]) -> list[str]:
        """Report the extensions, none of which is started here.

        A function that waits for one would otherwise fail without an explanation.
        """
        if not self._json:
            return [
                f"EXTENSION\tName: {name}\tState: NotStarted\tError Type: Extension.NotSupported\t"
                "boda does not start extensions yet\n"
                for name in extensions
            ]
        lines: list[str] = []
        for name in extensions:
            record = {
                "name": name,
                "state": "NotStarted",
                "events": [],
                "errorType": "Extension.NotSupported",
                "message": "boda does not start extensions yet",
            }
            lines += self._record(now_s, "WARN", "platform.extension", record)
        return lines

    def _phase(self, phase: Phase) -> str:
        """Name the phase as records do (Lambda developer guide, "telemetry-schema-reference")."""
        snapshot = phase == "init" and self._initialization == "snap-start"
        return "snap-start" if snapshot else phase

    def restore_start(self, now_s: float) -> list[str]:
        return self._begun(now_s, "RESTORE_START", "platform.restoreStart", {})

    def _begun(self, now_s: float, line: str, kind: str, also: dict[str, str]) -> list[str]:
        version = self._version
        name, arn = runtime_version(version.region, version.runtime)
        if not self._json:
            return [f"{line} Runtime Version: {name}\tRuntime Version ARN: {arn}\n"]
        record = {
            **also,
            "runtimeVersion": name,
            "runtimeVersionArn": arn,
            "functionName": version.name,
            "functionVersion": version.version,
        }
        return self._record(now_s, "INFO", kind, record)

    def init_done(
        self, now_s: float, init_ms: float, phase: Phase, status: Status, error_type: str = ""
    ) -> list[str]:
        """Return the lines after init.

        In the Text format an init has a line only if it failed, or if no call waited for it: for
        provisioned concurrency or a snapshot (Lambda developer guide,
        "lambda-runtime-environment").
        """
        if not self._json:
            if status == "success":
                ahead = phase == "init" and self._initialization != "on-demand"
                return [f"INIT_REPORT Init Duration: {init_ms:.2f} ms\n"] if ahead else []
            line = f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: {phase}\tStatus: {status}"
            return [line + (f"\tError Type: {error_type}" if error_type else "") + "\n"]
        failed = {"errorType": error_type} if error_type else {}
        common = {
            "initializationType": self._initialization,
            "phase": self._phase(phase),
            "status": status,
            **failed,
        }
        well = status == "success"
        return [
            *self._record(now_s, _done(well), "platform.initRuntimeDone", common),
            *self._record(
                now_s,
                "DEBUG" if self._initialization == "on-demand" else "INFO",
                "platform.initReport",
                {**common, "metrics": {"durationMs": round(init_ms, 3)}},
            ),
        ]

    def restore_done(
        self, now_s: float, restore_ms: float, status: Status, error_type: str = ""
    ) -> list[str]:
        """Return the lines after a restore and its hooks (Lambda developer guide,
        "telemetry-schema-reference")."""
        if not self._json:
            line = f"RESTORE_REPORT Restore Duration: {restore_ms:.2f} ms"
            if status != "success":
                line += f"\tStatus: {status}"
            return [line + (f"\tError Type: {error_type}" if error_type else "") + "\n"]
        well = status == "success"
        done = {"status": status, **({"errorType": error_type} if error_type else {})}
        report = {**done, "metrics": {"durationMs": round(restore_ms, 3)}}
        return [
            *self._record(now_s, _done(well), "platform.restoreRuntimeDone", done),
            *self._record(now_s, "INFO" if well else "WARN", "platform.restoreReport", report),
        ]

    def start(self, now_s: float, request_id: str) -> list[str]:
        if not self._json:
            return [f"START RequestId: {request_id} Version: {self._version.version}\n"]
        record = {"requestId": request_id, "version": self._version.version}
        return self._record(now_s, "INFO", "platform.start", record)

    def end(self, now_s: float, request_id: str, figures: ReportFigures) -> list[str]:
        """Return END and REPORT."""
        if not self._json:
            return [f"END RequestId: {request_id}\n", self._report_line(request_id, figures)]
        failed = {"errorType": figures.error_type} if figures.error_type else {}
        done = {
            "requestId": request_id,
            "status": figures.status,
            **failed,
            "metrics": {"durationMs": round(figures.duration_ms, 3)},
        }
        metrics: dict[str, Any] = {
            "durationMs": round(figures.duration_ms, 3),
            "billedDurationMs": figures.billed_ms,
            "memorySizeMB": self._version.memory_mb,
            "maxMemoryUsedMB": figures.max_memory_mb,
        }
        if figures.init_ms is not None:
            metrics["initDurationMs"] = round(figures.init_ms, 3)
        if figures.restore is not None:
            metrics["restoreDurationMs"] = round(figures.restore.duration_ms, 3)
            metrics["billedRestoreDurationMs"] = figures.restore.billed_ms
        report = {
            "requestId": request_id, "metrics": metrics, "status": figures.status, **failed,
        }  # fmt: skip
        well = figures.status == "success"
        return [
            *self._record(now_s, _done(well), "platform.runtimeDone", done),
            *self._record(now_s, "INFO" if well else "WARN", "platform.report", report),
        ]

    def _report_line(self, request_id: str, figures: ReportFigures) -> str:
        line = (
            f"REPORT RequestId: {request_id}\tDuration: {figures.duration_ms:.2f} ms\t"
            f"Billed Duration: {figures.billed_ms} ms\t"
            f"Memory Size: {self._version.memory_mb} MB\t"
            f"Max Memory Used: {figures.max_memory_mb} MB\t"
        )
        if figures.init_ms is not None:
            line += f"Init Duration: {figures.init_ms:.2f} ms\t"
        if figures.restore is not None:
            line += (
                f"Restore Duration: {figures.restore.duration_ms:.2f} ms\t"
                f"Billed Restore Duration: {figures.restore.billed_ms} ms\t"
            )
        if figures.status == "timeout":
            line += "Status: timeout"
        elif figures.fault:
            line += f"Status: {figures.status}\tError Type: {figures.error_type}"
        return line + "\n"

    def _record(self, now_s: float, level: str, kind: str, record: dict[str, Any]) -> list[str]:
        if _RANKS[level] < self._rank:
            return []
        stamp = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds")
        item = {"time": stamp.replace("+00:00", "Z"), "type": kind, "record": record}
        return [orjson.dumps(item).decode() + "\n"]


def _done(well: bool) -> str:
    """Return the level of a record about the end of a phase."""
    return "DEBUG" if well else "WARN"


def runtime_version(region: str, runtime: str) -> tuple[str, str]:
    """Return a runtime's version as INIT_START names it, and its ARN."""
    family = runtime.rstrip("0123456789.x")
    name = f"{family}:{runtime[len(family) :]}.v1" if family != runtime else f"{runtime}.v1"
    return name, runtime_arn(region, runtime, own())


def stream_name(version: FunctionVersion, now_s: float, digits: str) -> str:
    """Return a log stream's name. digits: 32 hexadecimal digits.

    In a group that functions may share, the name includes the function's name (Lambda developer
    guide, "monitoring-cloudwatchlogs-loggroups").
    """
    day = datetime.fromtimestamp(now_s, UTC).strftime("%Y/%m/%d")
    function = "" if version.log.group == f"/aws/lambda/{version.name}" else version.name
    return f"{day}/{function}[{version.version}]{digits}"
