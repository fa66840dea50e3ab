"""Destinations: where the record of an asynchronous invocation goes once it is over.

The record's members are as recorded on AWS. It is sent as the function's own role, which
therefore needs the permission. What no service here takes, or the role may not send, is counted
(``DestinationDeliveryFailures``) and said in the function's log: nothing is lost silently.

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
from boda.core.principal import Principal
from boda.delivery.contract import Source
from boda.delivery.failure import Reason
from boda.delivery.post import Post
from boda.delivery.retry import RetryPolicy
from boda.delivery.rows import Event
from boda.invoke.call import Call, Outcome
from boda.runtime.function import FunctionVersion
from boda.telemetry.contract import StreamKey, Telemetry

_log = logging.getLogger(__name__)
_RECORD_SHOWN = 4096


@dataclass(frozen=True, slots=True)
class AsyncRules:
    """What holds for events sent to one qualifier. on_success, on_failure: ARNs, or ""."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_success: str = ""
    on_failure: str = ""


Rules = Callable[[FunctionVersion, str], AsyncRules]
"""The rules of a version under the qualifier it was invoked by."""


class Destinations:
    """Sends records. role: who a function version acts as, None when its role is gone."""

    def __init__(
        self,
        post: Post,
        telemetry: Telemetry,
        clock: Clock,
        ids: Ids,
        role: Callable[[FunctionVersion], Principal | None],
    ) -> None:
        self._post = post
        self._telemetry = telemetry
        self._clock = clock
        self._ids = ids
        self._role = role

    async def succeeded(
        self,
        target: str,
        event: Event,
        call: Call,
        outcome: Outcome,
    ) -> None:
        """Never raises."""
        if target:
            told = self._record(event, call.payload, "Success", event.failures + 1, outcome)
            await self._send(target, call.version, told, call.trace_id)

    async def failed(
        self,
        target: str,
        event: Event,
        payload: bytes,
        version: FunctionVersion,
        reason: Reason,
        outcome: Outcome | None,
    ) -> None:
        """outcome: of the last attempt, when the event is given up because of it. Never raises."""
        if target:
            told = self._record(event, payload, reason.condition, event.failures, outcome)
            await self._send(target, version, told, event.trace_id)

    def _record(
        self, event: Event, payload: bytes, condition: str, attempts: int, outcome: Outcome | None
    ) -> bytes:
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
        return orjson.dumps(record)

    async def _send(
        self, target: str, version: FunctionVersion, record: bytes, trace_id: str
    ) -> None:
        try:
            role = self._role(version)
            if role is None:
                raise AwsError("AccessDeniedException", f"There is no role {version.role_arn}.")
            source = Source(role, version.arn, version.account, version.region, trace_id)
            await self._post.send(target, record, source, {}, name=self._object_key(version))
        except AwsError as error:
            self._undelivered(target, version, record, error.message)
        except Exception:
            _log.exception("destination %s of %s", target, version.arn)
            self._undelivered(target, version, record, "The platform failed.")

    def _object_key(self, version: FunctionVersion) -> str:
        """Under which a bucket keeps the record."""
        moment = self._moment()
        return (
            f"aws/lambda/async/{version.name}/{moment:%Y/%m/%d}/{moment:%Y-%m-%dT%H.%M.%S}-"
            f"{self._ids.uuid()}"
        )

    def _undelivered(
        self, target: str, version: FunctionVersion, record: bytes, message: str
    ) -> None:
        self._telemetry.metric(
            version.account,
            version.region,
            "AWS/Lambda",
            "DestinationDeliveryFailures",
            1.0,
            {"FunctionName": version.name},
        )
        line = {
            "type": "boda.destination.failed",
            "functionArn": version.arn,
            "destination": target,
            "service": Arn.parse(target).service,
            "message": message,
            "record": record[:_RECORD_SHOWN].decode(errors="replace"),
        }
        stream = f"{self._moment():%Y/%m/%d}/[{version.version}]undelivered-records"
        self._telemetry.log(
            StreamKey(version.account, version.region, version.log.group, stream),
            [(int(self._clock.now() * 1000), orjson.dumps(line).decode())],
        )

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def _json(payload: bytes) -> Any:
    """A payload within a record: as it is where it is JSON, else as text."""
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload.decode(errors="replace")
    return orjson.Fragment(payload)
