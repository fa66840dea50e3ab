"""From nothing to 200 environments: 200 calls at once of a function that waits two seconds.

Every call needs an environment of its own. The clock runs from the first request to the last
answer, so two seconds of it are the function's own. Then the same again, with all of them warm.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.host import Boda
from bench.load import load
from bench.memory import children
from bench.signing import signed

CALLS = 200
WAIT_S = 2
ROUNDS = 3

SOURCE = f"""
import time

def lambda_handler(event, context):
    time.sleep({WAIT_S})
    return "ok"
"""


def run(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = {}
    with Boda(folder / "data") as boda:
        assert boda.process is not None
        boda.function("Warm", "def lambda_handler(event, context): return 1")
        boda.client("lambda").invoke(FunctionName="Warm")  # the zygote of the runtime is there
        for number in range(ROUNDS):
            name = f"Burst-{number}"
            boda.function(name, SOURCE, Timeout=30)
            time.sleep(1)
            before_s = platform_cpu_s(boda.process.pid)
            cold = call(boda, name)
            cpu_s = platform_cpu_s(boda.process.pid) - before_s
            found = boda.client("boda").list_environments()["Environments"]
            print(f"{cold=} {cpu_s=} {len(found)}", flush=True)
            environments = sum(one["FunctionName"] == name for one in found)
            if environments < CALLS - 40:
                raise RuntimeError(f"only {environments} environments were made")
            warm = call(boda, name)
            boda.client("lambda").delete_function(FunctionName=name)
            while boda.client("boda").list_environments()["Environments"][1:]:
                time.sleep(0.1)
            report[f"round {number + 1}"] = {
                "all_answered_s": round(cold, 2),
                "environments": environments,
                "platform_cpu_s": round(cpu_s, 2),
                "warm_s": round(warm, 2),
            }
        report["processes left"] = {"count": len(children(boda.process.pid))}
    return report


def call(boda: Boda, name: str) -> float:
    """Seconds until every call is answered. RuntimeError when one failed."""
    key, secret = boda.keys
    url = f"{boda.url}/2015-03-31/functions/{name}/invocations"
    requests = [
        signed(url, "POST", json.dumps(n).encode(), service="lambda", key=key, secret=secret)
        for n in range(CALLS)
    ]
    # Each connection's answer comes after the end of the time to send, so each sends one.
    result = uvloop.run(load("127.0.0.1", boda.port, CALLS, WAIT_S / 2, requests))
    if result["requests"] != CALLS or result["errors"]:
        raise RuntimeError(f"{result}")
    return float(str(result["seconds"]))


def platform_cpu_s(pid: int) -> float:
    """Seconds of CPU that the platform's own process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
