"""Provisioned concurrency: environments of a version that are initialised before calls come.

A config belongs to a version or to an alias. While an alias shares calls by weight its config is of
the version it points to first and cannot be changed (Lambda developer guide,
"provisioned-concurrency"). The fleet keeps and counts the environments; the status of a config is
read from it, never stored.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from boda.core.errors import AwsError
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.paging import PAGED, Listing, RowList
from boda.invoke.function_table import LATEST
from boda.services.lambda_.access import on_function
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import conflict, invalid, invalid_untyped, wrong_state
from boda.services.lambda_.identifiers import Identifier, no_such_qualifier
from boda.services.lambda_.records import Alias, Function, FunctionSettings
from boda.services.lambda_.scaling.provisioning import KIND, Provisioning, leaving, version_of

_UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
_TAKEN = (
    "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned"
    " version"
)
_UNFIT_ALIAS = "Invalid alias configuration for Provisioned Concurrency"
_WEIGHTED = "Alias with weights can not be used with Provisioned Concurrency"
_PUBLISHED_ONLY = "The function resource provided must be an alias or a published version."


class ProvisionedOperations:
    def __init__(self, core: LambdaCore, provisioning: Provisioning) -> None:
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
            self._provisioning.follow(function, again=version.version)
            return self._answer(function, named)

    @operation(
        "GetProvisionedConcurrencyConfig",
        authorize=on_function("lambda:GetProvisionedConcurrencyConfig"),
    )
    async def get_provisioned_concurrency_config(
        self, ctx: Context, *, function_name: str, qualifier: str
    ) -> dict[str, Any]:
        function, named = self._published(ctx, function_name, qualifier)
        if named not in function.attached.get(KIND, {}):
            raise AwsError(
                "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function",
                404,
                Type="User",
            )
        return self._answer(function, named)

    @operation(
        "ListProvisionedConcurrencyConfigs",
        authorize=on_function("lambda:ListProvisionedConcurrencyConfigs"),
        paged=PAGED,
    )
    async def list_provisioned_concurrency_configs(
        self, ctx: Context, *, function_name: str
    ) -> Listing:
        function = self.core.function(self.core.identify(ctx, function_name))
        return RowList.ordering(
            function.attached.get(KIND, {}),
            str,
            lambda named: {
                "FunctionArn": f"{function.arn}:{named}",
                **self._answer(function, named),
            },
        )

    @operation(
        "DeleteProvisionedConcurrencyConfig",
        authorize=on_function("lambda:DeleteProvisionedConcurrencyConfig"),
    )
    async def delete_provisioned_concurrency_config(
        self, ctx: Context, *, function_name: str, qualifier: str
    ) -> Answer:
        """Delete a config; succeeds if there is none."""
        self._published(ctx, function_name, qualifier)
        identifier = self.core.identify(ctx, function_name, qualifier)
        await self.core.whole(self._delete(identifier))
        return Answer(status=204)

    async def _delete(self, identifier: Identifier) -> None:
        async with self.core.lock(identifier.key):
            function, named = self._find(identifier)
            if leaving(function, named):  # nothing is left that calls wait for
                alias = dataclasses.replace(
                    function.aliases[named], weights={}, revision_id=self.core.ids.uuid()
                )
                await self.core.put_alias(function, alias, (KIND, None))
            elif named in function.attached.get(KIND, {}):
                await self.core.attach(function, KIND, named, None)
                self._provisioning.follow(function)

    def _published(self, ctx: Context, name: str, qualifier: str) -> tuple[Function, str]:
        identifier = self.core.identify(ctx, name, qualifier)
        if identifier.qualifier == LATEST:
            raise invalid(_PUBLISHED_ONLY)
        return self._find(identifier)

    def _find(self, identifier: Identifier) -> tuple[Function, str]:
        """Find a function. Raises AwsError ResourceNotFoundException, in words that depend on the
        qualifier's form."""
        function = self.core.find(identifier.key)
        named = identifier.qualifier or ""
        if not named:
            raise invalid(_PUBLISHED_ONLY)
        if function is None or not function.names(named):
            raise no_such_qualifier(identifier)
        return function, named

    def _answer(self, function: Function, named: str) -> dict[str, Any]:
        """Return a config and its status. One whose alias is moving is not READY yet."""
        config = function.attached[KIND][named]
        found = self._provisioning.standing(function, named)
        requested: int = config["Requested"]
        modified = datetime.fromtimestamp(config["LastModified"], UTC)
        whole = found.allocated >= requested
        answer = {
            "RequestedProvisionedConcurrentExecutions": requested,
            "AvailableProvisionedConcurrentExecutions": min(found.available, requested),
            "AllocatedProvisionedConcurrentExecutions": min(found.allocated, requested),
            "LastModified": f"{modified:%Y-%m-%dT%H:%M:%S}+0000",
            "Status": "READY" if whole and not leaving(function, named) else "IN_PROGRESS",
        }
        if found.failing and not whole:
            answer |= {"Status": "FAILED", "StatusReason": found.failing}
        return answer

    def _refuse_two(self, function: Function, named: str) -> None:
        """Refuse a second config of a version, by itself or by another alias."""
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
            raise invalid_untyped(
                "Specified ConcurrentExecutions for function is greater than account's unreserved "
                f"concurrency [{left}]."
            )
        if left - wanted < quotas.unreserved_minimum:
            raise invalid_untyped(
                "Specified ConcurrentExecutions for function decreases account's "
                "UnreservedConcurrentExecution below its minimum value of "
                f"[{quotas.unreserved_minimum}]."
            )


