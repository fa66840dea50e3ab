"""`boda deploy`, as a user types it."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
from bench.host import Boda

from support.commands import run_cli

HANDLER = "def lambda_handler(event, context):\n    return "


@pytest.fixture
def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


def wheel(folder: Path) -> str:
    """A package that pip installs without any index. Returns the file's name."""
    name = "tinypkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("tinypkg/__init__.py", "VALUE = 42\n")
        info = "tinypkg-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinypkg\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    return name


def test_requirements_come_along(
    boda: Boda, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (folder / "lambda_function.py").write_text(f"import tinypkg\n{HANDLER}tinypkg.VALUE\n")
    # A relative path is meant from the file's folder, wherever boda is called.
    (folder / "requirements.txt").write_text(f"./{wheel(folder)}\n")
    done = run_cli(boda.folder, "deploy", str(folder))
    assert done.returncode == 0, done.stderr
    assert "Installing requirements.txt for python3." in done.stderr
    assert f"boda invoke {name}" in done.stdout
    assert json.loads(run_cli(boda.folder, "invoke", name).stdout) == 42

    (folder / "requirements.txt").write_text("no-such-thing==1\n")
    failed = run_cli(boda.folder, "deploy", str(folder))
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith(
        "boda: The requirements could not be installed: Could not find a version that satisfies"
    )


def test_an_update_leaves_alone_what_it_does_not_name(boda: Boda, folder: Path, name: str) -> None:
    (folder / "app.py").write_text(f"{HANDLER}1\n")
    words = ("--memory", "256", "--timeout", "7", "--env", "WHO=rider")
    offered = json.loads(run_cli(boda.folder, "runtimes", "--json").stdout)
    oldest = next(one["Name"] for one in offered if one["Name"].startswith("python3."))
    assert run_cli(boda.folder, "deploy", str(folder), "--runtime", oldest, *words).returncode == 0
    done = run_cli(boda.folder, "deploy", str(folder), "--memory", "192")
    assert done.returncode == 0, done.stderr
    assert "Updated arn:aws:lambda:" in done.stderr
    found = boda.client("lambda").get_function_configuration(FunctionName=name)
    assert found["MemorySize"] == 192
    assert found["Timeout"] == 7
    assert found["Runtime"] == oldest
    assert found["Handler"] == "app.lambda_handler"
    assert found["Environment"] == {"Variables": {"WHO": "rider"}}


def test_a_package_too_large_for_a_call_goes_by_way_of_a_bucket(
    boda: Boda, folder: Path, name: str
) -> None:
    (folder / "lambda_function.py").write_text(
        "import os\n" + HANDLER + "os.path.getsize('/var/task/ünï code.bin')\n"
    )
    size = 51 << 20
    (folder / "ünï code.bin").write_bytes(os.urandom(size))
    done = run_cli(boda.folder, "deploy", str(folder))
    assert done.returncode == 0, done.stderr
    assert json.loads(run_cli(boda.folder, "invoke", name).stdout) == size
    assert "Contents" not in boda.client("s3").list_objects_v2(Bucket="boda-deploy-us-east-1")

    (folder / "zeros").touch()
    os.truncate(folder / "zeros", 262_144_000)
    refused = run_cli(boda.folder, "deploy", str(folder))
    assert refused.returncode == 1
    assert "Lambda takes 262 MB at most." in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("folder_name", ["my func", "ünï", "x" * 65])
def test_a_folder_whose_name_is_no_functions_name(
    boda: Boda, tmp_path: Path, folder_name: str
) -> None:
    folder = tmp_path / folder_name
    folder.mkdir()
    (folder / "lambda_function.py").write_text(f"{HANDLER}1\n")
    refused = run_cli(boda.folder, "deploy", str(folder))
    assert refused.returncode == 1
    assert "Choose one with --name." in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
