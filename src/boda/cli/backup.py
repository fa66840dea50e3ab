"""``boda backup``: everything that a data folder holds, in one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from boda.cli import interruptible
from boda.cli.options import DataDir, Json, absolute, data_dir

EXAMPLES = (
    "boda backup boda.tar          replaces an earlier backup of that name",
    "boda backup boda.tar --json   bytes, seconds and what is damaged",
    "boda restore boda.tar --data-dir NEW",
)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    folder: DataDir = None,
    as_json: Json = False,
) -> None:
    """Copy rows, objects, code and keys into one file, and verify it.

    A boda may run on the data folder meanwhile: what it had acknowledged when the backup began is
    in the file. Whoever can read the file has all keys. The exit code is 1 if something was
    damaged in the data folder; the rest is in the file.
    """
    import time

    from boda.backup.take import take
    from boda.cli import progress
    from boda.cli.output import print_json
    from boda.storage.folder import DataFolder

    begin = time.monotonic()
    with interruptible(), progress.shown() as moved:
        report = take(DataFolder(data_dir(folder)), absolute(file), time.time, moved)
    seconds = time.monotonic() - begin
    if as_json:
        print_json(
            {
                "File": str(absolute(file)),
                "Bytes": report.size,
                "Blobs": report.blobs,
                "Packages": report.packages,
                "Seconds": round(seconds, 3),
                "Faults": report.faults,
            }
        )
    else:
        for fault in report.faults:
            print(f"damaged in the data folder: {fault}", file=sys.stderr)
        print(
            f"{file} has the rows, {report.blobs} blobs and {report.packages} packages: "
            f"{report.size:,} bytes in {seconds:.1f} s, read again and verified."
        )
    raise typer.Exit(1 if report.faults else 0)
