"""S3's tables, and one function for each thing that is asked of them.

Versions of one key stand newest first: ``rank`` is the negated sequence number of the write, so
the primary key alone gives every order that S3 lists in (keys by their UTF-8 bytes, versions from
the newest), and the current version of a key is its first row. No operation reads a bucket whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from boda.storage.prepared import PreparedStatement
from boda.storage.rows import Tx
from boda.storage.schema import Schema

metadata = Schema("s3")

buckets = sa.Table(
    "s3_buckets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
)

versions = sa.Table(
    "s3_versions",
    metadata,
    sa.Column("bucket", sa.Text, primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("rank", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version_id", sa.Text, nullable=False),
    sa.Column("marker", sa.Boolean, nullable=False),
    sa.Column("modified", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("algorithm", sa.Text, nullable=False),
    sa.Column("checksum_type", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
    sa.Column("storage_class", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

bodies = sa.Table(
    "s3_bodies",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

uploads = sa.Table(
    "s3_uploads",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("bucket", sa.Text, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("initiated", sa.BigInteger, nullable=False),
    sa.Column("initiator", sa.Text, nullable=False),
    sa.Column("algorithm", sa.Text, nullable=False),
    sa.Column("checksum_type", sa.Text, nullable=False),
    sa.Column("storage_class", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("disturbed", sa.Boolean, nullable=False),
    sa.Index("s3_uploads_by_key", "bucket", "key", "seq"),
)

parts = sa.Table(
    "s3_parts",
    metadata,
    sa.Column("upload", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("modified", sa.BigInteger, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Index("s3_parts_by_content", "content"),
    sqlite_with_rowid=False,
)

# Beside versions and parts: what each blob's blocks are held against when they are read.
blob_crcs = sa.Table(
    "s3_blob_crcs",
    metadata,
    sa.Column("content", sa.Text, primary_key=True),
    sa.Column("crcs", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

trash = sa.Table("s3_trash", metadata, sa.Column("content", sa.Text, primary_key=True))

outbox = sa.Table(
    "s3_outbox",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("event", sa.LargeBinary, nullable=False),
    sa.Column("bucket", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("trace_id", sa.Text, nullable=False),
)

counters = sa.Table(
    "s3_counters",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

sa.Index("s3_versions_by_content", versions.c.content, sqlite_where=versions.c.place == "blob")

IN_ROW, IN_BLOB, IN_PARTS, NOWHERE = "row", "blob", "parts", ""


@dataclass(slots=True)
class ObjectVersion:
    """One version of one object, or a delete marker.

    seq: its write's sequence number. modified: whole seconds, as S3 keeps them.
    place, content: where the bytes are: a body row, a blob, or an upload's parts.
    details: ``headers``, ``metadata``, ``tags``, ``parts`` (their number), ``owner``.
    crcs: of its blob's blocks, when it is written or looked up for reading.
    """

    bucket: str
    key: bytes
    seq: int
    version_id: str
    marker: bool
    modified: int
    size: int = 0
    etag: str = ""
    place: str = NOWHERE
    content: str = ""
    algorithm: str = ""
    checksum_type: str = ""
    checksum: str = ""
    storage_class: str = "STANDARD"
    details: dict[str, Any] = field(default_factory=dict)
    crcs: bytes = b""

    @property
    def name(self) -> str:
        return self.key.decode()

    @property
    def tags(self) -> dict[str, str]:
        found: dict[str, str] = self.details.get("tags", {})
        return found


@dataclass(slots=True)
class Upload:
    """A multipart upload under way. disturbed: its key was written or deleted meanwhile."""

    id: str
    bucket: str
    key: bytes
    seq: int
    initiated: int
    initiator: dict[str, str]
    algorithm: str
    checksum_type: str
    storage_class: str
    details: dict[str, Any]
    disturbed: bool = False

    @property
    def name(self) -> str:
        return self.key.decode()


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload. etag: hexadecimal. checksum: of the upload's algorithm, base64.

    crcs: of its blob's blocks, when it is written or looked up for reading.
    """

    number: int
    size: int
    etag: str
    modified: int
    checksum: str
    content: str
    crcs: bytes = b""


