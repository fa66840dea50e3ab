"""Metrics of concurrency: how much ran at once, by the second in which it was the most.

Counting is the leases' own; this writes down the peaks once a second while anything runs, so that
a call pays nothing for it. Source: Lambda developer guide, "monitoring-concurrency": by function,
version and alias ``ConcurrentExecutions``; by version or alias with provisioned concurrency
``ProvisionedConcurrentExecutions`` and ``ProvisionedConcurrencyUtilization``; by region
``ConcurrentExecutions``, ``UnreservedConcurrentExecutions`` and ``ClaimedAccountConcurrency``. All
are read as maxima.
"""

from __future__ import annotations

from boda.core.clock import Clock
from boda.invoke.concurrency import Concurrency, Function, Place
from boda.telemetry.contract import NAMESPACE, Telemetry

EVERY_S = 1.0


class Gauges:
    """Writes the peaks of leases down. One per ``Concurrency``."""

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
        """Tell the peaks since the last time, and begin new ones."""
        for account, region, place in self._concurrency.places():
            if not place.peak:
                continue
            self._region(account, region, place)
            for function in place.functions.values():
                if function.peak:
                    self._function(account, region, function)
            place.reset()

    def _region(self, account: str, region: str, place: Place) -> None:
        values = (
            ("ConcurrentExecutions", float(place.peak), "Count"),
            ("UnreservedConcurrentExecutions", float(place.unreserved_peak), "Count"),
            (
                "ClaimedAccountConcurrency",
                float(place.unreserved_peak + place.allocated),
                "Count",
            ),
        )
        self._telemetry.measure(account, region, NAMESPACE, values, {})

    def _function(self, account: str, region: str, function: Function) -> None:
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
