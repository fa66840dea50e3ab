"""Lists whose marker is the ARN the next page begins with, as the service was recorded to send it.

Pure. Whoever lists finds the place of a marker whose item is gone meanwhile by the item's order.
"""

from __future__ import annotations

from boda.services.lambda_.errors import invalid

_PARTS = 7


def start(marker: str | None, kind: str) -> tuple[str, str]:
    """Name and qualifier that a marker names; empty without one. AwsError where it is no marker.

    kind: ``function`` or ``layer``.
    """
    if not marker:
        return "", ""
    parts = marker.split(":")
    fine = len(parts) in (_PARTS, _PARTS + 1) and parts[0] == "arn" and parts[2] == "lambda"
    if not fine or parts[5] != kind or not all(parts[6:]):
        raise invalid("Invalid pagination token.")
    return parts[6], parts[7] if len(parts) > _PARTS else ""
