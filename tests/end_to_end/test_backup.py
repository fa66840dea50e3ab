"""``boda backup`` of a boda that is busy, and ``boda restore`` elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.host import Boda, package

from boda.storage.deletion_lock import DeletionLock
from support.commands import run_cli
from support.terminal import on_terminal
from support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "def lambda_handler(event, context):\n    return {number}\n"
SIZES = (10, 50_000, 300_000)
"""Of objects: in a row, in a blob of one block, in a blob of several."""


def body(key: str, number: int) -> bytes:
    """An object's content, which says what it is."""
    size = SIZES[number % len(SIZES)]
    return (f"{key} {number} " * (size // 8)).encode()


class Writer(threading.Thread):
    """Writes, replaces and deletes objects, functions and log lines until it is stopped.

    acknowledged: the last number of each key that was answered, None once it is deleted.
    """

    def __init__(self, boda: Boda, name: str) -> None:
        super().__init__(daemon=True)
        self.name = name
        self.acknowledged: dict[str, int | None] = {}
        self.begun: dict[str, int | None] = {}
        self.errors: list[Exception] = []
        self.writes = 0
        self._boda = boda
        self._ended = threading.Event()

    def run(self) -> None:
        s3, functions = self._boda.client("s3"), self._boda.client("lambda")
        number = 0
        try:
            while not self._ended.is_set():
                number += 1
                key = f"{self.name}/{number % 30}"
                if number % 7 == 0:
                    self.begun[key] = None
                    s3.delete_object(Bucket="busy", Key=key)
                    self.acknowledged[key] = None
                else:
                    self.begun[key] = number
                    s3.put_object(Bucket="busy", Key=key, Body=body(key, number))
                    self.acknowledged[key] = number
                if number % 10 == 0:
                    with contextlib.suppress(functions.exceptions.ResourceConflictException):
                        functions.update_function_code(
                            FunctionName=self.name,
                            ZipFile=package(SOURCE.format(number=number)),
                            Publish=True,
                        )  # unless the previous update is still in progress
                        self.acknowledged["function"] = number
                self.writes += 1
        except Exception as error:
            self.errors.append(error)

    def end(self) -> None:
        self._ended.set()
        self.join(30)
        assert self.errors == []


@contextlib.contextmanager
def busy(boda: Boda) -> Iterator[list[Writer]]:
    boda.client("s3").create_bucket(Bucket="busy")
    writers = [Writer(boda, f"writer-{number}") for number in range(2)]
    for writer in writers:
        boda.function(writer.name, SOURCE.format(number=0))
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.end()


def command(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "boda", *words, "--json"], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_backup_under_load_holds_what_was_acknowledged(own_boda: Boda, tmp_path: Path) -> None:
    own_boda.start()
    file = tmp_path / "boda.tar"
    with busy(own_boda) as writers:
        eventually(lambda: all("function" in writer.acknowledged for writer in writers), 60)
        before = [dict(writer.acknowledged) for writer in writers]
        written = [writer.writes for writer in writers]
        told = command("backup", str(file), "--data-dir", str(own_boda.folder))
        begun = [dict(writer.begun) for writer in writers]
        assert all(writer.writes > count for writer, count in zip(writers, written, strict=True)), (
            "nothing was written meanwhile"
        )
    assert told["Faults"] == [] and told["Bytes"] == file.stat().st_size
    own_boda.stop()

    place = tmp_path / "other" / "place"
    command("restore", str(file), "--data-dir", str(place))
    report = command("check", "--data-dir", str(place))
    assert (report["Faults"], report["Unnamed"]) == ([], 0)
    with Boda(place) as copy:
        for writer, old, new in zip(writers, before, begun, strict=True):
            _compare(copy, writer.name, old, new)


def _compare(
    copy: Boda, name: str, before: dict[str, int | None], begun: dict[str, int | None]
) -> None:
    """Each object is whole, and not older than what was acknowledged before the backup began."""
    s3, functions = copy.client("s3"), copy.client("lambda")
    oldest = before.pop("function")
    assert oldest is not None
    code = copy.call(name)
    assert code >= oldest
    latest = functions.list_versions_by_function(FunctionName=name)["Versions"][-1]
    assert functions.get_function(FunctionName=f"{name}:{latest['Version']}")["Code"]["Location"]
    for key, number in before.items():
        try:
            content = s3.get_object(Bucket="busy", Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            content = b""
        if not content:  # deleted before it began, or by what had begun until it ended
            assert number is None or begun[key] != number, key
            continue
        found = int(content.split(b" ", 2)[1])
        assert content == body(key, found)
        assert number is None or found >= number, key


def test_blobs_stay_while_a_backup_reads_them(own_boda: Boda, tmp_path: Path) -> None:
    own_boda.start()
    s3 = own_boda.client("s3")
    s3.create_bucket(Bucket="bucket")

    def blobs() -> list[Path]:
        return list((own_boda.folder / "blobs").glob("??/*"))

    with DeletionLock.beside(own_boda.folder / "blobs").reading():
        for number in range(5):
            s3.put_object(Bucket="bucket", Key="key", Body=body("key", 3 * number + 2))
        time.sleep(0.3)
        assert len(blobs()) == 5
    eventually(lambda: len(blobs()) == 1, 20)


def test_it_is_one_sentence_whatever_is_wrong(own_boda: Boda, tmp_path: Path) -> None:
    own_boda.start()
    file = tmp_path / "boda.tar"
    done = run_cli(own_boda.folder, "backup", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"boda\.tar has the rows, 0 blobs and 0 packages: [0-9,]+ bytes", done.stdout)
    (tmp_path / "cut").write_bytes(file.read_bytes()[:5000])
    for words, why in (
        (("backup", str(tmp_path)), "is a folder"),
        (("backup", "/proc/boda.tar"), "cannot be written"),
        (("backup", str(file), "--data-dir", str(tmp_path / "nobody")), "There is no boda in"),
        (("restore", str(file)), "is not empty"),
        (("restore", str(tmp_path / "cut"), "--data-dir", str(tmp_path / "new")), "is cut off"),
        (("restore", "/absent", "--data-dir", str(tmp_path / "new")), "No such file"),
    ):
        done = run_cli(own_boda.folder, *words)
        assert done.returncode == 1 and why in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("boda: ")
    assert not (tmp_path / "new").exists()


def test_a_disk_that_is_too_small_for_it(
    own_boda: Boda, small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    own_boda.start()
    s3 = own_boda.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="large", Body=bytes(12 << 20))
    disk = small_disk(8)
    done = run_cli(own_boda.folder, "backup", str(disk / "boda.tar"))
    assert done.returncode == 1 and "No space left on device" in done.stderr
    assert list(disk.iterdir()) == []
    file = tmp_path / "boda.tar"
    assert run_cli(own_boda.folder, "backup", str(file)).returncode == 0
    done = run_cli(disk / "data", "restore", str(file))
    assert done.returncode == 1 and "No space left on device" in done.stderr
    assert list(disk.iterdir()) == []


def test_a_terminal_shows_how_far_it_is(own_boda: Boda, tmp_path: Path) -> None:
    own_boda.start()
    s3 = own_boda.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="large", Body=bytes(30 << 20))
    code, said = on_terminal(own_boda.folder, "backup", str(tmp_path / "boda.tar"))
    assert code == 0 and "files" in said and "MB" in said
    assert "has the rows, 1 blobs and 0 packages" in " ".join(said.split())
    code, said = on_terminal(tmp_path / "new", "restore", str(tmp_path / "boda.tar"))
    assert code == 0 and "files" in said


def test_the_commands_of_the_documentation(own_boda: Boda, tmp_path: Path) -> None:
    """docs/backup.md, as it is written, with folders of the test's own."""
    own_boda.start()
    text = (ROOT / "docs" / "backup.md").read_text()
    lines = [
        line.removeprefix("$ ").split("   #")[0]
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    assert len(lines) >= 5
    places = {"/mnt/backups": tmp_path / "backups", "/srv/restored": tmp_path / "restored",
              "/srv/boda": own_boda.folder}  # fmt: skip
    (tmp_path / "backups").mkdir()
    (tmp_path / "unpacked").mkdir()
    try:
        for line in lines:
            for old, new in places.items():
                line = line.replace(old, shlex.quote(str(new)))
            line = re.sub(r"\bboda (?=[a-z])", f"{sys.executable} -m boda ", line)
            if " boda up " in line:
                line += " --port 0"
            done = subprocess.run(
                ["bash", "-c", line], cwd=tmp_path / "unpacked", capture_output=True, text=True,
                timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, (line, done.stderr, done.stdout)
    finally:
        run_cli(tmp_path / "restored", "down")
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (own_boda.folder / "root.json", tmp_path / "restored" / "root.json")
    }
    assert len(digests) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a disk of so many MiB."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size_mib: int) -> Path:
        options = ["-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(place)]
        if subprocess.run(["mount", *options], capture_output=True).returncode:
            pytest.skip("no disk can be mounted here")
        return place

    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", place], capture_output=True, check=False)
