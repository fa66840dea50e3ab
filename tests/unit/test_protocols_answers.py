"""Answers and errors in the form of each protocol, where the vectors say nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import cbor2
import pytest

from boda.core.errors import AwsError
from boda.gateway.calling.models import Models
from boda.gateway.http.wire import Stream, WireResponse
from support.dialects import DIALECTS

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(dialects=DIALECTS)


def answered(
    models: Models, service: str, operation: str, output: dict[str, Any], **more: Any
) -> WireResponse:
    op = models.service(service).operation_model(operation)
    return models.protocol(service).serialize(output, op, "rid", **more)


def failed(
    models: Models, service: str, operation: str, error: AwsError, spoken: str = "", **more: Any
) -> WireResponse:
    op = models.service(service).operation_model(operation)
    return models.protocol(service, spoken).serialize_error(error, op, "rid", **more)


def test_an_invocation(models: Models) -> None:
    answer = answered(
        models,
        "lambda",
        "Invoke",
        {"StatusCode": 200, "Payload": b"null", "ExecutedVersion": "$LATEST"},
    )
    assert answer == WireResponse(
        200,
        [
            ("x-amzn-RequestId", "rid"),
            ("X-Amz-Executed-Version", "$LATEST"),
            ("Content-Type", "application/json"),
        ],
        b"null",
    )
    queued = answered(models, "lambda", "Invoke", {"StatusCode": 202, "Payload": b""})
    assert (queued.status, queued.body) == (202, b"")
    dry = answered(models, "lambda", "Invoke", {"StatusCode": 204, "Payload": b"never"})
    assert (dry.status, dry.body) == (204, b"")
    assert "Content-Type" not in dict(dry.headers)


def test_the_status_is_the_callers_the_members_or_the_models(models: Models) -> None:
    assert answered(models, "lambda", "CreateFunction", {}).status == 201
    assert answered(models, "lambda", "CreateFunction", {}, status=202).status == 202


def test_lambda_errors_spell_their_message_as_their_shape(models: Models) -> None:
    missing = failed(
        models, "lambda", "GetFunction", AwsError("ResourceNotFoundException", "gone", 404)
    )
    assert missing.status == 404
    assert dict(missing.headers)["x-amzn-ErrorType"] == "ResourceNotFoundException"
    assert json.loads(missing.body) == {"Type": "User", "Message": "gone"}  # type: ignore[arg-type]
    busy = failed(
        models,
        "lambda",
        "Invoke",
        AwsError(
            "TooManyRequestsException",
            "Rate Exceeded.",
            429,
            Reason="CallerRateLimitExceeded",
            retryAfterSeconds="5",
        ),
    )
    assert dict(busy.headers)["Retry-After"] == "5"
    assert json.loads(busy.body) == {  # type: ignore[arg-type]
        "Type": "User",
        "Reason": "CallerRateLimitExceeded",
        "message": "Rate Exceeded.",
    }
    refused = failed(models, "lambda", "Invoke", AwsError("ValidationException", "1 validation"))
    assert json.loads(refused.body) == {"message": "1 validation"}  # type: ignore[arg-type]
    typeless = AwsError("InvalidParameterValueException", "no", Type=None)
    assert json.loads(failed(models, "lambda", "Invoke", typeless).body) == {  # type: ignore[arg-type]
        "message": "no"
    }
    broken = failed(models, "lambda", "Invoke", AwsError("ServiceException", "oh", 500))
    assert json.loads(broken.body)["Type"] == "Service"  # type: ignore[arg-type]


def test_headers_of_an_error_are_sent_in_every_protocol(models: Models) -> None:
    error = AwsError("Throttling", "slow", 400, headers={"Retry-After": "7"})
    for service, operation in (
        ("lambda", "Invoke"),
        ("logs", "PutLogEvents"),
        ("iam", "ListRoles"),
        ("s3", "GetObject"),
        ("route53", "ListHostedZones"),
    ):
        assert dict(failed(models, service, operation, error).headers)["Retry-After"] == "7"
    cbor = failed(models, "cloudwatch", "ListMetrics", error, "smithy-rpc-v2-cbor")
    assert dict(cbor.headers)["Retry-After"] == "7"


def test_json_errors_name_their_type(models: Models) -> None:
    error = AwsError("ResourceNotFoundException", "gone")
    logs = failed(models, "logs", "GetLogEvents", error)
    assert json.loads(logs.body) == {  # type: ignore[arg-type]
        "__type": "ResourceNotFoundException",
        "message": "gone",
    }
    table = failed(models, "dynamodb", "GetItem", error)
    assert json.loads(table.body)["__type"].endswith("#ResourceNotFoundException")  # type: ignore[arg-type]
    assert ("Content-Type", "application/x-amz-json-1.0") in table.headers


@pytest.mark.parametrize("spoken", ["json", "query"])
def test_a_service_that_spoke_query_keeps_its_codes(models: Models, spoken: str) -> None:
    for code in ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"):
        answer = failed(models, "sqs", "SendMessage", AwsError(code, "gone"), spoken)
        assert isinstance(answer.body, bytes)
        if spoken == "json":
            header = dict(answer.headers)["x-amzn-query-error"]
            assert header == "AWS.SimpleQueueService.NonExistentQueue;Sender"
            assert json.loads(answer.body)["__type"] == "com.amazonaws.sqs#QueueDoesNotExist"
        else:
            root = ElementTree.fromstring(answer.body)
            assert root.findtext(".//{*}Code") == "AWS.SimpleQueueService.NonExistentQueue"


def test_query_errors(models: Models) -> None:
    answer = failed(models, "iam", "GetRole", AwsError("NoSuchEntity", "no <role> & more", 404))
    assert isinstance(answer.body, bytes)
    root = ElementTree.fromstring(answer.body)
    space = "{https://iam.amazonaws.com/doc/2010-05-08/}"
    assert root.tag == f"{space}ErrorResponse"
    assert root.findtext(f"{space}Error/{space}Type") == "Sender"
    assert root.findtext(f"{space}Error/{space}Code") == "NoSuchEntity"
    assert root.findtext(f"{space}Error/{space}Message") == "no <role> & more"
    assert root.findtext(f"{space}RequestId") == "rid"
    fault = failed(models, "iam", "GetRole", AwsError("ServiceFailure", "oh", 500))
    assert b"<Type>Receiver</Type>" in fault.body  # type: ignore[operator]


def test_cbor_errors(models: Models) -> None:
    error = AwsError("ResourceNotFound", "gone", 404)
    answer = failed(models, "cloudwatch", "ListMetrics", error, "smithy-rpc-v2-cbor")
    assert ("smithy-protocol", "rpc-v2-cbor") in answer.headers
    assert isinstance(answer.body, bytes)
    assert cbor2.loads(answer.body)["__type"].endswith("#ResourceNotFound")


def test_an_error_before_any_operation_is_known(models: Models) -> None:
    error = AwsError("UnknownOperationException", "", 400, Odd=object(), Empty=None)
    for service in ("lambda", "logs", "iam", "s3", "ec2"):
        answer = models.protocol(service).serialize_error(error, None, "rid")
        assert answer.status == 400
        assert answer.body


def test_s3_errors(models: Models) -> None:
    error = AwsError("NoSuchKey", "The specified key does not exist.", 404, Key="a&b\x01")
    answer = failed(models, "s3", "GetObject", error)
    assert isinstance(answer.body, bytes)
    text = answer.body.decode()
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>')
    assert "<Key>a&amp;b&#x1;</Key>" in text
    assert "<Resource>" not in text
    headers = dict(answer.headers)
    assert f"<RequestId>rid</RequestId><HostId>{headers['x-amz-id-2']}</HostId></Error>" in text
    assert headers["x-amz-request-id"] == "rid"
    assert failed(models, "s3", "HeadObject", error).body == b""
    assert failed(models, "s3", "GetObject", AwsError("NotModified", "", 304)).body == b""


@pytest.mark.parametrize(
    ("operation", "output", "root"),
    [
        ("ListBuckets", {"Buckets": []}, "ListAllMyBucketsResult"),
        ("ListObjectsV2", {"Contents": [{"Key": "k"}]}, "ListBucketResult"),
        ("ListObjectVersions", {}, "ListVersionsResult"),
        ("CreateMultipartUpload", {"UploadId": "u"}, "InitiateMultipartUploadResult"),
        ("CopyObject", {"CopyObjectResult": {"ETag": "e"}}, "CopyObjectResult"),
        ("UploadPartCopy", {"CopyPartResult": {"ETag": "e"}}, "CopyPartResult"),
        ("DeleteObjects", {"Deleted": []}, "DeleteResult"),
        ("GetBucketVersioning", {}, "VersioningConfiguration"),
        ("GetBucketNotificationConfiguration", {}, "NotificationConfiguration"),
        ("GetObjectTagging", {"TagSet": []}, "Tagging"),
        ("GetPublicAccessBlock", {}, "PublicAccessBlockConfiguration"),
        ("GetObjectRetention", {"Retention": {"Mode": "GOVERNANCE"}}, "Retention"),
        ("GetBucketLocation", {"LocationConstraint": "eu-west-1"}, "LocationConstraint"),
    ],
)
def test_s3_documents_have_the_services_names(
    models: Models, operation: str, output: dict[str, Any], root: str
) -> None:
    answer = answered(models, "s3", operation, output)
    assert isinstance(answer.body, bytes)
    assert ElementTree.fromstring(answer.body).tag == NAMESPACE + root


def test_s3_moments_have_milliseconds_and_locations_may_be_empty(models: Models) -> None:
    at = datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)
    listed = answered(models, "s3", "ListBuckets", {"Buckets": [{"Name": "b", "CreationDate": at}]})
    assert b"<CreationDate>2024-02-29T01:02:03.000Z</CreationDate>" in listed.body  # type: ignore[operator]
    nowhere = answered(models, "s3", "GetBucketLocation", {"LocationConstraint": None})
    assert ElementTree.fromstring(nowhere.body).text is None  # type: ignore[arg-type]
    head = answered(models, "s3", "HeadObject", {"LastModified": at, "Metadata": {"a": "1"}})
    assert ("Last-Modified", "Thu, 29 Feb 2024 01:02:03 GMT") in head.headers
    assert ("x-amz-meta-a", "1") in head.headers


def test_a_stream_passes_through(models: Models) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b""

    stream = Stream(chunks(), 5)
    output = {"Body": stream, "ContentType": "image/png", "ContentLength": 5}
    answer = answered(models, "s3", "GetObject", output)
    assert answer.body is stream
    assert [value for name, value in answer.headers if name == "Content-Type"] == ["image/png"]
    plain = answered(models, "s3", "GetObject", {"Body": stream})
    assert ("Content-Type", "binary/octet-stream") in plain.headers


def test_a_value_can_not_begin_another_header(models: Models) -> None:
    output = {"Metadata": {"a\r\nx": "1\r\nset-cookie: b"}, "CacheControl": "a\nb"}
    answer = answered(models, "s3", "HeadObject", output)
    for name, value in answer.headers:
        assert not set(name + value) & {"\r", "\n", "\0"}


def test_numbers_that_json_can_not_hold(models: Models) -> None:
    answer = answered(models, "lambda", "GetFunctionConfiguration", {"CodeSize": 2**70})
    assert json.loads(answer.body) == {"CodeSize": 2**70}  # type: ignore[arg-type]
    answer = answered(
        models,
        "lambda",
        "GetAlias",
        {"RoutingConfig": {"AdditionalVersionWeights": {"1": float("nan")}}},
    )
    assert json.loads(answer.body) == {  # type: ignore[arg-type]
        "RoutingConfig": {"AdditionalVersionWeights": {"1": "NaN"}}
    }


def test_models_are_loaded_once_and_only_from_botocore(models: Models) -> None:
    assert models.service("lambda") is models.service("lambda")
    assert models.protocol("lambda") is models.protocol("lambda")
    assert models.protocol("cloudwatch", "query").name == "query"
    assert "lambda" in models.names()
    with pytest.raises(ValueError, match="no protocol"):
        models.protocol("lambda", "smoke-signals")
