"""How many invocations may run at once and how many may begin in a second.

Reserved concurrency guarantees a function its share and caps it; what nobody reserved is shared
by the others (Lambda developer guide, "lambda-concurrency"). Provisioned concurrency sets aside a
part, of the function's reservation or else of what is shared, for one version; what that version
runs beyond it competes with the rest. Everything is per account and region.

Each unit of concurrency stands for ten synchronous requests a second (the same page, "requests
per second"), so a function may not begin more than ten times its reservation in a second, a
version not more than ten times what is provisioned on what is provisioned, and all the others
together not more than ten times what is shared. Asynchronous events are not counted.

Law of this file: a lease costs the same however many functions there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic as _monotonic

from boda.core.rate import Rate
from boda.fleet.refusals import too_many
from boda.runtime.function import FunctionVersion

ACCOUNT_LIMIT = 1000
REQUESTS_PER_UNIT = 10
"""Synchronous requests a second for each unit of concurrency."""


class Concurrency:
    """Leases of concurrency. limit: of each account in each region.

    requests_per_unit: how many synchronous calls may begin in a second for each unit of
    concurrency; 0: as many as like. monotonic: seconds that never go back.
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
        self._places: dict[tuple[str, str], Place] = {}
        self.on_active: Callable[[], None] | None = None
        """Called before the first lease after ``quiet``."""
        self._quiet = True

    def reserve(self, account: str, region: str, function: str, count: int | None) -> None:
        """Reserve so many for a function, or with None nothing any more. 0 turns it off.

        Whether the reservation leaves enough to others is the caller's rule (``unreserved``).
        """
        place = self._place(account, region)
        found = place.function(function)
        found.reserved = count
        self._settle(place, found)

    def provision(
        self,
        account: str,
        region: str,
        function: str,
        version: str,
        count: int,
        named: tuple[str, ...] = (),
    ) -> None:
        """Set so many aside for one version of a function; 0: none. named: the qualifiers that
        ask for them, under which metrics tell of their use."""
        place = self._place(account, region)
        found = place.function(function)
        if count:
            share = found.shares.get(version)
            if share is None:
                share = found.shares[version] = Share()
            share.count, share.named = count, named or (version,)
            share.rate.set(count * self._per_unit, count * self._per_unit)
        else:
            found.shares.pop(version, None)
        self._settle(place, found)

    def reserved(self, account: str, region: str, function: str) -> int | None:
        found = self._found(account, region, function)
        return None if found is None else found.reserved

    def unreserved(self, account: str, region: str) -> int:
        """What no function has reserved and no version has been given."""
        place = self._places.get((account, region))
        return self._limit if place is None else place.shared

    def running(self, account: str, region: str, function: str) -> int:
        found = self._found(account, region, function)
        return 0 if found is None else found.running

    def lease(
        self, version: FunctionVersion, qualifier: str = "", *, synchronous: bool = True
    ) -> Lease:
        """Room for one invocation, to be released. AwsError (429) where there is none.

        qualifier: by which the caller named the version, "" for none.
        """
        place = self._places.get((version.account, version.region))
        if place is None:
            place = self._place(version.account, version.region)
        function = place.functions.get(version.name)
        if function is None:
            function = place.function(version.name)
        if self._quiet:
            self._wake()
        # What is reserved or provisioned while calls of before still run guarantees no more than
        # the account, or the reservation, has.
        full = place.running >= self._limit
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
                share.begin()
                return Lease(place, function, qualifier, share, False)
        if reserved is not None:
            if spent or function.running - function.own >= reserved - function.aside:
                raise too_many("ReservedFunctionConcurrentInvocationLimitExceeded")
            if full:
                raise too_many("ConcurrentInvocationLimitExceeded", 1.0)
            if counted and not function.rate.take(now := self._monotonic()):
                wait_s = function.rate.wait_s(now)
                raise too_many("ReservedFunctionInvocationRateLimitExceeded", wait_s)
            return Lease(place, function, qualifier, None, False)
        if full or place.unreserved >= place.shared:
            raise too_many("ConcurrentInvocationLimitExceeded", 1.0)
        if counted and not place.rate.take(now := self._monotonic()):
            raise too_many("CallerRateLimitExceeded", place.rate.wait_s(now))
        return Lease(place, function, qualifier, None, True)

    # For metrics

    def places(self) -> Iterator[tuple[str, str, Place]]:
        """(account, region, what runs there)."""
        for (account, region), place in self._places.items():
            yield account, region, place

    def quiet(self) -> bool:
        """Begin to watch for the next lease, if nothing runs now."""
        self._quiet = not any(place.running for place in self._places.values())
        return self._quiet

    def _wake(self) -> None:
        self._quiet = False
        if self.on_active is not None:
            self.on_active()

    def _found(self, account: str, region: str, name: str) -> Function | None:
        place = self._places.get((account, region))
        return None if place is None else place.functions.get(name)

    def _place(self, account: str, region: str) -> Place:
        place = self._places.get((account, region))
        if place is None:
            place = self._places[account, region] = Place(self._limit)
            self._share(place)
        return place

    def _settle(self, place: Place, function: Function) -> None:
        """Take into account what was set for a function."""
        place.allocated -= function.allocated
        function.aside = sum(share.count for share in function.shares.values())
        reserved = function.reserved
        function.allocated = function.aside if reserved is None else reserved
        place.allocated += function.allocated
        # What is provisioned has a rate of its own.
        requests = max(0, (reserved or 0) - function.aside) * self._per_unit
        function.rate.set(requests, requests)
        self._share(place)
        place.forget_if_idle(function)

    def _share(self, place: Place) -> None:
        place.shared = self._limit - place.allocated
        requests = max(0, place.shared) * self._per_unit
        place.rate.set(requests, requests)