_BY_KEY = (versions.c.bucket == sa.bindparam("b"), versions.c.key == sa.bindparam("k"))
_LATEST = PreparedStatement(sa.select(versions).where(*_BY_KEY).order_by(versions.c.rank).limit(1))
_NAMED = PreparedStatement(
    sa.select(versions).where(*_BY_KEY, versions.c.version_id == sa.bindparam("v"))
)
_DROP = PreparedStatement(sa.delete(versions).where(*_BY_KEY, versions.c.rank == sa.bindparam("r")))
# The columns of a version that a listing shows.
_LISTED = (
    *(versions.c.key, versions.c.rank, versions.c.version_id, versions.c.marker),
    *(versions.c.modified, versions.c.size, versions.c.etag, versions.c.algorithm),
    *(versions.c.checksum_type, versions.c.storage_class),
)
_AT_OR_AFTER = PreparedStatement(
    sa.select(*_LISTED)
    .where(versions.c.bucket == sa.bindparam("b"), versions.c.key >= sa.bindparam("k"))
    .order_by(versions.c.key, versions.c.rank)
)
_REST_OF_KEY = PreparedStatement(
    sa.select(*_LISTED)
    .where(*_BY_KEY, versions.c.rank > sa.bindparam("r"))
    .order_by(versions.c.rank)
)
# From key to key, whatever number of versions stands between them.
_CURRENT = PreparedStatement(
    sa.text(
        f"""
        WITH RECURSIVE walk (key) AS (
            SELECT (SELECT key FROM s3_versions WHERE bucket = :b AND key >= :k
                ORDER BY key LIMIT 1)
            UNION ALL
            SELECT (SELECT key FROM s3_versions WHERE bucket = :b AND key > walk.key
                ORDER BY key LIMIT 1)
            FROM walk WHERE walk.key IS NOT NULL
        )
        SELECT {", ".join(f"v.{column.name}" for column in _LISTED)}
        FROM walk CROSS JOIN s3_versions v
        WHERE v.bucket = :b AND v.key = walk.key AND v.rank =
            (SELECT min(rank) FROM s3_versions WHERE bucket = :b AND key = walk.key)
        """  # noqa: S608 (the columns are ours)
    ).columns(*_LISTED)
)
_UPLOADS_AFTER = PreparedStatement(
    sa.select(uploads)
    .where(
        uploads.c.bucket == sa.bindparam("b"),
        sa.tuple_(uploads.c.key, uploads.c.seq)
        > sa.tuple_(
            sa.bindparam("k", type_=sa.LargeBinary), sa.bindparam("s", type_=sa.BigInteger)
        ),
    )
    .order_by(uploads.c.key, uploads.c.seq)
)
_BODY = PreparedStatement(sa.select(bodies.c.data).where(bodies.c.id == sa.bindparam("i")))
_DROP_BODY = PreparedStatement(sa.delete(bodies).where(bodies.c.id == sa.bindparam("i")))
_INSERT_VERSION = PreparedStatement(sa.insert(versions))
_INSERT_MESSAGE = PreparedStatement(sa.insert(outbox))
_INSERT_CRCS = PreparedStatement(sa.insert(blob_crcs))
_CRCS = PreparedStatement(
    sa.select(blob_crcs.c.crcs).where(blob_crcs.c.content == sa.bindparam("c"))
)
_DISTURB = PreparedStatement(
    sa.update(uploads)
    .where(uploads.c.bucket == sa.bindparam("b"), uploads.c.key == sa.bindparam("k"))
    .values(disturbed=True)
)


