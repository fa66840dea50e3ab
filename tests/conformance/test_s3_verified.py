"""No byte is given that is not what was put; what is damaged is named."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from botocore.exceptions import IncompleteReadError, ResponseStreamingError

from boda.services.s3 import inspection, rows
from boda.storage.blob_reader import READ_PIECE
from boda.storage.block_checksums import BLOCK
from support.s3_world import World, failure, run, s3_world

BIG = 3 * READ_PIECE + 12_345
WHERE = {"Bucket": "a-bucket", "Key": "k"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with s3_world(tmp_path) as world:
        await run(world.client().create_bucket, Bucket="a-bucket")
        yield world


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    return caplog


def the_blob(folder: Path) -> Path:
    (found,) = [path for path in (folder / "blobs").rglob("*") if path.is_file()]
    return found


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def named(said: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in said.records if "damaged: object a-bucket/k" in each.message]


async def broken_off(world: World, **more: Any) -> int:
    """Read until the connection ends before the answer does; bytes that were given."""

    def work() -> int:
        body = world.client().get_object(**WHERE, **more)["Body"]
        count = 0
        try:
            while piece := body.read(64 * 1024):
                count += len(piece)
        except (IncompleteReadError, ResponseStreamingError):
            return count
        raise AssertionError("the answer ended as if it were whole")

    return await asyncio.to_thread(work)


@pytest.mark.parametrize("algorithm", ["CRC64NVME", "CRC32", "CRC32C", "SHA1", "SHA256"])
async def test_a_small_object_whose_row_changed_is_refused(
    world: World, said: pytest.LogCaptureFixture, algorithm: str
) -> None:
    client = world.client()
    await run(client.put_object, **WHERE, Body=b"hello", ChecksumAlgorithm=algorithm)
    assert (await run(client.get_object, **WHERE))["Body"] == b"hello"
    other = "UPDATE s3_bodies SET data = X'68656c6c70'"
    await world.rows.write(lambda tx: tx.run(sa.text(other)))
    for more in ({}, {"Range": "bytes=0-1"}):
        found = await failure(client.get_object, **WHERE, **more)
        assert (found["Code"], found["status"]) == ("InternalError", 500)
    copy = {"CopySource": "a-bucket/k", "Bucket": "a-bucket", "Key": "copy"}
    assert (await failure(client.copy_object, **copy))["status"] == 500
    assert (await failure(client.head_object, Bucket="a-bucket", Key="copy"))["status"] == 404
    assert len(named(said)) == 3 and algorithm in named(said)[0]
    # Its row is there, and can be written over.
    await run(client.put_object, **WHERE, Body=b"anew")
    assert (await run(client.get_object, **WHERE))["Body"] == b"anew"


@pytest.mark.parametrize("at", [0, BLOCK, READ_PIECE - 1])
async def test_what_is_damaged_at_its_beginning_is_refused(
    world: World, tmp_path: Path, said: pytest.LogCaptureFixture, at: int
) -> None:
    client = world.client()
    await run(client.put_object, **WHERE, Body=os.urandom(BIG))
    flip(the_blob(tmp_path), at)
    found = await failure(client.get_object, **WHERE)
    assert (found["Code"], found["status"]) == ("InternalError", 500)
    assert f"block {at // BLOCK} " in named(said)[0]


@pytest.mark.parametrize("at", [READ_PIECE, 2 * READ_PIECE + 5, BIG - 1])
async def test_what_is_damaged_behind_it_is_broken_off_before_the_damage(
    world: World, tmp_path: Path, said: pytest.LogCaptureFixture, at: int
) -> None:
    client = world.client()
    await run(client.put_object, **WHERE, Body=os.urandom(BIG))
    flip(the_blob(tmp_path), at)
    assert await broken_off(world) <= at
    assert len(named(said)) == 1
    # What was not damaged can be had, and what is damaged cannot, however small the range.
    assert (await run(client.get_object, **WHERE, Range="bytes=7-70007"))["Body"]
    found = await failure(client.get_object, **WHERE, Range=f"bytes={at - 9}-{at}")
    assert found["status"] == 500


@pytest.mark.parametrize("start", [0, 1, BLOCK - 1, BLOCK, READ_PIECE - 1, READ_PIECE + 7])
@pytest.mark.parametrize("length", [1, BLOCK, READ_PIECE, BIG])
async def test_ranges_are_verified_and_whole(world: World, start: int, length: int) -> None:
    data = os.urandom(BIG)
    await run(world.client().put_object, **WHERE, Body=data)
    end = min(start + length, BIG)
    found = await run(world.client().get_object, **WHERE, Range=f"bytes={start}-{end - 1}")
    assert found["Body"] == data[start:end]


HARM = {
    "cut": lambda path: os.truncate(path, BIG - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.open("ab").write(b"x"),
    "another's": lambda path: path.write_bytes(os.urandom(BIG)),
    "gone": lambda path: path.unlink(),
    "its folder gone": lambda path: shutil.rmtree(path.parent),
}


@pytest.mark.parametrize("harm", HARM)
async def test_a_blob_that_is_another_or_gone_is_refused_and_named(
    world: World, tmp_path: Path, said: pytest.LogCaptureFixture, harm: str
) -> None:
    client = world.client()
    await run(client.put_object, **WHERE, Body=os.urandom(BIG))
    HARM[harm](the_blob(tmp_path))
    found = await failure(client.get_object, **WHERE)
    assert (found["Code"], found["status"]) == ("InternalError", 500)
    assert len(named(said)) == 1


@pytest.mark.parametrize("harm", ["flipped", "gone"])
async def test_parts_are_verified_each(
    world: World, tmp_path: Path, said: pytest.LogCaptureFixture, harm: str
) -> None:
    client = world.client()
    upload = (await run(client.create_multipart_upload, **WHERE))["UploadId"]
    listed = []
    for number in (1, 2):
        part = await run(
            client.upload_part, **WHERE, UploadId=upload, PartNumber=number,
            Body=os.urandom(6 * 1024 * 1024),
        )  # fmt: skip
        listed.append({"PartNumber": number, "ETag": part["ETag"]})
    await run(
        client.complete_multipart_upload, **WHERE, UploadId=upload,
        MultipartUpload={"Parts": listed},
    )  # fmt: skip
    assert len((await run(client.get_object, **WHERE))["Body"]) == 12 * 1024 * 1024
    version = await world.rows.read(lambda tx: rows.latest(tx, "a-bucket", b"k"))
    assert version is not None
    second = (await world.rows.read(lambda tx: rows.parts_of(tx, version.content)))[1].content
    path = tmp_path / "blobs" / second[-2:] / second
    if harm == "flipped":
        flip(path, 5)
    else:
        path.unlink()
    assert await broken_off(world) <= 6 * 1024 * 1024
    assert (await run(client.get_object, **WHERE, PartNumber=1))["ContentLength"] == 6 * 1024 * 1024
    assert (await failure(client.get_object, **WHERE, PartNumber=2))["status"] == 500
    assert all("part" in line or "missing" in line for line in named(said))


async def test_a_copy_does_not_spread_damage(world: World, tmp_path: Path) -> None:
    client = world.client()
    await run(client.put_object, **WHERE, Body=os.urandom(BIG))
    flip(the_blob(tmp_path), BIG - 1)
    copy = {"CopySource": "a-bucket/k", "Bucket": "a-bucket", "Key": "copy"}
    found = await failure(client.copy_object, **copy)
    assert (found["Code"], found["status"]) == ("InternalError", 500)
    assert (await failure(client.head_object, Bucket="a-bucket", Key="copy"))["status"] == 404


async def test_checksums_go_with_their_blobs(world: World) -> None:
    client = world.client()
    await run(client.put_object, **WHERE, Body=os.urandom(100_000))
    await run(client.put_object, **WHERE, Body=os.urandom(100_000))
    await run(client.delete_object, **WHERE)

    def left() -> int:
        query = "SELECT count(*) FROM s3_blob_crcs"
        return int(world.rows.read_now(lambda tx: tx.run(sa.text(query)).scalar()))

    for _ in range(300):
        if not left():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("checksums of deleted blobs stay")


def looked_at(world: World, folder: Path, keep: Any = None) -> list[str]:
    steps = inspection.steps(world.rows.read_now, folder / "blobs", keep)
    return [step.fault for step in steps if step.fault]


@pytest.mark.parametrize("harm", [None, "flipped"])
@pytest.mark.parametrize("algorithm", ["CRC64NVME", "SHA256"])
async def test_blobs_of_before_are_verified_by_their_objects_checksum_and_then_by_blocks(
    world: World, tmp_path: Path, algorithm: str, harm: str | None
) -> None:
    client = world.client()
    await run(client.put_object, **WHERE, Body=os.urandom(BIG), ChecksumAlgorithm=algorithm)
    content = the_blob(tmp_path).name
    forget = "DELETE FROM s3_blob_crcs"
    crcs = await world.rows.read(lambda tx: tx.run(sa.select(rows.blob_crcs.c.crcs)).scalar())
    await world.rows.write(lambda tx: tx.run(sa.text(forget)))
    if harm is not None:
        flip(the_blob(tmp_path), BIG // 2)

    def keep(content: str, crcs: bytes) -> None:
        world.rows.write_now(lambda tx: inspection.keep_crcs(tx, content, crcs))

    faults = await asyncio.to_thread(looked_at, world, tmp_path, keep)
    kept = await world.rows.read(lambda tx: tx.run(sa.select(rows.blob_crcs)).all())
    if harm is None:
        assert (faults, [tuple(row) for row in kept]) == ([], [(content, crcs)])
        # Once for all, and not of what is gone meanwhile.
        await asyncio.to_thread(keep, content, b"others")
        await asyncio.to_thread(keep, "f" * 32, b"of nobody")
        again = await world.rows.read(lambda tx: tx.run(sa.select(rows.blob_crcs)).all())
        assert again == kept
    else:
        assert faults == [f"object a-bucket/k: its {algorithm} is wrong"]
        assert kept == []


async def test_what_is_looked_at_is_named_and_all_of_it(world: World, tmp_path: Path) -> None:
    client = world.client()
    for number in range(120):  # more than a page
        await run(client.put_object, Bucket="a-bucket", Key=f"small-{number:03}", Body=b"x")
    await run(client.put_object, **WHERE, Body=os.urandom(100_000))
    upload = await run(client.create_multipart_upload, Bucket="a-bucket", Key="u")
    await run(
        client.upload_part, Bucket="a-bucket", Key="u", UploadId=upload["UploadId"], PartNumber=3,
        Body=os.urandom(200_000),
    )  # fmt: skip
    assert await asyncio.to_thread(looked_at, world, tmp_path) == []
    for path in (tmp_path / "blobs").glob("??/*"):
        os.truncate(path, path.stat().st_size - 1)
    last = sa.select(sa.func.max(rows.bodies.c.id)).scalar_subquery()
    await world.rows.write(
        lambda tx: tx.run(sa.delete(rows.bodies).where(rows.bodies.c.id == last))
    )
    assert sorted(await asyncio.to_thread(looked_at, world, tmp_path)) == [
        "object a-bucket/k: the checksum of its block 1 is wrong",
        "object a-bucket/small-119: its bytes are missing",
        "upload of a-bucket/u, part 3: the checksum of its block 3 is wrong",
    ]


async def test_what_is_replaced_while_it_is_looked_at_is_no_fault(
    world: World, tmp_path: Path
) -> None:
    client = world.client()
    await run(client.put_object, **WHERE, Body=os.urandom(BIG))
    steps = inspection.steps(world.rows.read_now, tmp_path / "blobs")
    first = await asyncio.to_thread(next, steps)
    flip(the_blob(tmp_path), BIG - 1)
    await run(client.delete_object, **WHERE)
    rest = await asyncio.to_thread(list, steps)
    assert [step.fault for step in (first, *rest) if step.fault] == []
