"""GetFunctionRecursionConfig, PutFunctionRecursionConfig: whether a loop is stopped."""

from __future__ import annotations

import dataclasses
from typing import Any

from boda.gateway.calling.operation import Context, operation
from boda.services.lambda_.access import on_function
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.identifiers import Identifier


class RecursionOperations:
    def __init__(self, core: LambdaCore) -> None:
        self.core = core

    @operation(
        "GetFunctionRecursionConfig", authorize=on_function("lambda:GetFunctionRecursionConfig")
    )
    async def get_function_recursion_config(
        self, ctx: Context, *, function_name: str
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name)
        return {"RecursiveLoop": self.core.function(identifier).recursive_loop}

    @operation(
        "PutFunctionRecursionConfig", authorize=on_function("lambda:PutFunctionRecursionConfig")
    )
    async def put_function_recursion_config(
        self, ctx: Context, *, function_name: str, recursive_loop: str
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name)
        await self.core.whole(self._put(identifier, recursive_loop))
        return {"RecursiveLoop": recursive_loop}

    async def _put(self, identifier: Identifier, wanted: Any) -> None:
        core = self.core
        async with core.lock(identifier.key):
            function = core.function(identifier)
            await core.put_whole(function, recursive_loop=wanted)
            # Change nothing else that the invoke path sees: an update that is still in progress
            # must not take effect here.
            for qualifier in function.versions:
                seen = core.hot.resolve(function.arn, qualifier)
                if seen is not None:
                    changed = dataclasses.replace(seen, recursive_loop=wanted)
                    core.hot.put(function.arn, qualifier, changed)
