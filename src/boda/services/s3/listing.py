"""Walking a bucket in order: pages of keys, versions and uploads.

A walk reads the primary key from a seek on; a common prefix is passed by seeking behind it, so a
page costs what it shows, however much the bucket holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy.engine import Connection

from boda.services.s3 import rows
from boda.services.s3.rows import Upload, Version

T = TypeVar("T")

_CHUNK = 1000
_CHUNK_WITH_DELIMITER = 100


@dataclass(frozen=True, slots=True)
class Scope:
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

    @property
    def chunk(self) -> int:
        return _CHUNK_WITH_DELIMITER if self.delimiter else _CHUNK


@dataclass(slots=True)
class Page(Generic[T]):
    """One page: items and common prefixes, each in order.

    last: what stands last of both. truncated: there is more behind it.
    """

    items: list[T] = field(default_factory=list)
    prefixes: list[bytes] = field(default_factory=list)
    last: T | bytes | None = None
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.items) + len(self.prefixes)


@dataclass(frozen=True, slots=True)
class Shown:
    """A version in a list of versions. latest: it is its key's current one."""

    version: Version
    latest: bool


def keys(connection: Connection, scope: Scope, marker: bytes, limit: int) -> Page[Version]:
    """The current objects behind ``marker``; delete markers do not show."""
    return _page(_walk_keys(connection, scope, marker), limit)


def versions(
    connection: Connection, scope: Scope, marker: bytes, below: int | None, limit: int
) -> Page[Shown]:
    """All versions behind ``marker``: from the next key on, or, when ``below`` is given, first
    those of the key itself that are older than that sequence number."""
    return _page(_walk_versions(connection, scope, marker, below), limit)


def uploads(
    connection: Connection, scope: Scope, marker: bytes, above: int | None, limit: int
) -> Page[Upload]:
    """Multipart uploads behind ``marker``, or behind the one of it that ``above`` numbers."""
    return _page(_walk_uploads(connection, scope, marker, above), limit)


def _page(walk: Iterator[T | bytes], limit: int) -> Page[T]:
    page: Page[T] = Page()
    if limit <= 0:
        return page
    for entry in walk:
        if len(page) == limit:
            page.truncated = True
            break
        if isinstance(entry, bytes):
            page.prefixes.append(entry)
        else:
            page.items.append(entry)
        page.last = entry
    return page


def _walk_keys(connection: Connection, scope: Scope, marker: bytes) -> Iterator[Version | bytes]:
    cursor = scope.first(marker)
    while True:
        seen = 0
        key: bytes | None = None
        for version in rows.versions_from(connection, scope.bucket, cursor, scope.chunk):
            if not version.key.startswith(scope.prefix):
                return
            seen += 1
            if version.key == key:
                continue
            key = version.key
            if version.marker:
                continue
            rolled_up = scope.common_prefix(key)
            if rolled_up is not None:
                yield rolled_up
                cursor = _behind(rolled_up)
                break
            yield version
        else:
            if seen < scope.chunk or key is None:
                return
            # Older versions of the last key that the chunk cut off are passed with it.
            cursor = key + b"\0"


def _walk_versions(
    connection: Connection, scope: Scope, marker: bytes, below: int | None
) -> Iterator[Shown | bytes]:
    cursor = scope.first(marker)
    if below is not None:
        yield from _rest_of_key(connection, scope, marker, below)
        cursor = max(scope.prefix, marker + b"\0")
    while True:
        seen = 0
        last: Version | None = None
        for version in rows.versions_from(connection, scope.bucket, cursor, scope.chunk):
            if not version.key.startswith(scope.prefix):
                return
            seen += 1  # noqa: SIM113 - read after the loop
            rolled_up = scope.common_prefix(version.key)
            if rolled_up is not None:
                yield rolled_up
                cursor = _behind(rolled_up)
                break
            yield Shown(version, last is None or last.key != version.key)
            last = version
        else:
            if seen < scope.chunk or last is None:
                return
            yield from _rest_of_key(connection, scope, last.key, last.seq)
            cursor = last.key + b"\0"


def _rest_of_key(connection: Connection, scope: Scope, key: bytes, below: int) -> Iterator[Shown]:
    if not key.startswith(scope.prefix) or scope.common_prefix(key) is not None:
        return
    while True:
        chunk = list(rows.older_versions(connection, scope.bucket, key, below, scope.chunk))
        for version in chunk:
            yield Shown(version, False)
        if len(chunk) < scope.chunk:
            return
        below = chunk[-1].seq


def _walk_uploads(
    connection: Connection, scope: Scope, marker: bytes, above: int | None
) -> Iterator[Upload | bytes]:
    cursor, seq = scope.first(marker), -1
    if above is not None:
        cursor, seq = marker, above
    while True:
        chunk = rows.uploads_after(connection, scope.bucket, cursor, seq, scope.chunk)
        for upload in chunk:
            if not upload.key.startswith(scope.prefix):
                return
            cursor, seq = upload.key, upload.seq
            rolled_up = scope.common_prefix(upload.key)
            if rolled_up is not None:
                yield rolled_up
                cursor, seq = _behind(rolled_up), -1
                break
            yield upload
        else:
            if len(chunk) < scope.chunk:
                return


def _behind(prefix: bytes) -> bytes:
    """The first key that does not begin with ``prefix``. UTF-8 never ends in 0xFF."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
