"""Requests that can not be read are refused in AWS's form: never a 500, never a traceback."""

from __future__ import annotations

import contextlib
import json
import random
import zlib
from typing import Any

import cbor2
import pytest

from boda.core.errors import AwsError, MalformedInput
from boda.gateway.calling.models import Models
from boda.gateway.http.wire import WireRequest
from boda.gateway.protocols import xml_values
from support.dialects import DIALECTS


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(dialects=DIALECTS)


def refusal(
    models: Models,
    service: str,
    operation: str,
    body: bytes = b"",
    *,
    spoken: str = "",
    query: str = "",
    headers: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
) -> AwsError:
    op = models.service(service).operation_model(operation)
    request = WireRequest(op.http.get("method", "POST"), "/", query, headers or {}, body)
    with pytest.raises(AwsError) as caught:
        models.protocol(service, spoken).parse(request, op, labels or {})
    assert caught.value.status == 400
    assert caught.value.message
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"a":1}x',
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"tableName": NaN}',
        b"[" * 5000,
    ],
)
def test_json_that_is_none(models: Models, body: bytes) -> None:
    assert refusal(models, "dynamodb", "GetItem", body).code == "SerializationException"
    assert refusal(models, "lambda", "CreateFunction", body).code == "SerializationException"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"TableName": 1}, "NUMBER_VALUE cannot be converted to String"),
        ({"TableName": True}, "TRUE_VALUE cannot be converted to String"),
        ({"TableName": []}, "Start of list found where not expected"),
        ({"TableName": {}}, "Start of structure or map found where not expected."),
        ({"ConsistentRead": "true"}, "STRING_VALUE cannot be converted to Boolean"),
        ({"AttributesToGet": "name"}, "Unexpected field type"),
        ({"Key": "name"}, "Unexpected field type"),
        ({"Key": {"id": {"B": "%%%"}}}, "Invalid Base64 encoding: the value can not be decoded"),
        ({"Key": {"id": {"B": 5}}}, "only base-64-encoded strings are convertible to bytes"),
    ],
)
def test_members_of_the_wrong_type(models: Models, members: Any, message: str) -> None:
    error = refusal(models, "dynamodb", "GetItem", json.dumps(members).encode())
    assert (error.code, error.message) == ("SerializationException", message)


@pytest.mark.parametrize("value", ["3", 3.5, 2**31, -(2**31) - 1, 10**400, 1e300, True, [3]])
def test_integers_that_are_none(models: Models, value: Any) -> None:
    body = json.dumps({"Timeout": value}).encode()
    error = refusal(models, "lambda", "CreateFunction", body)
    assert error.code == "SerializationException"


@pytest.mark.parametrize("value", ["yesterday", True, 1e300, [1], "2024-01-01T00:00:00Z"])
def test_moments_that_are_none(models: Models, value: Any) -> None:
    body = json.dumps({"StartingPositionTimestamp": value}).encode()
    error = refusal(models, "lambda", "CreateEventSourceMapping", body)
    assert error.code == "SerializationException"


def test_nested_too_deeply(models: Models) -> None:
    value: Any = {"S": "x"}
    for _ in range(400):
        value = {"L": [value]}
    body = json.dumps({"Key": {"id": value}}).encode()
    error = refusal(models, "dynamodb", "GetItem", body)
    assert error.code == "SerializationException"


def test_unknown_members_and_nulls_are_ignored(models: Models) -> None:
    op = models.service("lambda").operation_model("CreateFunction")
    body = b'{"FunctionName": "f", "Novelty": {"a": [1]}, "Role": null, "Code": {"Other": 1}}'
    request = WireRequest("POST", "/2015-03-31/functions", "", {}, body)
    assert models.protocol("lambda").parse(request, op) == {"FunctionName": "f", "Code": {}}


def test_an_integer_beyond_a_double_keeps_its_digits(models: Models) -> None:
    op = models.service("logs").operation_model("GetLogEvents")
    for text, value in (("9223372036854775807", 2**63 - 1), ("3.0", 3)):
        request = WireRequest("POST", "/", "", {}, b'{"startTime": %s}' % text.encode())
        assert models.protocol("logs").parse(request, op) == {"startTime": value}
    for text in ("9223372036854775808", "1e30", "18446744073709551616"):
        refusal(models, "logs", "GetLogEvents", b'{"startTime": %s}' % text.encode())


@pytest.mark.parametrize(
    "body",
    [
        b"<Delete",
        b"text",
        b"<Delete><Object></Delete>",
        b"<Tagging></Tagging>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><Delete></Delete>',
        b"<Delete><Quiet>perhaps</Quiet></Delete>",
        b"<Delete><Object><Key>a</Key><Size>many</Size></Object></Delete>",
        b"<Delete>" + b"<a>" * 1000 + b"</a>" * 1000 + b"</Delete>",
        b'<?xml version="1.0" encoding="no-such"?><Delete></Delete>',
        b"<Delete><Object><Key>&#0;</Key></Object></Delete>",
        b"\x00",
    ],
)
def test_xml_that_s3_does_not_take(models: Models, body: bytes) -> None:
    error = refusal(models, "s3", "DeleteObjects", body)
    assert error.code == "MalformedXML"
    assert error.message == (
        "The XML you provided was not well-formed or did not validate against our published schema"
    )


