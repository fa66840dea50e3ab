"""Cold starts as a caller sees them: a function's first invoke after its configuration changed."""

from __future__ import annotations

import base64
import json
import statistics
import time
from pathlib import Path
from typing import Any

from bench import snap_start
from bench.host import Boda

COUNT = 30

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
    return report


def _invoke(client: Any, function: str) -> str:
    answer = client.invoke(FunctionName=function, Payload=b"{}", LogType="Tail")
    payload = json.loads(answer["Payload"].read())
    if payload != "ok":
        raise RuntimeError(f"{function} answered {payload}")
    return base64.b64decode(answer["LogResult"]).decode()
