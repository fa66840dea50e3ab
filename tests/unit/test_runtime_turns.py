"""Whose request is read next: one a turn of the event loop, and so many a second."""

from __future__ import annotations

import asyncio

from boda.core.clock import ManualClock
from boda.runtime.turns import BURST, PIECES, REQUESTS_PER_S, RequestTurns


class Reader:
    """Notes the turns in which it was let read, and asks until it has read ``wanted`` times."""

    def __init__(self, turns: RequestTurns, log: Log, wanted: int) -> None:
        self.turns, self.log, self.wanted = turns, log, wanted
        self.charges = True

    def read_on(self) -> None:
        self.log.append((Turn.now, self))
        self.wanted -= 1
        if self.charges:
            self.turns.charge()
        else:
            self.turns.reward()
        if self.wanted:
            self.turns.ask(self)


Log = list[tuple[int, Reader]]


class Turn:
    now = 0


async def pass_turns(count: int) -> None:
    for _ in range(count):
        Turn.now += 1
        await asyncio.sleep(0)


async def test_one_request_a_turn_whoever_asks() -> None:
    turns = RequestTurns(ManualClock())
    log: Log = []
    readers = [Reader(turns, log, 5) for _ in range(32)]
    for reader in readers:
        turns.ask(reader)
    assert [one for _, one in log] == readers[:1]  # a free turn is not waited for
    await pass_turns(200)
    assert len({turn for turn, _ in log}) == len(log) == 32 * 5
    order = [one for _, one in log]
    assert order[1:33] == readers  # nobody is overtaken by who sent more
    assert {order.count(reader) for reader in readers} == {5}


async def test_who_leaves_is_passed_over() -> None:
    turns = RequestTurns(ManualClock())
    log: Log = []
    first, second, third = (Reader(turns, log, 1) for _ in range(3))
    for reader in (first, second, third):
        turns.ask(reader)
    turns.leave(second)
    turns.leave(second)
    await pass_turns(5)
    assert [one for _, one in log] == [first, third]


async def test_beyond_the_budget_it_is_waited() -> None:
    clock = ManualClock()
    turns = RequestTurns(clock)
    log: Log = []
    turns.ask(Reader(turns, log, 4 * BURST))
    await pass_turns(2 * BURST)
    assert len(log) == BURST
    await clock.advance(0.5)
    await pass_turns(BURST)
    # A sleeper of a manual clock wakes at most once a step: the rest follows with the next.
    assert BURST < len(log) <= BURST + REQUESTS_PER_S // 2


async def test_what_carries_invocations_forward_is_free() -> None:
    turns = RequestTurns(ManualClock())
    log: Log = []
    reader = Reader(turns, log, 5 * BURST)
    reader.charges = False
    turns.ask(reader)
    await pass_turns(6 * BURST)
    assert len(log) == 5 * BURST
    for _ in range(BURST):
        turns.charge()
    assert turns.wait_s() > 0  # nothing was saved up
    turns.reward()
    assert turns.wait_s() == 0


async def test_pieces_are_charged_in_bundles() -> None:
    turns = RequestTurns(ManualClock())
    for _ in range(BURST * PIECES - 1):
        turns.charge_piece()
    assert turns.wait_s() == 0
    turns.charge_piece()
    assert turns.wait_s() > 0


async def test_nobody_is_let_read_after_the_end() -> None:
    clock = ManualClock()
    turns = RequestTurns(clock)
    log: Log = []
    for _ in range(BURST):
        turns.charge()
    turns.ask(Reader(turns, log, 1))
    turns.close()
    await clock.advance(10)
    await pass_turns(5)
    assert log == []
