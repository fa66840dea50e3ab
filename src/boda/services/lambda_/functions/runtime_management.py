"""PutRuntimeManagementConfig, GetRuntimeManagementConfig: when a function's runtime is updated.

A runtime has one version here, the one found on this machine, so updates of any kind change
nothing, and ``Manual`` can name that version only.
"""

from __future__ import annotations

from typing import Any

from boda.gateway.calling.operation import Context, operation
from boda.runtime.function import runtime_arn
from boda.services.lambda_.access import on_function
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import invalid
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.records import Version

KIND = "runtime-management"


class RuntimeManagementOperations:
    def __init__(self, core: LambdaCore) -> None:
        self.core = core

    @operation(
        "PutRuntimeManagementConfig", authorize=on_function("lambda:PutRuntimeManagementConfig")
    )
    async def put_runtime_management_config(
        self,
        ctx: Context,
        *,
        function_name: str,
        update_runtime_on: str,
        qualifier: str | None = None,
        runtime_version_arn: str | None = None,
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name, qualifier)
        version = self.core.version(identifier)
        if update_runtime_on == "Manual":
            if runtime_version_arn is None:
                raise invalid("RuntimeVersionArn is required when UpdateRuntimeOn is Manual.")
            if runtime_version_arn != _present(version):
                raise invalid(
                    f"The runtime version {runtime_version_arn} is not found on this machine."
                )
        elif runtime_version_arn is not None:
            raise invalid("RuntimeVersionArn is only supported when UpdateRuntimeOn is Manual.")
        await self.core.whole(self._put(identifier, update_runtime_on))
        return _answer(identifier, version, update_runtime_on)

    async def _put(self, identifier: Identifier, mode: str) -> None:
        named = identifier.meant
        async with self.core.lock(identifier.key):
            function = self.core.function(identifier)
            self.core.version(identifier)
            await self.core.attach(function, KIND, named, {"UpdateRuntimeOn": mode})

    @operation(
        "GetRuntimeManagementConfig", authorize=on_function("lambda:GetRuntimeManagementConfig")
    )
    async def get_runtime_management_config(
        self, ctx: Context, *, function_name: str, qualifier: str | None = None
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name, qualifier)
        version = self.core.version(identifier)
        function = self.core.function(identifier)
        config = function.attached.get(KIND, {}).get(identifier.meant, {})
        return _answer(identifier, version, config.get("UpdateRuntimeOn", "Auto"))


def _answer(identifier: Identifier, version: Version, mode: str) -> dict[str, Any]:
    answer = {
        "UpdateRuntimeOn": mode,
        "FunctionArn": f"{identifier.arn}:{identifier.meant}",
    }
    if mode == "Manual":
        answer["RuntimeVersionArn"] = _present(version)
    return answer


def _present(version: Version) -> str:
    settings = version.settings
    return runtime_arn(version.region, settings.runtime, settings.architecture)
