"""What invocations count for: sums without rounding, metrics under the time of the invoke."""

from __future__ import annotations

from dataclasses import replace

from boda.telemetry.contract import MeteredInvocation, MeteredUrlRequest
from boda.telemetry.tally import Tally, tally, tally_url_requests
from support.fake_sandbox import function

F = function(memory_mb=128, ephemeral_mb=1024)
BY_FUNCTION = (("FunctionName", "f"),)


def ran(number: int = 0, at: float = 7200.5, **changes: object) -> MeteredInvocation:
    one = MeteredInvocation(F, F.arn, str(number), at, 0.1, 0.2, 1, number % 4 == 0, 40)
    return one._replace(**changes)


def found(counted: Tally, name: str, dimensions: object = BY_FUNCTION) -> list[tuple[float, ...]]:
    return [
        (minute, each.samples, each.sum, each.minimum, each.maximum)
        for (series, minute), each in counted.minutes.items()
        if series[3] == name and series[4] == dimensions
    ]


def test_sums_are_exact_over_many_invocations() -> None:
    counted = tally(ran(number) for number in range(10_000))
    ((key, total),) = counted.sums.items()
    assert key == ("000000000000", "us-east-1", "f", "$LATEST", 7200)
    assert (total.requests, total.errors, total.billed_ms) == (10_000, 2_500, 10_000)
    assert (total.duration_us, total.init_us) == (1_000_000, 2_000_000)
    assert (total.billed_mb_ms, total.ephemeral_mb_ms) == (1_280_000, 5_120_000)
    assert found(counted, "Errors") == [(7200, 10_000, 2_500, 0, 1)]


def test_equal_functions_count_together_and_others_apart() -> None:
    same, other = replace(F), function("g")
    counted = tally([ran(), ran(function=same), ran(function=other, max_memory_mb=90)])
    assert sorted(
        (key[2], sums.requests, sums.max_memory_mb) for key, sums in counted.sums.items()
    ) == [("f", 2, 40), ("g", 1, 90)]
    assert found(counted, "Invocations") == [(7200, 2, 2, 1, 1)]


def test_every_minute_and_every_hour_has_its_own() -> None:
    counted = tally([ran(at=3599.9), ran(at=3600.0), ran(at=3661.0)])
    assert sorted((key[4], sums.requests) for key, sums in counted.sums.items()) == [
        (0, 1),
        (3600, 2),
    ]
    assert [minute for minute, *_ in found(counted, "Duration")] == [3540, 3600, 3660]


def test_a_qualifier_has_metrics_of_its_own() -> None:
    counted = tally([ran(1), ran(2, invoked_arn=F.arn + ":live", duration_ms=5.0)])
    assert found(counted, "Duration") == [(7200, 2, 5.1, 0.1, 5.0)]
    by_alias = (("FunctionName", "f"), ("Resource", "f:live"))
    assert found(counted, "Duration", by_alias) == [(7200, 1, 5.0, 5.0, 5.0)]


def test_an_alias_has_metrics_with_the_version_it_led_to() -> None:
    counted = tally([ran(invoked_arn=F.arn + ":live", provisioned=True)])
    led_to = (("ExecutedVersion", "$LATEST"), *BY_FUNCTION, ("Resource", "f:live"))
    for name in ("Invocations", "ProvisionedConcurrencyInvocations"):
        assert found(counted, name, led_to) == [(7200, 1, 1, 1, 1)]
    assert led_to == tuple(sorted(led_to)), "the order in which a series is looked for"
    named = tally([ran(invoked_arn=F.arn + ":$LATEST")])
    assert {series[4] for series, _ in named.minutes} == {
        (),
        BY_FUNCTION,
        (*BY_FUNCTION, ("Resource", "f:$LATEST")),
    }


def test_what_ran_on_provisioned_concurrency_and_what_spilled_over() -> None:
    counted = tally([ran(), ran(provisioned=True), ran(provisioned=False), ran(provisioned=True)])
    assert found(counted, "ProvisionedConcurrencyInvocations") == [(7200, 2, 2, 1, 1)]
    assert found(counted, "ProvisionedConcurrencySpilloverInvocations") == [(7200, 1, 1, 1, 1)]
    assert found(tally([ran()]), "ProvisionedConcurrencySpilloverInvocations") == []


def test_an_init_for_a_snapshot_is_billed_and_is_no_request() -> None:
    init = ran(1, invoked_arn="", duration_ms=0.0, init_ms=99.5, billed_ms=100)
    counted = tally([init, ran(1)])
    ((_, total),) = counted.sums.items()
    assert (total.requests, total.errors, total.billed_ms, total.init_us) == (1, 0, 101, 99_700)
    assert found(counted, "Duration") == [(7200, 1, 0.1, 0.1, 0.1)]
    assert tally([init]).minutes == {}


def test_the_region_has_the_sum_of_its_functions() -> None:
    other = replace(F, name="g")
    counted = tally([ran(), ran(function=other, invoked_arn=other.arn, duration_ms=9.0)])
    assert found(counted, "Invocations", ()) == [(7200, 2, 2, 1, 1)]
    assert found(counted, "Duration", ())[0][-1] == 9.0


def test_requests_to_urls_by_what_they_were_answered() -> None:
    answers = [
        MeteredUrlRequest(F.account, F.region, "f", "live", 7201.0, status, latency_ms)
        for status, latency_ms in ((200, 4.0), (404, 2.0), (502, 9.0), (302, 1.0))
    ]
    counted = tally_url_requests(answers)
    assert counted.sums == {}
    by_alias = (*BY_FUNCTION, ("Resource", "f:live"))
    for way in ((), BY_FUNCTION, by_alias):
        assert found(counted, "UrlRequestCount", way) == [(7200, 4, 4, 1, 1)]
        assert found(counted, "Url4xxCount", way) == [(7200, 4, 1, 0, 1)]
        assert found(counted, "Url5xxCount", way) == [(7200, 4, 1, 0, 1)]
        assert found(counted, "UrlRequestLatency", way) == [(7200, 4, 16, 1, 9)]
    units = {series[3]: series[5] for series, _ in counted.minutes}
    assert units["UrlRequestLatency"] == "Milliseconds" and units["Url4xxCount"] == "Count"
