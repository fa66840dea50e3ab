# ruff: noqa: E501 (a case is a line)
"""A policy that says no is heard: each condition key is there when AWS supplies it.

A user who may do everything is denied one action under a condition on one key. With the value
that the request has the call is refused; with another value that Deny is silent.
"""

from __future__ import annotations

import asyncio
import hashlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from boda.core.clock import ManualClock, SystemClock
from support.account import Account, account
from support.lambda_world import ROLE, package
from support.world import ACCOUNT, EVERYTHING, client, document, served, trust

FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"
LAYER = f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:l:1"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:q"
R = f"arn:aws:iam::{ACCOUNT}:role/r"
GROUP = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:g"
VPC = {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
NEW = {
    "FunctionName": "new",
    "Role": ROLE,
    "Runtime": "python3.12",
    "Handler": "app.handler",
    "Code": {"ZipFile": package()},
}
PERMISSION = {
    "FunctionName": "f",
    "StatementId": "new",
    "Action": "lambda:InvokeFunctionUrl",
    "Principal": "*",
    "FunctionUrlAuthType": "NONE",
}
KEY = {"Bucket": "b-ucket", "Key": "k"}
TAGGING = {"TagSet": [{"Key": "new", "Value": "x"}]}
# fmt: off
CASES: list[tuple[str, str, str, str, dict[str, Any]]] = [
    # Action, key, the value that the request has, operation (its service is the action's), params
    ("lambda:InvokeFunction", "aws:ResourceTag/team", "red", "Invoke", {"FunctionName": "f"}),
    ("lambda:InvokeFunction", "aws:ResourceAccount", ACCOUNT, "Invoke", {"FunctionName": "f"}),
    ("lambda:GetFunction", "aws:ResourceTag/team", "red", "GetFunction", {"FunctionName": "f"}),
    ("lambda:TagResource", "aws:ResourceTag/team", "red", "TagResource", {"Resource": FUNCTION, "Tags": {"new": "x"}}),
    ("lambda:TagResource", "aws:RequestTag/new", "x", "TagResource", {"Resource": FUNCTION, "Tags": {"new": "x"}}),
    ("lambda:TagResource", "aws:TagKeys", "new", "TagResource", {"Resource": FUNCTION, "Tags": {"new": "x"}}),
    ("lambda:UntagResource", "aws:TagKeys", "new", "UntagResource", {"Resource": FUNCTION, "TagKeys": ["new"]}),
    ("lambda:CreateFunction", "aws:RequestTag/new", "x", "CreateFunction", {**NEW, "Tags": {"new": "x"}}),
    ("lambda:CreateFunction", "aws:TagKeys", "new", "CreateFunction", {**NEW, "Tags": {"new": "x"}}),
    ("lambda:CreateFunction", "lambda:Layer", LAYER, "CreateFunction", {**NEW, "Layers": [LAYER]}),
    ("lambda:CreateFunction", "lambda:SubnetIds", "subnet-1", "CreateFunction", {**NEW, "VpcConfig": VPC}),
    ("lambda:CreateFunction", "lambda:SecurityGroupIds", "sg-1", "CreateFunction", {**NEW, "VpcConfig": VPC}),
    ("lambda:CreateFunction", "lambda:VpcIds", "vpc-*", "CreateFunction", {**NEW, "VpcConfig": VPC}),
    ("lambda:CreateFunction", "lambda:CodeSigningConfigArn", "CSC", "CreateFunction", {**NEW, "CodeSigningConfigArn": "CSC"}),
    ("lambda:UpdateFunctionConfiguration", "lambda:Layer", LAYER, "UpdateFunctionConfiguration", {"FunctionName": "f", "Layers": [LAYER]}),
    ("lambda:UpdateFunctionConfiguration", "lambda:VpcIds", "vpc-*", "UpdateFunctionConfiguration", {"FunctionName": "f", "VpcConfig": VPC}),
    ("lambda:PutFunctionCodeSigningConfig", "lambda:CodeSigningConfigArn", "CSC", "PutFunctionCodeSigningConfig", {"FunctionName": "f", "CodeSigningConfigArn": "CSC"}),
    ("lambda:GetCodeSigningConfig", "aws:ResourceTag/team", "red", "GetCodeSigningConfig", {"CodeSigningConfigArn": "CSC"}),
    ("lambda:CreateCodeSigningConfig", "aws:RequestTag/new", "x", "CreateCodeSigningConfig", {"AllowedPublishers": {"SigningProfileVersionArns": [f"arn:aws:signer:us-east-1:{ACCOUNT}:/signing-profiles/p/abcdefghij"]}, "Tags": {"new": "x"}}),
    ("lambda:AddPermission", "lambda:Principal", "*", "AddPermission", PERMISSION),
    ("lambda:AddPermission", "lambda:FunctionUrlAuthType", "NONE", "AddPermission", PERMISSION),
    ("lambda:RemovePermission", "lambda:Principal", "s3.amazonaws.com", "RemovePermission", {"FunctionName": "f", "StatementId": "old"}),
    ("lambda:GetFunctionUrlConfig", "lambda:FunctionUrlAuthType", "NONE", "GetFunctionUrlConfig", {"FunctionName": "f"}),
    ("lambda:GetFunctionUrlConfig", "lambda:FunctionArn", FUNCTION, "GetFunctionUrlConfig", {"FunctionName": "f"}),
    ("lambda:UpdateFunctionUrlConfig", "lambda:FunctionUrlAuthType", "NONE", "UpdateFunctionUrlConfig", {"FunctionName": "f", "AuthType": "AWS_IAM"}),
    ("lambda:UpdateFunctionUrlConfig", "lambda:FunctionUrlAuthType", "AWS_IAM", "UpdateFunctionUrlConfig", {"FunctionName": "f", "AuthType": "AWS_IAM"}),
    ("lambda:CreateFunctionUrlConfig", "lambda:FunctionUrlAuthType", "NONE", "CreateFunctionUrlConfig", {"FunctionName": "f", "AuthType": "NONE"}),
    ("lambda:CreateEventSourceMapping", "lambda:FunctionArn", FUNCTION, "CreateEventSourceMapping", {"FunctionName": "f", "EventSourceArn": QUEUE + "2"}),
    ("lambda:CreateEventSourceMapping", "aws:RequestTag/new", "x", "CreateEventSourceMapping", {"FunctionName": "f", "EventSourceArn": QUEUE + "2", "Tags": {"new": "x"}}),
    ("lambda:GetEventSourceMapping", "lambda:FunctionArn", FUNCTION, "GetEventSourceMapping", {"UUID": "ESM"}),
    ("lambda:GetEventSourceMapping", "aws:ResourceTag/team", "red", "GetEventSourceMapping", {"UUID": "ESM"}),
    ("lambda:UpdateEventSourceMapping", "lambda:FunctionArn", FUNCTION, "UpdateEventSourceMapping", {"UUID": "ESM", "FunctionName": "other"}),
    ("lambda:UpdateEventSourceMapping", "lambda:FunctionArn", FUNCTION[:-1] + "other", "UpdateEventSourceMapping", {"UUID": "ESM", "FunctionName": "other"}),
    ("iam:PassRole", "iam:PassedToService", "lambda.amazonaws.com", "CreateFunction", NEW),
    ("iam:PassRole", "iam:AssociatedResourceArn", FUNCTION[:-1] + "new", "CreateFunction", NEW),
    ("iam:PassRole", "aws:ResourceTag/team", "red", "CreateFunction", NEW),
    ("iam:PassRole", "iam:ResourceTag/team", "red", "CreateFunction", NEW),
    ("logs:CreateLogGroup", "aws:RequestTag/new", "x", "CreateLogGroup", {"logGroupName": "g2", "tags": {"new": "x"}}),
    ("logs:TagResource", "aws:TagKeys", "new", "TagResource", {"resourceArn": GROUP, "tags": {"new": "x"}}),
    ("logs:TagResource", "aws:ResourceTag/team", "red", "TagResource", {"resourceArn": GROUP, "tags": {"new": "x"}}),
    ("logs:UntagResource", "aws:TagKeys", "new", "UntagResource", {"resourceArn": GROUP, "tagKeys": ["new"]}),
    ("logs:UntagLogGroup", "aws:TagKeys", "new", "UntagLogGroup", {"logGroupName": "g", "tags": ["new"]}),
    ("logs:TagLogGroup", "aws:RequestTag/new", "x", "TagLogGroup", {"logGroupName": "g", "tags": {"new": "x"}}),
    ("logs:CreateLogStream", "aws:ResourceTag/team", "red", "CreateLogStream", {"logGroupName": "g", "logStreamName": "s"}),
    ("logs:DescribeLogStreams", "aws:ResourceTag/team", "red", "DescribeLogStreams", {"logGroupName": "g"}),
    ("iam:GetRole", "aws:ResourceTag/team", "red", "GetRole", {"RoleName": "r"}),
    ("iam:GetRole", "iam:ResourceTag/team", "red", "GetRole", {"RoleName": "r"}),
    ("iam:TagRole", "aws:RequestTag/new", "x", "TagRole", {"RoleName": "r", "Tags": [{"Key": "new", "Value": "x"}]}),
    ("iam:UntagRole", "aws:TagKeys", "new", "UntagRole", {"RoleName": "r", "TagKeys": ["new"]}),
    ("iam:AttachRolePolicy", "iam:PolicyARN", "arn:aws:iam::aws:policy/ReadOnlyAccess", "AttachRolePolicy", {"RoleName": "r", "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}),
    ("iam:CreateUser", "iam:PermissionsBoundary", "arn:aws:iam::aws:policy/ReadOnlyAccess", "CreateUser", {"UserName": "u", "PermissionsBoundary": "arn:aws:iam::aws:policy/ReadOnlyAccess"}),
    ("iam:GetRole", "aws:ResourceAccount", ACCOUNT, "GetRole", {"RoleName": "r"}),
    ("sts:AssumeRole", "sts:RoleSessionName", "s-1", "AssumeRole", {"RoleArn": R, "RoleSessionName": "s-1"}),
    ("sts:AssumeRole", "sts:ExternalId", "ext", "AssumeRole", {"RoleArn": R, "RoleSessionName": "s-1", "ExternalId": "ext"}),
    ("sts:AssumeRole", "aws:ResourceTag/team", "red", "AssumeRole", {"RoleArn": R, "RoleSessionName": "s-1"}),
    ("sts:TagSession", "aws:RequestTag/new", "x", "AssumeRole", {"RoleArn": R, "RoleSessionName": "s-1", "Tags": [{"Key": "new", "Value": "x"}]}),
    ("sts:TagSession", "sts:TransitiveTagKeys", "new", "AssumeRole", {"RoleArn": R, "RoleSessionName": "s-1", "Tags": [{"Key": "new", "Value": "x"}], "TransitiveTagKeys": ["new"]}),
    ("sts:GetFederationToken", "aws:TagKeys", "new", "GetFederationToken", {"Name": "fed", "Tags": [{"Key": "new", "Value": "x"}]}),
    ("s3:GetObject", "s3:ExistingObjectTag/team", "red", "HeadObject", KEY),
    ("s3:GetObject", "s3:ResourceAccount", ACCOUNT, "HeadObject", KEY),
    ("s3:GetObject", "aws:ResourceAccount", ACCOUNT, "HeadObject", KEY),
    ("s3:GetObject", "s3:BucketTag/team", "red", "HeadObject", KEY),
    ("s3:GetObject", "aws:ResourceTag/team", "red", "HeadObject", KEY),
    ("s3:GetObjectTagging", "s3:ExistingObjectTag/team", "red", "GetObjectTagging", KEY),
    ("s3:GetObject", "s3:ExistingObjectTag/team", "red", "GetObjectAttributes", {**KEY, "ObjectAttributes": ["ETag"]}),
    ("s3:GetObject", "s3:ExistingObjectTag/team", "red", "CopyObject", {**KEY, "Key": "copy", "CopySource": "b-ucket/k"}),
    ("s3:GetObjectVersion", "s3:ExistingObjectTag/team", "red", "HeadObject", {**KEY, "VersionId": "VERSION"}),
    ("s3:GetObjectVersion", "s3:VersionId", "VERSION", "HeadObject", {**KEY, "VersionId": "VERSION"}),
    ("s3:GetObjectAcl", "s3:ExistingObjectTag/team", "red", "GetObjectAcl", KEY),
    ("s3:PutObjectTagging", "s3:ExistingObjectTag/team", "red", "PutObjectTagging", {**KEY, "Tagging": TAGGING}),
    ("s3:PutObjectTagging", "s3:RequestObjectTag/new", "x", "PutObjectTagging", {**KEY, "Tagging": TAGGING}),
    ("s3:PutObjectTagging", "s3:RequestObjectTagKeys", "new", "PutObjectTagging", {**KEY, "Tagging": TAGGING}),
    ("s3:DeleteObjectTagging", "s3:ExistingObjectTag/team", "red", "DeleteObjectTagging", KEY),
    ("s3:PutObjectTagging", "s3:RequestObjectTag/team", "red", "CopyObject", {**KEY, "Key": "copy", "CopySource": "b-ucket/k"}),
    ("s3:PutObject", "s3:RequestObjectTagKeys", "new", "PutObject", {**KEY, "Key": "n", "Tagging": "new=x"}),
    ("s3:PutObject", "s3:RequestObjectTag/new", "x", "PutObject", {**KEY, "Key": "n", "Tagging": "new=x"}),
    ("s3:PutObject", "s3:if-none-match", "*", "PutObject", {**KEY, "Key": "n2", "IfNoneMatch": "*"}),
    ("s3:PutObject", "s3:x-amz-storage-class", "STANDARD_IA", "PutObject", {**KEY, "Key": "n", "StorageClass": "STANDARD_IA"}),
    ("s3:PutObject", "s3:x-amz-server-side-encryption", "AES256", "PutObject", {**KEY, "Key": "n", "ServerSideEncryption": "AES256"}),
    ("s3:PutObject", "s3:x-amz-copy-source", "b-ucket/k", "CopyObject", {**KEY, "Key": "copy", "CopySource": "b-ucket/k"}),
    ("s3:PutObject", "s3:ObjectCreationOperation", "true", "PutObject", {**KEY, "Key": "n"}),
    ("s3:PutObject", "s3:ObjectCreationOperation", "false", "CreateMultipartUpload", {**KEY, "Key": "n"}),
    ("s3:PutObject", "s3:RequestObjectTag/new", "x", "CreateMultipartUpload", {**KEY, "Key": "n", "Tagging": "new=x"}),
    ("s3:PutObject", "s3:x-amz-storage-class", "GLACIER", "CreateMultipartUpload", {**KEY, "Key": "n", "StorageClass": "GLACIER"}),
    ("s3:CreateBucket", "s3:LocationConstraint", "eu-west-1", "CreateBucket", {"Bucket": "new-bucket", "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}),
    ("s3:CreateBucket", "s3:x-amz-object-ownership", "ObjectWriter", "CreateBucket", {"Bucket": "new-bucket", "ObjectOwnership": "ObjectWriter"}),
    ("s3:CreateBucket", "aws:RequestTag/new", "x", "CreateBucket", {"Bucket": "new-bucket", "CreateBucketConfiguration": {"Tags": [{"Key": "new", "Value": "x"}]}}),
    ("s3:PutBucketAcl", "s3:x-amz-acl", "private", "PutBucketAcl", {"Bucket": "b-ucket", "ACL": "private"}),
    ("s3:ListBucket", "aws:ResourceTag/team", "red", "ListObjectsV2", {"Bucket": "b-ucket"}),
    ("s3:ListBucket", "s3:prefix", "p/", "ListObjectsV2", {"Bucket": "b-ucket", "Prefix": "p/"}),
    ("s3:ListBucket", "s3:max-keys", "7", "ListObjectsV2", {"Bucket": "b-ucket", "MaxKeys": 7}),
]
# fmt: on


class Stage:
    """An account with something of each kind, all of it tagged ``team=red``."""

    def __init__(self, here: Account) -> None:
        self.here = here
        self.names: dict[str, str] = {}

    async def build(self) -> None:
        call, functions = self.here.call, self.here.functions
        functions.roles.tags[ROLE] = {"team": "red"}
        red, tag_set = {"team": "red"}, [{"Key": "team", "Value": "red"}]
        await functions.create("f", Tags=red)
        await functions.create("other")
        await call("lambda", "PublishLayerVersion", LayerName="l", Content={"ZipFile": package()})
        await call("lambda", "CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
        granted = {**PERMISSION, "StatementId": "old", "Action": "lambda:InvokeFunction"}
        del granted["FunctionUrlAuthType"]
        await call("lambda", "AddPermission", **{**granted, "Principal": "s3.amazonaws.com"})
        made = await call(
            "lambda",
            "CreateEventSourceMapping",
            FunctionName="f",
            EventSourceArn=QUEUE,
            Tags=red,
        )
        self.names["ESM"] = made["UUID"]
        profile = f"arn:aws:signer:us-east-1:{ACCOUNT}:/signing-profiles/p/abcdefghij"
        made = await call(
            "lambda",
            "CreateCodeSigningConfig",
            AllowedPublishers={"SigningProfileVersionArns": [profile]},
            Tags=red,
        )
        self.names["CSC"] = made["CodeSigningConfig"]["CodeSigningConfigArn"]
        everybody = trust({"AWS": ACCOUNT}).replace(
            '"sts:AssumeRole"', '["sts:AssumeRole", "sts:TagSession"]'
        )
        await call(
            "iam", "CreateRole", RoleName="r", AssumeRolePolicyDocument=everybody, Tags=tag_set
        )
        await call("logs", "CreateLogGroup", logGroupName="g", tags=red)
        await call("s3", "CreateBucket", Bucket="b-ucket")
        await call("s3", "PutBucketTagging", Bucket="b-ucket", Tagging={"TagSet": tag_set})
        await call(
            "s3",
            "PutBucketVersioning",
            Bucket="b-ucket",
            VersioningConfiguration={"Status": "Enabled"},
        )
        made = await call("s3", "PutObject", **KEY, Body=b"x", Tagging="team=red")
        self.names["VERSION"] = made["VersionId"]

    def named(self, value: Any) -> Any:
        """With the names that the platform chose."""
        if isinstance(value, dict):
            return {name: self.named(each) for name, each in value.items()}
        return self.names.get(value, value) if isinstance(value, str) else value


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with account(tmp_path, ManualClock()) as here:
        stage = Stage(here)
        await stage.build()
        yield stage


async def test_every_key_is_heard(stage: Stage) -> None:
    here, deaf = stage.here, []
    eve = (await here.user("eve")).principal
    for action, key, value, operation, params in CASES:
        service = "lambda" if action == "iam:PassRole" else action.partition(":")[0]
        service = "sts" if operation in ("AssumeRole", "GetFederationToken") else service
        given, value = stage.named(params), stage.named(value)
        for seen, heard in ((value, True), ("another", False)):
            condition = {"ForAnyValue:StringLike": {key: seen}}
            deny = {"Effect": "Deny", "Action": action, "Resource": "*", "Condition": condition}
            await here.let("eve", EVERYTHING, deny)
            if not heard and operation not in ("Invoke", "HeadObject", "GetRole", "GetFunction"):
                continue  # it would change what the other cases are about
            error = await here.error(service, operation, eve, **given)
            refused = error is not None and (
                "explicit deny" in error.message
                or (operation == "AssumeRole" and error.code == "AccessDenied")
            )
            if refused is not heard:
                deaf.append((action, key, seen, operation, error))
    assert deaf == []


async def test_a_deny_follows_the_tags(stage: Stage) -> None:
    """Kept decisions do not outlive what they looked at, on the fast path neither."""
    here = stage.here
    eve = (await here.user("eve")).principal
    conditions = {
        "lambda:InvokeFunction": "aws:ResourceTag/secret",
        "s3:GetObject": "s3:ExistingObjectTag/secret",
        "logs:DescribeLogStreams": "aws:ResourceTag/secret",
    }
    denies = [
        {"Effect": "Deny", "Action": action, "Resource": "*",
         "Condition": {"StringEquals": {key: "yes"}}}
        for action, key in conditions.items()
    ]  # fmt: skip
    await here.let("eve", EVERYTHING, *denies)
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("lambda", "Invoke", {"FunctionName": "f"}),
        ("s3", "HeadObject", KEY),
        ("logs", "DescribeLogStreams", {"logGroupName": "g"}),
    ]
    secret = {"TagSet": [{"Key": "secret", "Value": "yes"}]}

    async def refusals() -> list[bool]:
        return [await here.error(name, op, eve, **params) is not None for name, op, params in calls]

    for _ in range(2):
        assert await refusals() == [False] * 3
        await here.call("lambda", "TagResource", Resource=FUNCTION, Tags={"secret": "yes"})
        await here.call("s3", "PutObjectTagging", **KEY, Tagging=secret)
        await here.call("logs", "TagResource", resourceArn=GROUP, tags={"secret": "yes"})
        assert await refusals() == [True] * 3
        await here.call("lambda", "UntagResource", Resource=FUNCTION, TagKeys=["secret"])
        await here.call("s3", "DeleteObjectTagging", **KEY)
        await here.call("logs", "UntagResource", resourceArn=GROUP, tagKeys=["secret"])


@pytest.mark.parametrize("carrier", ["user", "group", "role", "managed", "version", "trust",
                                     "session", "federation", "bucket", "function"])  # fmt: skip
async def test_a_deny_that_nothing_can_hear_is_refused_wherever_it_is_put(
    stage: Stage, carrier: str
) -> None:
    here = stage.here
    deny = {"Effect": "Deny", "Action": "s3:*", "Condition": {"Bool": {"aws:Unheard": "true"}}}
    identity = document({**deny, "Resource": "*"})
    await here.call("iam", "CreateGroup", GroupName="gr")
    await here.user("eve", EVERYTHING)
    kept = await here.call(
        "iam", "CreatePolicy", PolicyName="p", PolicyDocument=document(EVERYTHING)
    )
    inline = {"PolicyName": "p", "PolicyDocument": identity}
    bucket = document({**deny, "Principal": {"AWS": ACCOUNT}, "Resource": "arn:aws:s3:::b-ucket/*"})
    function = document(
        {**deny, "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": FUNCTION}
    )
    trusting = document({**deny, "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"})
    put: dict[str, tuple[str, str, dict[str, Any]]] = {
        "user": ("iam", "PutUserPolicy", {"UserName": "eve", **inline}),
        "group": ("iam", "PutGroupPolicy", {"GroupName": "gr", **inline}),
        "role": ("iam", "PutRolePolicy", {"RoleName": "r", **inline}),
        "managed": ("iam", "CreatePolicy", {"PolicyName": "q", "PolicyDocument": identity}),
        "version": (
            "iam",
            "CreatePolicyVersion",
            {"PolicyArn": kept["Policy"]["Arn"], "PolicyDocument": identity},
        ),
        "trust": (
            "iam",
            "UpdateAssumeRolePolicy",
            {"RoleName": "r", "PolicyDocument": trusting},
        ),
        "session": (
            "sts",
            "AssumeRole",
            {"RoleArn": R, "RoleSessionName": "s-1", "Policy": identity},
        ),
        "federation": ("sts", "GetFederationToken", {"Name": "fed", "Policy": identity}),
        "bucket": ("s3", "PutBucketPolicy", {"Bucket": "b-ucket", "Policy": bucket}),
        "function": (
            "lambda",
            "PutResourcePolicy",
            {"ResourceArn": FUNCTION, "Policy": function},
        ),
    }
    service, operation, params = put[carrier]
    who = here.functions.root if carrier != "session" else None
    if carrier == "session":
        who = (await here.user("sam", EVERYTHING)).principal
    error = await here.error(service, operation, who, **params)
    assert error is not None and (error.code, error.status) == ("NotImplemented", 501), error
    assert "aws:Unheard" in error.message and operation in error.message
    allowed = {
        name: value.replace('"Deny"', '"Allow"') if isinstance(value, str) else value
        for name, value in params.items()
    }
    if carrier not in ("trust",):
        assert await here.error(service, operation, who, **allowed) is None


async def test_a_deny_to_whom_nobody_is_known_as_is_refused(stage: Stage) -> None:
    statement = {"Effect": "Deny", "Principal": {"CanonicalUser": "0" * 64},
                 "Action": "s3:*", "Resource": "arn:aws:s3:::b-ucket/*"}  # fmt: skip
    put = {"Bucket": "b-ucket", "Policy": document(statement)}
    error = await stage.here.error("s3", "PutBucketPolicy", **put)
    assert error is not None and (error.status, "CanonicalUser" in error.message) == (501, True)
    put["Policy"] = document({**statement, "Effect": "Allow"})
    assert await stage.here.error("s3", "PutBucketPolicy", **put) is None


async def _denied(call: Any, *args: Any, **params: Any) -> bool:
    try:
        await asyncio.to_thread(call, *args, **params)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "AccessDenied")
    return False


@pytest.mark.parametrize(
    ("condition", "header", "query"),
    [
        ({"StringEquals": {"s3:authType": "REST-HEADER"}}, True, False),
        ({"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}, False, True),
        ({"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, True, True),
        ({"StringNotEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, False, False),
        ({"NumericLessThan": {"s3:signatureAge": "600000"}}, True, True),
        ({"NumericGreaterThan": {"s3:signatureAge": "600000"}}, False, False),
        ({"StringEquals": {"s3:x-amz-content-sha256": "UNSIGNED-PAYLOAD"}}, False, True),
        ({"NumericLessThan": {"s3:TlsVersion": "1.2"}}, False, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, True, True),
        ({"Bool": {"aws:ViaAWSService": "false"}}, True, True),
        ({"Null": {"aws:SourceVpce": "true"}}, True, True),
        ({"Null": {"aws:MultiFactorAuthPresent": "true"}}, True, True),
        ({"Bool": {"aws:MultiFactorAuthPresent": "false"}}, False, False),
        ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}, True, True),
        ({"Null": {"aws:TokenIssueTime": "true"}}, True, True),
    ],
)
async def test_how_a_request_came_is_heard(
    tmp_path: Path, condition: Any, header: bool, query: bool
) -> None:
    async with account(tmp_path, SystemClock()) as here, served(here.gateway) as endpoint:
        await here.call("s3", "CreateBucket", Bucket="b-ucket")
        await here.call("s3", "PutObject", **KEY, Body=b"x")
        deny = {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*", "Condition": condition}
        eve = await here.user("eve", EVERYTHING, deny)
        found = client("s3", endpoint, eve, signature_version="s3v4")
        assert await _denied(found.get_object, **KEY) is header
        url = found.generate_presigned_url("get_object", KEY)

        def fetch() -> int:
            try:
                with urllib.request.urlopen(url) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        assert (await asyncio.to_thread(fetch) == 403) is query


async def test_temporary_credentials_say_when_they_were_issued(tmp_path: Path) -> None:
    """Revoking a role's older sessions: the console's own policy, for functions too."""
    clock = ManualClock()
    async with account(tmp_path, clock) as here:
        await here.call("iam", "CreateRole", RoleName="r",
                        AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}))  # fmt: skip
        put = {"RoleName": "r", "PolicyName": "all", "PolicyDocument": document(EVERYTHING)}
        await here.call("iam", "PutRolePolicy", **put)
        sam = (await here.user("sam", EVERYTHING)).principal
        identity = here.functions.identity

        async def assumed() -> str:
            made = await here.call("sts", "AssumeRole", sam, RoleArn=R, RoleSessionName="s-1")
            return str(made["Credentials"]["AccessKeyId"])

        old = await assumed()
        issued = identity.issue_role_credentials(R, "f", 3600, function_arn=FUNCTION)
        await clock.advance(60)
        moment = f"{clock.now() - 30:.0f}"
        deny = {"Effect": "Deny", "Action": "*", "Resource": "*",
                "Condition": {"DateLessThan": {"aws:TokenIssueTime": moment}}}  # fmt: skip
        before = [old, issued.access_key_id]
        for key in before:
            assert await here.error("s3", "ListBuckets", here.credential(key).principal) is None
        revoked = {"RoleName": "r", "PolicyName": "AWSRevokeOlderSessions"}
        await here.call("iam", "PutRolePolicy", **revoked, PolicyDocument=document(deny))
        await identity.load()  # and a restart changes nothing
        for key in before:
            error = await here.error("s3", "ListBuckets", here.credential(key).principal)
            assert error is not None and "explicit deny" in error.message
        new = here.credential(await assumed()).principal
        assert await here.error("s3", "ListBuckets", new) is None
        again = identity.issue_role_credentials(R, "f", 3600, function_arn=FUNCTION).principal
        assert await here.error("s3", "ListBuckets", again) is None
        # A user's own key has no such time, and the policy passes it by.
        await here.let("sam", EVERYTHING, deny)
        assert await here.error("s3", "ListBuckets", sam) is None


async def test_a_functions_credentials_name_the_function(tmp_path: Path) -> None:
    async with account(tmp_path) as here:
        deny = {"Effect": "Deny", "Action": "s3:*", "Resource": "*",
                "Condition": {"ArnEquals": {"lambda:SourceFunctionArn": FUNCTION}}}  # fmt: skip
        await here.call("iam", "CreateRole", RoleName="r",
                        AssumeRolePolicyDocument=trust({"Service": "lambda.amazonaws.com"}))  # fmt: skip
        put = {"RoleName": "r", "PolicyName": "all", "PolicyDocument": document(EVERYTHING, deny)}
        await here.call("iam", "PutRolePolicy", **put)
        issue = here.functions.identity.issue_role_credentials
        own = issue(R, "f", 3600, function_arn=FUNCTION).principal
        other = issue(R, "g", 3600, function_arn=FUNCTION + "2").principal
        assert await here.error("s3", "ListBuckets", own) is not None
        assert await here.error("s3", "ListBuckets", other) is None


async def test_attributes_of_an_object_need_both_permissions(stage: Stage) -> None:
    here = stage.here
    eve = (await here.user("eve")).principal
    wanted = {**KEY, "ObjectAttributes": ["ETag"]}
    for kind, version in (("Object", {}), ("ObjectVersion", {"VersionId": "VERSION"})):
        params = stage.named({**wanted, **version})
        both = [f"s3:Get{kind}", f"s3:Get{kind}Attributes"]
        for actions, allowed in ((both[:1], False), (both[1:], False), (both, True)):
            await here.let("eve", {"Effect": "Allow", "Action": actions, "Resource": "*"})
            error = await here.error("s3", "GetObjectAttributes", eve, **params)
            assert (error is None) is allowed, (actions, error)


async def test_a_part_is_asked_for_what_its_upload_asked_for(stage: Stage) -> None:
    """The usual policies against objects that are not encrypted let encrypted uploads pass."""
    here = stage.here
    eve = (await here.user("eve")).principal
    unless = {"Null": {"s3:x-amz-server-side-encryption": "true"}}
    tagged = {"StringEquals": {"s3:RequestObjectTag/secret": "yes"}}
    for condition, asked, allowed in (
        (unless, {"ServerSideEncryption": "AES256"}, True),
        (unless, {}, False),
        (tagged, {"Tagging": "secret=no"}, True),
        (tagged, {"Tagging": "secret=yes"}, False),
    ):
        deny = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": condition}
        upload = {"Bucket": "b-ucket", "Key": "large"}
        # Begun by somebody whom nothing is denied.
        begun = await here.call("s3", "CreateMultipartUpload", **upload, **asked)
        upload["UploadId"] = begun["UploadId"]
        await here.let("eve", EVERYTHING, deny)
        part: dict[str, Any] = {**upload, "PartNumber": 1}
        errors = [
            await here.error("s3", "UploadPart", eve, **part, Body=b"x"),
            await here.error("s3", "UploadPartCopy", eve, **part, CopySource="b-ucket/k"),
        ]
        made = await here.call("s3", "UploadPart", **part, Body=b"x")
        parts = {"Parts": [{"PartNumber": 1, "ETag": made["ETag"]}]}
        errors.append(
            await here.error("s3", "CompleteMultipartUpload", eve, **upload, MultipartUpload=parts)
        )
        assert [error is None for error in errors] == [allowed] * 3, (asked, errors)


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("PUT", "/b-ucket/k?tagging", "s3"),
        ("PUT", "/new-bucket", "s3"),
        ("PUT", "/2015-03-31/functions/f/configuration", "lambda"),
        ("POST", "/2015-03-31/functions/f/policy", "lambda"),
        ("POST", f"/2017-03-31/tags/{FUNCTION.replace(':', '%3A')}", "lambda"),
        ("PUT", "/2021-10-31/functions/f/url", "lambda"),
    ],
)
async def test_keys_of_the_body_put_off_no_refusal(
    tmp_path: Path, method: str, path: str, service: str
) -> None:
    """Whoever may not by any policy is told before the body is sent."""
    async with account(tmp_path, SystemClock()) as here, served(here.gateway) as endpoint:
        await here.functions.create("f")
        await here.call("s3", "CreateBucket", Bucket="b-ucket")
        other = {"StringEquals": {"aws:RequestTag/x": "y"}}
        unrelated = {"Effect": "Allow", "Action": "logs:*", "Resource": "*", "Condition": other}
        eve = await here.user("eve", unrelated)
        digest = hashlib.sha256(b"").hexdigest()
        headers = {"X-Amz-Content-SHA256": digest, "Content-Length": str(15 * 2**20)}
        request = AWSRequest(method, endpoint + path, headers=headers)
        signer = S3SigV4Auth if service == "s3" else SigV4Auth
        signer(Credentials(eve.access_key_id, eve.secret), service, "us-east-1").add_auth(request)
        request.headers.replace_header("X-Amz-Content-SHA256", digest)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {endpoint.removeprefix('http://')}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        port = int(endpoint.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"is not authorized to perform: " not in answer:
            more = await asyncio.wait_for(reader.read(4096), 30)
            assert more, answer
            answer += more
        writer.close()
        assert answer.startswith(b"HTTP/1.1 403 ")
