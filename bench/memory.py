"""Memory: what the platform takes, and what one more idle warm environment takes.

An environment's own memory is its share of the machine's (PSS, proportional set size): pages it
has in common with the zygote and with other environments are counted by parts. Because the
common pages are divided by the number of those who share them, the figure that tells what one
more environment costs is the growth of the sum over all processes, divided by the environments
added; both are given.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.host import Boda

SOURCE = """
import time

def lambda_handler(event, context):
    time.sleep(event.get("wait", 0))
    return "ok"
"""


def run(folder: Path) -> dict[str, Any]:
    with Boda(folder / "data") as boda:
        assert boda.process is not None
        idle = pss(boda.process.pid)
        boda.function("Memory", SOURCE, Timeout=60)
        _warm(boda, 1)
        one = tree(boda.process.pid)
        environment = sum(pss(pid) for pid in _environment_pids(boda))
        _warm(boda, 21)
        many = tree(boda.process.pid)
        count = len(boda.client("boda").list_environments()["Environments"])
        platform = pss(boda.process.pid)
    return {
        "platform_start_mb": round(idle / 1024, 1),
        "platform_mb": round(platform / 1024, 1),
        "environments": count,
        "one_environment_pss_alone_mb": round(environment / 1024, 1),
        "one_more_environment_mb": round((many - one) / 1024 / (count - 1), 1),
    }


def _warm(boda: Boda, count: int) -> None:
    """Have so many environments by so many calls at once."""

    def call(_: int) -> None:
        answer = boda.client("lambda").invoke(
            FunctionName="Memory", Payload=json.dumps({"wait": 3 if count > 1 else 0}).encode()
        )
        assert answer["Payload"].read() == b'"ok"'

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(call, range(count)))


def _environment_pids(boda: Boda) -> list[int]:
    found = boda.client("boda").list_environments()["Environments"]
    pids = []
    for one in found:
        pids.append(one["Pid"])
        pids += children(one["Pid"])
    return pids


def children(pid: int) -> list[int]:
    """Every descendant of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry.name))
    found, wait = [], [pid]
    while wait:
        for child in parents.get(wait.pop(), []):
            found.append(child)
            wait.append(child)
    return found


def pss(pid: int) -> int:
    """KiB of a process; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.M)
    return int(found[1]) if found else 0


def tree(pid: int) -> int:
    """KiB of a process and all its descendants."""
    return sum(pss(one) for one in [pid, *children(pid)])