def test_entities_are_never_expanded() -> None:
    bomb = b'<!DOCTYPE l [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;&a;">]><l>&b;</l>'
    with pytest.raises(MalformedInput):
        xml_values.parse(bomb)


def test_s3_says_which_argument_is_no_number(models: Models) -> None:
    error = refusal(models, "s3", "ListObjectsV2", query="list-type=2&max-keys=many")
    assert error.code == "InvalidArgument"
    assert error.message == "Provided max-keys not an integer or within integer range"
    assert error.fields == {"ArgumentName": "max-keys", "ArgumentValue": "many"}
    error = refusal(models, "s3", "UploadPart", query="partNumber=x&uploadId=u")
    assert error.message == "Part number must be an integer between 1 and 10000, inclusive"


def test_s3_ignores_conditions_it_can_not_read(models: Models) -> None:
    op = models.service("s3").operation_model("GetObject")
    headers = {"if-modified-since": "whenever", "range": "bytes=0-1"}
    request = WireRequest("GET", "/b/k", "", headers)
    params = models.protocol("s3").parse(request, op, {"Bucket": "b", "Key": "k"})
    assert params == {"Bucket": "b", "Key": "k", "Range": "bytes=0-1"}


def test_a_path_is_decoded_once(models: Models) -> None:
    op = models.service("s3").operation_model("GetObject")
    request = WireRequest("GET", "/b/a%252F%20%2B+/%E6%BC%A2/", "", {})
    for labels in (None, {"Bucket": "b", "Key": "a%252F%20%2B+/%E6%BC%A2/"}):
        params = models.protocol("s3").parse(request, op, labels)
        assert params["Key"].rstrip("/") == "a%2F ++/漢"
    bad = refusal(models, "s3", "GetObject", labels={"Bucket": "b", "Key": "%ff"})
    assert bad.code == "InvalidURI"


@pytest.mark.parametrize(
    "body",
    [
        b"Action=ListRoles&MaxItems=many",
        b"Action=ListRoles&MaxItems=99999999999",
        b"Action=ListRoles&Marker=%ff",
        b"Action=ListRoles&MaxItems.1=3",
        b"Action=ListRoles&" + b"a." * 100 + b"b=1",
        b"\xff\xff",
    ],
)
def test_forms_that_can_not_be_read(models: Models, body: bytes) -> None:
    assert refusal(models, "iam", "ListRoles", body).code == "MalformedInput"


def test_a_form_with_gaps_and_absurd_numbers_is_read_in_order(models: Models) -> None:
    op = models.service("iam").operation_model("CreateRole")
    body = (
        b"Action=CreateRole&RoleName=r&Tags.member.900000000.Key=z&Tags.member.2.Key=a"
        b"&Tags.member.x.Key=no&Tags.member.99999999999999999999.Key=no"
    )
    params = models.protocol("iam").parse(WireRequest("POST", "/", "", {}, body), op)
    assert params == {"RoleName": "r", "Tags": [{"Key": "a"}, {"Key": "z"}]}


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"\xa1",
        cbor2.dumps([1]),
        cbor2.dumps("x"),
        cbor2.dumps({"AlarmNames": "x"}),
        cbor2.dumps({"MaxRecords": "3"}),
        cbor2.dumps({"MaxRecords": 2**40}),
        b"\x81" * 10_000 + b"\x00",
        b"\xa1jMaxRecords\xc5\x82\x1b\x0f\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xa1jMaxRecords\xd8\x23a(",
    ],
)
def test_cbor_that_can_not_be_read(models: Models, body: bytes) -> None:
    error = refusal(models, "cloudwatch", "DescribeAlarms", body, spoken="smithy-rpc-v2-cbor")
    assert error.code == "SerializationException"


def test_compressed_bombs_are_not_unpacked(models: Models) -> None:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(140)) + packer.flush()
    error = refusal(
        models, "cloudwatch", "PutMetricData", bomb, headers={"content-encoding": "gzip"}
    )
    assert error.code == "SerializationException"
    cut = refusal(
        models, "cloudwatch", "PutMetricData", b"\x1f\x8b", headers={"content-encoding": "gzip"}
    )
    assert "gzip" in cut.message


@pytest.mark.parametrize("service", ["lambda", "s3", "iam", "dynamodb"])
def test_noise_is_refused_or_read_but_never_crashes(models: Models, service: str) -> None:
    chance = random.Random(7)
    model = models.service(service)
    seeds = [b'{"a":[1,{"b":null}]}', b"<a><b c='d'>e</b></a>", b"A.1.B=c&D.member.1=e", b""]
    for name in model.operation_names:
        op = model.operation_model(name)
        for seed in seeds:
            body = bytearray(seed)
            for _ in range(3):
                if body:
                    body[chance.randrange(len(body))] = chance.randrange(256)
            query = "".join(chance.choices("ab=&%1;.", k=12))
            request = WireRequest("POST", "/x/y/z", query, {"x-amz-acl": "\x00"}, bytes(body))
            with contextlib.suppress(AwsError):
                models.protocol(service).parse(request, op)
