"""Requests are refused in the words AWS was recorded to use."""

from __future__ import annotations

from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.gateway.calling.models import Models
from boda.gateway.calling.validation import show, validate
from support.dialects import DIALECTS


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(dialects=DIALECTS)


def refusal(models: Models, service: str, operation: str, **params: Any) -> AwsError:
    op = models.service(service).operation_model(operation)
    with pytest.raises(AwsError) as caught:
        models.validator(service).check(op, params)
    assert caught.value.status == 400
    return caught.value


FAILED = "failed to satisfy constraint: Member must"


@pytest.mark.parametrize(
    ("service", "operation", "params", "code", "message"),
    [
        # rest-json, lambda
        (
            "lambda",
            "CreateAlias",
            {"FunctionName": "f", "Name": "2024", "FunctionVersion": "1"},
            "ValidationException",
            f"1 validation error detected: Value '2024' at 'name' {FAILED} satisfy regular "
            "expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
        ),
        (
            "lambda",
            "GetFunction",
            {"FunctionName": "f!", "Qualifier": "a" * 129},
            "ValidationException",
            f"2 validation errors detected: Value '{'a' * 129}' at 'qualifier' {FAILED} have "
            f"length less than or equal to 128; Value 'f!' at 'functionName' {FAILED} satisfy "
            "regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)"
            "|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_\\.]+)(:("
            "\\$LATEST(\\.PUBLISHED)?|[a-zA-Z0-9-_]+))?",
        ),
        (
            "lambda",
            "CreateFunctionUrlConfig",
            {"FunctionName": "f", "AuthType": "NONE", "InvokeMode": "UNKNOWN"},
            "ValidationException",
            f"1 validation error detected: Value 'UNKNOWN' at 'invokeMode' {FAILED} satisfy enum "
            "value set: [RESPONSE_STREAM, BUFFERED]",
        ),
        (
            "lambda",
            "CreateEventSourceMapping",
            {"FunctionName": "f", "StartingPosition": "invalid"},
            "ValidationException",
            f"1 validation error detected: Value 'invalid' at 'startingPosition' {FAILED} satisfy "
            "enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]",
        ),
        (
            "lambda",
            "PutFunctionRecursionConfig",
            {"FunctionName": "f", "RecursiveLoop": "InvalidValue"},
            "ValidationException",
            f"1 validation error detected: Value 'InvalidValue' at 'recursiveLoop' {FAILED} "
            "satisfy enum value set: [Terminate, Allow]",
        ),
        (
            "lambda",
            "UpdateFunctionConfiguration",
            {"FunctionName": "f", "SnapStart": {"ApplyOn": "invalidOption"}},
            "ValidationException",
            f"1 validation error detected: Value 'invalidOption' at 'snapStart.applyOn' {FAILED} "
            "satisfy enum value set: [PublishedVersions, None]",
        ),
        (
            "lambda",
            "UpdateFunctionCode",
            {"FunctionName": "f", "Architectures": ["X86_64"]},
            "ValidationException",
            f"1 validation error detected: Value '[X86_64]' at 'architectures' {FAILED} satisfy "
            "constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be "
            "null]",
        ),
        (
            "lambda",
            "UpdateFunctionCode",
            {"FunctionName": "f", "Architectures": ["x86_64", "arm64"]},
            "ValidationException",
            f"1 validation error detected: Value '[x86_64, arm64]' at 'architectures' {FAILED} "
            "have length less than or equal to 1",
        ),
        (
            "lambda",
            "PutProvisionedConcurrencyConfig",
            {"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 0},
            "ValidationException",
            f"1 validation error detected: Value '0' at 'provisionedConcurrentExecutions' {FAILED}"
            " have value greater than or equal to 1",
        ),
        (
            "lambda",
            "UntagResource",
            {"Resource": "arn:aws:lambda:us-east-1:000000000000:function:f"},
            "ValidationException",
            f"1 validation error detected: Value null at 'tagKeys' {FAILED} not be null",
        ),
        # rest-json, API Gateway's bodies
        (
            "apigateway",
            "CreateRestApi",
            {
                "name": "a",
                "endpointConfiguration": {"types": ["wrong"], "ipAddressType": "wrong"},
            },
            "ValidationException",
            "2 validation errors detected: Value '[wrong]' at "
            f"'createRestApiInput.endpointConfiguration.types' {FAILED} satisfy constraint: "
            "[Member must satisfy enum value set: [PRIVATE, EDGE, REGIONAL]]; Value 'wrong' at "
            f"'createRestApiInput.endpointConfiguration.ipAddressType' {FAILED} satisfy enum "
            "value set: [ipv4, dualstack]",
        ),
        (
            "apigateway",
            "UpdateMethodResponse",
            {
                "restApiId": "a",
                "resourceId": "b",
                "httpMethod": "GET",
                "statusCode": "wrong",
                "patchOperations": [{"op": "wrong_op"}],
            },
            "ValidationException",
            "2 validation errors detected: Value 'wrong_op' at "
            f"'updateMethodResponseInput.patchOperations.1.member.op' {FAILED} satisfy enum value "
            "set: [add, remove, move, test, replace, copy]; Value 'wrong' at 'statusCode' "
            f"{FAILED} satisfy regular expression pattern: [1-5]\\d\\d",
        ),
        # json
        (
            "events",
            "CreateConnection",
            {
                "Name": "This should fail with two errors 123467890123412341234123412341234",
                "AuthorizationType": "INVALID",
                "AuthParameters": {},
            },
            "ValidationException",
            "3 validation errors detected: Value 'This should fail with two errors "
            f"123467890123412341234123412341234' at 'name' {FAILED} satisfy regular expression "
            "pattern: [\\.\\-_A-Za-z0-9]+; Value 'This should fail with two errors "
            f"123467890123412341234123412341234' at 'name' {FAILED} have length less than or "
            f"equal to 64; Value 'INVALID' at 'authorizationType' {FAILED} satisfy enum value "
            "set: [BASIC, OAUTH_CLIENT_CREDENTIALS, API_KEY]",
        ),
        (
            "events",
            "PutTargets",
            {"Rule": "r", "Targets": [{"Id": "!@#$@!#$", "Arn": "a"}]},
            "ValidationException",
            f"1 validation error detected: Value '!@#$@!#$' at 'targets.1.member.id' {FAILED} "
            "satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+",
        ),
        (
            "dynamodb",
            "ExecuteStatement",
            {"Statement": "x", "Parameters": []},
            "ValidationException",
            f"1 validation error detected: Value '[]' at 'parameters' {FAILED} have length "
            "greater than or equal to 1",
        ),
        (
            "stepfunctions",
            "ListStateMachineAliases",
            {"stateMachineArn": "a", "maxResults": 1001},
            "ValidationException",
            f"1 validation error detected: Value '1001' at 'maxResults' {FAILED} have value less "
            "than or equal to 1000",
        ),
        (
            "logs",
            "GetLogEvents",
            {"logGroupName": "g", "logStreamName": "s", "limit": 10001},
            "InvalidParameterException",
            f"1 validation error detected: Value '10001' at 'limit' {FAILED} have value less than "
            "or equal to 10000",
        ),
        (
            "logs",
            "PutDeliveryDestination",
            {"name": "n", "outputFormat": "foobar"},
            "ValidationException",
            f"1 validation error detected: Value 'foobar' at 'outputFormat' {FAILED} satisfy enum "
            "value set: [w3c, raw, json, plain, parquet]",
        ),
        # query
        (
            "sns",
            "SetPlatformApplicationAttributes",
            {"PlatformApplicationArn": "a"},
            "ValidationError",
            f"1 validation error detected: Value null at 'attributes' {FAILED} not be null",
        ),
        (
            "sns",
            "PublishBatch",
            {
                "TopicArn": "t",
                "PublishBatchRequestEntries": [
                    {"Id": "1", "Message": "m", "MessageAttributes": {"attr1": {}}}
                ],
            },
            "ValidationError",
            "1 validation error detected: Value null at "
            "'publishBatchRequestEntries.1.member.messageAttributes.attr1.member.dataType' "
            f"{FAILED} not be null",
        ),
        (
            "iam",
            "CreateUser",
            {"UserName": "u" * 65},
            "ValidationError",
            f"1 validation error detected: Value '{'u' * 65}' at 'userName' {FAILED} have length "
            "less than or equal to 64",
        ),
        (
            "sqs",
            "SendMessage",
            {"QueueUrl": "q"},
            "MissingParameter",
            "The request must contain the parameter MessageBody.",
        ),
    ],
)
def test_the_words(
    models: Models, service: str, operation: str, params: Any, code: str, message: str
) -> None:
    error = refusal(models, service, operation, **params)
    assert error.code == code
    assert error.message == message


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("lambda", "Invoke", {"FunctionName": "my-function", "Payload": b"\xff" * 10}),
        ("lambda", "Invoke", {"FunctionName": "f:$LATEST", "Qualifier": "$LATEST"}),
        (
            "s3",
            "PutObject",
            {"Bucket": "no", "Key": "k", "StorageClass": "NOVEL", "Body": object()},
        ),
        ("sqs", "ReceiveMessage", {"QueueUrl": "q", "WaitTimeSeconds": 21}),
        ("sns", "CreateTopic", {"Name": ""}),
        ("dynamodb", "GetItem", {"TableName": "tab", "Key": {"a": {"L": [{"M": {}}]}}}),
        ("iam", "TagUser", {"UserName": "u", "Tags": [{"Key": "ключ", "Value": "a b"}]}),
        ("sts", "GetCallerIdentity", {}),
    ],
)
def test_what_passes(models: Models, service: str, operation: str, params: Any) -> None:
    op = models.service(service).operation_model(operation)
    models.validator(service).check(op, params)


