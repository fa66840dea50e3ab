"""Where buckets may be, and from where they are reached."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boda.core.regions import Regions
from support.s3_world import World, failure, run, s3_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with s3_world(tmp_path, regions=Regions(["moon-1"])) as made:
        yield made


def fetched(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def test_buckets_are_where_the_operator_allows(world: World) -> None:
    client = world.client()
    await run(client.create_bucket, Bucket="there",
              CreateBucketConfiguration={"LocationConstraint": "moon-1"})  # fmt: skip
    far = world.client(region="moon-1")
    await run(far.create_bucket, Bucket="here",
              CreateBucketConfiguration={"LocationConstraint": "moon-1"})  # fmt: skip
    found = await run(client.list_buckets, BucketRegion="moon-1")
    assert [one["Name"] for one in found["Buckets"]] == ["here", "there"]
    for nowhere in ("moon-2", "aws-global"):
        place = {"LocationConstraint": nowhere}
        error = await failure(client.create_bucket, Bucket="lost", CreateBucketConfiguration=place)
        assert error["Code"] == "InvalidLocationConstraint"
        error = await failure(client.list_buckets, BucketRegion=nowhere)
        assert error["Code"] == "InvalidArgument"


async def test_a_url_presigned_the_old_way_names_no_region(world: World) -> None:
    """It is for the bucket wherever that is, and policies see the bucket's region."""
    far = world.client(region="eu-west-1")
    await run(far.create_bucket, Bucket="far",
              CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})  # fmt: skip
    await run(far.put_object, Bucket="far", Key="k", Body=b"x")
    old = world.client(signature_version="s3")
    url = old.generate_presigned_url("get_object", Params={"Bucket": "far", "Key": "k"})
    assert "AWSAccessKeyId=" in url
    assert await run(fetched, url) == (200, b"x")
    denied = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::far/*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    await run(far.put_bucket_policy, Bucket="far", Policy=policy)
    assert (await run(fetched, url))[0] == 403


async def test_whoever_does_not_sign_names_no_region(world: World) -> None:
    far = world.client(region="eu-west-1")
    await run(far.create_bucket, Bucket="far",
              CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})  # fmt: skip
    await run(far.put_object, Bucket="far", Key="k", Body=b"x")
    await run(far.delete_public_access_block, Bucket="far")
    allowed = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::far/*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    await run(far.put_bucket_policy, Bucket="far", Policy=policy)
    assert await run(fetched, f"{world.url}/far/k") == (200, b"x")
