"""The metadata endpoint of an execution environment: one document, with its availability zone.

    GET /2026-01-15/metadata/execution-environment    Authorization: Bearer <token>

at the address in ``AWS_LAMBDA_METADATA_API``, which is the Runtime API's listener; the token is in
``AWS_LAMBDA_METADATA_TOKEN``. The environment is known by its socket; the token only keeps out
attackers that make the function fetch an address. Source: Lambda developer guide,
"configuration-metadata-endpoint".
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

import orjson

PATH = "/2026-01-15/metadata/execution-environment"
LASTS_S = 12 * 3600
"""How long a client may cache the document."""

_SIDES = {"north": "n", "south": "s", "east": "e", "west": "w", "central": "c"}
_SIDE = re.compile("|".join(_SIDES))
_REGION = re.compile(r"([a-z]+)-(?:([a-z]+)-)?([a-z]+)-(\d+)")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The endpoint's document for one environment."""

    token: str
    region: str

    def fits(self, authorization: str) -> bool:
        """Whether a request with this header may read it."""
        scheme, _, token = authorization.partition(" ")
        good = hmac.compare_digest(token.strip().encode(), self.token.encode())
        return good and scheme.lower() == "bearer"

    def document(self) -> bytes:
        return orjson.dumps({"AvailabilityZoneID": zone_id(self.region)})


def zone_id(region: str) -> str:
    """Return the id of a region's first zone, which this machine counts as: ``use1-az1``.

    A zone's id begins with an abbreviation of its region: ``us-east-1`` is ``use1``,
    ``ap-southeast-2`` is ``apse2``, ``us-gov-west-1`` is ``usgw1``.
    """
    named = _REGION.fullmatch(region)
    if named is None:
        return f"{region}-az1"
    place, within, side, number = named.groups()
    short = "".join(_SIDES[word] for word in _SIDE.findall(side))
    return f"{place}{(within or '')[:1]}{short}{number}-az1"
