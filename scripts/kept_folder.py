"""Keep a data folder of a release for the tests, with everything that its API answers.

python scripts/kept_folder.py [CHECKOUT]      (this checkout by default)

Starts the boda of CHECKOUT on an empty folder, makes something of everything, stops it, starts it
again, asks about all of it, and writes tests/fixtures/folders/VERSION-COMMIT.tar.xz. A later boda
that opens the folder must give the same answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

TARGET = ROOT / "tests/fixtures/folders"
LEFT_OUT = {"library", "sandbox", "address.json", "lock", "lost+found", "backup.lock"}


def main(checkout: Path) -> None:
    os.environ["PYTHONPATH"] = str(checkout / "src")
    from bench.host import Boda

    from support.kept_folder import make, read

    version = subprocess.check_output(
        [sys.executable, "-c", "import boda; print(boda.__version__)"], text=True
    ).strip()
    commit = subprocess.check_output(
        ["git", "-C", str(checkout), "rev-parse", "--short=7", "HEAD"], text=True
    ).strip()
    with tempfile.TemporaryDirectory() as scratch:
        boda = Boda(Path(scratch, "data"))
        with boda:
            key = make(boda)
        with boda:
            answers = read(boda, time.strftime("%Y-%m", time.gmtime()))
        about = {"version": version, "commit": commit, "made_at": time.time(), "user": key}
        (boda.folder / "kept.json").write_text(json.dumps({**about, "answers": answers}, indent=1))
        target = TARGET / f"{version}-{commit}.tar.xz"
        with tarfile.open(target, "w:xz", preset=9) as archive:
            archive.add(boda.folder, "data", filter=_anonymous)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size:,} bytes, {len(answers)} answers")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = entry.name.split("/")
    if len(parts) > 1 and parts[1] in LEFT_OUT:
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT).resolve())
