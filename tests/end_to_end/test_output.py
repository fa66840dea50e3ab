"""What functions write, through real sandboxes into CloudWatch Logs and back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any

from bench.host import Boda

LINES = 100_000


def messages(boda: Boda, group: str) -> list[str]:
    """Everything in the group's only stream, oldest first."""
    logs = boda.client("logs")
    (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    place: dict[str, Any] = {"logGroupName": group, "logStreamName": stream["logStreamName"]}
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = logs.get_log_events(**place, startFromHead=True, **token)
        found += [event["message"] for event in page["events"]]
        if token.get("nextToken") == page["nextForwardToken"]:
            return found
        token = {"nextToken": page["nextForwardToken"]}


def wait_for(boda: Boda, group: str, beginning: str) -> list[str]:
    end = time.monotonic() + 20
    while True:
        try:
            found = messages(boda, group)
        except (boda.client("logs").exceptions.ResourceNotFoundException, ValueError):
            found = []
        if any(one.startswith(beginning) for one in found):
            return found
        assert time.monotonic() < end, found[-3:]
        time.sleep(0.05)


def test_a_burst_of_lines_arrives_whole_while_others_are_served(boda: Boda, name: str) -> None:
    source = f"""
import subprocess
PROGRAM = "for i in range({LINES}): print('line', i)"

def lambda_handler(event, context):
    subprocess.run(["/var/lang/bin/python3", "-c", PROGRAM], check=True)
"""
    boda.function(name, source, Timeout=60, MemorySize=1769)
    slowest_s = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal slowest_s
        while not done.is_set():
            begin = time.monotonic()
            with urllib.request.urlopen(f"{boda.url}/_boda/health") as answer:
                answer.read()
            slowest_s = max(slowest_s, time.monotonic() - begin)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answer = boda.client("lambda").invoke(FunctionName=name)
        assert "FunctionError" not in answer, answer["Payload"].read()
        found = wait_for(boda, f"/aws/lambda/{name}", "REPORT")
    finally:
        done.set()
        watcher.join()
    lines = [one for one in found if one.startswith("line ")]
    assert lines == [f"line {number}\n" for number in range(LINES)]
    assert found.index("line 0\n") > 0 and found[-1].startswith("REPORT")
    assert slowest_s < 2


def test_an_unfinished_line_outlives_its_process(boda: Boda, name: str) -> None:
    source = """
import os

def lambda_handler(event, context):
    print("where it", end="")
    print(" stopped", end="", flush=True)
    os._exit(1)
"""
    boda.function(name, source)
    boda.client("lambda").invoke(FunctionName=name)
    assert "where it stopped" in wait_for(boda, f"/aws/lambda/{name}", "REPORT")


def test_following_a_log_until_interrupted(boda: Boda, name: str) -> None:
    boda.function(name, "def lambda_handler(event, context): print('seen', event['n'])\n")
    client = boda.client("lambda")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BODA_"))}
    follower = subprocess.Popen(
        [sys.executable, "-m", "boda", "logs", name, "--follow"],
        env=environment | {"BODA_DATA_DIR": str(boda.folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(90, follower.kill)
    watchdog.start()
    try:
        assert follower.stdout is not None and follower.stderr is not None
        for number in range(2):
            client.invoke(FunctionName=name, Payload=json.dumps({"n": number}).encode())
            while (line := follower.stdout.readline()) != f"seen {number}\n":
                assert line, follower.stderr.read()
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30) == 130
        assert follower.stderr.read() == ""
    finally:
        watchdog.cancel()
        follower.kill()
        follower.communicate()


LEVELS = """
import json, os, sys, time

def lambda_handler(event, context):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for level in ("DEBUG", "INFO", "WARN", "ERROR"):
        print(json.dumps({"timestamp": stamp, "level": level, "message": "printed " + level}))
        raw = json.dumps({"timestamp": stamp, "level": level, "raw": level})
        os.write(1, raw.encode() + b"\\n")
    print("a plain line")
    print("another one", file=sys.stderr)
"""


def test_printed_lines_have_the_level_that_they_name(boda: Boda, name: str) -> None:
    group = f"/aws/lambda/{name}"
    boda.function(
        name,
        LEVELS,
        LoggingConfig={
            "LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "WARN"
        },
    )  # fmt: skip
    boda.client("lambda").invoke(FunctionName=name)
    found = sorted(one.strip() for one in wait_for(boda, group, "{"))
    said = [json.loads(one) for one in found]
    assert all("timestamp" in one for one in said), "no platform lines either"
    assert sorted(one.get("message") or one["raw"] for one in said) == [
        "ERROR", "WARN", "printed ERROR", "printed WARN"
    ]  # fmt: skip
