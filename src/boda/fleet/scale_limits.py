"""How fast, and how far, a function may get more environments.

Sources: Lambda developer guide, "scaling-behavior" and "tenant-isolation-troubleshooting".
"""

from __future__ import annotations

from collections import Counter

from boda.core.clock import Clock
from boda.core.rate import TokenBucket
from boda.fleet.pool import Pool
from boda.fleet.refusals import too_many
from boda.fleet.settings import FleetSettings

FunctionKey = tuple[str, str, str]
"""Account, region and name."""


class ScaleLimits:
    """The scaling rate of each function, and the number of its tenants' environments."""

    def __init__(self, settings: FleetSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._rates: dict[tuple[str, str, str, bool], TokenBucket] = {}
        self.tenants: Counter[FunctionKey] = Counter()

    def check(self, pool: Pool) -> None:
        """Raise AwsError (429) if the function may not have another environment now."""
        rate = self._rate(pool, provisioned=False)
        if rate is not None and (wait_s := rate.wait_s(self._clock.monotonic())) > 0:
            raise too_many("FunctionInvocationRateLimitExceeded", wait_s)
        if pool.tenant and self.tenants[pool.key[0][:3]] >= self._settings.tenant_environments:
            raise too_many("ConcurrentInvocationLimitExceeded", 1.0)

    def take(self, pool: Pool, *, provisioned: bool) -> float:
        """Count one more environment; return 0, or the seconds to wait if none may start now."""
        rate = self._rate(pool, provisioned=provisioned)
        now_s = self._clock.monotonic()
        return 0.0 if rate is None or rate.take(now_s) else rate.wait_s(now_s)

    def sweep(self, now_s: float) -> None:
        """Forget the functions that have used up nothing of their rate."""
        for key in [key for key, rate in self._rates.items() if rate.full(now_s)]:
            del self._rates[key]

    def _rate(self, pool: Pool, *, provisioned: bool) -> TokenBucket | None:
        settings = self._settings
        if not settings.scale_rate:
            return None
        key = (*pool.key[0][:3], provisioned)
        rate = self._rates.get(key)
        if rate is None:
            per_s = settings.scale_rate / settings.scale_period_s
            rate = self._rates[key] = TokenBucket(per_s, settings.scale_rate)
        return rate
