"""How much of what the machine has once all functions may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from boda.sandbox.cgroups.machine_share import processes_together, uncounted


def machine(folder: Path, pid_max: int, threads_max: int) -> Path:
    kernel = folder / "kernel"
    kernel.mkdir()
    (kernel / "pid_max").write_text(f"{pid_max}\n")
    (kernel / "threads-max").write_text(f"{threads_max}\n")
    return kernel


@pytest.mark.parametrize(
    ("pid_max", "threads_max", "above", "most"),
    [
        (32_768, 190_000, "max", 24_576),
        (4_194_304, 10_000, "max", 7_500),
        (4_194_304, 190_000, "4000", 3_000),  # of a container, or a user's slice
    ],
)
def test_three_quarters_of_what_there_is(
    tmp_path: Path, pid_max: int, threads_max: int, above: str, most: int
) -> None:
    kernel = machine(tmp_path, pid_max, threads_max)
    group = tmp_path / "slice" / "scope" / "boda-x"
    group.mkdir(parents=True)
    (tmp_path / "slice" / "pids.max").write_text(above)
    (group / "pids.max").write_text("7")  # its own, which is about to be set
    assert processes_together(group, kernel) == most


def test_a_machine_that_tells_nothing_is_taken_for_a_usual_one(tmp_path: Path) -> None:
    assert processes_together(tmp_path / "boda-x", tmp_path) == 24_576


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ("quiet root=/dev/vda", set()),
        ("cgroup.memory=nosocket quiet", {"socket"}),
        ("a=b cgroup.memory=nokmem,nosocket", {"socket", "kmem"}),
        ("cgroup.memory=nokmem cgroup.memory=nobpf", {"kmem"}),
    ],
)
def test_what_the_kernel_was_told_not_to_count(
    tmp_path: Path, arguments: str, missing: set[str]
) -> None:
    (tmp_path / "cmdline").write_text(arguments + "\n")
    assert uncounted(tmp_path / "cmdline") == missing
    assert uncounted(tmp_path / "none") == set()
