"""``boda check``: whether everything in a data folder is what was stored."""

from __future__ import annotations

from typing import Annotated

import typer

from boda.cli.options import DataDir, Json, data_dir

EXAMPLES = (
    "boda check            exit code 0 if nothing is damaged, 1 if something is",
    "boda check --json     the same for programs",
    "boda check --accept   go on though the database lost commits",
)


def check(
    folder: DataDir = None,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept",
            help="Let the next start go on with the database as it is. What it does not name goes "
            "to lost+found for seven days.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Verify rows, objects and code; change nothing.

    A boda may run on the data folder meanwhile.
    """
    from boda.check import check as look
    from boda.check import generation_of
    from boda.cli.output import print_json
    from boda.core.ids import Ids
    from boda.storage.folder import DataFolder

    place = DataFolder(data_dir(folder))
    if accept:
        place.take()
        try:
            generation_of(place, Ids()).accept()
        finally:
            place.release()
    report = look(place, (lambda _: None) if as_json else print)
    if as_json:
        print_json(
            {
                "Whole": not report.faults,
                "Faults": report.faults,
                "Bytes": report.read,
                "Unnamed": report.unnamed,
            }
        )
    else:
        if report.unnamed:
            print(
                f"{report.unnamed} blobs are named by no object; the next start moves them to "
                "lost+found."
            )
        faults = len(report.faults)
        found = "nothing is damaged" if not faults else f"{faults} faults"
        print(f"{report.read:,} bytes of objects and code were read: {found}.")
    raise typer.Exit(1 if report.faults else 0)
