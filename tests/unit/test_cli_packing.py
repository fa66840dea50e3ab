"""What of a folder becomes a package, and what decides which requirements are installed."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from boda.cli import packing
from boda.cli.compiling import compiled
from boda.cli.project import choose_runtime, find_handler, refuse_absent
from boda.cli.requirements import Requirements, RequirementStore, key_of, requirements_of
from boda.core.errors import PlatformError


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
    return folder


# Files


def test_secrets_caches_and_version_control_stay_at_home(tmp_path: Path) -> None:
    fill(
        tmp_path,
        *("app.py", "lib/x.py", "lib/.env", ".env", ".env.prod", ".git/config", ".hg/x", ".svn/x"),
        *("node_modules/x/i.js", "lib/node_modules/y.js", "__pycache__/a.pyc", ".venv/x", "venv/x"),
        *("own/pyvenv.cfg", "own/bin/python", ".mypy_cache/x", ".pytest_cache/x", ".DS_Store"),
        *(".idea/x", ".vscode/x", ".tox/x", "env/settings.py", "cache/kept"),
    )
    assert sorted(packing.files_of(tmp_path)) == [
        "app.py",
        "cache/kept",
        "env/settings.py",
        "lib/x.py",
    ]


def test_bodaignore_leaves_out_more_and_takes_along_again(tmp_path: Path) -> None:
    fill(tmp_path, "app.py", "tests/test_a.py", "big.bin", "data/a", "data/b", "node_modules/x.js")
    (tmp_path / ".bodaignore").write_text(
        "# what tests need\ntests/\n*.bin\ndata/*\n!data/b\n!node_modules/\n"
    )
    assert sorted(packing.files_of(tmp_path)) == ["app.py", "data/b", "node_modules/x.js"]
    (tmp_path / ".bodaignore").write_bytes(b"\xff\xfe")
    with pytest.raises(PlatformError, match="not UTF-8"):
        packing.files_of(tmp_path)


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    shared = fill(tmp_path / "shared", "common.py")
    folder = fill(tmp_path / "f", "app.py")
    (folder / "common").symlink_to(shared)
    (folder / "self").symlink_to(folder)
    (folder / "lost").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe")
    assert sorted(packing.files_of(folder)) == ["app.py", "common/common.py"]


def test_names_that_no_package_can_have(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.py")).touch()
    with pytest.raises(PlatformError, match="not UTF-8"):
        packing.files_of(tmp_path)
    fill(tmp_path, ".bodaignore").joinpath(".bodaignore").write_text("a*\n")
    assert packing.files_of(tmp_path) == {}


def test_the_same_files_are_the_same_bytes_and_own_files_win(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", "app.py", "six.py")
    os.chmod(folder / "app.py", 0o700)
    base = tmp_path / "base.zip"
    with zipfile.ZipFile(base, "w") as archive:
        archive.writestr("six.py", "theirs")
        archive.writestr("other.py", "theirs")
    written = []
    for _ in range(2):
        target = io.BytesIO()
        size = packing.write(packing.files_of(folder), base, target)
        written.append(target.getvalue())
        os.utime(folder / "app.py", (1, 1))
    assert written[0] == written[1]
    with zipfile.ZipFile(io.BytesIO(written[0])) as archive:
        assert archive.testzip() is None
        found = {info.filename: archive.read(info).decode() for info in archive.infolist()}
        assert archive.getinfo("app.py").external_attr >> 16 == 0o100744
    assert found == {"six.py": "six.py", "other.py": "theirs", "app.py": "app.py"}
    assert size == len("six.py" + "theirs" + "app.py")
    alone = io.BytesIO()
    packing.write({"app.py": folder / "app.py"}, base, alone)
    with zipfile.ZipFile(alone) as archive:
        assert sorted(archive.namelist()) == ["app.py", "other.py", "six.py"]


# Sources


def test_a_syntax_error_is_told_with_its_line(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", "app.py", "lib/bad.py")
    (folder / "app.py").write_text("def handler(event, context):\n    return 1\n")
    (folder / "lib/bad.py").write_text("x = 1\ndef broken(:\n")
    with pytest.raises(PlatformError) as caught:
        compiled(packing.files_of(folder), sys.executable, tmp_path / "out")
    assert str(caught.value).startswith("lib/bad.py:2: SyntaxError: ")
    assert ".bodaignore" in str(caught.value)
    for source in (b"x = '\xff'\n", b"x = '\0'\n", b"# coding: nonsense\n"):
        (folder / "lib/bad.py").write_bytes(source)
        with pytest.raises(PlatformError, match=r"^lib/bad\.py"):
            compiled(packing.files_of(folder), sys.executable, tmp_path / "out")


def test_what_is_compiled_runs_whatever_the_time_of_its_source(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", "app.py")
    (folder / "app.py").write_text("raise SystemExit(7)\n")
    made = compiled(packing.files_of(folder), sys.executable, tmp_path / "out")
    (name,) = made
    assert name.startswith("__pycache__/app.")
    data = made[name].read_bytes()
    assert data[4:8] == b"\x01\x00\x00\x00"  # checked against nothing
    assert b"/var/task/app.py" in data
    assert compiled({"app.py": folder / "app.py"}, "/no/python", tmp_path / "out") == {}


# Requirements

RUNTIME = {"Name": "python3.12", "Version": "3.12.1", "Interpreter": "/usr/bin/python3.12"}


def test_requirements_come_from_either_file(tmp_path: Path) -> None:
    assert requirements_of(tmp_path) == (None, "")
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["six>=1", "idna"]\n')
    found, note = requirements_of(tmp_path)
    assert found == Requirements("pyproject.toml", "six>=1\nidna", tmp_path) and not note
    (tmp_path / "requirements.txt").write_text("six==1.16\n")
    found, note = requirements_of(tmp_path)
    assert found is not None and found.source == "requirements.txt"
    (tmp_path / "requirements.txt").unlink()
    for text, says in (
        ('[project]\ndynamic = ["dependencies"]\n', "requirements.txt"),
        ('[tool.poetry.dependencies]\nsix = "*"\n', "poetry export"),
    ):
        project.write_text(text)
        found, note = requirements_of(tmp_path)
        assert found is None and says in note
    for text in ("[project\n", "[project]\ndependencies = 1\n", "[project]\ndependencies=[1]\n"):
        project.write_text(text)
        with pytest.raises(PlatformError, match=r"pyproject\.toml"):
            requirements_of(tmp_path)
    project.write_text('[project]\nname = "x"\n')
    assert requirements_of(tmp_path) == (None, "")


def test_what_decides_what_is_installed_is_in_the_key(tmp_path: Path) -> None:
    def key(text: str, **runtime: Any) -> str:
        return key_of(Requirements("requirements.txt", text, tmp_path), RUNTIME | runtime)

    assert key("six\n") == key("six\n") != key("six==1\n")
    assert key("six\n") != key("six\n", Version="3.12.2")
    assert key("six\n") != key("six\n", Name="python3.13")
    wheel, more = tmp_path / "a.whl", fill(tmp_path / "more", "pins.txt") / "pins.txt"
    for text, file in (
        ("./a.whl\n", wheel),
        ("a @ file:./a.whl ; python_version > '3'\n", wheel),
        ("-r more/pins.txt\n", more),
        ("--constraint=more/pins.txt  # why\nsix\n", more),
    ):
        file.write_text("1")
        before = key(text)
        file.write_text("2")
        assert before and key(text) != before, text
    # Folders change without notice: what names them is installed each time.
    for text in ("-e .\n", "./more\n", "--find-links ./more\nsix\n", "--editable=more"):
        assert key(text) == "", text
    with pytest.raises(PlatformError, match="cannot be read"):
        key("-r nowhere.txt\n")


def test_the_store_keeps_and_forgets(tmp_path: Path) -> None:
    store, made = RequirementStore(tmp_path / "cache"), fill(tmp_path, "made.zip") / "made.zip"
    assert store.find("k") is None
    store.keep("k", made)
    found = store.find("k")
    assert found is not None and found.read_text() == "made.zip"
    os.utime(found, (0, 0))
    store.keep("l", made)
    assert store.find("k") is None and store.find("l") is not None
    (tmp_path / "file").touch()
    for nowhere in (RequirementStore(None), RequirementStore(tmp_path / "file")):
        nowhere.keep("k", made)
        assert nowhere.find("k") is None
    store.keep("", made)
    assert store.find("") is None


# What the folder says


def offered(*versions: str) -> list[dict[str, Any]]:
    found = [{"Name": f"python{v.rpartition('.')[0]}", "Version": v} for v in versions]
    return [*found, {"Name": "provided.al2023", "Version": versions[-1]}]


def test_the_runtime_that_fits(tmp_path: Path) -> None:
    there = offered("3.9.1", "3.12.1", "3.13.0")
    assert choose_runtime(there, None, None, tmp_path)["Name"] == "python3.13"
    assert choose_runtime(there, None, "python3.12", tmp_path)["Name"] == "python3.12"
    assert choose_runtime(there, "python3.9", "python3.12", tmp_path)["Name"] == "python3.9"
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.10,<3.13"\n')
    assert choose_runtime(there, None, None, tmp_path)["Name"] == "python3.12"
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.14"\n')
    with pytest.raises(PlatformError, match=r"requires Python >=3\.14"):
        choose_runtime(there, None, None, tmp_path)
    for wanted, present, says in (
        ("python3.11", None, "install Python 3.11"),
        ("nodejs22.x", None, "provided.al2023"),
        (None, "python3.10", "choose another with --runtime"),
    ):
        with pytest.raises(PlatformError, match=says):
            choose_runtime(there, wanted, present, tmp_path)


def test_a_folder_with_a_bootstrap_is_a_custom_runtime(tmp_path: Path) -> None:
    there = offered("3.12.1")
    bootstrap = fill(tmp_path, "bootstrap") / "bootstrap"
    with pytest.raises(PlatformError, match=r"chmod \+x bootstrap"):
        choose_runtime(there, None, None, tmp_path)
    bootstrap.chmod(0o755)
    assert choose_runtime(there, None, None, tmp_path)["Name"] == "provided.al2023"
    assert choose_runtime(there, "python3.12", None, tmp_path)["Name"] == "python3.12"
    assert find_handler(tmp_path, None) == "bootstrap"
    assert find_handler(tmp_path, "mine") == "mine"


@pytest.mark.parametrize(
    ("file", "text", "present", "found"),
    [
        ("app.py", "def handler(e, c): ...", None, "app.handler"),
        ("app.py", "async def main(): ...", None, "app.main"),
        ("main.py", "handler = Mangum(app)", None, "main.handler"),
        ("main.py", "handler: Callable = make()", None, "main.handler"),
        ("app.py", "def handler(e, c): ...", "app.other", "app.other"),
        ("app.py", "def handler(e, c): ...", "gone.handler", "app.handler"),
        ("other.py", "def handler(e, c): ...", "pkg.mod.handler", "pkg.mod.handler"),
    ],
)
def test_handlers(tmp_path: Path, file: str, text: str, present: str | None, found: str) -> None:
    (tmp_path / file).write_text(f"import x\n{text}\n")
    assert find_handler(tmp_path, present) == found


def test_no_handler(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("    def handler(): ...\n# def handler(\n")
    with pytest.raises(PlatformError, match="Name it with --handler"):
        find_handler(tmp_path, None)


@pytest.mark.parametrize(
    ("handler", "there"),
    [
        *(("app.handler", True), ("lib.deep.handler", True), ("lib/deep.handler", True)),
        *(("package.handler", True), ("fast.handler", True), ("old.handler", True)),
        *(("nope.handler", False), ("app.py.handler", False), ("lib.handler", False)),
        *(("ap.handler", False), ("app", False), ("app.", False), (".handler", False)),
    ],
)
def test_a_handler_needs_its_module(tmp_path: Path, handler: str, there: bool) -> None:
    fill(
        tmp_path,
        *("app.py", "lib/deep.py", "package/__init__.py", "old.pyc", "app.txt"),
        *("fast.cpython-311-x86_64-linux-gnu.so",),
    )
    package = io.BytesIO()
    packing.write(packing.files_of(tmp_path), None, package)
    if there:
        refuse_absent(handler, package, tmp_path)
    else:
        with pytest.raises(PlatformError, match=r"(?s)^[^\n]*handler[^\n]*\.$"):
            refuse_absent(handler, package, tmp_path)
