"""The command line: one file per command, errors as one clear sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from boda import __version__
from boda.cli import cost, deploy, doctor, env, invoke, logs, ps, runtimes, up
from boda.core.errors import PlatformError

app = typer.Typer(
    name="boda",
    help="AWS Lambda for machines you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: tuple[Callable[..., None], ...] = (
    up.up,
    env.env,
    doctor.doctor,
    runtimes.runtimes,
    deploy.deploy,
    invoke.invoke,
    logs.logs,
    ps.ps,
    cost.cost,
)
for _command in _COMMANDS:
    app.command()(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def every(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """AWS Lambda for machines you own."""


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """The entry point: every failure is a sentence on stderr and an exit code, no traceback."""
    try:
        app()
    except PlatformError as error:
        _fail(str(error))
    except BrokenPipeError:
        # The reader of our output went away (`boda logs … | head`).
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{place}.")
    except EndpointConnectionError as error:
        _fail(f"{error} Is boda running? Start it with `boda up`.")
    except ClientError as error:
        found = error.response.get("Error", {})
        _fail(f"{found.get('Code', 'Error')}: {found.get('Message', error)}")
    except BotoCoreError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(sentence: str) -> None:
    print(f"boda: {sentence}", file=sys.stderr)
    sys.exit(1)
