"""What a write does to a key's versions, by the bucket's versioning. On the writer thread.

never versioned   one version, "null"; a write takes its place, a delete removes it
Enabled           every write adds a version; a delete adds a marker
Suspended         a write or a marker takes the place of the "null" version only
"""

from __future__ import annotations

from dataclasses import dataclass

from boda.services.s3 import errors, names, rows
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.names import NULL_VERSION
from boda.services.s3.notifications.events import Happening
from boda.services.s3.objects.checksums import ObjectChecksum
from boda.services.s3.objects.preconditions import WriteConditions, matches
from boda.services.s3.rows import ObjectVersion
from boda.services.s3.sequence import Sequence
from boda.storage.rows import Tx

EMPTY_ETAG = "d41d8cd98f00b204e9800998ecf8427e"


@dataclass(slots=True)
class WriteResult:
    """A write's outcome.

    blobs_freed: the trash has something to do. repeated: it was done before, nothing changed.
    """

    version: ObjectVersion
    blobs_freed: bool = False
    repeated: bool = False


@dataclass(slots=True)
class DeletionResult:
    """A deletion's outcome.

    version_id: of the marker made, or of the version removed; "" in a bucket never versioned.
    marker: a delete marker was made or removed. made: it was made now.
    """

    version_id: str = ""
    marker: bool = False
    made: bool = False
    blobs_freed: bool = False


class Versions:
    """Writes and deletes of keys. fresh_id: what a new version is called if it needs a name."""

    def __init__(self, numbers: Sequence) -> None:
        self._numbers = numbers

    def put(
        self,
        tx: Tx,
        bucket: Bucket,
        new: ObjectVersion,
        data: bytes | None,
        fresh_id: str,
        conditions: WriteConditions,
        *,
        disturbed: bool = False,
    ) -> WriteResult:
        """Make ``new`` the current version; ``data`` are its bytes when they stand in a row."""
        bucket.check()
        current = rows.latest(tx, bucket.name, new.key)
        conditions.check(new.name, current, disturbed=disturbed)
        new.seq = self._numbers.next(current.seq if current else 0)
        new.version_id = fresh_id if bucket.versioning == "Enabled" else NULL_VERSION
        freed = self._make_room(tx, bucket, new, current)
        if data is not None:
            if data:
                self._insert_body(tx, new, data)
                new.place, new.content = rows.IN_ROW, str(new.seq)
            else:
                new.place, new.content = rows.NOWHERE, ""
        rows.insert_version(tx, new)
        if bucket.open_uploads:
            rows.disturb_uploads(tx, bucket.name, new.key)
        return WriteResult(new, freed)

    def _insert_body(self, tx: Tx, new: ObjectVersion, data: bytes) -> None:
        """Under the version's number; under a fresh one where that is taken."""
        while not rows.insert_body(tx, new.seq, data):
            self._numbers.raise_to(rows.last_number(tx))
            new.seq = self._numbers.next(new.seq)

    def delete(
        self,
        tx: Tx,
        bucket: Bucket,
        key: bytes,
        version_id: str | None,
        fresh_id: str,
        now: float,
        if_match: str | None = None,
    ) -> tuple[DeletionResult, list[Happening]]:
        bucket.check()
        current = rows.latest(tx, bucket.name, key)
        if if_match is not None:
            target = current if version_id is None else rows.named(tx, bucket.name, key, version_id)
            if target is None or target.marker:
                raise errors.no_such_key(key.decode())
            if not matches(if_match, target.etag):
                raise errors.precondition_failed("If-Match")
        if bucket.open_uploads:
            rows.disturb_uploads(tx, bucket.name, key)
        if version_id is not None or not bucket.versioned:
            return self._remove(tx, bucket, key, version_id, current, now)
        marker = ObjectVersion(
            bucket.name,
            key,
            self._numbers.next(current.seq if current else 0),
            fresh_id if bucket.versioning == "Enabled" else NULL_VERSION,
            True,
            int(now),
        )
        freed = self._make_room(tx, bucket, marker, current)
        rows.insert_version(tx, marker)
        happening = Happening(
            "ObjectRemoved:DeleteMarkerCreated",
            key.decode(),
            now,
            marker.seq,
            etag=EMPTY_ETAG,
            version_id=marker.version_id,
        )
        return DeletionResult(marker.version_id, True, True, freed), [happening]

    def _remove(
        self,
        tx: Tx,
        bucket: Bucket,
        key: bytes,
        version_id: str | None,
        current: ObjectVersion | None,
        now: float,
    ) -> tuple[DeletionResult, list[Happening]]:
        if version_id is None or (current is not None and current.version_id == version_id):
            found = current
        else:
            found = rows.named(tx, bucket.name, key, version_id)
        shown = version_id or ""
        if found is None:
            return DeletionResult(shown), []
        rows.drop_version(tx, found)
        happening = Happening(
            "ObjectRemoved:Delete",
            key.decode(),
            now,
            self._numbers.next(current.seq if current else 0),
            version_id=found.version_id if bucket.versioned else "",
        )
        freed = found.place in (rows.IN_BLOB, rows.IN_PARTS)
        return DeletionResult(shown, found.marker, False, freed), [happening]

    def _make_room(
        self,
        tx: Tx,
        bucket: Bucket,
        new: ObjectVersion,
        current: ObjectVersion | None,
    ) -> bool:
        """Drop the version whose place ``new`` takes; whether blobs were freed."""
        if new.version_id != NULL_VERSION:
            return False
        if current is not None and current.version_id == NULL_VERSION:
            old: ObjectVersion | None = current
        elif current is not None and bucket.versioned:
            old = rows.named(tx, bucket.name, new.key, NULL_VERSION)
        else:
            return False
        if old is None:
            return False
        rows.drop_version(tx, old)
        return old.place in (rows.IN_BLOB, rows.IN_PARTS)


def created(event: str, version: ObjectVersion, bucket: Bucket, now: float) -> Happening:
    """The event of a new version. event: ``Put``, ``Copy``, ``CompleteMultipartUpload``.

    Versions named "null" show no version id in events, as recorded for suspended buckets.
    """
    named = bucket.versioned and version.version_id != NULL_VERSION
    return Happening(
        f"ObjectCreated:{event}",
        version.name,
        now,
        version.seq,
        etag=version.etag,
        size=version.size,
        version_id=version.version_id if named else "",
    )


def new_version(
    bucket: Bucket,
    key: bytes,
    *,
    modified: float,
    size: int,
    etag: str,
    blob: str,
    checksum: ObjectChecksum,
    storage_class: str,
    details: dict[str, object],
    crcs: bytes = b"",
) -> ObjectVersion:
    """A version before it has its place in the order."""
    return ObjectVersion(
        bucket.name,
        key,
        0,
        names.NULL_VERSION,
        False,
        int(modified),
        size,
        etag,
        rows.IN_BLOB if blob else rows.NOWHERE,
        blob,
        checksum.algorithm,
        checksum.type,
        checksum.value,
        storage_class,
        details,
        crcs,
    )
