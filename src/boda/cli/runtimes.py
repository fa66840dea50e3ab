"""``boda runtimes``: the runtimes that functions can use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from boda.cli.options import DataDir, Json, Region, data_dir

EXAMPLES = (
    "boda runtimes          what the running boda offers",
    "boda runtimes --json   the same for programs",
)


def runtimes(region: Region = None, folder: DataDir = None, as_json: Json = False) -> None:
    """List the runtimes of functions.

    The running boda is asked; where none runs, this machine is searched.
    """
    from boda.cli.output import print_json, print_table
    from boda.core.errors import PlatformError

    found = _of_platform(data_dir(folder), region)
    if found is None:
        print("No boda is running; this is what it would find here now.", file=sys.stderr)
        found = _of_machine()
    if as_json:
        print_json(found)
        return
    if not found:
        raise PlatformError(
            "No Python that boto3 supports was found; install python3 (PATH, pyenv, uv and "
            "/usr/bin are searched)."
        )
    print_table(
        [("RUNTIME", "text"), ("VERSION", "text"), ("INTERPRETER", "text")],
        [(one["Name"], one["Version"], one["Interpreter"]) for one in found],
    )
    print("To add one, install that Python (uv python install 3.13, pyenv, a package of the")
    print("system) and start boda again.")


def _of_platform(folder: Path, region: str | None) -> list[dict[str, Any]] | None:
    """Return the runtimes that the running boda offers; None if none runs."""
    import botocore.exceptions

    from boda.cli.client import connect
    from boda.core.errors import PlatformError
    from boda.storage.folder import DataFolder

    try:
        connection = connect(folder, region)
    except PlatformError:
        if DataFolder(folder).has_root_keys():
            raise
        return None
    try:
        answer: list[dict[str, Any]] = connection.client("boda").list_runtimes()["Runtimes"]
    except botocore.exceptions.ConnectionError:
        return None
    return answer


def _of_machine() -> list[dict[str, Any]]:
    from boda.runtime.catalogue import RuntimeCatalogue

    return [
        {"Name": one.name, "Version": one.version, "Interpreter": str(one.interpreter)}
        for one in RuntimeCatalogue.discover().runtimes()
    ]
