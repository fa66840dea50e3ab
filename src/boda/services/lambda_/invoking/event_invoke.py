"""Event invoke configs: how often and how long asynchronous events are tried, and their
destinations.

Each belongs to a qualifier, the unqualified function's to ``$LATEST``; the post office reads
``rules`` at every attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.delivery.destination import AsyncRules
from boda.delivery.retry import RetryPolicy
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.paging import PAGED, Listing, RowList
from boda.services.lambda_.access import on_function
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import invalid, resource_not_found
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.records import Function
from boda.services.lambda_.settings.roles import RoleCheck

KIND = "event-invoke-config"
_ON_SUCCESS = ("lambda", "sqs", "sns", "events")
_ON_FAILURE = (*_ON_SUCCESS, "s3")
_NO_FUNCTION = "The function doesn't exist."


class EventInvokeOperations:
    def __init__(self, core: LambdaCore, roles: RoleCheck) -> None:
        self.core = core
        self._roles = roles

    @operation(
        "PutFunctionEventInvokeConfig", authorize=on_function("lambda:PutFunctionEventInvokeConfig")
    )
    async def put_function_event_invoke_config(
        self,
        ctx: Context,
        *,
        function_name: str,
        qualifier: str | None = None,
        maximum_retry_attempts: int | None = None,
        maximum_event_age_in_seconds: int | None = None,
        destination_config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Replace the whole config."""
        identifier = self._identify(ctx, function_name, qualifier)
        given = _given(maximum_retry_attempts, maximum_event_age_in_seconds, destination_config)
        return await self.core.whole(self._store(identifier, given, merge=False))

    @operation(
        "UpdateFunctionEventInvokeConfig",
        authorize=on_function("lambda:UpdateFunctionEventInvokeConfig"),
    )
    async def update_function_event_invoke_config(
        self,
        ctx: Context,
        *,
        function_name: str,
        qualifier: str | None = None,
        maximum_retry_attempts: int | None = None,
        maximum_event_age_in_seconds: int | None = None,
        destination_config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Replace the given members."""
        identifier = self._identify(ctx, function_name, qualifier)
        given = _given(maximum_retry_attempts, maximum_event_age_in_seconds, destination_config)
        return await self.core.whole(self._store(identifier, given, merge=True))

    async def _store(
        self, identifier: Identifier, given: dict[str, Any], *, merge: bool
    ) -> dict[str, Any]:
        core, named = self.core, identifier.meant
        async with core.lock(identifier.key):
            function = core.find(identifier.key)
            if function is None or not function.names(named):
                raise resource_not_found(_NO_FUNCTION)
            present = function.attached.get(KIND, {}).get(named)
            if merge and present is None:
                raise _absent(identifier)
            self._check_destinations(function, given.get("DestinationConfig") or {})
            config = {**present, **given} if merge and present is not None else given
            config = {**config, "LastModified": core.clock.now()}
            await core.attach(function, KIND, named, config)
            return _answer(function, named, config)

    @operation(
        "GetFunctionEventInvokeConfig", authorize=on_function("lambda:GetFunctionEventInvokeConfig")
    )
    async def get_function_event_invoke_config(
        self, ctx: Context, *, function_name: str, qualifier: str | None = None
    ) -> dict[str, Any]:
        identifier = self._identify(ctx, function_name, qualifier)
        function = self.core.find(identifier.key)
        named = identifier.meant
        config = function.attached.get(KIND, {}).get(named) if function is not None else None
        if function is None or config is None:
            raise _absent(identifier)
        return _answer(function, named, config)

    @operation(
        "ListFunctionEventInvokeConfigs",
        authorize=on_function("lambda:ListFunctionEventInvokeConfigs"),
        paged=PAGED,
    )
    async def list_function_event_invoke_configs(
        self, ctx: Context, *, function_name: str
    ) -> Listing:
        identifier = self.core.identify(ctx, function_name)
        function = self.core.find(identifier.key)
        if function is None:
            raise resource_not_found(_NO_FUNCTION)
        configs = function.attached.get(KIND, {})
        return RowList.ordering(
            configs, str, lambda named: _answer(function, named, configs[named])
        )

    @operation(
        "DeleteFunctionEventInvokeConfig",
        authorize=on_function("lambda:DeleteFunctionEventInvokeConfig"),
    )
    async def delete_function_event_invoke_config(
        self, ctx: Context, *, function_name: str, qualifier: str | None = None
    ) -> Answer:
        await self.core.whole(self._delete(self._identify(ctx, function_name, qualifier)))
        return Answer(status=204)

    async def _delete(self, identifier: Identifier) -> None:
        named = identifier.meant
        async with self.core.lock(identifier.key):
            function = self.core.find(identifier.key)
            if function is None or named not in function.attached.get(KIND, {}):
                raise _absent(identifier)
            await self.core.attach(function, KIND, named, None)

    def _identify(self, ctx: Context, function_name: str, qualifier: str | None) -> Identifier:
        return self.core.identify(ctx, function_name, qualifier)

    def _check_destinations(self, function: Function, config: Mapping[str, Any]) -> None:
        """Raises AwsError if a destination is invalid, or the role may not send to it."""
        success, failure = (_destination(config, name) for name in ("OnSuccess", "OnFailure"))
        for target, possible in ((success, _ON_SUCCESS), (failure, _ON_FAILURE)):
            if not target:
                continue
            arn = Arn.read(target)
            service = arn.service if arn is not None else ""
            if service == "lambda":
                self._check_function(function, target)
            elif service not in possible:
                raise invalid(
                    "The provided destination config DestinationConfig("
                    f"onSuccess={_shown('OnSuccess', success)}, "
                    f"onFailure={_shown('OnFailure', failure)}) is invalid."
                )
            self._roles.sends(function, function.latest.settings.role, target)

    def _check_function(self, function: Function, target: str) -> None:
        arn = Arn.parse(target)
        words = arn.words
        wrong = invalid(f"The destination ARN {target} is invalid.")
        if len(words) not in (2, 3) or words[0] != "function":
            raise wrong
        other = self.core.find((arn.account, arn.region, words[1]))
        if other is None or (len(words) == 3 and not other.names(words[2])):
            raise wrong
        if other.key == function.key:
            raise invalid("You can't specify the function as a destination for itself.")


def rules(function: Function, qualifier: str) -> AsyncRules:
    """Return the rules for events sent to a qualifier; the defaults if there is no config."""
    config = function.attached.get(KIND, {}).get(qualifier)
    if config is None:
        return AsyncRules()
    retry = RetryPolicy()
    destinations = config.get("DestinationConfig") or {}
    return AsyncRules(
        RetryPolicy(
            config.get("MaximumRetryAttempts", retry.max_retries),
            config.get("MaximumEventAgeInSeconds", retry.max_age_s),
        ),
        _destination(destinations, "OnSuccess"),
        _destination(destinations, "OnFailure"),
    )


def _given(
    retries: int | None, age_s: int | None, destinations: Mapping[str, Any] | None
) -> dict[str, Any]:
    if retries is None and age_s is None and destinations is None:
        raise invalid("You must specify at least one of error handling or destination setting.")
    members = {
        "MaximumRetryAttempts": retries,
        "MaximumEventAgeInSeconds": age_s,
        "DestinationConfig": dict(destinations) if destinations is not None else None,
    }
    return {name: value for name, value in members.items() if value is not None}


def _absent(identifier: Identifier) -> AwsError:
    return resource_not_found(
        f"The function {identifier.arn}:{identifier.meant} doesn't have an EventInvokeConfig"
    )


def _answer(function: Function, named: str, config: Mapping[str, Any]) -> dict[str, Any]:
    destinations = config.get("DestinationConfig") or {}
    answer = {
        "FunctionArn": f"{function.arn}:{named}",
        "LastModified": datetime.fromtimestamp(config["LastModified"], UTC),
        "DestinationConfig": {
            name: {"Destination": target} if (target := _destination(destinations, name)) else {}
            for name in ("OnSuccess", "OnFailure")
        },
    }
    for name in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"):
        if name in config:
            answer[name] = config[name]
    return answer


def _destination(config: Mapping[str, Any], name: str) -> str:
    target: str = (config.get(name) or {}).get("Destination") or ""
    return target


def _shown(name: str, target: str) -> str:
    return f"{name}(destination={target})" if target else "null"
