"""Tables and help on terminals of any width."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from boda import __version__
from boda.cli import app
from boda.cli.output import print_table

NAMES = ["image-resizer-for-thumbnails", "b"]


@pytest.mark.parametrize("columns", ["20", "60", "80", "200"])
def test_names_and_numbers_are_never_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_table(
        [("FUNCTION", "text"), ("BILLED MS", "number"), ("WHY", "prose")],
        [(name, "1,234,567,890", "word " * 30) for name in NAMES],
    )
    lines = capsys.readouterr().out.splitlines()
    for name in NAMES:
        assert any(name in line and "1,234,567,890" in line for line in lines)
    assert any("FUNCTION" in line and "BILLED MS" in line for line in lines)
    if columns != "20":
        assert all(len(line.rstrip()) <= max(int(columns), 84) for line in lines)


def test_every_option_says_what_it_is() -> None:
    group = typer.main.get_command(app)
    for command in group.commands.values():  # type: ignore[attr-defined]
        for parameter in command.params:
            assert parameter.help, f"{command.name} {parameter.name}"
            assert "[" not in parameter.help  # markup swallows it


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.output.strip() == __version__
