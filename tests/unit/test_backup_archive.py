"""The form of a backup: every byte of the file is known to its reader."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from boda.backup.archive import (
    FORMAT,
    HEAD,
    ArchiveReader,
    ArchiveWriter,
    BackupHead,
    DamagedBackup,
    NewerBackup,
)
from boda.core.errors import PlatformError

BLOB = f"blobs/0a/{'0' * 30}0a"
HEADER = BackupHead(FORMAT, 1_796_000_000, "0.1.0", {"s3": 2}, 700)


def written() -> bytes:
    file = io.BytesIO()
    writer = ArchiveWriter(file, HEADER)
    writer.add("boda.db", 600, [b"r" * 512, b"s" * 88])
    writer.add(BLOB, 100, [b"b" * 100])
    writer.finish()
    return file.getvalue()


def read(content: bytes) -> dict[str, bytes]:
    reader = ArchiveReader(io.BytesIO(content), "x.tar")
    return {member.name: b"".join(member.pieces) for member in reader}


def test_what_was_written_is_read() -> None:
    assert read(written()) == {"boda.db": b"r" * 512 + b"s" * 88, BLOB: b"b" * 100}
    assert ArchiveReader(io.BytesIO(written()), "").head == HEADER


def test_members_need_not_be_read_to_be_verified() -> None:
    assert [member.name for member in ArchiveReader(io.BytesIO(written()), "")][-1] == BLOB
    changed = written().replace(b"b" * 100, b"b" * 99 + b"c")
    with pytest.raises(DamagedBackup):
        list(ArchiveReader(io.BytesIO(changed), ""))


def test_every_changed_byte_is_noticed() -> None:
    content = written()
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        with pytest.raises((DamagedBackup, NewerBackup)):
            read(bytes(changed))


def test_every_cut_is_noticed() -> None:
    content = written()
    for size in range(0, len(content), 64):
        with pytest.raises(DamagedBackup):
            read(content[:size])
    for more in (b"\0", bytes(512), b"x" * 10_240):
        with pytest.raises(DamagedBackup):
            read(content + more)


def test_the_sentence_names_what_was_changed() -> None:
    for old, new, what in ((b"rrs", b"rss", "boda.db"), (b"b" * 9, b"b" * 8 + b"c", BLOB)):
        with pytest.raises(PlatformError, match=f"x.tar was changed since .* \\({what}\\)"):
            read(written().replace(old, new, 1))
    with pytest.raises(PlatformError, match=r"x\.tar is cut off"):
        read(written()[:3000])
    for other in (b"", b"no backup", b"PK\3\4" * 400, bytes(20_000)):
        with pytest.raises(PlatformError, match=r"x\.tar is no backup of boda"):
            read(other)


@pytest.mark.parametrize(
    "name",
    ["../boda.db", "/etc/passwd", "blobs/../../x", "blobs/0a/short", "code/.keys", "lock", HEAD],
)
def test_no_member_leads_out_of_the_folder(name: str) -> None:
    file = io.BytesIO()
    writer = ArchiveWriter(file, HEADER)
    writer.add(name, 3, [b"bad"])
    writer.finish()
    with pytest.raises(DamagedBackup, match="the head of a member"):
        read(file.getvalue())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_members_are_files_and_nothing_else(kind: bytes) -> None:
    entry = tarfile.TarInfo(BLOB)
    entry.type, entry.linkname, entry.mode = kind, "/etc/passwd", 0o600
    entry.mtime = HEADER.made_at
    header = entry.tobuf(tarfile.GNU_FORMAT)
    content = written()
    head = 512 + 512  # of BackupHead, and its content
    with pytest.raises(DamagedBackup):
        read(content[:head] + header + content[head:])


def test_a_size_below_nothing_is_refused() -> None:
    content = written()
    at = content.index(BLOB.encode())
    entry = tarfile.TarInfo(BLOB)
    entry.size, entry.mode, entry.mtime = -5, 0o600, HEADER.made_at
    header = entry.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(DamagedBackup):
        read(content[:at] + header + content[at + 512 :])


def test_a_source_that_shrinks_or_grows_breaks_nothing() -> None:
    file = io.BytesIO()
    writer = ArchiveWriter(file, HEADER)
    writer.add("boda.db", 10, [b"abc"])
    writer.add(BLOB, 4, [b"abc", b"def", b"ghi"])
    writer.finish()
    assert read(file.getvalue()) == {"boda.db": b"abc" + bytes(7), BLOB: b"abcd"}


def test_a_later_form_is_refused_by_its_version() -> None:
    file = io.BytesIO()
    ArchiveWriter(file, BackupHead(FORMAT + 1, 0, "9.0.0", {}, 0)).finish()
    file.seek(0)
    with pytest.raises(NewerBackup, match=r"9\.0\.0"):
        ArchiveReader(file, "")


def test_members_of_a_head_that_are_unknown_are_ignored() -> None:
    content = json.loads(HEADER.encoded()) | {"later": [1]}
    assert BackupHead.decode(json.dumps(content).encode()) == HEADER
