"""Which runtimes are offered, told from what interpreters say of themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boda.runtime.catalogue import (
    PROVIDED,
    InstalledRuntime,
    RuntimeCatalogue,
    candidate_interpreters,
    choose,
    probe,
    satisfies,
)


def python(version: str, where: str = "/opt") -> InstalledRuntime:
    minor = version.rpartition(".")[0]
    path = Path(where) / version / "bin" / f"python{minor}"
    return InstalledRuntime(f"python{minor}", path, version, Path(where) / version)


@pytest.mark.parametrize(
    ("version", "specifier", "holds"),
    [
        ((3, 10, 0), ">=3.10", True),
        ((3, 9, 18), ">=3.10", False),
        ((3, 10, 0), ">= 3.10, <4.0", True),
        ((4, 0, 0), ">=3.10,<4", False),
        ((3, 12, 0), ">=3.10,!=3.12.0", False),
        ((3, 12, 1), ">=3.10,!=3.12.0", True),
        ((3, 12, 1), "!=3.12.*", False),
        ((3, 13, 0), "!=3.12.*", True),
        ((3, 10, 0), ">3.10", False),
        ((3, 10, 1), ">3.10", True),
        ((3, 10, 1), "~=nonsense", True),
    ],
)
def test_specifiers(version: tuple[int, ...], specifier: str, holds: bool) -> None:
    assert satisfies(version, specifier) is holds


def test_the_newest_patch_of_each_minor_wins_and_the_first_among_equals() -> None:
    found = [python("3.12.1", "/a"), python("3.12.4"), python("3.12.4", "/late"), python("3.9.1")]
    chosen = choose([*found, python("3.13.0")], ">=3.10")
    assert [one.name for one in chosen] == ["python3.12", "python3.13", *PROVIDED]
    assert chosen[0].prefix == Path("/opt/3.12.4")
    assert chosen[2].kind == "provided" and chosen[2].version == "3.13.0"
    assert choose([], ">=3.10") == []


def test_this_interpreter_says_what_it_is() -> None:
    runtime = probe(Path(sys.executable))
    assert runtime is not None
    assert runtime.minor == f"{sys.version_info[0]}.{sys.version_info[1]}"
    # Run in a virtual environment, it is the base that counts.
    assert runtime.prefix == Path(sys.base_prefix).resolve()
    assert runtime.interpreter.is_relative_to(runtime.prefix)


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2; exit 127\n",
        "#!/bin/sh\necho not json\n",
        "#!/nonexistent/python\n",
        "#!/bin/sh\nkill -9 $$\n",
    ],
    ids=["shim", "nonsense", "dangling", "crash"],
)
def test_what_cannot_be_run_is_left_out(tmp_path: Path, script: str) -> None:
    path = tmp_path / "python3.12"
    path.write_text(script)
    path.chmod(0o755)
    assert probe(path) is None
    found = RuntimeCatalogue.discover({"PATH": str(tmp_path), "HOME": str(tmp_path)}, ">=99")
    assert len(found) == 0


def test_looks_in_path_pyenv_and_uv(tmp_path: Path) -> None:
    places = {
        "path": tmp_path / "path",
        "pyenv": tmp_path / "pyenv" / "versions" / "3.12.1" / "bin",
        "uv": tmp_path / "uv" / "cpython-3.13" / "bin",
    }
    for folder in places.values():
        folder.mkdir(parents=True)
        for name in ("python3.12", "python", "python3-config", "pip"):
            (folder / name).write_text("")
            (folder / name).chmod(0o755)
        (folder / "python3").symlink_to("python3.12")
        (folder / "python3.11").write_text("")  # not executable
    environ = {
        "PATH": f"{places['path']}:/nonexistent",
        "PYENV_ROOT": str(tmp_path / "pyenv"),
        "UV_PYTHON_INSTALL_DIR": str(tmp_path / "uv"),
    }
    found = [path for path in candidate_interpreters(environ) if path.is_relative_to(tmp_path)]
    assert [path.parent for path in found] == [folder for folder in places.values() for _ in "ab"]
    assert {path.name for path in found} == {"python", "python3"}
    by_home = candidate_interpreters({"HOME": str(tmp_path)})
    assert not [path for path in by_home if path.is_relative_to(tmp_path)]


def test_shims_are_not_run_but_what_stands_beside_them_is(tmp_path: Path) -> None:
    """Each takes pyenv a quarter of a second, and a start waits for all."""
    real = tmp_path / "envs" / "versions" / "3.12.1" / "bin"
    for folder in (tmp_path / "envs" / "shims", real, tmp_path / "plain" / "shims"):
        folder.mkdir(parents=True)
        (folder / "python3.12").touch(mode=0o755)
    path = f"{tmp_path}/envs/shims:{tmp_path}/plain/shims"
    found = list(candidate_interpreters({"PATH": path, "HOME": str(tmp_path)}))
    assert [one for one in found if one.is_relative_to(tmp_path)] == [
        tmp_path / "plain" / "shims" / "python3.12",
        real / "python3.12",
    ]


def test_a_virtual_environment_counts_as_its_base(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=False
    )
    if made.returncode:
        pytest.skip("this Python makes no virtual environments")
    runtime = probe(tmp_path / "venv" / "bin" / "python")
    assert runtime is not None
    assert runtime.prefix == Path(sys.base_prefix).resolve()


def test_a_catalogue_is_asked_by_name() -> None:
    catalogue = RuntimeCatalogue([python("3.12.1"), python("3.13.0")])
    assert list(catalogue) == ["python3.12", "python3.13"]
    assert catalogue["python3.13"].version == "3.13.0"
    assert catalogue.get("python2.7") is None
    assert catalogue.runtimes()[0].minor == "3.12"
    assert os.fspath(catalogue["python3.12"].interpreter).endswith("bin/python3.12")


def test_folders_in_path_that_cannot_be_looked_into_offer_nothing(tmp_path: Path) -> None:
    # Longer than a name may be: to look there fails for root, too.
    nowhere = tmp_path / ("x" * 300)
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / "python3").symlink_to("python3")
    environ = {"PATH": f"{nowhere}/shims:{nowhere}:{loop}:{tmp_path}/gone", "HOME": str(tmp_path)}
    usual = list(candidate_interpreters({"PATH": "", "HOME": str(tmp_path)}))
    assert list(candidate_interpreters(environ)) == usual
