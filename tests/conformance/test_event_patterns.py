"""Event patterns are refused in the words, and at the places, that AWS was recorded to give."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from boda.events.patterns import PatternError, compile_pattern
from support.golden import golden

_SOURCE = re.compile(r'\[Source: \(String\)"(.*?)"; line: \d+, column: \d+\]', re.DOTALL)
_WITHOUT_PLACE = {
    "content_ip_address_bad_ip_EXC": '{"ip": [{"cidr": "xx.11.xx/8"}]}',
    "content_ip_address_bad_mask_EXC": '{"ip": [{"cidr": "10.0.0.0/xx"}]}',
}


def _refusals(content: Any) -> Iterator[str]:
    """Yield every recorded message of a refusal within a case's content."""
    if isinstance(content, dict):
        if "Error" in content:
            yield content["Error"].get("MessageRaw") or content["Error"]["Message"]
        else:
            for member in content.values():
                yield from _refusals(member)


def _recorded(file: str, prefix: str) -> list[tuple[str, str]]:
    """Return cases and reasons of all refusals that begin with a prefix."""
    snapshots = json.loads(golden(file).read_text())
    return [
        (
            case,
            re.sub(
                prefix, "", message.replace("<partition>", "aws").replace("<region>", "us-east-1")
            ),
        )
        for case, snapshot in snapshots.items()
        for message in _refusals(snapshot["recorded-content"])
        if re.match(prefix, message)
    ]


def _reason(pattern: str) -> str:
    with pytest.raises(PatternError) as refused:
        compile_pattern(pattern)
    return str(refused.value)


def test_buses_refuse_patterns_as_recorded() -> None:
    cases = _recorded(
        "recorded/events/test_events_patterns.snapshot.json",
        "Event pattern is not valid. Reason: ",
    )
    held = 0
    for case, reason in cases:
        source = _SOURCE.search(reason)
        name = re.sub(r".*\[(\w+)\]$", r"\1", case)
        pattern = source[1] if source else _WITHOUT_PLACE[name]
        assert _reason(pattern) == reason, case
        held += 1
    assert held > 15


def test_topics_refuse_filter_policies_as_recorded() -> None:
    cases = _recorded(
        "recorded/sns/test_sns_filter_policy.snapshot.json",
        r"Invalid parameter: (Attributes Reason: )?FilterPolicy: ",
    )
    held = 0
    for case, reason in cases:
        source = _SOURCE.search(reason)
        if source is not None:
            assert _reason(source[1]) == reason, case
            held += 1
    assert held > 10
