"""Limits of memory, processes, CPU and files, and the freezer."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from boda.sandbox import plan
from boda.sandbox.contract import Sandbox
from boda.sandbox.doctor.examination import Examination
from boda.sandbox.doctor.findings import AS_ROOT
from boda.sandbox.doctor.probe import ask

_DELEGATE = (
    f"{AS_ROOT}, or give it cgroups of its own: systemd-run --user --scope -p Delegate=yes boda up"
)
_DELEGATE_CPU = (
    f"{AS_ROOT}, or let root put `Delegate=cpu memory pids` under [Service] into "
    "/etc/systemd/system/user@.service.d/delegate.conf"
)


async def check_limits(examined: Examination, facts: dict[str, Any]) -> None:
    hierarchy = examined.sandboxes.hierarchy
    how = f"by a cgroup of version {hierarchy.version}"
    can = hierarchy.can
    root = os.geteuid() == 0
    remedy = "mount the cgroup controller and let boda write to it" if root else _DELEGATE
    memory = "memory" in can
    examined.add(
        "memory",
        memory and (not examined.thorough or await _memory_holds(examined)),
        how,
        "the limit does not hold"
        if memory
        else "each process alone is limited, by an rlimit; the sandbox as a whole is not",
        remedy,
    )
    sockets = "sockets" in can
    examined.add(
        "socket memory",
        sockets and (not examined.thorough or await _sockets_hold(examined)),
        how,
        "the limit does not hold"
        if sockets
        else "what lies unread in a function's sockets is not limited",
        f"boot without cgroup.memory=nosocket; {remedy}" if memory else remedy,
    )
    examined.add(
        "kernel memory",
        "kernel" in can,
        how,
        "pipes, sockets and page tables of a function are not limited",
        f"boot without cgroup.memory=nokmem; {remedy}" if memory else remedy,
    )
    counted = "pids" in can or examined.mode.isolated
    examined.add(
        "processes",
        counted and (not examined.thorough or await _processes_hold(examined)),
        how if "pids" in can else "by an rlimit",
        "the limit does not hold" if counted else "a function may start as many as boda may",
        remedy,
    )
    examined.add(
        "processes together",
        hierarchy.processes > 0,
        f"{how}: {hierarchy.processes:,} of all functions",
        "functions together may use up this machine's processes",
        remedy,
    )
    cpu = "cpu" in can
    examined.add(
        "CPU",
        cpu and (not examined.thorough or await _cpu_holds(examined)),
        f"{how}: 1 vCPU per 1,769 MB",
        "the limit does not hold" if cpu else "functions take what CPU there is",
        _DELEGATE_CPU if memory and not root else remedy,
    )
    examined.add(
        "open files",
        facts["open_files"] == 1024,
        "1,024 by an rlimit",
        "the limit was refused",
        "raise boda's own limit of open files to 1,024 or more",
    )


async def check_freezing(examined: Examination, sandbox: Sandbox) -> None:
    stopped = True
    freezer = "freezer" in examined.sandboxes.hierarchy.can
    if examined.thorough:
        before = float((await ask(sandbox, "spin 0")).get("cpu_s", 0))
        spinning = asyncio.create_task(ask(sandbox, "spin 0.4"))
        await asyncio.sleep(0.05)
        sandbox.freeze()
        await asyncio.sleep(0.25)
        sandbox.thaw()
        stopped = float((await spinning).get("cpu_s", 1)) - before < 0.25
    examined.add(
        "freezing",
        stopped,
        "by the freezer" if freezer else "by SIGSTOP",
        "idle functions keep computing",
        remedy="a kernel with the cgroup freezer",
    )


async def _memory_holds(examined: Examination) -> bool:
    sandbox = await examined.start(64)
    answer = await ask(sandbox, "memory 256")
    ended = await sandbox.wait_runtime() if not answer else None
    await sandbox.destroy()
    return ended is not None and ended.oom


async def _sockets_hold(examined: Examination) -> bool:
    sandbox = await examined.start(64)
    answer = await ask(sandbox, "datagrams 128")
    await sandbox.destroy()
    # It may have been killed for it instead.
    return int(answer.get("kept_mib", 0)) <= 64 + plan.BOOTSTRAP_MB


async def _processes_hold(examined: Examination) -> bool:
    sandbox = await examined.start(256, processes=20)
    answer = await ask(sandbox, "processes 40")
    await sandbox.destroy()
    return 0 < int(answer.get("started", 40)) < 40


async def _cpu_holds(examined: Examination) -> bool:
    sandbox = await examined.start(177)
    sandbox.init_done()
    await ask(sandbox, "spin 0.5")
    used = sandbox.usage().cpu_s
    await sandbox.destroy()
    return used < 0.35
