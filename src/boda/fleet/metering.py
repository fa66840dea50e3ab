"""What an invocation leaves in metering and metrics (namespace ``AWS/Lambda``)."""

from __future__ import annotations

from boda.runtime.call import Call, Outcome
from boda.telemetry.contract import Metered, Telemetry

NAMESPACE = "AWS/Lambda"


def record(telemetry: Telemetry, call: Call, outcome: Outcome, at: float) -> None:
    """at: epoch seconds of the invoke, under which errors count as well."""
    version = call.version
    failed = outcome.function_error != ""
    telemetry.meter(
        Metered(
            version.account,
            version.region,
            version.name,
            version.version,
            call.request_id,
            at,
            version.memory_mb,
            version.ephemeral_mb,
            outcome.duration_ms,
            outcome.init_ms or 0.0,
            outcome.billed_ms,
            failed,
            outcome.max_memory_mb,
        )
    )
    values = (
        ("Invocations", 1.0, "Count"),
        ("Errors", 1.0 if failed else 0.0, "Count"),
        ("Duration", outcome.duration_ms, "Milliseconds"),
    )
    for dimensions in _dimensions(call):
        telemetry.measure(version.account, version.region, NAMESPACE, values, dimensions)


def count(telemetry: Telemetry, call: Call, name: str) -> None:
    """One more, by function and by what the caller named."""
    version = call.version
    for dimensions in _dimensions(call):
        telemetry.metric(version.account, version.region, NAMESPACE, name, 1.0, dimensions)


def qualifier_of(call: Call) -> str:
    """By which the caller named the version or alias, or ""."""
    arn = call.invoked_arn
    return arn.rpartition(":")[2] if arn.count(":") == 7 else ""


def _dimensions(call: Call) -> list[dict[str, str]]:
    """By function, and by what the caller named where that was a version or an alias; an alias
    also with the version it led to."""
    name = call.version.name
    found = [{"FunctionName": name}]
    qualifier = qualifier_of(call)
    if qualifier:
        by = {"FunctionName": name, "Resource": f"{name}:{qualifier}"}
        found.append(by)
        if qualifier != call.version.version:
            found.append({**by, "ExecutedVersion": call.version.version})
    return found
