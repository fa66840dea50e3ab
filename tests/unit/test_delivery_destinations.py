"""Destinations: who is told what, after how many attempts, and what of what nobody takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from boda import delivery
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.delivery import AsyncRules, RetryPolicy
from boda.delivery.post import Letter
from boda.invoke.catalogue import LATEST
from support.delivery_world import Office, arn, failed, office, ok

ROLE = Principal(
    "assumed-role",
    "000000000000",
    "arn:aws:sts::000000000000:assumed-role/r/f",
    "AROA:f",
    "arn:aws:iam::000000000000:role/r",
)
BUCKET = "arn:aws:s3:::records"


@pytest.fixture
async def here(tmp_path: Path):
    made = office(tmp_path)
    yield made
    await made.delivery.stop(grace_s=0)
    made.database.close()


async def start(here: Office, rules: AsyncRules, *, role: Any = ROLE, permits: bool = True) -> None:
    here.delivery = delivery.build(
        here.database,
        here.functions,
        here.invoker,
        here.telemetry,
        here.clock,
        Ids(1),
        reserved=lambda *key: here.reserved(*key),
        rules=lambda version, qualifier: rules if version.name == "f" else AsyncRules(),
        role=lambda version: role,
        permits=lambda *question: permits,
    )
    here.delivery.post.add("s3", here.dead)
    here.function("f")
    here.function("g")
    await here.delivery.start()


async def send(here: Office, name: str = "f") -> None:
    await here.delivery.queue.accept(
        arn(name), LATEST, b'{"n":1}', request_id="id", invoked_arn=arn(name), trace_id=""
    )
    await here.clock.advance(0)


def record(letter: Letter) -> Any:
    return orjson.loads(letter.event)


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
    assert here.dead.letters == []
    await here.clock.advance(61)
    (letter,) = here.dead.letters
    told = record(letter)
    assert told["requestContext"]["condition"] == "RetriesExhausted"
    assert told["requestContext"]["approximateInvokeCount"] == 2
    assert told["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert told["responsePayload"]["errorMessage"] == "broken"
    assert letter.source.principal is ROLE
    assert letter.name.startswith("aws/lambda/async/f/")


async def test_the_configured_age_ends_an_event(here: Office) -> None:
    here.invoker.outcome = failed
    await start(here, AsyncRules(RetryPolicy(max_retries=2, max_age_s=60), "", BUCKET))
    await send(here)
    told = record(here.dead.letters[0])
    # One more try would be too late, so there is none; the answer of the first is told.
    assert told["requestContext"]["condition"] == "EventAgeExceeded"
    assert told["requestContext"]["approximateInvokeCount"] == 1
    assert told["responseContext"]["functionError"] == "Unhandled"


async def test_what_never_ran_has_no_response(here: Office) -> None:
    here.reserved = lambda account, region, function: 0
    await start(here, AsyncRules(on_failure=BUCKET))
    await send(here)
    told = record(here.dead.letters[0])
    assert told["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert told["requestContext"]["approximateInvokeCount"] == 0
    assert "responseContext" not in told and "responsePayload" not in told


@pytest.mark.parametrize(
    ("target", "role", "permits"),
    [
        ("arn:aws:sqs:us-east-1:000000000000:nobody", ROLE, True),  # no such service here
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
