"""The members of an event source mapping, and their defaults. Pure.

Each kind of source has members of its own; AWS echoes those and no others, and refuses the rest.
Source: Lambda developer guide, "invocation-eventsourcemapping"; words as recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.events.patterns import PatternError
from boda.events.patterns.dialects import compile_filter
from boda.services.lambda_.errors import invalid

Members = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A kind of source. defaults: members that are always echoed. others: further ones that may be
    given. starts: starting positions, none if it has none. reason: for its states."""

    name: str
    defaults: Members
    others: frozenset[str]
    starts: frozenset[str] = frozenset()
    reason: str = "User action"
    batch_most: int = 10_000

    @property
    def is_queue(self) -> bool:
        return not self.starts and self.name in ("sqs", "sqs-fifo")


_ALL = frozenset(("FilterCriteria", "KMSKeyArn", "MetricsConfig", "LoggingConfig"))
_STREAM_DEFAULTS = {
    "BatchSize": 100,
    "MaximumBatchingWindowInSeconds": 0,
    "ParallelizationFactor": 1,
    "DestinationConfig": {"OnFailure": {}},
    "MaximumRecordAgeInSeconds": -1,
    "BisectBatchOnFunctionError": False,
    "MaximumRetryAttempts": -1,
    "TumblingWindowInSeconds": 0,
    "FunctionResponseTypes": [],
}
_SQS_DEFAULTS = {"BatchSize": 10, "MaximumBatchingWindowInSeconds": 0, "FunctionResponseTypes": []}
_BATCHES = {"BatchSize": 100, "MaximumBatchingWindowInSeconds": 0}
_POLLED = frozenset(("ProvisionedPollerConfig", "SourceAccessConfigurations"))
_KAFKA = _POLLED | {
    "Topics",
    "DestinationConfig",
    "BisectBatchOnFunctionError",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "FunctionResponseTypes",
}
_START = frozenset(("TRIM_HORIZON", "LATEST"))
_START_AT = _START | {"AT_TIMESTAMP"}

_SQS = SourceKind(
    "sqs",
    _SQS_DEFAULTS,
    _ALL | {"ScalingConfig", "ProvisionedPollerConfig"},
    reason="USER_INITIATED",
)
_SQS_FIFO = SourceKind(
    "sqs-fifo",
    _SQS_DEFAULTS,
    _ALL | {"ScalingConfig", "ProvisionedPollerConfig"},
    reason="USER_INITIATED",
    batch_most=10,
)
_KINESIS = SourceKind("kinesis", _STREAM_DEFAULTS, _ALL, _START_AT)
_DYNAMODB = SourceKind("dynamodb", _STREAM_DEFAULTS, _ALL, _START)
_MSK = SourceKind(
    "kafka", _BATCHES, _ALL | _KAFKA | {"AmazonManagedKafkaEventSourceConfig"}, _START_AT
)
_SELF_KAFKA = SourceKind(
    "self-managed-kafka",
    _BATCHES,
    _ALL | _KAFKA | {"SelfManagedEventSource", "SelfManagedKafkaEventSourceConfig"},
    _START_AT,
)
_MQ = SourceKind("mq", _BATCHES, _ALL | _POLLED | {"Queues"})
_DOCDB = SourceKind("rds", _BATCHES, _ALL | _POLLED | {"DocumentDBEventSourceConfig"}, _START_AT)


def source_of(members: Members) -> SourceKind:
    """Return the kind of source that a mapping names. Raises AwsError."""
    text = members.get("EventSourceArn")
    if members.get("SelfManagedEventSource"):
        if text:
            raise invalid("EventSourceArn and SelfManagedEventSource are mutually exclusive.")
        return _SELF_KAFKA
    arn = Arn.read(text) if text else None
    if arn is not None:
        if arn.service == "sqs" and arn.region and arn.account:
            return _SQS_FIFO if arn.resource.endswith(".fifo") else _SQS
        if arn.service == "kinesis" and arn.resource.startswith("stream/"):
            return _KINESIS
        if arn.service == "dynamodb" and "/stream/" in arn.resource:
            return _DYNAMODB
        for source in (_MSK, _MQ, _DOCDB):
            if arn.service == source.name:
                return source
    raise invalid("Unrecognized event source.")


def create(source: SourceKind, given: Members) -> dict[str, Any]:
    """Return the members of a new mapping, defaults filled in. Raises AwsError."""
    _check_start(source, given)
    if source is _SELF_KAFKA and not given.get("SourceAccessConfigurations"):
        raise invalid("Required 'sourceAccessConfigurations' parameter is missing.")
    required = {"kafka": "Topics", "self-managed-kafka": "Topics", "mq": "Queues"}.get(source.name)
    if required is not None and not given.get(required):
        raise invalid(f"Required '{required[0].lower()}{required[1:]}' parameter is missing.")
    return merge(source, {}, given)


