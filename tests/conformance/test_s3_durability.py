"""What was acknowledged stays; what was not leaves nothing; writers and readers side by side."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.core.clock import SystemClock
from boda.core.errors import AwsError, PlatformError
from boda.services.s3 import rows
from support.s3_world import World, failure, run, s3_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with s3_world(tmp_path) as world:
        await run(world.client().create_bucket, Bucket="a-bucket")
        yield world


def blob_files(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


async def until(done: Any) -> None:
    for _ in range(300):
        if done():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize(
    "key",
    ["a/..", "a/b/../../etc/passwd", "a//b", "/", "//", "a/", ".", "ünï/✓ 𝄞", "a b+c%20d",
     "?x=1&y#z", "a\tb", "'\"<>&", "x" * 1024, "a\\b", "con", "~*()!"],
)  # fmt: skip
async def test_any_key_is_a_name_and_nothing_else(world: World, key: str, tmp_path: Path) -> None:
    client = world.client()
    where = {"Bucket": "a-bucket", "Key": key}
    await run(client.put_object, **where, Body=b"small")
    assert (await run(client.get_object, **where))["Body"] == b"small"
    await run(client.put_object, **where, Body=b"x" * 20_000)
    assert (await run(client.get_object, **where))["ContentLength"] == 20_000
    listed = await run(client.list_objects_v2, Bucket="a-bucket")
    assert [each["Key"] for each in listed["Contents"]] == [key]
    assert len(blob_files(tmp_path)) == 1
    await run(client.delete_object, **where)
    assert (await run(client.list_objects_v2, Bucket="a-bucket"))["KeyCount"] == 0
    await until(lambda: blob_files(tmp_path) == [])


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    big = os.urandom(6 * 1024 * 1024)
    where = {"Bucket": "a-bucket", "Key": "parts"}
    async with s3_world(tmp_path) as world:
        client = world.client()
        await run(client.create_bucket, Bucket="a-bucket")
        await run(client.put_bucket_tagging, Bucket="a-bucket",
                  Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})  # fmt: skip
        await run(client.put_object, Bucket="a-bucket", Key="small", Body=b"x", Metadata={"m": "1"})
        await run(client.put_object, Bucket="a-bucket", Key="big", Body=big)
        upload = (await run(client.create_multipart_upload, **where))["UploadId"]
        part = await run(client.upload_part, **where, UploadId=upload, PartNumber=1, Body=big)
    async with s3_world(tmp_path) as world:
        client = world.client()
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        await run(client.complete_multipart_upload, **where, UploadId=upload, MultipartUpload=parts)
        small = await run(client.get_object, Bucket="a-bucket", Key="small")
        assert (small["Body"], small["Metadata"]) == (b"x", {"m": "1"})
        for key in ("big", "parts"):
            assert (await run(client.get_object, Bucket="a-bucket", Key=key))["Body"] == big
        tags = await run(client.get_bucket_tagging, Bucket="a-bucket")
        assert tags["TagSet"] == [{"Key": "a", "Value": "b"}]


async def test_refused_and_broken_uploads_leave_nothing(world: World, tmp_path: Path) -> None:
    client = world.client()
    body = b"x" * 100_000
    where = {"Bucket": "a-bucket", "Key": "k"}
    await run(client.put_object, **where, Body=b"old")
    wrong = {"ContentMD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    assert (await failure(client.put_object, **where, Body=body, **wrong))["Code"] == "BadDigest"
    found = await failure(client.put_object, **where, Body=body, IfNoneMatch="*")
    assert found["Code"] == "PreconditionFailed"
    # The client goes away in the middle.
    url = client.generate_presigned_url("put_object", Params=where)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    path = url.removeprefix(world.url)
    head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{world.server.port}\r\n"
    writer.write(f"{head}Content-Length: 9000000\r\n\r\n".encode() + b"y" * 3_000_000)
    await writer.drain()
    writer.close()
    await until(lambda: blob_files(tmp_path) == [])
    del reader
    assert (await run(client.get_object, **where))["Body"] == b"old"


async def test_only_one_of_many_creates(world: World) -> None:
    client = world.client(max_pool_connections=20)

    async def create(number: int) -> int | None:
        try:
            body = str(number).encode()
            where = {"Bucket": "a-bucket", "Key": "lock"}
            await run(client.put_object, **where, Body=body, IfNoneMatch="*")
        except Exception:
            return None
        return number

    won = [n for n in await asyncio.gather(*(create(n) for n in range(20))) if n is not None]
    body = (await run(client.get_object, Bucket="a-bucket", Key="lock"))["Body"]
    assert [int(body)] == won


@pytest.mark.parametrize("size", [10_000, 300_000])
async def test_readers_see_whole_objects_while_they_change(
    world: World, size: int, tmp_path: Path
) -> None:
    client = world.client(max_pool_connections=20)
    where = {"Bucket": "a-bucket", "Key": "k"}
    bodies = [bytes([i]) * size for i in range(4)]
    tags = {hashlib.md5(each).hexdigest() for each in bodies}
    await run(client.put_object, **where, Body=bodies[0])

    async def write() -> None:
        for _ in range(10):
            for each in bodies:
                await run(client.put_object, **where, Body=each)

    async def read() -> None:
        for _ in range(40):
            found = await run(client.get_object, **where)
            tag = hashlib.md5(found["Body"]).hexdigest()
            assert tag in tags
            assert found["ETag"] == f'"{tag}"'

    await asyncio.gather(write(), read(), read())
    await until(lambda: len(blob_files(tmp_path)) == (1 if size > 16_384 else 0))


async def test_parts_left_out_replaced_or_aborted_are_deleted(world: World, tmp_path: Path) -> None:
    client = world.client()
    where = {"Bucket": "a-bucket", "Key": "k"}

    async def begin() -> tuple[str, list[str]]:
        upload = (await run(client.create_multipart_upload, **where))["UploadId"]
        etags = []
        for number in (1, 2, 2, 3):
            body = os.urandom(100)
            part = await run(
                client.upload_part, **where, UploadId=upload, PartNumber=number, Body=body
            )
            etags.append(part["ETag"])
        return upload, etags

    upload, etags = await begin()
    parts = {"Parts": [{"PartNumber": 2, "ETag": etags[2]}]}
    old = {"Parts": [{"PartNumber": 2, "ETag": etags[1]}]}
    complete = client.complete_multipart_upload
    found = await failure(complete, **where, UploadId=upload, MultipartUpload=old)
    assert (found["Code"], found["PartNumber"]) == ("InvalidPart", "2")
    await run(complete, **where, UploadId=upload, MultipartUpload=parts)
    await until(lambda: len(blob_files(tmp_path)) == 1)
    upload, _ = await begin()
    await run(client.abort_multipart_upload, **where, UploadId=upload)
    await until(lambda: len(blob_files(tmp_path)) == 1)
    found = await failure(client.upload_part, **where, UploadId=upload, PartNumber=1, Body=b"x")
    assert found["Code"] == "NoSuchUpload"
    await run(client.put_object, **where, Body=b"takes its place")
    await until(lambda: blob_files(tmp_path) == [])
    upload, _ = await begin()
    await run(client.delete_object, **where)
    await run(client.delete_bucket, Bucket="a-bucket")
    await until(lambda: blob_files(tmp_path) == [])


async def test_buckets_made_and_deleted_at_once(world: World) -> None:
    client = world.client(max_pool_connections=20)
    codes: set[str] = set()

    async def turn(number: int) -> None:
        for _ in range(5):
            for call in (client.create_bucket, client.delete_bucket, client.put_object):
                params = {"Key": str(number)} if call == client.put_object else {}
                try:
                    await run(call, Bucket="b-bucket", **params)
                except client.exceptions.ClientError as error:
                    codes.add(error.response["Error"]["Code"])

    await asyncio.gather(*(turn(number) for number in range(4)))
    assert codes <= {"NoSuchBucket", "BucketNotEmpty"}
    await run(client.create_bucket, Bucket="b-bucket")
    listed = await run(client.list_objects_v2, Bucket="b-bucket")
    assert listed["KeyCount"] <= 4


@pytest.mark.parametrize(
    ("operation", "params", "found"),
    [
        ("get_object", {"VersionId": "nonsense"}, "400 InvalidArgument"),
        ("get_object", {"PartNumber": 0}, "400 InvalidArgument"),
        ("list_parts", {"UploadId": "nonsense"}, "404 NoSuchUpload"),
        ("upload_part", {"UploadId": "x" * 64, "PartNumber": 1}, "404 NoSuchUpload"),
        ("upload_part", {"UploadId": "x" * 64, "PartNumber": 10001}, "400 InvalidArgument"),
        ("abort_multipart_upload", {"UploadId": "\u00fc"}, "404 NoSuchUpload"),
        ("put_object", {"StorageClass": "FAST"}, "400 InvalidStorageClass"),
        ("put_object", {"Tagging": "a=1&a=2"}, "400 InvalidArgument"),
        ("put_object", {"Metadata": {"k": "v" * 2048}}, "400 MetadataTooLarge"),
        ("put_object", {"ServerSideEncryption": "aws:kms"}, "501 NotImplemented"),
        ("put_object", {"ACL": "public-read"}, "400 AccessControlListNotSupported"),
        ("put_object", {"ObjectLockMode": "GOVERNANCE"}, "501 NotImplemented"),
        ("put_object", {"WebsiteRedirectLocation": "ftp://x"}, "400 InvalidRedirectLocation"),
        ("copy_object", {"CopySource": "nonsense"}, "400 InvalidArgument"),
        ("get_object_attributes", {"ObjectAttributes": ["Wish"]}, "400 InvalidArgument"),
        ("get_object_torrent", {}, "501 NotImplemented"),
    ],
)
async def test_bad_requests_are_told_so(
    world: World, operation: str, params: dict[str, Any], found: str
) -> None:
    client = world.client()
    await run(client.put_object, Bucket="a-bucket", Key="k", Body=b"kept")
    error = await failure(getattr(client, operation), Bucket="a-bucket", Key="k", **params)
    assert f"{error['status']} {error['Code']}" == found
    assert (await run(client.get_object, Bucket="a-bucket", Key="k"))["Body"] == b"kept"


async def test_bad_lists_are_told_so(world: World) -> None:
    client = world.client()
    for params, message in (
        ({"ContinuationToken": "nonsense"}, "continuation token"),
        ({"MaxKeys": -1}, "maxKeys"),
    ):
        found = await failure(client.list_objects_v2, Bucket="a-bucket", **params)
        assert (found["status"], found["Code"]) == (400, "InvalidArgument")
        assert message in found["Message"]
    nothing = await run(client.list_objects_v2, Bucket="a-bucket", MaxKeys=0)
    assert (nothing["KeyCount"], nothing["IsTruncated"]) == (0, False)
    found = await failure(client.list_object_versions, Bucket="a-bucket", KeyMarker="k",
                          VersionIdMarker="nonsense")  # fmt: skip
    assert found["Code"] == "InvalidArgument"


class StandingClock(SystemClock):
    """A wall clock that stands still, some seconds behind."""

    def __init__(self, behind_s: float = 0.0) -> None:
        super().__init__()
        self._now = super().now() - behind_s

    def now(self) -> float:
        return self._now


async def test_overwrites_after_a_clock_set_back_take_numbers_of_their_own(tmp_path: Path) -> None:
    """A write above its key's last number would meet those of the keys written right after it."""
    keys = [f"k{number}" for number in range(6)]
    async with s3_world(tmp_path, clock=StandingClock()) as world:
        client = world.client()
        await run(client.create_bucket, Bucket="a-bucket")
        for key in keys:
            await run(client.put_object, Bucket="a-bucket", Key=key, Body=b"before")
    async with s3_world(tmp_path, clock=StandingClock(behind_s=300)) as world:
        client = world.client()
        for round_ in range(3):
            for key in keys:
                body = f"{key} {round_}".encode()
                await run(client.put_object, Bucket="a-bucket", Key=key, Body=body)
        for key in keys:
            found = await run(client.get_object, Bucket="a-bucket", Key=key)
            assert found["Body"] == f"{key} 2".encode()


