"""From nothing to 200 environments: 200 calls at once of a function that waits two seconds.

Every call needs an environment of its own, unless one becomes free before another is there. The
clock runs from the first request to the last answer, so two seconds of it are the function's own.
Then the same again, with all of them warm.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

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
            cold = at_once(boda, name)
            cpu_s = platform_cpu_s(boda.process.pid) - before_s
            found = boda.client("boda").list_environments()["Environments"]
            # Fewer than calls where starting all took longer than the first call.
            environments = sum(one["FunctionName"] == name for one in found)
            warm = at_once(boda, name)
            boda.client("lambda").delete_function(FunctionName=name)
            _until_gone(boda)
            report[f"round {number + 1}"] = {
                "all_answered_s": round(cold, 2),
                "environments": environments,
                "platform_cpu_s": round(cpu_s, 2),
                "warm_s": round(warm, 2),
            }
    return report


def _until_gone(boda: Boda) -> None:
    """Return when nothing but the zygotes and what they keep ready is left."""
    assert boda.process is not None
    while len(children(boda.process.pid)) > 12:
        time.sleep(0.1)


def at_once(boda: Boda, name: str, calls: int = CALLS, event: object = None) -> float:
    """Make so many calls at the same time; seconds until every one is answered, which must take
    a second at least. RuntimeError when one failed."""
    key, secret = boda.keys
    url = f"{boda.url}/2015-03-31/functions/{name}/invocations"
    body = json.dumps(event).encode()
    request = signed(url, "POST", body, service="lambda", key=key, secret=secret)
    # A connection sends for one second: the answer comes later, so each sends once.
    result = load("127.0.0.1", boda.port, calls, 1.0, [(request, b"200", b'"ok"')])
    if result["requests"] != calls or result["errors"]:
        raise RuntimeError(f"{result}")
    return float(str(result["seconds"]))


def platform_cpu_s(pid: int) -> float:
    """Seconds of CPU that the platform's own process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
