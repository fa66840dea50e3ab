"""Cold starts as a caller sees them: a function's first invoke after its configuration changed."""

from __future__ import annotations

import base64
import json
import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import snap_start
from bench.host import Boda, package

COUNT = 30
SIX_ROUNDS = 5

BARE = """
def lambda_handler(event, context):
    return "ok"
"""

BOTO3 = """
import boto3

s3 = boto3.client("s3")

def lambda_handler(event, context):
    return "ok"
"""


def run(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = {}
    with Boda(folder / "data") as boda:
        for name, source in (("bare", BARE), ("boto3 client at import", BOTO3)):
            function = f"Cold-{name.split()[0]}"
            boda.function(function, source, MemorySize=1769)
            client = boda.client("lambda")
            _invoke(client, function)  # the zygote of the runtime is started once
            samples, inits = [], []
            for number in range(COUNT):
                client.update_function_configuration(
                    FunctionName=function, Environment={"Variables": {"ROUND": str(number)}}
                )
                client.get_waiter("function_updated_v2").wait(
                    FunctionName=function, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
                )
                time.sleep(0.05)  # the old environment is taken down meanwhile
                begin = time.perf_counter()
                log = _invoke(client, function)
                samples.append((time.perf_counter() - begin) * 1000)
                if "Init Duration" not in log:
                    raise RuntimeError("not a cold start: " + log)
                inits.append(float(log.split("Init Duration: ")[1].split(" ")[0]))
            report[name] = {
                "median_ms": round(statistics.median(samples), 1),
                "p90_ms": round(sorted(samples)[int(COUNT * 0.9)], 1),
                "init_median_ms": round(statistics.median(inits), 1),
                "samples": COUNT,
            }
        report["SnapStart, boto3 client at import"] = snap_start.measure(boda, COUNT)
        for name, source in (("bare", BARE), ("boto3 client at import", BOTO3)):
            samples = [
                six_at_once_s(boda.client("lambda"), boda.runtime(), boda.role(), source)
                for _ in range(SIX_ROUNDS)
            ]
            report[f"six different functions at once, {name}"] = {
                "median_s": round(statistics.median(samples), 3),
                "slowest_s": round(max(samples), 3),
                "rounds": SIX_ROUNDS,
            }
    return report


def six_at_once_s(client: Any, runtime: str, role: str, source: str) -> float:
    """Seconds until six new functions, invoked at once, have all answered."""
    names = [f"Six-{uuid.uuid4().hex[:8]}" for _ in range(6)]
    for name in names:
        client.create_function(
            FunctionName=name,
            Runtime=runtime,
            Role=role,
            Handler="lambda_function.lambda_handler",
            Code={"ZipFile": package(f"WHO = {name!r}\n{source}")},
            MemorySize=512,
            Timeout=60,
        )
        client.get_waiter("function_active_v2").wait(
            FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
        )
    with ThreadPoolExecutor(len(names)) as callers:
        begin = time.perf_counter()
        answers = [
            json.loads(one["Payload"].read())
            for one in callers.map(lambda name: client.invoke(FunctionName=name), names)
        ]
        seconds = time.perf_counter() - begin
    if answers != ["ok"] * len(names):
        raise RuntimeError(f"one of six answered wrongly: {answers}")
    for name in names:
        client.delete_function(FunctionName=name)
    return seconds


def _invoke(client: Any, function: str) -> str:
    answer = client.invoke(FunctionName=function, Payload=b"{}", LogType="Tail")
    payload = json.loads(answer["Payload"].read())
    if payload != "ok":
        raise RuntimeError(f"{function} answered {payload}")
    return base64.b64decode(answer["LogResult"]).decode()
