"""How the end of a runtime process reads in an error. Pure."""

from __future__ import annotations

from typing import Final

import orjson

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


def describe_exit(end: Exit) -> tuple[str, str]:
    """Error type and words (after ``RequestId: <id> Error: ``)."""
    if end.oom:
        return OUT_OF_MEMORY, "Runtime exited with error: signal: killed"
    if end.signal is not None:
        name = _SIGNALS.get(end.signal, f"signal {end.signal}")
        return EXIT_ERROR, f"Runtime exited with error: signal: {name}"
    if end.status:
        return EXIT_ERROR, f"Runtime exited with error: exit status {end.status}"
    return EXIT_ERROR, "Runtime exited without providing a reason"


def error_body(error_type: str, request_id: str, words: str) -> bytes:
    """The payload a caller gets when the platform, not the handler, tells what went wrong."""
    return orjson.dumps(
        {"errorType": error_type, "errorMessage": f"RequestId: {request_id} Error: {words}"}
    )


def refused_entry(error_type: str, body: bytes) -> str | None:
    """The entry's words, where no runtime came to be that could write an error; else None."""
    if error_type != INVALID_ENTRYPOINT or body.startswith(b"{"):
        return None
    return body[:4096].decode("utf-8", "replace")


def timeout_words(timeout_s: float) -> str:
    return f"Task timed out after {timeout_s:.2f} seconds"
