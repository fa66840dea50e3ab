"""The post office: durable asynchronous invocation and delivery to targets by ARN.

post.py     finds the carrier for a target          lambda_carrier.py  functions
queue.py    accepts events and runs them            lane.py            one function's events
retry.py    when again, when no more (pure)         guard.py           stops endless loops
failure.py  dead letters, metrics, the log          rows.py            the queue on disk
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.delivery import rows
from boda.delivery.failure import Failures
from boda.delivery.lambda_carrier import LambdaCarrier
from boda.delivery.post import Attribute, Carrier, Letter, Post
from boda.delivery.queue import Invokes, Queue
from boda.delivery.retry import RetryPolicy
from boda.invoke.catalogue import Functions
from boda.runtime.function import FunctionVersion
from boda.storage.database import Database
from boda.telemetry.contract import Telemetry

__all__ = [
    "Attribute",
    "Carrier",
    "Delivery",
    "Letter",
    "Post",
    "Queue",
    "RetryPolicy",
    "build",
    "metadata",
]

metadata = rows.metadata

_SLOTS = 64
_DEFAULT_RETRIES = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Delivery:
    """The room, put together. ``start`` after the functions are loaded."""

    post: Post
    queue: Queue

    async def start(self) -> None:
        await self.queue.start()

    async def stop(self, grace_s: float | None = None) -> None:
        await self.queue.stop(grace_s)


def _nothing_reserved(account: str, region: str, function: str) -> int | None:
    return None


def build(
    database: Database,
    functions: Functions,
    invoker: Invokes,
    telemetry: Telemetry,
    clock: Clock,
    ids: Ids,
    *,
    slots: int = _SLOTS,
    reserved: Callable[[str, str, str], int | None] = _nothing_reserved,
    retries: Callable[[FunctionVersion], RetryPolicy] = lambda version: _DEFAULT_RETRIES,
    exclusive: bool = True,
) -> Delivery:
    """Put the post office together; touches no disk.

    database: made with ``metadata`` among its tables. slots: attempts at once of all functions
    together. reserved: reserved concurrency by account, region and function name, None where
    there is none.
    """
    post = Post()
    failures = Failures(post, telemetry, clock)
    queue = Queue(
        database,
        functions,
        invoker,
        failures,
        clock,
        ids,
        slots=slots,
        reserved=reserved,
        retries=retries,
        exclusive=exclusive,
    )
    post.add("lambda", LambdaCarrier(functions, queue, ids))
    return Delivery(post, queue)
