"""botocore's clients against these protocols, for every operation of the services that matter.

A request that botocore writes is read as the parameters it was given; an answer written here is
read by botocore as the output it was made from. Values are made from the shapes, from a seed.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict
from botocore.model import OperationModel, Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from boda.gateway.calling.models import Models
from boda.gateway.http.wire import WireRequest
from support.dialects import DIALECTS

SPOKEN = [
    ("lambda", "rest-json"),
    ("apigateway", "rest-json"),
    ("scheduler", "rest-json"),
    ("s3", "rest-xml"),
    ("route53", "rest-xml"),
    ("cloudfront", "rest-xml"),
    ("iam", "query"),
    ("sts", "query"),
    ("sns", "query"),
    ("cloudformation", "query"),
    ("ec2", "ec2"),
    ("logs", "json"),
    ("dynamodb", "json"),
    ("kinesis", "json"),
    ("events", "json"),
    ("stepfunctions", "json"),
    ("sqs", "json"),
    ("sqs", "query"),
    ("cloudwatch", "smithy-rpc-v2-cbor"),
    ("cloudwatch", "json"),
    ("cloudwatch", "query"),
]
# Operations whose answers only botocore's own after-treatment makes sense of.
NOT_BY_MODEL = {"GetBucketLocation"}
# Two members of one wire name.
NOT_BY_MODEL |= {"GetBucketNotification"}
REQUEST_ID = {"s3": "x-amz-request-id"}
LETTERS = "abcxyzABCXYZ0189-_.:/ äß漢🙂&<>\"'%+=;"
MAX_DEPTH = 4


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(dialects=DIALECTS)


class Maker:
    """Makes values of shapes that keep to what their place on the wire can carry."""

    def __init__(self, service: str, op: OperationModel) -> None:
        self.random = random.Random(f"{service} {op.name}")
        self.status = int(op.http.get("responseCode", 200))

    def members(self, shape: Shape, depth: int = 0) -> dict[str, Any]:
        names = list(shape.members)
        if shape.is_tagged_union:
            names = [self.random.choice(names)]
        made = {}
        for name in names:
            part = shape.members[name]
            if part.serialization.get("eventstream") or _too_deep(part, depth):
                continue
            place = part.serialization.get("location", "")
            if place == "statusCode":
                made[name] = self.status
            elif part.serialization.get("hostLabel"):
                made[name] = "label"
            elif depth and not shape.is_tagged_union and self.random.random() < 0.3:
                continue
            else:
                made[name] = self.value(part, depth, place)
        if not made and names and depth < MAX_DEPTH * 3:
            # An empty structure leaves no trace in some protocols: give it one member.
            name = min(names, key=lambda one: _nests(shape.members[one]))
            made[name] = self.value(shape.members[name], depth)
        return made

    def value(self, shape: Shape, depth: int, place: str = "") -> Any:
        kind = shape.type_name
        if shape.is_document_type if kind == "structure" else False:
            return {"a": [1, "b", None, {"c": True}]}
        if kind == "structure":
            return self.members(shape, depth + 1)
        if kind == "list":
            return [self.value(shape.member, depth + 1, place) for _ in range(2)]
        if kind == "map":
            keys = [f"k{number}" for number in range(2)]
            if shape.key.enum:
                keys = shape.key.enum[:2]
            return {key: self.value(shape.value, depth + 1, place) for key in keys}
        if kind == "integer":
            return self.random.randrange(-(2**31), 2**31)
        if kind == "long":
            return self.random.randrange(-(2**63), 2**63)
        if kind in ("float", "double"):
            return self.random.randrange(-1000, 1000) / 8
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind == "timestamp":
            return datetime(2024, 2, 29, tzinfo=UTC) + timedelta(
                seconds=self.random.randrange(10**8)
            )
        if kind == "blob":
            return self.random.randbytes(12)
        if shape.enum:
            return self.random.choice(shape.enum)
        if place in ("header", "headers"):
            return "value " + str(self.random.randrange(10**6))
        return "x" + "".join(self.random.choices(LETTERS, k=12)) + "y"


def _nests(shape: Shape) -> bool:
    return shape.type_name in ("structure", "list", "map")


def _too_deep(shape: Shape, depth: int) -> bool:
    return depth >= MAX_DEPTH and _nests(shape)


def operations(models: Models, service: str) -> Iterator[OperationModel]:
    model = models.service(service)
    for name in model.operation_names:
        yield model.operation_model(name)


def sent(models: Models, op: OperationModel, protocol: str, params: Any) -> WireRequest:
    """The request botocore makes of the parameters."""
    wire = create_serializer(protocol, include_validation=False).serialize_to_request(params, op)
    prepare_request_dict(wire, "http://localhost", {})
    prepared = create_request_object(wire).prepare()
    url = urlsplit(prepared.url)
    body = prepared.body or b""
    return WireRequest(
        method=prepared.method,
        path=url.path,
        query=url.query,
        headers={
            name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for name, value in prepared.headers.items()
        },
        body=body.encode() if isinstance(body, str) else bytes(body),
    )


@pytest.mark.parametrize(("service", "protocol"), SPOKEN)
def test_requests_of_botocore_are_read_as_they_were_meant(
    models: Models, service: str, protocol: str
) -> None:
    speaks = models.protocol(service, protocol)
    tried = 0
    for op in operations(models, service):
        if op.has_event_stream_input:
            continue
        maker = Maker(service, op)
        params = maker.members(op.input_shape) if op.input_shape else {}
        request = sent(models, op, protocol, params)
        read = _without_named(speaks.parse(request, op), op)
        assert _without_empty(read) == _without_empty(params), op.name
        tried += 1
    assert tried > 5


@pytest.mark.parametrize(
    ("service", "protocol"),
    # botocore's model of SQS no longer knows how to read its query answers.
    [one for one in SPOKEN if one != ("sqs", "query")],
)
def test_answers_are_read_by_botocore_as_they_were_meant(
    models: Models, service: str, protocol: str
) -> None:
    speaks = models.protocol(service, protocol)
    tried = 0
    for op in operations(models, service):
        if op.has_event_stream_output or op.name in NOT_BY_MODEL:
            continue
        maker = Maker(service, op)
        output = maker.members(op.output_shape) if op.output_shape else {}
        answer = speaks.serialize(output, op, "the-request-id")
        received = {
            "status_code": answer.status,
            "headers": HeadersDict(answer.headers),
            "body": Streamed(answer.body) if op.has_streaming_output else answer.body,
        }
        read = create_parser(protocol).parse(received, op.output_shape)
        read = {name: getattr(item, "data", item) for name, item in read.items()}
        metadata = read.pop("ResponseMetadata")
        assert dict(answer.headers)[REQUEST_ID.get(service, "x-amzn-RequestId")] == "the-request-id"
        assert metadata["HTTPStatusCode"] == maker.status
        if maker.status != 204:
            assert _without_empty(read) == _without_empty(output), op.name
        tried += 1
    assert tried > 5


def _without_named(params: dict[str, Any], op: OperationModel) -> dict[str, Any]:
    """Without the parameters bound by name in a map of the query string: servers see them."""
    shapes = op.input_shape.members if op.input_shape else {}
    named = {shape.serialization.get("name") for shape in shapes.values()}
    return {
        name: {key: item for key, item in value.items() if key not in named}
        if shapes[name].serialization.get("location") == "querystring" and isinstance(value, dict)
        else value
        for name, value in params.items()
    }


class Streamed:
    """botocore leaves a streamed body alone."""

    def __init__(self, data: bytes) -> None:
        self.data = data


def _without_empty(value: Any) -> Any:
    """Without structures that have no members: where members are optional they may vanish."""
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ({}, [], None)}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value


def test_a_compressed_request_is_unpacked(models: Models) -> None:
    op = models.service("cloudwatch").operation_model("PutMetricData")
    params = Maker("cloudwatch", op).members(op.input_shape)
    request = sent(models, op, "smithy-rpc-v2-cbor", params)
    request.headers = {**request.headers, "content-encoding": "gzip"}
    request.body = gzip.compress(bytes(request.body))
    assert models.protocol("cloudwatch", "smithy-rpc-v2-cbor").parse(request, op) == _without_empty(
        params
    )
