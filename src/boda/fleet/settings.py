"""What of the fleet can be set."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from boda.core.urls import USUAL_ENDPOINT
from boda.fleet.memory import machine_memory_mb
from boda.runtime.function import FunctionVersion


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Times in seconds, memory in MiB.

    init_limit_s: what init may take before it is given up and tried again inside the first
        invocation (10 on AWS). provisioned_init_limit_s: the same for provisioned concurrency and
        for SnapStart, or the function's timeout if that is longer. restore_limit_s: what forking
        an environment and its after-restore hooks may take (10 on AWS). idle_s: how long an
        environment waits for work before it goes.
    template_idle_s: how long a template is kept after its version's last environment has gone
        (14 days on AWS, whose snapshots lie on disk).
    freeze_after_s: how long it may keep its CPU after an invocation, so that calls that follow
        closely do not pay for freezing and thawing.
    max_environments: of all functions together. runtime_connections: to the Runtime APIs of all of
        them together, beyond the first few of each. reserve_mb: memory of the machine that new
        environments leave alone; below it, idle ones go, the longest idle first. start_mb: what
        an environment is expected to need at least. overcommit: how many times the memory that
        there is for functions the MemorySize of all environments together may come to.
        caution_s: for how long after the kernel killed one for the machine's memory that is 1 at
        most; killed_pause_s: for how long nothing is started then. settle_s: when what it needs
        shows in the machine's figures, after its init.
    start_limit_s: how long a call waits for an environment. room_limit_s: how long where the
        machine has no room for one. turn_s: how long a function without any environment waits
        until another one gives one up for it, though calls wait for that one too.
    scale_rate: environments that a function may get more in scale_period_s, refilled
        continuously; 0: no limit (Lambda developer guide, "scaling-behavior").
    provisioning_at_once: how many provisioned ones are started at a time.
    tenant_environments: of one function with tenant isolation, idle ones too (the guide,
        "tenant-isolation-troubleshooting").
    endpoint_url: of AWS, as functions find it.
    sweep_s: how often idle ones are looked at. credentials_margin_s: an environment is retired so
        long before its role's credentials lapse. provision_again_s: when starting provisioned ones
        is tried again after it failed. room_again_s: when a published version for whose template
        there is no room is looked at again.
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
        """What the version's init may take in a template (Lambda developer guide,
        "lambda-runtime-environment")."""
        return max(self.provisioned_init_limit_s, version.timeout_s)
