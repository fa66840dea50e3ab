"""Make environments follow the configs, and an alias's calls follow the environments.

The environments of a config are those of a version: the one it belongs to, or the one its alias
points to. An alias that moves takes its config along, and its calls stay with the former version,
by a routing weight of 1.0, until as many environments of the next one are ready, as on AWS. If the
next one's init fails they stay there until it succeeds, or until the alias is changed again; if
nothing was ready before, they move at once.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter, defaultdict
from functools import partial
from typing import Any, Protocol

from boda.core.errors import AwsError
from boda.fleet.provisioned import ProvisionedStatus
from boda.runtime.function import FunctionVersion
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.records import Alias, Function, Key

KIND = "provisioned-concurrency"
_LOOK_AGAIN_S = 0.25
_log = logging.getLogger(__name__)


class Provisioner(Protocol):
    """The fleet's contract for environments that are kept initialised."""

    def provision(self, version: FunctionVersion, count: int) -> None: ...

    def provisioned(self, version: FunctionVersion) -> ProvisionedStatus: ...


class Provisioning:
    """Makes the fleet and the leases of concurrency follow the configs."""

    def __init__(self, core: LambdaCore, provisioner: Provisioner) -> None:
        self._core = core
        self._provisioner = provisioner
        self._given: dict[Key, dict[str, tuple[FunctionVersion, int]]] = {}
        core.on_dropped.append(self._dropped)
        core.on_routed.append(self.follow)

    def follow(self, function: Function, again: str = "") -> None:
        """Provision the function's configs, and end what they no longer ask for.

        again: a version whose config was just put: its failed environments are tried again now.
        """
        kept: Counter[str] = Counter()
        claimed: Counter[str] = Counter()
        named: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        for qualifier, config in function.attached.get(KIND, {}).items():
            number, left = version_of(function, qualifier), leaving(function, qualifier)
            kept[number] += config["Requested"]
            if left:
                kept[left] += config["Requested"]
                self._core.settling.schedule(
                    partial(self._arrive, function.key, qualifier),
                    again_s=_LOOK_AGAIN_S,
                    key=(KIND, function.key, qualifier),
                )
            # The version that calls go to now: a config claims its share of the concurrency once.
            claimed[left or number] += config["Requested"]
            named[left or number] += (qualifier,)
        given = self._given.pop(function.key, {})
        now: dict[str, tuple[FunctionVersion, int]] = {}
        for number in given.keys() | kept.keys():
            before, present = given.get(number, (None, 0))
            seen = self._core.hot.resolve(function.arn, number) or before
            if seen is None:
                continue
            if kept[number] != present or number == again:
                self._provisioner.provision(seen, kept[number])
            self._core.reservations.provision(*function.key, number, claimed[number], named[number])
            if kept[number]:
                now[number] = (seen, kept[number])
        if now:
            self._given[function.key] = now

    def standing(self, function: Function, qualifier: str) -> ProvisionedStatus:
        """Return the state of a qualifier's provisioned concurrency."""
        version = self._core.hot.resolve(function.arn, version_of(function, qualifier))
        return self._provisioner.provisioned(version) if version else ProvisionedStatus(0, 0)

    async def move(self, function: Function, alias: Alias, *, weighed: bool) -> Alias:
        """Replace an existing alias; return it as stored. Call under the function's lock.

        weighed: whether the caller gave the weights; empty ones end a move.
        """
        config = function.attached.get(KIND, {}).get(alias.name)
        if config is None:
            await self._core.put_alias(function, alias)
            return alias
        origin = self._origin(function, alias, weighed)
        if origin:
            alias = dataclasses.replace(alias, weights={origin: 1.0})
        await self._core.put_alias(function, alias, (KIND, _leaving(config, origin)))
        return alias

    def _origin(self, function: Function, alias: Alias, weighed: bool) -> str:
        """Return the version with which the alias's calls stay for now, or ""."""
        present, left = function.aliases[alias.name], leaving(function, alias.name)
        goes_on = left and not weighed
        if alias.weights or (alias.version == present.version and not goes_on):
            return ""
        origin = left or present.version
        if origin == alias.version or not self.standing(function, origin).allocated:
            return ""
        return origin

    async def _arrive(self, key: Key, name: str) -> bool:
        """Let an alias's calls go to its version, if enough environments are ready there. Return
        whether nothing is left to wait for."""
        core = self._core
        async with core.lock(key):
            function = core.find(key)
            if function is None or not leaving(function, name):
                return True
            config = function.attached[KIND][name]
            if self.standing(function, name).allocated < config["Requested"]:
                return False
            alias = dataclasses.replace(
                function.aliases[name], weights={}, revision_id=core.ids.uuid()
            )
            try:
                await core.put_alias(function, alias, (KIND, _leaving(config, "")))
            except AwsError as error:
                _log.warning("%s:%s stays where it was: %s", function.arn, name, error.message)
                return False
            return True

    def _dropped(self, function: Function, qualifier: str | None) -> None:
        if qualifier is None:
            function.attached.pop(KIND, None)
        if function.key in self._given:
            self.follow(function)


def version_of(function: Function, qualifier: str) -> str:
    """Return the version that a version's number or an alias names."""
    alias = function.aliases.get(qualifier)
    return qualifier if alias is None else alias.version


def leaving(function: Function, qualifier: str) -> str:
    """Return the version with which calls of an alias stay while it moves, or ""."""
    origin: str = function.attached.get(KIND, {}).get(qualifier, {}).get("From", "")
    alias = function.aliases.get(qualifier)
    return origin if alias is not None and alias.weights == {origin: 1.0} else ""


def _leaving(config: dict[str, Any], origin: str) -> dict[str, Any]:
    """Return the config with the version that calls stay with."""
    rest = {member: value for member, value in config.items() if member != "From"}
    return {**rest, "From": origin} if origin else rest