def test_s3_checks_documents_only(models: Models) -> None:
    error = refusal(models, "s3", "DeleteObjects", Bucket="b", Delete={"Objects": [{}]})
    assert error.code == "MalformedXML"
    assert refusal(models, "s3", "PutBucketTagging", Bucket="b").code == "MalformedXML"
    error = refusal(models, "s3", "UploadPart", Bucket="b", Key="k", UploadId="u")
    assert error.code == "InvalidRequest"


def test_secrets_are_not_repeated(models: Models) -> None:
    error = refusal(
        models,
        "lambda",
        "UpdateFunctionConfiguration",
        FunctionName="f",
        Environment={"Variables": {"1bad": "hunter2"}},
    )
    assert "hunter2" not in error.message
    assert "1bad" not in error.message
    assert error.message == (
        "1 validation error detected: Value at 'environment.variables' failed to satisfy "
        "constraint: Map keys must satisfy constraint: [Member must satisfy regular expression "
        "pattern: [a-zA-Z]([a-zA-Z0-9_])+, Member must not be null]"
    )


def test_nulls_within_lists_and_maps(models: Models) -> None:
    error = refusal(models, "events", "PutTargets", Rule="r", Targets=[None])
    assert "Value null at 'targets.1.member' failed" in error.message
    error = refusal(models, "events", "UntagResource", ResourceARN="arn:aws:x:y", TagKeys=[None])
    assert error.message.startswith("1 validation error detected: Value '[null]' at 'tagKeys'")
    error = refusal(models, "sns", "CreateTopic", Name="n", Attributes={"a": None})
    assert error.code == "ValidationError"


