"""What S3 answers where recordings of it, its documentation or its clients settle the words."""

from __future__ import annotations

import base64
import hashlib
import http.client
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support.s3_world import World, failure, run, s3_world

BUCKET = "a-bucket"
HERE: dict[str, Any] = {"Bucket": BUCKET}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with s3_world(tmp_path) as world:
        await run(world.client().create_bucket, **HERE)
        yield world


async def _version(client: Any, status: str) -> None:
    await run(client.put_bucket_versioning, **HERE, VersioningConfiguration={"Status": status})


@pytest.mark.parametrize("version_id", ["wrong", "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD"])
async def test_an_unknown_version_is_no_such_version(world: World, version_id: str) -> None:
    client = world.client()
    await _version(client, "Enabled")
    await run(client.put_object, **HERE, Key="k", Body=b"x")
    which = {**HERE, "Key": "k", "VersionId": version_id}
    wanted = {
        "Code": "NoSuchVersion",
        "Message": "The specified version does not exist.",
        "Key": "k",
        "VersionId": version_id,
        "status": 404,
    }
    for call, more in (
        (client.get_object, {}),
        (client.get_object_acl, {}),
        (client.get_object_attributes, {"ObjectAttributes": ["ETag"]}),
        (client.get_object_tagging, {}),
        (client.put_object_tagging, {"Tagging": {"TagSet": []}}),
        (client.delete_object_tagging, {}),
    ):
        assert await failure(call, **which, **more) == wanted
    source = {**which}
    assert await failure(client.copy_object, **HERE, Key="z", CopySource=source) == wanted


async def test_a_tag_change_on_a_delete_marker(world: World) -> None:
    client = world.client()
    await _version(client, "Enabled")
    await run(client.put_object, **HERE, Key="k", Body=b"x")
    marker = (await run(client.delete_object, **HERE, Key="k"))["VersionId"]
    for which in ({}, {"VersionId": marker}):
        for call, method, more in (
            (client.put_object_tagging, "PUT", {"Tagging": {"TagSet": []}}),
            (client.delete_object_tagging, "DELETE", {}),
        ):
            with pytest.raises(client.exceptions.ClientError) as caught:
                await run(call, **HERE, Key="k", **which, **more)
            error, meta = caught.value.response["Error"], caught.value.response["ResponseMetadata"]
            assert (error["Code"], error["Method"]) == ("MethodNotAllowed", method)
            assert error["ResourceType"] == "DeleteMarker"
            assert meta["HTTPHeaders"]["x-amz-delete-marker"] == "true"
            assert meta["HTTPHeaders"]["x-amz-version-id"] == marker


async def test_system_tags(world: World) -> None:
    client = world.client()
    tags = [{"Key": "aws:mine", "Value": "v"}]
    found = await failure(
        client.create_bucket, Bucket="another", CreateBucketConfiguration={"Tags": tags}
    )
    assert found["Code"] == "InvalidTag"
    assert found["Message"].startswith('User-defined tag keys can\'t start with "aws:".')
    found = await failure(client.put_bucket_tagging, **HERE, Tagging={"TagSet": tags})
    assert found["Message"] == "System tags cannot be added/updated by requester"


async def test_a_wrong_md5_is_shown_in_hexadecimal(world: World) -> None:
    said = hashlib.md5(b"other").digest()
    found = await failure(
        world.client().put_object,
        **HERE,
        Key="k",
        Body=b"body",
        ContentMD5=base64.b64encode(said).decode(),
    )
    assert found["Code"] == "BadDigest"
    assert found["ExpectedDigest"] == said.hex()
    assert found["CalculatedDigest"] == base64.b64encode(hashlib.md5(b"body").digest()).decode()


