"""What waits in memory is bounded, and whoever loses something is told."""

from __future__ import annotations

import asyncio

from boda.telemetry.contract import StreamKey
from boda.telemetry.log_buffer import EVENT_LIMIT_BYTES, LogBuffer
from boda.telemetry.metrics import SERIES_LIMIT, MetricBuffer, Statistics
from boda.telemetry.subscription import Subscription

KEY = StreamKey("0", "us-east-1", "group", "stream")
OTHER = StreamKey("0", "us-east-1", "group", "other")


def test_a_full_buffer_drops_counts_and_tells() -> None:
    buffer = LogBuffer(hard_bytes=100_000)
    kept = 0
    while buffer.add(KEY, [(1, "x" * 1000)], 1):
        kept += 1
    buffer.add(OTHER, [(1, "y" * 1000), (2, "z" * 1000)], 1)
    assert 80 < kept < 100
    assert buffer.dropped == 3
    taken, held = buffer.take()
    assert len(taken[KEY].events) == kept
    assert buffer.bytes == held <= 100_000
    buffer.release(held)
    assert buffer.bytes == 0
    buffer.add(OTHER, [(5, "again")], 5)
    taken, _ = buffer.take()
    assert taken[KEY].events == [
        (5, "boda dropped 1 log events here: storage did not take them in time.")
    ]
    assert [message for _, message in taken[OTHER].events] == [
        "boda dropped 2 log events here: storage did not take them in time.",
        "again",
    ]


def test_what_a_stream_brought_on_itself_is_told_and_is_no_fault_of_the_platform() -> None:
    buffer = LogBuffer()
    buffer.drop(KEY, 0, "it was too fast")
    buffer.add(OTHER, [(5, "a")], 5)
    assert list(buffer.take()[0]) == [OTHER]
    buffer.drop(KEY, 2, "it was too fast")
    buffer.add(OTHER, [(6, "b")], 6)
    taken, _ = buffer.take()
    assert taken[KEY].events == [(6, "boda dropped 2 log events here: it was too fast.")]
    assert buffer.dropped == 0


def test_the_size_counts_memory_not_letters() -> None:
    narrow, wide = LogBuffer(), LogBuffer()
    narrow.add(KEY, [(1, "a" * 1000)], 1)
    wide.add(KEY, [(1, "\U0001f600" * 1000)], 1)
    assert wide.bytes > 3 * narrow.bytes


def test_messages_beyond_the_largest_event_are_cut_not_lost() -> None:
    buffer = LogBuffer()
    message = "é" * EVENT_LIMIT_BYTES
    taken = buffer.add(KEY, [(1, "short"), (1, message)], 1)
    assert [len(text.encode()) <= EVENT_LIMIT_BYTES for _, text in taken] == [True] * 3
    assert "".join(text for _, text in taken[1:]) == message


def watch(**limits: int) -> Subscription:
    return Subscription("0", "us-east-1", ["group"], **limits)


def test_a_watcher_sees_only_what_it_asked_for() -> None:
    for streams, prefixes, expected in [
        ((), (), [True, True]),
        (("stream",), (), [True, False]),
        ((), ("str", "x"), [True, False]),
        ((), ("o",), [False, True]),
    ]:
        subscription = Subscription("0", "us-east-1", ["group"], streams, prefixes)
        assert [subscription.wants(KEY), subscription.wants(OTHER)] == expected
    subscription = watch()
    assert not subscription.wants(StreamKey("1", "us-east-1", "group", "stream"))
    assert not subscription.wants(StreamKey("0", "eu-west-1", "group", "stream"))
    assert not subscription.wants(StreamKey("0", "us-east-1", "another", "stream"))


def test_a_slow_watcher_loses_the_oldest_and_is_told() -> None:
    subscription = watch(max_events=10)
    for number in range(8):
        subscription.offer(KEY, [(number, "a"), (number, "b")], number)
    batches = subscription.take()
    assert [batch.events[0][0] for batch in batches] == [3, 4, 5, 6, 7]
    assert [batch.dropped for batch in batches] == [6, 0, 0, 0, 0]
    subscription.offer(KEY, [(9, "c")], 9)
    assert [batch.dropped for batch in subscription.take()] == [0]


def test_a_batch_too_large_for_the_watcher_is_counted_too() -> None:
    subscription = watch(max_bytes=10)
    subscription.offer(KEY, [(1, "x" * 11)], 1)
    assert subscription.take() == []
    assert subscription.take_dropped() == 1


async def test_iterating_ends_when_the_watch_is_closed() -> None:
    closed = []
    subscription = Subscription("0", "us-east-1", ["group"], on_close=closed.append)
    seen = []

    async def read() -> None:
        async for batch in subscription:
            seen.append(batch.events)

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    subscription.offer(KEY, [(1, "one")], 1)
    await asyncio.sleep(0)
    subscription.offer(KEY, [(2, "two")], 2)
    await asyncio.sleep(0)
    subscription.close()
    subscription.close()
    await asyncio.wait_for(reader, 5)
    assert seen == [((1, "one"),), ((2, "two"),)]
    assert closed == [subscription]


def add(buffer: MetricBuffer, value: float, now: float = 0.0, **dimensions: str) -> None:
    buffer.add("0", "r", "N", "m", value, dimensions, "Count", now)


def test_metrics_add_up_by_minute_whatever_the_order_of_dimensions() -> None:
    buffer = MetricBuffer()
    buffer.add("0", "r", "N", "m", 3, {"a": "1", "b": "2"}, "Count", 59.9)
    buffer.add("0", "r", "N", "m", 5, {"b": "2", "a": "1"}, "Count", 0)
    buffer.add("0", "r", "N", "m", 7, {"b": "2", "a": "1"}, "Count", 60)
    minutes = buffer.take()
    assert sorted(
        (minute, s.samples, s.sum, s.minimum, s.maximum) for (_, minute), s in minutes.items()
    ) == [
        (0, 2, 8, 3, 5),
        (60, 1, 7, 7, 7),
    ]


def test_too_many_series_and_values_that_are_no_numbers_are_dropped() -> None:
    buffer = MetricBuffer()
    for number in range(SERIES_LIMIT + 10):
        add(buffer, 1, id=str(number))
    assert (len(buffer.take()), buffer.dropped) == (SERIES_LIMIT, 10)
    add(buffer, 1, id="1")
    assert len(buffer.take()) == 1
    add(buffer, 1, now=3600, id="new hour")
    add(buffer, float("nan"), now=3600, id="new hour")
    add(buffer, 1, now=3600, id="x" * 2000)
    assert (len(buffer.take()), buffer.dropped) == (1, 12)


def test_what_began_before_the_hour_does_not_begin_a_new_one() -> None:
    buffer = MetricBuffer()
    for number in range(SERIES_LIMIT):
        add(buffer, 1, now=3600, id=str(number))
    late = ("0", "r", "N", "m", (("id", "late"),), "Count")
    buffer.add_counted({(late, 3540): Statistics(2, 3.0, 1.0, 2.0)})
    add(buffer, 1, now=3601, id="another")
    assert (len(buffer.take()), buffer.dropped) == (SERIES_LIMIT, 3)
