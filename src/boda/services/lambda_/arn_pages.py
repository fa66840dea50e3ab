"""Lists whose marker is the ARN the next page begins with, as the service was recorded to send it.

Pure. Whoever lists finds the place of a marker whose item is gone meanwhile by the item's order.
"""

from __future__ import annotations

from boda.core.errors import AwsError
from boda.services.lambda_.errors import invalid


def start(marker: str | None, prefix: str) -> str:
    """Return what a marker names behind the prefix that all ARNs of the list have.

    Empty without a marker. Raises AwsError if the marker is none of this list.
    """
    rest = (marker or "").removeprefix(prefix)
    if marker and (not rest or rest == marker):
        raise refused_marker("Marker", marker)
    return rest


def refused_marker(_name: str, _marker: str) -> AwsError:
    return invalid("Invalid pagination token.")
