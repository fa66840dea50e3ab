"""kill -9 while a backlog drains: how many events run a second time.

An event's removal is written a moment after its attempt, together with others', and a crash in
between runs it again: "at least once". Each run of the function leaves an object of its own, so
that runs can be counted. Runs that were cut off by the kill are told apart from those that had
ended: the first must be run again, the second are what came between the function's last word and
the removal's commit. How long the removal itself waits is measured at the journal, alone and
beside a room that writes 200 times a second; the events at risk are those of that time.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.host import Boda
from boda import delivery
from boda.core.clock import SystemClock
from boda.delivery.journal import QueueJournal
from boda.delivery.rows import QueuedEvent
from boda.storage.sqlite_rows import SqliteRows

BUCKET = "again"
_BESIDE = {"alone": 0, "beside others": 200}
KILLS = 5
EVENTS = 3000
# The second object is put when the run is about to end.
SOURCE = """
import boto3, uuid

s3 = boto3.client("s3")

def lambda_handler(event, context):
    run = f"{event['n']:06d}/{uuid.uuid4().hex}"
    s3.put_object(Bucket="again", Key="begun/" + run)
    s3.put_object(Bucket="again", Key="ended/" + run)
"""


def run(folder: Path, *, kills: int = KILLS, events: int = EVENTS) -> dict[str, Any]:
    boda = Boda(folder / "data")
    boda.start()
    try:
        boda.client("s3").create_bucket(Bucket=BUCKET)
        boda.function("Again", SOURCE, Timeout=30, MemorySize=512)
        _post(boda, range(events))
        done = 0
        for _ in range(kills):
            # A fifth of what is left, so that there is a backlog at each kill.
            done += (events - done) // (kills + 1)
            _until(boda, done)
            boda.kill()
            boda.start()
        _until(boda, events)
        time.sleep(1.0)
        begun, ended = _runs(boda, "begun/"), _runs(boda, "ended/")
    finally:
        boda.stop()
    twice = sum(count - 1 for count in ended.values())
    cut = sum(begun.values()) - sum(ended.values())
    waits = {name: asyncio.run(_waits(folder / name, busy)) for name, busy in _BESIDE.items()}
    return {
        "events": events,
        "lost": events - len(ended),
        "kills": kills,
        "run again after they had ended": twice,
        "… each kill": round(twice / kills, 1),
        "run again since they were cut off": cut,
        **{f"a removal waits, {name}": wait for name, wait in waits.items()},
    }


async def _waits(folder: Path, writes_per_s: int, removals: int = 300) -> dict[str, float]:
    """Milliseconds from the end of an event until its removal is on disk."""
    folder.mkdir()
    database = SqliteRows(folder / "queue.db", [delivery.metadata])
    begun: dict[int, float] = {}
    took: list[float] = []

    def removed(some: Sequence[QueuedEvent]) -> None:
        took.extend(time.perf_counter() - begun[event.id] for event in some)

    journal = QueueJournal(database, SystemClock(), lambda some: None, removed)
    events = [
        QueuedEvent(n, 1, "arn:aws:lambda:::f", "$LATEST", f"r{n}", "", "", 0.0, 0.0, payload=b"{}")
        for n in range(removals)
    ]
    for event in events:
        journal.add(event, lambda error: None)
    await journal.flush()

    async def write_on() -> None:
        while True:
            await asyncio.sleep(1 / writes_per_s)
            await database.write(lambda tx: None)

    beside = asyncio.create_task(write_on()) if writes_per_s else None
    for event in events:
        begun[event.id] = time.perf_counter()
        journal.remove(event)
        await asyncio.sleep(0.005)
    await journal.flush()
    await asyncio.sleep(0.1)
    if beside is not None:
        beside.cancel()
    database.close()
    return {
        "p50 ms": round(statistics.median(took) * 1000, 1),
        "mean ms": round(statistics.mean(took) * 1000, 1),
    }


def _post(boda: Boda, numbers: range) -> None:
    client = boda.client("lambda", max_pool_connections=8)

    def one(number: int) -> None:
        payload = json.dumps({"n": number}).encode()
        client.invoke(FunctionName="Again", InvocationType="Event", Payload=payload)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, numbers))


def _until(boda: Boda, wanted: int, limit_s: float = 300.0) -> None:
    """Return when so many events have ended."""
    end = time.monotonic() + limit_s
    while len(_runs(boda, "ended/")) < wanted:
        if time.monotonic() > end:
            raise RuntimeError(f"{wanted} events did not end within {limit_s:.0f} s")
        time.sleep(0.05)


def _runs(boda: Boda, prefix: str) -> Counter[str]:
    """How often each event's object was put."""
    pages = boda.client("s3").get_paginator("list_objects_v2")
    found: Counter[str] = Counter()
    for page in pages.paginate(Bucket=BUCKET, Prefix=prefix):
        for item in page.get("Contents", []):
            found[item["Key"].split("/")[1]] += 1
    return found
