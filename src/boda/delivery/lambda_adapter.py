"""Delivers events to functions, through the durable queue, if the function's policy allows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from boda.core.arn import Arn, split_qualifier
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.policy import Policy
from boda.core.principal import Principal
from boda.delivery.contract import EventSource
from boda.delivery.post_office import Message
from boda.delivery.queue import EventQueue
from boda.invoke.function_table import LATEST, FunctionTable

ACTION = "lambda:InvokeFunction"
EVENT_LIMIT = 1024 * 1024
"""Bytes of an asynchronous event (AWS: 1 MB since October 2025)."""

Permits = Callable[[Principal, str, str, Policy | None, str, Mapping[str, str]], bool]
"""Called with a principal, an action, a resource, the resource's policy, its account and condition
keys; returns whether the principal may do it, also by its own policies."""


class LambdaAdapter:
    """The target adapter of functions."""

    def __init__(
        self, functions: FunctionTable, queue: EventQueue, ids: Ids, permits: Permits
    ) -> None:
        self._functions = functions
        self._queue = queue
        self._ids = ids
        self._permits = permits

    def may_deliver(self, target_arn: str, source: EventSource) -> bool:
        """Whether the function's policy allows it; also while the function is being created, since
        its events wait."""
        arn, _ = split_qualifier(target_arn)
        policy, account = self._functions.policy_of(target_arn), Arn.parse(arn).account
        context = {}
        if source.principal.is_service:
            context = {"aws:SourceArn": source.arn, "aws:SourceAccount": source.account}
        return self._permits(source.principal, ACTION, target_arn, policy, account, context)

    async def deliver(self, target_arn: str, message: Message) -> str:
        source = message.source
        if not self.may_deliver(target_arn, source):
            raise AwsError(
                "AccessDeniedException",
                f"{source.principal.arn} is not authorized to perform: {ACTION} on resource: "
                f"{target_arn} because no {_which(source.principal)} policy allows the {ACTION} "
                "action",
                403,
            )
        if len(message.event) > EVENT_LIMIT:
            raise AwsError(
                "RequestTooLargeException",
                f"{len(message.event)} byte payload is too large for the Event invocation type "
                f"(limit {EVENT_LIMIT} bytes)",
                413,
                Type="User",
            )
        arn, qualifier = split_qualifier(target_arn)
        request_id = self._ids.uuid()
        await self._queue.accept(
            arn,
            qualifier or LATEST,
            message.event,
            request_id=request_id,
            invoked_arn=target_arn,
            trace_id=source.trace_id,
        )
        return request_id


def _which(principal: Principal) -> str:
    return "resource-based" if principal.is_service else "identity-based"
