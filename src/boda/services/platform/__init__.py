"""boda's own operations, for its command line: environments, cost, runtimes.

They have a service model like any AWS service (``model/``), so they are routed, signed and
authorised as one (``boda:ListEnvironments`` …), and any botocore client can call them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from boda.core.clock import Clock
from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.service import Service
from boda.plug import Host, Plug, Running


class EnvironmentReport(Protocol):
    """One execution environment as the fleet describes it."""

    @property
    def id(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def frozen(self) -> bool: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def memory_mb(self) -> int: ...
    @property
    def age_s(self) -> float: ...
    @property
    def invocations(self) -> int: ...
    @property
    def pid(self) -> int: ...


class MachineRuntime(Protocol):
    """One runtime of this machine."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def interpreter(self) -> Path: ...


class PlatformOperations:
    """environments, runtimes: callables that return the state of the moment.

    usage_report: given account and ``YYYY-MM``, returns the month's metered usage as GetCost
    answers it.
    """

    def __init__(
        self,
        environments: Callable[[], Sequence[EnvironmentReport]],
        usage_report: Callable[[str, str], Any],
        runtimes: Callable[[], Sequence[MachineRuntime]],
        clock: Clock,
    ) -> None:
        self._environments = environments
        self._usage_report = usage_report
        self._runtimes = runtimes
        self._clock = clock

    @operation("ListEnvironments")
    async def list_environments(self, ctx: Context, *, function_name: str = "") -> dict[str, Any]:
        rows = [
            {
                "EnvironmentId": one.id,
                "FunctionName": one.function,
                "Version": one.version,
                "State": "frozen" if one.frozen else one.state,
                "MemoryBytes": one.memory_bytes,
                "MemoryLimitMb": one.memory_mb,
                "AgeSeconds": round(one.age_s, 3),
                "Invocations": one.invocations,
                "Pid": one.pid,
            }
            for one in self._environments()
            if one.account == ctx.account and function_name in ("", one.function)
        ]
        return {"Environments": rows}

    @operation("GetCost")
    async def get_cost(self, ctx: Context, *, month: str = "") -> dict[str, Any]:
        month = month or time.strftime("%Y-%m", time.gmtime(self._clock.now()))
        report: dict[str, Any] = await self._usage_report(ctx.account, month)
        return report

    @operation("ListRuntimes")
    async def list_runtimes(self, ctx: Context) -> dict[str, Any]:
        return {
            "Runtimes": [
                {"Name": one.name, "Version": one.version, "Interpreter": str(one.interpreter)}
                for one in self._runtimes()
            ]
        }


def build(host: Host) -> Running:
    compute = host.compute
    platform = PlatformOperations(
        compute.fleet.environments,
        host.telemetry.usage_report,
        compute.runtimes.runtimes,
        host.clock,
    )
    return Running(Service("boda", [platform]))


PLUG = Plug("boda", build, models=Path(__file__).parent / "model")
