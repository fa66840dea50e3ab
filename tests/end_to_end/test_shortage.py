"""A platform that may have too little memory for what its functions were promised."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from bench.host import Boda
from botocore.exceptions import ClientError

from support import waiting

eventually = partial(waiting.eventually, timeout_s=180)
LIMIT_MB = 640
# Below its own 512 MB, and three of them are more than all together may have.
SOURCE = """
import boto3, time

def lambda_handler(event, context):
    held = bytearray(220 << 20)
    held[::4096] = b"1" * len(held[::4096])
    time.sleep(0.5)
    key = f"done/{event['n']}"
    boto3.client("s3").put_object(Bucket="shortage", Key=key, Body=context.aws_request_id.encode())
    return len(held)
"""


def _own_memory_cgroup() -> Path | None:
    """Where groups can be made that limit memory, as this process sees it; version 1."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        if "memory" in controllers.split(","):
            path = Path("/sys/fs/cgroup/memory") / own.lstrip("/")
            return path if path.is_dir() and os.access(path, os.W_OK) else None
    return None


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[Path]:
    """An interpreter whose processes have little memory together."""
    above = _own_memory_cgroup()
    if os.geteuid() != 0 or above is None:
        pytest.skip("needs a cgroup of version 1 below its own, as root")
    group = above / f"test-shortage-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(LIMIT_MB << 20))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/bash\necho $$ >{group}/cgroup.procs\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    yield python

    def left() -> bool:
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()

    waiting.eventually(left, timeout_s=10)


def test_functions_are_not_blamed_and_no_event_is_lost(tmp_path: Path, tight: Path) -> None:
    with Boda(tmp_path / "data", python=str(tight)) as boda:
        s3, functions = boda.client("s3"), boda.client("lambda")
        s3.create_bucket(Bucket="shortage")
        boda.function("Large", SOURCE, MemorySize=512, Timeout=60)
        functions.put_function_event_invoke_config(FunctionName="Large", MaximumRetryAttempts=0)
        for number in range(8):
            payload = json.dumps({"n": number}).encode()
            functions.invoke(FunctionName="Large", InvocationType="Event", Payload=payload)

        def done() -> bool:
            found = s3.list_objects_v2(Bucket="shortage", Prefix="done/")
            return int(found["KeyCount"]) == 8

        eventually(done)
        while True:
            try:
                answer = functions.invoke(FunctionName="Large", Payload=b'{"n":"last"}')
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                code = error.response["Error"]["Code"]
                assert (status, code) in {
                    (500, "ServiceException"),
                    (429, "TooManyRequestsException"),
                }
            else:
                assert "FunctionError" not in answer
                break
        logs = boda.client("logs").filter_log_events(logGroupName="/aws/lambda/Large")
        said = "".join(event["message"] for event in logs["events"])
        assert "Runtime.OutOfMemory" not in said and "Runtime.ExitError" not in said
        with urllib.request.urlopen(f"{boda.url}/_boda/health", timeout=5) as health:
            reasons = json.load(health)["reasons"]
        killed = "Sandbox.Failure" in said
        assert killed == any(reason.startswith("memory:") for reason in reasons), reasons
