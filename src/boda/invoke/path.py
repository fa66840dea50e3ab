"""The hot path: lease of concurrency, environment, outcome. It never touches disk."""

from __future__ import annotations

import asyncio
import logging

from boda.core.errors import AwsError
from boda.fleet.environment import Environment, EnvironmentLost
from boda.fleet.fleet import Fleet
from boda.fleet.metering import count, qualifier_of
from boda.fleet.refusals import could_not_start
from boda.invoke.call import Call, Done, Outcome
from boda.invoke.concurrency import Concurrency, ConcurrencyLease
from boda.invoke.function_table import FunctionTable
from boda.invoke.tenancy import wrong_tenancy
from boda.telemetry.contract import MeteredInvocation, Telemetry

_ATTEMPTS = 3
_log = logging.getLogger(__name__)


class Invoker:
    """Runs calls. There is one per platform."""

    def __init__(
        self, fleet: Fleet, concurrency: Concurrency, functions: FunctionTable, telemetry: Telemetry
    ) -> None:
        self._fleet = fleet
        self._concurrency = concurrency
        self._telemetry = telemetry
        functions.on_retired(fleet.retire)
        functions.on_named(fleet.named)

    def dispatch(self, call: Call, done: Done) -> None:
        """Start a call; done is called exactly once, possibly before this returns.

        It is called with the outcome, a function's own failure included, or with AwsError if the
        call could not be run: TooManyRequestsException (429) without concurrency, ServiceException
        (500) without an environment.
        """
        self._start(call, done)

    async def invoke(self, call: Call) -> Outcome:
        """Return the outcome, or raise the errors of ``dispatch``.

        After a cancellation the invocation runs on, with its lease; a call that still waits for an
        environment is given up.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome | None, error: BaseException | None) -> None:
            if future.done():
                return
            if outcome is not None:
                future.set_result(outcome)
            else:
                future.set_exception(error or RuntimeError("no outcome"))

        attempt = self._start(call, done)
        try:
            return await future
        except asyncio.CancelledError:
            if attempt is not None:
                attempt.give_up()
            raise

    def _start(self, call: Call, done: Done) -> _CallAttempt | None:
        isolated = call.version.tenant_isolation
        if isolated != bool(call.tenant):
            done(None, wrong_tenancy(isolated))
            return None
        try:
            lease = self._lease(call)
        except AwsError as error:
            done(None, error)
            return None
        attempt = _CallAttempt(self._fleet, self._telemetry, call, lease, done)
        attempt.run()
        return attempt

    def _lease(self, call: Call) -> ConcurrencyLease:
        try:
            return self._concurrency.lease(
                call.version, qualifier_of(call), synchronous=call.synchronous
            )
        except AwsError:
            count(self._telemetry, call, "Throttles")
            raise


class _CallAttempt:
    """One call: finds an environment that takes it, and releases its lease in the end."""

    __slots__ = (
        "_call",
        "_done",
        "_fleet",
        "_gone",
        "_lease",
        "_provisioned",
        "_telemetry",
        "_waiting",
    )

    def __init__(
        self, fleet: Fleet, telemetry: Telemetry, call: Call, lease: ConcurrencyLease, done: Done
    ) -> None:
        self._fleet = fleet
        self._telemetry = telemetry
        self._call = call
        self._lease = lease
        self._done: Done | None = done
        self._provisioned: bool | None = None
        self._gone = 0
        self._waiting: asyncio.Task[None] | None = None

    def run(self) -> None:
        call = self._call
        environment = self._fleet.take(call.version, call.tenant)
        if environment is not None:
            self._run_on(environment)
        else:
            self._waiting = asyncio.get_running_loop().create_task(self._wait())

    def give_up(self) -> None:
        """Stop waiting for an environment; an invocation that has started runs on."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
            # Not in the task: if cancelled before its first step, it runs none.
            self._over(None, asyncio.CancelledError())

    async def _wait(self) -> None:
        version, tenant = self._call.version, self._call.tenant
        try:
            # An environment may have become available before this task ran.
            environment = self._fleet.take(version, tenant)
            if environment is None:
                environment = await self._fleet.wait(version, tenant)
        except Exception as error:
            self._waiting = None
            if isinstance(error, AwsError) and error.status == 429:
                count(self._telemetry, self._call, "Throttles")
            self._over(None, error)
            return
        self._waiting = None
        self._run_on(environment)

    def _run_on(self, environment: Environment) -> None:
        if environment.provisioned:
            self._provisioned = True
        elif self._lease.spills(self._call.version.version):
            self._provisioned = False
        try:
            environment.run(self._call, self._ended)
        except Exception:
            # A defect. The call ends all the same, and no other call gets that environment.
            _log.exception("an invocation could not begin")
            environment.destroy()
            self._over(None, could_not_start())

    def _ended(self, outcome: Outcome | None, error: BaseException | None) -> None:
        if error is None or type(error) is not EnvironmentLost:
            self._over(outcome, error)
            return
        self._gone += 1
        if self._gone < _ATTEMPTS:
            self.run()
            return
        self._over(None, could_not_start())

    def _over(self, outcome: Outcome | None, error: BaseException | None) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        self._lease.release()
        if outcome is not None:
            call = self._call
            self._telemetry.meter(
                MeteredInvocation(
                    call.version,
                    call.invoked_arn,
                    call.request_id,
                    outcome.at,
                    outcome.duration_ms,
                    outcome.init_ms or 0.0,
                    outcome.billed_ms,
                    outcome.function_error != "",
                    outcome.max_memory_mb,
                    self._provisioned,
                )
            )
        try:
            done(outcome, error)
        except Exception:
            # An environment's state must not depend on the callback.
            _log.exception("what a call's end led to failed")