async def test_a_bucket_made_in_eu_says_so(world: World) -> None:
    client = world.client()
    await run(
        client.create_bucket, Bucket="old", CreateBucketConfiguration={"LocationConstraint": "EU"}
    )
    assert (await run(client.get_bucket_location, Bucket="old"))["LocationConstraint"] == "EU"
    found = await run(world.client(region="eu-west-1").head_bucket, Bucket="old")
    assert found["BucketRegion"] == "eu-west-1"


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
async def test_a_copy_in_place_names_its_version(world: World, status: str) -> None:
    client = world.client()
    await _version(client, "Enabled")
    first = await run(client.put_object, **HERE, Key="k", Body=b"x")
    await _version(client, status)
    copied = await run(
        client.copy_object, **HERE, Key="k", CopySource=f"{BUCKET}/k", MetadataDirective="REPLACE"
    )
    assert copied["CopySourceVersionId"] == first["VersionId"]
    now = await run(client.head_object, **HERE, Key="k")
    assert copied["VersionId"] == now["VersionId"]
    assert (copied["VersionId"] == "null") == (status == "Suspended")


def _link(world: World, query: str) -> urllib.request.Request:
    """A presigned PUT whose headers stand in the query, as the JavaScript SDK makes them."""
    request = AWSRequest("PUT", f"{world.url}/{BUCKET}/k?{query}")
    S3SigV4QueryAuth(Credentials("ROOT", "secret"), "s3", "us-east-1").add_auth(request)
    return urllib.request.Request(request.url, data=b"other", method="PUT")


async def test_metadata_leaves_as_encoded_words(world: World) -> None:
    query = urlencode({"x-amz-meta-name": "ÄMÄZÕÑ S3", "x-amz-meta-sent": "=?UTF-8?B?YWJj?="})
    with await run(urllib.request.urlopen, _link(world, query)):
        pass
    found = await run(world.client().get_object, **HERE, Key="k")
    assert found["Metadata"] == {
        "name": "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=",
        "sent": "abc",
    }


async def test_a_list_of_uploads_is_marked_by_uploads_only(world: World) -> None:
    client = world.client()
    for key in ("a", "folder/b", "folder/c", "z"):
        await run(client.create_multipart_upload, **HERE, Key=key)
    one = await run(client.list_multipart_uploads, **HERE, Delimiter="/", MaxUploads=1)
    assert (one["NextKeyMarker"], one["IsTruncated"]) == ("a", True)
    two = await run(client.list_multipart_uploads, **HERE, Delimiter="/", MaxUploads=2)
    assert [each["Prefix"] for each in two["CommonPrefixes"]] == ["folder/"]
    assert (two["NextKeyMarker"], two["NextUploadIdMarker"]) == ("", "")
    whole = await run(client.list_multipart_uploads, **HERE, Delimiter="/")
    assert (whole["NextKeyMarker"], whole["IsTruncated"]) == ("z", False)


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("CRC32", "FULL_OBJECT"), ("SHA256", "COMPOSITE"), (None, None)]
)
async def test_checksums_of_parts(world: World, algorithm: str | None, kind: str | None) -> None:
    client = world.client(request_checksum_calculation="when_required")
    named = {"ChecksumAlgorithm": algorithm, "ChecksumType": kind} if algorithm else {}
    upload = (await run(client.create_multipart_upload, **HERE, Key="k", **named))["UploadId"]
    listed = []
    for number, body in ((1, b"x" * (5 << 20)), (2, b"y")):
        more = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        part = await run(client.upload_part, **HERE, Key="k", UploadId=upload, PartNumber=number,
                         Body=body, **more)  # fmt: skip
        entry = {"PartNumber": number, "ETag": part["ETag"]}
        if algorithm:
            entry[f"Checksum{algorithm}"] = part[f"Checksum{algorithm}"]
        listed.append(entry)
    await run(client.complete_multipart_upload, **HERE, Key="k", UploadId=upload,
              MultipartUpload={"Parts": listed})  # fmt: skip
    for call in (client.get_object, client.head_object):
        found = await run(call, **HERE, Key="k", PartNumber=2, ChecksumMode="ENABLED")
        assert found["PartsCount"] == 2
        if algorithm:
            assert found[f"Checksum{algorithm}"] == listed[1][f"Checksum{algorithm}"]
        assert found.get("ChecksumType") == kind


