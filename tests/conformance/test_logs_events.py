"""Log events put, read, filtered and tailed as on AWS, by boto3."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.telemetry.contract import StreamKey
from support.logs import LogsPlatform, logs_platform
from support.recorded import recorded

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@pytest.fixture
async def logs(tmp_path: Path) -> AsyncIterator[LogsPlatform]:
    async with logs_platform(tmp_path) as platform:
        yield platform


def texts(answer: dict[str, Any]) -> list[str]:
    return [event["message"] for event in answer["events"]]


async def test_recorded_limits_and_order(logs: LogsPlatform) -> None:
    place = await logs.stream()
    answer = await logs.ask("get_log_events", **place, limit=10001)
    steps = recorded("logs", "test_logs_events", "test_get_log_events_limit_validation")
    assert answer == steps["error-limit-exceeded"]
    answer = await logs.ask("filter_log_events", logGroupName="group", limit=10001)
    steps = recorded("logs", "test_logs_filter_events", "test_filter_log_events_limit_validation")
    assert answer == steps["error-limit-exceeded"]
    now = logs.now_ms
    events = [{"timestamp": now, "message": "b"}, {"timestamp": now - 1, "message": "a"}]
    answer = await logs.ask("put_log_events", **place, logEvents=events)
    steps = recorded("logs", "test_logs_events", "test_put_log_events_wrong_order")
    assert answer == steps["error-wrong-order"]


async def test_recorded_too_new(logs: LogsPlatform) -> None:
    place = await logs.stream()
    events = [{"timestamp": logs.now_ms + 3 * HOUR_MS, "message": "x"}]
    answer = await logs.ask("put_log_events", **place, logEvents=events)
    steps = recorded("logs", "test_logs_events", "test_put_log_events_too_new")
    assert answer.keys() == steps["response-too-new"].keys()
    assert answer["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 0}


async def test_what_is_too_old_expired_or_too_new_is_told_and_the_rest_kept(
    logs: LogsPlatform,
) -> None:
    place = await logs.stream()
    await logs.ask("put_retention_policy", logGroupName="group", retentionInDays=7)
    now = logs.now_ms
    times = [
        now - 15 * DAY_MS,
        now - 14 * DAY_MS - 1,
        now - 14 * DAY_MS,
        now - 7 * DAY_MS - 1,
        now - 1,
        now,
        now + 2 * HOUR_MS,
        now + 2 * HOUR_MS + 1,
    ]
    events = [{"timestamp": at, "message": str(n)} for n, at in enumerate(times)]
    answer = await logs.ask("put_log_events", **place, logEvents=events)
    assert answer["rejectedLogEventsInfo"] == {
        "tooOldLogEventEndIndex": 2,
        "expiredLogEventEndIndex": 4,
        "tooNewLogEventStartIndex": 7,
    }
    assert texts(await logs.ask("get_log_events", **place)) == ["4", "5", "6"]


async def test_batches_have_bounds(logs: LogsPlatform) -> None:
    place = await logs.stream()
    now = logs.now_ms

    async def put(*events: tuple[int, str]) -> dict[str, Any]:
        batch = [{"timestamp": at, "message": text} for at, text in events]
        return await logs.ask("put_log_events", **place, logEvents=batch)

    size = 1_048_576
    assert "Error" not in await put((now, "x" * (size - 26)))
    answer = await put((now, "x" * (size - 25)))
    assert answer["Error"]["Code"] == "InvalidParameterException"
    assert answer["Error"]["Message"] == (
        "Upload too large: 1048577 bytes exceeds limit of 1048576"
    )
    answer = await put((now, "é" * (size // 2 + 1)))
    assert answer["Error"]["Message"] == (
        "Log event too large: 1048578 bytes exceeds limit of 1048576"
    )
    assert "Error" not in await put(*[(now, "x")] * 10_000)
    assert (await put(*[(now, "x")] * 10_001))["Error"]["Code"] == "InvalidParameterException"
    assert (await put())["Error"]["Code"] == "InvalidParameterException"
    assert (await put((now, "")))["Error"]["Code"] == "InvalidParameterException"
    assert (await put((-1, "x")))["Error"]["Code"] == "InvalidParameterException"
    answer = await put((now - DAY_MS - 1, "a"), (now, "b"))
    assert answer["Error"]["Message"] == (
        "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
    )
    # What is refused stores nothing; sequence tokens never matter.
    answer = await logs.ask(
        "put_log_events",
        **place,
        logEvents=[{"timestamp": now, "message": "y"}],
        sequenceToken="whatever",
    )
    assert "Error" not in answer
    answer = await logs.ask("get_log_events", **place, limit=10)
    assert texts(answer) == ["x"] * 9 + ["y"]


async def test_reading_forward_until_the_token_stays_and_going_on_later(
    logs: LogsPlatform,
) -> None:
    place = await logs.stream()
    await logs.put(place, *(f"{n}" for n in range(25)))
    seen, token, last = [], {}, None
    while True:
        answer = await logs.ask("get_log_events", **place, limit=10, startFromHead=True, **token)
        seen += texts(answer)
        if answer["nextForwardToken"] == last:
            break
        last = answer["nextForwardToken"]
        token = {"nextToken": last}
    assert seen == [f"{n}" for n in range(25)]
    await logs.put(place, "later", at=logs.now_ms + 1000)
    answer = await logs.ask("get_log_events", **place, startFromHead=True, **token)
    assert texts(answer) == ["later"]
    # And back over all of it.
    token = {"nextToken": answer["nextBackwardToken"]}
    back: list[str] = []
    while True:
        answer = await logs.ask("get_log_events", **place, limit=10, **token)
        back = texts(answer) + back
        if answer["nextBackwardToken"] == token["nextToken"]:
            break
        token = {"nextToken": answer["nextBackwardToken"]}
    assert back == [f"{n}" for n in range(25)]
    # At the very beginning, forward starts anew with the first.
    answer = await logs.ask(
        "get_log_events", **place, startFromHead=True, nextToken=answer["nextForwardToken"]
    )
    assert texts(answer)[0] == "0"


async def test_without_startfromhead_the_latest_come_in_order_of_time(logs: LogsPlatform) -> None:
    place = await logs.stream()
    await logs.put(place, *(f"{n}" for n in range(10)))
    answer = await logs.ask("get_log_events", **place, limit=3)
    assert texts(answer) == ["7", "8", "9"]
    answer = await logs.ask(
        "get_log_events", **place, limit=3, nextToken=answer["nextBackwardToken"]
    )
    assert texts(answer) == ["4", "5", "6"]
    (event, *_) = answer["events"]
    assert event == {
        "timestamp": logs.now_ms + 4,
        "message": "4",
        "ingestionTime": logs.now_ms,
    }


async def test_following_a_stream_that_is_empty_yet(logs: LogsPlatform) -> None:
    place = await logs.stream()
    answer = await logs.ask("get_log_events", **place, startFromHead=True)
    assert answer["events"] == []
    token = answer["nextForwardToken"]
    again = await logs.ask("get_log_events", **place, startFromHead=True, nextToken=token)
    assert again["nextForwardToken"] == token
    await logs.put(place, "first")
    answer = await logs.ask("get_log_events", **place, startFromHead=True, nextToken=token)
    assert texts(answer) == ["first"]


async def test_times_of_get_and_filter(logs: LogsPlatform) -> None:
    place = await logs.stream()
    await logs.put(place, "0", "1", "2", "3")
    window = {"startTime": logs.now_ms + 1, "endTime": logs.now_ms + 2}
    # GetLogEvents leaves the end out, FilterLogEvents takes it in.
    assert texts(await logs.ask("get_log_events", **place, **window)) == ["1"]
    found = await logs.ask("filter_log_events", logGroupName="group", **window)
    assert texts(found) == ["1", "2"]
    code, _ = await logs.refused("filter_log_events", logGroupName="group", startTime=2, endTime=1)
    assert code == "InvalidParameterException"


async def test_a_page_holds_a_megabyte(logs: LogsPlatform) -> None:
    place = await logs.stream()
    for number in range(3):
        await logs.put(place, str(number) + "x" * 600_000, at=logs.now_ms + number)
    found = await logs.ask("filter_log_events", logGroupName="group")
    assert [text[0] for text in texts(found)] == ["0"]
    found = await logs.ask("filter_log_events", logGroupName="group", nextToken=found["nextToken"])
    assert [text[0] for text in texts(found)] == ["1"]
    pages = logs.client.get_paginator("filter_log_events").paginate(logGroupName="group")
    found = await asyncio.to_thread(lambda: [e["message"][0] for p in pages for e in p["events"]])
    assert found == ["0", "1", "2"]


async def test_filter_over_streams(logs: LogsPlatform) -> None:
    for number in range(3):
        place = await logs.stream("group", f"s{number}")
        await logs.put(place, f"ERROR {number}", f"fine {number}", at=logs.now_ms + number * 10)
    ask = {"logGroupName": "group"}

    async def found(**params: Any) -> list[str]:
        return texts(await logs.ask("filter_log_events", **ask, **params))

    assert await found(filterPattern="ERROR") == ["ERROR 0", "ERROR 1", "ERROR 2"]
    assert await found(filterPattern="ERROR", logStreamNames=["s2", "s0"]) == ["ERROR 0", "ERROR 2"]
    assert await found(logStreamNamePrefix="s1") == ["ERROR 1", "fine 1"]
    assert await found(logStreamNamePrefix="x") == []
    assert await found(filterPattern="fine", startFromHead=False, startTime=logs.now_ms) == [
        "fine 2",
        "fine 1",
        "fine 0",
    ]
    assert (await logs.refused("filter_log_events", **ask, startFromHead=False))[0] == (
        "InvalidParameterException"
    )
    assert (
        await logs.refused(
            "filter_log_events", **ask, logStreamNames=["s1"], logStreamNamePrefix="s"
        )
    )[0] == "InvalidParameterException"
    assert await logs.refused("filter_log_events", **ask, filterPattern="a:b") == (
        "InvalidParameterException",
        "Invalid character(s) in term ':'",
    )
    answer = await logs.ask("filter_log_events", **ask, interleaved=False, limit=4)
    assert answer["searchedLogStreams"] == []
    ids = [event["eventId"] for event in answer["events"]]
    rest = await logs.ask("filter_log_events", **ask, limit=4, nextToken=answer["nextToken"])
    ids += [event["eventId"] for event in rest["events"]]
    assert len(set(ids)) == 6
    assert ids == sorted(ids)
    assert "nextToken" not in rest
    (first, *_) = answer["events"]
    assert first["logStreamName"] == "s0"
    assert len(first["eventId"]) == 56


@pytest.mark.parametrize(
    "token",
    ["", "f/1/s", "x", "f/" + "9" * 56 + "/s", "b/" + "9" * 56 + "/s", "f/" + "0" * 56 + "/s"],
)
async def test_tokens_of_any_kind_do_no_harm(logs: LogsPlatform, token: str) -> None:
    place = await logs.stream()
    await logs.put(place, "x")
    for operation, params in (
        ("get_log_events", place),
        ("filter_log_events", {"logGroupName": "group"}),
    ):
        answer = await logs.ask(operation, **params, nextToken=token)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] in (200, 400)


async def test_times_of_any_size_do_no_harm(logs: LogsPlatform) -> None:
    place = await logs.stream()
    await logs.put(place, "x")
    for start in (0, 1 << 47, 1 << 62, (1 << 63) - 1):
        for end in (0, 1 << 47, (1 << 63) - 1):
            answer = await logs.ask("get_log_events", **place, startTime=start, endTime=end)
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


async def test_retention_hides_what_it_has_not_deleted_yet(logs: LogsPlatform) -> None:
    place = await logs.stream()
    await logs.put(place, "old", at=logs.now_ms - 2 * DAY_MS)
    await logs.put(place, "young")
    await logs.ask("put_retention_policy", logGroupName="group", retentionInDays=1)
    assert texts(await logs.ask("get_log_events", **place)) == ["young"]
    assert texts(await logs.ask("filter_log_events", logGroupName="group")) == ["young"]
    await logs.ask("delete_retention_policy", logGroupName="group")
    assert texts(await logs.ask("get_log_events", **place)) == ["old", "young"]


async def test_a_filter_that_is_costly_answers_in_pages(
    logs: LogsPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await logs.stream()
    for number in range(10):
        await logs.put(place, f"{number}", at=logs.now_ms + number)
    # A clock on which every look at it takes a second.
    monkeypatch.setattr(logs.clock, "monotonic", iter(range(10_000)).__next__)
    seen, token, pages = [], {}, 0
    while True:
        answer = await logs.ask(
            "filter_log_events", logGroupName="group", filterPattern="%[0-9]%", **token
        )
        seen += texts(answer)
        pages += 1
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
    assert seen == [f"{n}" for n in range(10)]
    assert pages > 3


ARN = "arn:aws:logs:us-east-1:000000000000:log-group:group"


async def test_live_tail(logs: LogsPlatform) -> None:
    place = await logs.stream()
    await logs.put(place, "before")
    answer = await asyncio.to_thread(
        logs.client.start_live_tail,
        logGroupIdentifiers=[ARN],
        logStreamNamePrefixes=["str"],
        logEventFilterPattern="-skip",
    )
    events = iter(answer["responseStream"])
    start = (await asyncio.to_thread(next, events))["sessionStart"]
    assert start["logGroupIdentifiers"] == [ARN]
    assert start["logEventFilterPattern"] == "-skip"
    assert len(start["sessionId"]) == 36

    async def update() -> dict[str, Any]:
        reading = asyncio.create_task(asyncio.to_thread(next, events))
        for _ in range(2000):
            if reading.done():
                break
            await asyncio.sleep(0.001)
            await logs.clock.advance(0.5)
        found: dict[str, Any] = (await reading)["sessionUpdate"]
        return found

    assert (await update())["sessionResults"] == []
    now = logs.now_ms
    await logs.put(place, "live", "skip me", "more")
    key = StreamKey("000000000000", "us-east-1", "group", "stream/2")
    logs.recorder.log(key, [(now, "from a function \ud800")])
    logs.recorder.log(StreamKey("000000000000", "us-east-1", "group", "other"), [(now, "no")])
    results: list[dict[str, Any]] = []
    while len(results) < 3:
        results += (await update())["sessionResults"]
    assert [one["message"] for one in results] == ["live", "more", "from a function ?"]
    assert results[0] == {
        "logGroupIdentifier": "000000000000:group",
        "logStreamName": "stream",
        "timestamp": now,
        "ingestionTime": now,
        "message": "live",
    }
    logs.recorder.log(key, [(now, f"{n}") for n in range(2000)])
    while True:
        found = await update()
        if found["sessionResults"]:
            break
    assert found["sessionMetadata"]["sampled"] is True
    numbers = [int(one["message"]) for one in found["sessionResults"]]
    assert len(numbers) == 500
    assert numbers == sorted(numbers)
    await asyncio.to_thread(answer["responseStream"].close)


async def test_a_live_tail_ends_after_three_hours(logs: LogsPlatform) -> None:
    await logs.stream()
    session = (
        await logs.gateway.call("logs", "StartLiveTail", {"logGroupIdentifiers": [ARN]}, logs.root)
    )["responseStream"]
    names = []

    async def read() -> None:
        async for event in session:
            names.extend(event)

    reading = asyncio.create_task(read())
    await logs.clock.settle()
    await logs.clock.advance(3 * 3600 + 1)
    await asyncio.wait_for(reading, 10)
    assert names[0] == "sessionStart"
    assert names[-1] == "SessionTimeoutException"
    assert names.count("sessionUpdate") == 3 * 3600


async def test_live_tail_is_refused(logs: LogsPlatform) -> None:
    await logs.stream()
    for params, code in (
        ({"logGroupIdentifiers": ["group"]}, "InvalidParameterException"),
        ({"logGroupIdentifiers": [f"{ARN}:*"]}, "InvalidParameterException"),
        ({"logGroupIdentifiers": [f"{ARN}-none"]}, "ResourceNotFoundException"),
        (
            {
                "logGroupIdentifiers": [ARN],
                "logStreamNames": ["a"],
                "logStreamNamePrefixes": ["b"],
            },
            "InvalidParameterException",
        ),
        (
            {"logGroupIdentifiers": [ARN], "logEventFilterPattern": "{ broken"},
            "InvalidParameterException",
        ),
    ):
        assert (await logs.refused("start_live_tail", **params))[0] == code
