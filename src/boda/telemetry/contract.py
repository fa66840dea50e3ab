"""What the rooms above append, without waiting.

Law of this room: ``append``-like calls only touch memory and never raise for a caller's sake; a
background task writes batches to storage. Each also keeps its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StreamKey:
    """A CloudWatch log stream."""

    account: str
    region: str
    group: str
    stream: str


@dataclass(slots=True)
class Metered:
    """One invocation, for metering. init_ms counts into billed_ms as AWS bills it.

    at: epoch seconds of the invoke. function_error: True when the function failed.
    """

    account: str
    region: str
    function: str
    version: str
    request_id: str
    at: float
    memory_mb: int
    ephemeral_mb: int
    duration_ms: float
    init_ms: float
    billed_ms: int
    function_error: bool
    max_memory_mb: int = 0


class Telemetry(Protocol):
    def log(self, key: StreamKey, events: Iterable[tuple[int, str]]) -> None:
        """Append events (epoch milliseconds, message). Group and stream are made if absent."""

    async def log_room(self) -> None:
        """Return when there is room for more log events: back-pressure for readers of pipes."""

    def meter(self, invocation: Metered) -> None: ...

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
