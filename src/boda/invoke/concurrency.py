"""How many invocations may run at once, per account and per function.

Reserved concurrency guarantees a function its share and caps it; what nobody reserved is shared
by the others (Lambda developer guide, "lambda-concurrency"). Provisioned concurrency sets aside a
part, of the function's reservation or else of what is shared, for one version; what that version
runs beyond it competes with the rest. Everything is per account and region.
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

    def provision(self, account: str, region: str, function: str, version: str, count: int) -> None:
        """Set so many aside for one version of a function; 0: none."""
        aside = self._place(account, region).aside
        if count:
            aside.setdefault(function, {})[version] = count
        elif version in aside.get(function, {}):
            del aside[function][version]
            if not aside[function]:
                del aside[function]

    def reserved(self, account: str, region: str, function: str) -> int | None:
        return self._place(account, region).reserved.get(function)

    def unreserved(self, account: str, region: str) -> int:
        """What no function has reserved and no version has been given."""
        return self._shared(self._place(account, region))

    def has_provisioned(self, version: FunctionVersion) -> bool:
        """Whether something is set aside for the version."""
        place = self._places.get((version.account, version.region))
        return place is not None and version.version in place.aside.get(version.name, ())

    def running(self, account: str, region: str, function: str) -> int:
        return self._place(account, region).running.get(function, 0)

    def lease(self, version: FunctionVersion) -> Lease:
        """Room for one invocation, to be released. AwsError (429) where there is none."""
        place = self._places.get((version.account, version.region))
        if place is None:
            place = self._place(version.account, version.region)
        name = version.name
        running = place.running.get(name, 0)
        if place.aside and (found := place.aside.get(name)) is not None:
            own = (name, version.version)
            taken = place.provisioned_running.get(own, 0)
            if taken < found.get(version.version, 0):
                place.provisioned_running[own] = taken + 1
                place.running[name] = running + 1
                return Lease(place, name, False, running + 1, own)
        reserved = place.reserved.get(name) if place.reserved else None
        if reserved is not None:
            if place.beside(name, running) >= reserved - place.set_aside(name):
                raise too_many("ReservedFunctionConcurrentInvocationLimitExceeded")
        else:
            plain = not (place.reserved or place.aside)
            if place.unreserved_running >= (self.limit if plain else self._shared(place)):
                raise too_many("ConcurrentInvocationLimitExceeded")
            place.unreserved_running += 1
        place.running[name] = running + 1
        return Lease(place, name, reserved is None, running + 1)

    def _shared(self, place: _Place) -> int:
        aside = sum(
            place.set_aside(function) for function in place.aside if function not in place.reserved
        )
        return self.limit - sum(place.reserved.values()) - aside

    def _place(self, account: str, region: str) -> _Place:
        return self._places.setdefault((account, region), _Place())


class _Place:
    """One account in one region. aside: provisioned, by function and version."""

    __slots__ = ("aside", "provisioned_running", "reserved", "running", "unreserved_running")

    def __init__(self) -> None:
        self.reserved: dict[str, int] = {}
        self.running: dict[str, int] = {}
        self.unreserved_running = 0
        self.aside: dict[str, dict[str, int]] = {}
        self.provisioned_running: dict[tuple[str, str], int] = {}

    def set_aside(self, function: str) -> int:
        """For all versions of the function together."""
        return sum(self.aside[function].values()) if function in self.aside else 0

    def beside(self, function: str, running: int) -> int:
        """How many of the function's invocations run on what is not set aside."""
        if not self.provisioned_running:
            return running
        return running - sum(
            count for (name, _), count in self.provisioned_running.items() if name == function
        )


class Lease:
    """running: how many invocations of the function ran when it was given, itself included.
    provisioned: whether it is of what was set aside for its version."""

    __slots__ = ("_name", "_own", "_place", "_unreserved", "running")

    def __init__(
        self,
        place: _Place,
        name: str,
        unreserved: bool,
        running: int,
        own: tuple[str, str] | None = None,
    ) -> None:
        self._own = own
        self._place: _Place | None = place
        self._name = name
        self._unreserved = unreserved
        self.running = running

    @property
    def provisioned(self) -> bool:
        return self._own is not None

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
        if self._own is not None:
            taken = place.provisioned_running[self._own] - 1
            if taken:
                place.provisioned_running[self._own] = taken
            else:
                del place.provisioned_running[self._own]


def too_many(reason: str) -> AwsError:
    """The throttling error, in the words recorded on AWS."""
    return AwsError("TooManyRequestsException", "Rate Exceeded.", 429, Reason=reason, Type="User")
