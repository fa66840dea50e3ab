"""Input paths and templates of targets; results as recorded on AWS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from boda.events.input_template import InputTemplate
from boda.events.json_path import MISSING, look_up, parse_path

EVENT = {
    "detail-type": "core.update-account-command",
    "detail": {
        "command": "update-account",
        "valid": True,
        "payload": {"acc_id": "0a787ecb-4015", "sf_id": "baz"},
        "listsingle": ["HIGH"],
        "listmulti": ["ACTIVE", "INACTIVE"],
        "numbers": [1, 2],
        "said": 'he said "go"\n\\',
        "nothing": None,
        "big": 12345678901234567890123,
    },
}
PATHS = {
    "detail-type": "$.detail-type",
    "userId": "$.detail.payload.acc_id",
    "missing": "$.detail.absent",
} | {name: f"$.detail.{name}" for name in EVENT["detail"]}


def resolve(name: str) -> Any:
    return look_up(EVENT, parse_path(PATHS[name]))


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ('"<listmulti> multiple list items"', '"[ACTIVE,INACTIVE] multiple list items"'),
        (
            '"<listsingle> single"\n"<missing> system"\n"<payload> payload"',
            '"[HIGH] single"\n" system"\n"{acc_id:0a787ecb-4015,sf_id:baz} payload"',
        ),
        ('"Command is <valid>!"', '"Command is true!"'),
        (
            '"Payload of <payload> with path users-service/users/<userId> and <userId>"',
            '"Payload of {acc_id:0a787ecb-4015,sf_id:baz} with path users-service/users/'
            '0a787ecb-4015 and 0a787ecb-4015"',
        ),
        ('{"id" : "<userId>"}', '{"id" : "0a787ecb-4015"}'),
        (
            '{"nested": {"level": "users/<userId>"}, "bod": "<userId>"}',
            '{"nested": {"level": "users/0a787ecb-4015"}, "bod": "0a787ecb-4015"}',
        ),
        (
            '"{[/Check with special starting characters for event of <detail-type> type"',
            '"{[/Check with special starting characters for event of '
            'core.update-account-command type"',
        ),
        ('{"a":<userId>,"b":<payload>}', None),
        ("<payload>", None),
        ('{"quote\\"d": <nothing>, "b": "\\\\", "c": <valid>}', None),
        ('{"n": "<numbers>"}', '{"n": "[1,2]"}'),
        ('{"said": "<said>"}', None),
        ('"<said>"', '"he said go\\n\\\\"'),
        ('{"big": <big>}', '{"big": 12345678901234567890123}'),
    ],
)
def test_values_take_the_places_of_placeholders(template: str, result: str | None) -> None:
    filled = InputTemplate(template).fill(resolve)
    if result is None:  # only the values count
        names = InputTemplate(template).names
        shown = json.dumps(json.loads(filled))
        assert all(json.dumps(resolve(name)) in shown for name in names), filled
    else:
        assert filled == result


@pytest.mark.parametrize(
    "template",
    [
        "<listmulti> multiple list items",
        '{"singlelistitem": "<listsingle>"}',
        "<missing>",
        '{"a": <missing>}',
        "text",
        '"a""b"',
        "NaN",
        "[" * 100_000,
    ],
)
def test_a_result_that_is_not_json_is_refused(template: str) -> None:
    with pytest.raises(ValueError):
        InputTemplate(template).fill(resolve)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", EVENT),
        ("$.detail.listmulti[1]", "INACTIVE"),
        ("$['detail-type']", "core.update-account-command"),
        ('$["detail"].payload.sf_id', "baz"),
        ("$.detail.nothing", None),
        ("$.detail.nothing.more", MISSING),
        ("$.detail.listmulti[2]", MISSING),
        ("$.detail.listmulti.x", MISSING),
        ("$.detail[0]", MISSING),
        ("$.absent", MISSING),
    ],
)
def test_paths(path: str, value: Any) -> None:
    assert look_up(EVENT, parse_path(path)) == value


@pytest.mark.parametrize(
    "path", ["", "detail", "$detail", "$.", "$..a", "$.*", "$.a[*]", "$.a[-1]"]
)
def test_paths_that_are_not_valid(path: str) -> None:
    with pytest.raises(ValueError):
        parse_path(path)
