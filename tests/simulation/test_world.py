"""The whole engine under fire: thousands of seeded worlds in which everything goes wrong.

A world (``support/simulated_world.py``) runs the real invoke path, limits, fleet, templates,
sessions and durable queue on a real database, and draws from its seed what clients do, which code
is deployed, which framing of the Runtime API a function's guests speak, and what fails when: guests
that crash, hang, lie and answer late or twice, connections that are lost, pipes that are flooded,
starts, forks and resets that fail, a disk that refuses or cannot be read, a clock that leaps, and
the end of the process at any step. Held at every step and at the end: nothing acknowledged is lost,
no answer reaches another caller, no environment serves old code or another tenant, no limit is
exceeded, every call ends once and in bounded time, leases return, and nothing is left over.

``BODA_SEEDS=100000`` runs as many; a seed that fails says how to see its run again.

That these seeds can fail was tried by breaking the platform on purpose. Each of these is found by
the 2,000, most of them by the first ten: an answer to another invocation is taken; a lease is kept
when a call is refused, or when its caller goes away; an environment is forgotten whose caller goes
away; an event is acknowledged before its commit, removed before its attempt, or at its first
failure; deferrals or removals are dropped when the disk refuses; the queue goes by the wall clock,
or the next process does; an event runs for another tenant or under another name, is tried again too
soon, given up too early or too late, or goes without its dead letter;
tenants share a pool, revisions share one; retirement leaves idle environments; one more runs than
the account's limit, a reservation, a provisioned share or what is shared allows; waiting for room
or an invocation has no end; a start that fails is told to nobody; descriptors are read on;
dead environments stay counted; the leases of templates do not return; an end is logged twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from support.simulated_world import World, run

SEEDS = int(os.environ.get("BODA_SEEDS", "2000"))
BLOCKS = 40
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("block", range(BLOCKS))
def test_whatever_happens(block: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(block, SEEDS, BLOCKS):
        counts += run(seed).counts
    if SEEDS >= 20 * BLOCKS:  # the worlds are full of life, and of trouble
        assert counts["answered"] > 200 and counts["failed"] > 20 and counts["refused"] > 20
        assert counts["deaths"] > 3 and counts["act other"] > 0
        assert counts["over frames"] > 100 and counts["over http"] > 100


def test_a_seed_gives_the_same_run_to_the_last_step(tmp_path: Path) -> None:
    for seed in range(12):
        traces = []
        for again in "ab":
            folder = tmp_path / f"{seed}{again}"
            folder.mkdir()
            traces.append(World(seed, folder).run().trace)
        assert traces[0] == traces[1]
        assert len(traces[0]) > 20


def test_a_seed_gives_the_same_run_in_another_process() -> None:
    printed = set()
    for salt in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-m", "support.simulated_world", "7"],
            env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}/tests", "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.add(ran.stdout)
    assert len(printed) == 1 and len(printed.pop()) > 1000
