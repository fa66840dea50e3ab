"""Function URLs' configs: authentication, CORS, and the id.

The id is made once and stays for the config's life; the address is made from it and from the
address that the caller used for the platform. site.py answers the calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from boda.core.errors import AwsError
from boda.core.urls import PublicUrl
from boda.gateway.asking.need import Need
from boda.gateway.asking.tag_keys import Keys
from boda.gateway.calling.operation import Answer, Authorize, Context, operation
from boda.gateway.calling.paging import PAGED, Listing, RowList
from boda.invoke.function_table import LATEST
from boda.services.lambda_ import condition_keys
from boda.services.lambda_.access import CoreUser, need, of_parameters, on_function
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import conflict, invalid, resource_not_found
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.records import Function, Key

KIND = "function-url"
_ID_LENGTH = 32
PATH = "/_url/"
"""The prefix of a URL's path form, for clients that cannot resolve its host name."""


class UrlOwner(NamedTuple):
    """The function and qualifier that a URL belongs to."""

    key: Key
    qualifier: str


class UrlIds:
    """The config of each URL's id."""

    def __init__(self, core: LambdaCore) -> None:
        self._places: dict[str, UrlOwner] = {}
        core.on_dropped.append(self._dropped)

    def find(self, url_id: str) -> UrlOwner | None:
        return self._places.get(url_id)

    def remember(self, function: Function) -> None:
        for qualifier, config in function.attached.get(KIND, {}).items():
            self._places[config["UrlId"]] = UrlOwner(function.key, qualifier)

    def forget(self, url_id: str) -> None:
        self._places.pop(url_id, None)

    def _dropped(self, function: Function, qualifier: str | None) -> None:
        gone = [
            url_id
            for url_id, place in self._places.items()
            if place.key == function.key and qualifier in (None, place.qualifier)
        ]
        for url_id in gone:
            del self._places[url_id]


