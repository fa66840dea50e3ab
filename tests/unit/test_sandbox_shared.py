"""What a sandbox shares with others, and what that leaves of its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boda.sandbox.shared import COPIES_MB, MIB, limit_bytes, resident_bytes
from boda.sandbox.tiers import TierFinder


def test_what_a_process_has_in_memory_is_as_the_kernel_says() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", 'x = b"x" * (40 << 20); print(flush=True); input()'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None and child.stdin is not None
        child.stdout.readline()
        assert resident_bytes(child.pid) > 40 * MIB
        child.stdin.close()
    assert resident_bytes(child.pid) == 0  # it has ended
    assert resident_bytes(os.getpid()) > MIB


@pytest.mark.parametrize(
    ("memory_mb", "shared_mb", "left_mb"), [(128, 27, 101), (3008, 60, 2948), (128, 120, 42)]
)
def test_the_shared_part_comes_off_the_limit(memory_mb: int, shared_mb: int, left_mb: int) -> None:
    assert limit_bytes(memory_mb, shared_mb * MIB) == (left_mb + COPIES_MB) * MIB


def test_code_that_is_too_large_to_look_through_is_a_guess(tmp_path: Path) -> None:
    sure, large = tmp_path / "sure", tmp_path / "large"
    for folder in (sure, large):
        folder.mkdir()
    (sure / "app.py").write_text("import boto3\n")
    for number in range(501):
        (large / f"m{number}.py").write_text("")
    tiers = TierFinder()
    for folder, guessed in ((sure, False), (large, True)):
        assert tiers.find(folder, []) == "boto3"
        assert tiers.guessed(folder, []) is guessed
