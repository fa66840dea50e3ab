"""One attempt at an event, and its result.

The function is looked up anew at every attempt: an alias may have moved, the function may have
changed its settings or be gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import orjson

from boda.core.errors import AwsError, BodaError
from boda.core.ids import Ids
from boda.delivery import retry
from boda.delivery.dead_letters import DeadLetters, DiscardReason
from boda.delivery.destination import AsyncRules, Destinations, Rules
from boda.delivery.event_metrics import EventMetrics
from boda.delivery.guard import refusal, runs_under
from boda.delivery.retry import Discard, RetryPolicy
from boda.delivery.rows import QueuedEvent
from boda.invoke.call import Call, InvokePath, Outcome
from boda.invoke.function_table import FunctionTable
from boda.runtime.function import FunctionVersion

_log = logging.getLogger(__name__)


class AttemptResult(NamedTuple):
    """again_at: when the event is tried again; None: it is finished.

    refused: the function could not be run, nor could others of its events now. ran_s: how long it
    ran; None if it did not run.
    """

    again_at: float | None = None
    refused: bool = False
    ran_s: float | None = None


_DONE = AttemptResult()


class EventAttempts:
    """Runs events. now: the queue's time; other parameters: see ``EventQueue``."""

    def __init__(
        self,
        functions: FunctionTable,
        invoker: InvokePath,
        dead_letters: DeadLetters,
        destinations: Destinations,
        metrics: EventMetrics,
        ids: Ids,
        now: Callable[[], float],
        *,
        reserved: Callable[[str, str, str], int | None],
        rules: Rules,
    ) -> None:
        self._functions = functions
        self._invoker = invoker
        self._dead_letters = dead_letters
        self._destinations = destinations
        self._metrics = metrics
        self._ids = ids
        self._now = now
        self._reserved = reserved
        self._rules = rules

    async def run(self, event: QueuedEvent, payload: bytes) -> AttemptResult:
        """Make one attempt, and count its failure or throttle in the event.

        Raises nothing because of the function.
        """
        now = self._now()
        version = self._functions.resolve(event.arn, event.qualifier)
        if version is None:
            return await self._without_function(event, payload, now)
        rules = self._rules(version, event.qualifier)
        if retry.too_old(rules.retry, event.accepted_at, now):
            return await self._discard(event, payload, version, _too_old(rules.retry), rules)
        if self._reserved(version.account, version.region, version.name) == 0:
            return await self._discard(event, payload, version, _SWITCHED_OFF, rules)
        run_under, hops = runs_under(event, now, self._ids)
        refused = refusal(version, event.tenant, hops)
        if refused is not None:
            return await self._discard(event, payload, version, refused, rules)
        self._metrics.age(event, now - event.accepted_at)
        call = Call(
            version,
            payload,
            event.request_id,
            event.invoked_arn,
            trace_id=run_under,
            tenant=event.tenant,
            synchronous=False,
        )
        try:
            outcome = await self._invoker.invoke(call)
        except AwsError as error:
            if error.status != 429:
                _log.info("an event for %s could not be run: %s", event.arn, error)
        except BodaError as error:
            _log.warning("an event for %s could not be run: %s", event.arn, error)
        except Exception:
            _log.exception("an event for %s could not be run", event.arn)
        else:
            return await self._ran(event, call, rules, outcome)
        return self._refused(event, rules.retry)

    async def _ran(
        self, event: QueuedEvent, call: Call, rules: AsyncRules, outcome: Outcome
    ) -> AttemptResult:
        ran_s = outcome.duration_ms / 1000.0
        if not outcome.function_error:
            await self._destinations.succeeded(rules.on_success, event, call, outcome)
            return AttemptResult(ran_s=ran_s)
        event.failures += 1
        step = retry.after_error(rules.retry, event.failures, event.accepted_at, self._now())
        if not isinstance(step, Discard):
            return AttemptResult(step.at, ran_s=ran_s)
        reason = DiscardReason(step.condition, 200, _error_message(outcome.payload))
        # The destination's invocations are one further in the chain.
        event.trace_id = call.trace_id
        await self._discard(event, call.payload, call.version, reason, rules, outcome)
        return AttemptResult(ran_s=ran_s)

    def _refused(self, event: QueuedEvent, policy: RetryPolicy) -> AttemptResult:
        event.throttles += 1
        step = retry.after_throttle(policy, event.throttles, event.accepted_at, self._now())
        return AttemptResult(step.at, refused=True)

    async def _without_function(
        self, event: QueuedEvent, payload: bytes, now: float
    ) -> AttemptResult:
        """Let an event wait for a function that is being created, or discard it.

        A function that is being created may have a policy already, and an alias may point to a
        version that is not ready yet.
        """
        policy = RetryPolicy()
        expected = self._functions.policy(
            event.arn, event.qualifier
        ) is not None or self._functions.is_coming(event.arn, event.qualifier)
        if expected and not retry.too_old(policy, event.accepted_at, now):
            return self._refused(event, policy)
        reason = DiscardReason("FunctionNotFound", 404, f"Function not found: {event.invoked_arn}")
        return await self._discard(event, payload, None, reason)

    async def _discard(
        self,
        event: QueuedEvent,
        payload: bytes,
        version: FunctionVersion | None,
        reason: DiscardReason,
        rules: AsyncRules | None = None,
        outcome: Outcome | None = None,
    ) -> AttemptResult:
        await self._dead_letters.discard(event, payload, version, reason)
        if version is not None and rules is not None:
            await self._destinations.failed(
                rules.on_failure, event, payload, version, reason, outcome
            )
        return _DONE


def _too_old(policy: RetryPolicy) -> DiscardReason:
    return DiscardReason(
        "EventAgeExceeded", 429, f"The event is older than {policy.max_age_s:g} seconds."
    )


_SWITCHED_OFF = DiscardReason(
    "ZeroReservedConcurrency", 429, "The function's reserved concurrency is zero."
)


def _error_message(payload: bytes) -> str:
    """Return the ``errorMessage`` of a function's error, or the error itself."""
    try:
        answer = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload[:1024].decode(errors="replace")
    message = answer.get("errorMessage") if isinstance(answer, dict) else None
    return message if isinstance(message, str) else payload[:1024].decode(errors="replace")
