"""The fleet's own work with thousands of environments: ``python -m bench.fleet [count]``.

Environments are stand-ins that do nothing, so that only the bookkeeping is measured: microseconds
of CPU for each step and environment. They must not grow with the number of environments.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from boda.core.clock import ManualClock
from boda.core.ids import Ids
from boda.fleet.fleet import Fleet
from boda.fleet.settings import FleetSettings
from boda.runtime.function import FunctionVersion


class _Environment:
    """Becomes ready when told, and dies at once."""

    initialised = frozen = forked = retiring = killed = False
    idle_since, retire_at = 0.0, math.inf
    invocations = peak_bytes = 0

    def __init__(
        self,
        around: Any,
        owner: Fleet,
        version: FunctionVersion,
        tenant: str,
        *,
        provisioned: bool = False,
        **_: Any,
    ) -> None:
        self.id = around.ids.hex(32)
        self.version, self.tenant, self.provisioned = version, tenant, provisioned
        self.state = "starting"
        self._clock, self._owner = around.clock, owner

    def lapsed(self, now_s: float) -> bool:
        return False

    def memory_mb(self) -> int:
        return 7

    async def start(self) -> None:
        pass

    def ready(self) -> None:
        self.state, self.initialised = "idle", True
        self.idle_since = self._clock.monotonic()
        self._owner.environment_available(self)  # type: ignore[arg-type]

    def destroy(self) -> None:
        if self.state != "dead":
            self.state = "dead"
            self._owner.environment_dead(self, None)  # type: ignore[arg-type]

    async def destroyed(self) -> None:
        pass


async def _measure(count: int, functions: int) -> dict[str, float]:
    found: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        found[f"{name}, µs"] = round((time.process_time() - began) * 1e6 / count, 2)

    fleet = Fleet(
        mock.Mock(can_fork=False),
        mock.Mock(),
        ManualClock(),
        Ids(seed=1),
        credentials=mock.Mock(),
        serve_endpoint=mock.Mock(),
        settings=FleetSettings(max_environments=count, reserve_mb=100, scale_rate=0),
        available_mb=lambda: 1_000_000,
    )

    def versions(prefix: str) -> list[FunctionVersion]:
        made = [
            FunctionVersion(
                account="000000000000",
                region="us-east-1",
                name=f"{prefix}{number}",
                version="$LATEST",
                revision_id="1",
                role_arn="",
                runtime="python3.12",
                handler="app.handler",
                code_dir=Path("/nowhere"),
            )
            for number in range(functions)
        ]
        return made * (count // functions)

    first, second = versions("a"), versions("b")
    with step("a call waits, an environment is begun"):
        waiting = [asyncio.ensure_future(fleet.wait(each)) for each in first]
        await asyncio.sleep(0)
    with step("it is ready, the call gets it"):
        for made in list(fleet._live.values()):
            made.ready()  # type: ignore[attr-defined]
        held: list[Any] = [await each for each in waiting]
    with step("it becomes idle"):
        for each in held:
            each.ready()
    with step("a warm call takes it and gives it back"):
        for version in first:
            taken: Any = fleet.take(version)
            taken.state = "busy"
            taken.ready()
    with step("it is evicted for another function's"):
        waiting = [asyncio.ensure_future(fleet.wait(each)) for each in second]
        while len(starting := [e for e in fleet._live.values() if e.state == "starting"]) < count:
            await asyncio.sleep(0)
        for begun in starting:
            begun.ready()  # type: ignore[attr-defined]
        held = [await each for each in waiting]
    with step("it dies"):
        for each in held:
            each.destroy()
        await asyncio.sleep(0)
    await fleet.close()
    return found


def run(folder: Path, count: int = 5000) -> dict[str, Any]:
    report: dict[str, Any] = {}
    with mock.patch("boda.fleet.fleet.Environment", _Environment):
        for size in (count // 5, count):
            for functions in (1, size):
                name = f"{size} environments of {functions} function{'s' * (functions > 1)}"
                report[name] = asyncio.run(_measure(size, functions))
    return report


if __name__ == "__main__":
    for title, figures in run(Path(), *map(int, sys.argv[1:])).items():
        print(title)
        for key, value in figures.items():
            print(f"  {key:50} {value}")