def merge(source: SourceKind, present: Members, given: Members) -> dict[str, Any]:
    """Return a mapping's members after a change. given: the changed ones. Raises AwsError."""
    settable = source.defaults.keys() | source.others
    for name, value in given.items():
        if name in _COMMON or name in settable:
            continue
        if value in (None, [], {}, False):
            continue  # without content, as tools send members that they have by default
        raise _unsupported(name)
    members = {**source.defaults, **present}
    members |= {name: value for name, value in given.items() if name in settable | _COMMON}
    _check_destination(source, members)
    _check_batches(source, members)
    _check_filters(members)
    _check_ranges(members)
    for name in ("FilterCriteria", "ScalingConfig", "KMSKeyArn", "ProvisionedPollerConfig"):
        if name in given and not _content(given[name]):
            members.pop(name, None)  # given empty: removed
    return members


def _content(value: Any) -> bool:
    """Return whether a value has any content."""
    return any(map(_content, value.values())) if isinstance(value, dict) else bool(value)


def _check_start(source: SourceKind, given: Members) -> None:
    start = given.get("StartingPosition")
    if not source.starts:
        if start is not None:
            raise invalid(
                "StartingPosition is not a valid parameter for the given event source type."
            )
        return
    if start is None:
        raise invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy "
            "constraint: Member must not be null."
        )
    if start not in source.starts:
        raise invalid(f"Unsupported starting position for arn type: {given.get('EventSourceArn')}")
    moment = given.get("StartingPositionTimestamp")
    if start == "AT_TIMESTAMP" and moment is None:
        raise invalid(
            "StartingPositionTimestamp is required when StartingPosition is AT_TIMESTAMP."
        )
    if start != "AT_TIMESTAMP" and moment is not None:
        raise invalid("StartingPositionTimestamp is only supported with AT_TIMESTAMP.")


def _check_destination(source: SourceKind, members: dict[str, Any]) -> None:
    config = members.get("DestinationConfig")
    if config is None:
        return
    if config.get("OnSuccess"):
        raise _unsupported("DestinationConfig")
    failure = config.get("OnFailure") or {}
    target = failure.get("Destination") or ""
    arn = Arn.read(target)
    kafka = target.startswith("kafka://") and "kafka" in source.name
    if target and not kafka and (arn is None or arn.service not in ("sqs", "sns", "s3")):
        raise invalid(
            "The provided destination config DestinationConfig(onSuccess=null, "
            f"onFailure=OnFailure(destination={target})) is invalid."
        )
    members["DestinationConfig"] = {"OnFailure": {"Destination": target} if target else {}}


def _check_batches(source: SourceKind, members: Members) -> None:
    size, window = members["BatchSize"], members["MaximumBatchingWindowInSeconds"]
    if size > source.batch_most:
        raise invalid(
            f"1 validation error detected: Value '{size}' at 'batchSize' failed to satisfy "
            f"constraint: Member must have value less than or equal to {source.batch_most}"
        )
    if source.name == "sqs-fifo" and window:
        raise invalid("Batching window is not supported for FIFO queues")
    if source.is_queue and size > 10 and not window:
        raise invalid(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is "
            "greater than 10"
        )


def _check_filters(members: Members) -> None:
    filters = (members.get("FilterCriteria") or {}).get("Filters") or []
    if len(filters) > 10:
        raise invalid("Number of filters cannot be greater than 10.")
    for each in filters:
        try:
            compile_filter(each.get("Pattern") or "")
        except PatternError:
            raise invalid("Invalid filter pattern definition.") from None


def _check_ranges(members: Members) -> None:
    age = members.get("MaximumRecordAgeInSeconds", -1)
    if age != -1 and age < 60:
        raise invalid("MaximumRecordAgeInSeconds must be -1 or between 60 and 604800.")
    pollers = members.get("ProvisionedPollerConfig") or {}
    low, high = pollers.get("MinimumPollers"), pollers.get("MaximumPollers")
    if low is not None and high is not None and low > high:
        raise invalid("MinimumPollers must be less than or equal to MaximumPollers.")
    if pollers and (members.get("ScalingConfig") or {}).get("MaximumConcurrency"):
        raise invalid("ScalingConfig and ProvisionedPollerConfig are mutually exclusive.")


def _unsupported(name: str) -> AwsError:
    return invalid(f"Unsupported {name} parameter for given event source mapping type.")


_COMMON = frozenset(
    ("EventSourceArn", "SelfManagedEventSource", "StartingPosition", "StartingPositionTimestamp")
)
