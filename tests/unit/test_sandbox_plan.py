"""Plans: what a root and a sandbox are made of, without making one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

from boda.guest.operations import _STEPS
from boda.sandbox import plan
from boda.sandbox.host import HostFacts

HOST = HostFacts(
    top=(("bin", "usr/bin"), ("lib64", None)),
    etc=(("/etc/ssl/certs", "/etc/ssl/certs", True), ("/etc/localtime", "/usr/share/z", False)),
    proc=frozenset({"kcore", "sys", "keys", "meminfo", "sysrq-trigger"}),
    nameservers=("192.0.2.53",),
    loopback_nameservers=("127.0.0.53",),
    resolver_options=("search example.org",),
)


@dataclass(frozen=True)
class Python:
    name: str = "python3.12"
    interpreter: Path = Path("/root/py/bin/python3.12")
    version: str = "3.12.1"
    prefix: Path = Path("/root/py")
    kind: Literal["python", "provided"] = "python"


def root(runtime: Python | None = None, *hidden: str) -> list[plan.MountStep]:
    return plan.root(runtime or Python(), Path("/data/library"), HOST, [Path(p) for p in hidden])


def environment(*layers: str, volume: bool = False) -> list[plan.MountStep]:
    folders = [Path(layer) for layer in layers]
    own = plan.environment(Path("/code"), folders, 512, volume=volume, recursive=False)
    return plan.prepared(HOST) + own


def test_everything_shown_of_the_host_is_read_only() -> None:
    for step in [*root(), *environment("/l1")]:
        if isinstance(step, plan.Bind) and not step.target.startswith("/dev/"):
            assert {"ro", "nosuid", "nodev"} <= set(step.flags), step.describe()


def test_only_these_folders_of_the_host_show() -> None:
    sources = {step.source for step in root() if isinstance(step, plan.Bind)}
    assert {source for source in sources if not source.startswith("/dev/")} == {
        "/usr", "/lib64", "/etc/ssl/certs", "/usr/share/z", "/root/py", "/data/library",
    }  # fmt: skip


def test_sh_is_bash_where_there_is_bash() -> None:
    shown = plan.Bind("/usr/bin/bash", "/usr/bin/dash")
    assert shown not in root()
    host = replace(HOST, bash_for=("/usr/bin/bash", "/usr/bin/dash"))
    steps = plan.root(Python(), Path("/data/library"), host, [])
    assert steps.index(shown) > steps.index(plan.Bind("/usr", "/usr", recursive=True))


def test_the_root_is_closed_last_and_the_host_let_go_last() -> None:
    assert root()[-1] == plan.ReadonlyMount("/", mounted=True)
    assert environment()[-1] == plan.Detachment("/.host")


def test_what_the_owner_installed_is_hidden() -> None:
    covered = {step.path for step in root() if isinstance(step, plan.Cover)}
    assert {"/usr/local", "/var/lang/lib/python3.12/site-packages"} <= covered
    assert "/usr/lib/python3/dist-packages" in covered
    system = Python(prefix=Path("/usr"), interpreter=Path("/usr/bin/python3.12"))
    covered = {step.path for step in root(system) if isinstance(step, plan.Cover)}
    assert {"/usr/lib/python3/dist-packages", "/var/lang/lib/python3/dist-packages"} <= covered


def test_a_data_folder_within_what_shows_is_hidden() -> None:
    covered = {step.path for step in root(None, "/usr/share/boda") if isinstance(step, plan.Cover)}
    assert "/usr/share/boda" in covered
    covered = {step.path for step in root(None, "/root/py/data") if isinstance(step, plan.Cover)}
    assert "/var/lang/data" in covered
    covered = {step.path for step in root(None, "/home/data") if isinstance(step, plan.Cover)}
    assert not any("/home" in path for path in covered)


def test_name_servers_on_the_loopback_are_left_out() -> None:
    [resolv] = [
        step for step in root() if isinstance(step, plan.File) and step.path == "/etc/resolv.conf"
    ]
    assert resolv.text == "nameserver 192.0.2.53\nsearch example.org\n"


def test_proc_is_covered_where_the_kernel_has_it() -> None:
    steps = environment()
    assert plan.Cover("/proc/kcore") in steps and plan.Cover("/proc/kallsyms") not in steps
    assert (
        plan.ReadonlyMount("/proc/sys") in steps
        and plan.ReadonlyMount("/proc/sysrq-trigger") in steps
    )
    assert steps.index(plan.Proc()) < steps.index(plan.Cover("/proc/kcore"))


def test_layers_lie_in_aws_order() -> None:
    assert not any("/opt" in getattr(step, "target", "") for step in environment())
    assert plan.Bind("/one", "/opt") in environment("/one")
    [overlay] = [step for step in environment("/a", "/b", "/c") if isinstance(step, plan.Overlay)]
    assert overlay.lowers == ("/c", "/b", "/a")  # the last one wins, so it lies on top


def test_tmp_is_a_volume_or_memory_of_the_size_asked_for() -> None:
    assert plan.Volume("volume", "/tmp") in environment(volume=True)
    [tmp] = [
        step for step in environment() if isinstance(step, plan.Tmpfs) and step.target == "/tmp"
    ]
    assert tmp.size_bytes == 512 << 20 and tmp.mode == 0o1777 and tmp.inodes == 131072


def test_every_step_can_be_told_and_sent() -> None:
    for step in [*root(), *environment("/a", "/b"), *environment(volume=True)]:
        assert len(step.describe()) > 5
        assert step.wire()["op"] in _STEPS


@pytest.mark.parametrize(("memory_mb", "share"), [(1769, 1.0), (128, 0.0724), (10240, 5.788)])
def test_cpu_follows_memory(memory_mb: int, share: float) -> None:
    assert plan.vcpus(memory_mb) == pytest.approx(share, abs=0.001)


def test_limits_are_aws_s() -> None:
    limits = plan.ResourceLimits()
    assert (limits.open_files, limits.processes, limits.core_bytes) == (1024, 1024, 0)
    assert "open_files 1024" in limits.describe()
