"""Destinations: the records of asynchronous invocations, sent after their end.

The record's members are as recorded on AWS. It is sent as the function's own role, which
therefore needs the permission. A record that no service takes, or that the role may not send, is
counted (``DestinationDeliveryFailures``) and written to the function's log: nothing is lost
silently. An event bus gets the record as the detail of an event; a topic gets it without the
payloads if it would be too long with them.

Source: Lambda developer guide, "invocation-async-retain-records".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from boda.core.arn import Arn
from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.delivery.dead_letters import DiscardReason
from boda.delivery.event_metrics import EventMetrics
from boda.delivery.notice import say
from boda.delivery.retry import RetryPolicy
from boda.delivery.rows import QueuedEvent
from boda.delivery.sender import Sender
from boda.invoke.call import Call, Outcome
from boda.runtime.function import FunctionVersion
from boda.telemetry.contract import Telemetry

_log = logging.getLogger(__name__)
_RECORD_SHOWN = 4096
_TOPIC_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class AsyncRules:
    """The rules for events sent to one qualifier. on_success, on_failure: ARNs, or ""."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_success: str = ""
    on_failure: str = ""


Rules = Callable[[FunctionVersion, str], AsyncRules]
"""Called with a version and the qualifier that it was invoked by; returns the rules."""


class Destinations:
    """Makes records and sends them."""

    def __init__(
        self,
        sender: Sender,
        telemetry: Telemetry,
        metrics: EventMetrics,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._sender = sender
        self._telemetry = telemetry
        self._metrics = metrics
        self._clock = clock
        self._ids = ids

    async def succeeded(
        self,
        target: str,
        event: QueuedEvent,
        call: Call,
        outcome: Outcome,
    ) -> None:
        """Send the record of an invocation without an error. Never raises."""
        if target:
            record = self._record(event, call.payload, "Success", event.failures + 1, outcome)
            await self._send(target, event, call.version, record, call.trace_id)

    async def failed(
        self,
        target: str,
        event: QueuedEvent,
        payload: bytes,
        version: FunctionVersion,
        reason: DiscardReason,
        outcome: Outcome | None,
    ) -> None:
        """Send the record of a discarded event. Never raises.

        outcome: of the last attempt, if the event is discarded because of it.
        """
        if target:
            record = self._record(event, payload, reason.condition, event.failures, outcome)
            await self._send(target, event, version, record, event.trace_id)

    def _record(
        self,
        event: QueuedEvent,
        payload: bytes,
        condition: str,
        attempts: int,
        outcome: Outcome | None,
    ) -> dict[str, Any]:
        record: dict[str, Any] = {
            "version": "1.0",
            "timestamp": self._moment().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "requestContext": {
                "requestId": event.request_id,
                "functionArn": f"{event.arn}:{event.qualifier}",
                "condition": condition,
                "approximateInvokeCount": attempts,
            },
            "requestPayload": _json(payload),
        }
        if outcome is not None:
            context: dict[str, Any] = {
                "statusCode": 200,
                "executedVersion": outcome.executed_version,
            }
            if outcome.function_error:
                context["functionError"] = outcome.function_error
            record["responseContext"] = context
            record["responsePayload"] = _json(outcome.payload)
        return record

    async def _send(
        self,
        target: str,
        event: QueuedEvent,
        version: FunctionVersion,
        record: dict[str, Any],
        trace_id: str,
    ) -> None:
        body = _encoded(target, record)
        context = record["requestContext"]
        try:
            await self._sender.send(
                version,
                target,
                body,
                trace_id,
                name=self._object_key(version),
                subject=_SUBJECTS[context["condition"] == "Success"],
                resources=(target, context["functionArn"]),
            )
        except AwsError as error:
            self._undelivered(target, event, version, body, error.message)
        except Exception:
            _log.exception("destination %s of %s", target, version.arn)
            self._undelivered(target, event, version, body, "The platform failed.")

    def _object_key(self, version: FunctionVersion) -> str:
        """Return the key under which a bucket stores the record."""
        moment = self._moment()
        return (
            f"aws/lambda/async/{version.name}/{moment:%Y/%m/%d}/{moment:%Y-%m-%dT%H.%M.%S}-"
            f"{self._ids.uuid()}"
        )

    def _undelivered(
        self, target: str, event: QueuedEvent, version: FunctionVersion, record: bytes, message: str
    ) -> None:
        self._metrics.count(event, "DestinationDeliveryFailures")
        line = {
            "type": "boda.destination.failed",
            "functionArn": version.arn,
            "destination": target,
            "service": Arn.parse(target).service,
            "message": message,
            "record": record[:_RECORD_SHOWN].decode(errors="replace"),
        }
        say(self._telemetry, version, self._clock.now(), "undelivered-records", line)

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


_SUBJECTS = {
    True: "Lambda Function Invocation Result - Success",
    False: "Lambda Function Invocation Result - Failure",
}
"""The ``detail-type`` of the record on an event bus; its ``source`` is ``lambda``."""


def _encoded(target: str, record: dict[str, Any]) -> bytes:
    """Return the record as JSON; without the payloads for a topic if it would be too long."""
    body = orjson.dumps(record)
    if len(body) <= _TOPIC_BYTES or Arn.parse(target).service != "sns":
        return body
    payloads = ("requestPayload", "responsePayload")
    return orjson.dumps({name: value for name, value in record.items() if name not in payloads})


def _json(payload: bytes) -> Any:
    """Return a payload as a member of a record: as it is if it is JSON, else as text."""
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload.decode(errors="replace")
    return orjson.Fragment(payload)
