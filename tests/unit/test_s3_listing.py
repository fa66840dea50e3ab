"""Walks over buckets: pages in order, prefixes passed, nothing lost or shown twice."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from boda.services.s3 import rows
from boda.services.s3.listing import pages as listing
from boda.services.s3.listing.pages import ListingScope
from boda.services.s3.rows import ObjectVersion, Upload
from boda.storage.sqlite_tx import SqliteTx
from support.rows import in_memory


@pytest.fixture
def tx() -> Iterator[SqliteTx]:
    with in_memory(rows.metadata) as tx:
        yield tx


def put(tx: SqliteTx, key: str, seq: int, *, marker: bool = False) -> None:
    version = ObjectVersion("b", key.encode(), seq, f"v{seq}", marker, 0)
    rows.insert_version(tx, version)


def pages(tx: SqliteTx, scope: ListingScope, limit: int) -> list[bytes]:
    """Keys and prefixes of all pages, walked by markers as a client does."""
    shown: list[bytes] = []
    marker = b""
    while True:
        page = listing.keys(tx, scope, marker, limit)
        shown += sorted([each.key for each in page.items] + page.prefixes)
        if not page.truncated:
            return shown
        assert page.last is not None
        marker = page.last if isinstance(page.last, bytes) else page.last.key


def test_keys_stand_in_the_order_of_their_bytes(tx: SqliteTx) -> None:
    keys = ["b", "a", "Z", "ä", "a/", "a!", "𝄞", "\uffff", "a/b"]
    for seq, key in enumerate(keys):
        put(tx, key, seq + 1)
    assert pages(tx, ListingScope("b"), 2) == sorted(key.encode() for key in keys)


def test_buckets_do_not_mix(tx: SqliteTx) -> None:
    put(tx, "mine", 1)
    rows.insert_version(tx, ObjectVersion("c", b"other", 2, "null", False, 0))
    assert pages(tx, ListingScope("b"), 10) == [b"mine"]


def test_random_buckets_against_the_rule_itself(tx: SqliteTx) -> None:
    """Every page size, prefix and delimiter shows what filtering the whole bucket would."""
    chance = random.Random(3)
    alive: dict[str, bool] = {}
    for seq in range(1, 401):
        key = "".join(chance.choice("ab/") for _ in range(chance.randint(1, 6)))
        marker = chance.random() < 0.3
        put(tx, key, seq, marker=marker)
        alive[key] = not marker
    keys = sorted(key for key, there in alive.items() if there)
    for prefix in ("", "a", "a/", "b//", "zz"):
        for delimiter in ("", "/", "b", "//"):
            wanted = set()
            for key in keys:
                if not key.startswith(prefix):
                    continue
                at = key.find(delimiter, len(prefix)) if delimiter else -1
                wanted.add(key if at < 0 else key[: at + len(delimiter)])
            scope = ListingScope("b", prefix.encode(), delimiter.encode())
            for limit in (1, 3, 1000):
                found = pages(tx, scope, limit)
                assert found == sorted(each.encode() for each in wanted), (scope, limit)


def test_a_page_reads_little_however_much_a_prefix_holds(tx: SqliteTx) -> None:
    values = [
        {**_row(f"{folder}/{i:05}"), "rank": -(folder * 10_000 + i)}
        for folder in range(3)
        for i in range(3000)
    ]
    tx.run_many(sa.insert(rows.versions), values)
    seen = 0
    original = rows.current_from

    def counted(*args: object) -> Iterator[ObjectVersion]:
        nonlocal seen
        for version in original(*args):  # type: ignore[arg-type]
            seen += 1
            yield version

    rows.current_from = counted  # type: ignore[assignment]
    try:
        page = listing.keys(tx, ListingScope("b", b"", b"/"), b"", 1000)
    finally:
        rows.current_from = original
    assert page.prefixes == [b"0/", b"1/", b"2/"]
    assert seen < 10


def test_many_versions_of_one_key_are_passed(tx: SqliteTx) -> None:
    values = [{**_row("many"), "rank": -i, "version_id": f"v{i}"} for i in range(1, 2500)]
    tx.run_many(sa.insert(rows.versions), values)
    put(tx, "next", 9000)
    assert pages(tx, ListingScope("b"), 10) == [b"many", b"next"]
    page = listing.versions(tx, ListingScope("b"), b"", None, 3000)
    assert [each.version.seq for each in page.items] == [*range(2499, 0, -1), 9000]
    assert [each.latest for each in page.items] == [True] + [False] * 2498 + [True]


def test_versions_by_marker(tx: SqliteTx) -> None:
    for seq, key in enumerate(["a", "a", "a", "b", "b"]):
        put(tx, key, seq + 1, marker=seq == 2)

    def shown(marker: bytes, below: int | None, limit: int = 10) -> list[int]:
        page = listing.versions(tx, ListingScope("b"), marker, below, limit)
        return [each.version.seq for each in page.items]

    assert shown(b"", None) == [3, 2, 1, 5, 4]
    assert shown(b"a", 3) == [2, 1, 5, 4]
    assert shown(b"a", None) == [5, 4]
    assert shown(b"b", 4) == []


def test_uploads_walk_by_key_and_beginning(tx: SqliteTx) -> None:
    for seq, key in enumerate(["x/1", "a", "x/2", "a", "y"], start=1):
        upload = Upload(f"u{seq}", "b", key.encode(), seq, 0, {}, "", "", "STANDARD", {})
        rows.insert_upload(tx, upload)

    def ids(marker: bytes = b"", above: int | None = None, delimiter: bytes = b"") -> list[str]:
        page = listing.uploads(tx, ListingScope("b", b"", delimiter), marker, above, 10)
        return [each.id for each in page.items] + [p.decode() for p in page.prefixes]

    assert ids() == ["u2", "u4", "u1", "u3", "u5"]
    assert ids(b"a", 2) == ["u4", "u1", "u3", "u5"]
    assert ids(b"a") == ["u1", "u3", "u5"]
    assert ids(delimiter=b"/") == ["u2", "u4", "u5", "x/"]


def test_no_question_reads_a_table_whole(tx: SqliteTx) -> None:
    asked: list[str] = []
    tx.raw.set_trace_callback(asked.append)  # with the values in their places
    rows.latest(tx, "b", b"k")
    rows.named(tx, "b", b"k", "v")
    list(rows.current_from(tx, "b", b"k"))
    list(rows.versions_from(tx, "b", b"k"))
    list(rows.older_versions(tx, "b", b"k", 9))
    rows.holds_versions(tx, "b")
    list(rows.uploads_after(tx, "b", b"k", 1))
    rows.disturb_uploads(tx, "b", b"k")
    rows.parts_of(tx, "u", 1, 5)
    rows.known_blobs(tx, ["a", "b"])
    tx.raw.set_trace_callback(None)
    asked = [each for each in asked if each.strip() != "BEGIN"]
    assert len(asked) > 8
    for statement in asked:
        plan = tx.run(sa.text(f"EXPLAIN QUERY PLAN {statement}")).all()
        assert plan, statement
        for step in plan:
            assert not re.search("SCAN s3_|SCAN v|TEMP B-TREE", step[3]), (statement, step[3])
            assert step[3].startswith("SEARCH") or "WITH RECURSIVE" in statement, step[3]


def _row(key: str) -> dict[str, object]:
    return {
        "bucket": "b",
        "key": key.encode(),
        "version_id": "null",
        "marker": False,
        "modified": 0,
        "size": 0,
        "etag": "",
        "place": "",
        "content": "",
        "algorithm": "",
        "checksum_type": "",
        "checksum": "",
        "storage_class": "STANDARD",
        "details": "{}",
    }


def _steps(tx: SqliteTx, work: Callable[[], object]) -> int:
    """How many hundreds of steps SQLite takes for something."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    tx.raw.set_progress_handler(count, 100)
    work()
    tx.raw.set_progress_handler(None, 0)
    return taken


