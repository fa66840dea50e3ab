"""Pages of listings of a bucket with 156,602 keys: is a page as quick at the end as at the start?

The rows are written as S3's own rows while the platform is stopped, since putting the objects
would take longer than listing them. Then each kind of listing is walked from end to end over HTTP
with signed requests; the figures are of the platform's answers, without a client's parsing.
"""

from __future__ import annotations

import http.client
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.host import Boda
from boda.app import SCHEMAS
from boda.services.s3 import rows
from boda.services.s3.rows import ObjectVersion
from boda.storage.sqlite_rows import SqliteRows

KEYS = 156_602
FOLDERS = 2_000
BUCKET, VERSIONED, FUNCTIONS = "listing", "versioned", 200

# What is walked, with the mark that leads to the next page.
WALKS = {
    "all keys": (BUCKET, "list-type=2", "continuation-token"),
    "all keys, the old way": (BUCKET, "", "marker"),
    "below one prefix": (BUCKET, "list-type=2&prefix=d", "continuation-token"),
    "2,000 folders": (BUCKET, "delimiter=%2F&list-type=2", "continuation-token"),
    "folders of one prefix": (BUCKET, "delimiter=%2F&list-type=2&prefix=d0", "continuation-token"),
    "all versions": (BUCKET, "versions=", "versions"),
    "folders of versions": (BUCKET, "delimiter=%2F&versions=", "versions"),
    "keys of deleted objects": (VERSIONED, "list-type=2", "continuation-token"),
}


def run(folder: Path, *, keys: int = KEYS) -> dict[str, Any]:
    boda = Boda(folder / "data")
    with boda:
        for bucket in (BUCKET, VERSIONED):
            boda.client("s3").create_bucket(Bucket=bucket)
    begin = time.perf_counter()
    _fill(folder / "data", keys)
    report: dict[str, Any] = {
        "keys": keys,
        "filled by rows in s": round(time.perf_counter() - begin, 1),
    }
    with boda:
        for name, (bucket, query, mark) in WALKS.items():
            times = list(_walk(boda, bucket, query, mark))
            report[name] = _figures(times)
    return report


def _figures(times: list[float]) -> dict[str, Any]:
    """Of the times of pages, in seconds."""
    tenth = max(1, len(times) // 10)
    return {
        "pages": len(times),
        "p50 ms": _ms(statistics.median(times)),
        "longest ms": _ms(max(times)),
        "first tenth ms": _ms(statistics.median(times[:tenth])),
        "last tenth ms": _ms(statistics.median(times[-tenth:])),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _fill(data: Path, keys: int) -> None:
    """One bucket of current objects, and one whose objects are all deleted, and show nothing."""
    database = SqliteRows(data / "boda.db", SCHEMAS)

    def work(tx: Any) -> None:
        for number in range(keys):
            key = b"d%04d/%06d" % (number * FOLDERS // keys, number)
            _insert(tx, BUCKET, key, 2 * number + 1, False)
            if number % 10 == 0:
                _insert(tx, VERSIONED, key, 2 * number + 2, True)
        rows.set_last_number(tx, 4 * keys)

    database.write_now(work)
    database.close()


def _insert(connection: Any, bucket: str, key: bytes, number: int, marker: bool) -> None:
    version = ObjectVersion(
        bucket,
        key,
        number,
        "null" if not marker else f"{number:032d}",
        marker,
        1_767_225_600,
        0 if marker else 20,
        "" if marker else "d41d8cd98f00b204e9800998ecf8427e",
        algorithm="" if marker else "CRC64NVME",
        checksum_type="" if marker else "FULL_OBJECT",
        checksum="" if marker else "AAAAAAAAAAA=",
        details={} if marker else {"headers": {"ContentType": "binary/octet-stream"}},
    )
    rows.insert_version(connection, version)


def _walk(boda: Boda, bucket: str, query: str, mark: str) -> Iterator[float]:
    """Seconds of each page until the last."""
    signer = S3SigV4Auth(Credentials(*boda.keys), "s3", "us-east-1")
    connection = http.client.HTTPConnection("127.0.0.1", boda.port)
    more = ""
    while True:
        request = AWSRequest("GET", f"{boda.url}/{bucket}?{'&'.join(filter(None, (query, more)))}")
        signer.add_auth(request)
        prepared = request.prepare()
        begin = time.perf_counter()
        connection.request("GET", prepared.url.removeprefix(boda.url), headers=prepared.headers)
        answer = connection.getresponse()
        body = answer.read()
        yield time.perf_counter() - begin
        assert answer.status == 200, body
        if b"<IsTruncated>true" not in body:
            connection.close()
            return
        more = _next(body.decode(), mark)


def _next(body: str, mark: str) -> str:
    if mark == "versions":
        more = f"key-marker={_quoted(_found(body, 'NextKeyMarker') or '')}"
        version = _found(body, "NextVersionIdMarker")
        return more + (f"&version-id-marker={_quoted(version)}" if version else "")
    found = _found(body, "NextContinuationToken" if mark != "marker" else "NextMarker")
    if found is None:
        found = re.findall("<Key>([^<]*)</Key>", body)[-1]
    return f"{mark}={_quoted(found)}"


def _found(body: str, name: str) -> str | None:
    found = re.search(f"<{name}>([^<]*)</{name}>", body)
    return found[1] if found else None


def _quoted(text: str) -> str:
    return quote(text, safe="")
