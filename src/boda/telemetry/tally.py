"""Adds invocations up to sums for metering and metrics of ``AWS/Lambda``. Pure.

An invocation leaves one record on the hot path, and so does a request to a function URL; all
records since the last time are counted here at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from boda.core.arn import split_qualifier
from boda.telemetry.contract import NAMESPACE, MeteredFunction, MeteredInvocation, MeteredUrlRequest
from boda.telemetry.metering import FREE_EPHEMERAL_MB, Key, UsageSums
from boda.telemetry.metrics import Series, Statistics

Dimensions = tuple[tuple[str, str], ...]

_ON_PROVISIONED = "ProvisionedConcurrencyInvocations"
_SPILLED_OVER = "ProvisionedConcurrencySpilloverInvocations"


@dataclass(slots=True)
class Tally:
    """The result. sums: by function version and hour. minutes: by metric and minute."""

    sums: dict[Key, UsageSums] = field(default_factory=dict)
    minutes: dict[tuple[Series, int], Statistics] = field(default_factory=dict)


def tally(invocations: Iterable[MeteredInvocation]) -> Tally:
    """Count invocations at the time of the invoke (Lambda developer guide,
    "monitoring-metrics")."""
    groups: dict[tuple[int, str, int, bool | None], list[MeteredInvocation]] = {}
    for one in invocations:
        minute = int(one.at) // 60 * 60
        # Equal functions may come as several objects, whose sums are added up below.
        group = (id(one.function), one.invoked_arn, minute, one.provisioned)
        found = groups.get(group)
        if found is None:
            groups[group] = [one]
        else:
            found.append(one)
    result = Tally()
    for (_, arn, minute, provisioned), group_of in groups.items():
        _count(result, group_of, arn, minute, provisioned)
    return result


def _count(
    result: Tally,
    group: Sequence[MeteredInvocation],
    arn: str,
    minute: int,
    provisioned: bool | None,
) -> None:
    function = group[0].function
    _, _, _, _, durations, inits, billed, failed, memory, _ = zip(*group, strict=True)
    requests, billed_ms = len(group) if arn else 0, sum(billed)
    sums = UsageSums(
        requests,
        sum(failed),
        sum([round(each * 1000) for each in durations]),
        sum([round(each * 1000) for each in inits if each]),
        billed_ms,
        billed_ms * function.memory_mb,
        billed_ms * max(0, function.ephemeral_mb - FREE_EPHEMERAL_MB),
        max(memory),
    )
    key = (function.account, function.region, function.name, function.version)
    hour = (*key, minute // 3600 * 3600)
    if hour in result.sums:
        result.sums[hour].add(sums)
    else:
        result.sums[hour] = sums

    if not arn:
        return

    def metric(
        name: str, found: Statistics, dimensions: tuple[tuple[str, str], ...], unit: str = "Count"
    ) -> None:
        series = (function.account, function.region, NAMESPACE, name, dimensions, unit)
        there = result.minutes.get((series, minute))
        if there is None:
            result.minutes[series, minute] = found
        else:
            there.add(found.samples, found.sum, found.minimum, found.maximum)

    for each in dimensions(function, arn):
        metric("Invocations", _ones(requests), each)
        metric("Errors", _spread(failed), each)
        metric("Duration", _spread(durations), each, "Milliseconds")
        if provisioned is not None:
            metric(_ON_PROVISIONED if provisioned else _SPILLED_OVER, _ones(requests), each)


def tally_url_requests(requests: Iterable[MeteredUrlRequest]) -> Tally:
    """Count requests to function URLs at the time of the request (Lambda developer guide,
    "urls-monitoring")."""
    groups: dict[tuple[str, str, str, str, int], list[MeteredUrlRequest]] = {}
    for one in requests:
        minute = int(one.at) // 60 * 60
        groups.setdefault((*one[:4], minute), []).append(one)
    result = Tally()
    for (account, region, name, qualifier, minute), group in groups.items():
        classes = [one.status // 100 for one in group]
        found = (
            ("UrlRequestCount", _ones(len(group)), "Count"),
            ("Url4xxCount", _spread([each == 4 for each in classes]), "Count"),
            ("Url5xxCount", _spread([each == 5 for each in classes]), "Count"),
            ("UrlRequestLatency", _spread([one.latency_ms for one in group]), "Milliseconds"),
        )
        by_function: Dimensions = (("FunctionName", name),)
        ways: list[Dimensions] = [(), by_function]
        if qualifier:
            ways.append((*by_function, ("Resource", f"{name}:{qualifier}")))
        for metric, statistics, unit in found:
            for way in ways:
                series = (account, region, NAMESPACE, metric, way, unit)
                there = result.minutes.get((series, minute))
                if there is None:
                    result.minutes[series, minute] = replace(statistics)
                else:
                    there.add(
                        statistics.samples, statistics.sum, statistics.minimum, statistics.maximum
                    )
    return result


def dimensions(function: MeteredFunction, arn: str) -> list[Dimensions]:
    """Return the dimensions of an invocation's metrics: none (the region), the function, and the
    version or alias that the caller named; an alias also with the executed version."""
    by_function: Dimensions = (("FunctionName", function.name),)
    _, qualifier = split_qualifier(arn)
    if not qualifier:
        return [(), by_function]
    resource = ("Resource", f"{function.name}:{qualifier}")
    found: list[Dimensions] = [(), by_function, (*by_function, resource)]
    if qualifier != function.version:
        # In the order of their names, as in a series.
        found.append((("ExecutedVersion", function.version), *by_function, resource))
    return found


def _ones(count: int) -> Statistics:
    return Statistics(count, float(count), 1.0, 1.0)


def _spread(values: Sequence[float]) -> Statistics:
    return Statistics(len(values), float(sum(values)), float(min(values)), float(max(values)))
