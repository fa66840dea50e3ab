"""Instances that know of one another by locked files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boda.sandbox.contract import SandboxError
from boda.sandbox.instance_lease import InstanceLease


@pytest.fixture
def forward(tmp_path: Path) -> Path:
    path = tmp_path / "forwarding"
    path.write_text("1")
    return path


def test_one_name_one_platform(tmp_path: Path, forward: Path) -> None:
    folder = tmp_path / "run"
    first = InstanceLease("aaaaaaaa", folder, forward=forward)
    with pytest.raises(SandboxError, match="another platform"):
        InstanceLease("aaaaaaaa", folder, forward=forward)
    other = InstanceLease("bbbbbbbb", folder, forward=forward)
    first.close()
    InstanceLease("aaaaaaaa", folder, forward=forward).close()
    other.close()
    assert not list(folder.glob("*.json"))


def test_forwarding_goes_back_with_the_last_one(tmp_path: Path, forward: Path) -> None:
    folder = tmp_path / "run"
    first = InstanceLease("aaaaaaaa", folder, forward=forward)
    first.record_forwarding("0")
    second = InstanceLease("bbbbbbbb", folder, forward=forward)
    first.close()
    assert forward.read_text() == "1"  # the second one counts on it
    second.close()
    assert forward.read_text() == "0"


def test_the_dead_are_swept_and_nothing_else(tmp_path: Path, forward: Path) -> None:
    folder, cgroup = tmp_path / "run", tmp_path / "boda-cccccccc"
    mine = tmp_path / "precious"
    for path in (folder, cgroup, mine):
        path.mkdir(mode=0o700)
    (cgroup / "env-1").mkdir()
    dead = {"cgroups": [str(cgroup), str(mine), "/"]}
    (folder / "cccccccc.json").write_text(json.dumps(dead))
    (folder / "dddddddd.json").write_text("not json")
    lease = InstanceLease("aaaaaaaa", folder, forward=forward)
    assert not cgroup.exists() and mine.exists()
    assert [path.name for path in folder.glob("*.json")] == ["aaaaaaaa.json"]
    lease.close()
