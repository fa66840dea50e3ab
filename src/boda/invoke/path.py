"""The hot path: lease of concurrency, environment, outcome. It never touches disk."""

from __future__ import annotations

from boda.core.errors import AwsError
from boda.fleet.environment import Gone
from boda.fleet.fleet import Fleet
from boda.fleet.metering import metric
from boda.invoke.catalogue import Functions
from boda.invoke.concurrency import Concurrency, Lease
from boda.runtime.call import Call, Outcome
from boda.telemetry.contract import Telemetry

_ATTEMPTS = 3


class Invoker:
    """Runs calls. One per platform."""

    def __init__(
        self, fleet: Fleet, concurrency: Concurrency, functions: Functions, telemetry: Telemetry
    ) -> None:
        self._fleet = fleet
        self._concurrency = concurrency
        self._telemetry = telemetry
        functions.on_retired(fleet.retire)

    async def invoke(self, call: Call) -> Outcome:
        """The outcome, a function's own failure included.

        AwsError where the call could not be run: TooManyRequestsException (429) without
        concurrency, ServiceException (500) without an environment. A caller that goes away leaves
        its invocation running, and its lease with it.
        """
        lease = self._lease(call)
        fleet = self._fleet
        for _ in range(_ATTEMPTS):
            environment = fleet.take(call.version, call.tenant)
            if environment is None:
                try:
                    environment = await fleet.wait(call.version, call.tenant)
                except BaseException:
                    lease.release()
                    raise
            try:
                return await environment.run(call, lease.release)
            except Gone:
                continue
        lease.release()
        raise AwsError("ServiceException", "The execution environment could not be started.", 500)

    def _lease(self, call: Call) -> Lease:
        try:
            lease = self._concurrency.lease(call.version)
        except AwsError:
            metric(self._telemetry, call, "Throttles", 1.0)
            raise
        metric(self._telemetry, call, "ConcurrentExecutions", float(lease.running))
        if lease.provisioned:
            metric(self._telemetry, call, "ProvisionedConcurrencyInvocations", 1.0)
        elif self._concurrency.has_provisioned(call.version):
            metric(self._telemetry, call, "ProvisionedConcurrencySpilloverInvocations", 1.0)
        return lease