async def test_a_completion_sent_again_answers_as_the_first(world: World) -> None:
    client = world.client()
    upload = (await run(client.create_multipart_upload, **HERE, Key="k"))["UploadId"]
    part = await run(client.upload_part, **HERE, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    where = {**HERE, "Key": "k", "UploadId": upload}
    listed = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    first = await run(client.complete_multipart_upload, **where, MultipartUpload=listed)
    for _ in range(2):
        again = await run(client.complete_multipart_upload, **where, MultipartUpload=listed)
        assert again == first
    assert world.core.bucket(BUCKET).open_uploads == 0
    other = {"Parts": [{"PartNumber": 1, "ETag": '"0"'}]}
    found = await failure(client.complete_multipart_upload, **where, MultipartUpload=other)
    assert found["Code"] == "NoSuchUpload"
    await run(client.delete_object, **HERE, Key="k")
    found = await failure(client.complete_multipart_upload, **where, MultipartUpload=listed)
    assert found["Code"] == "NoSuchUpload"


async def test_start_after_is_told_only_without_a_token(world: World) -> None:
    client = world.client()
    for key in "abc":
        await run(client.put_object, **HERE, Key=key)
    first = await run(client.list_objects_v2, **HERE, StartAfter="a", MaxKeys=1)
    assert first["StartAfter"] == "a"
    token = first["NextContinuationToken"]
    rest = await run(client.list_objects_v2, **HERE, StartAfter="a", ContinuationToken=token)
    assert "StartAfter" not in rest
    assert [each["Key"] for each in rest["Contents"]] == ["c"]


async def test_a_continuation_token_is_good_for_its_list_only(world: World) -> None:
    client = world.client()
    for key in ("a/1", "a/2", "b"):
        await run(client.put_object, **HERE, Key=key)
    first = await run(client.list_objects_v2, **HERE, Prefix="a/", FetchOwner=True, MaxKeys=1)
    token = {"ContinuationToken": first["NextContinuationToken"]}
    rest = await run(client.list_objects_v2, **HERE, Prefix="a/", **token)
    assert [each["Key"] for each in rest["Contents"]] == ["a/2"]
    for other in ({}, {"Prefix": "b"}, {"Prefix": "a/", "Delimiter": "/"}):
        found = await failure(client.list_objects_v2, **HERE, **other, **token)
        assert (found["Code"], found["ArgumentName"], found["ArgumentValue"]) == (
            "InvalidArgument",
            "continuation-token",
            token["ContinuationToken"],
        )


async def test_buckets_come_in_pages(world: World) -> None:
    client = world.client()
    for name in ("paged-1", "paged-2", "paged-3"):
        await run(client.create_bucket, Bucket=name)
    seen, token = [], {}
    while True:
        page = await run(client.list_buckets, Prefix="paged-", MaxBuckets=2, **token)
        seen.append([(each["Name"], each["BucketRegion"]) for each in page["Buckets"]])
        if "ContinuationToken" not in page:
            break
        token = {"ContinuationToken": page["ContinuationToken"]}
    region = "us-east-1"
    assert seen == [[("paged-1", region), ("paged-2", region)], [("paged-3", region)]]
    found = await failure(client.list_buckets, MaxBuckets=2, **token)
    assert (found["Code"], found["Message"]) == (
        "InvalidArgument",
        "The continuation token provided is incorrect",
    )


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("", "Policies must be valid JSON and the first byte must be '{'"),
        ("[]", "Policies must be valid JSON and the first byte must be '{'"),
        (' {"Statement": []}', "Policies must be valid JSON and the first byte must be '{'"),
        ('{"Statement', "Policies must be valid JSON and the first byte must be '{'"),
        ("{}", "Missing required field Statement"),
        ('{"Statement": []}', "Could not parse the policy: Statement is empty!"),
        ('{"Statement": [{"Principal": "*"}]}', "Missing required field Effect"),
        ('{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*"}]}',
         "Missing required field Resource"),
        ('{"Statement": [{"Effect": "Deny", "Principal": "*", "Resource": "arn:aws:s3:::a-bucket"}'
         "]}", "Missing required field Action"),
        ('{"Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::a-bucket"}'
         "]}", "Missing required field Principal"),
    ],
)  # fmt: skip
async def test_faults_of_a_policy(world: World, policy: str, message: str) -> None:
    found = await failure(world.client().put_bucket_policy, **HERE, Policy=policy)
    assert found == {"Code": "MalformedPolicy", "Message": message, "status": 400}


