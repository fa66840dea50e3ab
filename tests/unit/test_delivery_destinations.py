"""Destinations: who is told what, after how many attempts, and what of what nobody takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from boda import delivery
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.delivery import AsyncRules, RetryPolicy
from boda.delivery.post_office import Message
from boda.invoke.function_table import LATEST
from support.delivery_world import (
    ROLE,
    Office,
    add_functions,
    arn,
    failed,
    office,
    ok,
    throttled,
    version,
)

BUCKET = "arn:aws:s3:::records"


@pytest.fixture
async def here(tmp_path: Path):
    made = office(tmp_path)
    yield made
    await made.delivery.stop(grace_s=0)
    made.rows.close()


async def start(
    here: Office, rules: AsyncRules, *, role: Any = ROLE, permits: bool = True, **settings: Any
) -> None:
    here.delivery = delivery.build(
        here.rows,
        here.functions,
        here.invoker,
        here.telemetry,
        here.clock,
        Ids(1),
        reserved=lambda *key: here.reserved(*key),
        rules=lambda version, qualifier: rules if version.name == "f" else AsyncRules(),
        role=lambda version: role,
    )
    add_functions(here.delivery, here.functions, lambda *question: permits)
    for service in ("s3", "sqs"):
        here.delivery.post.add(service, here.dead)
    here.function("f", **settings)
    here.function("g")
    await here.delivery.start()


async def send(here: Office, name: str = "f", qualifier: str = LATEST) -> None:
    await here.delivery.queue.accept(
        arn(name), qualifier, b'{"n":1}', request_id="id", invoked_arn=arn(name), trace_id=""
    )
    await here.clock.advance(0)


def full() -> AwsError:
    return AwsError("ServiceUnavailable", "The platform cannot write.", 503)


def record(message: Message) -> Any:
    return orjson.loads(message.event)


async def test_success_is_told_to_a_function(here: Office) -> None:
    calls = []
    here.invoker.outcome = lambda call: calls.append(call) or ok(call)
    await start(here, AsyncRules(on_success=arn("g")))
    await send(here)
    await here.clock.advance(1)
    first, second = calls
    assert (first.version.name, second.version.name) == ("f", "g")
    told = orjson.loads(second.payload)
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "version": "1.0",
        "requestContext": {
            "requestId": "id",
            "functionArn": f"{arn('f')}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"n": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": None,
    }
    assert "Lineage=2:" in second.trace_id  # the recursion guard counts it
    assert await here.waiting() == 0


async def test_failure_is_told_after_the_configured_attempts(here: Office) -> None:
    here.invoker.outcome = failed
    await start(here, AsyncRules(RetryPolicy(max_retries=1), "", BUCKET))
    await send(here)
    assert here.dead.messages == []
    await here.clock.advance(61)
    (message,) = here.dead.messages
    told = record(message)
    assert told["requestContext"]["condition"] == "RetriesExhausted"
    assert told["requestContext"]["approximateInvokeCount"] == 2
    assert told["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert told["responsePayload"]["errorMessage"] == "broken"
    assert message.source.principal is ROLE
    assert message.name.startswith("aws/lambda/async/f/")


async def test_the_configured_age_ends_an_event(here: Office) -> None:
    here.invoker.outcome = failed
    await start(here, AsyncRules(RetryPolicy(max_retries=2, max_age_s=60), "", BUCKET))
    await send(here)
    told = record(here.dead.messages[0])
    # One more try would be too late, so there is none; the answer of the first is told.
    assert told["requestContext"]["condition"] == "EventAgeExceeded"
    assert told["requestContext"]["approximateInvokeCount"] == 1
    assert told["responseContext"]["functionError"] == "Unhandled"


async def test_what_never_ran_has_no_response(here: Office) -> None:
    here.reserved = lambda account, region, function: 0
    await start(here, AsyncRules(on_failure=BUCKET))
    await send(here)
    told = record(here.dead.messages[0])
    assert told["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert told["requestContext"]["approximateInvokeCount"] == 0
    assert "responseContext" not in told and "responsePayload" not in told


@pytest.mark.parametrize(
    ("target", "role", "permits"),
    [
        ("arn:aws:sns:us-east-1:000000000000:nobody", ROLE, True),  # no such service here
        (arn("g"), ROLE, False),  # the role may not
        (BUCKET, None, True),  # the role is gone
    ],
)
async def test_what_nobody_takes_is_counted_and_said(
    here: Office, target: str, role: Any, permits: bool
) -> None:
    await start(here, AsyncRules(on_success=target), role=role, permits=permits)
    await send(here)
    assert here.telemetry.counts["DestinationDeliveryFailures"] == 1
    (line,) = [orjson.loads(text) for _, text in here.telemetry.lines]
    assert line["type"] == "boda.destination.failed" and line["destination"] == target
    assert orjson.loads(line["record"])["requestPayload"] == {"n": 1}
    assert await here.waiting() == 0


async def test_success_after_a_retry_counts_both_and_names_what_ran(here: Office) -> None:
    tries = iter((failed, ok))
    here.invoker.outcome = lambda call: next(tries)(call)
    await start(here, AsyncRules(on_success=BUCKET))
    here.functions.put(arn("f"), "7", version("f", number="7"))
    await send(here, qualifier="7")
    await here.clock.advance(60.25)
    told = record(here.dead.messages[0])
    assert told["requestContext"]["approximateInvokeCount"] == 2
    assert told["requestContext"]["functionArn"] == f"{arn('f')}:7"
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "7"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["timestamp"])


async def test_what_is_told_of_a_failure_is_one_invocation_further(here: Office) -> None:
    """Or a function that sets itself off by its failures would never be stopped."""
    here.invoker.outcome = failed
    await start(here, AsyncRules(RetryPolicy(max_retries=0), "", BUCKET), dead_letter_arn=SQS)
    await send(here)
    assert len(here.dead.messages) == 2
    assert all("Lineage=1:" in message.source.trace_id for message in here.dead.messages)


# What the platform fails in


async def test_a_letter_is_sent_again_where_the_platform_fails(here: Office) -> None:
    here.invoker.outcome = failed
    await start(here, AsyncRules(RetryPolicy(max_retries=0), "", BUCKET), dead_letter_arn=SQS)
    here.dead.failing = [full()] * 2
    await send(here)
    assert here.dead.messages == [] and await here.waiting() == 1
    await here.clock.advance(3)
    dead, told = here.dead.messages
    assert dead.attributes["RequestID"].value == "id"
    assert record(told)["requestContext"]["condition"] == "RetriesExhausted"
    assert len(here.invoker.log) == 1  # the function is not run again for it
    assert not here.telemetry.counts["DeadLetterErrors"]
    assert not here.telemetry.counts["DestinationDeliveryFailures"]
    await here.clock.advance(1)
    assert await here.waiting() == 0


async def test_a_full_disk_keeps_no_function_from_being_told(here: Office) -> None:
    await start(here, AsyncRules(on_success=arn("g")))
    here.invoker.duration_s = lambda call: 1.0
    await send(here)
    here.rows.failing = lambda: True
    await here.clock.advance(30)
    here.rows.failing = lambda: False
    await here.clock.advance(90)
    assert [name for _, name, _, _ in here.invoker.log] == ["f", "g"]
    assert await here.waiting() == 0


async def test_a_letter_that_cannot_be_sent_is_given_up_in_the_end(here: Office) -> None:
    await start(here, AsyncRules(on_success=BUCKET))
    here.dead.failing = [full()] * 100
    await send(here)
    await here.clock.advance(290)
    assert not here.telemetry.counts["DestinationDeliveryFailures"]
    await here.clock.advance(20)
    assert here.telemetry.counts["DestinationDeliveryFailures"] == 1
    assert len(here.dead.failing) == 89 and await here.waiting() == 0


async def test_a_stop_waits_for_no_letter_and_the_event_is_kept(here: Office) -> None:
    await start(here, AsyncRules(on_success=BUCKET))
    here.dead.failing = [full()]
    await send(here)
    await here.delivery.stop()
    assert here.dead.messages == [] and await here.waiting() == 1
    await start(here, AsyncRules(on_success=BUCKET))
    await here.clock.advance(1)
    assert len(here.dead.messages) == 1 and await here.waiting() == 0


async def test_a_defect_in_sending_is_counted_and_the_event_done_with(here: Office) -> None:
    here.invoker.outcome = failed
    await start(here, AsyncRules(RetryPolicy(max_retries=0), "", BUCKET), dead_letter_arn=SQS)
    here.dead.failing = [RuntimeError("broken")] * 2
    await send(here)
    await here.clock.advance(1)
    assert here.telemetry.counts["DeadLetterErrors"] == 1
    assert here.telemetry.counts["DestinationDeliveryFailures"] == 1
    assert await here.waiting() == 0 and len(here.invoker.log) == 1


SQS, BUS, TOPIC = (
    f"arn:aws:{service}:us-east-1:000000000000:{resource}"
    for service, resource in (("sqs", "q"), ("events", "event-bus/b"), ("sns", "t"))
)


async def test_an_event_bus_is_told_with_the_words_of_an_event(here: Office) -> None:
    await start(here, AsyncRules(on_success=BUS, on_failure=BUS))
    here.delivery.post.add("events", here.dead)
    await send(here)
    here.invoker.outcome = failed
    await send(here)
    await here.clock.advance(200)
    success, failure = here.dead.messages
    assert success.subject == "Lambda Function Invocation Result - Success"
    assert failure.subject == "Lambda Function Invocation Result - Failure"
    assert success.resources == (BUS, f"{arn('f')}:$LATEST")


async def test_a_topic_gets_a_long_record_without_the_payloads(here: Office) -> None:
    await start(here, AsyncRules(on_success=TOPIC))
    here.delivery.post.add("sns", here.dead)
    await here.delivery.queue.accept(
        arn("f"),
        LATEST,
        b'"%s"' % (b"x" * 300_000),
        request_id="long",
        invoked_arn=arn("f"),
        trace_id="",
    )
    await here.clock.advance(1)
    await send(here)
    long, short = (record(message) for message in here.dead.messages)
    assert long["requestContext"]["condition"] == "Success" and long["responseContext"]
    assert "requestPayload" not in long and "responsePayload" not in long
    assert short["requestPayload"] == {"n": 1}


async def test_first_in_first_out_targets_are_none(here: Office) -> None:
    await start(here, AsyncRules(on_failure=SQS + ".fifo"))
    here.delivery.post.add("sqs", here.dead)
    here.function("f", dead_letter_arn=SQS + ".fifo")
    here.reserved = lambda account, region, function: 0
    await send(here)
    assert here.dead.messages == []
    assert here.telemetry.counts["DestinationDeliveryFailures"] == 1
    assert here.telemetry.counts["DeadLetterErrors"] == 1


async def test_dead_letters_and_the_destination_are_both_told_as_the_role(here: Office) -> None:
    await start(here, AsyncRules(RetryPolicy(max_retries=0), "", BUCKET))
    here.delivery.post.add("sqs", here.dead)
    here.function("f", dead_letter_arn=SQS)
    here.invoker.outcome = lambda call: failed(call, "é" * 800)
    await send(here)
    dead, told = here.dead.messages
    assert dead.event == b'{"n":1}' and dead.attributes["ErrorCode"].value == "200"
    assert dead.attributes["ErrorMessage"].value == "é" * 512, "the first 1 KB, not characters"
    assert record(told)["requestContext"]["condition"] == "RetriesExhausted"
    assert dead.source.principal is told.source.principal is ROLE
    assert here.telemetry.counts["AsyncEventsDropped"] == 1


async def test_without_its_role_a_dead_letter_is_an_error(here: Office) -> None:
    await start(here, AsyncRules(RetryPolicy(max_retries=0)), role=None)
    here.delivery.post.add("sqs", here.dead)
    here.function("f", dead_letter_arn=SQS)
    here.invoker.outcome = failed
    await send(here)
    assert not here.dead.messages and here.telemetry.counts["DeadLetterErrors"] == 1


@pytest.mark.parametrize(("retries", "times"), [(0, [0]), (1, [0, 60]), (2, [0, 60, 180])])
async def test_as_many_retries_as_configured(here: Office, retries: int, times: list[int]) -> None:
    here.invoker.outcome = failed
    await start(here, AsyncRules(RetryPolicy(max_retries=retries)))
    await send(here)
    await here.clock.advance(1000)
    first = here.invoker.log[0][0]
    assert [round(at - first) for at, *_ in here.invoker.log] == times
    assert {key for _, _, key, _ in here.invoker.log} == {"id"}


async def test_throttles_end_with_the_configured_age_and_are_no_attempts(here: Office) -> None:
    here.invoker.outcome = lambda call: throttled()
    await start(here, AsyncRules(RetryPolicy(max_age_s=60), "", BUCKET))
    await send(here)
    await here.clock.advance(100)
    told = record(here.dead.messages[0])
    assert told["requestContext"]["condition"] == "EventAgeExceeded"
    assert told["requestContext"]["approximateInvokeCount"] == 0
    assert "responseContext" not in told
    assert here.dead.messages[0].name.startswith("aws/lambda/async/f/")
