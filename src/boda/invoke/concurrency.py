"""How many invocations may run at once, and how many may start in a second.

Reserved concurrency guarantees a function its share and caps it; unreserved concurrency is shared
by the other functions (Lambda developer guide, "lambda-concurrency"). Provisioned concurrency sets
aside a part for one version, of the function's reservation or else of the unreserved concurrency;
calls of that version beyond it compete with the rest. All of this is per account and region.

Each unit of concurrency allows ten synchronous requests a second (the same page, "requests per
second"): a function with a reservation ten times that, a version on its provisioned concurrency
ten times that, and all others together ten times the unreserved concurrency. Asynchronous events
are not counted.

Law of this file: a lease costs the same however many functions there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic as _monotonic

from boda.core.rate import TokenBucket
from boda.fleet.refusals import too_many
from boda.runtime.function import FunctionVersion

ACCOUNT_LIMIT = 1000
REQUESTS_PER_UNIT = 10
"""Synchronous requests a second for each unit of concurrency."""


class Concurrency:
    """Gives leases of concurrency. limit: of each account in each region.

    requests_per_unit: the synchronous calls that may start in a second for each unit of
    concurrency; 0: no limit. monotonic: returns seconds that never go back. on_active: called
    before the first lease after ``quiet``.
    """

    def __init__(
        self,
        limit: int = ACCOUNT_LIMIT,
        *,
        requests_per_unit: int = REQUESTS_PER_UNIT,
        monotonic: Callable[[], float] = _monotonic,
    ) -> None:
        self._limit = limit
        self._per_unit = requests_per_unit
        self._monotonic = monotonic
        self._scopes: dict[tuple[str, str], RegionConcurrency] = {}
        self.on_active: Callable[[], None] | None = None
        self._quiet = True

    def reserve(self, account: str, region: str, function: str, count: int | None) -> None:
        """Reserve count for a function; 0 turns the function off, None ends the reservation.

        The caller decides whether the reservation leaves enough to others (``unreserved``).
        """
        scope = self._scope(account, region)
        found = scope.function(function)
        found.reserved = count
        self._settle(scope, found)

    def provision(
        self,
        account: str,
        region: str,
        function: str,
        version: str,
        count: int,
        named: tuple[str, ...] = (),
    ) -> None:
        """Set count aside for one version of a function. named: the qualifiers that they were
        configured for, which are dimensions of the metrics."""
        scope = self._scope(account, region)
        found = scope.function(function)
        if count:
            share = found.shares.get(version)
            if share is None:
                share = found.shares[version] = ProvisionedShare()
            share.count, share.named = count, named or (version,)
            share.rate.set(count * self._per_unit, count * self._per_unit)
        else:
            found.shares.pop(version, None)
        self._settle(scope, found)

    def reserved(self, account: str, region: str, function: str) -> int | None:
        found = self._found(account, region, function)
        return None if found is None else found.reserved

    def unreserved(self, account: str, region: str) -> int:
        """Return the concurrency that is neither reserved nor provisioned."""
        scope = self._scopes.get((account, region))
        return self._limit if scope is None else scope.shared

    def running(self, account: str, region: str, function: str) -> int:
        found = self._found(account, region, function)
        return 0 if found is None else found.running

    def lease(
        self, version: FunctionVersion, qualifier: str = "", *, synchronous: bool = True
    ) -> ConcurrencyLease:
        """Lease concurrency for one invocation. Raises AwsError (429) if there is none.

        qualifier: as the caller named the version, or "".
        """
        scope = self._scopes.get((version.account, version.region))
        if scope is None:
            scope = self._scope(version.account, version.region)
        function = scope.functions.get(version.name)
        if function is None:
            function = scope.function(version.name)
        if self._quiet:
            self._wake()
        # A reservation made while earlier calls still run guarantees no more than the account, or
        # the reservation, has left.
        full = scope.running >= self._limit
        reserved = function.reserved
        spent = reserved is not None and function.running >= reserved
        counted = synchronous and self._per_unit > 0
        if function.shares and not full and not spent:
            share = function.shares.get(version.version)
            if (
                share is not None
                and share.running < share.count
                and (not counted or share.rate.take(self._monotonic()))
            ):
                share.increment()
                return ConcurrencyLease(scope, function, qualifier, share, False)
        if reserved is not None:
            if spent or function.running - function.own >= reserved - function.aside:
                raise too_many("ReservedFunctionConcurrentInvocationLimitExceeded")
            if full:
                raise too_many("ConcurrentInvocationLimitExceeded", 1.0)
            if counted and not function.rate.take(now := self._monotonic()):
                wait_s = function.rate.wait_s(now)
                raise too_many("ReservedFunctionInvocationRateLimitExceeded", wait_s)
            return ConcurrencyLease(scope, function, qualifier, None, False)
        if full or scope.unreserved >= scope.shared:
            raise too_many("ConcurrentInvocationLimitExceeded", 1.0)
        if counted and not scope.rate.take(now := self._monotonic()):
            raise too_many("CallerRateLimitExceeded", scope.rate.wait_s(now))
        return ConcurrencyLease(scope, function, qualifier, None, True)

    # For metrics

    def scopes(self) -> Iterator[tuple[str, str, RegionConcurrency]]:
        """Yield (account, region, concurrency there)."""
        for (account, region), scope in self._scopes.items():
            yield account, region, scope

    def quiet(self) -> bool:
        """Whether nothing runs; if so, ``on_active`` is called before the next lease."""
        self._quiet = not any(scope.running for scope in self._scopes.values())
        return self._quiet

    def _wake(self) -> None:
        self._quiet = False
        if self.on_active is not None:
            self.on_active()

    def _found(self, account: str, region: str, name: str) -> FunctionConcurrency | None:
        scope = self._scopes.get((account, region))
        return None if scope is None else scope.functions.get(name)

    def _scope(self, account: str, region: str) -> RegionConcurrency:
        scope = self._scopes.get((account, region))
        if scope is None:
            scope = self._scopes[account, region] = RegionConcurrency(self._limit)
            self._share(scope)
        return scope

    def _settle(self, scope: RegionConcurrency, function: FunctionConcurrency) -> None:
        """Recompute the shares after a change of a function's settings."""
        scope.allocated -= function.allocated
        function.aside = sum(share.count for share in function.shares.values())
        reserved = function.reserved
        function.allocated = function.aside if reserved is None else reserved
        scope.allocated += function.allocated
        # Provisioned concurrency has a rate of its own.
        requests = max(0, (reserved or 0) - function.aside) * self._per_unit
        function.rate.set(requests, requests)
        self._share(scope)
        scope.forget_if_idle(function)

    def _share(self, scope: RegionConcurrency) -> None:
        scope.shared = self._limit - scope.allocated
        requests = max(0, scope.shared) * self._per_unit
        scope.rate.set(requests, requests)


