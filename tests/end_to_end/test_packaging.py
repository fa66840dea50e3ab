"""boda as a package: on the oldest dependencies it admits, and as a wheel."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from bench.host import Boda

from support.commands import run_cli

ROOT = Path(__file__).resolve().parents[2]
LOWEST = ROOT / ".venv" / "lowest" / "bin" / "python"


@pytest.mark.skipif(not LOWEST.exists(), reason="`make setup` has not installed them")
def test_a_function_runs_on_the_oldest_dependencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "lambda_function.py").write_text(
        "def lambda_handler(event, context):\n    return 'hello ' + event['name']\n"
    )
    with Boda(tmp_path / "data", python=str(LOWEST)) as boda:
        for words in (("deploy", str(folder)), ("logs", "hello"), ("cost",)):
            done = run_cli(boda.folder, *words, python=str(LOWEST))
            assert done.returncode == 0, done.stderr
        done = run_cli(boda.folder, "invoke", "hello", '{"name": "rider"}', python=str(LOWEST))
        assert json.loads(done.stdout) == "hello rider", done.stderr
        s3, logs = boda.client("s3"), boda.client("logs")
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="one", Body=b"1", ChecksumAlgorithm="CRC64NVME")
        assert (
            s3.get_object(Bucket="kept", Key="one", ChecksumMode="ENABLED")["Body"].read() == b"1"
        )
        assert logs.describe_log_groups()["logGroups"]


def test_a_wheel_holds_every_file_once_and_nothing_of_the_tests(tmp_path: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-c", "import hatchling.build as b, sys; b.build_wheel(sys.argv[1])"),
            str(tmp_path),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        contents = collections.Counter(
            archive.read(name) for name in names if archive.getinfo(name).file_size > 200
        )
    assert len(names) == len(set(names))
    assert all(count == 1 for count in contents.values())
    assert {"boda/cli/__init__.py", "boda/guest/zygote.py"} <= set(names)
    assert any(name.endswith("service-2.json") for name in names)
    assert all(name.startswith(("boda/", "boda-")) for name in names)