def _fill(tx: SqliteTx, folders: int, each: int, versions: int) -> None:
    values = [
        {**_row(f"{folder:03}/{i:03}"), "rank": -version, "version_id": f"v{version}"}
        for folder in range(folders)
        for i in range(each)
        for version in range(versions)
    ]
    tx.run_many(sa.insert(rows.versions), values)


@pytest.mark.parametrize("delimiter", [b"", b"/"])
def test_a_page_takes_as_many_steps_at_the_end_as_at_the_start(
    tx: SqliteTx, delimiter: bytes
) -> None:
    _fill(tx, 200, 20, 5)
    scope = ListingScope("b", b"", delimiter)

    def keys(marker: bytes) -> int:
        return _steps(tx, lambda: listing.keys(tx, scope, marker, 20))

    def versions(marker: bytes) -> int:
        return _steps(tx, lambda: listing.versions(tx, scope, marker, None, 20))

    for walk in (keys, versions):
        first, last = walk(b"000/"), walk(b"170/")
        assert abs(first - last) <= 2, (walk, first, last)
        assert first < 40, "a page costs what it shows"


def test_older_versions_cost_a_page_of_current_ones_nothing(tx: SqliteTx) -> None:
    _fill(tx, 1, 100, 1)
    scope = ListingScope("b")
    few = _steps(tx, lambda: listing.keys(tx, scope, b"", 100))
    tx.run(sa.delete(rows.versions))
    _fill(tx, 1, 100, 100)
    many = _steps(tx, lambda: listing.keys(tx, scope, b"", 100))
    assert many <= few + 2


@pytest.mark.parametrize("delimiter", [b"", b"/"])
def test_a_page_of_hidden_keys_ends_early_and_goes_on(tx: SqliteTx, delimiter: bytes) -> None:
    for number in range(100):
        put(tx, f"a/{number:03}", number + 1, marker=number != 77)
    put(tx, "b", 500)
    scope = ListingScope("b", b"", delimiter)
    found: list[bytes] = []
    marker, exact, pages_read = b"", False, 0
    while True:
        page = listing.keys(tx, scope, marker, 10, exact=exact, hidden=30)
        found += [each.key for each in page.items] + page.prefixes
        pages_read += 1
        if not page.truncated:
            break
        assert page.ended_at is not None
        marker, exact = page.ended_at, True
    assert sorted(found) == ([b"a/", b"b"] if delimiter else [b"a/077", b"b"])
    assert pages_read >= 3
