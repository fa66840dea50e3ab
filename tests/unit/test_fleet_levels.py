"""Which lines of a function are logged, by the level that its configuration asks for."""

from __future__ import annotations

import json

import pytest

from boda.fleet.levels import LevelFilter, levels_of

AT = "2026-11-29T20:00:00.123Z"


def line(level: object, timestamp: object = AT) -> str:
    return json.dumps({"timestamp": timestamp, "level": level, "message": "m"}) + "\n"


@pytest.mark.parametrize(
    ("least", "kept"),
    [
        ("TRACE", "TRACE DEBUG INFO WARN ERROR FATAL"),
        ("DEBUG", "DEBUG INFO WARN ERROR FATAL"),
        ("INFO", "INFO WARN ERROR FATAL"),
        ("WARN", "WARN ERROR FATAL"),
        ("ERROR", "ERROR FATAL"),
        ("FATAL", "FATAL"),
    ],
)
def test_objects_with_a_level_have_it(least: str, kept: str) -> None:
    levels = LevelFilter(least)
    names = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
    assert [name for name in names if levels.keeps(line(name))] == kept.split()
    assert [name for name in names if levels.keeps(line(name.lower()))] == kept.split()


@pytest.mark.parametrize(
    "text",
    [
        "plain text\n",
        '{"level": "ERROR", "broken\n',
        '["level", "ERROR"]\n',
        '{"message": "no level"}\n',
        line("ERROR", None),
        line("ERROR", 1764446400),
        line("ERROR", "29 Nov 2026"),
        line("ERROR", "2026-13-29T20:00:00Z"),
        line("ERROR", "2026-11-29T20:00:00"),
        line("LOUD"),
        line(40),
        '"level"\n',
        "\n",
    ],
)
def test_everything_else_counts_as_info(text: str) -> None:
    assert LevelFilter("INFO").keeps(text)
    assert not LevelFilter("WARN").keeps(text)


def test_names_of_other_libraries_and_offsets_are_understood() -> None:
    levels = LevelFilter("ERROR")
    assert not levels.keeps(line("WARNING"))
    assert levels.keeps(line("CRITICAL", "2026-11-29T20:00:00+01:00"))
    assert levels.keeps("  " + line("ERROR"))


def test_the_text_format_filters_nothing() -> None:
    assert levels_of("Text", "") is None
    assert levels_of("JSON", "TRACE") is None
    assert levels_of("JSON", "") is not None
