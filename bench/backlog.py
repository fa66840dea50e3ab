"""A million events on disk: the restart, the drain from end to end, memory, and a neighbour.

The events are written by the queue's own rows while the platform is stopped, since sending them
would take longer than draining them. Then a real `boda up` takes them up, is killed half-way and
takes them up again. All the while another function gets an event and a synchronous call now and
then: its latencies say whether the backlog delays it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.delivery import SOURCE, cpu_s, waiting
from bench.host import Boda
from bench.s3 import Peak
from boda.app import SCHEMAS
from boda.core.arn import function_arn
from boda.core.ids import Ids
from boda.delivery import rows
from boda.invoke.function_table import LATEST
from boda.storage.sqlite_rows import SqliteRows

EVENTS = 1_000_000
STEP = 10_000
SAMPLE_S = 2.0
BACKLOG, NEIGHBOUR = "Backlog", "Neighbour"
_WAITING = "SELECT 1 FROM async_events WHERE lane > 1 LIMIT 1"


def run(folder: Path, events: int = EVENTS) -> dict[str, Any]:
    boda = Boda(folder / "data")
    with boda:
        for name in (BACKLOG, NEIGHBOUR):
            boda.function(name, SOURCE, MemorySize=1769)
    filled_s = asyncio.run(fill(folder / "data", events))
    report: dict[str, Any] = {
        "events": events,
        "filled by rows in s": round(filled_s, 1),
        "database MB": round(
            sum(one.stat().st_size for one in (folder / "data").glob("boda.db*")) / 1e6
        ),
    }
    halves: list[_Half] = []
    starts = {}
    try:
        for until in (events // 2, 0):
            starts[f"with {until * 2 or events // 2}"] = round(boda.start(), 2)
            halves.append(_drain(boda, until))
            if until:
                boda.kill()
    finally:
        boda.stop()
    starts["with none"] = round(boda.start(), 2)
    boda.stop()
    report["start s"] = starts
    samples = [sample for half in halves for sample in half.samples]
    tenth = max(1, len(samples) // 10)
    middle = len(samples) // 2
    for name, some in (
        ("first tenth", samples[:tenth]),
        ("middle", samples[middle - tenth // 2 : middle + tenth // 2 + 1]),
        ("last tenth", samples[-tenth - 1 : -1] or samples),
    ):
        report[name] = {
            "per_second": round(statistics.median(one.per_second for one in some)),
            "platform_cpu_us": round(statistics.median(one.cpu_us for one in some)),
        }
    report["overall per second"] = round(events / sum(half.seconds for half in halves))
    report["platform peak MB (PSS)"] = round(max(half.peak_kib for half in halves) / 1024, 1)
    for kind, taken in (
        ("event", [one for half in halves for one in half.event]),
        ("call", [one for half in halves for one in half.call]),
    ):
        taken.sort()
        report[f"neighbour's {kind}"] = {
            "p50_ms": round(statistics.median(taken) * 1000, 1),
            "p99_ms": round(taken[int(len(taken) * 0.99)] * 1000, 1),
            "samples": len(taken),
        }
    return report


@dataclass
class _Sample:
    """Events that left the disk per second, and what the platform used for each."""

    per_second: float
    cpu_us: float


@dataclass
class _Half:
    """Watched until so many were left. event, call: the neighbour's latencies, seconds."""

    samples: list[_Sample] = field(default_factory=list)
    seconds: float = 0.0
    peak_kib: int = 0
    event: list[float] = field(default_factory=list)
    call: list[float] = field(default_factory=list)


async def fill(data: Path, events: int) -> float:
    """Write events into the folder of a platform that is not running; seconds taken."""
    arn, ids = function_arn("000000000000", "us-east-1", BACKLOG), Ids()
    database = SqliteRows(data / "boda.db", SCHEMAS)
    began, now = time.perf_counter(), time.time()
    await database.write(lambda tx: rows.add_lanes(tx, [(1, arn)]))
    for first in range(0, events, STEP):
        some = [
            rows.Event(
                number,
                1,
                arn,
                LATEST,
                ids.uuid(),
                arn,
                "",
                now,
                now,
                payload=json.dumps({"n": number, "name": f"rider {number}"}).encode(),
            )
            for number in range(first + 1, min(events, first + STEP) + 1)
        ]
        await database.write(lambda tx, some=some: rows.add(tx, some))  # type: ignore[misc]
    database.close()
    return time.perf_counter() - began


def _drain(boda: Boda, until: int) -> _Half:
    """Watch until only so many events are left."""
    assert boda.process is not None
    half, stop, peak = _Half(), threading.Event(), Peak(boda.process.pid)
    neighbour = threading.Thread(target=_neighbour, args=(boda, stop, half.event, half.call))
    began = last = time.perf_counter()
    left, cpu = waiting(boda), cpu_s(boda.process.pid)
    with peak:
        neighbour.start()
        while left > until:
            time.sleep(SAMPLE_S)
            now, found, used = time.perf_counter(), waiting(boda), cpu_s(boda.process.pid)
            done = max(1, left - found)
            half.samples.append(_Sample(done / (now - last), (used - cpu) / done * 1e6))
            last, left, cpu = now, found, used
        half.seconds = time.perf_counter() - began
        stop.set()
        neighbour.join()
    half.peak_kib = peak.kib
    return half


def _neighbour(boda: Boda, stop: threading.Event, event: list[float], call: list[float]) -> None:
    """Times of the other function: event sent until done and off the disk; call until answered."""
    functions = boda.client("lambda")
    functions.invoke(FunctionName=NEIGHBOUR, Payload=b'{"n":0}')
    with contextlib.closing(
        sqlite3.connect(f"file:{boda.folder / 'boda.db'}?mode=ro", uri=True)
    ) as disk:
        while not stop.wait(0.5):
            began = time.perf_counter()
            functions.invoke(FunctionName=NEIGHBOUR, Payload=b'{"n":0}')
            call.append(time.perf_counter() - began)
            began = time.perf_counter()
            functions.invoke(FunctionName=NEIGHBOUR, InvocationType="Event", Payload=b'{"n":0}')
            while disk.execute(_WAITING).fetchone():
                time.sleep(0.002)
            event.append(time.perf_counter() - began)
