"""Metrics of concurrency: the peaks of each second.

Leases count; their peaks are recorded here once a second while anything runs, so that a call pays
nothing for it. Source: Lambda developer guide, "monitoring-concurrency": by function,
version and alias ``ConcurrentExecutions``; by version or alias with provisioned concurrency
``ProvisionedConcurrentExecutions`` and ``ProvisionedConcurrencyUtilization``; by region
``ConcurrentExecutions``, ``UnreservedConcurrentExecutions`` and ``ClaimedAccountConcurrency``. All
are read as maxima.
"""

from __future__ import annotations

from boda.core.clock import Clock
from boda.invoke.concurrency import Concurrency, FunctionConcurrency, RegionConcurrency
from boda.telemetry.contract import NAMESPACE, Telemetry

EVERY_S = 1.0


class Gauges:
    """Records the peaks of leases. There is one per ``Concurrency``."""

    def __init__(self, concurrency: Concurrency, telemetry: Telemetry, clock: Clock) -> None:
        self._concurrency = concurrency
        self._telemetry = telemetry
        self._clock = clock
        concurrency.on_active = self._watch

    def _watch(self) -> None:
        self._clock.call_later(EVERY_S, self._tick)

    def _tick(self) -> None:
        self.write()
        if not self._concurrency.quiet():
            self._watch()

    def write(self) -> None:
        """Record the peaks since the last time, and start new ones."""
        for account, region, scope in self._concurrency.scopes():
            if not scope.peak:
                continue
            self._region(account, region, scope)
            for function in scope.functions.values():
                if function.peak:
                    self._function(account, region, function)
            scope.reset()

    def _region(self, account: str, region: str, scope: RegionConcurrency) -> None:
        values = (
            ("ConcurrentExecutions", float(scope.peak), "Count"),
            ("UnreservedConcurrentExecutions", float(scope.unreserved_peak), "Count"),
            (
                "ClaimedAccountConcurrency",
                float(scope.unreserved_peak + scope.allocated),
                "Count",
            ),
        )
        self._telemetry.measure(account, region, NAMESPACE, values, {})

    def _function(self, account: str, region: str, function: FunctionConcurrency) -> None:
        name = function.name

        def tell(qualifier: str, *values: tuple[str, float, str]) -> None:
            by = {"FunctionName": name}
            if qualifier:
                by["Resource"] = f"{name}:{qualifier}"
            self._telemetry.measure(account, region, NAMESPACE, values, by)

        tell("", ("ConcurrentExecutions", float(function.peak), "Count"))
        for qualifier, count in function.named.items():
            tell(qualifier, ("ConcurrentExecutions", float(count.peak), "Count"))
        for share in function.shares.values():
            for qualifier in share.named:
                tell(
                    qualifier,
                    ("ProvisionedConcurrentExecutions", float(share.peak), "Count"),
                    ("ProvisionedConcurrencyUtilization", share.peak / share.count, "None"),
                )
