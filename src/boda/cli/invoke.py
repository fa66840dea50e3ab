"""``boda invoke``: call a function and print its answer."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Annotated

import typer

from boda.cli.client import connect
from boda.cli.options import DataDir, data_dir
from boda.core.errors import PlatformError


def invoke(
    name: Annotated[str, typer.Argument(help="Name or ARN of the function.")],
    payload: Annotated[str, typer.Argument(help="JSON, @FILE, or - for standard input.")] = "{}",
    tail: Annotated[bool, typer.Option("--tail", help="Print the end of the log, too.")] = False,
    folder: DataDir = None,
) -> None:
    """Call a function and print what it returns; exit code 1 if it failed."""
    answer = (
        connect(data_dir(folder))
        .client("lambda")
        .invoke(
            FunctionName=name,
            Payload=_read(payload),
            LogType="Tail" if tail else "None",
        )
    )
    if tail:
        log = base64.b64decode(answer.get("LogResult", ""))
        print(log.decode("utf-8", "replace").rstrip("\n"), file=sys.stderr)
    print(answer["Payload"].read().decode("utf-8", "replace"))
    if answer.get("FunctionError"):
        raise typer.Exit(1)


def _read(payload: str) -> bytes:
    if payload == "-":
        return sys.stdin.buffer.read()
    if payload.startswith("@"):
        try:
            return Path(payload[1:]).read_bytes()
        except OSError as error:
            raise PlatformError(f"{payload[1:]} cannot be read: {error.strerror}.") from None
    return payload.encode()