class RegionConcurrency:
    """The concurrency of one account in one region.

    shared: not reserved. allocated: reserved or provisioned. running: invocations; unreserved:
    those that run on the shared part; peaks: of both since ``reset``.
    """

    __slots__ = (
        "allocated",
        "functions",
        "peak",
        "rate",
        "running",
        "shared",
        "unreserved",
        "unreserved_peak",
    )

    def __init__(self, shared: int) -> None:
        self.functions: dict[str, FunctionConcurrency] = {}
        self.shared = shared
        self.allocated = 0
        self.rate = TokenBucket(0, 0)
        self.running = self.peak = 0
        self.unreserved = self.unreserved_peak = 0

    def function(self, name: str) -> FunctionConcurrency:
        found = self.functions.get(name)
        if found is None:
            found = self.functions[name] = FunctionConcurrency(name)
        return found

    def forget_if_idle(self, function: FunctionConcurrency) -> None:
        """Forget a function that neither runs nor has settings."""
        used = function.running or function.peak or function.named
        told = function.shares or function.reserved is not None
        if not used and not told and self.functions.get(function.name) is function:
            del self.functions[function.name]

    def reset(self) -> None:
        """Start new peaks."""
        self.peak, self.unreserved_peak = self.running, self.unreserved
        for function in list(self.functions.values()):
            function.peak = function.running
            for count in (*function.shares.values(), *function.named.values()):
                count.peak = count.running
            for qualifier in [each for each, count in function.named.items() if not count.peak]:
                del function.named[qualifier]
            self.forget_if_idle(function)


class PeakCount:
    """A number of running invocations, and its peak since the last ``reset``."""

    __slots__ = ("peak", "running")

    def __init__(self) -> None:
        self.running = self.peak = 0

    def increment(self) -> None:
        self.running += 1
        if self.running > self.peak:
            self.peak = self.running


class ProvisionedShare(PeakCount):
    """The provisioned concurrency of one version. named: the qualifiers it is configured for."""

    __slots__ = ("count", "named", "rate")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.named: tuple[str, ...] = ()
        self.rate = TokenBucket(0, 0)


class FunctionConcurrency(PeakCount):
    """The concurrency of one function.

    reserved: the reservation, or None. aside: provisioned for all its versions together.
    allocated: the part that this takes from the account's. own: invocations that run on provisioned
    concurrency. shares: by version. named: invocations by the qualifier of the call.
    """

    __slots__ = ("allocated", "aside", "name", "named", "own", "rate", "reserved", "shares")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.reserved: int | None = None
        self.allocated = self.aside = self.own = 0
        self.rate = TokenBucket(0, 0)
        self.shares: dict[str, ProvisionedShare] = {}
        self.named: dict[str, PeakCount] = {}


class ConcurrencyLease:
    """Concurrency for one invocation, until ``release``.

    running: how many invocations of the function ran at its start, itself included. provisioned:
    whether it is of the provisioned concurrency of its version.
    """

    __slots__ = ("_function", "_named", "_scope", "_share", "_unreserved", "running")

    def __init__(
        self,
        scope: RegionConcurrency,
        function: FunctionConcurrency,
        qualifier: str,
        share: ProvisionedShare | None,
        unreserved: bool,
    ) -> None:
        self._scope: RegionConcurrency | None = scope
        self._function = function
        self._share = share
        self._unreserved = unreserved
        running = self.running = function.running = function.running + 1
        if running > function.peak:
            function.peak = running
        scope.running += 1
        if scope.running > scope.peak:
            scope.peak = scope.running
        if unreserved:
            scope.unreserved += 1
            if scope.unreserved > scope.unreserved_peak:
                scope.unreserved_peak = scope.unreserved
        elif share is not None:
            function.own += 1
        self._named: PeakCount | None = None
        if qualifier:
            named = function.named.get(qualifier)
            if named is None:
                named = function.named[qualifier] = PeakCount()
            named.increment()
            self._named = named

    @property
    def provisioned(self) -> bool:
        return self._share is not None

    def spills(self, version: str) -> bool:
        """Whether the version has provisioned concurrency, which this lease may not be of."""
        return version in self._function.shares

    def release(self) -> None:
        """Idempotent."""
        scope, self._scope = self._scope, None
        if scope is None:
            return
        function = self._function
        function.running -= 1
        scope.running -= 1
        if self._unreserved:
            scope.unreserved -= 1
        elif self._share is not None:
            self._share.running -= 1
            function.own -= 1
        if self._named is not None:
            self._named.running -= 1
