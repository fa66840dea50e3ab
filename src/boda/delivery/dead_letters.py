"""The end of an event that is not tried again: the dead-letter target, metrics, the log.

A dead-letter message is the raw event with three attributes (recorded): ``RequestID``,
``ErrorCode`` (200 for a function error, else the HTTP status) and ``ErrorMessage`` (its first
1 KB). It is sent as the function's own role, which therefore needs the permission. If no service
takes it, the function's own log says so: nothing is lost silently.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.delivery.event_metrics import EventMetrics
from boda.delivery.notice import say
from boda.delivery.post_office import MessageAttribute
from boda.delivery.retry import Condition
from boda.delivery.rows import QueuedEvent
from boda.delivery.sender import Sender
from boda.runtime.function import FunctionVersion
from boda.telemetry.contract import Telemetry

_log = logging.getLogger(__name__)
_MESSAGE_BYTES = 1024
_PAYLOAD_SHOWN = 1024


NEVER_RUN = 400
"""The code of events that are not run at all, which is written to the function's log."""


@dataclass(frozen=True, slots=True)
class DiscardReason:
    """Why an event is discarded. code: the dead-letter attribute ErrorCode."""

    condition: Condition
    code: int
    message: str


class DeadLetters:
    """Discards events."""

    def __init__(
        self, sender: Sender, telemetry: Telemetry, metrics: EventMetrics, clock: Clock
    ) -> None:
        self._sender = sender
        self._telemetry = telemetry
        self._metrics = metrics
        self._clock = clock

    async def discard(
        self,
        event: QueuedEvent,
        payload: bytes,
        version: FunctionVersion | None,
        reason: DiscardReason,
    ) -> None:
        """Send an event to its dead-letter target, count it, and log it. Never raises."""
        self._metrics.count(event, "AsyncEventsDropped")
        if reason.condition == "RecursiveInvocation":
            self._metrics.count(event, "RecursiveInvocationsDropped")
        if version is None:
            return
        kept = await self._to_dead_letter(event, payload, version, reason)
        if reason.code == NEVER_RUN or (version.dead_letter_arn and not kept):
            self._say(event, payload, version, reason, kept)

    async def _to_dead_letter(
        self, event: QueuedEvent, payload: bytes, version: FunctionVersion, reason: DiscardReason
    ) -> bool:
        target = version.dead_letter_arn
        if not target:
            return False
        message = reason.message.encode()[:_MESSAGE_BYTES].decode(errors="ignore")
        attributes = {
            "RequestID": MessageAttribute("String", event.request_id),
            "ErrorCode": MessageAttribute("Number", str(reason.code)),
            "ErrorMessage": MessageAttribute("String", message),
        }
        try:
            await self._sender.send(version, target, payload, event.trace_id, attributes)
        except AwsError as error:
            self._metrics.count(event, "DeadLetterErrors")
            _log.info("dead letter of %s: %s", event.arn, error)
            return False
        except Exception:
            self._metrics.count(event, "DeadLetterErrors")
            _log.exception("dead letter of %s", event.arn)
            return False
        return True

    def _say(
        self,
        event: QueuedEvent,
        payload: bytes,
        version: FunctionVersion,
        reason: DiscardReason,
        kept: bool,
    ) -> None:
        line = {
            "type": "boda.event.dropped",
            "requestId": event.request_id,
            "functionArn": f"{event.arn}:{event.qualifier}",
            "condition": reason.condition,
            "message": reason.message,
            "deadLetterTarget": version.dead_letter_arn or None,
            "deadLetterDelivered": kept,
        }
        if not kept:
            line["payload"] = payload[:_PAYLOAD_SHOWN].decode(errors="replace")
        say(self._telemetry, version, self._clock.now(), "dropped-events", line)
