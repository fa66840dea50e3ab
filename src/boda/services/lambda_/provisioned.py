"""Provisioned concurrency: environments of a version that are initialised before calls come.

A config belongs to a version or to an alias; either way the environments are the version's, and
an alias that moves takes its config along. While an alias shares calls by weight its config is of
the version it leads to first and cannot be changed (Lambda developer guide,
"provisioned-concurrency"). The fleet keeps the environments and says how many there are; the
status of a config is asked of it, never stored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any, Protocol

from boda.core.errors import AwsError
from boda.fleet.fleet import Provisioned
from boda.gateway.service import Answer, Context, operation
from boda.invoke.catalogue import LATEST
from boda.runtime.function import FunctionVersion
from boda.services.lambda_.access import on_function
from boda.services.lambda_.core import Core
from boda.services.lambda_.errors import conflict, invalid, wrong_state
from boda.services.lambda_.identifiers import Identifier, no_such_qualifier
from boda.services.lambda_.paging import page
from boda.services.lambda_.records import Alias, Function, Key, Settings

KIND = "provisioned-concurrency"
_UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
_TAKEN = (
    "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned"
    " version"
)
_UNFIT_ALIAS = "Invalid alias configuration for Provisioned Concurrency"
_WEIGHTED = "Alias with weights can not be used with Provisioned Concurrency"
_PUBLISHED_ONLY = "The function resource provided must be an alias or a published version."


class Provisioner(Protocol):
    """The fleet, as far as it keeps environments initialised."""

    def provision(self, version: FunctionVersion, count: int) -> None: ...

    def provisioned(self, version: FunctionVersion) -> Provisioned: ...


class Provisioning:
    """Lets the fleet and the leases of concurrency follow what is configured."""

    def __init__(self, core: Core, provisioner: Provisioner) -> None:
        self._core = core
        self._provisioner = provisioner
        self._given: dict[Key, dict[str, FunctionVersion]] = {}
        core.on_dropped.append(self._dropped)
        core.on_routed.append(self.follow)

    def follow(self, function: Function) -> None:
        """Provision what the function's configs ask for, and no more what they ask no longer."""
        wanted: Counter[str] = Counter()
        named: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        for qualifier, config in function.attached.get(KIND, {}).items():
            number = version_of(function, qualifier)
            wanted[number] += config["Requested"]
            named[number] += (qualifier,)
        if not wanted and function.key not in self._given:
            return
        given = self._given.setdefault(function.key, {})
        for number in given.keys() | wanted.keys():
            seen = self._core.hot.resolve(function.arn, number) or given.get(number)
            if seen is None:
                continue
            self._provisioner.provision(seen, wanted[number])
            self._core.reservations.provision(*function.key, number, wanted[number], named[number])
            if wanted[number]:
                given[number] = seen
            else:
                del given[number]
        if not given:
            del self._given[function.key]

    def standing(self, function: Function, qualifier: str) -> Provisioned:
        """What there is of what is configured for a qualifier."""
        number = version_of(function, qualifier)
        version = self._core.hot.resolve(function.arn, number)
        return self._provisioner.provisioned(version) if version else Provisioned(0, 0)

    def _dropped(self, function: Function, qualifier: str | None) -> None:
        if qualifier is None:
            function.attached.pop(KIND, None)
        if function.key in self._given:
            self.follow(function)


