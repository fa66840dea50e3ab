"""``boda runtimes``: the runtimes that this machine offers."""

from __future__ import annotations

from boda.cli.options import Json
from boda.cli.output import print_json, print_table


def runtimes(as_json: Json = False) -> None:
    """List the runtimes found on this machine with their interpreters."""
    from boda.core.errors import PlatformError
    from boda.runtime.catalogue import Catalogue

    found = Catalogue.discover().runtimes()
    if as_json:
        print_json(
            [
                {"Name": one.name, "Version": one.version, "Interpreter": str(one.interpreter)}
                for one in found
            ]
        )
        return
    if not found:
        raise PlatformError(
            "No Python that boto3 supports was found; install python3 (PATH, pyenv, uv and "
            "/usr/bin are searched)."
        )
    print_table(
        [("RUNTIME", "text"), ("VERSION", "text"), ("INTERPRETER", "text")],
        [(one.name, one.version, str(one.interpreter)) for one in found],
    )
