"""More of S3's recorded answers: names, lists, copies, conditions, tags and raw HTTP."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from support.recorded import recorded
from support.s3_stage import Stage, versioned
from support.s3_world import s3_world

DAY = dt.timedelta(days=1)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with s3_world(tmp_path) as world:
        stage = Stage(world)
        await stage("", "create_bucket")
        yield stage


def _headers(stage: Stage, operation: str, **headers: str) -> Any:
    """A client that sends these headers too, and computes no checksum of its own."""
    client = stage.world.client(request_checksum_calculation="when_required")

    def add(params: dict[str, Any], **_: Any) -> None:
        for name, value in headers.items():
            params["headers"][name.replace("_", "-")] = value

    client.meta.events.register(f"before-call.s3.{operation}", add)
    return client


async def _fetch(stage: Stage, operation: str, **params: Any) -> dict[str, str]:
    """The headers a presigned URL answers with, by small name."""
    client = stage.world.client(signature_version="s3v4")
    params = {"Bucket": stage.bucket, **params}
    url = client.generate_presigned_url(operation, Params=params)

    def get() -> dict[str, str]:
        with urllib.request.urlopen(url) as answer:
            return {name.lower(): value for name, value in answer.headers.items()}

    return await asyncio.to_thread(get)


def _tree(element: ElementTree.Element) -> Any:
    """XML as the recordings note it."""
    out: dict[str, Any] = {}
    for child in element:
        name, value = child.tag.split("}")[-1], _tree(child)
        if name in out:
            out[name] = [*(out[name] if isinstance(out[name], list) else [out[name]]), value]
        else:
            out[name] = value
    return out or element.text


# Names


@pytest.mark.parametrize(
    "key",
    ["a/%F0%9F%98%80/", "file%2Fname", "test key//", "test key/", "test%123/", "test%123",
     "test%percent", "test@key/"],
)  # fmt: skip
async def test_special_characters(stage: Stage, key: str) -> None:
    s = stage
    await s("put-object-special-char", "put_object", Key=key, Body=b"test")
    await s("list-object-special-char", "list_objects_v2")
    await s("get-object-special-char", "get_object", Key=key)
    await s("del-object-special-char", "delete_object", Key=key)
    s.check("test_s3", f"TestS3::test_put_get_object_special_character[{key}]")


async def test_special_characters_are_copied(stage: Stage) -> None:
    s = stage
    await s("", "create_bucket", Bucket="target")
    for key in ("a/%F0%9F%98%80/", "file%2Fname", "test key/", "test key//", "test+key",
                "test@key/"):  # fmt: skip
        await s(f"put-object-src-special-char-{key}", "put_object", Key=key, Body=b"test")
        await s(f"copy-object-special-char-{key}", "copy_object", Bucket="target", Key=key,
                CopySource={"Bucket": s.bucket, "Key": key})  # fmt: skip
    await s("list-object-copy-dest-special-char", "list_objects_v2", Bucket="target")
    s.check("test_s3", "TestS3::test_copy_object_special_character")


@pytest.mark.parametrize("style", ["path", "virtual"])
async def test_slashes(stage: Stage, style: str) -> None:
    s = stage
    for key, body in (("/bar/foo/", b"test"), ("/foo", b"foobar"), ("bar", b"barfoo")):
        await s("", "put_object", Key=key, Body=body)
    await s("list-objects-slashes", "list_objects_v2")
    case = f"TestS3::test_object_with_slashes_in_key[{style == 'path'}]"
    s.check("test_s3", case, same_bytes=False)


async def test_many_keys_are_deleted(stage: Stage) -> None:
    s = stage
    keys = [{"Key": "a%2Fb"}, {"Key": "a/%F0%9F%98%80"}]
    for key, size in zip(keys, (16, 21), strict=True):
        await s("", "put_object", **key, Body=b"x" * size)
    await s("list-objects-before-delete", "list_objects_v2")
    await s("deleted-resp", "delete_objects", Delete={"Objects": keys})
    await s("list-objects", "list_objects_v2")
    s.steps["deleted-resp"]["Deleted"].sort(key=lambda each: each["Key"])
    s.check("test_s3", "TestS3::test_delete_objects_encoding", same_bytes=False)


async def test_missing_keys_are_deleted(stage: Stage) -> None:
    s = stage
    keys = [{"Key": "dummy1"}, {"Key": "dummy2"}]
    await s("deleted-resp", "delete_objects", Delete={"Objects": keys, "Quiet": True})
    s.check("test_s3", "TestS3::test_delete_non_existing_keys_quiet")
    await s("error-non-existent-bucket", "delete_objects", Bucket="no-such-bucket",
            Delete={"Objects": keys})  # fmt: skip
    s.check("test_s3", "TestS3::test_delete_non_existing_keys_in_non_existing_bucket")


async def test_versions_are_deleted(stage: Stage) -> None:
    s = stage
    await versioned(s)
    await s("get_bucket_versioning", "get_bucket_versioning")
    one = await s("", "put_object", Key="aws/s3/testkey1.txt", Body=b"1")
    await s("", "put_object", Key="aws/s3/testkey2.txt", Body=b"x" * 960)
    wanted = [{"Key": "aws/s3/testkey1.txt", "VersionId": one["VersionId"]}]
    await s("delete_objects", "delete_objects", Delete={"Objects": wanted})
    await s("list_object_versions_after_delete", "list_object_versions")
    await versioned(s, "Suspended")
    await s("get_bucket_versioning_suspended", "get_bucket_versioning")
    s.check("test_s3", "TestS3::test_s3_delete_object_with_version_id", same_bytes=False)


# Buckets


async def test_buckets(stage: Stage) -> None:
    s = stage
    await s("create_bucket", "create_bucket", Bucket="one")
    await s("head_bucket", "head_bucket", Bucket="one")
    await s("create_bucket_location_constraint", "create_bucket", Bucket="two",
            CreateBucketConfiguration={"LocationConstraint": "us-west-1"})  # fmt: skip
    await s("head_bucket_2", "head_bucket", Bucket="two")
    await s("head_bucket_not_exist", "head_bucket", Bucket="does-not-exist")
    for step, bucket in (("head_bucket", "one"), ("head_bucket_2", "two")):
        answer = await asyncio.to_thread(s.client.head_bucket, Bucket=bucket)
        told = answer["ResponseMetadata"]["HTTPHeaders"]
        s.steps[f"{step}_filtered_header"] = {
            name: value
            for name, value in told.items()
            if name.startswith("x-amz") or name == "content-type"
        }
    s.check("test_s3", "TestS3::test_create_bucket_head_bucket")


async def test_bucket_names_are_small(stage: Stage) -> None:
    client = stage.world.client()
    client.meta.events.unregister(
        "before-parameter-build.s3.CreateBucket", unique_id="validate-bucket"
    )
    stage.client = client
    await stage("uppercase-bucket", "create_bucket", Bucket="TestUpperCase")
    stage.check("test_s3", "TestS3::test_s3_uppercase_bucket_name")


async def test_empty_bucket_tags(stage: Stage) -> None:
    s = stage
    none: dict[str, Any] = {}
    await s("create-bucket-with-empty-tags", "create_bucket", Bucket="tagged",
            CreateBucketConfiguration={"Tags": []})  # fmt: skip
    await s("create-bucket-with-none-tags", "create_bucket", Bucket="tagged",
            CreateBucketConfiguration=none)  # fmt: skip
    await s("get-bucket-tags", "get_bucket_tagging", Bucket="tagged")
    s.check("test_s3_api", "TestS3BucketObjectTagging::test_create_bucket_with_empty_tags")


async def test_buckets_by_region_and_page(stage: Stage) -> None:
    s = stage
    await s("", "create_bucket", Bucket="other-bucket",
            CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})  # fmt: skip
    await s("list-objects-by-bucket-region-empty", "list_buckets", BucketRegion="eu-west-1",
            Prefix="a-bucket")  # fmt: skip
    await s("list-objects-by-bucket-region-not-empty", "list_buckets", BucketRegion="us-east-1",
            Prefix="a-bucket")  # fmt: skip
    s.check("test_s3_list_operations", "TestS3ListBuckets::test_list_buckets_by_bucket_region")
    await s("list-objects-with-continuation", "list_buckets", MaxBuckets=1)
    case = "TestS3ListBuckets::test_list_buckets_with_continuation_token"
    s.check("test_s3_list_operations", case)


async def test_region_headers(stage: Stage) -> None:
    s = stage
    s.bucket = "far-bucket"
    await s("", "create_bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    head = await s("head_bucket", "head_bucket")
    listed = await s("list_objects_v2", "list_objects_v2")
    s.check("test_s3", "TestS3::test_region_header_exists_outside_us_east_1")
    for answer in (head, listed):
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "eu-west-1"


# Lists


async def test_lists_of_version_one(stage: Stage) -> None:
    s = stage
    await s("list-objects", "list_objects", Marker="")
    s.check("test_s3_list_operations", "TestS3ListObjects::test_s3_list_objects_empty_marker")
    for key in ("test/foo/bar/123", "test/foo/bar/456"):
        await s("", "put_object", Key=key, Body=b"content 123")
    for delimiter in ("", "/", "%2F"):
        await s("list-objects", "list_objects", Prefix="test/", Delimiter=delimiter, MaxKeys=1,
                Marker="", EncodingType="url")  # fmt: skip
        case = f"TestS3ListObjects::test_list_objects_with_prefix[{delimiter}]"
        wanted = recorded("s3", "test_s3_list_operations", case)["list-objects"]
        truncated = s.steps["list-objects"].pop("IsTruncated")
        s.steps["list-objects"].pop("NextMarker", None)
        # One key more than was there when it was recorded.
        assert truncated == (delimiter != "/"), delimiter
        s.steps["list-objects"]["IsTruncated"] = wanted["IsTruncated"]
        s.check("test_s3_list_operations", case, without=("list-objects-no-encoding",))


async def test_lists_of_version_two(stage: Stage) -> None:
    s = stage
    for key in ("test/foo/bar/123", "test/foo/bar/456", "test/bar/foo/123"):
        await s("", "put_object", Key=key, Body=b"content 123")
    for number, prefix in enumerate(("test/", "test/foo", "test/foo/bar"), 1):
        await s(f"list-objects-v2-{number}", "list_objects_v2", Prefix=prefix)
    case = "TestS3ListObjectsV2::test_list_objects_v2_with_prefix"
    s.check("test_s3_list_operations", case, without=("list-objects-v2-no-encoding",))


async def test_lists_as_they_stand_on_the_wire(stage: Stage) -> None:
    s = stage
    for key in ("test/foo/bar/123", "test/foo/bar/456", "test/bar/foo/123"):
        await s("", "put_object", Key=key, Body=b"content 123")
    url = f"{s.world.url}/{s.bucket}"
    anyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket",
              "Resource": f"arn:aws:s3:::{s.bucket}"}  # fmt: skip
    await s("", "delete_public_access_block")
    await s("", "put_bucket_policy",
            Policy=json.dumps({"Version": "2012-10-17", "Statement": [anyone]}))  # fmt: skip

    async def get(query: str) -> Any:
        answer = await asyncio.to_thread(urllib.request.urlopen, url + query)
        tree = _tree(ElementTree.fromstring(answer.read()))
        for each in tree.get("Contents", []):
            each["LastModified"] = "date"
        return {**tree, "Name": "<bucket-name:1>"}

    lists = "test_s3_list_operations"
    wanted = recorded("s3", lists, "TestS3ListObjects::test_list_objects_with_prefix[%2F]")
    found = await get("?delimiter=/&prefix=test")
    assert found == wanted["list-objects-no-encoding"]["ListBucketResult"]
    wanted = recorded("s3", lists, "TestS3ListObjectsV2::test_list_objects_v2_with_prefix")
    found = await get("?list-type=2&prefix=test/foo")
    assert found == wanted["list-objects-v2-no-encoding"]["ListBucketResult"]


async def test_versions_of_an_unversioned_bucket(stage: Stage) -> None:
    s = stage
    await s("list-empty", "list_object_versions")
    for step, key in (("put-object-2", "b-test-object-2"), ("put-object", "a-test-object-1"),
                      ("put-object-3", "c-test-object-3")):  # fmt: skip
        await s(step, "put_object", Key=key, Body=b"test-object-1")
    await s("list-object-versions", "list_object_versions")
    case = "TestS3ObjectCRUD::test_list_object_versions_order_unversioned"
    s.check("test_s3_api", case, same_bytes=False)


async def test_deletions_while_suspended(stage: Stage) -> None:
    s, key = stage, "test-delete-suspended"
    await versioned(s)
    for turn in range(2):
        await s(f"put-object-{turn}", "put_object", Key=key, Body=f"test-version-{turn}".encode())
    await versioned(s, "Suspended")
    await s("list-suspended", "list_object_versions")
    await s("delete-object-no-version", "delete_object", Key=key)
    await s("list-suspended-delete", "list_object_versions")
    await s("put-object-suspended", "put_object", Key=key,
            Body=b"test-version-suspended-after-delete")  # fmt: skip
    await s("list-suspended-put", "list_object_versions")
    await s("delete-object-no-version-after-put", "delete_object", Key=key)
    await s("list-suspended-after-put", "list_object_versions")
    s.check("test_s3_api", "TestS3ObjectCRUD::test_delete_object_on_suspended_bucket")


async def test_a_deleted_version_is_not_found(stage: Stage) -> None:
    s = stage
    await versioned(s)
    await s("", "put_object", Key="my-key", Body=b"abcdefgh")
    await s("get-object", "get_object", Key="my-key")
    await s("", "delete_object", Key="my-key")
    await s("get-object-after-delete", "get_object", Key="my-key")
    s.check("test_s3", "TestS3::test_get_object_after_deleted_in_versioned_bucket")


# Copies


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
async def test_copies_and_checksums(stage: Stage, algorithm: str) -> None:
    s, key = stage, "source"
    source = {"Bucket": s.bucket, "Key": key}
    await s("put-object-no-checksum", "put_object", Key=key, Body=b"test data")
    await s("object-attrs", "get_object_attributes", Key=key, ObjectAttributes=["Checksum"])
    await s("copy-object-in-place-with-checksum", "copy_object", Key=key, CopySource=source,
            ChecksumAlgorithm=algorithm, MetadataDirective="REPLACE")  # fmt: skip
    await s("object-attrs-after-copy", "get_object_attributes", Key=key,
            ObjectAttributes=["Checksum"])  # fmt: skip
    await s("copy-object-to-dest-keep-checksum", "copy_object", Key="other", CopySource=source)
    s.check("test_s3", f"TestS3::test_s3_copy_object_with_checksum[{algorithm}]",
            same_bytes=False)  # fmt: skip


async def test_copies_in_place_change_storage(stage: Stage) -> None:
    s, key = stage, "source"
    attributes = ["StorageClass"]
    await s("put-object", "put_object", Key=key, Body=b"test", StorageClass="STANDARD")
    await s("head-object", "head_object", Key=key)
    await s("object-attrs", "get_object_attributes", Key=key, ObjectAttributes=attributes)
    await s("copy-object-in-place-with-storage-class", "copy_object", Key=key,
            CopySource=f"{s.bucket}/{key}", StorageClass="STANDARD")  # fmt: skip
    await s("object-attrs-after-copy", "get_object_attributes", Key=key,
            ObjectAttributes=attributes)  # fmt: skip
    s.check("test_s3", "TestS3::test_s3_copy_object_in_place_storage_class")


async def test_copies_in_place_change_redirection(stage: Stage) -> None:
    s, key = stage, "source"
    where = "/test/direct"
    await s("put-object", "put_object", Key=key, Body=b"test", WebsiteRedirectLocation=where)
    await s("head-object", "head_object", Key=key)
    await s("copy-object-in-place-with-website-redirection", "copy_object", Key=key,
            CopySource=f"{s.bucket}/{key}", WebsiteRedirectLocation=where)  # fmt: skip
    await s("head-object-after-copy", "head_object", Key=key)
    s.check("test_s3", "TestS3::test_s3_copy_object_in_place_website_redirect_location")


async def test_copies_in_place_of_an_encrypted_bucket(stage: Stage) -> None:
    s, key = stage, "source"
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    await s("put-bucket-encryption", "put_bucket_encryption",
            ServerSideEncryptionConfiguration={"Rules": [rule]})  # fmt: skip
    await s("put-obj", "put_object", Key=key, Body=b"")
    await s("copy-obj", "copy_object", Key=key, CopySource=f"{s.bucket}/{key}")
    s.check("test_s3", "TestS3::test_copy_in_place_with_bucket_encryption")


async def test_copies_of_multipart_objects(stage: Stage) -> None:
    s, key = stage, "test.file"
    upload = (await s("", "create_multipart_upload", Key=key))["UploadId"]
    body = b"test content 123"
    client = s.world.client(request_checksum_calculation="when_required")
    part = await asyncio.to_thread(client.upload_part, Bucket=s.bucket, Key=key, UploadId=upload,
                                   PartNumber=1, Body=body)  # fmt: skip
    await s("multipart-upload", "complete_multipart_upload", Key=key, UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})  # fmt: skip
    await s("copy-object", "copy_object", Key="copy", CopySource=f"{s.bucket}/{key}")
    assert s.steps["copy-object"]["CopyObjectResult"]["ETag"] == (
        f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    )
    await s("copy-object-in-place", "copy_object", Key=key, CopySource=f"{s.bucket}/{key}",
            MetadataDirective="REPLACE")  # fmt: skip
    await s("head-obj", "head_object", Key=key, ChecksumMode="ENABLED")
    s.check("test_s3", "TestS3::test_multipart_copy_object_etag", same_bytes=False)


@pytest.mark.parametrize("since", ["modified", "unmodified"])
async def test_copies_if_the_source_was_changed(stage: Stage, since: str) -> None:
    s, key = stage, "source"
    await versioned(s)
    await s("", "put_object", Key=key, Body=b"data")
    # Conditions know whole seconds, and a date to come does not count.
    last = (await s("head-object", "head_object", Key=key))["LastModified"]
    source = f"{s.bucket}/{key}"
    if since == "modified":
        await s("copy-if-modified-since", "copy_object", Key="copy", CopySource=source,
                CopySourceIfModifiedSince=last - DAY)  # fmt: skip
        await s("copy-if-modified-since-last-modified", "copy_object", Key="copy",
                CopySource=source, CopySourceIfModifiedSince=last)  # fmt: skip
    else:
        await s("copy-if-unmodified-since", "copy_object", Key="copy", CopySource=source,
                CopySourceIfUnmodifiedSince=last)  # fmt: skip
        await s("copy-past-if-unmodified-since", "copy_object", Key="copy", CopySource=source,
                CopySourceIfUnmodifiedSince=last - DAY)  # fmt: skip
    case = f"TestS3CopySourcePreconditions::test_s3_copy_object_if_source_{since}_since_versioned"
    s.check("test_s3_preconditions", case)


async def test_part_copies_under_conditions(stage: Stage) -> None:
    s = stage
    await s("", "put_object", Key="source", Body=b"0123456789")
    head = await s("", "head_object", Key="source")
    upload = (await s("", "create_multipart_upload", Key="destination_file.txt"))["UploadId"]

    async def copy(step: str, **conditions: Any) -> None:
        await s(step, "upload_part_copy", Key="destination_file.txt", UploadId=upload,
                PartNumber=1, CopySource=f"{s.bucket}/source", **conditions)  # fmt: skip

    prefix = "TestS3Multipart::test_upload_part_copy_with_copy_source"
    past = head["LastModified"] - DAY
    await copy("upload-part-copy-source-unmodified-since-and-if-none-match",
               CopySourceIfUnmodifiedSince=past, CopySourceIfNoneMatch="abc")  # fmt: skip
    s.check("test_s3_api", f"{prefix}_if_none_match_and_if_unmodified_since_match_failed")
    await copy("upload-part-copy-source-unmodified-since-match", CopySourceIfUnmodifiedSince=past)
    s.check("test_s3_api", f"{prefix}_if_unmodified_since_match_failed")
    await copy("upload-part-copy-if-modified-since-in-future",
               CopySourceIfModifiedSince=head["LastModified"] + DAY)  # fmt: skip
    await s("list-parts", "list_parts", Key="destination_file.txt", UploadId=upload)
    for part in s.steps["list-parts"]["Parts"]:
        part.pop("LastModified")
    wanted = recorded("s3", "test_s3_api", f"{prefix}_if_modified_since_in_future_success")
    for part in wanted["list-parts"]["Parts"]:
        assert set(part) - {"LastModified"} == set(s.steps["list-parts"]["Parts"][0])
    copied = s.steps["upload-part-copy-if-modified-since-in-future"]
    assert set(copied["CopyPartResult"]) == {"ETag", "LastModified"}


# Conditions on writes


async def test_copies_over_a_known_object(stage: Stage) -> None:
    s = stage
    await s("", "put_object", Key="source", Body=b"data")
    old = await s("", "put_object", Key="target", Body=b"old")
    args = {"Key": "target", "CopySource": f"{s.bucket}/source"}
    await s("copy-obj-if-match", "copy_object", **args, IfMatch=old["ETag"])
    await s("copy-obj-if-match-fail-wrong-etag", "copy_object", **args, IfMatch=old["ETag"])
    await s("copy-obj-if-match-fail-no-object", "copy_object", Key="non-existent-key",
            CopySource=f"{s.bucket}/source", IfMatch=old["ETag"])  # fmt: skip
    s.check("test_s3_api", "TestS3ObjectWritePrecondition::test_copy_object_if_match",
            same_bytes=False)  # fmt: skip
    new = await s("", "head_object", Key="target")
    args = {"Key": "target", "CopySource": f"{s.bucket}/target", "MetadataDirective": "REPLACE"}
    await s("copy-obj-if-match-in-place", "copy_object", **args, IfMatch=new["ETag"])
    s.check("test_s3_api", "TestS3ObjectWritePrecondition::test_copy_object_if_match_in_place",
            same_bytes=False)  # fmt: skip
    await s("copy-obj-if-none-match-fail", "copy_object", **args, IfNoneMatch="*")
    case = "TestS3ObjectWritePrecondition::test_copy_object_if_none_match_in_place"
    s.check("test_s3_api", case)


async def test_copies_over_a_known_version(stage: Stage) -> None:
    s, key = stage, "dest-object"
    await versioned(s)
    await s("", "put_object", Key="source", Body=b"test-cp-source")
    args = {"Key": key, "CopySource": f"{s.bucket}/source"}
    first = await s("put-obj", "put_object", Key=key, Body=b"test-cp-target")
    await s("del-obj", "delete_object", Key=key)
    await s("copy-obj-after-del-exc", "copy_object", **args, IfMatch=first["ETag"])
    third = await s("put-obj-after-del", "put_object", Key=key, Body=b"test-cp-target-3")
    await s("copy-obj-if-match-wrong-etag", "copy_object", **args, IfMatch=first["ETag"])
    await s("copy-obj-if-match", "copy_object", **args, IfMatch=third["ETag"])
    await s("list-object-versions", "list_object_versions", Prefix="dest")
    listed = s.steps["list-object-versions"]
    case = "TestS3ObjectWritePrecondition::test_copy_object_if_match_versioned_bucket"
    wanted = recorded("s3", "test_s3_api", case)["list-object-versions"]
    listed["Prefix"] = wanted["Prefix"]
    # The source was in another bucket, or this one: what is held here is the target.
    told = [each["VersionId"] for each in wanted["Versions"] if each["Key"] == key]
    assert len(listed["Versions"]) == len(told)
    s.check("test_s3_api", case, same_bytes=False, without=("list-object-versions",))


async def _upload(s: Stage, step: str, key: str) -> tuple[str, list[dict[str, Any]]]:
    upload = (await s(step, "create_multipart_upload", Key=key))["UploadId"]
    client = s.world.client(request_checksum_calculation="when_required")
    part = await asyncio.to_thread(client.upload_part, Bucket=s.bucket, Key=key, UploadId=upload,
                                   PartNumber=1, Body=b"test")  # fmt: skip
    return upload, [{"PartNumber": 1, "ETag": part["ETag"]}]


async def test_uploads_against_identical_puts(stage: Stage) -> None:
    s, key = stage, "test-precondition"
    old = await s("put-obj", "put_object", Key=key, Body=b"test")

    async def complete(step: str, upload: str, parts: list[dict[str, Any]]) -> None:
        await s(step, "complete_multipart_upload", Key=key, UploadId=upload, IfMatch=old["ETag"],
                MultipartUpload={"Parts": parts})  # fmt: skip

    upload = await _upload(s, "create-multipart", key)
    await s("put-obj-during", "put_object", Key=key, Body=b"test")
    await complete("complete-multipart-if-match-put-during", *upload)
    upload = await _upload(s, "create-multipart-again", key)
    await complete("complete-multipart-if-match-put-before-restart", *upload)
    case = "TestS3ObjectWritePrecondition::test_multipart_if_match_with_put_identical"
    s.check("test_s3_api", case)


async def test_uploads_against_deletions(stage: Stage) -> None:
    s, key = stage, "test-precondition"

    async def complete(step: str, upload: str, parts: list[dict[str, Any]]) -> None:
        await s(step, "complete_multipart_upload", Key=key, UploadId=upload, IfNoneMatch="*",
                MultipartUpload={"Parts": parts})  # fmt: skip

    await s("put-obj", "put_object", Key=key, Body=b"")
    upload = await _upload(s, "create-multipart", key)
    await complete("complete-multipart-if-none-match", *upload)
    await s("del-obj", "delete_object", Key=key)
    await complete("complete-multipart-after-del", *upload)
    upload = await _upload(s, "", key)
    await complete("complete-multipart-after-del-restart", *upload)
    case = "TestS3ObjectWritePrecondition::test_multipart_if_none_match_with_delete"
    s.check("test_s3_api", case)


async def test_conditional_headers(stage: Stage) -> None:
    s = stage
    etag = (await s("", "put_object", Key="k", Body=b"x"))["ETag"]
    wanted = recorded("s3", "test_s3", "TestS3::test_s3_get_object_headers")

    async def get(step: str, **params: Any) -> None:
        answer = await s("", "get_object", Key="k", **params)
        status, error = answer["ResponseMetadata"]["HTTPStatusCode"], answer.get("Error")
        assert wanted[step] == (error or status), step

    await get("if_match_1", IfMatch=etag)
    await get("if_match_2", IfMatch=etag.strip('"'))
    await get("if_match_err_1", IfMatch='"other"')
    await get("if_none_match_1", IfNoneMatch='"other"')
    await get("if_none_match_err_1", IfNoneMatch=etag)
    await get("if_none_match_err_2", IfNoneMatch=etag.strip('"'))


# Multipart


async def test_the_order_of_parts(stage: Stage) -> None:
    s = stage

    async def upload(key: str, numbers: tuple[int, ...]) -> tuple[str, list[dict[str, Any]]]:
        upload = (await s("", "create_multipart_upload", Key=key))["UploadId"]
        client = s.world.client(request_checksum_calculation="when_required")
        parts = []
        for number in numbers:
            part = await asyncio.to_thread(
                client.upload_part, Bucket=s.bucket, Key=key, UploadId=upload, PartNumber=number,
                Body=b"x" * 5 * 2**20)  # fmt: skip
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        return upload, parts

    key = "test-order-parts"
    ident, parts = await upload(key, (1, 2, 3))
    await s("upload-part-negative-part-number", "upload_part", Key=key, UploadId=ident,
            PartNumber=-1, Body=b"x")  # fmt: skip
    await s("complete-multipart-unordered", "complete_multipart_upload", Key=key, UploadId=ident,
            MultipartUpload={"Parts": parts[::-1]})  # fmt: skip
    await s("complete-multipart-ordered", "complete_multipart_upload", Key=key, UploadId=ident,
            MultipartUpload={"Parts": parts})  # fmt: skip
    key = "key-sequence-with-step-2"
    ident, parts = await upload(key, (2, 4, 6))
    await s("complete-multipart-with-step-2", "complete_multipart_upload", Key=key,
            UploadId=ident, MultipartUpload={"Parts": parts})  # fmt: skip
    s.check("test_s3", "TestS3::test_complete_multipart_parts_order", same_bytes=False)


async def test_parts_by_attributes(stage: Stage) -> None:
    s, key = stage, "test-object-attrs-pagination"
    made = await s("", "create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256")
    upload, parts = made["UploadId"], []
    for number in (1, 2):
        part = await s("", "upload_part", Key=key, UploadId=upload, PartNumber=number,
                       Body=b"a" * 5242881, ChecksumAlgorithm="SHA256")  # fmt: skip
        parts.append({k: part[k] for k in ("ETag", "ChecksumSHA256")} | {"PartNumber": number})
    await s("list-parts", "list_parts", Key=key, UploadId=upload)
    await s("complete-mpu", "complete_multipart_upload", Key=key, UploadId=upload,
            MultipartUpload={"Parts": parts})  # fmt: skip
    for step, params in (
        ("1", {}),
        ("all", {"MaxParts": 1000}),
        ("next", {"MaxParts": 1, "PartNumberMarker": 1}),
        ("wrong-part", {"MaxParts": 1, "PartNumberMarker": 10}),
    ):
        step = f"get-object-attrs-{step}"
        await s(step, "get_object_attributes", Key=key, ObjectAttributes=["ObjectParts"], **params)
    case = "TestS3ListParts::test_list_parts_via_object_attrs_pagination"
    s.check("test_s3_list_operations", case, same_bytes=False)


async def test_parts_of_clients_with_their_own_checksums(stage: Stage) -> None:
    s, key = stage, "k"
    made = await s("", "create_multipart_upload", Key=key, ChecksumAlgorithm="CRC32")
    part = await s("", "upload_part", Key=key, UploadId=made["UploadId"], PartNumber=1,
                   Body=b"x" * 6144)  # fmt: skip
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}]
    await s("", "complete_multipart_upload", Key=key, UploadId=made["UploadId"],
            MultipartUpload={"Parts": parts})  # fmt: skip
    await s("get_object", "get_object", Key=key)
    s.check("test_s3", "TestS3::test_upload_file_multipart", same_bytes=False)


# Tags


async def test_tags_are_counted(stage: Stage) -> None:
    s, key = stage, "k"
    await s("put-object", "put_object", Key=key, Body=b"test-tagging",
            Tagging="tag1=tag1&tag2=tag2&tag=")  # fmt: skip
    await s("head-obj-after-create", "head_object", Key=key)
    await s("put-object-tags", "put_object_tagging", Key=key,
            Tagging={"TagSet": [{"Key": "tag3", "Value": "tag3"}]})  # fmt: skip
    await s("head-obj-after-tagging", "head_object", Key=key)
    await s("", "put_object", Key=key, Body=b"test-tagging", Tagging="tag1=tag1&tag2=tag2&tag=")
    await s("head-obj-after-overwrite", "head_object", Key=key)
    await s("", "delete_object_tagging", Key=key)
    await s("head-obj-after-removal", "head_object", Key=key)
    s.check("test_s3_api", "TestS3BucketObjectTagging::test_head_object_with_tags")


async def test_tags_in_headers(stage: Stage) -> None:
    s, key = stage, "k"
    await s("put-object", "put_object", Key=key, Body=b"test-tagging",
            Tagging="tag1=tag1&tag2=tag2&tag=")  # fmt: skip
    await s("get-object-tags", "get_object_tagging", Key=key)
    await s("put-object-tags", "put_object_tagging", Key=key,
            Tagging={"TagSet": [{"Key": "tag3", "Value": "tag3"}]})  # fmt: skip
    await s("get-object-tags-override", "get_object_tagging", Key=key)
    await s("head-obj", "head_object", Key=key)
    await s("get-obj", "get_object", Key=key)
    await s("", "put_object", Key=key, Body=b"x", Tagging="wrongquery&wrongagain")
    await s("get-object-tags-wrong-format-qs", "get_object_tagging", Key=key)
    await s("", "put_object", Key=key, Body=b"x", Tagging="key1&key2")
    await s("get-object-tags-wrong-format-qs-2", "get_object_tagging", Key=key)
    for step, answer in s.steps.items():
        if "TagSet" in answer:
            assert "tags" in step
            answer["TagSet"].sort(key=lambda tag: tag["Key"])
    s.check("test_s3_api", "TestS3BucketObjectTagging::test_put_object_with_tags")


async def test_no_tags_in_a_header(stage: Stage) -> None:
    s = stage
    await s("", "put_object", Key="k", Body=b"x")
    await s("put-none-tag-set", "put_object_tagging", Key="k", Tagging={"TagSet": []})
    await s("get-object-tags-none", "get_object_tagging", Key="k")
    s.check("test_s3_api", "TestS3BucketObjectTagging::test_put_object_tagging_none_value")


# Raw HTTP


async def test_headers_of_an_object(stage: Stage) -> None:
    s = stage
    await s("", "put_object", Key="k", Body=b"123")
    case = "TestS3::test_get_object_content_length_with_virtual_host[False]"
    wanted = recorded("s3", "test_s3", case)
    found = await _fetch(s, "get_object", Key="k")
    told = wanted["get-obj-content-len-headers"]
    assert set(told) == set(found) - {"connection"}
    for name in ("accept-ranges", "content-length", "content-type", "etag"):
        assert told[name] == found[name]


async def test_attributes_are_listed_with_or_without_spaces(stage: Stage) -> None:
    s = stage
    body = b"something"
    await s("", "put_object", Key="k", Body=body, ChecksumAlgorithm="SHA256")
    wanted = recorded("s3", "test_s3", "TestS3::test_get_object_attributes_with_space")
    for step, value in (("with", "Checksum, ETag, ObjectSize, StorageClass"),
                        ("without", "Checksum,ETag,ObjectSize,StorageClass")):  # fmt: skip
        client = _headers(s, "GetObjectAttributes", x_amz_object_attributes=value)
        raw: list[bytes] = []
        client.meta.events.register(
            "before-parse.s3.GetObjectAttributes",
            lambda response_dict, raw=raw, **_: raw.append(response_dict["body"]),
        )
        await asyncio.to_thread(client.get_object_attributes, Bucket=s.bucket, Key="k",
                                ObjectAttributes=["ETag"])  # fmt: skip
        told = wanted[f"get-attrs-{step}-whitespace"]["GetObjectAttributesResponse"]
        root = ElementTree.fromstring(raw[0])
        assert root.tag == f"{{{told.pop('@xmlns')}}}GetObjectAttributesResponse"
        found = _tree(root)
        assert set(found) == set(told) and set(found["Checksum"]) == set(told["Checksum"])
        assert (found["ObjectSize"], found["StorageClass"]) == ("9", "STANDARD")


async def test_metadata_names(stage: Stage) -> None:
    s = stage
    await s("", "put_object", Key="k", Body=b"foo",
            Metadata={"TEST_META_1": "foo", "__meta_2": "bar"})  # fmt: skip
    await s("head-object", "head_object", Key="k")
    s.check("test_s3", "TestS3::test_metadata_header_character_decoding")


async def test_gzip_stays_as_it_is(stage: Stage) -> None:
    s = stage
    await s("put-object", "put_object", Key="k", Body=b"x" * 41, ContentEncoding="gzip")
    await s("get-object", "get_object", Key="k")
    s.check("test_s3", "TestS3::test_s3_upload_download_gzip", same_bytes=False)


async def test_checksums_not_computed_by_the_client(stage: Stage) -> None:
    s, key, body = stage, "k", b"test data.."
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()

    async def put(step: str, **headers: str) -> None:
        s.client = _headers(s, "PutObject", **headers)
        if step == "wrong-checksum":
            await s(step, "put_object", Key=key, Body=body)
            return
        answer = await s("", "put_object", Key=key, Body=body)
        assert "Error" not in answer
        await s(step, "head_object", Key=key, ChecksumMode="ENABLED")

    await put("wrong-checksum", x_amz_checksum_sha256="wrong", x_amz_checksum_algorithm="SHA256")
    await put("head-obj-right-checksum", x_amz_checksum_sha256=digest,
              x_amz_checksum_algorithm="SHA256")  # fmt: skip
    await put("head-obj-diff-checksum-algo", x_amz_checksum_sha256=digest,
              x_amz_checksum_algorithm="CRC32")  # fmt: skip
    await put("head-obj-only-checksum-algo", x_amz_checksum_algorithm="SHA256")
    await put("head-obj-no-checksum")
    attributes = {"ObjectAttributes": ["Checksum"]}
    await s("get-obj-attrs-no-checksum", "get_object_attributes", Key=key, **attributes)
    await s("copy-obj-default-checksum", "copy_object", Key="copy", CopySource=f"{s.bucket}/{key}")
    await s("get-copy-obj-attrs-no-checksum", "get_object_attributes", Key="copy", **attributes)
    s.check("test_s3", "TestS3PutObjectChecksum::test_s3_checksum_no_automatic_sdk_calculation")


# Settings


@pytest.mark.parametrize("account", ["0000", "0000000000020", "aa000000000$", "abcd"])
async def test_owners_are_account_numbers(stage: Stage, account: str) -> None:
    await stage("put-bucket-policy-invalid-bucket-owner", "put_bucket_policy", Policy="{}",
                ExpectedBucketOwner=account)  # fmt: skip
    stage.check("test_s3", f"TestS3::test_put_bucket_policy_invalid_account_id[{account}]")


@pytest.mark.parametrize(
    ("case", "rules"),
    [
        ("case_insensitive", [{"Name": "suffix", "Value": ".txt"},
                              {"Name": "PREFIX", "Value": "notif-"}]),
        ("empty_value", [{"Name": "suffix", "Value": ""}]),
    ],
)  # fmt: skip
async def test_filters_are_told_in_capitals(
    stage: Stage, case: str, rules: list[dict[str, str]]
) -> None:
    s = stage
    queue = "arn:aws:sqs:us-east-1:000000000000:my-queue-1"
    s.world.post.reachable.add(queue)
    wanted = {"QueueArn": queue, "Events": ["s3:ObjectCreated:*"],
              "Filter": {"Key": {"FilterRules": rules}}}  # fmt: skip
    await s("", "put_bucket_notification_configuration",
            NotificationConfiguration={"QueueConfigurations": [wanted]})  # fmt: skip
    step = "bucket_notification_configuration"
    await s(step, "get_bucket_notification_configuration")
    (found,) = s.steps[step]["QueueConfigurations"]
    found["Filter"]["Key"]["FilterRules"].sort(key=lambda rule: rule["Name"])
    name = f"TestS3NotificationsToSQS::test_filter_rules_{case}"
    s.check("test_s3_notifications_sqs", name)


async def test_filters_are_complete(stage: Stage) -> None:
    s = stage
    queue = "arn:aws:sqs:us-east-1:000000000000:my-queue-1"
    s.world.post.reachable.add(queue)
    for step, rule in (("no-name", {"Value": "x"}), ("no-value", {"Name": "Prefix"}),
                       ("no-values", {})):  # fmt: skip
        wanted = {"QueueArn": queue, "Events": ["s3:ObjectCreated:*"],
                  "Filter": {"Key": {"FilterRules": [rule]}}}  # fmt: skip
        await s(f"invalid-rule-{step}", "put_bucket_notification_configuration",
                NotificationConfiguration={"QueueConfigurations": [wanted]})  # fmt: skip
    case = "test_bucket_notification_with_missing_values_in_rule"
    s.check("test_s3_api", f"TestS3BucketNotificationConfiguration::{case}")


async def test_topics_are_checked(stage: Stage) -> None:
    s = stage

    async def put(step: str, arn: str, skip: bool) -> None:
        wanted = {"TopicArn": arn, "Events": ["s3:ObjectCreated:*"], "Id": "id123"}
        await s(step, "put_bucket_notification_configuration", SkipDestinationValidation=skip,
                NotificationConfiguration={"TopicConfigurations": [wanted]})  # fmt: skip

    await put("invalid_not_skip", "invalid-topic", False)
    await put("invalid_skip", "invalid-topic", True)
    await put("", "arn:aws:sns:us-east-1:000000000000:my-topic", True)
    await s("skip_destination_validation", "get_bucket_notification_configuration")
    s.check("test_s3_notifications_sns", "TestS3NotificationsToSns::test_invalid_topic_arn")
