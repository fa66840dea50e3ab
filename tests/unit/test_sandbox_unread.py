"""Who hoards the kernel's answers is found and ended; nobody else."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from boda.core.clock import ManualClock
from boda.sandbox import unread
from boda.sandbox.unread import LOOK_S, unread_bytes, watch
from support.in_place import without_threads

TABLE = """sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
00000000a7b3c4d5 0   4021       00000000 4194304  0        0     2        0        81234
00000000a7b3c4d6 0   4022       00000000 1024     0        0     2        0        81235
00000000a7b3c4d7 15  0          00000000 0        0        0     2        0        16
"""


class Sandbox:
    unread_limit = 100

    def __init__(self, pid: int, awake: bool = True) -> None:
        self.pid, self.awake, self.ended = pid, awake, 0

    def end_runtime(self) -> None:
        self.ended += 1


def test_all_sockets_of_its_network_count(tmp_path: Path) -> None:
    (tmp_path / "7/net").mkdir(parents=True)
    (tmp_path / "7/net/netlink").write_text(TABLE)
    assert unread_bytes(7, tmp_path) == 4194304 + 1024
    assert unread_bytes(8, tmp_path) == 0


async def test_who_hoards_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    holds = {1: 101, 2: 100, 3: 5000, 0: 5000}
    monkeypatch.setattr(unread, "unread_bytes", lambda pid: holds[pid])
    greedy, modest, frozen, gone = Sandbox(1), Sandbox(2), Sandbox(3, awake=False), Sandbox(0)
    without_threads()
    clock = ManualClock()
    task = asyncio.ensure_future(watch(lambda: {greedy, modest, frozen, gone}, clock))
    await clock.settle()
    await clock.advance(LOOK_S)
    assert greedy.ended == 1
    assert [one.ended for one in (modest, frozen, gone)] == [0, 0, 0]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
