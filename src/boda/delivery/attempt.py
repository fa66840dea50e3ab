"""One attempt of one event, and what follows from it.

The function is looked up anew at every attempt: an alias may have moved, the function may have
changed its settings or be gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

import orjson

from boda.core.errors import AwsError, BodaError
from boda.core.ids import Ids
from boda.delivery import retry
from boda.delivery.counts import Counts
from boda.delivery.destination import AsyncRules, Destinations, Rules
from boda.delivery.failure import Failures, Reason
from boda.delivery.guard import refusal, runs_under
from boda.delivery.retry import GiveUp, RetryPolicy
from boda.delivery.rows import Event
from boda.invoke.call import Call, Outcome
from boda.invoke.catalogue import Functions
from boda.runtime.function import FunctionVersion

_log = logging.getLogger(__name__)


class Invokes(Protocol):
    """The invoke path."""

    async def invoke(self, call: Call) -> Outcome: ...


class Verdict(NamedTuple):
    """What follows. again_at: when it is tried again; None: the event is done with.

    refused: the function could not be run, and so neither could others of its events.
    ran_s: how long it ran; None if it did not.
    """

    again_at: float | None = None
    refused: bool = False
    ran_s: float | None = None


_DONE = Verdict()


class Attempts:
    """Runs events. now: the queue's time; the rest as the queue takes it."""

    def __init__(
        self,
        functions: Functions,
        invoker: Invokes,
        failures: Failures,
        destinations: Destinations,
        counts: Counts,
        ids: Ids,
        now: Callable[[], float],
        *,
        reserved: Callable[[str, str, str], int | None],
        rules: Rules,
    ) -> None:
        self._functions = functions
        self._invoker = invoker
        self._failures = failures
        self._destinations = destinations
        self._counts = counts
        self._ids = ids
        self._now = now
        self._reserved = reserved
        self._rules = rules

    async def run(self, event: Event, payload: bytes) -> Verdict:
        """Counts failures and throttles into the event. Never raises for a function's sake."""
        now = self._now()
        version = self._functions.resolve(event.arn, event.qualifier)
        if version is None:
            return await self._without_function(event, payload, now)
        rules = self._rules(version, event.qualifier)
        if retry.too_old(rules.retry, event.accepted_at, now):
            return await self._give_up(event, payload, version, _too_old(rules.retry), rules)
        if self._reserved(version.account, version.region, version.name) == 0:
            return await self._give_up(event, payload, version, _SWITCHED_OFF, rules)
        run_under, hops = runs_under(event, now, self._ids)
        refused = refusal(version, event.tenant, hops)
        if refused is not None:
            return await self._give_up(event, payload, version, refused, rules)
        self._counts.age(event, now - event.accepted_at)
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

    async def _ran(self, event: Event, call: Call, rules: AsyncRules, outcome: Outcome) -> Verdict:
        ran_s = outcome.duration_ms / 1000.0
        if not outcome.function_error:
            await self._destinations.succeeded(rules.on_success, event, call, outcome)
            return Verdict(ran_s=ran_s)
        event.failures += 1
        step = retry.after_error(rules.retry, event.failures, event.accepted_at, self._now())
        if not isinstance(step, GiveUp):
            return Verdict(step.at, ran_s=ran_s)
        reason = Reason(step.condition, 200, _error_message(outcome.payload))
        # From here on the chain of invocations is one longer.
        event.trace_id = call.trace_id
        await self._give_up(event, call.payload, call.version, reason, rules, outcome)
        return Verdict(ran_s=ran_s)

    def _refused(self, event: Event, policy: RetryPolicy) -> Verdict:
        event.throttles += 1
        step = retry.after_throttle(policy, event.throttles, event.accepted_at, self._now())
        return Verdict(step.at, refused=True)

    async def _without_function(self, event: Event, payload: bytes, now: float) -> Verdict:
        """A function that is being created may have a policy already, and an alias may lead to a
        version that is being made ready: such events wait."""
        policy = RetryPolicy()
        expected = self._functions.policy(
            event.arn, event.qualifier
        ) is not None or self._functions.is_coming(event.arn, event.qualifier)
        if expected and not retry.too_old(policy, event.accepted_at, now):
            return self._refused(event, policy)
        reason = Reason("FunctionNotFound", 404, f"Function not found: {event.invoked_arn}")
        return await self._give_up(event, payload, None, reason)

    async def _give_up(
        self,
        event: Event,
        payload: bytes,
        version: FunctionVersion | None,
        reason: Reason,
        rules: AsyncRules | None = None,
        outcome: Outcome | None = None,
    ) -> Verdict:
        await self._failures.give_up(event, payload, version, reason)
        if version is not None and rules is not None:
            await self._destinations.failed(
                rules.on_failure, event, payload, version, reason, outcome
            )
        return _DONE


def _too_old(policy: RetryPolicy) -> Reason:
    return Reason("EventAgeExceeded", 429, f"The event is older than {policy.max_age_s:g} seconds.")


_SWITCHED_OFF = Reason(
    "ZeroReservedConcurrency", 429, "The function's reserved concurrency is zero."
)


def _error_message(payload: bytes) -> str:
    """The ``errorMessage`` of an error a function answered, or the answer itself."""
    try:
        answer = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload[:1024].decode(errors="replace")
    message = answer.get("errorMessage") if isinstance(answer, dict) else None
    return message if isinstance(message, str) else payload[:1024].decode(errors="replace")
