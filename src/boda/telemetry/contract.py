"""Telemetry, as the rooms above append to it without waiting.

Law of this room: calls that append touch memory only and never raise because of a caller's data; a
background task writes batches to storage, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

NAMESPACE = "AWS/Lambda"
"""The namespace of the metrics about functions."""


class StreamKey(NamedTuple):
    """A CloudWatch log stream."""

    account: str
    region: str
    group: str
    stream: str


class MeteredFunction(Protocol):
    """A function version, as metering sees it; immutable."""

    @property
    def account(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def memory_mb(self) -> int: ...
    @property
    def ephemeral_mb(self) -> int: ...


class MeteredInvocation(NamedTuple):
    """One invocation, for metering and for the metrics of ``AWS/Lambda``.

    invoked_arn: as the caller named the function, with the qualifier if there was one; "" for the
    init of a snapshot, which is billed but is no request. at: epoch seconds of the invoke, the time
    of all its samples. init_ms, and the billed part of a restore, are included in billed_ms, as on
    AWS. function_error: whether the function failed. provisioned: whether it ran in an environment
    of provisioned concurrency; None if its version has none.
    """

    function: MeteredFunction
    invoked_arn: str
    request_id: str
    at: float
    duration_ms: float
    init_ms: float
    billed_ms: int
    function_error: bool
    max_memory_mb: int = 0
    provisioned: bool | None = None


class MeteredUrlRequest(NamedTuple):
    """One request to a function URL, for its metrics.

    qualifier: the alias of the URL, or "". at: epoch seconds of the request. status: of the
    response. latency_ms: until there was a response to send.
    """

    account: str
    region: str
    name: str
    qualifier: str
    at: float
    status: int
    latency_ms: float


class Telemetry(Protocol):
    """Records logs, metrics and metering."""

    def log(self, key: StreamKey, events: Iterable[tuple[int, str]]) -> None:
        """Append events (epoch milliseconds, message). Group and stream are made if absent."""

    def log_dropped(self, key: StreamKey, count: int, why: str) -> None:
        """Count log events that were not passed on; a line in the stream reports them later.

        why: in a few words, such as ``storage did not take them in time``.
        """

    async def log_room(self) -> None:
        """Return when there is room for more log events, as back-pressure for readers of pipes."""

    def meter(self, invocation: MeteredInvocation) -> None:
        """Count an invocation, in metering and in metrics."""

    def metric(
        self,
        account: str,
        region: str,
        namespace: str,
        name: str,
        value: float,
        dimensions: Mapping[str, str] | None = None,
        unit: str = "Count",
    ) -> None: ...

    def measure(
        self,
        account: str,
        region: str,
        namespace: str,
        values: Sequence[tuple[str, float, str]],
        dimensions: Mapping[str, str],
    ) -> None:
        """Record several metrics (name, value, unit) with the same dimensions at once."""

    async def flush(self) -> None:
        """Return when everything appended so far is durable."""
