"""The shares of a process's file descriptors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from boda.core.descriptors import OF_ENVIRONMENT, Descriptors, SharedCount


@pytest.mark.parametrize("total", [256, 1024, 4096, 20_000, 65_536, 1_048_576])
def test_what_is_kept_for_the_platform_is_nobodys(total: int) -> None:
    shares = Descriptors.of(total)
    given = shares.clients + shares.endpoints + shares.runtimes
    given += shares.environments * OF_ENVIRONMENT
    assert given <= total - min(1024, total // 8)
    assert min(shares.clients, shares.endpoints, shares.runtimes, shares.environments) > 0


def test_a_usual_machine_runs_hundreds_of_environments() -> None:
    shares = Descriptors.of(65_536)
    assert shares.clients == 10_000
    assert shares.environments > 1_500


@pytest.mark.parametrize(("soft", "hard"), [(256, 4096), (4096, 4096), (512, 8192)])
def test_as_many_are_taken_as_may_be(soft: int, hard: int) -> None:
    """In a process of its own, without the right to raise what was given."""
    program = (
        "import ctypes, resource; from boda.core.descriptors import take\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "ctypes.CDLL(None).prctl(24, 24, 0, 0, 0)\n"  # no CAP_SYS_RESOURCE after execution
        "import os, sys\n"
        "inside = 'from boda.core.descriptors import take; import resource; '\n"
        "inside += 'print(take(), *resource.getrlimit(resource.RLIMIT_NOFILE))'\n"
        "os.execv(sys.executable, [sys.executable, '-c', inside])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    taken, now, most = map(int, done.stdout.split())
    assert taken == now == min(hard, 65_536)
    assert most == hard


def test_a_spare_is_lent_and_comes_back() -> None:
    spare = SharedCount(2)
    assert spare.take() and spare.take() and not spare.take()
    spare.give_back()
    assert spare.take() and not spare.take()
