"""The benchmarks' runner: one part that fails takes neither the rest nor the figures with it."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench import __main__ as bench

Part = Callable[[Path], dict[str, Any]]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Part]], None]:
    """Puts made-up parts in the place of the real ones."""

    def put(made: dict[str, Part]) -> None:
        monkeypatch.setattr(bench, "PARTS", tuple(made))
        for name, run in made.items():
            module = types.ModuleType(f"made_up.{name}")
            module.run = run  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, "made_up", types.ModuleType("made_up"))
            monkeypatch.setitem(sys.modules, f"made_up.{name}", module)

    return put


def _fails(folder: Path) -> dict[str, Any]:
    (folder / "left").write_text("something")
    raise RuntimeError("no such luck")


def test_a_part_that_fails_is_told_and_the_rest_goes_on(
    parts: Callable[[dict[str, Part]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders: list[Path] = []

    def works(folder: Path) -> dict[str, Any]:
        folders.append(folder)
        return {"per_second": 7}

    parts({"fails": _fails, "works": works})
    assert bench.main([], package="made_up", out=tmp_path) == 1
    told = capsys.readouterr().out
    assert "no such luck" in told
    assert "FAILED: fails" in told
    found = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert found["fails"]["failed"] == "RuntimeError: no such luck"
    assert found["works"]["figures"] == {"per_second": 7}
    assert "failed" not in found["works"]
    assert not folders[0].exists()


def test_a_part_that_cannot_be_imported_is_told(
    parts: Callable[[dict[str, Part]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts({"works": lambda folder: {}})
    monkeypatch.setattr(bench, "PARTS", ("absent", "works"))
    assert bench.main([], package="made_up", out=tmp_path) == 1
    found = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert found["absent"]["failed"].startswith("ModuleNotFoundError")
    assert found["works"]["figures"] == {}


def test_figures_of_parts_that_are_not_run_again_stay(
    parts: Callable[[dict[str, Part]], None], tmp_path: Path
) -> None:
    parts({"one": lambda folder: {"n": 1}, "two": lambda folder: {"n": 2}})
    assert bench.main([], package="made_up", out=tmp_path) == 0
    parts({"one": lambda folder: {"n": 11}, "two": lambda folder: {"n": 2}})
    assert bench.main(["one"], package="made_up", out=tmp_path) == 0
    found = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert found["one"]["figures"] == {"n": 11}
    assert found["two"]["figures"] == {"n": 2}


def test_an_unknown_name_is_refused_before_anything_runs(
    parts: Callable[[dict[str, Part]], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Path] = []

    def works(folder: Path) -> dict[str, Any]:
        ran.append(folder)
        return {}

    parts({"works": works})
    assert bench.main(["works", "wrong"], package="made_up", out=tmp_path) == 2
    assert "no such benchmark: wrong; there are works" in capsys.readouterr().out
    assert not ran


def test_every_part_has_a_module() -> None:
    for name in bench.PARTS:
        assert (bench.ROOT / "bench" / f"{bench.MODULES.get(name, name)}.py").exists(), name
