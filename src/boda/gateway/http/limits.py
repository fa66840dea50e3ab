"""How much a caller may send, and how long it may take.

Sizes of the HTTP envelope follow AWS Lambda's quota of 1 MB for request line and headers;
sizes of bodies are AWS's where it names one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boda.core.errors import AwsError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """head_bytes: request line and headers together. headers: their number.
    query_parameters: their number; reading many more would keep others waiting.

    head_timeout_s: from a request's first byte (or the connection's start) to the end of its
        headers. body_idle_s: how long a body is waited for, in all; every
        ``body_bytes_s`` bytes that come give back a second of it, up to the whole.
    held_bytes: of all bodies together that are held in memory and have not come whole, and once
        more of all heads and read-ahead; beyond that those which began first are given up.
    keep_alive_s: how long an idle connection is kept. drain_s, drain_bytes: how long, and for
        how much, a body that nobody wants any more is read so that the answer gets through.
    write_stall_s: how long a client may leave its answer unread. unread_bytes: of all answers
        together that wait for their clients; beyond that the longest waiting are given up.
    connections: open at once from outside. endpoint_connections: open at once from one execution
        environment, whose processes may be as many as their descriptors.
        endpoints_connections: from all environments together.
    body_bytes: a body that is held in memory, where ``BODIES`` has no rule of its own.
    parsed_at_once_bytes: a body that is parsed on the event loop; larger ones are parsed in a
        thread. parsers: how many of those at a time.
    stream_bytes: a body that is streamed (S3's largest single upload).
    """

    head_bytes: int = MIB
    headers: int = 512
    query_parameters: int = 1_000
    head_timeout_s: float = 30.0
    body_idle_s: float = 60.0
    body_bytes_s: int = 1024
    held_bytes: int = 256 * MIB
    keep_alive_s: float = 75.0
    drain_s: float = 10.0
    drain_bytes: int = 128 * MIB
    write_stall_s: float = 120.0
    unread_bytes: int = 256 * MIB
    connections: int = 10_000
    endpoint_connections: int = 1_000
    endpoints_connections: int = 5_000
    body_bytes: int = 4 * MIB
    parsed_at_once_bytes: int = 64 * 1024
    parsers: int = 2
    stream_bytes: int = 5 * 1024 * MIB


@dataclass(frozen=True, slots=True)
class BodyRule:
    """The largest body of an operation, in bytes, and how AWS says that it was larger.

    typed: the error tells ``Type: User``, as Lambda's do.
    """

    limit: int
    code: str
    message: str
    status: int = 413
    typed: bool = False

    def error(self) -> AwsError:
        fields: dict[str, Any] = {"Type": "User"} if self.typed else {}
        return AwsError(self.code, self.message, self.status, **fields)


def _lambda(operation: str, limit: int, code: str, named: str = "") -> tuple[str, BodyRule]:
    return operation, BodyRule(
        limit,
        code,
        f"Request must be smaller than {limit} bytes for the {named or operation} operation",
        typed=True,
    )


def _json(operation: str, limit: int) -> BodyRule:
    return BodyRule(
        limit,
        "RequestEntityTooLargeException",
        f"Request must be smaller than {limit} bytes for the {operation} operation",
    )


def _s3(limit: int) -> BodyRule:
    return BodyRule(limit, "MaxMessageLengthExceeded", "Your request was too big.", 400)


_CODE_BYTES = 70_167_211  # 50 MB of zip as base64, and slack
_PAYLOAD_BYTES = 6 * MIB + 100

BODIES: dict[str, dict[str, BodyRule]] = {
    "lambda": dict(
        [
            _lambda("CreateFunction", _CODE_BYTES, "RequestEntityTooLargeException"),
            _lambda("UpdateFunctionCode", _CODE_BYTES, "RequestEntityTooLargeException"),
            _lambda("PublishLayerVersion", _CODE_BYTES, "RequestEntityTooLargeException"),
            _lambda("UpdateFunctionConfiguration", 5120, "RequestEntityTooLargeException"),
            _lambda("Invoke", _PAYLOAD_BYTES, "RequestTooLargeException", "InvokeFunction"),
            _lambda("InvokeAsync", _PAYLOAD_BYTES, "RequestTooLargeException"),
            _lambda("InvokeWithResponseStream", _PAYLOAD_BYTES, "RequestTooLargeException"),
        ]
    ),
    "logs": {"PutLogEvents": _json("PutLogEvents", 8 * MIB)},
}
"""By service and operation; data, so that the gateway itself knows no service.

PutLogEvents: 1 MB of messages, each of whose characters JSON may write as six. What S3 takes at
most fits in ``Limits.body_bytes``: 10,000 parts with a checksum each, 1,000 keys of 1,024
characters.
"""

_USUAL = dict.fromkeys(("iam", "lambda", "logs", "sts"), MIB)
"""By service: its other operations, where that is less than ``Limits.body_bytes``."""

LONGEST_LISTS: dict[str, dict[str, int]] = {
    "s3": {"": 1000, "CompleteMultipartUpload": 10_000},
}
"""The longest list of a service's (""), or an operation's, bodies, where its model tells none."""


def body_rule(service: str, operation: str, limits: Limits) -> BodyRule:
    """The rule for a body that is held in memory."""
    rule = BODIES.get(service, {}).get(operation)
    if rule is not None:
        return rule
    if service == "s3":
        return _s3(limits.body_bytes)
    return _json(operation, min(_USUAL.get(service, limits.body_bytes), limits.body_bytes))


def too_large_upload(size: int, limit: int) -> AwsError:
    """A streamed body past the limit, as S3 says it."""
    return AwsError(
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
        400,
        ProposedSize=str(size),
        MaxSizeAllowed=str(limit),
    )
