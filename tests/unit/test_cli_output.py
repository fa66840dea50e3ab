"""Tables and help on terminals of any width."""

from __future__ import annotations

import json
import re

import pytest
import typer
from typer.testing import CliRunner

from boda import __version__
from boda.cli import app
from boda.cli.invoke import error_lines
from boda.cli.logs import seconds_of
from boda.cli.output import print_table, shown

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


@pytest.mark.parametrize("columns", ["80", "200"])
def test_every_help_fits_its_terminal_and_has_examples(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    group = typer.main.get_command(app)
    names = list(group.commands)  # type: ignore[attr-defined]
    assert len(names) > 10
    for words in ([], *([name] for name in names)):
        done = CliRunner().invoke(app, [*words, "--help"], prog_name="boda")
        assert done.exit_code == 0
        lines = done.output.splitlines()
        assert all(len(line) <= 80 for line in lines), words
        assert "  Examples:" in lines, words
        example = lines[lines.index("  Examples:") + 1].strip()
        assert re.search(rf"\bboda{''.join(f' {word}' for word in words)}\b", example), words
    # Each command is told in one line that is not cut off.
    listed = CliRunner().invoke(app, ["--help"]).output
    assert "..." not in listed.partition("Commands:")[2]


def test_what_a_function_wrote_cannot_steer_the_terminal() -> None:
    hostile = "a\x1b]0;title\x07b\x1b[2Jc\x9bd\x08e\x1b[31mred\x1b[0m\tf\rg\r\nh"
    told = shown(hostile, colours=True)
    assert told == ("a\\x1b]0;title\\x07b\\x1b[2Jc\\x9bd\\x08e\x1b[31mred\x1b[0m\tf\ng\nh")
    assert "\x1b" not in shown(hostile, colours=False)


def test_spans() -> None:
    found = [seconds_of(one) for one in ("90s", "30m", "2h", "3d", "1w", "45", " 1H ")]
    assert found == [90, 1800, 7200, 259_200, 604_800, 2700, 3600]


def test_errors_as_python_prints_them() -> None:
    error = {
        "errorMessage": "'name'",
        "errorType": "KeyError",
        "stackTrace": ['  File "/var/task/app.py", line 2, in handler\n    event["name"]\n'],
    }
    assert error_lines(json.dumps(error)).splitlines() == [
        "Traceback (most recent call last):",
        '  File "/var/task/app.py", line 2, in handler',
        '    event["name"]',
        "KeyError: 'name'",
    ]
    assert error_lines('{"errorMessage": "late"}') == "late"
    for other in ("[]", "{}", "no json", '"text"'):
        assert error_lines(other) == other


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.output.strip() == __version__
