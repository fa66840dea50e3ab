"""The post office: finds the carrier for a target by the service in its ARN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.delivery.contract import Source


@dataclass(frozen=True, slots=True)
class Attribute:
    """A message attribute. kind: ``String`` or ``Number``."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Letter:
    """What a carrier takes. event: JSON.

    attributes: for targets that have message attributes. name: for targets that keep things by
    name, such as buckets. subject, resources: what an event bus shows as ``detail-type`` and
    ``resources`` of the event whose ``detail`` this is.
    """

    event: bytes
    source: Source
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""
    subject: str = ""
    resources: tuple[str, ...] = ()


class Carrier(Protocol):
    """Brings events to the targets of one service."""

    def may_deliver(self, target_arn: str, source: Source) -> bool:
        """Whether the target exists and its policy lets the source post to it."""

    async def carry(self, target_arn: str, letter: Letter) -> str:
        """Return a request id once the event is durable at the target. AwsError."""


class Post:
    """Carriers by service (``lambda``, ``sqs``, ``sns``, ``events``)."""

    def __init__(self) -> None:
        self._carriers: dict[str, Carrier] = {}

    def add(self, service: str, carrier: Carrier) -> None:
        """From now on the carrier takes what is for this service."""
        self._carriers[service] = carrier

    def can_deliver(self, target_arn: str) -> bool:
        return self._find(target_arn) is not None

    def may_deliver(self, target_arn: str, source: Source) -> bool:
        carrier = self._find(target_arn)
        return carrier is not None and carrier.may_deliver(target_arn, source)

    async def deliver(self, target_arn: str, event: bytes, source: Source) -> str:
        return await self.send(target_arn, event, source, {})

    async def send(
        self,
        target_arn: str,
        event: bytes,
        source: Source,
        attributes: Mapping[str, Attribute],
        *,
        name: str = "",
        subject: str = "",
        resources: tuple[str, ...] = (),
    ) -> str:
        """The same with what else a ``Letter`` may say."""
        carrier = self._find(target_arn)
        if carrier is None:
            raise AwsError(
                "InvalidParameterValueException",
                f"Nothing here delivers events to {target_arn} yet.",
                400,
            )
        return await carrier.carry(
            target_arn, Letter(event, source, attributes, name, subject, resources)
        )

    def _find(self, target_arn: str) -> Carrier | None:
        try:
            return self._carriers.get(Arn.parse(target_arn).service)
        except ValueError:
            return None