async def test_wrong_copy_sources(world: World) -> None:
    for source, message in (
        ("only-a-bucket", "Invalid copy source object key"),
        ("/", "Invalid copy source bucket name"),
    ):
        found = await failure(world.client().copy_object, **HERE, Key="k", CopySource=source)
        assert found["Message"] == message
        assert found["ArgumentName"] == found["ArgumentValue"] == "x-amz-copy-source"


async def test_access_control_lists_that_change_nothing(world: World) -> None:
    client = world.client()
    for acl in ("", "private", "bucket-owner-full-control"):
        await run(client.put_object, **HERE, Key="k", ACL=acl)
        await run(client.copy_object, **HERE, Key="c", CopySource=f"{BUCKET}/k", ACL=acl)
        await run(client.create_multipart_upload, **HERE, Key="m", ACL=acl)
    found = await failure(client.put_object, **HERE, Key="k", ACL="public-read")
    assert found["Code"] == "AccessControlListNotSupported"


async def test_a_preflight_of_no_bucket(world: World) -> None:
    def ask() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", world.server.port)
        headers = {"Origin": "http://site.example", "Access-Control-Request-Method": "PUT"}
        connection.request("OPTIONS", "/no-such-bucket/key", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    status, body = await run(ask)
    assert status == 403
    assert b"<Message>CORSResponse: Bucket not found</Message>" in body
    assert b"<Method>PUT</Method><ResourceType>BUCKET</ResourceType>" in body


async def test_a_signed_checksum_of_a_link_is_not_held_against_the_body(world: World) -> None:
    query = "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32"
    with await run(urllib.request.urlopen, _link(world, query)):
        pass
    assert (await run(world.client().get_object, **HERE, Key="k"))["Body"] == b"other"


async def test_a_signature_for_another_region(world: World) -> None:
    far = world.client(region="eu-west-1")
    await run(far.create_bucket, Bucket="far",
              CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})  # fmt: skip
    await run(far.put_object, Bucket="far", Key="k", Body=b"x")
    signer = world.client(signature_version="s3v4")
    url = signer.generate_presigned_url("get_object", Params={"Bucket": "far", "Key": "k"})

    def ask() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", world.server.port)
        connection.request("GET", url.removeprefix(world.url))
        answer = connection.getresponse()
        assert answer.getheader("x-amz-bucket-region") == "eu-west-1"
        return answer.status, answer.read()

    status, body = await run(ask)
    assert status == 400
    assert b"<Code>AuthorizationHeaderMalformed</Code>" in body
    assert b"<Region>eu-west-1</Region>" in body
    # boto3 reads the region there and asks again, for HEAD too.
    assert (await run(world.client().get_object, Bucket="far", Key="k"))["Body"] == b"x"
    assert (await run(world.client().head_object, Bucket="far", Key="k"))["ContentLength"] == 1
    copied = await run(world.client().copy_object, **HERE, Key="k", CopySource="far/k")
    assert copied["status"] == 200
    where = await run(world.client().get_bucket_location, Bucket="far")
    assert where["LocationConstraint"] == "eu-west-1"
