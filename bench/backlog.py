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
from pathlib import Path
from typing import Any

from bench.delivery import SOURCE, cpu_s, waiting
from bench.host import Boda
from bench.s3 import Peak
from boda.core.ids import Ids
from boda.delivery import rows
from boda.invoke.catalogue import LATEST, function_arn
from boda.storage.database import Database

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
    halves = []
    try:
        for until in (events // 2, 0):
            report[f"restart with {until * 2 or events // 2} events, s"] = round(boda.start(), 2)
            halves.append(_drain(boda, until))
            if until:
                boda.kill()
    finally:
        boda.stop()
    samples = [rate for half in halves for rate in half["rates"]]
    third = max(1, len(samples) // 10)
    middle = len(samples) // 2
    report["drained per second"] = {
        "first tenth": round(statistics.median(samples[:third])),
        "middle": round(statistics.median(samples[middle - third // 2 : middle + third // 2 + 1])),
        "last tenth": round(statistics.median(samples[-third - 1 : -1] or samples)),
        "overall": round(events / sum(half["seconds"] for half in halves)),
    }
    report["platform CPU us per event"] = round(
        sum(half["cpu_s"] for half in halves) / events * 1e6
    )
    report["platform peak MB (PSS)"] = round(max(half["peak_kib"] for half in halves) / 1024, 1)
    for kind in ("event", "call"):
        taken = [one for half in halves for one in half[kind]]
        report[f"neighbour's {kind}"] = {
            "p50_ms": round(statistics.median(taken) * 1000, 1),
            "max_ms": round(max(taken) * 1000, 1),
            "samples": len(taken),
        }
    return report


async def fill(data: Path, events: int) -> float:
    """Write events into the folder of a platform that is not running; seconds taken."""
    arn, ids = function_arn("000000000000", "us-east-1", BACKLOG), Ids()
    database = Database(data / "boda.db", [rows.metadata])
    began, now = time.perf_counter(), time.time()
    await database.write(lambda connection: rows.add_lanes(connection, [(1, arn)]))
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
        await database.write(lambda connection, some=some: rows.add(connection, some))  # type: ignore[misc]
    database.close()
    return time.perf_counter() - began


def _drain(boda: Boda, until: int) -> dict[str, Any]:
    """Watch until only so many events are left."""
    assert boda.process is not None
    stop = threading.Event()
    event: list[float] = []
    call: list[float] = []
    neighbour = threading.Thread(target=_neighbour, args=(boda, stop, event, call))
    peak = Peak(boda.process.pid)
    cpu = cpu_s(boda.process.pid)
    rates: list[float] = []
    began = last = time.perf_counter()
    left = waiting(boda)
    with peak:
        neighbour.start()
        while left > until:
            time.sleep(SAMPLE_S)
            now, found = time.perf_counter(), waiting(boda)
            rates.append((left - found) / (now - last))
            last, left = now, found
        seconds = time.perf_counter() - began
        used = cpu_s(boda.process.pid) - cpu
        stop.set()
        neighbour.join()
    return {
        "rates": rates,
        "seconds": seconds,
        "cpu_s": used,
        "peak_kib": peak.kib,
        "event": event,
        "call": call,
    }


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
