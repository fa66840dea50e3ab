"""JSON paths as EventBridge takes them: ``$``, ``$.detail.items[0]``, ``$['detail-type']``.

Source: EventBridge user guide, "Input transformation" and "Target input paths".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

Step = str | int
MISSING: Final = object()
"""Returned for a path without a value; null is a value."""

_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]'"*?@()\s,:$]+) | \[(?P<index>\d{1,6})\]
    | \['(?P<single>[^'\]]+)'\] | \["(?P<double>[^"\]]+)"\]""",
    re.VERBOSE | re.ASCII,
)


def parse_path(text: str) -> tuple[Step, ...]:
    """Return the steps of a path. Raises ValueError if it is not valid; wildcards are not."""
    if not text.startswith("$"):
        raise ValueError(f"{text!r} does not begin with $")
    steps: list[Step] = []
    place = 1
    while place < len(text):
        found = _STEP.match(text, place)
        if found is None:
            raise ValueError(f"{text!r} is not valid at {place}")
        name = found["name"] or found["single"] or found["double"]
        steps.append(int(found["index"]) if name is None else name)
        place = found.end()
    return tuple(steps)


def look_up(value: Any, steps: Sequence[Step]) -> Any:
    """Return the part of a JSON value at the end of a path, ``MISSING`` if there is none."""
    for step in steps:
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                return MISSING
            value = value[step]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return MISSING
    return value
