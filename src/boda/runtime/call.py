"""An invocation and its outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from boda.runtime.function import FunctionVersion
from boda.runtime.stream import ResponseStream


@dataclass(slots=True)
class Call:
    """One invocation of one function version.

    invoked_arn: as the caller named the function, with the qualifier if there was one.
    client_context: JSON text, decoded. trace_id: the trace of the invocation, which
    ``runtime.trace.next_hop`` makes from the ``X-Amzn-Trace-Id`` header of the request. tenant: of
    ``X-Amz-Tenant-Id``, or "". tail: the end of its log is asked for. stream: receives a streamed
    answer; without one the answer is joined. synchronous: a caller waits for the outcome, so that
    limits of requests per second count the call.
    """

    version: FunctionVersion
    payload: bytes
    request_id: str
    invoked_arn: str
    client_context: str = ""
    trace_id: str = ""
    tenant: str = ""
    tail: bool = False
    stream: ResponseStream | None = None
    synchronous: bool = True


@dataclass(slots=True)
class Outcome:
    """The result of a call. A function's failure is an outcome, not an exception.

    function_error: "" or ``Unhandled`` (the header ``X-Amz-Function-Error``).
    at: epoch seconds of the invoke.
    error_type: for logs and metrics (``Sandbox.Timedout``, ``Runtime.ExitError``, the
        exception's name …). duration_ms excludes init; init_ms is None on a warm start.
    tail: the last 4 KiB of the invocation's log when asked for.
    """

    payload: bytes
    executed_version: str
    function_error: Literal["", "Unhandled"] = ""
    error_type: str = ""
    duration_ms: float = 0.0
    billed_ms: int = 0
    init_ms: float | None = None
    max_memory_mb: int = 0
    tail: bytes = b""
    at: float = 0.0


Done = Callable[[Outcome | None, BaseException | None], None]
"""Called exactly once, with the outcome of a call, or with an error. Must not raise."""
