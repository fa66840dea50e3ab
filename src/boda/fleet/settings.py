"""What of the fleet can be set."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def machine_memory_mb() -> int:
    """The machine's memory, MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)


def available_memory_mb() -> int:
    """What the kernel could give to new processes without swapping, MiB."""
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    return machine_memory_mb()


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Times in seconds, memory in MiB.

    init_limit_s: what init may take before it is given up and tried again inside the first
        invocation (10 on AWS). provisioned_init_limit_s: the same for provisioned concurrency, or
        the function's timeout if that is longer. idle_s: how long an environment waits for work
        before it goes.
    freeze_after_s: how long it may keep its CPU after an invocation, so that calls that follow
        closely do not pay for freezing and thawing.
    max_environments: of all functions together. reserve_mb: memory of the machine that new
        environments leave alone; below it, idle ones go, the longest idle first.
    start_limit_s: how long a call waits for an environment. sweep_s: how often idle ones are
        looked at. credentials_margin_s: an environment is retired so long before its role's
        credentials lapse. provision_again_s: when starting provisioned ones is tried again after
        it failed.
    """

    init_limit_s: float = 10.0
    provisioned_init_limit_s: float = 130.0
    idle_s: float = 600.0
    freeze_after_s: float = 0.01
    max_environments: int = field(default_factory=lambda: max(16, machine_memory_mb() // 32))
    reserve_mb: int = field(default_factory=lambda: min(512, machine_memory_mb() // 10))
    start_limit_s: float = 60.0
    sweep_s: float = 5.0
    credentials_margin_s: float = 300.0
    provision_again_s: float = 60.0
