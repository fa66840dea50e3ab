"""Cold starts of a version with SnapStart, as a caller sees them.

Each sample is a restored environment's first invocation: the one before it has ended its own. The
very first after publishing is told apart.
"""

from __future__ import annotations

import base64
import contextlib
import json
import statistics
import time
from typing import Any

from bench.host import Boda

SOURCE = """
import os
import boto3

s3 = boto3.client("s3")

def lambda_handler(event, context):
    if event.get("end"):
        os._exit(0)
    return "ok"
"""


def measure(boda: Boda, count: int) -> dict[str, Any]:
    client = boda.client("lambda")
    firsts, publishes = [], []
    for number in range(5):
        name = f"Snapped-{number}"
        boda.function(name, SOURCE, MemorySize=1769, SnapStart={"ApplyOn": "PublishedVersions"})
        begin = time.perf_counter()
        client.publish_version(FunctionName=name)
        client.get_waiter("published_version_active").wait(
            FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 0, "MaxAttempts": 2000}
        )
        publishes.append((time.perf_counter() - begin) * 1000)
        time.sleep(0.5)
        firsts.append(_restored(client, name)[0])
    samples, restores = [], []
    for _ in range(count):
        with contextlib.suppress(client.exceptions.ClientError):
            client.invoke(FunctionName=name, Qualifier="1", Payload=b'{"end": true}')
        time.sleep(0.05)  # the old environment is taken down meanwhile
        took_ms, restore_ms = _restored(client, name)
        samples.append(took_ms)
        restores.append(restore_ms)
    return {
        "median_ms": round(statistics.median(samples), 1),
        "p90_ms": round(sorted(samples)[int(count * 0.9)], 1),
        "restore_median_ms": round(statistics.median(restores), 1),
        "first_after_publish_median_ms": round(statistics.median(firsts), 1),
        "publish_until_active_median_ms": round(statistics.median(publishes), 1),
        "samples": count,
    }


def _restored(client: Any, name: str) -> tuple[float, float]:
    """How long a call took that a new environment was restored for, and the restore in it, ms."""
    begin = time.perf_counter()
    answer = client.invoke(FunctionName=name, Qualifier="1", Payload=b"{}", LogType="Tail")
    took_ms = (time.perf_counter() - begin) * 1000
    if json.loads(answer["Payload"].read()) != "ok":
        raise RuntimeError(f"{name} did not answer")
    log = base64.b64decode(answer["LogResult"]).decode()
    if "Restore Duration" not in log:
        raise RuntimeError("not a cold start: " + log)
    return took_ms, float(log.split("\tRestore Duration: ")[1].split(" ")[0])
