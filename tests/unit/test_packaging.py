"""What pyproject.toml says of dependencies is what is locked and tried."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_BOUNDED = re.compile(r"(?P<name>[a-z0-9-]+)>=(?P<floor>[0-9.]+),<(?P<ceiling>[0-9.]+)")


def _listed(file: str) -> list[str]:
    lines = (
        line.partition("#")[0].strip() for line in (REQUIREMENTS / file).read_text().split("\n")
    )
    return [line for line in lines if line and not line.startswith("-")]


def _locked(file: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (REQUIREMENTS / file).read_text(), re.MULTILINE)
    return dict(found)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_every_dependency_has_a_floor_and_a_ceiling_and_the_lock_lies_between() -> None:
    locked = _locked("boda.txt")
    for said in PROJECT["dependencies"]:
        bounds = _BOUNDED.fullmatch(said)
        assert bounds, said
        assert _number(bounds["floor"]) <= _number(locked[bounds["name"]]), said
        assert _number(locked[bounds["name"]]) < _number(bounds["ceiling"]), said


def test_the_oldest_versions_are_the_floors() -> None:
    floors = [re.sub(">=([^,]+),.*", r"==\1", said) for said in PROJECT["dependencies"]]
    assert _listed("lowest.in") == floors
    locked = _locked("lowest.txt")
    assert all(locked[one.split("==")[0]] == one.split("==")[1] for one in floors)


def test_the_project_and_the_locks_name_the_same_packages() -> None:
    names = [said.partition(">")[0] for said in PROJECT["dependencies"]]
    assert _listed("boda.in") == names
    assert _listed("dev.in") == PROJECT["optional-dependencies"]["dev"]
