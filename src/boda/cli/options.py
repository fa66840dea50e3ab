"""Options that several commands share, and the sources of their defaults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boda.core.errors import PlatformError

if TYPE_CHECKING:
    from boda.sandbox.reach import Reach


def default_data_dir() -> Path:
    """``$XDG_DATA_HOME/boda``, by the XDG base directory specification."""
    return _base("XDG_DATA_HOME", ".local/share") / "boda"


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/boda``, by the same."""
    return absolute(_base("XDG_CACHE_HOME", ".cache") / "boda")


def _base(variable: str, otherwise: str) -> Path:
    return Path(os.environ.get(variable) or Path("~", otherwise))


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="BODA_DATA_DIR",
        help="Folder of everything boda keeps; ~/.local/share/boda by default.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="NAME",
        help="AWS_REGION or AWS_DEFAULT_REGION by default, else us-east-1.",
        show_default=False,
    ),
]

NetworkAllow = Annotated[
    list[str] | None,
    typer.Option(
        "--network-allow",
        envvar="BODA_NETWORK_ALLOW",
        metavar="CIDR[:PORT]",
        help="A private network that functions may reach; may be given several times.",
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        envvar="BODA_ALLOW_HOST",
        metavar="ADDRESS:PORT",
        help="A port of this machine or another that functions may reach; may be given several "
        "times.",
    ),
]


@contextmanager
def option(name: str | None = None) -> Iterator[None]:
    """Turn a ValueError into the refusal of an option's value. Raises BadParameter."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint=name) from None


def reach_of(networks: list[str] | None, hosts: list[str] | None) -> Reach:
    """Return the networks that these two options open. Raises BadParameter."""
    from boda.sandbox.reach import Reach

    with option():
        return Reach.read(networks or (), hosts or ())


def data_dir(chosen: Path | None) -> Path:
    return absolute(chosen or default_data_dir())


def absolute(path: Path) -> Path:
    """Fill in ``~`` and the current folder. Raises PlatformError if one is unknown."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise PlatformError(
            f"{path} is in a home folder that is not known; set HOME, or name another folder."
        ) from None
    except FileNotFoundError:
        raise PlatformError("The current folder is no longer there; go to another one.") from None
