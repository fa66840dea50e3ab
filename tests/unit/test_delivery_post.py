"""The post office: who carries what, and who may post to a function."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from boda.core.errors import AwsError
from boda.core.principal import ANONYMOUS, service_principal
from boda.delivery.contract import EventSource, PostOffice
from boda.delivery.retry import Discard, Retry, RetryPolicy, after_error, after_throttle, too_old
from support.delivery_world import Office, arn, office, ok, version

S3 = EventSource(
    service_principal("s3.amazonaws.com"), "arn:aws:s3:::photos", "000000000000", "us-east-1"
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Office]:
    made = office(tmp_path)
    made.function("f")
    await made.delivery.start()
    yield made
    await made.delivery.stop(grace_s=0)
    made.rows.close()


def test_it_is_the_contract() -> None:
    from boda.delivery.post_office import LocalPostOffice

    post: PostOffice = LocalPostOffice()
    assert not post.can_deliver("arn:aws:lambda:us-east-1:000000000000:function:f")


async def test_a_service_without_a_carrier_cannot_be_delivered_to(here: Office) -> None:
    post = here.delivery.post
    assert post.can_deliver(arn("f")) and post.can_deliver("arn:aws:sqs:us-east-1:1:q")
    for target in ("arn:aws:sns:us-east-1:000000000000:topic", "nonsense", "", "arn:aws:sns"):
        assert not post.can_deliver(target)
        assert not post.may_deliver(target, S3)
        with pytest.raises(AwsError) as error:
            await post.deliver(target, b"{}", S3)
        assert error.value.status == 400


async def test_the_functions_policy_decides_who_may_post(here: Office) -> None:
    post = here.delivery.post
    assert not post.may_deliver(arn("f"), S3)
    with pytest.raises(AwsError) as error:
        await post.deliver(arn("f"), b"{}", S3)
    assert error.value.status == 403 and await here.waiting() == 0
    here.allow(
        "f",
        ArnLike={"AWS:SourceArn": "arn:aws:s3:::photos"},
        StringEquals={"AWS:SourceAccount": "000000000000"},
    )
    assert post.may_deliver(arn("f"), S3)
    for other in (
        replace(S3, arn="arn:aws:s3:::others"),
        replace(S3, account="123456789012"),
        replace(S3, principal=service_principal("sns.amazonaws.com")),
        replace(S3, principal=ANONYMOUS),
    ):
        assert not post.may_deliver(arn("f"), other)
    assert not post.may_deliver(arn("other"), S3)
    assert not post.may_deliver(arn("f") + ":prod", S3), "a qualifier has its own policy"


async def test_an_event_is_delivered_with_its_request_id(here: Office) -> None:
    here.allow("f")
    request_id = await here.delivery.post.deliver(arn("f"), b'{"Records":[]}', S3)
    await here.clock.advance(1)
    ((_, name, found, _),) = here.invoker.log
    assert (name, found) == ("f", request_id)


async def test_an_event_for_an_alias_runs_what_the_alias_leads_to(here: Office) -> None:
    seen = []
    here.invoker.outcome = lambda call: seen.append(call) or ok(call)
    here.functions.put(arn("f"), "1", version("f", number="1"))
    here.functions.put_alias(arn("f"), "live", "1")
    here.allow("f", "live")
    await here.delivery.post.deliver(f"{arn('f')}:live", b"{}", S3)
    await here.clock.advance(1)
    assert [(call.version.version, call.invoked_arn) for call in seen] == [
        ("1", f"{arn('f')}:live")
    ]


async def test_an_event_for_a_function_that_is_being_created_waits(here: Office) -> None:
    here.allow("young")
    await here.delivery.post.deliver(arn("young"), b"{}", S3)
    await here.clock.advance(2)
    assert not here.invoker.log and await here.waiting() == 1
    here.function("young")
    await here.clock.advance(10)
    assert len(here.invoker.log) == 1 and await here.waiting() == 0


async def test_an_event_waits_for_the_version_that_an_alias_leads_to(here: Office) -> None:
    """A version with SnapStart is Pending while its init runs."""
    here.function("slow")
    functions, name = here.functions, arn("slow")
    functions.put_alias(name, "live", "1")
    functions.announce(name, "1")
    await here.delivery.queue.accept(
        name, "live", b"{}", request_id="r", invoked_arn=f"{name}:live", trace_id=""
    )
    await here.clock.advance(2)
    assert not here.invoker.log and await here.waiting() == 1
    version = functions.resolve(name)
    assert version is not None
    functions.put(name, "1", replace(version, version="1"))
    await here.clock.advance(10)
    assert len(here.invoker.log) == 1 and await here.waiting() == 0


async def test_an_event_has_a_size(here: Office) -> None:
    here.allow("f")
    with pytest.raises(AwsError) as error:
        await here.delivery.post.deliver(arn("f"), b" " * (1024 * 1024 + 1), S3)
    assert error.value.status == 413


# Retry arithmetic


def test_errors_are_tried_again_twice() -> None:
    policy = RetryPolicy()
    assert after_error(policy, 1, 0, 10) == Retry(70)
    assert after_error(policy, 2, 0, 70) == Retry(190)
    assert after_error(policy, 3, 0, 190) == Discard("RetriesExhausted")
    assert after_error(RetryPolicy(max_retries=0), 1, 0, 0) == Discard("RetriesExhausted")


def test_an_error_is_not_tried_again_beyond_the_events_age() -> None:
    policy = RetryPolicy(max_age_s=60)
    assert after_error(RetryPolicy(max_age_s=61), 1, 0, 0) == Retry(60)
    assert after_error(policy, 1, 0, 0) == Discard("EventAgeExceeded")


def test_throttles_double_to_five_minutes_and_end_with_the_age() -> None:
    policy = RetryPolicy()
    waits = [after_throttle(policy, count, 0, 0).at for count in range(1, 12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert after_throttle(policy, 10_000, 0, 0).at == 300
    assert after_throttle(policy, 50, 0, 21_500).at == 21_600
    assert after_throttle(policy, 50, 0, 22_000).at == 22_000
    assert too_old(policy, 0, 21_600) and not too_old(policy, 0, 21_599)
