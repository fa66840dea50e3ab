"""``boda restore``: a data folder from a backup."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from boda.cli import interruptible
from boda.cli.options import DataDir, Json, absolute, data_dir

EXAMPLES = (
    "boda restore boda.tar --data-dir /srv/boda",
    "boda up --data-dir /srv/boda",
)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `boda backup` wrote.")],
    folder: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a data folder of a backup, on any machine.

    The folder is new or empty. A backup that was cut off or changed, or that a newer boda wrote,
    leaves nothing behind. An older one is brought forward at the next start.
    """
    from boda.app import SCHEMAS
    from boda.backup.restore import restore as make
    from boda.cli import progress
    from boda.cli.output import print_json
    from boda.core.ids import Ids
    from boda.storage.folder import DataFolder

    place = data_dir(folder)
    with interruptible(), progress.shown() as moved:
        report = make(absolute(file), DataFolder(place), SCHEMAS, Ids(), moved)
    made_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(report.head.made_at))
    if as_json:
        print_json(
            {
                "Folder": str(place),
                "MadeAt": made_at,
                "Version": report.head.boda,
                "Blobs": report.blobs,
                "Packages": report.packages,
                "Faults": report.faults,
            }
        )
    else:
        for fault in report.faults:
            print(f"damaged in the backup already: {fault}", file=sys.stderr)
        print(
            f"{place} has the rows, {report.blobs} blobs and {report.packages} packages of "
            f"{made_at}; `boda up --data-dir {place}` runs it."
        )
    raise typer.Exit(1 if report.faults else 0)
