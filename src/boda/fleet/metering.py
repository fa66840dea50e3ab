"""Metrics and metering besides those of invocations: refused calls, and inits for snapshots."""

from __future__ import annotations

import math

from boda.core.arn import split_qualifier
from boda.runtime.call import Call
from boda.runtime.function import FunctionVersion
from boda.telemetry.contract import NAMESPACE, MeteredInvocation, Telemetry
from boda.telemetry.tally import dimensions


def count(telemetry: Telemetry, call: Call, name: str) -> None:
    """Count a call in a metric, by function and by the qualifier that the caller named."""
    version = call.version
    for each in dimensions(version, call.invoked_arn):
        telemetry.metric(version.account, version.region, NAMESPACE, name, 1.0, dict(each))


def record_init(telemetry: Telemetry, version: FunctionVersion, init_ms: float, at: float) -> None:
    """Meter the init of a snapshot, which is billed like an invocation but is no request (AWS
    Lambda pricing, "SnapStart"). at: epoch seconds."""
    telemetry.meter(MeteredInvocation(version, "", "", at, 0.0, init_ms, math.ceil(init_ms), False))


def qualifier_of(call: Call) -> str:
    """Return the qualifier in the ARN that the caller named, or ""."""
    return split_qualifier(call.invoked_arn)[1]
