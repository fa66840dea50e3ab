"""What every blob store must do."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path

import pytest

from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.storage import blobs as blobs_module
from boda.storage.blob_reader import READ_PIECE, BlobMissing
from boda.storage.blobs import WRITE_PIECE, BlobStore
from boda.storage.lost import KEPT_DAYS, LostAndFound


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BlobStore]:
    store = BlobStore(tmp_path, Ids(1))
    yield store
    store.close()


async def chunks(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def whole(store: BlobStore, blob_id: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in await store.open(blob_id, start, length)])


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [0, 1, WRITE_PIECE - 1, WRITE_PIECE, 2 * WRITE_PIECE + 3])
async def test_what_was_put_comes_back(store: BlobStore, size: int) -> None:
    data = os.urandom(size)
    pieces = [data[at : at + 70_000] for at in range(0, size, 70_000)]
    seen = hashlib.md5()
    blob = await store.put(chunks(*pieces), seen.update)
    assert blob.size == size
    assert seen.digest() == hashlib.md5(data).digest()
    assert await whole(store, blob.id) == data


async def test_ranges_cross_pieces(store: BlobStore) -> None:
    data = os.urandom(2 * READ_PIECE + 100)
    blob = await store.put(chunks(data))
    for start, length in ((0, 1), (READ_PIECE - 1, 2), (5, READ_PIECE), (len(data) - 1, 1), (7, 0)):
        assert await whole(store, blob.id, start, length) == data[start : start + length]


async def test_a_source_that_fails_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * (WRITE_PIECE + 1)
        yield b"y" * (WRITE_PIECE + 1)
        raise AwsError("BadDigest", "no")

    with pytest.raises(AwsError, match="BadDigest"):
        await store.put(failing())
    assert files(tmp_path) == []


async def test_a_cancelled_put_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * WRITE_PIECE
            begun.set()
            await asyncio.sleep(0)

    task = asyncio.create_task(store.put(endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.close()
    assert files(tmp_path) == []


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
async def test_a_full_disk_is_said_clearly(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(blobs_module.os, call, full)
        with pytest.raises(AwsError, match="No space left") as caught:
            await store.put(chunks(b"x"))
    assert caught.value.status == 503
    assert files(tmp_path) == []
    assert await whole(store, (await store.put(chunks(b"room again"))).id) == b"room again"


async def test_the_file_and_its_name_reach_the_disk(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def renamed(old: Path, new: Path) -> None:
        order.append("rename")
        rename(old, new)

    await store.put(chunks(b"makes the folder"))
    monkeypatch.setattr(blobs_module.os, "fsync", synced)
    monkeypatch.setattr(blobs_module.os, "rename", renamed)
    await store.put(chunks(b"x"))
    assert order[0] == "file"
    assert order[-2:] == ["rename", "folder"]


async def test_deleting_is_idempotent_and_readers_keep_reading(store: BlobStore) -> None:
    data = os.urandom(3 * READ_PIECE)
    blob = await store.put(chunks(data))
    reader = await store.open(blob.id)
    first = await anext(reader)
    await store.delete([blob.id])
    await store.delete([blob.id])
    assert first + b"".join([piece async for piece in reader]) == data
    with pytest.raises(BlobMissing):
        await store.open(blob.id)


async def test_a_closed_reader_lets_go_of_its_file(store: BlobStore) -> None:
    blob = await store.put(chunks(b"x" * (2 * READ_PIECE)))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        reader = await store.open(blob.id)
        await anext(reader)
        await reader.aclose()
        await reader.aclose()
    store.close()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a" * 31, "a/" * 16, "." * 32])
async def test_no_text_becomes_a_path(store: BlobStore, name: str) -> None:
    with pytest.raises(BlobMissing):
        await store.open(name)


async def test_a_short_file_is_noticed(store: BlobStore, tmp_path: Path) -> None:
    blob = await store.put(chunks(b"x" * 1000))
    (path,) = files(tmp_path)
    os.truncate(path, 10)
    with pytest.raises(BlobMissing):
        await whole(store, blob.id, 0, 1000)


async def test_a_restart_sets_aside_what_no_row_names(tmp_path: Path) -> None:
    lost = LostAndFound.beside(tmp_path / "blobs", ManualClock())
    first = BlobStore(tmp_path / "blobs")
    kept = await first.put(chunks(b"named"))
    orphan = await first.put(chunks(b"orphan"))
    first.close()
    (tmp_path / "blobs" / "incoming" / "half").write_bytes(b"x")
    (tmp_path / "blobs" / orphan.id[-2:] / "a stranger's").write_bytes(b"y")

    second = BlobStore(tmp_path / "blobs")
    fresh = await second.put(chunks(b"being written now"))
    asked: list[str] = []

    async def known(batch: list[str]) -> Collection[str]:
        asked.extend(batch)
        return {kept.id}

    assert await second.sweep(known, lost) == 1
    assert fresh.id not in asked
    assert await whole(second, kept.id) == b"named"
    assert await whole(second, fresh.id) == b"being written now"
    assert len(files(tmp_path / "blobs")) == 3
    (kept_aside,) = files(tmp_path / "lost+found")
    assert (kept_aside.name, kept_aside.read_bytes()) == (orphan.id, b"orphan")
    second.close()


async def test_lost_and_found_keeps_for_days(tmp_path: Path) -> None:
    clock = ManualClock()
    lost = LostAndFound(tmp_path / "lost+found", clock)
    for _ in range(2):  # the same name twice on one day
        (tmp_path / "a").write_bytes(b"a")
        assert lost.keep(tmp_path / "a", "blobs")
    assert not lost.keep(tmp_path / "gone", "blobs")
    (tmp_path / "lost+found" / "note").write_bytes(b"somebody's own")
    await clock.advance(KEPT_DAYS * 86_400)
    assert lost.sweep() == 0 and len(files(tmp_path / "lost+found")) == 3
    await clock.advance(86_400)
    assert lost.sweep() == 1
    assert [path.name for path in files(tmp_path / "lost+found")] == ["note"]


async def test_many_at_once(store: BlobStore) -> None:
    data = [os.urandom(50_000) for _ in range(40)]
    made = await asyncio.gather(*(store.put(chunks(each)) for each in data))
    assert len({blob.id for blob in made}) == len(data)
    assert await asyncio.gather(*(whole(store, blob.id) for blob in made)) == data
