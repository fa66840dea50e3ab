"""Asynchronous events: how many are accepted on disk, and how many a trivial function drains.

Sixteen clients send signed Invokes of the type ``Event`` to a real `boda up` over keep-alive
connections, each answered 202 only after its commit. The function drains all the while: both
happen on the same two cores. What a drain alone reaches is for `bench backlog` to say.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import statistics
import time
from pathlib import Path
from typing import Any

from bench.host import Boda
from bench.load import run_load, write_requests
from bench.signing import signed

CONNECTIONS = 16
SECONDS = 5.0
ROUNDS = 3
SOURCE = "def lambda_handler(event, context):\n    return event['n']\n"


def run(folder: Path) -> dict[str, Any]:
    with Boda(folder / "data") as boda:
        boda.function("Trivial", SOURCE, MemorySize=1769)
        boda.client("lambda").invoke(FunctionName="Trivial", Payload=b'{"n":0}')
        file = requests(boda, folder, "Trivial")
        rounds = [_round(boda, file) for _ in range(ROUNDS)]
    return {
        name: round(statistics.median(one[name] for one in rounds), 2) for name in rounds[0]
    } | {"rounds": len(rounds)}


def requests(boda: Boda, folder: Path, function: str, payloads: int = 4000) -> Path:
    """A file of signed requests that each post one event."""
    key, secret = boda.keys
    file = folder / f"{function}.requests"
    write_requests(
        file,
        [
            signed(
                f"{boda.url}/2015-03-31/functions/{function}/invocations",
                "POST",
                json.dumps({"n": n, "name": f"rider {n}", "numbers": [n, 2, 3]}).encode(),
                service="lambda",
                key=key,
                secret=secret,
                headers={"X-Amz-Invocation-Type": "Event"},
            )
            for n in range(payloads)
        ],
        status=202,
    )
    return file


def _round(boda: Boda, file: Path) -> dict[str, float]:
    assert boda.process is not None
    began, cpu = time.perf_counter(), cpu_s(boda.process.pid)
    found = run_load(boda.port, CONNECTIONS, SECONDS, file)
    if found["errors"]:
        raise RuntimeError(found["sample_error"])
    left, stopped = waiting(boda), time.perf_counter()
    while waiting(boda):
        time.sleep(0.02)
    ended = time.perf_counter()
    return {
        "accepted_per_second": found["per_second"],
        "p50_ms": found["p50_us"] / 1000,
        "p99_ms": found["p99_us"] / 1000,
        "drained_meanwhile_per_second": (found["requests"] - left) / (stopped - began),
        "end_to_end_per_second": found["requests"] / (ended - began),
        "platform_cpu_us_per_event": (cpu_s(boda.process.pid) - cpu) / found["requests"] * 1e6,
    }


def waiting(boda: Boda) -> int:
    """Events on disk, read beside the running platform."""
    with contextlib.closing(
        sqlite3.connect(f"file:{boda.folder / 'boda.db'}?mode=ro", uri=True)
    ) as rows:
        return int(rows.execute("SELECT count(*) FROM async_events").fetchone()[0])


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
