"""Failures of a runtime process, as their error types and messages. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from boda.fleet.reports import Status
from boda.sandbox.contract import Exit

_SIGNALS: Final = {
    1: "hangup",
    2: "interrupt",
    3: "quit",
    4: "illegal instruction",
    5: "trace/breakpoint trap",
    6: "aborted",
    7: "bus error",
    8: "floating point exception",
    9: "killed",
    11: "segmentation fault",
    13: "broken pipe",
    14: "alarm clock",
    15: "terminated",
    31: "bad system call",
}

TIMED_OUT = "Sandbox.Timedout"
EXIT_ERROR = "Runtime.ExitError"
OUT_OF_MEMORY = "Runtime.OutOfMemory"
SANDBOX_FAILURE = "Sandbox.Failure"
INVALID_ENTRYPOINT = "Runtime.InvalidEntrypoint"
UNKNOWN = "Runtime.Unknown"


@dataclass(frozen=True, slots=True)
class RuntimeFailure:
    """The reason why a runtime process cannot go on.

    status, error_type: as INIT_REPORT and REPORT show them. words: the message, after
    ``RequestId: <id> Error: ``. body: the error that the runtime itself has written, if it has.
    """

    status: Status
    error_type: str
    words: str = ""
    body: bytes | None = None

    def payload(self, request_id: str) -> bytes:
        """Return the payload that the caller of an invocation gets."""
        if self.body is not None:
            return self.body
        message = f"RequestId: {request_id} Error: {self.words}"
        return orjson.dumps({"errorType": self.error_type, "errorMessage": message})


def exit_failure(end: Exit) -> RuntimeFailure:
    """Describe the end of a runtime process."""
    if end.oom:
        return RuntimeFailure("error", OUT_OF_MEMORY, "Runtime exited with error: signal: killed")
    words = "Runtime exited without providing a reason"
    if end.signal is not None:
        name = _SIGNALS.get(end.signal, f"signal {end.signal}")
        words = f"Runtime exited with error: signal: {name}"
    elif end.status:
        words = f"Runtime exited with error: exit status {end.status}"
    return RuntimeFailure("error", EXIT_ERROR, words)


def timeout_failure(timeout_s: float) -> RuntimeFailure:
    """Describe the end of an invocation at the function's timeout."""
    return RuntimeFailure("timeout", TIMED_OUT, f"Task timed out after {timeout_s:.2f} seconds")


def init_failure(error_type: str, body: bytes) -> RuntimeFailure:
    """Describe an init error that the runtime sent.

    ``words`` are set if nothing could be executed that would write an error: then body is a
    sentence of the init process.
    """
    if error_type != INVALID_ENTRYPOINT or body.startswith(b"{"):
        return RuntimeFailure("error", error_type or EXIT_ERROR, "", body)
    return RuntimeFailure("error", error_type, body[:4096].decode("utf-8", "replace"))
