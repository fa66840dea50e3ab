"""How many invocations may run at once, per account and per function.

Reserved concurrency guarantees a function its share and caps it; what nobody reserved is shared
by the others (Lambda developer guide, "lambda-concurrency"). Everything is per account and region.
"""

from __future__ import annotations

from boda.core.errors import AwsError
from boda.runtime.function import FunctionVersion

ACCOUNT_LIMIT = 1000
MINIMUM_UNRESERVED = 100
"""What reservations must leave unreserved."""


class Concurrency:
    """Leases of concurrency. limit: of each account in each region."""

    def __init__(self, limit: int = ACCOUNT_LIMIT) -> None:
        self.limit = limit
        self._places: dict[tuple[str, str], _Place] = {}

    def reserve(self, account: str, region: str, function: str, count: int | None) -> None:
        """Reserve so many for a function, or with None nothing any more. 0 turns it off.

        Whether the reservation leaves enough to others is the caller's rule (``unreserved``).
        """
        place = self._place(account, region)
        if count is None:
            place.reserved.pop(function, None)
        else:
            place.reserved[function] = count

    def reserved(self, account: str, region: str, function: str) -> int | None:
        return self._place(account, region).reserved.get(function)

    def unreserved(self, account: str, region: str) -> int:
        """What no function has reserved."""
        return self.limit - sum(self._place(account, region).reserved.values())

    def running(self, account: str, region: str, function: str) -> int:
        return self._place(account, region).running.get(function, 0)

    def lease(self, version: FunctionVersion) -> Lease:
        """Room for one invocation, to be released. AwsError (429) where there is none."""
        place = self._places.get((version.account, version.region))
        if place is None:
            place = self._place(version.account, version.region)
        name = version.name
        running = place.running.get(name, 0)
        reserved = place.reserved.get(name) if place.reserved else None
        if reserved is not None:
            if running >= reserved:
                raise too_many("ReservedFunctionConcurrentInvocationLimitExceeded")
        else:
            shared = self.limit - sum(place.reserved.values()) if place.reserved else self.limit
            if place.unreserved_running >= shared:
                raise too_many("ConcurrentInvocationLimitExceeded")
            place.unreserved_running += 1
        place.running[name] = running + 1
        return Lease(place, name, reserved is None, running + 1)

    def _place(self, account: str, region: str) -> _Place:
        return self._places.setdefault((account, region), _Place())


class _Place:
    """One account in one region."""

    __slots__ = ("reserved", "running", "unreserved_running")

    def __init__(self) -> None:
        self.reserved: dict[str, int] = {}
        self.running: dict[str, int] = {}
        self.unreserved_running = 0


class Lease:
    """running: how many invocations of the function ran when it was given, itself included."""

    __slots__ = ("_name", "_place", "_unreserved", "running")

    def __init__(self, place: _Place, name: str, unreserved: bool, running: int) -> None:
        self._place: _Place | None = place
        self._name = name
        self._unreserved = unreserved
        self.running = running

    def release(self) -> None:
        """Idempotent."""
        place, self._place = self._place, None
        if place is None:
            return
        left = place.running[self._name] - 1
        if left:
            place.running[self._name] = left
        else:
            del place.running[self._name]
        if self._unreserved:
            place.unreserved_running -= 1


def too_many(reason: str) -> AwsError:
    """The throttling error, in the words recorded on AWS."""
    return AwsError("TooManyRequestsException", "Rate Exceeded.", 429, Reason=reason, Type="User")
