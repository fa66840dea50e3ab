"""Looking at every object's bytes for damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from boda.services.s3 import rows
from boda.services.s3.objects import checksums
from boda.services.s3.objects.checksums import Hash, encode, hasher
from boda.services.s3.objects.contents import matches
from boda.services.s3.rows import ObjectVersion, Part
from boda.storage.blobs import blob_path
from boda.storage.block_checksums import BlockChecksums
from boda.storage.inspection import InspectionStep, Read, blob_steps, damaged_rows
from boda.storage.rows import Tx

_PAGE = 100
_DOCUMENTS = {
    rows.buckets: ("settings",),
    rows.versions: ("details",),
    rows.uploads: ("initiator", "details"),
    rows.parts: (),
    rows.outbox: (),
    rows.counters: (),
}

Keep = Callable[[str, bytes], None]
"""Stores what a blob from before is verified by, its blocks' checksums."""


class NamedBlob(NamedTuple):
    """A blob that a row names. owner: of the blob, for people. crcs: of its blocks, or b""."""

    owner: str
    id: str
    size: int
    crcs: bytes


def named_blobs(tx: Tx) -> Iterator[NamedBlob]:
    """Yield every blob that an object or a part of an upload names, once."""
    crcs = sa.func.coalesce(rows.blob_crcs.c.crcs, b"")
    columns = rows.versions.c
    in_versions = (
        sa.select(columns.bucket, columns.key, columns.content, columns.size, crcs)
        .join(rows.blob_crcs, rows.blob_crcs.c.content == columns.content, isouter=True)
        .where(columns.place == rows.IN_BLOB)
    )
    for bucket, key, *rest in tx.run(in_versions):
        yield NamedBlob(f"object {bucket}/{key.decode(errors='replace')}", *rest)
    columns = rows.parts.c
    in_parts = sa.select(columns.upload, columns.number, columns.content, columns.size, crcs).join(
        rows.blob_crcs, rows.blob_crcs.c.content == columns.content, isouter=True
    )
    for upload, number, *rest in tx.run(in_parts):
        yield NamedBlob(f"part {number} of upload {upload}", *rest)


def row_faults(tx: Tx) -> Iterator[str]:
    """One line for each row that cannot be read."""
    for table, documents in _DOCUMENTS.items():
        yield from damaged_rows(tx, table, documents)


def steps(read: Read[object], blobs: Path, keep: Keep | None = None) -> Iterator[InspectionStep]:
    """Verify every object and every part of an upload under way. Blocking.

    keep: given, blobs without checksums of their blocks get them, once they are verified whole.
    A fault of what was replaced meanwhile is none.
    """
    look = _Inspection(read, blobs, keep)
    after: tuple[str, bytes, int] = ("", b"", 0)
    while True:
        page = read(partial(_page, after=after))
        assert isinstance(page, list)
        for version in page:
            yield from look.version(version)
        if len(page) < _PAGE:
            break
        after = (page[-1].bucket, page[-1].key, -page[-1].seq)
    uploads = read(_uploads)
    assert isinstance(uploads, list)
    for name, upload_id, algorithm in uploads:
        yield from look.parts(name, upload_id, algorithm)


class _Inspection:
    def __init__(self, read: Read[object], blobs: Path, keep: Keep | None) -> None:
        self._read = read
        self._blobs = blobs
        self._keep = keep

    def version(self, version: ObjectVersion) -> Iterator[InspectionStep]:
        name = f"object {version.bucket}/{version.name}"
        there = partial(_there, version=version)
        if version.place == rows.IN_ROW:
            data = self._read(lambda tx: rows.body(tx, version.content))
            read = len(data) if isinstance(data, bytes) else 0
            if not isinstance(data, bytes):
                yield self._step(InspectionStep(0, "its bytes are missing"), name, there)
            elif matches(version, data):
                yield InspectionStep(read)
            else:
                yield self._step(
                    InspectionStep(read, f"its {version.algorithm} is wrong"), name, there
                )
        elif version.place == rows.IN_BLOB:
            yield from self._blob(
                name, there, version.content, version.size, version.crcs,
                version.algorithm, version.checksum,
            )  # fmt: skip
        elif version.place == rows.IN_PARTS:
            yield from self.parts(name, version.content, version.algorithm, version)

    def parts(
        self, name: str, upload_id: str, algorithm: str, version: ObjectVersion | None = None
    ) -> Iterator[InspectionStep]:
        parts = self._read(lambda tx: rows.parts_to_read(tx, upload_id))
        assert isinstance(parts, list)
        if version is not None and sum(part.size for part in parts) != version.size:
            fault = InspectionStep(0, "some of its parts are missing")
            yield self._step(fault, name, partial(_there, version=version))
        for part in parts:
            yield from self._blob(
                f"{name}, part {part.number}",
                partial(_part_there, upload_id=upload_id, part=part),
                part.content, part.size, part.crcs, algorithm, part.checksum,
            )  # fmt: skip

    def _blob(
        self,
        name: str,
        there: Callable[[Tx], bool],
        content: str,
        size: int,
        crcs: bytes,
        algorithm: str,
        checksum: str,
    ) -> Iterator[InspectionStep]:
        blocks, whole = BlockChecksums(), hasher(algorithm)
        see = None if crcs else partial(_see, blocks, whole)
        try:
            path = blob_path(self._blobs, content)
        except ValueError:
            yield self._step(InspectionStep(0, "its row names no blob"), name, there)
            return
        for step in blob_steps(path, size, crcs, see):
            yield self._step(step, name, there)
            if step.fault:
                return
        if crcs or not size:
            return
        if encode(whole.digest()) != checksum:
            yield self._step(InspectionStep(0, f"its {algorithm} is wrong"), name, there)
        elif self._keep is not None:
            self._keep(content, blocks.crcs())

    def _step(self, step: InspectionStep, name: str, there: Callable[[Tx], bool]) -> InspectionStep:
        if not step.fault:
            return step
        return InspectionStep(step.read, f"{name}: {step.fault}" if self._read(there) else "")


def _see(blocks: BlockChecksums, whole: Hash, data: bytes) -> None:
    blocks.update(data)
    whole.update(data)


def _page(tx: Tx, after: tuple[str, bytes, int]) -> list[ObjectVersion]:
    """The next versions in the order of the primary key, with what verifies their blobs."""
    found = [*rows.versions_behind(tx, *after, limit=_PAGE)]
    for version in found:
        rows.with_crcs(tx, version)
    return found


def _uploads(tx: Tx) -> list[tuple[str, str, str]]:
    query = sa.select(*rows.uploads.c["bucket", "key", "id", "algorithm"])
    return [
        (
            f"upload of {row.bucket}/{row.key.decode(errors='replace')}",
            row.id,
            row.algorithm or checksums.DEFAULT,
        )
        for row in tx.run(query)
    ]


def _there(tx: Tx, version: ObjectVersion) -> bool:
    """Whether the version is still the one that was looked at."""
    found = rows.numbered(tx, version.bucket, version.key, version.seq)
    return found is not None and found.content == version.content


def _part_there(tx: Tx, upload_id: str, part: Part) -> bool:
    return any(
        each.content == part.content for each in rows.parts_of(tx, upload_id, part.number - 1, 1)
    )


def orphans(tx: Tx, names: list[str]) -> set[str]:
    """Those of these blobs that no row names."""
    return set(names) - rows.known_blobs(tx, names)


def keep_crcs(tx: Tx, content: str, crcs: bytes) -> None:
    """Store what a blob is verified by, if a row still names it and it has none."""
    if rows.known_blobs(tx, [content]):
        rows.keep_crcs_once(tx, content, crcs)
