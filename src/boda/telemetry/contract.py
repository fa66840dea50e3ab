"""What the rooms above append, without waiting.

Law of this room: ``append``-like calls only touch memory and never raise for a caller's sake; a
background task writes batches to storage. Each also keeps its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

NAMESPACE = "AWS/Lambda"
"""Of the metrics about functions."""


class StreamKey(NamedTuple):
    """A CloudWatch log stream."""

    account: str
    region: str
    group: str
    stream: str


class Function(Protocol):
    """What ran, as far as counting goes; never changes."""

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


class Metered(NamedTuple):
    """One invocation, for metering and for the metrics of ``AWS/Lambda``.

    invoked_arn: as the caller named the function, with a qualifier if there was one; "" for an
    init that was run for a snapshot, which is billed but is no request. at: epoch seconds of the
    invoke, under which everything counts. init_ms counts into billed_ms as AWS bills it, and so
    does what is billed of a restore. function_error: True when the function failed. provisioned:
    whether it ran in an environment of provisioned concurrency; None where its version has none.
    """

    function: Function
    invoked_arn: str
    request_id: str
    at: float
    duration_ms: float
    init_ms: float
    billed_ms: int
    function_error: bool
    max_memory_mb: int = 0
    provisioned: bool | None = None


class Answered(NamedTuple):
    """One request to a function URL, for its metrics.

    qualifier: the alias the URL is of, or "". at: epoch seconds of the request. status: of the
    answer. latency_ms: until there was an answer to send.
    """

    account: str
    region: str
    name: str
    qualifier: str
    at: float
    status: int
    latency_ms: float


class Telemetry(Protocol):
    def log(self, key: StreamKey, events: Iterable[tuple[int, str]]) -> None:
        """Append events (epoch milliseconds, message). Group and stream are made if absent."""

    def log_dropped(self, key: StreamKey, count: int, why: str) -> None:
        """Count log events that were not passed on; told in the stream when there is room.

        why: in a few words, such as ``storage did not take them in time``."""

    async def log_room(self) -> None:
        """Return when there is room for more log events: back-pressure for readers of pipes."""

    def meter(self, invocation: Metered) -> None:
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
        """Several metrics (name, value, unit) of the same thing at once, as ``metric`` each."""

    async def flush(self) -> None:
        """Return when everything appended so far is durable."""
