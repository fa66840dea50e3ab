"""Many functions: 5,000 with 10 versions each. Lists, single reads, and the platform's start.

The rows are written by the service's own code, in one go; the packages are one, because what is
measured is the number of functions. Everything then is measured over HTTP from a real `boda up`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import statistics
import time
import zipfile
from pathlib import Path
from typing import Any

from bench.host import Boda
from boda.app import SCHEMAS
from boda.core.clock import SystemClock
from boda.core.ids import Ids
from boda.services.lambda_ import rows
from boda.services.lambda_.code.store import CodeStore
from boda.services.lambda_.quotas import Quotas
from boda.services.lambda_.records import (
    ACTIVE,
    LATEST,
    UPDATED,
    Function,
    FunctionSettings,
    Version,
    fingerprint,
)
from boda.storage.lost import LostAndFound
from boda.storage.rows import Tx
from boda.storage.sqlite_rows import SqliteRows

FUNCTIONS = 5000
VERSIONS = 10
READS = 400


def run(folder: Path) -> dict[str, Any]:
    boda = Boda(folder / "data", "--isolation", "process")
    with boda:
        boda.role()
    asyncio.run(fill(folder / "data"))
    start_s = boda.start()
    try:
        return {"start": {"seconds": round(start_s, 2)}, **measure(boda)}
    finally:
        boda.stop()


def measure(boda: Boda) -> dict[str, Any]:
    aws = boda.client("lambda")
    return {
        "pages": _pages(aws),
        "pages of all versions": _pages(aws, FunctionVersion="ALL"),
        "GetFunction": _times(
            lambda at: aws.get_function(FunctionName=_name(at * 7919 % FUNCTIONS))
        ),
        "GetFunction of a version": _times(
            lambda at: aws.get_function(FunctionName=_name(at * 7919 % FUNCTIONS), Qualifier="7")
        ),
    }


def _pages(aws: Any, **params: Any) -> dict[str, Any]:
    taken, count, marker = [], 0, {}
    while True:
        begin = time.perf_counter()
        page = aws.list_functions(**params, **marker)
        taken.append(time.perf_counter() - begin)
        count += len(page["Functions"])
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    return {"items": count, "pages": len(taken), **_summary(taken)}


def _times(call: Any) -> dict[str, Any]:
    taken = []
    for at in range(READS):
        begin = time.perf_counter()
        call(at)
        taken.append(time.perf_counter() - begin)
    return _summary(taken[READS // 10 :])


def _summary(taken: list[float]) -> dict[str, Any]:
    return {
        "p50_ms": round(statistics.median(taken) * 1000, 2),
        "max_ms": round(max(taken) * 1000, 2),
    }


def _name(at: int) -> str:
    return f"function-{at:05d}"


async def fill(data: Path) -> None:
    """Write the functions into the folder of a platform that is not running."""
    clock, ids = SystemClock(), Ids()
    store = CodeStore(
        data / "code",
        Quotas(),
        clock,
        ids,
        lambda sha256: True,
        LostAndFound.beside(data / "code", clock),
    )
    store.open()
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        entry = zipfile.ZipInfo("lambda_function.py")
        entry.external_attr = 0o644 << 16  # or the function could not read it
        archive.writestr(entry, "def lambda_handler(event, context): pass\n")
    async with store.from_bytes(memory.getvalue()) as package:
        database = SqliteRows(data / "boda.db", SCHEMAS)
        for first in range(0, FUNCTIONS, 250):
            some = [_function(_name(at), package, ids) for at in range(first, first + 250)]

            def work(tx: Tx, some: list[Function] = some) -> None:
                for function in some:
                    rows.put_function(tx, function)
                    rows.put_versions(tx, function.versions.values())

            await database.write(work)
        database.close()


def _function(name: str, package: Any, ids: Ids) -> Function:
    settings = FunctionSettings(
        role="arn:aws:iam::000000000000:role/bench",
        runtime="python3.12",
        handler="lambda_function.lambda_handler",
        description=f"One of many: {name}",
        environment={"STAGE": "bench", "NAME": name},
    )
    latest = Version(
        "000000000000",
        "us-east-1",
        name,
        version=LATEST,
        settings=settings,
        code_sha256=package.sha256,
        code_bytes=package.code_bytes,
        unzipped_bytes=package.unzipped_bytes,
        revision_id=ids.uuid(),
        build_id=ids.uuid(),
        modified_at=1_780_000_000.0,
        state=ACTIVE,
        update=UPDATED,
    )
    versions = {LATEST: latest}
    for number in range(1, VERSIONS + 1):
        version = dataclasses.replace(
            latest,
            version=str(number),
            settings=dataclasses.replace(settings, description=f"Version {number} of {name}"),
            revision_id=ids.uuid(),
            build_id=ids.uuid(),
        )
        versions[str(number)] = dataclasses.replace(version, origin=fingerprint(version))
    return Function(
        "000000000000", "us-east-1", name, versions, tags={"n": name}, last_version=VERSIONS
    )
