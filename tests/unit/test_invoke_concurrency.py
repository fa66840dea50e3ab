"""Leases of concurrency, and the functions table."""

from __future__ import annotations

import pytest

from boda.core.arn import function_arn, split_qualifier
from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.policy import Policy
from boda.invoke.concurrency import Concurrency
from boda.invoke.function_table import FunctionTable
from boda.invoke.gauges import Gauges
from support.fake_sandbox import FakeTelemetry, function

PLACE = ("000000000000", "us-east-1")


def refusal(concurrency, version, **how):
    with pytest.raises(AwsError) as caught:
        concurrency.lease(version, **how)
    error = caught.value
    assert (error.code, error.status) == ("TooManyRequestsException", 429)
    assert error.fields["Type"] == "User"
    return error


def refused(concurrency, version):
    error = refusal(concurrency, version)
    assert error.message == "Rate Exceeded."
    return error.fields["Reason"]


class Time:
    """Seconds that pass when told."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def begun(concurrency, version, tries, **how):
    """How many of so many calls, each over at once, were let through."""
    found = 0
    for _ in range(tries):
        try:
            concurrency.lease(version, **how).release()
        except AwsError:
            continue
        found += 1
    return found


def test_the_account_has_a_limit():
    concurrency = Concurrency(limit=3)
    leases = [concurrency.lease(function(name)) for name in ("a", "a", "b")]
    assert [lease.running for lease in leases] == [1, 2, 1]
    assert refused(concurrency, function("c")) == "ConcurrentInvocationLimitExceeded"
    concurrency.lease(function("c", account="111111111111"))
    concurrency.lease(function("c", region="eu-west-1"))
    leases[0].release()
    leases[0].release()
    concurrency.lease(function("c"))
    assert refused(concurrency, function("d")) == "ConcurrentInvocationLimitExceeded"


def test_a_reservation_guarantees_and_caps():
    concurrency = Concurrency(limit=3)
    concurrency.reserve("000000000000", "us-east-1", "a", 2)
    assert concurrency.unreserved("000000000000", "us-east-1") == 1
    other = concurrency.lease(function("b"))
    assert refused(concurrency, function("b")) == "ConcurrentInvocationLimitExceeded"
    first = concurrency.lease(function("a"))
    concurrency.lease(function("a", version="1"))
    reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert refused(concurrency, function("a")) == reason
    first.release()
    concurrency.lease(function("a")).release()
    other.release()
    assert concurrency.running("000000000000", "us-east-1", "a") == 1


def test_zero_turns_a_function_off_and_none_on_again():
    concurrency = Concurrency()
    concurrency.reserve("000000000000", "us-east-1", "a", 0)
    assert concurrency.reserved("000000000000", "us-east-1", "a") == 0
    assert refused(concurrency, function("a")).startswith("Reserved")
    concurrency.reserve("000000000000", "us-east-1", "a", None)
    concurrency.lease(function("a"))


def test_a_reservation_made_while_calls_run_counts_each_once():
    concurrency = Concurrency(limit=10)
    early = concurrency.lease(function("a"))
    concurrency.reserve("000000000000", "us-east-1", "a", 1)
    assert refused(concurrency, function("a")).startswith("Reserved")
    early.release()
    late = concurrency.lease(function("a"))
    concurrency.reserve("000000000000", "us-east-1", "a", None)
    late.release()
    leases = [concurrency.lease(function("b")) for _ in range(10)]
    assert refused(concurrency, function("b")).startswith("Concurrent")
    for lease in leases:
        lease.release()
    assert concurrency.running("000000000000", "us-east-1", "b") == 0


def test_a_reservation_never_makes_the_account_run_more_than_its_limit():
    concurrency = Concurrency(limit=5)
    early = [concurrency.lease(function("b")) for _ in range(5)]
    concurrency.reserve(*PLACE, "a", 3)
    error = refusal(concurrency, function("a"))
    assert error.fields["Reason"] == "ConcurrentInvocationLimitExceeded"
    early.pop().release()
    concurrency.lease(function("a"))
    assert refused(concurrency, function("b")) == "ConcurrentInvocationLimitExceeded"


def test_a_function_may_begin_ten_times_its_reservation_in_a_second():
    time = Time()
    concurrency = Concurrency(monotonic=time)
    concurrency.reserve(*PLACE, "a", 3)
    assert begun(concurrency, function("a"), 100) == 30
    error = refusal(concurrency, function("a"))
    assert error.fields["Reason"] == "ReservedFunctionInvocationRateLimitExceeded"
    assert error.message == "Rate Exceeded." and error.headers == {"Retry-After": "1"}
    time.now_s = 0.5
    assert begun(concurrency, function("a"), 100) == 15
    time.now_s = 100.0
    assert begun(concurrency, function("a"), 100) == 30
    assert begun(concurrency, function("b"), 100) == 100


def test_the_others_share_ten_times_what_is_shared():
    time = Time()
    concurrency = Concurrency(limit=10, monotonic=time)
    concurrency.reserve(*PLACE, "a", 4)
    assert begun(concurrency, function("b"), 40) == 40
    assert begun(concurrency, function("c"), 40) == 20
    error = refusal(concurrency, function("b"))
    assert error.fields["Reason"] == "CallerRateLimitExceeded"
    assert error.message == "Rate exceeded" and error.headers == {"Retry-After": "1"}
    assert begun(concurrency, function("a"), 100) == 40
    assert begun(concurrency, function("b", region="eu-west-1"), 200) == 100


def test_events_are_not_counted_and_the_rule_can_be_off():
    concurrency = Concurrency(limit=1, monotonic=Time())
    assert begun(concurrency, function("a"), 100, synchronous=False) == 100
    assert begun(concurrency, function("a"), 100) == 10
    free = Concurrency(limit=1, requests_per_unit=0, monotonic=Time())
    free.reserve(*PLACE, "b", 1)
    assert begun(free, function("b"), 500) == 500


def test_a_refused_call_takes_neither_concurrency_nor_rate():
    time = Time()
    concurrency = Concurrency(limit=1, monotonic=time)
    lease = concurrency.lease(function("a"))
    for _ in range(100):
        assert refused(concurrency, function("a")) == "ConcurrentInvocationLimitExceeded"
    lease.release()
    assert begun(concurrency, function("a"), 100) == 9
    assert concurrency.running(*PLACE, "a") == 0


def test_what_is_provisioned_has_a_rate_of_its_own_and_spills():
    concurrency = Concurrency(limit=10, monotonic=Time())
    concurrency.provision(*PLACE, "a", "1", 2)
    version = function("a", version="1")
    kinds = []
    for _ in range(30):
        lease = concurrency.lease(version)
        kinds.append(lease.provisioned)
        assert lease.spills("1") and not lease.spills("2")
        lease.release()
    assert kinds == [True] * 20 + [False] * 10


def test_only_whoever_waits_for_what_is_known_is_told_when_to_come_again():
    concurrency = Concurrency(limit=1)
    concurrency.reserve(*PLACE, "off", 0)
    assert refusal(concurrency, function("off")).headers == {}  # recorded without
    concurrency.lease(function("a"))
    assert refusal(concurrency, function("a")).headers == {"Retry-After": "1"}


async def test_metrics_tell_the_most_that_ran_at_once():
    clock, telemetry = ManualClock(), FakeTelemetry()
    concurrency = Concurrency(limit=100, monotonic=clock.monotonic)
    Gauges(concurrency, telemetry, clock)
    concurrency.reserve(*PLACE, "r", 10)
    concurrency.provision(*PLACE, "a", "1", 4, ("live",))
    leases = [concurrency.lease(function("a", version="1"), "live") for _ in range(3)]
    leases += [concurrency.lease(function("b")) for _ in range(2)]
    for lease in leases:
        lease.release()
    await clock.advance(1)
    named = (("FunctionName", "a"), ("Resource", "a:live"))
    assert set(telemetry.metrics) == {
        ("ConcurrentExecutions", 5.0, ()),
        ("UnreservedConcurrentExecutions", 2.0, ()),
        ("ClaimedAccountConcurrency", 16.0, ()),
        ("ConcurrentExecutions", 3.0, (("FunctionName", "a"),)),
        ("ConcurrentExecutions", 3.0, named),
        ("ConcurrentExecutions", 2.0, (("FunctionName", "b"),)),
        ("ProvisionedConcurrentExecutions", 3.0, named),
        ("ProvisionedConcurrencyUtilization", 0.75, named),
    }
    telemetry.metrics.clear()
    await clock.advance(3600)
    assert telemetry.metrics == [] and not clock._sleepers  # nothing ticks while nothing runs
    concurrency.lease(function("b"))
    await clock.advance(2)
    assert telemetry.metrics.count(("ConcurrentExecutions", 1.0, (("FunctionName", "b"),))) == 2


async def test_functions_that_ran_leave_no_trace():
    clock = ManualClock()
    concurrency = Concurrency(monotonic=clock.monotonic)
    Gauges(concurrency, FakeTelemetry(), clock)
    for number in range(300):
        concurrency.lease(function(f"f{number}"), "live").release()
    await clock.advance(3)
    ((_, _, place),) = concurrency.scopes()
    assert place.functions == {}


def test_functions_resolve_by_arn_parts_and_qualifier():
    functions = FunctionTable()
    latest, one = function(), function(version="1")
    functions.put(latest.arn, "$LATEST", latest)
    functions.put(latest.arn, "1", one)
    functions.put(latest.arn, "live", one)
    assert functions.resolve(latest.arn) is latest
    assert functions.resolve(latest.arn, "live") is one
    assert functions.resolve(latest.arn + ":1") is one
    assert functions.find("000000000000", "us-east-1", "f", "1") is one
    assert functions.resolve(latest.arn, "2") is None
    assert functions.resolve(function_arn("000000000000", "us-east-1", "g")) is None
    assert split_qualifier(latest.arn + ":live") == (latest.arn, "live")
    assert split_qualifier(latest.arn) == (latest.arn, "")


def test_policies_belong_to_their_qualifier_and_go_with_the_function():
    functions = FunctionTable()
    version = function()
    functions.put(version.arn, "$LATEST", version)
    policy = Policy({"Statement": []})
    functions.set_policy(version.arn, "$LATEST", policy)
    assert functions.policy(version.arn) is policy
    assert functions.policy(version.arn, "live") is None
    functions.remove(version.arn)
    assert functions.policy(version.arn) is None and functions.resolve(version.arn) is None


def test_what_no_qualifier_names_any_more_is_retired_once():
    functions = FunctionTable()
    retired = []
    functions.on_retired(lambda version: retired.append(version.revision_id))
    old, new = function(revision="1"), function(revision="2")
    functions.put(old.arn, "$LATEST", old)
    functions.put(old.arn, "$LATEST", function(revision="1"))
    assert retired == []
    functions.put(old.arn, "$LATEST", new)
    assert retired == ["1"]
    functions.remove(old.arn, "$LATEST")
    functions.remove(old.arn, "$LATEST")
    functions.remove(old.arn)
    assert retired == ["1", "2"]