def _refuse_unfit(function: Function, named: str, settings: FunctionSettings) -> None:
    """Raises AwsError if provisioned concurrency conflicts with the function's other settings."""
    alias = function.aliases.get(named)
    if alias is not None and alias.version == LATEST:
        raise invalid(_UNPUBLISHED)
    if alias is not None and alias.weights:
        raise invalid(_WEIGHTED)
    if settings.tenancy:
        raise invalid("ProvisionedConcurrency is not supported for functions with TenancyConfig.")


def refuse_alias(function: Function, alias: Alias) -> None:
    """Raises AwsError unless an alias may point to its versions with its provisioned
    concurrency."""
    configs = function.attached.get(KIND, {})
    if alias.name not in configs:
        return
    refuse_snapshotted(function, alias.version, *alias.weights)
    if alias.version == LATEST:
        raise invalid(_UNFIT_ALIAS)
    if any(version_of(function, other) == alias.version for other in configs.keys() - {alias.name}):
        raise conflict(_TAKEN)


def refuse_snapshotted(function: Function, *versions: str) -> None:
    """Raises AwsError for versions with SnapStart, which cannot have provisioned concurrency
    (Lambda developer guide, "snapstart"; the sentence is not recorded)."""
    for number in versions:
        version = function.versions.get(number)
        if version is not None and number != LATEST and version.settings.snap_start != "None":
            raise invalid(
                "Provisioned Concurrency is not supported for SnapStart enabled function versions."
            )


def total(function: Function) -> int:
    """Return the provisioned concurrency of all versions together."""
    configs = function.attached.get(KIND)
    return sum(config["Requested"] for config in configs.values()) if configs else 0


def unreserved(core: LambdaCore, account: str, region: str) -> int:
    """Return the account's concurrency that is neither reserved nor provisioned."""
    taken = sum(
        total(function) if function.reserved is None else function.reserved
        for function in core.functions(account, region)
    )
    return core.quotas.concurrent_executions - taken


def refuse_below_provisioned(function: Function, reserved: int) -> None:
    """Raises AwsError if a reservation is less than the provisioned concurrency."""
    provisioned = total(function)
    if reserved < provisioned:
        raise invalid_untyped(
            f" ReservedConcurrentExecutions  {reserved} should not be lower than function's total "
            f"provisioned concurrency [{provisioned}]."
        )
