"""The settings of the fleet."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from boda.core.urls import USUAL_ENDPOINT
from boda.fleet.memory import machine_memory_mb
from boda.runtime.function import FunctionVersion


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Times in seconds, memory in MiB.

    init_limit_s: the limit of an init, after which it is tried again inside the first invocation
        (10 on AWS). provisioned_init_limit_s: the same for provisioned concurrency and for
        SnapStart, or the function's timeout if that is longer. restore_limit_s: the limit of
        forking an environment and its after-restore hooks (10 on AWS). idle_s: how long an idle
        environment is kept.
    template_idle_s: how long a template is kept after its version's last environment (14 days on
        AWS, whose snapshots are on disk).
    freeze_after_s: how long an environment keeps its CPU after an invocation, so that calls that
        follow closely need no freezing and thawing.
    max_environments: of all functions together. runtime_connections: to the Runtime APIs of all of
        them together, beyond the first few of each. reserve_mb: memory of the machine that new
        environments leave free; below it, idle ones are evicted, the longest idle first. start_mb:
        the least that an environment is expected to need. overcommit: how many times the memory
        that there is for functions the MemorySize of all environments together may come to.
        caution_s: for so long after the kernel killed one for the machine's memory overcommit is 1
        at most; killed_pause_s: for so long nothing is started then. settle_s: so long after its
        init the memory of an environment shows in the machine's figures.
    start_limit_s: how long a call waits for an environment. room_limit_s: how long if the machine
        has no room for one. turn_s: after so long a function without environments gets one of
        another function, also if calls wait for that one.
    scale_rate: further environments that a function may get in scale_period_s, refilled
        continuously; 0: no limit (Lambda developer guide, "scaling-behavior").
    provisioning_at_once: how many provisioned ones are started at a time.
    tenant_environments: of one function with tenant isolation, idle ones too (the guide,
        "tenant-isolation-troubleshooting").
    endpoint_url: of AWS for functions.
    sweep_s: how often idle environments are checked. credentials_margin_s: an environment is
        retired so long before its role's credentials expire. provision_again_s: after so long a
        failed start of provisioned environments is tried again. room_again_s: after so long the
        template of a published version, for which there was no room, is tried again.
    """

    init_limit_s: float = 10.0
    provisioned_init_limit_s: float = 130.0
    restore_limit_s: float = 10.0
    idle_s: float = 600.0
    template_idle_s: float = 3600.0
    freeze_after_s: float = 0.01
    max_environments: int = field(default_factory=lambda: max(16, machine_memory_mb() // 32))
    runtime_connections: int = 4096
    reserve_mb: int = field(default_factory=lambda: min(512, machine_memory_mb() // 10))
    start_mb: int = 32
    overcommit: float = math.inf
    caution_s: float = 600.0
    killed_pause_s: float = 0.25
    settle_s: float = 1.0
    start_limit_s: float = 60.0
    room_limit_s: float = 20.0
    turn_s: float = 1.0
    scale_rate: int = 1000
    scale_period_s: float = 10.0
    provisioning_at_once: int = 16
    tenant_environments: int = 2500
    sweep_s: float = 5.0
    credentials_margin_s: float = 300.0
    provision_again_s: float = 60.0
    room_again_s: float = 1.0
    endpoint_url: str = USUAL_ENDPOINT

    def snapshot_limit_s(self, version: FunctionVersion) -> float:
        """Return the limit of a version's init in a template (Lambda developer guide,
        "lambda-runtime-environment")."""
        return max(self.provisioned_init_limit_s, version.timeout_s)
