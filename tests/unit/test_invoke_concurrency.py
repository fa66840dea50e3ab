"""Leases of concurrency, and the functions table."""

from __future__ import annotations

import pytest

from boda.core.errors import AwsError
from boda.core.policy import Policy
from boda.invoke.catalogue import Functions, function_arn, split_qualifier
from boda.invoke.concurrency import Concurrency
from support.fake_sandbox import function


def refused(concurrency, version):
    with pytest.raises(AwsError) as caught:
        concurrency.lease(version)
    error = caught.value
    assert (error.code, error.status, error.message) == (
        "TooManyRequestsException",
        429,
        "Rate Exceeded.",
    )
    assert error.fields["Type"] == "User"
    return error.fields["Reason"]


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


def test_functions_resolve_by_arn_parts_and_qualifier():
    functions = Functions()
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
    functions = Functions()
    version = function()
    functions.put(version.arn, "$LATEST", version)
    policy = Policy({"Statement": []})
    functions.set_policy(version.arn, "$LATEST", policy)
    assert functions.policy(version.arn) is policy
    assert functions.policy(version.arn, "live") is None
    functions.remove(version.arn)
    assert functions.policy(version.arn) is None and functions.resolve(version.arn) is None


def test_what_no_qualifier_names_any_more_is_retired_once():
    functions = Functions()
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
