"""The events that S3 sends when an object changes. Pure.

Shapes: Amazon S3 User Guide, "Event message structure", and answers recorded from S3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from boda.core.arn import build
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.gateway.calling.operation import Context
from boda.services.s3 import names
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.sequence import sequencer

_DETAIL_TYPES = {
    "ObjectCreated": "Object Created",
    "ObjectRemoved": "Object Deleted",
    "ObjectTagging:Put": "Object Tags Added",
    "ObjectTagging:Delete": "Object Tags Deleted",
}
_REASONS = {
    "ObjectCreated:Put": "PutObject",
    "ObjectCreated:Copy": "CopyObject",
    "ObjectCreated:CompleteMultipartUpload": "CompleteMultipartUpload",
    "ObjectRemoved:Delete": "DeleteObject",
    "ObjectRemoved:DeleteMarkerCreated": "DeleteObject",
}
_DELETIONS = {
    "ObjectRemoved:Delete": "Permanently Deleted",
    "ObjectRemoved:DeleteMarkerCreated": "Delete Marker Created",
}


@dataclass(frozen=True, slots=True)
class Happening:
    """A change of an object.

    name: without ``s3:``, for example ``ObjectCreated:Put``. at: seconds since the epoch. seq: of
    the write. etag, size: if the event has them. version_id: of a versioned bucket's object, else
    "".
    """

    name: str
    key: str
    at: float
    seq: int
    etag: str = ""
    size: int | None = None
    version_id: str = ""


def messages(
    happening: Happening, bucket: Bucket, ctx: Context, ids: Ids
) -> Iterator[tuple[str, bytes]]:
    """Yield target ARN and event (JSON) for each destination whose rule picks the change."""
    for rule in bucket.notifications.picked("s3:" + happening.name, happening.key):
        record = _record(happening, bucket, ctx, rule.id)
        yield rule.target, json.dumps({"Records": [record]}).encode()
    if bucket.notifications.event_bridge:
        event = _bridge_event(happening, bucket, ctx, ids)
        yield event_bus(bucket), json.dumps(event).encode()


def event_bus(bucket: Bucket) -> str:
    return build("events", bucket.region, bucket.account, "event-bus/default")


def test_event(bucket: Bucket, ctx: Context, at: float) -> bytes:
    """Return the event that queues and topics receive when a configuration names them."""
    return json.dumps(
        {
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": _time(at),
            "Bucket": bucket.name,
            "RequestId": ctx.request_id,
            "HostId": names.host_id(ctx.request_id),
        }
    ).encode()


def _record(happening: Happening, bucket: Bucket, ctx: Context, rule_id: str) -> dict[str, Any]:
    changed: dict[str, Any] = {"key": names.form_encoded(happening.key)}
    if happening.size is not None:
        changed["size"] = happening.size
    if happening.etag:
        changed["eTag"] = happening.etag
    if happening.version_id:
        changed["versionId"] = happening.version_id
    changed["sequencer"] = sequencer(happening.seq)
    return {
        "eventVersion": "2.3" if happening.name.startswith("ObjectTagging") else "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.region,
        "eventTime": _time(happening.at),
        "eventName": happening.name,
        "userIdentity": {"principalId": principal_id(ctx.principal)},
        "requestParameters": {"sourceIPAddress": ctx.source_ip},
        "responseElements": {
            "x-amz-request-id": ctx.request_id,
            "x-amz-id-2": names.host_id(ctx.request_id),
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule_id,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": {"principalId": names.owner_principal(bucket.account)},
                "arn": bucket.arn,
            },
            "object": changed,
        },
    }


def _bridge_event(happening: Happening, bucket: Bucket, ctx: Context, ids: Ids) -> dict[str, Any]:
    changed: dict[str, Any] = {"key": happening.key}
    if happening.size is not None:
        changed["size"] = happening.size
    if happening.etag:
        changed["etag"] = happening.etag
    if happening.version_id:
        changed["version-id"] = happening.version_id
    changed["sequencer"] = sequencer(happening.seq)
    detail: dict[str, Any] = {
        "version": "0",
        "bucket": {"name": bucket.name},
        "object": changed,
        "request-id": ctx.request_id,
        "requester": ctx.account,
        "source-ip-address": ctx.source_ip,
    }
    if happening.name in _REASONS:
        detail["reason"] = _REASONS[happening.name]
    if happening.name in _DELETIONS:
        detail["deletion-type"] = _DELETIONS[happening.name]
    family = happening.name.partition(":")[0]
    return {
        "version": "0",
        "id": ids.uuid(),
        "detail-type": _DETAIL_TYPES.get(happening.name) or _DETAIL_TYPES[family],
        "source": "aws.s3",
        "account": bucket.account,
        "time": f"{datetime.fromtimestamp(happening.at, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "region": bucket.region,
        "resources": [bucket.arn],
        "detail": detail,
    }


def principal_id(principal: Principal) -> str:
    """Return a caller in the form of ``userIdentity``."""
    if principal.kind == "anonymous":
        return "Anonymous"
    if principal.kind == "service":
        return principal.arn
    return f"AWS:{principal.unique_id}"


def _time(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
