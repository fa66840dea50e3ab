"""A device whose mode is wrong on the machine: said, and not mended behind anybody's back.

In a mount namespace of its own, where another inode lies over the device: the machine's is not
touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.sandbox_snippets import why_not_root

pytestmark = pytest.mark.skipif(bool(why_not_root()), reason=why_not_root() or "root")

INSIDE = """
set -e
mount -t tmpfs devices {folder}
mknod {folder}/{name} c {major} {minor}
chmod {mode:o} {folder}/{name}
mount --bind {folder}/{name} /dev/{name}
"{python}" -m boda doctor --json --data-dir {folder}/data > {folder}.json || true
stat -c %a /dev/{name} >> {folder}.mode
"""


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("null", 0o644, "/dev/null has mode 0644"),
        ("urandom", 0o600, "/dev/urandom has mode 0600"),
        ("zero", 0o664, "/dev/zero has mode 0664"),
        ("null", 0o666, ""),
    ],
)
def test_the_doctor_names_it_and_leaves_it(
    tmp_path: Path, name: str, mode: int, words: str
) -> None:
    device = os.stat(f"/dev/{name}").st_rdev
    folder = tmp_path / "devices"
    folder.mkdir()
    script = INSIDE.format(
        folder=folder,
        name=name,
        mode=mode,
        major=os.major(device),
        minor=os.minor(device),
        python=sys.executable,
    )
    before = os.stat(f"/dev/{name}")
    subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    told = json.loads(Path(f"{folder}.json").read_text())
    (finding,) = [one for one in told["Findings"] if one["name"] == "modes of devices"]
    assert finding["ok"] == (not words)
    assert told["StrongEnough"] == (not words)
    if words:
        assert words in finding["missing"]
        assert finding["remedy"] == f"chmod 666 /dev/{name}"
    assert Path(f"{folder}.mode").read_text().strip() == f"{mode:o}"
    after = os.stat(f"/dev/{name}")
    assert (after.st_mode, after.st_ctime_ns) == (before.st_mode, before.st_ctime_ns)


WITHOUT = """
set -e
mkdir {folder}/dev
mount -t tmpfs devices {folder}/dev
for each in null zero full random urandom; do
  [ $each = full ] || cp -a /dev/$each {folder}/dev
done
{instead}
for each in fd stdin stdout stderr; do cp -a /dev/$each {folder}/dev; done
mkdir {folder}/dev/shm && chmod 1777 {folder}/dev/shm
mount --move {folder}/dev /dev
"{python}" -m boda doctor --json --data-dir {folder}/data > {folder}.json || true
{remedy}
"{python}" -m boda doctor --json --data-dir {folder}/data > {folder}.after.json || true
"""
MADE = "mknod -m 666 /dev/full c 1 7"


@pytest.mark.parametrize(
    ("instead", "missing", "remedy"),
    [
        ("", "/dev/full is missing", MADE),
        ("touch {folder}/dev/full", "/dev/full is no device", f"rm -r /dev/full && {MADE}"),
    ],
    ids=["missing", "no device"],
)
def test_a_device_that_is_not_there_is_made_by_the_remedy(
    tmp_path: Path, instead: str, missing: str, remedy: str
) -> None:
    folder = tmp_path / "devices"
    folder.mkdir()
    given = instead.format(folder=folder)
    script = WITHOUT.format(folder=folder, instead=given, python=sys.executable, remedy=remedy)
    subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    before, after = (
        next(
            one
            for one in json.loads(Path(f"{folder}{end}").read_text())["Findings"]
            if one["name"] == "modes of devices"
        )
        for end in (".json", ".after.json")
    )
    assert (before["ok"], before["missing"], before["remedy"]) == (False, missing, remedy)
    assert after["ok"]
