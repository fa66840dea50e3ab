"""One function's lane: what is in memory, what is read next, how many may run."""

from __future__ import annotations

import random

import pytest

from boda.delivery.lane import Lane
from boda.delivery.rows import QueuedEvent
from support.delivery_world import arn

NOW = 1000.0


def lane(most: int = 64) -> Lane:
    return Lane(1, arn("f"), most)


def event(number: int, due_at: float = NOW) -> QueuedEvent:
    return QueuedEvent(number, 1, arn("f"), "$LATEST", f"r{number}", arn("f"), "", due_at, due_at)


def run_all(one: Lane, now: float) -> list[int]:
    found = []
    while (each := one.start(now, 64)) is not None:
        found.append(each.id)
        one.end(each)
    return found


def test_an_accepted_event_stays_in_memory_while_nothing_older_waits_on_disk() -> None:
    one = lane()
    assert one.offer(event(1), 10)
    one.due_on_disk(NOW + 60)  # a retry, in a minute
    assert one.offer(event(2, NOW + 1), 10)
    assert not one.offer(event(3, NOW + 60), 10), "the retry comes first"
    assert run_all(one, NOW + 1) == [1, 2]


def test_what_finds_no_room_is_read_later_and_once() -> None:
    one = lane()
    taken = [one.offer(event(number, NOW + number), 3) for number in range(1, 8)]
    assert taken == [True] * 3 + [False] * 4
    assert not one.wants_load(NOW + 9, 3), "there is no room yet"
    assert run_all(one, NOW + 9) == [1, 2, 3]
    assert one.wants_load(NOW + 9, 3)
    assert one.begin_load() == (NOW + 3, 3), "behind the last that was in memory"
    fresh = one.end_load([event(n, NOW + n) for n in (4, 5, 6)], NOW + 6)
    assert [each.id for each in fresh] == [4, 5, 6]
    assert one.next_due == NOW + 6


def test_what_comes_while_a_page_is_read_is_neither_lost_nor_taken_twice() -> None:
    one = lane()
    one.due_on_disk(NOW)
    one.begin_load()
    assert not one.offer(event(9, NOW + 1), 10)
    one.end_load([event(1)], None)
    assert run_all(one, NOW + 1) == [1]
    assert one.wants_load(NOW + 1, 10) and one.begin_load() == (NOW, 1)
    assert [each.id for each in one.end_load([event(9, NOW + 1)], None)] == [9]


def test_an_event_that_was_read_before_its_commit_was_told_of_is_taken_once() -> None:
    one = lane()
    one.due_on_disk(NOW)
    one.begin_load()
    assert [each.id for each in one.end_load([event(1), event(2)], None)] == [1, 2]
    assert not one.offer(event(2), 10)
    assert run_all(one, NOW) == [1, 2]
    assert not one.offer(event(2), 10), "it has run, and is about to leave the disk"
    assert run_all(one, NOW) == []


def test_an_event_that_left_while_a_page_was_read_is_not_taken_from_it() -> None:
    one = lane()
    one.offer(event(1), 10)
    first = one.start(NOW, 64)
    assert first is not None
    one.cursor = (0.0, 0)  # read again from the beginning
    one.due_on_disk(NOW)
    one.begin_load()
    one.end(first)
    one.leave(first)
    assert one.end_load([event(1), event(2)], None)[0].id == 2


def test_what_is_due_before_what_was_read_already_is_read_all_the_same() -> None:
    one = lane()
    one.offer(event(5), 10)
    run_all(one, NOW)
    one.on_disk(event(3, NOW - 100))
    assert one.begin_load() < (NOW - 100, 3)


@pytest.mark.parametrize("seed", range(50))
def test_every_event_runs_once_however_pages_and_arrivals_interleave(seed: int) -> None:
    """The disk is a sorted list; arrivals, pages half-read, deferrals and ends come at random."""
    chance = random.Random(seed)
    one, disk, now, last = lane(), {}, NOW, 0
    ran: list[int] = []
    page: list[QueuedEvent] | None = None
    rest: float | None = None
    for _ in range(600):
        now += chance.choice((0.0, 0.0, 0.5, 3.0))
        roll = chance.random()
        if roll < 0.4 and last < 150:
            last += 1
            disk[last] = now
            one.offer(event(last, now), 8)
        elif page is None and one.wants_load(now, 8):
            after = one.begin_load()
            there = sorted((due, number) for number, due in disk.items())
            due = [each for each in there if each > after and each[0] <= now][:8]
            later = [at for at, _ in there if at > now]
            rest = due[-1][0] if len(due) == 8 else min(later, default=None)
            page = [event(number, at) for at, number in due]
        elif page is not None and roll < 0.8:
            one.end_load(page, rest)
            page = None
        elif (each := one.start(now, 64)) is not None:
            one.end(each)
            if chance.random() < 0.2:
                each.due_at = disk[each.id] = now + chance.choice((0.0, 1.0, 60.0))
                one.on_disk(each)
            else:
                ran.append(each.id)
                del disk[each.id]
            one.leave(each)
    for _ in range(1000):
        if page is not None:
            one.end_load(page, rest)
            page = None
        while (each := one.start(now, 64)) is not None:
            ran.append(each.id)
            del disk[each.id]
            one.end(each)
            one.leave(each)
        if one.wants_load(now, 8):
            after = one.begin_load()
            there = sorted((due, number) for number, due in disk.items())
            due = [each for each in there if each > after and each[0] <= now][:8]
            later = [at for at, _ in there if at > now]
            rest = due[-1][0] if len(due) == 8 else min(later, default=None)
            page = [event(number, at) for at, number in due]
        now += 1.0
    assert not disk and one.idle
    assert sorted(ran) == list(range(1, last + 1))


def test_refusals_halve_and_pause_longer_and_longer() -> None:
    one = lane()
    pauses = []
    for number in range(6):
        one.offer(event(number), 10)
        refused = one.start(1e9, 64)
        assert refused is not None
        one.was_refused(NOW)
        one.end(refused)
        pauses.append(one.paused_until - NOW)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert one.limit == 1
    one.went_well(NOW, 0.1)
    assert one.paused_until == 0.0
