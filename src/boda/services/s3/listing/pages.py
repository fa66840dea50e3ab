"""Walking a bucket in order: pages of keys, versions and uploads.

A walk reads the primary key from a seek on; a common prefix is passed by seeking behind it, and
so are older versions where only current ones show. So a page costs what it shows, however much the
bucket holds. Keys whose current version is a delete marker do not show and must be passed one by
one: after so many of them a page ends early, which S3 allows itself too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from boda.services.s3 import rows
from boda.services.s3.rows import ObjectVersion, Upload
from boda.storage.rows import Tx

T = TypeVar("T")

HIDDEN = 5_000
"""Keys of deleted objects that one page passes, where it may end early."""


@dataclass(frozen=True, slots=True)
class ListingScope:
    """What of a bucket is listed. prefix, delimiter: bytes, empty when not given."""

    bucket: str
    prefix: bytes = b""
    delimiter: bytes = b""

    def common_prefix(self, key: bytes) -> bytes | None:
        """The prefix under which ``key`` is rolled up, or None."""
        if not self.delimiter:
            return None
        at = key.find(self.delimiter, len(self.prefix))
        return None if at < 0 else key[: at + len(self.delimiter)]

    def first(self, marker: bytes) -> bytes:
        """Where a walk behind ``marker`` begins: a key, inclusive."""
        if not marker or marker < self.prefix:
            return self.prefix
        if marker.startswith(self.prefix):
            rolled_up = self.common_prefix(marker)
            if rolled_up is not None:
                return _behind(rolled_up)
        return marker + b"\0"


@dataclass(slots=True)
class ListingPage(Generic[T]):
    """One page: items and common prefixes, each in order.

    last: what stands last of both. truncated: there is more behind it. ended_at: the key that was
    looked at last, shown or not, where the page ended early.
    """

    items: list[T] = field(default_factory=list)
    prefixes: list[bytes] = field(default_factory=list)
    last: T | bytes | None = None
    truncated: bool = False
    ended_at: bytes | None = None

    def __len__(self) -> int:
        return len(self.items) + len(self.prefixes)


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version in a list of versions. latest: it is its key's current one."""

    version: ObjectVersion
    latest: bool


@dataclass(frozen=True, slots=True)
class _WalkPause:
    """A walk that has passed enough hidden keys. key: the last of them."""

    key: bytes


def keys(
    tx: Tx,
    scope: ListingScope,
    marker: bytes,
    limit: int,
    *,
    exact: bool = False,
    hidden: int | None = None,
) -> ListingPage[ObjectVersion]:
    """The current objects behind ``marker``; delete markers do not show.

    exact: begin right behind the marker, also below the common prefix that it stands in. hidden:
    end early after passing so many keys that do not show.
    """
    start = marker + b"\0" if exact else scope.first(marker)
    return _page(_walk_keys(tx, scope, start, hidden), limit)


def versions(
    tx: Tx, scope: ListingScope, marker: bytes, below: int | None, limit: int
) -> ListingPage[ListedVersion]:
    """All versions behind ``marker``: from the next key on, or, when ``below`` is given, first
    those of the key itself that are older than that sequence number."""
    return _page(_walk_versions(tx, scope, marker, below), limit)


def uploads(
    tx: Tx, scope: ListingScope, marker: bytes, above: int | None, limit: int
) -> ListingPage[Upload]:
    """Multipart uploads behind ``marker``, or behind the one of it that ``above`` numbers."""
    return _page(_walk_uploads(tx, scope, marker, above), limit)


def _page(walk: Iterator[T | bytes | _WalkPause], limit: int) -> ListingPage[T]:
    page: ListingPage[T] = ListingPage()
    if limit <= 0:
        return page
    for entry in walk:
        if isinstance(entry, _WalkPause):
            page.truncated, page.ended_at = True, entry.key
            break
        if len(page) == limit:
            page.truncated = True
            break
        if isinstance(entry, bytes):
            page.prefixes.append(entry)
        else:
            page.items.append(entry)
        page.last = entry
    return page


def _walk_keys(
    tx: Tx, scope: ListingScope, start: bytes, hidden: int | None
) -> Iterator[ObjectVersion | bytes | _WalkPause]:
    passed = 0
    cursor: bytes | None = start
    while cursor is not None:
        found, cursor = rows.current_from(tx, scope.bucket, cursor), None
        for version in found:
            if not version.key.startswith(scope.prefix):
                return
            if version.marker:
                passed += 1
                if passed == hidden:
                    yield _WalkPause(version.key)
                continue
            rolled_up = scope.common_prefix(version.key)
            if rolled_up is not None:
                yield rolled_up
                cursor = _behind(rolled_up)
                break
            yield version


def _walk_versions(
    tx: Tx, scope: ListingScope, marker: bytes, below: int | None
) -> Iterator[ListedVersion | bytes]:
    cursor: bytes | None = scope.first(marker)
    if below is not None:
        if marker.startswith(scope.prefix) and scope.common_prefix(marker) is None:
            for version in rows.older_versions(tx, scope.bucket, marker, below):
                yield ListedVersion(version, False)
        cursor = max(scope.prefix, marker + b"\0")
    while cursor is not None:
        found, cursor = rows.versions_from(tx, scope.bucket, cursor), None
        key: bytes | None = None
        for version in found:
            if not version.key.startswith(scope.prefix):
                return
            rolled_up = scope.common_prefix(version.key)
            if rolled_up is not None:
                yield rolled_up
                cursor = _behind(rolled_up)
                break
            yield ListedVersion(version, version.key != key)
            key = version.key


def _walk_uploads(
    tx: Tx, scope: ListingScope, marker: bytes, above: int | None
) -> Iterator[Upload | bytes]:
    cursor: tuple[bytes, int] | None = (scope.first(marker), -1)
    if above is not None:
        cursor = (marker, above)
    while cursor is not None:
        found, cursor = rows.uploads_after(tx, scope.bucket, *cursor), None
        for upload in found:
            if not upload.key.startswith(scope.prefix):
                return
            rolled_up = scope.common_prefix(upload.key)
            if rolled_up is not None:
                yield rolled_up
                cursor = (_behind(rolled_up), -1)
                break
            yield upload


def _behind(prefix: bytes) -> bytes:
    """The first key that does not begin with ``prefix``. UTF-8 never ends in 0xFF."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
