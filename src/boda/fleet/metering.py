"""Metrics of calls that leave no invocation to be metered (namespace ``AWS/Lambda``)."""

from __future__ import annotations

from boda.runtime.call import Call
from boda.telemetry.contract import Telemetry
from boda.telemetry.tally import NAMESPACE, dimensions, qualifier_in


def count(telemetry: Telemetry, call: Call, name: str) -> None:
    """One more, by function and by what the caller named."""
    version = call.version
    for each in dimensions(version, call.invoked_arn):
        telemetry.metric(version.account, version.region, NAMESPACE, name, 1.0, dict(each))


def qualifier_of(call: Call) -> str:
    """By which the caller named the version or alias, or ""."""
    return qualifier_in(call.invoked_arn)
