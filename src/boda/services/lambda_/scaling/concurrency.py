"""Reserved concurrency of functions, and the account's limits and usage."""

from __future__ import annotations

from typing import Any

from boda.gateway.calling.operation import Answer, Context, operation
from boda.invoke.function_table import LATEST
from boda.services.lambda_.access import on_account, on_function
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import FUNCTIONS_ONLY, invalid, invalid_untyped, not_found
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.records import Function
from boda.services.lambda_.scaling.provisioned import refuse_below_provisioned, total, unreserved


class ConcurrencyOperations:
    """PutFunctionConcurrency, GetFunctionConcurrency, DeleteFunctionConcurrency,
    GetAccountSettings."""

    def __init__(self, core: LambdaCore) -> None:
        self.core = core

    @operation("PutFunctionConcurrency", authorize=on_function("lambda:PutFunctionConcurrency"))
    async def put_function_concurrency(
        self, ctx: Context, *, function_name: str, reserved_concurrent_executions: int
    ) -> dict[str, Any]:
        identifier = self._unqualified(ctx, function_name)
        await self.core.whole(self._reserve(identifier, reserved_concurrent_executions))
        return {"ReservedConcurrentExecutions": reserved_concurrent_executions}

    @operation("GetFunctionConcurrency", authorize=on_function("lambda:GetFunctionConcurrency"))
    async def get_function_concurrency(self, ctx: Context, *, function_name: str) -> dict[str, Any]:
        identifier = self._unqualified(ctx, function_name)
        reserved = self.core.function(identifier).reserved
        return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}

    @operation(
        "DeleteFunctionConcurrency", authorize=on_function("lambda:DeleteFunctionConcurrency")
    )
    async def delete_function_concurrency(self, ctx: Context, *, function_name: str) -> Answer:
        identifier = self._unqualified(ctx, function_name)
        await self.core.whole(self._reserve(identifier, None))
        return Answer(status=204)

    async def _reserve(self, identifier: Identifier, wanted: int | None) -> None:
        async with self.core.lock(identifier.key):
            function = self.core.find(identifier.key)
            if function is None:  # recorded: named with its qualifier here
                raise not_found(f"{identifier.arn}:{LATEST}")
            if wanted is not None:
                refuse_below_provisioned(function, wanted)
                self._leave_enough(function, wanted)
            await self.core.put_whole(function, reserved=wanted)
            self.core.reservations.reserve(*function.key, wanted)

    def _leave_enough(self, function: Function, wanted: int) -> None:
        """Refuse a reservation that leaves the unreserved pool less than its minimum."""
        quotas = self.core.quotas
        held = total(function) if function.reserved is None else function.reserved
        left = unreserved(self.core, function.account, function.region) + held - wanted
        if left < quotas.unreserved_minimum:
            raise invalid_untyped(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                "UnreservedConcurrentExecution below its minimum value of "
                f"[{quotas.unreserved_minimum}]."
            )

    @operation("GetAccountSettings", authorize=on_account("lambda:GetAccountSettings"))
    async def get_account_settings(self, ctx: Context) -> dict[str, Any]:
        quotas = self.core.quotas
        functions = self.core.functions(ctx.account, ctx.region)
        total = quotas.concurrent_executions
        return {
            "AccountLimit": {
                "TotalCodeSize": quotas.code_storage_bytes,
                "CodeSizeUnzipped": quotas.unzipped_bytes,
                "CodeSizeZipped": quotas.zipped_bytes,
                "ConcurrentExecutions": total,
                "UnreservedConcurrentExecutions": unreserved(self.core, ctx.account, ctx.region),
            },
            "AccountUsage": {
                "TotalCodeSize": self.core.package_bytes(ctx.account, ctx.region),
                "FunctionCount": len(functions),
            },
        }

    def _unqualified(self, ctx: Context, function_name: str) -> Identifier:
        identifier = self.core.identify(ctx, function_name)
        if identifier.qualifier is not None:
            raise invalid(FUNCTIONS_ONLY)
        return identifier
