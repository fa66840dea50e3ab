"""Large memory goes back to the machine, however much of it was freed before."""

from __future__ import annotations

import subprocess
import sys

from boda.core.heap import ByteCollector

_PROGRAM = """
import sys
from pathlib import Path
from boda.core.heap import ByteCollector, give_back_large

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

if sys.argv[1] == "given back":
    give_back_large()
for _ in range(3):
    # A small one behind each large one keeps the heap from shrinking.
    kept, large = [], []
    for _ in range(20):
        large.append(b"x" * (5 << 20))
        kept.append([bytes(600) for _ in range(300)])
    del large
print(resident_mb())
"""


def _resident_mb(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_what_is_large_is_given_back() -> None:
    assert _resident_mb("given back") < 60
    assert _resident_mb("as ever") > 80, "then this needs no care any more"


def test_garbage_is_looked_for_after_many_bytes() -> None:
    looked: list[int] = []
    collector = ByteCollector(looked.append)
    for _ in range(100_000):
        collector.passed(1_000)  # Python counts the objects of small ones
    assert not looked
    for _ in range(11):
        collector.passed(6 << 20)
    assert looked == [1]
    for _ in range(15 * 11):
        collector.passed(6 << 20)
    assert looked == [1] * 15 + [2]
