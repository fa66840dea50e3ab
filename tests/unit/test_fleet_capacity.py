"""Room on the machine: what is promised counts, and the bound has two marks."""

from __future__ import annotations

from pathlib import Path

import pytest

from boda.fleet.capacity import Capacity
from boda.fleet.memory import available_memory, machine_memory_mb, stalled_percent
from boda.fleet.settings import FleetSettings


class Figures:
    available_mb = 1000
    stalled = 0.0


@pytest.fixture
def figures() -> Figures:
    return Figures()


@pytest.fixture
def capacity(figures: Figures) -> Capacity:
    settings = FleetSettings(max_environments=50, reserve_mb=400, settle_s=1.0, sweep_s=5.0)
    return Capacity(settings, lambda: figures.available_mb, lambda: figures.stalled)


def test_what_starts_counts_until_it_shows(capacity: Capacity, figures: Figures) -> None:
    started = []
    while capacity.fits(len(started) + 1, 100, 800, 0.0):
        started.append(object())
        capacity.promise(started[-1], 100, 800, 0.0)
    assert len(started) == 5
    capacity.began(started[0], 0.0)
    figures.available_mb = 900  # it shows
    assert not capacity.fits(5, 100, 100, 0.9)
    assert not capacity.fits(5, 100, 100, 1.1)  # in the figures instead of promised
    capacity.left(started[1])
    assert capacity.fits(4, 50, 50, 1.2)
    for each in started:
        capacity.left(each)
    assert capacity.fits(1, 499, 499, 1.3) and not capacity.fits(1, 500, 500, 1.3)


def test_the_first_one_always_fits_and_the_number_is_bounded(
    capacity: Capacity, figures: Figures
) -> None:
    figures.available_mb = 1
    assert capacity.fits(0, 10_000, 10_000, 0.0)
    figures.available_mb = 100_000
    assert capacity.fits(49, 1, 1, 0.0) and not capacity.fits(50, 1, 1, 0.0)


def test_below_the_low_mark_it_asks_for_memory_up_to_the_high_mark(
    capacity: Capacity, figures: Figures
) -> None:
    figures.available_mb = 401
    assert capacity.missing_mb() == 0
    figures.available_mb = 399
    assert capacity.missing_mb() == 51
    figures.available_mb = 430
    assert capacity.missing_mb() == 20
    assert not capacity.fits(1, 1, 1, 0.0)  # nothing starts meanwhile
    figures.available_mb = 450
    assert capacity.missing_mb() == 0
    assert capacity.fits(1, 1, 1, 0.0)


def test_a_machine_that_stalls_near_the_mark_has_too_little(
    capacity: Capacity, figures: Figures
) -> None:
    figures.available_mb, figures.stalled = 600, 30.0
    assert capacity.missing_mb() == 300
    figures.available_mb = 5000  # a function at its own limit stalls too: its own affair
    assert capacity.missing_mb() == 0


def test_it_is_looked_at_often_where_little_is_left(capacity: Capacity, figures: Figures) -> None:
    figures.available_mb = 5000
    assert capacity.look_again_s() == 5.0
    figures.available_mb = 800
    assert capacity.look_again_s() == 0.5


def machine(root: Path, own: str, **files: str) -> Path:
    """A root with /proc and cgroups. files: by path, slashes written as two underscores."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    (root / "proc/meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("memory_", "memory.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MIB = 1 << 20


def test_without_limits_the_machine_says(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/user\n", user__memory_max="max")
    assert available_memory(root)() == 4096


def test_a_limit_above_ones_own_cgroup_counts(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "0::/box/boda\n",
        box__memory_max=str(512 * MIB),
        box__memory_current=str(300 * MIB),
        box__memory_stat=f"anon 1\ninactive_file {50 * MIB}\n",
        box__boda__memory_max="max",
        box__boda__memory_high=str(4000 * MIB),
        box__boda__memory_current=str(200 * MIB),
        box__boda__memory_stat="",
    )
    measure = available_memory(root)
    assert measure() == 512 - 300 + 50
    (root / "sys/fs/cgroup/box/memory.current").write_text(str(700 * MIB))
    assert measure() == 0


def test_version_1_too_and_in_a_container_the_root_of_the_mount(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "5:cpu:/x\n4:memory:/not/seen/from/here\n0::/\n",
        memory__memory_limit_in_bytes=str(1024 * MIB),
        memory__memory_usage_in_bytes=str(1000 * MIB),
        memory__memory_stat=f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n",
    )
    assert available_memory(root)() == 124
    unlimited = "9223372036854771712"
    (root / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text(unlimited)
    assert available_memory(root)() == 4096


def test_this_machine_can_be_read() -> None:
    assert 0 < available_memory()() <= machine_memory_mb()
    assert 0.0 <= stalled_percent() <= 100.0


def test_stalls_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "memory"
    assert stalled_percent(file) == 0.0
    file.write_text("some avg10=12.34 avg60=0.00 avg300=0.00 total=9\nfull avg10=1.00\n")
    assert stalled_percent(file) == 12.34


def test_a_kill_has_each_count_with_its_size_for_a_while(figures: Figures) -> None:
    used_mb = 200
    settings = FleetSettings(max_environments=50, reserve_mb=400, caution_s=60)
    capacity = Capacity(settings, lambda: figures.available_mb, lambda: 0.0, lambda: used_mb)
    for _ in range(3):
        capacity.promise(object(), 10, 200, 0.0)
    assert capacity.fits(3, 10, 300, 0.0), "it is expected to need little"
    capacity.killed(0.0)
    assert not capacity.fits(0, 10, 10, 0.1), "nothing starts at once"
    # 1,000 MB are free and 200 in use, of which 400 stay: 800, of which 600 are committed.
    assert capacity.fits(3, 10, 200, 1.0) and not capacity.fits(3, 10, 201, 1.0)
    assert not capacity.fits(3, 10, 201, 59.0) and capacity.fits(3, 10, 201, 61.0)


def test_an_overcommit_that_is_set_holds_always(figures: Figures) -> None:
    settings = FleetSettings(max_environments=50, reserve_mb=400, overcommit=2.0)
    capacity = Capacity(settings, lambda: figures.available_mb, lambda: 0.0, lambda: 0)
    first = object()
    capacity.promise(first, 10, 1000, 0.0)
    assert capacity.fits(1, 10, 200, 0.0) and not capacity.fits(1, 10, 201, 0.0)
    capacity.left(first)
    assert capacity.fits(1, 10, 1200, 0.0)