async def test_a_number_that_is_taken_all_the_same_is_not_used(world: World) -> None:
    client = world.client()
    await run(client.put_object, Bucket="a-bucket", Key="k", Body=b"before")
    (number,) = [version.seq for version in versions_of(world)]
    await world.rows.write(lambda tx: rows.insert_body(tx, number + 1, b"a stranger's"))
    world.core.numbers._last = number
    world.core.numbers._clock = StandingClock(behind_s=300)
    for body in (b"one", b"two"):
        await run(client.put_object, Bucket="a-bucket", Key="k", Body=body)
        assert (await run(client.get_object, Bucket="a-bucket", Key="k"))["Body"] == body
    assert await world.rows.read(lambda tx: rows.body(tx, str(number + 1))) == b"a stranger's"


def versions_of(world: World) -> list[rows.ObjectVersion]:
    return world.rows.read_now(lambda tx: list(rows.versions_from(tx, "a-bucket", b"")))


async def test_objects_whose_folder_is_taken_away_refuse_the_start(tmp_path: Path) -> None:
    """A disk that is not mounted must not be written beside, and none of its objects forgotten."""
    async with s3_world(tmp_path) as world:
        client = world.client()
        await run(client.create_bucket, Bucket="a-bucket")
        await run(client.put_object, Bucket="a-bucket", Key="k", Body=b"x" * 100_000)
    (tmp_path / "blobs").rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(PlatformError, match="blobs is missing or empty"):
            async with s3_world(tmp_path):
                pass
    (tmp_path / "blobs" / "incoming").rmdir()
    (tmp_path / "blobs").rmdir()
    (tmp_path / "away").rename(tmp_path / "blobs")
    async with s3_world(tmp_path) as world:
        found = await run(world.client().get_object, Bucket="a-bucket", Key="k")
        assert found["Body"] == b"x" * 100_000


async def test_a_blob_whose_commit_failed_on_the_disk_is_kept(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a commit may stand after a restart, and would name the blob."""
    client = world.client()

    def fail(*_: object, **__: object) -> None:
        raise AwsError("ServiceUnavailable", "The platform cannot write.", 503)

    monkeypatch.setattr(rows, "insert_version", fail)
    where = {"Bucket": "a-bucket", "Key": "k"}
    assert (await failure(client.put_object, **where, Body=b"x" * 100_000))["status"] == 503
    assert len(blob_files(tmp_path)) == 1
