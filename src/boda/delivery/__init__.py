"""The post office: durable asynchronous invocation and delivery to targets by ARN.

post.py     finds the carrier for a target          lambda_carrier.py  functions
queue.py    accepts events and runs them            lane.py            one function's events
attempt.py  one attempt and what follows from it    guard.py           stops endless loops
retry.py    when again, when no more (pure)         shares.py, pace.py  how many at once
journal.py  writes to the disk, many at a time      rows.py            the queue on disk
failure.py  dead letters, the log                   destination.py     records of what came
counts.py   metrics                                 sender.py          as whom, and again
notice.py   a function's own log                    queue_time.py      when it is, restarts or not
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.delivery import rows
from boda.delivery.attempt import Invokes
from boda.delivery.counts import Counts
from boda.delivery.destination import AsyncRules, Destinations, Rules
from boda.delivery.failure import Failures
from boda.delivery.post import Attribute, Carrier, Letter, Post
from boda.delivery.queue import Queue
from boda.delivery.retry import RetryPolicy
from boda.delivery.sender import Sender
from boda.invoke.catalogue import Functions
from boda.runtime.function import FunctionVersion
from boda.storage.database import Database
from boda.telemetry.contract import Telemetry

__all__ = [
    "AsyncRules",
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

_SLOTS = 256
_DEFAULT_RULES = AsyncRules()


@dataclass(frozen=True, slots=True)
class Delivery:
    """The room, put together. ``start`` after the functions are loaded."""

    post: Post
    queue: Queue
    sender: Sender

    async def start(self) -> None:
        await self.queue.start()

    async def stop(self, grace_s: float | None = None) -> None:
        self.sender.close()
        await self.queue.stop(grace_s)


def _nothing_reserved(account: str, region: str, function: str) -> int | None:
    return None


def _no_rules(version: FunctionVersion, qualifier: str) -> AsyncRules:
    return _DEFAULT_RULES


def _no_role(version: FunctionVersion) -> Principal | None:
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
    boot: str = "",
    reserved: Callable[[str, str, str], int | None] = _nothing_reserved,
    rules: Rules = _no_rules,
    role: Callable[[FunctionVersion], Principal | None] = _no_role,
) -> Delivery:
    """Put the post office together; touches no disk.

    database: made with ``metadata`` among its tables. slots: attempts at once of all functions
    together. boot: a name of the machine's run, by which a restarted platform knows that the
    monotonic clock went on. reserved: reserved concurrency by account, region and function name,
    None where there is none. rules: retries and destinations of a version under the qualifier it
    was invoked by. role: who a function acts as.
    """
    post = Post()
    sender = Sender(post, clock, role)
    counts = Counts(telemetry)
    queue = Queue(
        database,
        functions,
        invoker,
        Failures(sender, telemetry, counts, clock),
        counts,
        clock,
        ids,
        slots=slots,
        boot=boot,
        reserved=reserved,
        rules=rules,
        destinations=Destinations(sender, telemetry, counts, clock, ids),
    )
    return Delivery(post, queue, sender)
