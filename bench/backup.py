"""A backup of 10,000 objects and 1,000 functions under load, and its restore.

Half of the objects are 4 KB, which rows hold, the other half 64 KB, which are blobs. Four clients
replace other objects all the while. Then everything that was there before is compared between the
platform and the one that runs on the restored folder: objects by their names and ETags, functions
by the digests of their code. A difference counts as a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.host import Boda, package

OBJECTS = 10_000
FUNCTIONS = 1_000
SIZES = (4_096, 65_536)
CLIENTS = 4
BUCKET, BUSY = "kept", "busy"
ALONE_S = 3.0
"""How long the load is measured without a backup."""


def run(folder: Path, *, objects: int = OBJECTS, functions: int = FUNCTIONS) -> dict[str, Any]:
    file, place = folder / "boda.tar", folder / "restored"
    boda = Boda(folder / "data", "--isolation", "process")
    with boda:
        filled_s = _timed(lambda: _fill(boda, objects, functions))[0]
        with _load(boda) as writes:
            begin = len(writes)
            time.sleep(ALONE_S)
            alone = (len(writes) - begin) / ALONE_S
            begin = len(writes)
            backup_s, taken = _timed(lambda: _command("backup", file, "--data-dir", boda.folder))
            during = (len(writes) - begin) / backup_s
        before = _state(boda)
    restore_s, _ = _timed(lambda: _command("restore", file, "--data-dir", place))
    check_s, checked = _timed(lambda: _command("check", "--data-dir", place))
    copy = Boda(place, "--isolation", "process")
    start_s = copy.start()
    try:
        after = _state(copy)
    finally:
        copy.stop()
    different = sum(before.get(key) != after.get(key) for key in before.keys() | after.keys())
    different += len(taken["Faults"]) + len(checked["Faults"])
    report = {
        "filled": {"objects": objects, "functions": functions, "s": round(filled_s, 1)},
        "backup": {
            "s": round(backup_s, 2),
            "MB": round(taken["Bytes"] / 1e6, 1),
            "blobs": taken["Blobs"],
            "packages": taken["Packages"],
        },
        "replaced objects a second": {"without": round(alone), "during": round(during)},
        "restore": {"s": round(restore_s, 2)},
        "check": {"s": round(check_s, 2), "faults": len(checked["Faults"])},
        "start on the restored folder": {"s": round(start_s, 2)},
        "compared": {"objects and functions": len(before), "differences": different},
    }
    if different:
        report["failures"] = [f"{different} differences"]
    return report


def _fill(boda: Boda, objects: int, functions: int) -> None:
    role = boda.role()
    s3, aws = boda.client("s3", max_pool_connections=CLIENTS), boda.client("lambda")
    for bucket in (BUCKET, BUSY):
        s3.create_bucket(Bucket=bucket)
    runtime = boda.runtime()

    def put(number: int) -> None:
        body = os.urandom(SIZES[number % len(SIZES)])
        s3.put_object(Bucket=BUCKET, Key=f"{number:05d}", Body=body)

    def make(number: int) -> None:
        code = package(f"def lambda_handler(event, context):\n    return {number}\n")
        aws.create_function(
            FunctionName=f"function-{number:04d}",
            Runtime=runtime,
            Role=role,
            Handler="lambda_function.lambda_handler",
            Code={"ZipFile": code},
        )

    with ThreadPoolExecutor(CLIENTS) as pool:
        for work, count in ((put, objects), (make, functions)):
            for _ in pool.map(work, range(count)):
                pass


@contextmanager
def _load(boda: Boda) -> Iterator[list[None]]:
    """Replace and delete objects all the while; yields a list that grows by one for each."""
    ended, done = threading.Event(), list[None]()

    def work(client: int) -> None:
        s3, number = boda.client("s3"), 0
        while not ended.is_set():
            number += 1
            key = f"{client}/{number % 20}"
            if number % 10:
                s3.put_object(Bucket=BUSY, Key=key, Body=bytes(SIZES[number % len(SIZES)]))
            else:
                s3.delete_object(Bucket=BUSY, Key=key)
            done.append(None)

    with ThreadPoolExecutor(CLIENTS) as pool:
        futures = [pool.submit(work, client) for client in range(CLIENTS)]
        try:
            yield done
        finally:
            ended.set()
            for each in futures:
                each.result()


def _state(boda: Boda) -> dict[str, str]:
    """The ETags of all objects and the digests of all functions."""
    objects = boda.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    functions = boda.client("lambda").get_paginator("list_functions").paginate()
    return {
        **{each["Key"]: each["ETag"] for page in objects for each in page["Contents"]},
        **{
            each["FunctionName"]: each["CodeSha256"]
            for page in functions
            for each in page["Functions"]
        },
    }


def _command(*words: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "boda", *words, "--json"], capture_output=True, text=True
    )
    if not done.stdout:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    found = work()
    return time.perf_counter() - begin, found
