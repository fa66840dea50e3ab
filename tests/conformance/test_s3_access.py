"""Who may do what to buckets and objects, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from boda.core.errors import AwsError
from boda.core.principal import root_of
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Context
from support.s3_world import ACCOUNT, OTHER_ACCOUNT, World, failure, run, s3_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with s3_world(tmp_path) as world:
        client = world.client()
        await run(client.create_bucket, Bucket="a-bucket")
        await run(client.put_object, Bucket="a-bucket", Key="open/k", Body=b"body")
        await run(client.put_object, Bucket="a-bucket", Key="shut/k", Body=b"body")
        yield world


async def allow(world: World, *statements: dict[str, Any]) -> None:
    whole = [{"Effect": "Allow", "Principal": "*", **each} for each in statements]
    document = json.dumps({"Version": "2012-10-17", "Statement": whole})
    await run(world.client().put_bucket_policy, Bucket="a-bucket", Policy=document)


READ = {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::a-bucket/open/*"}


async def code(call: Any, **params: Any) -> str:
    found = await failure(call, **params)
    return f"{found['status']} {found['Code']}"


async def test_nobody_gets_in_by_default(world: World) -> None:
    for key in (None, "USER", "OTHER"):
        client = world.client(key)
        where = {"Bucket": "a-bucket", "Key": "open/k"}
        assert await code(client.get_object, **where) == "403 AccessDenied"
        assert await code(client.put_object, **where) == "403 AccessDenied"
        assert await code(client.list_objects_v2, Bucket="a-bucket") == "403 AccessDenied"
        assert await code(client.delete_bucket, Bucket="a-bucket") == "403 AccessDenied"
    assert await code(world.client(None).list_buckets) == "403 AccessDenied"


async def test_public_policies_are_blocked_until_the_owner_says_so(world: World) -> None:
    client = world.client()
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", **READ}]}
    )
    put = client.put_bucket_policy
    found = await failure(put, Bucket="a-bucket", Policy=document)
    assert (found["status"], found["Code"]) == (403, "AccessDenied")
    assert "BlockPublicPolicy" in found["Message"]
    await run(client.delete_public_access_block, Bucket="a-bucket")
    await run(put, Bucket="a-bucket", Policy=document)
    status = await run(client.get_bucket_policy_status, Bucket="a-bucket")
    assert status["PolicyStatus"] == {"IsPublic": True}

    stranger = world.client(None)
    found = await run(stranger.get_object, Bucket="a-bucket", Key="open/k")
    assert found["Body"] == b"body"
    assert await code(stranger.get_object, Bucket="a-bucket", Key="shut/k") == "403 AccessDenied"
    # Who may not list does not learn what is absent.
    assert await code(stranger.get_object, Bucket="a-bucket", Key="open/no") == "403 AccessDenied"
    override = {"ResponseContentType": "text/html"}
    where = {"Bucket": "a-bucket", "Key": "open/k"}
    assert await code(stranger.get_object, **where, **override) == "400 InvalidRequest"

    restrict = {"RestrictPublicBuckets": True}
    await run(
        client.put_public_access_block,
        Bucket="a-bucket",
        PublicAccessBlockConfiguration=restrict,
    )
    assert await code(stranger.get_object, **where) == "403 AccessDenied"
    assert await code(world.client("OTHER").get_object, **where) == "403 AccessDenied"
    assert (await run(world.client("USER").get_object, **where))["Body"] == b"body"


async def test_other_accounts_by_policy(world: World) -> None:
    them = {"AWS": f"arn:aws:iam::{OTHER_ACCOUNT}:root"}
    await allow(
        world,
        {**READ, "Principal": them},
        {"Principal": them, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::a-bucket/in/*"},
        {"Principal": them, "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::a-bucket",
         "Condition": {"StringEquals": {"s3:prefix": "open/"}}},
    )  # fmt: skip
    client = world.client("OTHER")
    assert (await run(client.get_object, Bucket="a-bucket", Key="open/k"))["Body"] == b"body"
    listed = await run(client.list_objects_v2, Bucket="a-bucket", Prefix="open/")
    assert [each["Key"] for each in listed["Contents"]] == ["open/k"]
    assert await code(client.list_objects_v2, Bucket="a-bucket") == "403 AccessDenied"
    await run(client.put_object, Bucket="a-bucket", Key="in/k", Body=b"theirs")
    tagged = {"Bucket": "a-bucket", "Key": "in/k", "Tagging": "a=b"}
    assert await code(client.put_object, **tagged) == "403 AccessDenied"
    owner = {"ExpectedBucketOwner": OTHER_ACCOUNT}
    found = await code(client.get_object, Bucket="a-bucket", Key="open/k", **owner)
    assert found == "403 AccessDenied"
    # A copy reads its source with the caller's permissions.
    await run(client.create_bucket, Bucket="their-bucket")
    copy = {"Bucket": "their-bucket", "Key": "k"}
    await run(client.copy_object, **copy, CopySource="a-bucket/open/k")
    assert await code(client.copy_object, **copy, CopySource="a-bucket/shut/k") == (
        "403 AccessDenied"
    )
    assert await code(client.create_bucket, Bucket="a-bucket") == "409 BucketAlreadyExists"
    assert [b["Name"] for b in (await run(client.list_buckets))["Buckets"]] == ["their-bucket"]


async def test_keys_are_deleted_or_refused_one_by_one(world: World) -> None:
    user = {"AWS": f"arn:aws:iam::{ACCOUNT}:user/ann"}
    resource = "arn:aws:s3:::a-bucket/open/*"
    await allow(world, {"Principal": user, "Action": "s3:DeleteObject", "Resource": resource})
    wanted = {"Objects": [{"Key": "open/k"}, {"Key": "shut/k"}]}
    answer = await run(world.client("USER").delete_objects, Bucket="a-bucket", Delete=wanted)
    assert answer["Deleted"] == [{"Key": "open/k"}]
    (refused,) = answer["Errors"]
    assert (refused["Key"], refused["Code"]) == ("shut/k", "AccessDenied")
    left = await run(world.client().list_objects_v2, Bucket="a-bucket")
    assert [each["Key"] for each in left["Contents"]] == ["shut/k"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("no json", "Policies must be valid JSON"),
        ("[]", "Policies must be valid JSON"),
        ("[" * 5000, "Policies must be valid JSON"),
        ('{"Version": "2012-10-17", "Statement": []}', ""),
        (json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000001:root"},
             "Action": "s3:*", "Resource": "arn:aws:s3:::other"}]}), "invalid resource"),
        (json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::a-bucket"}]}),
         "Principal"),
        (json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000001:root"},
             "Action": "lambda:*", "Resource": "arn:aws:s3:::a-bucket"}]}), "invalid action"),
        ("{" + " " * 21_000 + "}", "exceeds"),
    ],
)  # fmt: skip
async def test_policies_are_checked(world: World, document: str, message: str) -> None:
    found = await failure(world.client().put_bucket_policy, Bucket="a-bucket", Policy=document)
    assert (found["status"], found["Code"]) == (400, "MalformedPolicy")
    assert message in found["Message"]


async def test_presigned_and_by_host_name(world: World) -> None:
    client = world.client(signature_version="s3v4")
    where = {"Bucket": "a-bucket", "Key": "dir/ü +.txt"}
    url = client.generate_presigned_url("put_object", Params=where, ExpiresIn=60)
    await asyncio.to_thread(lambda: urlopen(Request(url, b"signed", method="PUT")).close())
    url = client.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    assert await asyncio.to_thread(lambda: urlopen(url).read()) == b"signed"
    await run(client.delete_public_access_block, Bucket="a-bucket")
    await allow(world, READ)
    port = world.server.port
    request = Request(
        f"http://127.0.0.1:{port}/open/k", headers={"Host": f"a-bucket.s3.localhost:{port}"}
    )
    assert await asyncio.to_thread(lambda: urlopen(request).read()) == b"body"


async def test_objects_for_other_services(world: World) -> None:
    """A call that is forwarded has the rights of the caller of the call that it is made for."""
    asked = []

    def forwarded(check: Callable[[Need], None]) -> Context:
        return Context(
            "lambda", "CreateFunction", "us-east-1", ACCOUNT, root_of(ACCOUNT), "", check
        )

    async def fetch(bucket: str, key: str, check: Callable[[Need], None]) -> Any:
        where, context = {"Bucket": bucket, "Key": key}, forwarded(check)
        call = world.host.call
        return await call("s3", "GetObject", where, context.principal, forwarded=context)

    answer = await fetch("a-bucket", "open/k", asked.append)
    body = answer["Body"]
    content = body if isinstance(body, bytes) else b"".join([one async for one in body.chunks])
    assert (content, answer["ContentLength"]) == (b"body", 4)
    assert (asked[0].action, asked[0].resource) == (
        "s3:GetObject",
        "arn:aws:s3:::a-bucket/open/k",
    )
    assert asked[0].context["aws:ViaAWSService"] == "true"

    def refuse(need: Need) -> None:
        raise AwsError("AccessDenied", "no", 403)

    with pytest.raises(AwsError, match="AccessDenied"):
        await fetch("a-bucket", "open/k", refuse)
    for bucket, key, found in (("none-such", "k", "NoSuchBucket"), ("a-bucket", "k", "NoSuchKey")):
        with pytest.raises(AwsError, match=found):
            await fetch(bucket, key, asked.append)
