"""The post office: durable asynchronous invocation and delivery to targets by ARN.

post_office.py   finds the adapter for a target    lambda_adapter.py  delivers to functions
queue.py         accepts events                    lane_runner.py     runs each function's events
attempt.py       one attempt and its result        lane.py            one function's events
retry.py         when to retry, when to discard    guard.py           stops endless loops
journal.py       writes to the disk in batches     rows.py            the queue on disk
dead_letters.py  dead-letter targets, the log      destination.py     records of invocations
event_metrics.py metrics                           sender.py          sends as a function's role
notice.py        lines in a function's own log     queue_time.py      time over restarts
slot_shares.py, pace.py  how many events at once
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.delivery import rows
from boda.delivery.dead_letters import DeadLetters
from boda.delivery.destination import AsyncRules, Destinations, Rules
from boda.delivery.event_metrics import EventMetrics
from boda.delivery.post_office import LocalPostOffice
from boda.delivery.queue import EventQueue
from boda.delivery.retry import RetryPolicy
from boda.delivery.sender import Sender
from boda.invoke.call import InvokePath
from boda.invoke.function_table import FunctionTable
from boda.runtime.function import FunctionVersion
from boda.storage.rows import Rows
from boda.telemetry.contract import Telemetry

__all__ = ["AsyncRules", "Delivery", "RetryPolicy", "build", "metadata"]

metadata = rows.metadata

_SLOTS = 256
_DEFAULT_RULES = AsyncRules()


@dataclass(frozen=True, slots=True)
class Delivery:
    """The parts of this room. ``start`` after the functions are loaded."""

    post: LocalPostOffice
    queue: EventQueue
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
    rows: Rows,
    functions: FunctionTable,
    invoker: InvokePath,
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
    """Build the room, without access to the disk.

    rows: made with ``metadata`` among its tables. slots: attempts at once of all functions
    together. boot: a name of the machine's run, by which a restarted platform knows that the
    monotonic clock went on. reserved: reserved concurrency by account, region and function name,
    None where there is none. rules: retries and destinations of a version under the qualifier it
    was invoked by. role: who a function acts as.
    """
    post = LocalPostOffice()
    sender = Sender(post, clock, role)
    counts = EventMetrics(telemetry)
    queue = EventQueue(
        rows,
        functions,
        invoker,
        DeadLetters(sender, telemetry, counts, clock),
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