def _on_url(action: str) -> Authorize:
    """Authorise an action on the function of a URL, for the auth type that it has and for the one
    it would get."""

    def needs(group: CoreUser, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        core = group.core
        identifier = core.identify(ctx, params["FunctionName"], params.get("Qualifier"))
        function = core.find(identifier.key)
        configs = function.attached.get(KIND, {}) if function is not None else {}
        present = configs.get(identifier.meant, {}).get("AuthType")
        if present:
            yield need(core, action, identifier, condition_keys.of_url(identifier, present))

        def wanted() -> Keys:
            return condition_keys.of_url(identifier, params.get("AuthType") or present)

        yield need(core, action, identifier, late=of_parameters(wanted))

    return needs


class UrlConfigOperations:
    def __init__(self, core: LambdaCore, ids: UrlIds) -> None:
        self.core = core
        self._ids = ids

    @operation("CreateFunctionUrlConfig", authorize=_on_url("lambda:CreateFunctionUrlConfig"))
    async def create_function_url_config(
        self,
        ctx: Context,
        *,
        function_name: str,
        auth_type: str,
        qualifier: str | None = None,
        cors: Mapping[str, Any] | None = None,
        invoke_mode: str | None = None,
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name, qualifier)
        given = _given(auth_type, cors, invoke_mode)
        config = await self.core.whole(self._create(identifier, given))
        answer = _answer(ctx, identifier, config)
        del answer["LastModifiedTime"]
        return _with_mode(answer, invoke_mode)

    async def _create(self, identifier: Identifier, given: dict[str, Any]) -> dict[str, Any]:
        core, named = self.core, identifier.meant
        async with core.lock(identifier.key):
            function = core.find(identifier.key)
            if function is None or not function.names(named):
                raise resource_not_found("Function does not exist")
            if function.latest.settings.tenancy:  # a URL's callers have no tenant
                raise invalid("Function URLs are not supported for functions with TenancyConfig.")
            if named in function.attached.get(KIND, {}):
                raise conflict(
                    "Failed to create function url config for [functionArn = "
                    f"{identifier.named_arn}]. Error message:  FunctionUrlConfig exists for this "
                    "Lambda function"
                )
            now = core.clock.now()
            config = {
                **given,
                "UrlId": core.ids.base32(_ID_LENGTH).lower(),
                "Created": now,
                "Modified": now,
            }
            await core.attach(function, KIND, named, config)
            self._ids.remember(function)
            return config

    @operation("GetFunctionUrlConfig", authorize=_on_url("lambda:GetFunctionUrlConfig"))
    async def get_function_url_config(
        self, ctx: Context, *, function_name: str, qualifier: str | None = None
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name, qualifier)
        config = _config(self.core.find(identifier.key), identifier)
        return _with_mode(_answer(ctx, identifier, config), _mode(config))

    @operation("UpdateFunctionUrlConfig", authorize=_on_url("lambda:UpdateFunctionUrlConfig"))
    async def update_function_url_config(
        self,
        ctx: Context,
        *,
        function_name: str,
        qualifier: str | None = None,
        auth_type: str | None = None,
        cors: Mapping[str, Any] | None = None,
        invoke_mode: str | None = None,
    ) -> dict[str, Any]:
        """Replace the given members."""
        identifier = self.core.identify(ctx, function_name, qualifier)
        given = _given(auth_type, cors, invoke_mode)
        config = await self.core.whole(self._update(identifier, given))
        return _with_mode(_answer(ctx, identifier, config), config.get("InvokeMode"))

    async def _update(self, identifier: Identifier, given: dict[str, Any]) -> dict[str, Any]:
        core, named = self.core, identifier.meant
        async with core.lock(identifier.key):
            function = core.find(identifier.key)
            if function is None or not function.names(named):
                raise resource_not_found("Function does not exist")
            present = _config(function, identifier)
            if present | given == present:
                return present
            config = {**present, **given, "Modified": core.clock.now()}
            await core.attach(function, KIND, named, config)
            return config

    @operation("DeleteFunctionUrlConfig", authorize=_on_url("lambda:DeleteFunctionUrlConfig"))
    async def delete_function_url_config(
        self, ctx: Context, *, function_name: str, qualifier: str | None = None
    ) -> Answer:
        """Delete the config. The function's policy stays as it is."""
        identifier = self.core.identify(ctx, function_name, qualifier)
        await self.core.whole(self._delete(identifier))
        return Answer(status=204)

    async def _delete(self, identifier: Identifier) -> None:
        async with self.core.lock(identifier.key):
            function = self.core.find(identifier.key)
            config = _config(function, identifier)
            assert function is not None
            await self.core.attach(function, KIND, identifier.meant, None)
            self._ids.forget(config["UrlId"])

    @operation(
        "ListFunctionUrlConfigs",
        authorize=on_function("lambda:ListFunctionUrlConfigs"),
        paged=PAGED,
    )
    async def list_function_url_configs(self, ctx: Context, *, function_name: str) -> Listing:
        identifier = self.core.identify(ctx, function_name)
        function = self.core.find(identifier.key)
        if function is None:
            raise resource_not_found("Function does not exist")
        configs = function.attached.get(KIND, {})

        def shown(named: str) -> dict[str, Any]:
            own = Identifier(*function.key, None if named == LATEST else named)
            return _with_mode(_answer(ctx, own, configs[named]), _mode(configs[named]))

        return RowList.ordering(configs, str, shown)


def _given(
    auth_type: str | None, cors: Mapping[str, Any] | None, invoke_mode: str | None
) -> dict[str, Any]:
    members = {
        "AuthType": auth_type,
        "Cors": dict(cors) if cors is not None else None,
        "InvokeMode": invoke_mode,
    }
    return {name: value for name, value in members.items() if value is not None}


def _config(function: Function | None, identifier: Identifier) -> dict[str, Any]:
    named = identifier.meant
    config = function.attached.get(KIND, {}).get(named) if function is not None else None
    if config is None:
        raise _absent()
    return config


def _absent() -> AwsError:
    return resource_not_found("The resource you requested does not exist.")


def _mode(config: Mapping[str, Any]) -> str:
    mode: str = config.get("InvokeMode", "BUFFERED")
    return mode


def _with_mode(answer: dict[str, Any], mode: str | None) -> dict[str, Any]:
    """Recorded: a create and an update answer the mode only if one was ever given."""
    return answer if mode is None else {**answer, "InvokeMode": mode}


def _answer(ctx: Context, identifier: Identifier, config: Mapping[str, Any]) -> dict[str, Any]:
    answer = {
        "FunctionUrl": _url(ctx, config["UrlId"], identifier.region),
        "FunctionArn": identifier.named_arn,
        "AuthType": config["AuthType"],
        "CreationTime": _timestamp(config["Created"]),
        "LastModifiedTime": _timestamp(config["Modified"]),
    }
    if config.get("Cors"):
        answer["Cors"] = config["Cors"]
    return answer


def _url(ctx: Context, url_id: str, region: str) -> str:
    """Return AWS's form if names below the endpoint's resolve here, else a path of the endpoint."""
    try:
        called = PublicUrl.parse(ctx.endpoint)
    except ValueError:  # in process, or by an empty Host header
        called = PublicUrl.parse("http://127.0.0.1")
    address = called.address
    if address is not None and address.is_loopback:
        called = replace(called, host="localhost")
    elif not ctx.names_below:
        return f"{called}{PATH}{url_id}/"
    return f"{called.below(f'{url_id}.lambda-url.{region}')}/"


def _timestamp(at: float) -> str:
    """Format as ``2026-01-01T00:00:00.000000Z``."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
