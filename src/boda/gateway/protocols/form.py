"""How a service departs from its protocol on the wire: data of its dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.model import ServiceModel

if TYPE_CHECKING:
    from boda.gateway.protocols.protocol import Protocol


@dataclass(frozen=True, slots=True, eq=False)
class WireForm:
    """kind: a protocol of the service's own in place of its model's. error_codes: by the name of an
    error's shape, its code on the wire if the model lacks it. blob_types: by operation, the content
    type of an answer that is a blob."""

    kind: Callable[[ServiceModel, WireForm], Protocol] | None = None
    error_codes: Mapping[str, str] = field(default_factory=dict)
    blob_types: Mapping[str, str] = field(default_factory=dict)


USUAL = WireForm()
