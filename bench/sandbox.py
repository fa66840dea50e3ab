"""The bare start of a sandbox, step by step: ``python -m bench.sandbox [runtime]``.

From the call of ``start`` to the runtime process standing at its bootstrap's door; the median
of thirty, each step on its own. Then what an idle sandbox costs in memory and what it takes to
start a runtime again in the same sandbox.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from boda.runtime.catalogue import RuntimeCatalogue
from boda.runtime.library import RuntimeLibrary
from boda.sandbox.contract import Sandbox, SandboxSpec
from boda.sandbox.linux import LinuxSandboxes

COUNT = 30
_BOOTSTRAP = """
import time

def main(channel_fd, log_fd, environ):
    while True:
        time.sleep(3600)
"""


def pss_kb(pid: int) -> int:
    """Memory of a process, what it shares divided by how many share it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """times: of each step, ms."""
    return {
        f"{step}, ms (median of {len(values)})": round(statistics.median(values), 2)
        for step, values in times.items()
    }


def idle_mb(sandboxes: Sequence[Sandbox]) -> float:
    """What one costs, its init included: the median."""
    pss = [pss_kb(one.pid) + pss_kb(child_of(one.pid)) for one in sandboxes]
    return round(statistics.median(pss) / 1024, 2)


def main(run: Callable[..., dict[str, float]]) -> None:
    """Measure in a folder of its own, with the runtime that the command line names, and print."""
    with tempfile.TemporaryDirectory(prefix="boda-bench-") as name:
        for what, value in run(Path(name), *sys.argv[1:2]).items():
            print(f"{value:10.2f}  {what}")


async def measure(folder: Path, runtime: str) -> dict[str, float]:
    code = folder / "code"
    code.mkdir()
    catalogue = RuntimeCatalogue.discover()
    runtime = runtime or [name for name in catalogue if name.startswith("python")][-1]
    bootstrap = folder / "bootstrap.py"
    bootstrap.write_text(_BOOTSTRAP)
    library = RuntimeLibrary(folder / "library", bootstrap=bootstrap)
    sandboxes = LinuxSandboxes(folder / "state", catalogue, library, instance=str(folder))
    times: dict[str, list[float]] = defaultdict(list)
    report: dict[str, float] = {}
    try:
        began = time.monotonic()
        await sandboxes.warm(runtime)
        report["zygote, first of a library, ms"] = (time.monotonic() - began) * 1e3
        for number in range(COUNT):
            await asyncio.sleep(0.05)  # the pools fill again, as between real cold starts
            began = time.monotonic()
            sandbox = await sandboxes.start(SandboxSpec(f"bench-{number}", runtime, code))
            ended = time.monotonic()
            before = began
            for step, at in sandbox.marks:
                times[step].append((at - before) * 1e3)
                before = at
            times["report to the platform"].append((ended - before) * 1e3)
            times["start, all of it"].append((ended - began) * 1e3)
            began = time.monotonic()
            await sandbox.restart({})
            times["restart"].append((time.monotonic() - began) * 1e3)
            began = time.monotonic()
            await sandbox.destroy()
            times["destroy"].append((time.monotonic() - began) * 1e3)
        report |= medians(times)
        idle = [
            await sandboxes.start(SandboxSpec(f"idle-{number}", runtime, code))
            for number in range(10)
        ]
        report["idle sandbox with its init, MB (PSS, one of ten)"] = idle_mb(idle)
    finally:
        await sandboxes.close()
    return report


def run(folder: Path, runtime: str = "") -> dict[str, float]:
    return asyncio.run(measure(folder, runtime))


if __name__ == "__main__":
    main(run)
