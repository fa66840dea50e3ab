"""docs/settings.md names every option and variable of the command line, with its default."""

from __future__ import annotations

from pathlib import Path

import typer

from boda.cli import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_every_setting_of_up_is_documented() -> None:
    group = typer.main.get_command(app)
    up = group.commands["up"]  # type: ignore[attr-defined]
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `--")]
    documented = {row.split("`")[1]: row for row in rows}
    for parameter in up.params:
        name = parameter.opts[0]
        assert name in documented, f"{name} is not in {PAGE.name}"
        row = documented[name]
        if parameter.envvar:
            assert f"`{parameter.envvar}`" in row
        if isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
            assert f"`{parameter.default}`" in row
    assert len(documented) == len(up.params)


def test_the_readme_names_every_command() -> None:
    group = typer.main.get_command(app)
    readme = (PAGE.parents[1] / "README.md").read_text()
    for name in group.commands:  # type: ignore[attr-defined]
        assert name == "version" or f"| `boda {name}" in readme