class Place:
    """One account in one region.

    shared: what nobody reserved. allocated: what is reserved or set aside. running, unreserved:
    invocations, all and those that run on what is shared; the peaks are theirs since ``reset``.
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
        self.functions: dict[str, Function] = {}
        self.shared = shared
        self.allocated = 0
        self.rate = Rate(0, 0)
        self.running = self.peak = 0
        self.unreserved = self.unreserved_peak = 0

    def function(self, name: str) -> Function:
        found = self.functions.get(name)
        if found is None:
            found = self.functions[name] = Function(name)
        return found

    def forget_if_idle(self, function: Function) -> None:
        """Leave no trace of a function that neither runs nor was told of."""
        used = function.running or function.peak or function.named
        told = function.shares or function.reserved is not None
        if not used and not told and self.functions.get(function.name) is function:
            del self.functions[function.name]

    def reset(self) -> None:
        """Begin new peaks."""
        self.peak, self.unreserved_peak = self.running, self.unreserved
        for function in list(self.functions.values()):
            function.peak = function.running
            for count in (*function.shares.values(), *function.named.values()):
                count.peak = count.running
            for qualifier in [each for each, count in function.named.items() if not count.peak]:
                del function.named[qualifier]
            self.forget_if_idle(function)


class Count:
    """How many run, and how many did at most since the last ``reset``."""

    __slots__ = ("peak", "running")

    def __init__(self) -> None:
        self.running = self.peak = 0

    def begin(self) -> None:
        self.running += 1
        if self.running > self.peak:
            self.peak = self.running


class Share(Count):
    """What is provisioned for one version. named: the qualifiers that ask for it."""

    __slots__ = ("count", "named", "rate")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.named: tuple[str, ...] = ()
        self.rate = Rate(0, 0)


class Function(Count):
    """One function. reserved: or None. aside: provisioned for all its versions together.
    allocated: what all that takes from what is shared. own: those of its invocations that run on
    what is provisioned. shares: by version. named: those that were called by a qualifier."""

    __slots__ = ("allocated", "aside", "name", "named", "own", "rate", "reserved", "shares")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.reserved: int | None = None
        self.allocated = self.aside = self.own = 0
        self.rate = Rate(0, 0)
        self.shares: dict[str, Share] = {}
        self.named: dict[str, Count] = {}


class Lease:
    """running: how many invocations of the function ran when it was given, itself included.
    provisioned: whether it is of what was set aside for its version."""

    __slots__ = ("_function", "_named", "_place", "_share", "_unreserved", "running")

    def __init__(
        self,
        place: Place,
        function: Function,
        qualifier: str,
        share: Share | None,
        unreserved: bool,
    ) -> None:
        self._place: Place | None = place
        self._function = function
        self._share = share
        self._unreserved = unreserved
        running = self.running = function.running = function.running + 1
        if running > function.peak:
            function.peak = running
        place.running += 1
        if place.running > place.peak:
            place.peak = place.running
        if unreserved:
            place.unreserved += 1
            if place.unreserved > place.unreserved_peak:
                place.unreserved_peak = place.unreserved
        elif share is not None:
            function.own += 1
        self._named: Count | None = None
        if qualifier:
            named = function.named.get(qualifier)
            if named is None:
                named = function.named[qualifier] = Count()
            named.begin()
            self._named = named

    @property
    def provisioned(self) -> bool:
        return self._share is not None

    def spills(self, version: str) -> bool:
        """Whether the version has provisioned concurrency, for what does not run on it."""
        return version in self._function.shares

    def release(self) -> None:
        """Idempotent."""
        place, self._place = self._place, None
        if place is None:
            return
        function = self._function
        function.running -= 1
        place.running -= 1
        if self._unreserved:
            place.unreserved -= 1
        elif self._share is not None:
            self._share.running -= 1
            function.own -= 1
        if self._named is not None:
            self._named.running -= 1
