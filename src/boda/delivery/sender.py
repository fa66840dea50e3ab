"""Sends a function's dead letters and records as its own role, and retries the platform's failures.

A refusal by the target is final. A server's error, as a full disk's, is no refusal: the message is
sent again after a while, and its event stays in the queue until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from boda.core.arn import Arn
from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.principal import Principal
from boda.delivery.contract import EventSource
from boda.delivery.post_office import LocalPostOffice, MessageAttribute
from boda.runtime.function import FunctionVersion

Roles = Callable[[FunctionVersion], Principal | None]
"""Called with a function version; returns its execution role, or None if that was deleted."""

_WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0, 60.0)


class Sender:
    """Sends messages through the post office."""

    def __init__(self, post: LocalPostOffice, clock: Clock, roles: Roles) -> None:
        self._post = post
        self._clock = clock
        self._roles = roles
        self._waiting: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def send(
        self,
        version: FunctionVersion,
        target: str,
        message: bytes,
        trace_id: str,
        attributes: Mapping[str, MessageAttribute] | None = None,
        **more: Any,
    ) -> None:
        """Return when the target has the message. Raises AwsError.

        more: further parameters of ``LocalPostOffice.send``.
        """
        source = self._source(version, target, trace_id)
        for wait_s in _WAITS_S:
            try:
                await self._post.send(target, message, source, attributes or {}, **more)
                return
            except AwsError as error:
                if error.fault != "server":
                    raise
            await self._wait(wait_s)
        await self._post.send(target, message, source, attributes or {}, **more)

    def close(self) -> None:
        """Cancel the tasks that wait; their messages are sent after the next start."""
        self._closed = True
        for task in self._waiting:
            task.cancel()

    async def _wait(self, seconds: float) -> None:
        task = asyncio.current_task()
        if self._closed or task is None:
            raise asyncio.CancelledError
        self._waiting.add(task)
        try:
            await self._clock.sleep(seconds)
        finally:
            self._waiting.discard(task)

    def _source(self, version: FunctionVersion, target: str, trace_id: str) -> EventSource:
        """Return the source of a version's message. Raises AwsError if it may not send.

        First-in-first-out queues and topics are no targets (Lambda developer guide,
        "invocation-async-retain-records").
        """
        arn = Arn.read(target)
        if arn is not None and arn.service in ("sqs", "sns") and arn.resource.endswith(".fifo"):
            raise AwsError(
                "InvalidParameterValueException",
                f"{target} is a FIFO target, which asynchronous invocation does not support.",
            )
        role = self._roles(version)
        if role is None:
            raise AwsError(
                "AccessDeniedException", f"Lambda cannot assume {version.role_arn}.", 403
            )
        return EventSource(role, version.arn, version.account, version.region, trace_id)