def _version(row: Any) -> ObjectVersion:
    return ObjectVersion(
        row[0],
        row[1],
        -row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        row[10],
        row[11],
        row[12],
        row[13],
        json.loads(row[14]) if row[14] != "{}" else {},
    )


# Versions


def latest(tx: Tx, bucket: str, key: bytes) -> ObjectVersion | None:
    """The newest version of a key; it may be a delete marker."""
    row = tx.run(_LATEST, {"b": bucket, "k": key}).first()
    return None if row is None else _version(row)


def named(tx: Tx, bucket: str, key: bytes, version_id: str) -> ObjectVersion | None:
    row = tx.run(_NAMED, {"b": bucket, "k": key, "v": version_id}).first()
    return None if row is None else _version(row)


def with_crcs(tx: Tx, version: ObjectVersion | None) -> ObjectVersion | None:
    """The version with what its blob is verified by."""
    if version is not None and version.place == IN_BLOB:
        row = tx.run(_CRCS, {"c": version.content}).first()
        version.crcs = b"" if row is None else row[0]
    return version


def keep_crcs(tx: Tx, content: str, crcs: bytes) -> None:
    """Store what a blob is verified by. Once for each blob."""
    tx.run(_INSERT_CRCS, {"content": content, "crcs": crcs})


def version_of_upload(tx: Tx, bucket: str, key: bytes, upload_id: str) -> ObjectVersion | None:
    """The version that an upload became, if it is still there."""
    found = tx.run(
        sa.select(versions.c.version_id).where(
            versions.c.bucket == bucket,
            versions.c.key == key,
            versions.c.place == IN_PARTS,
            versions.c.content == upload_id,
        )
    ).scalar()
    return None if found is None else named(tx, bucket, key, found)


def keep_crcs_once(tx: Tx, content: str, crcs: bytes) -> None:
    """The same for a blob that may have them."""
    tx.add(blob_crcs, {"content": content, "crcs": crcs})


def insert_version(tx: Tx, version: ObjectVersion) -> None:
    if version.place == IN_BLOB:
        keep_crcs(tx, version.content, version.crcs)
    tx.run(
        _INSERT_VERSION,
        {
            "bucket": version.bucket,
            "key": version.key,
            "rank": -version.seq,
            "version_id": version.version_id,
            "marker": version.marker,
            "modified": version.modified,
            "size": version.size,
            "etag": version.etag,
            "place": version.place,
            "content": version.content,
            "algorithm": version.algorithm,
            "checksum_type": version.checksum_type,
            "checksum": version.checksum,
            "storage_class": version.storage_class,
            "details": json.dumps(version.details) if version.details else "{}",
        },
    )


def drop_version(tx: Tx, version: ObjectVersion) -> None:
    """Remove a version; what held its bytes goes to the trash in the same transaction."""
    tx.run(_DROP, {"b": version.bucket, "k": version.key, "r": -version.seq})
    if version.place == IN_ROW:
        tx.run(_DROP_BODY, {"i": int(version.content)})
    elif version.place == IN_BLOB:
        tx.run(sa.insert(trash), {"content": version.content})
    elif version.place == IN_PARTS:
        drop_parts(tx, version.content)


def set_details(tx: Tx, version: ObjectVersion) -> None:
    tx.run(
        sa.update(versions)
        .where(*_BY_KEY, versions.c.rank == sa.bindparam("r"))
        .values(details=sa.bindparam("d")),
        {
            "b": version.bucket,
            "k": version.key,
            "r": -version.seq,
            "d": json.dumps(version.details),
        },
    )


def _listed(
    tx: Tx, bucket: str, statement: PreparedStatement, **values: object
) -> Iterator[ObjectVersion]:
    for row in tx.stream(statement, {"b": bucket, **values}):
        yield ObjectVersion(
            bucket,
            row[0],
            -row[1],
            row[2],
            row[3],
            row[4],
            row[5],
            row[6],
            algorithm=row[7],
            checksum_type=row[8],
            storage_class=row[9],
        )