def test_parameters_of_calls_in_process_may_be_of_any_type(models: Models) -> None:
    for params in ({"FunctionName": 5}, {"FunctionName": ["f"]}, {"FunctionName": {"a": 1}}):
        assert refusal(models, "lambda", "Invoke", **params).code in (
            "SerializationException",
            "ValidationException",
        )
    error = refusal(
        models, "lambda", "UpdateFunctionConfiguration", FunctionName="f", MemorySize="many"
    )
    assert error.code == "SerializationException"


def test_deep_values_are_refused_not_a_crash(models: Models) -> None:
    value: Any = {"S": "x"}
    for _ in range(2000):
        value = {"L": [value]}
    op = models.service("dynamodb").operation_model("GetItem")
    try:
        models.validator("dynamodb").check(op, {"TableName": "tab", "Key": {"a": value}})
    except AwsError as error:
        assert error.code == "SerializationException"  # noqa: PT017


def test_a_shape_on_its_own(models: Models) -> None:
    shape = models.service("events").shape_for("Target")
    validate({"Id": "a", "Arn": "b"}, shape)
    with pytest.raises(AwsError, match="Value null at 'arn'"):
        validate({"Id": "a"}, shape)


def test_values_are_shown_as_java_prints_them(models: Models) -> None:
    shape = models.service("events").shape_for("Tag")
    assert show(None) == "null"
    assert show([True, 1, 2.5, b"abc", {"k": "v"}]) == (
        "[true, 1, 2.5, java.nio.HeapByteBuffer[pos=0 lim=3 cap=3], {k=v}]"
    )
    assert show({"Key": "a"}, shape) == "Tag(key=a, value=null)"


@pytest.mark.parametrize("member", ["logGroupName", "logStreamName"])
def test_the_length_of_log_names_is_left_to_the_service(models: Models, member: str) -> None:
    """It was recorded to have one sentence for groups and streams."""
    op = models.service("logs").operation_model("CreateLogStream")
    params = {"logGroupName": "g", "logStreamName": "s", member: "x" * 513}
    models.validator("logs").check(op, params)
    empty = refusal(models, "logs", "CreateLogStream", **params | {member: ""})
    assert "length greater than or equal to 1" in empty.message
