"""What boda costs while nothing runs: 1,000 deployed functions, then 300 warm environments.

Memory is PSS (proportional set size, see ``bench.memory``) of the platform with its zygotes and
the inits made ahead, and the growth of that sum over the environments added. CPU is what all of
them used while nothing was asked of them, in percent of one core.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from bench.burst import at_once
from bench.host import Boda, package
from bench.memory import children, pss

FUNCTIONS = 1000
ENVIRONMENTS = 300
QUIET_S = 10.0

SOURCE = """
import time

def lambda_handler(event, context):
    time.sleep(event["wait"])
    return "ok"
"""


def run(folder: Path) -> dict[str, Any]:
    with Boda(folder / "data") as boda:
        deploy(boda)
        boda.client("lambda").invoke(FunctionName="Idle-0", Payload=b'{"wait": 0}')
        time.sleep(3)  # what deploying has begun comes to its end
        deployed = measure(boda)
        boda.stop()
        start_s = boda.start()
        time.sleep(3)
        before = measure(boda)
        warm(boda)
        time.sleep(3)
        after = measure(boda)
        count = len(boda.client("boda").list_environments()["Environments"])
    added = after["pss_mb"] - before["pss_mb"]
    return {
        f"{FUNCTIONS} functions, as deployed": deployed,
        f"{FUNCTIONS} functions, after a restart": {**before, "start_s": round(start_s, 2)},
        f"{count} idle environments": {
            "each_pss_mb": round(added / count, 2),
            "cpu_percent": after["cpu_percent"],
        },
    }


def deploy(boda: Boda) -> None:
    role, runtime = boda.role(), boda.runtime()
    client, code = boda.client("lambda"), package(SOURCE)
    for number in range(FUNCTIONS):
        client.create_function(
            FunctionName=f"Idle-{number}",
            Runtime=runtime,
            Role=role,
            Handler="lambda_function.lambda_handler",
            Code={"ZipFile": code},
            Timeout=60,
        )


def warm(boda: Boda) -> None:
    """Have so many environments of one function: twice, since late calls take the first ones'."""
    for wait_s in (5, 10):
        at_once(boda, "Idle-0", ENVIRONMENTS, {"wait": wait_s})


def measure(boda: Boda) -> dict[str, float]:
    """Memory of the platform and all below it, MiB, and CPU while nothing is asked, percent."""
    assert boda.process is not None
    pids = [boda.process.pid, *children(boda.process.pid)]
    begin, before = time.monotonic(), sum(map(cpu_s, pids))
    time.sleep(QUIET_S)
    used = sum(map(cpu_s, pids)) - before
    return {
        "pss_mb": round(sum(map(pss, pids)) / 1024, 1),
        "platform_pss_mb": round(pss(boda.process.pid) / 1024, 1),
        "processes": len(pids),
        "cpu_percent": round(100 * used / (time.monotonic() - begin), 2),
    }


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
