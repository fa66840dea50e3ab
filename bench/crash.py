"""kill -9 in the middle of four clients posting events and objects: acknowledged n, lost 0.

Clients put objects, and invoke a function with InvocationType Event; each writes down what was
acknowledged. The platform is killed, started again, and everything acknowledged must be there:
the objects with their bytes, and for each event the object that the function puts. Runs beyond
the first of an event are counted: a kill may run an event again, and must never lose one. They are
told apart by the platform's log, which has a line for each event that is done with: after the end
of a run the event was still on disk, or the run had put its object and had not ended.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.host import Boda

SOURCE = """
import boto3, uuid

s3 = boto3.client("s3")

def lambda_handler(event, context):
    run = f"{context.aws_request_id}/{uuid.uuid4().hex}"
    s3.put_object(Bucket="crash", Key=f"done/{event['id']}/{run}")
"""
_DONE_WITH = re.compile(r"event (\S+) is done with")


KILLS = 30


def run(folder: Path, *, kills: int = KILLS, seconds: float = 1.0) -> dict[str, Any]:
    boda = Boda(folder / "data", "--log-level", "debug")
    objects: dict[str, str] = {}
    events: set[str] = set()
    boda.start()
    try:
        boda.client("s3").create_bucket(Bucket="crash")
        boda.function("Crash", SOURCE, Timeout=30, MemorySize=512)
        for round_ in range(kills):
            stop = threading.Event()
            clients = [
                threading.Thread(
                    target=_client,
                    args=(
                        boda.client("s3"),
                        boda.client("lambda"),
                        f"{round_}-{n}",
                        stop,
                        objects,
                        events,
                    ),
                )
                for n in range(4)
            ]
            for one in clients:
                one.start()
            time.sleep(seconds)
            boda.kill()
            stop.set()
            for one in clients:
                one.join()
            boda.start()
        lost_objects = _lost_objects(boda, objects)
        runs, requests = _runs(boda, events)
    finally:
        boda.stop()
    ends = Counter(_DONE_WITH.findall(boda.log.read_text()))
    return {
        "kills": kills,
        "acknowledged_objects": len(objects),
        "lost_objects": lost_objects,
        "acknowledged_events": len(events),
        "lost_events": len(events - runs.keys()),
        "extra_runs": sum(count - 1 for count in runs.values()),
        "of_events_that_had_ended": sum(max(0, ends[one] - 1) for one in requests),
        "of_events_that_had_not": sum(runs.values()) - sum(ends[one] for one in requests),
    }


def _client(
    s3: Any,
    functions: Any,
    name: str,
    stop: threading.Event,
    objects: dict[str, str],
    events: set[str],
) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        key = f"{name}-{number}"
        body = hashlib.sha256(key.encode()).digest() * (1 + number % 2000)
        try:
            s3.put_object(Bucket="crash", Key=f"in/{key}", Body=body)
            objects[f"in/{key}"] = hashlib.md5(body).hexdigest()
            functions.invoke(
                FunctionName="Crash",
                InvocationType="Event",
                Payload=json.dumps({"id": key}).encode(),
            )
            events.add(key)
        except Exception:
            # The platform is gone: what was not acknowledged does not count.
            return


def _lost_objects(boda: Boda, objects: dict[str, str]) -> int:
    s3, lost = boda.client("s3"), 0
    for key, digest in objects.items():
        try:
            body = s3.get_object(Bucket="crash", Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            lost += 1
            continue
        lost += hashlib.md5(body).hexdigest() != digest
    return lost


def _runs(boda: Boda, events: set[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each event was run, by its id and by its request id, once all were or nothing more
    happens."""
    s3 = boda.client("s3")
    end = time.monotonic() + 120
    while True:
        keys = [
            item["Key"].split("/")
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket="crash", Prefix="done/")
            for item in page.get("Contents", [])
        ]
        done, requests = Counter(key[1] for key in keys), Counter(key[2] for key in keys)
        if events <= done.keys() or time.monotonic() > end:
            return done, requests
        time.sleep(0.2)
