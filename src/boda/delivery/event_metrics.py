"""The metrics of asynchronous events, in the namespace ``AWS/Lambda``.

By function, and by version or alias if the event was sent to one (Lambda developer guide,
"monitoring-metrics-types"): AsyncEventsReceived, AsyncEventsDropped, DeadLetterErrors,
DestinationDeliveryFailures and RecursiveInvocationsDropped as counts, AsyncEventAge in
milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from boda.core.arn import Arn, split_qualifier
from boda.delivery.rows import QueuedEvent
from boda.telemetry.contract import NAMESPACE, Telemetry

Count = Literal[
    "AsyncEventsReceived",
    "AsyncEventsDropped",
    "DeadLetterErrors",
    "DestinationDeliveryFailures",
    "RecursiveInvocationsDropped",
]


class EventMetrics:
    """Counts the events of the queue."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def count(self, event: QueuedEvent, name: Count) -> None:
        self._put(event, ((name, 1.0, "Count"),))

    def age(self, event: QueuedEvent, seconds: float) -> None:
        """Record the age of an event that is about to run."""
        self._put(event, (("AsyncEventAge", seconds * 1000.0, "Milliseconds"),))

    def _put(self, event: QueuedEvent, values: Sequence[tuple[str, float, str]]) -> None:
        account, region, dimensions = _dimensions(event.arn, event.invoked_arn)
        for each in dimensions:
            self._telemetry.measure(account, region, NAMESPACE, values, each)


@lru_cache(maxsize=4096)
def _dimensions(arn: str, invoked_arn: str) -> tuple[str, str, tuple[dict[str, str], ...]]:
    """Return account, region and dimensions."""
    parsed = Arn.parse(arn)
    name = parsed.name
    found: tuple[dict[str, str], ...] = ({"FunctionName": name},)
    _, qualifier = split_qualifier(invoked_arn)
    if qualifier:
        found += ({"FunctionName": name, "Resource": f"{name}:{qualifier}"},)
    return parsed.account, parsed.region, found
