"""The functions as the hot path sees them: a table in memory that the Lambda service fills.

The service writes rows first and this table after the commit; nothing here touches the disk. An
alias is resolved at every call, so that it follows changes of versions; with weights, at random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from boda.core.arn import function_arn, split_qualifier
from boda.core.policy import Policy
from boda.runtime.function import FunctionVersion

LATEST = "$LATEST"


class _AliasRoute(NamedTuple):
    """The versions of an alias. others: further versions with their shares of the calls."""

    version: str
    others: tuple[tuple[str, float], ...]


class FunctionTable:
    """Function versions and resource policies by function ARN (without qualifier).

    chance: returns uniformly distributed numbers from 0 up to, but not including, 1.
    """

    def __init__(self, chance: Callable[[], float] | None = None) -> None:
        self._chance = chance or random.SystemRandom().random
        self._aliases: dict[str, dict[str, _AliasRoute]] = {}
        self._versions: dict[str, dict[str, FunctionVersion]] = {}
        self._makers: dict[str, dict[str, Callable[[], FunctionVersion]]] = {}
        self._coming: dict[str, set[str]] = {}
        self._policies: dict[tuple[str, str], Policy] = {}
        self._listeners: list[Callable[[FunctionVersion], None]] = []
        self._namers: list[Callable[[FunctionVersion], None]] = []

    def put(self, arn: str, qualifier: str, version: FunctionVersion) -> None:
        """Set the version of a qualifier. Its former version is retired if no other names it."""
        entry = self._versions.setdefault(arn, {})
        before = entry.get(qualifier)
        entry[qualifier] = version
        self.announce(arn, qualifier, False)
        if arn in self._makers:
            self._makers[arn].pop(qualifier, None)
        for listener in self._namers:
            listener(version)
        if before is not None and before.key != version.key:
            self._retire(entry, before)

    def put_later(self, arn: str, qualifier: str, make: Callable[[], FunctionVersion]) -> None:
        """Set the version of a qualifier, to be made at its first call; without calling listeners.

        For the versions that exist when the platform starts, of which few will be called.
        """
        self._versions.setdefault(arn, {})
        self._makers.setdefault(arn, {})[qualifier] = make

    def announce(self, arn: str, qualifier: str, coming: bool = True) -> None:
        """Note that a version of a qualifier is being made ready, or is no longer."""
        if coming:
            self._coming.setdefault(arn, set()).add(qualifier)
        elif arn in self._coming:
            self._coming[arn].discard(qualifier)
            if not self._coming[arn]:
                del self._coming[arn]

    def is_coming(self, arn: str, qualifier: str = LATEST) -> bool:
        """Whether the qualifier's version, or one of an alias, is being made ready."""
        coming = self._coming.get(arn)
        if not coming:
            return False
        route = self._aliases.get(arn, {}).get(qualifier)
        if route is None:
            return qualifier in coming
        return route.version in coming or any(version in coming for version, _ in route.others)

    def put_alias(
        self, arn: str, alias: str, version: str, others: Mapping[str, float] | None = None
    ) -> None:
        """Point an alias to a version, and to others by their shares (0.0–1.0) of the calls."""
        routes = self._aliases.setdefault(arn, {})
        routes[alias] = _AliasRoute(version, tuple((others or {}).items()))

    def remove(self, arn: str, qualifier: str | None = None) -> None:
        """Remove one qualifier, or with None the whole function and its policies."""
        if qualifier is None:
            self._coming.pop(arn, None)
            self._aliases.pop(arn, None)
            self._makers.pop(arn, None)
            for key in [key for key in self._policies if key[0] == arn]:
                del self._policies[key]
            gone = {version.key: version for version in self._versions.pop(arn, {}).values()}
            for version in gone.values():
                self._retire({}, version)
            return
        self.announce(arn, qualifier, False)
        self._aliases.get(arn, {}).pop(qualifier, None)
        self._makers.get(arn, {}).pop(qualifier, None)
        self._policies.pop((arn, qualifier), None)
        entry = self._versions.get(arn)
        if entry is None:
            return
        before = entry.pop(qualifier, None)
        if not entry and not self._makers.get(arn):
            del self._versions[arn]
        if before is not None:
            self._retire(entry, before)

    def resolve(self, arn: str, qualifier: str = LATEST) -> FunctionVersion | None:
        """Return the present version of a function's qualifier, or None.

        The ARN may include the qualifier itself (``…:function:NAME:QUALIFIER``), which then counts.
        """
        entry = self._versions.get(arn)
        if entry is None:
            arn, own = split_qualifier(arn)
            entry = self._versions.get(arn)
            if entry is None:
                return None
            qualifier = own or qualifier
        found = entry.get(qualifier) or self._made(arn, qualifier)
        if found is None:
            route = self._aliases.get(arn, {}).get(qualifier)
            if route is not None:
                version = self._choose(route)
                return entry.get(version) or self._made(arn, version)
        return found

    def choose(self, arn: str, qualifier: str = LATEST) -> str:
        """Return the version of one call: an alias's version, or at random one of its weights; for
        other qualifiers the qualifier itself. The version may not exist.

        arn: without qualifier.
        """
        route = self._aliases.get(arn, {}).get(qualifier)
        return qualifier if route is None else self._choose(route)

    def _made(self, arn: str, qualifier: str) -> FunctionVersion | None:
        make = self._makers.get(arn, {}).pop(qualifier, None)
        if make is None:
            return None
        version = self._versions[arn][qualifier] = make()
        return version

    def _choose(self, route: _AliasRoute) -> str:
        if route.others:
            mark = self._chance()
            for version, share in route.others:
                if mark < share:
                    return version
                mark -= share
        return route.version

    def find(
        self, account: str, region: str, name: str, qualifier: str = LATEST
    ) -> FunctionVersion | None:
        """Resolve a function by the parts of its ARN."""
        return self.resolve(function_arn(account, region, name), qualifier)

    def set_policy(self, arn: str, qualifier: str, policy: Policy | None) -> None:
        """Set, or with None remove, a resource policy. The unqualified function: ``$LATEST``."""
        if policy is None:
            self._policies.pop((arn, qualifier), None)
        else:
            self._policies[arn, qualifier] = policy

    def policy(self, arn: str, qualifier: str = LATEST) -> Policy | None:
        """Return the resource policy of a qualifier; each has its own, as on AWS."""
        return self._policies.get((arn, qualifier))

    def policy_finder(self, arn: str, qualifier: str) -> Callable[[], Policy | None]:
        """``policy`` for whoever asks for the same one again and again."""
        return partial(self._policies.get, (arn, qualifier))

    def policy_of(self, named_arn: str) -> Policy | None:
        """Return the resource policy of an ARN that may end in a qualifier."""
        arn, qualifier = split_qualifier(named_arn)
        return self.policy(arn, qualifier or LATEST)

    def on_named(self, listener: Callable[[FunctionVersion], None]) -> None:
        """Call the listener with each version that becomes a qualifier's, from now on."""
        self._namers.append(listener)

    def on_retired(self, listener: Callable[[FunctionVersion], None]) -> None:
        """Call the listener with each version that ceases to be any qualifier's."""
        self._listeners.append(listener)

    def _retire(self, entry: dict[str, FunctionVersion], version: FunctionVersion) -> None:
        if any(other.key == version.key for other in entry.values()):
            return
        for listener in self._listeners:
            listener(version)