def current_from(tx: Tx, bucket: str, key: bytes) -> Iterator[ObjectVersion]:
    """The newest version of each key from this one on, in order, as far as a list shows it."""
    return _listed(tx, bucket, _CURRENT, k=key)


def versions_from(tx: Tx, bucket: str, key: bytes) -> Iterator[ObjectVersion]:
    """All versions from this key on, in order, as far as a list shows them."""
    return _listed(tx, bucket, _AT_OR_AFTER, k=key)


def older_versions(tx: Tx, bucket: str, key: bytes, seq: int) -> Iterator[ObjectVersion]:
    """Versions of one key older than ``seq``, newest first, as far as a list shows them."""
    return _listed(tx, bucket, _REST_OF_KEY, k=key, r=-seq)


def versions_behind(
    tx: Tx, bucket: str, key: bytes, rank: int, limit: int
) -> Iterator[ObjectVersion]:
    """Versions of all buckets behind a primary key, in its order."""
    columns = versions.c
    behind = sa.tuple_(columns.bucket, columns.key, columns.rank) > sa.tuple_(
        sa.bindparam("b", bucket), sa.bindparam("k", key), sa.bindparam("r", rank)
    )
    query = (
        sa.select(versions)
        .where(behind)
        .order_by(columns.bucket, columns.key, columns.rank)
        .limit(limit)
    )
    for row in tx.run(query):
        yield _version(row)


def numbered(tx: Tx, bucket: str, key: bytes, seq: int) -> ObjectVersion | None:
    """The version of a key that was written under this number."""
    query = sa.select(versions).where(*_BY_KEY, versions.c.rank == sa.bindparam("r"))
    row = tx.run(query, {"b": bucket, "k": key, "r": -seq}).first()
    return None if row is None else _version(row)


def holds_versions(tx: Tx, bucket: str) -> bool:
    query = sa.select(versions.c.rank).where(versions.c.bucket == bucket).limit(1)
    return tx.run(query).first() is not None


def insert_body(tx: Tx, seq: int, data: bytes) -> bool:
    """Store the bytes of a version; return False if the number is taken."""
    return tx.add(bodies, {"id": seq, "data": data})


def body(tx: Tx, content: str) -> bytes | None:
    row = tx.run(_BODY, {"i": int(content)}).first()
    return None if row is None else row[0]


# Multipart uploads


def insert_upload(tx: Tx, upload: Upload) -> None:
    tx.run(
        sa.insert(uploads),
        {
            "id": upload.id,
            "bucket": upload.bucket,
            "key": upload.key,
            "seq": upload.seq,
            "initiated": upload.initiated,
            "initiator": json.dumps(upload.initiator),
            "algorithm": upload.algorithm,
            "checksum_type": upload.checksum_type,
            "storage_class": upload.storage_class,
            "details": json.dumps(upload.details),
            "disturbed": False,
        },
    )


def _upload(row: Any) -> Upload:
    return Upload(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        json.loads(row[5]),
        row[6],
        row[7],
        row[8],
        json.loads(row[9]),
        row[10],
    )


def upload(tx: Tx, bucket: str, key: bytes, upload_id: str) -> Upload | None:
    row = tx.run(
        sa.select(uploads).where(
            uploads.c.id == upload_id, uploads.c.bucket == bucket, uploads.c.key == key
        )
    ).first()
    return None if row is None else _upload(row)


def uploads_after(tx: Tx, bucket: str, key: bytes, seq: int) -> Iterator[Upload]:
    """Uploads of a bucket behind (key, seq) in the order of keys, then of their beginning."""
    for row in tx.stream(_UPLOADS_AFTER, {"b": bucket, "k": key, "s": seq}):
        yield _upload(row)


def buckets_with_uploads(tx: Tx) -> dict[str, int]:
    query = sa.select(uploads.c.bucket, sa.func.count()).group_by(uploads.c.bucket)
    return {row[0]: row[1] for row in tx.run(query)}


