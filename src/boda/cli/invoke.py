"""``boda invoke``: call a function and print its answer."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from boda.cli.options import DataDir, Region, absolute, data_dir
from boda.core.errors import PlatformError

EXAMPLES = (
    """boda invoke hello '{"name": "rider"}'""",
    "boda invoke hello @event.json --tail",
    "echo '{}' | boda invoke hello -",
    "boda invoke hello:live --region eu-west-1",
)


def invoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or ARN of the function.")],
    payload: Annotated[
        str, typer.Argument(metavar="[PAYLOAD]", help="JSON, @FILE, or - for standard input.")
    ] = "{}",
    tail: Annotated[bool, typer.Option("--tail", help="Print the end of the log, too.")] = False,
    region: Region = None,
    folder: DataDir = None,
) -> None:
    """Call a function and print its answer.

    The exit code is 1 if the function failed.
    """
    from boda.cli.client import connect

    event = _read(payload)
    answer = (
        connect(data_dir(folder), region)
        .client("lambda")
        .invoke(FunctionName=name, Payload=event, LogType="Tail" if tail else "None")
    )
    if tail:
        log = base64.b64decode(answer.get("LogResult", "")).decode("utf-8", "replace")
        print(_for_reader(log.rstrip("\n"), sys.stderr), file=sys.stderr)
    result: bytes = answer["Payload"].read()
    failed = bool(answer.get("FunctionError"))
    if sys.stdout.isatty():
        text = result.decode("utf-8", "replace")
        print(_for_reader(error_lines(text) if failed else text, sys.stdout))
    else:  # byte for byte, whatever this standard output's encoding
        sys.stdout.buffer.write(result + b"\n")
    if failed:
        raise typer.Exit(1)


def _read(payload: str) -> bytes:
    if payload == "-":
        if sys.stdin is None:
            raise PlatformError("There is no standard input to read the payload from.")
        return sys.stdin.buffer.read()
    if payload.startswith("@"):
        try:
            return absolute(Path(payload[1:])).read_bytes()
        except OSError as error:
            raise PlatformError(f"{payload[1:]} cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise PlatformError(f"{payload[1:]!r} cannot be read: {error}.") from None
    return payload.encode("utf-8", "surrogateescape")


def error_lines(text: str) -> str:
    """Format an error's document as Python prints errors; return other texts unchanged."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict) or "errorMessage" not in found:
        return text
    trace = found.get("stackTrace")
    if isinstance(trace, str):
        trace = [trace]
    lines = [str(line).rstrip("\n") for line in trace] if isinstance(trace, list) else []
    kind = found.get("errorType")
    last = f"{kind}: {found['errorMessage']}" if kind else str(found["errorMessage"])
    return "\n".join([*(["Traceback (most recent call last):"] if lines else []), *lines, last])


def _for_reader(text: str, stream: Any) -> str:
    from boda.cli.output import has_colours, shown

    return shown(text, colours=has_colours(stream)) if stream.isatty() else text
