"""The commands, their group, and the code around each of them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from boda import __version__
from boda.cli import (
    INTERRUPTED,
    backup,
    check,
    cost,
    delete,
    deploy,
    doctor,
    down,
    env,
    invoke,
    logs,
    ps,
    restore,
    runtimes,
    status,
    up,
)
from boda.cli.failures import sentence

app = typer.Typer(
    name="boda",
    no_args_is_help=True,
    # Plain text: it fits any terminal, and nothing heavy is imported to show it.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def version() -> None:
    """Print the version."""
    print(__version__)


_COMMANDS: tuple[tuple[Callable[..., None], tuple[str, ...]], ...] = (
    (up.up, up.EXAMPLES),
    (down.down, down.EXAMPLES),
    (status.status, status.EXAMPLES),
    (env.env, env.EXAMPLES),
    (doctor.doctor, doctor.EXAMPLES),
    (check.check, check.EXAMPLES),
    (backup.backup, backup.EXAMPLES),
    (restore.restore, restore.EXAMPLES),
    (runtimes.runtimes, runtimes.EXAMPLES),
    (deploy.deploy, deploy.EXAMPLES),
    (delete.delete, delete.EXAMPLES),
    (invoke.invoke, invoke.EXAMPLES),
    (logs.logs, logs.EXAMPLES),
    (ps.ps, ps.EXAMPLES),
    (cost.cost, cost.EXAMPLES),
    (version, ("boda version",)),
)


def _examples(*lines: str) -> str:
    # \b keeps the line breaks.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


for _command, _lines in _COMMANDS:
    app.command(epilog=_examples(*_lines))(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback(
    epilog=_examples(
        "boda up --detach",
        "boda deploy hello",
        """boda invoke hello '{"name": "rider"}'""",
        "boda deploy --help                each command has examples of its own",
    )
)
def every(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """AWS Lambda for machines you own."""


def run() -> int:
    """Run the command in ``sys.argv``; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Characters that the terminal's encoding lacks are written as escapes.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _exit_code(lambda: app(prog_name="boda"))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away (`boda logs … | head`).
        _discard_output()
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        _discard_output()  # which may be the cause: a full disk
        with contextlib.suppress(OSError):
            print(f"boda: {sentence(error)}", file=sys.stderr, flush=True)
        return 1
    return code


def _exit_code(command: Callable[[], Any]) -> int:
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _discard_output() -> None:
    """Write the rest of the output if possible, and keep the interpreter from trying again at its
    end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