def drop_upload(tx: Tx, upload_id: str) -> None:
    """Forget an upload; its parts stay until they are dropped or belong to an object."""
    tx.run(sa.delete(uploads).where(uploads.c.id == upload_id))


def drop_uploads_of(tx: Tx, bucket: str) -> None:
    found = sa.select(uploads.c.id).where(uploads.c.bucket == bucket)
    for (upload_id,) in tx.run(found).all():
        drop_parts(tx, upload_id)
        drop_upload(tx, upload_id)


def disturb_uploads(tx: Tx, bucket: str, key: bytes) -> None:
    tx.run(_DISTURB, {"b": bucket, "k": key})


def put_part(tx: Tx, upload_id: str, part: Part) -> bool:
    """Add a part; one of the same number gives way, and then the answer is True."""
    same = (parts.c.upload == upload_id, parts.c.number == part.number)
    old = tx.run(sa.select(parts.c.content).where(*same)).scalar()
    if old is not None:
        tx.run(sa.insert(trash), {"content": old})
        tx.run(sa.delete(parts).where(*same))
    tx.run(
        sa.insert(parts),
        {
            "upload": upload_id,
            "number": part.number,
            "size": part.size,
            "etag": part.etag,
            "modified": part.modified,
            "checksum": part.checksum,
            "content": part.content,
        },
    )
    keep_crcs(tx, part.content, part.crcs)
    return old is not None


def parts_of(tx: Tx, upload_id: str, after: int = 0, limit: int | None = None) -> list[Part]:
    """Parts by their numbers, those behind ``after``."""
    query = (
        sa.select(
            parts.c.number,
            parts.c.size,
            parts.c.etag,
            parts.c.modified,
            parts.c.checksum,
            parts.c.content,
        )
        .where(parts.c.upload == upload_id, parts.c.number > after)
        .order_by(parts.c.number)
    )
    if limit is not None:
        query = query.limit(limit)
    return [Part(*row) for row in tx.run(query)]


def parts_to_read(tx: Tx, upload_id: str) -> list[Part]:
    """Parts by their numbers, with what their blobs are verified by."""
    query = (
        sa.select(
            parts.c.number,
            parts.c.size,
            parts.c.etag,
            parts.c.modified,
            parts.c.checksum,
            parts.c.content,
            sa.func.coalesce(blob_crcs.c.crcs, b""),
        )
        .join(blob_crcs, blob_crcs.c.content == parts.c.content, isouter=True)
        .where(parts.c.upload == upload_id)
        .order_by(parts.c.number)
    )
    return [Part(*row) for row in tx.run(query)]


def drop_parts(tx: Tx, upload_id: str, numbers: Sequence[int] | None = None) -> None:
    """Drop all parts of an upload, or those of these numbers; their blobs go to the trash."""
    which = [parts.c.upload == upload_id]
    if numbers is not None:
        which.append(parts.c.number.in_(numbers))
    tx.run(sa.insert(trash).from_select(["content"], sa.select(parts.c.content).where(*which)))
    tx.run(sa.delete(parts).where(*which))


# Blobs that wait to be deleted


def some_trash(tx: Tx, limit: int) -> list[str]:
    return [row[0] for row in tx.run(sa.select(trash.c.content).limit(limit))]


def forget_trash(tx: Tx, contents: Sequence[str]) -> None:
    tx.run(sa.delete(trash).where(trash.c.content.in_(contents)))
    tx.run(sa.delete(blob_crcs).where(blob_crcs.c.content.in_(contents)))


