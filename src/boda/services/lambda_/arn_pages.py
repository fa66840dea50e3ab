"""Lists whose marker is the ARN that the next page begins with, as recorded.

Pure. If the marker's item was deleted meanwhile, the list goes on at its place in the order.
"""

from __future__ import annotations

from boda.core.errors import AwsError
from boda.services.lambda_.errors import invalid


def start(marker: str | None, prefix: str) -> str:
    """Return the part of a marker behind the prefix that all ARNs of the list have.

    Empty without a marker. Raises AwsError if the marker is not of this list.
    """
    rest = (marker or "").removeprefix(prefix)
    if marker and (not rest or rest == marker):
        raise refused_marker("Marker", marker)
    return rest


def refused_marker(_name: str, _marker: str) -> AwsError:
    return invalid("Invalid pagination token.")
