"""A fleet with an invoker over fake sandboxes, on a manual clock."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from boda.core.clock import Clock, ManualClock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.fleet.fleet import Fleet
from boda.fleet.settings import FleetSettings
from boda.invoke.call import Call, Outcome
from boda.invoke.concurrency import Concurrency
from boda.invoke.function_table import FunctionTable
from boda.invoke.gauges import Gauges
from boda.invoke.path import Invoker
from boda.runtime.function import FunctionVersion
from support.fake_guests import FramedGuest, Guest
from support.fake_sandbox import FakeSandboxes, FakeTelemetry, Keys

SETTINGS = FleetSettings(max_environments=8, reserve_mb=100)


class Platform:
    """A fleet with an invoker over fake sandboxes."""

    def __init__(
        self,
        settings: FleetSettings = SETTINGS,
        *,
        clock: Any = None,
        telemetry: Any = None,
        functions: FunctionTable | None = None,
        concurrency: Callable[[Clock], Concurrency] | None = None,
        ids: Ids | None = None,
        invoker: type[Invoker] = Invoker,
        guest: type[Guest] = FramedGuest,
    ) -> None:
        self.clock = clock or ManualClock()
        self.sandboxes = FakeSandboxes(self.clock)
        self.sandboxes.framing = lambda spec: guest
        self.telemetry = telemetry or FakeTelemetry()
        self.available_mb = 10_000
        self.expires_at: float | None = None
        self.lasts_s: float | None = None
        """How long keys last that are given now."""
        self.refusal: AwsError | None = None
        self.endpoints: dict[str, bool] = {}
        self.functions = functions or FunctionTable()
        made = concurrency or (lambda clock: Concurrency(monotonic=clock.monotonic))
        self.concurrency = made(self.clock)
        self.gauges = Gauges(self.concurrency, self.telemetry, self.clock)
        self.fleet = Fleet(
            self.sandboxes,
            self.telemetry,
            self.clock,
            ids or Ids(seed=1),
            credentials=self._credentials,
            serve_endpoint=self._serve,
            settings=settings,
            available_mb=lambda: self.available_mb,
        )
        self.invoker = invoker(self.fleet, self.concurrency, self.functions, self.telemetry)
        self._ids = itertools.count(1)

    def _credentials(self, version: FunctionVersion) -> Keys:
        if self.refusal is not None:
            raise self.refusal
        if self.lasts_s is not None:
            return Keys(expires_at=self.clock.now() + self.lasts_s)
        return Keys(expires_at=self.expires_at)

    def _serve(self, sock, environment_id):
        endpoints = self.endpoints
        endpoints[environment_id] = True

        class Endpoint:
            def close(self) -> None:
                endpoints[environment_id] = False

        return Endpoint()

    def begin(self, version: FunctionVersion, payload: bytes = b"{}", **fields):
        call = Call(version, payload, f"id-{next(self._ids)}", version.arn, **fields)
        return asyncio.ensure_future(self.invoker.invoke(call))

    async def invoke(self, version: FunctionVersion, payload: bytes = b"{}", **fields) -> Outcome:
        task = self.begin(version, payload, **fields)
        await self.clock.settle()
        return await task

    async def advance(self, seconds: float) -> None:
        await self.clock.settle()
        await self.clock.advance(seconds)

    def states(self) -> list[str]:
        return sorted(shot.state for shot in self.fleet.environments())