def known_blobs(tx: Tx, contents: Sequence[str]) -> set[str]:
    """Those of these blobs that an object, a part or the trash names."""
    found: set[str] = set()
    in_versions = sa.select(versions.c.content).where(
        versions.c.content.in_(contents),
        # A literal, so that the partial index serves.
        versions.c.place == sa.literal_column(f"'{IN_BLOB}'"),
    )
    in_parts = sa.select(parts.c.content).where(parts.c.content.in_(contents))
    in_trash = sa.select(trash.c.content).where(trash.c.content.in_(contents))
    for query in (in_versions, in_parts, in_trash):
        found.update(row[0] for row in tx.run(query))
    return found


def names_blobs(tx: Tx) -> bool:
    """Whether an object or a part names a blob."""
    in_versions = sa.select(versions.c.content).where(
        versions.c.place == sa.literal_column(f"'{IN_BLOB}'")
    )
    return any(
        tx.run(query.limit(1)).first() is not None
        for query in (in_versions, sa.select(parts.c.content))
    )


# Buckets


def all_buckets(tx: Tx) -> list[tuple[str, str, str, float, dict[str, Any]]]:
    rows = tx.run(sa.select(buckets)).all()
    return [(r.name, r.account, r.region, r.created, json.loads(r.settings)) for r in rows]


def insert_bucket(
    tx: Tx,
    name: str,
    account: str,
    region: str,
    created: float,
    settings: Mapping[str, Any],
) -> tuple[str, str] | None:
    """None, or whose the bucket of that name already is: (account, region)."""
    taken = sa.select(buckets.c.account, buckets.c.region).where(buckets.c.name == name)
    row = tx.run(taken).first()
    if row is not None:
        return (row[0], row[1])
    tx.run(
        sa.insert(buckets),
        {
            "name": name,
            "account": account,
            "region": region,
            "created": created,
            "settings": json.dumps(settings),
        },
    )
    return None


def settings_of(tx: Tx, name: str) -> dict[str, Any] | None:
    query = sa.select(buckets.c.settings).where(buckets.c.name == name)
    found = tx.run(query).scalar()
    return None if found is None else json.loads(found)


def set_settings(tx: Tx, name: str, settings: Mapping[str, Any]) -> None:
    tx.run(sa.update(buckets).where(buckets.c.name == name).values(settings=json.dumps(settings)))


def drop_bucket(tx: Tx, name: str) -> None:
    tx.run(sa.delete(buckets).where(buckets.c.name == name))


# Events that wait to be posted, and the sequence


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """An event on its way to one target."""

    id: int
    target: str
    event: bytes
    bucket: str
    account: str
    region: str
    trace_id: str


def insert_message(tx: Tx, message: OutboxMessage) -> None:
    tx.run(
        _INSERT_MESSAGE,
        {
            "id": message.id,
            "target": message.target,
            "event": message.event,
            "bucket": message.bucket,
            "account": message.account,
            "region": message.region,
            "trace_id": message.trace_id,
        },
    )


def message_ids(tx: Tx) -> list[int]:
    return [row[0] for row in tx.run(sa.select(outbox.c.id))]


def messages_of(tx: Tx, ids: Sequence[int]) -> list[OutboxMessage]:
    query = sa.select(outbox).where(outbox.c.id.in_(ids)).order_by(outbox.c.id)
    return [OutboxMessage(*row) for row in tx.run(query)]


def drop_messages(tx: Tx, ids: Sequence[int]) -> None:
    tx.run(sa.delete(outbox).where(outbox.c.id.in_(ids)))


def last_number(tx: Tx) -> int:
    """The highest sequence number that a restart must stay above: the kept one, which outlives
    deletions, and those that rows hold as their identity."""
    kept = sa.select(counters.c.value).where(counters.c.name == "sequence")
    held = (bodies.c.id, outbox.c.id, uploads.c.seq)
    numbers = [tx.run(sa.select(sa.func.max(column))).scalar() for column in held]
    return max(tx.run(kept).scalar() or 0, *(number or 0 for number in numbers))


def set_last_number(tx: Tx, value: int) -> None:
    tx.upsert(counters, {"name": "sequence", "value": value})