class ProvisionedOperations:
    def __init__(self, core: Core, provisioning: Provisioning) -> None:
        self.core = core
        self._provisioning = provisioning

    @operation(
        "PutProvisionedConcurrencyConfig",
        authorize=on_function("lambda:PutProvisionedConcurrencyConfig"),
    )
    async def put_provisioned_concurrency_config(
        self,
        ctx: Context,
        *,
        function_name: str,
        qualifier: str,
        provisioned_concurrent_executions: int,
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name, qualifier)
        if identifier.qualifier == LATEST:
            raise invalid(_UNPUBLISHED)
        return await self.core.whole(self._put(identifier, provisioned_concurrent_executions))

    async def _put(self, identifier: Identifier, wanted: int) -> dict[str, Any]:
        core = self.core
        async with core.lock(identifier.key):
            function, named = self._find(identifier)
            version = function.versions[version_of(function, named)]
            refuse_snapshotted(function, version.version)
            _refuse_unfit(function, named, version.settings)
            if version.state.state != "Active":
                raise wrong_state(version.state.state)
            self._refuse_two(function, named)
            self._leave_enough(function, named, wanted)
            config = {"Requested": wanted, "LastModified": core.clock.now()}
            await core.attach(function, KIND, named, config)
            self._provisioning.follow(function)
            return _answer(config, self._provisioning.standing(function, named))

    @operation(
        "GetProvisionedConcurrencyConfig",
        authorize=on_function("lambda:GetProvisionedConcurrencyConfig"),
    )
    async def get_provisioned_concurrency_config(
        self, ctx: Context, *, function_name: str, qualifier: str
    ) -> dict[str, Any]:
        function, named = self._published(ctx, function_name, qualifier)
        config = function.attached.get(KIND, {}).get(named)
        if config is None:
            raise AwsError(
                "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function",
                404,
                Type="User",
            )
        return _answer(config, self._provisioning.standing(function, named))

    @operation(
        "ListProvisionedConcurrencyConfigs",
        authorize=on_function("lambda:ListProvisionedConcurrencyConfigs"),
    )
    async def list_provisioned_concurrency_configs(
        self,
        ctx: Context,
        *,
        function_name: str,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> dict[str, Any]:
        function = self.core.function(self.core.identify(ctx, function_name))
        configs = sorted(function.attached.get(KIND, {}).items())
        most = max_items or self.core.quotas.page
        found, more = page(configs, lambda item: item[0], marker, most)
        answer: dict[str, Any] = {
            "ProvisionedConcurrencyConfigs": [
                {
                    "FunctionArn": f"{function.arn}:{named}",
                    **_answer(config, self._provisioning.standing(function, named)),
                }
                for named, config in found
            ]
        }
        return answer if more is None else {**answer, "NextMarker": more}

    @operation(
        "DeleteProvisionedConcurrencyConfig",
        authorize=on_function("lambda:DeleteProvisionedConcurrencyConfig"),
    )
    async def delete_provisioned_concurrency_config(
        self, ctx: Context, *, function_name: str, qualifier: str
    ) -> Answer:
        """Without a config it is answered as if there had been one."""
        self._published(ctx, function_name, qualifier)
        identifier = self.core.identify(ctx, function_name, qualifier)
        await self.core.whole(self._delete(identifier))
        return Answer(status=204)

    async def _delete(self, identifier: Identifier) -> None:
        async with self.core.lock(identifier.key):
            function, named = self._find(identifier)
            if named in function.attached.get(KIND, {}):
                await self.core.attach(function, KIND, named, None)
                self._provisioning.follow(function)

    def _published(self, ctx: Context, name: str, qualifier: str) -> tuple[Function, str]:
        identifier = self.core.identify(ctx, name, qualifier)
        if identifier.qualifier == LATEST:
            raise invalid(_PUBLISHED_ONLY)
        return self._find(identifier)

    def _find(self, identifier: Identifier) -> tuple[Function, str]:
        """AwsError ResourceNotFoundException, in words that depend on the qualifier's form."""
        function = self.core.find(identifier.key)
        named = identifier.qualifier or ""
        if not named:
            raise invalid(_PUBLISHED_ONLY)
        if function is None or not function.names(named):
            raise no_such_qualifier(identifier)
        return function, named

    def _refuse_two(self, function: Function, named: str) -> None:
        """A version is provisioned by itself or by one alias."""
        version = version_of(function, named)
        others = function.attached.get(KIND, {}).keys() - {named}
        if not any(version_of(function, other) == version for other in others):
            return
        if named in function.versions:
            raise conflict("Version is pointed by a Provisioned Concurrency alias")
        raise conflict(_TAKEN)

    def _leave_enough(self, function: Function, named: str, wanted: int) -> None:
        quotas = self.core.quotas
        present = function.attached.get(KIND, {}).get(named, {}).get("Requested", 0)
        if function.reserved is not None:
            if total(function) - present + wanted > function.reserved:
                raise invalid(
                    "Requested Provisioned Concurrency should not be greater than the "
                    "reservedConcurrentExecution for function"
                )
            return
        left = unreserved(self.core, function.account, function.region) + present
        if wanted > left:
            raise _plainly(
                "Specified ConcurrentExecutions for function is greater than account's unreserved "
                f"concurrency [{left}]."
            )
        if left - wanted < quotas.unreserved_minimum:
            raise _plainly(
                "Specified ConcurrentExecutions for function decreases account's "
                "UnreservedConcurrentExecution below its minimum value of "
                f"[{quotas.unreserved_minimum}]."
            )


def _refuse_unfit(function: Function, named: str, settings: Settings) -> None:
    """Raises AwsError where provisioned concurrency does not go together with what there is."""
    alias = function.aliases.get(named)
    if alias is not None and alias.version == LATEST:
        raise invalid(_UNPUBLISHED)
    if alias is not None and alias.weights:
        raise invalid(_WEIGHTED)
    if settings.tenancy:
        raise invalid("ProvisionedConcurrency is not supported for functions with TenancyConfig.")


def refuse_alias(function: Function, alias: Alias) -> None:
    """Raises AwsError unless an alias may lead there with what is provisioned for it."""
    configs = function.attached.get(KIND, {})
    if alias.name not in configs:
        return
    refuse_snapshotted(function, alias.version, *alias.weights)
    if alias.version == LATEST:
        raise invalid(_UNFIT_ALIAS)
    if any(version_of(function, other) == alias.version for other in configs.keys() - {alias.name}):
        raise conflict(_TAKEN)


def version_of(function: Function, qualifier: str) -> str:
    """The version that a version's number or an alias names."""
    alias = function.aliases.get(qualifier)
    return qualifier if alias is None else alias.version


def refuse_snapshotted(function: Function, *versions: str) -> None:
    """Raises AwsError for versions with SnapStart, which provisioned concurrency does not go
    together with (Lambda developer guide, "snapstart"; the sentence is not recorded)."""
    for number in versions:
        version = function.versions.get(number)
        if version is not None and number != LATEST and version.settings.snap_start != "None":
            raise invalid(
                "Provisioned Concurrency is not supported for SnapStart enabled function versions."
            )


def total(function: Function) -> int:
    """What is provisioned for all versions together."""
    configs = function.attached.get(KIND)
    return sum(config["Requested"] for config in configs.values()) if configs else 0


def unreserved(core: Core, account: str, region: str) -> int:
    """The account's concurrency that no function has reserved and no version was given."""
    taken = sum(
        total(function) if function.reserved is None else function.reserved
        for function in core.functions(account, region)
    )
    return core.quotas.concurrent_executions - taken


def refuse_below_provisioned(function: Function, reserved: int) -> None:
    """Raises AwsError when a reservation is less than what is provisioned already."""
    provisioned = total(function)
    if reserved < provisioned:
        raise _plainly(
            f" ReservedConcurrentExecutions  {reserved} should not be lower than function's total "
            f"provisioned concurrency [{provisioned}]."
        )


def _plainly(message: str) -> AwsError:
    """Recorded without ``Type``."""
    return AwsError("InvalidParameterValueException", message, 400, Type=None)


def _answer(config: dict[str, Any], found: Provisioned) -> dict[str, Any]:
    requested: int = config["Requested"]
    modified = datetime.fromtimestamp(config["LastModified"], UTC)
    answer = {
        "RequestedProvisionedConcurrentExecutions": requested,
        "AvailableProvisionedConcurrentExecutions": min(found.available, requested),
        "AllocatedProvisionedConcurrentExecutions": min(found.allocated, requested),
        "LastModified": f"{modified:%Y-%m-%dT%H:%M:%S}+0000",
        "Status": "READY" if found.allocated >= requested else "IN_PROGRESS",
    }
    if found.failing and found.allocated < requested:
        answer |= {"Status": "FAILED", "StatusReason": found.failing}
    return answer
