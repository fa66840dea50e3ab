"""The post office: finds the adapter for a target by the service in its ARN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.delivery.contract import EventSource


@dataclass(frozen=True, slots=True)
class MessageAttribute:
    """A message attribute. kind: ``String`` or ``Number``."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way to a target. event: JSON.

    attributes: for targets that have message attributes. name: for targets that store objects by
    name, such as buckets. subject, resources: ``detail-type`` and ``resources`` of the event on an
    event bus, which has this event as its ``detail``.
    """

    event: bytes
    source: EventSource
    attributes: Mapping[str, MessageAttribute] = field(default_factory=dict)
    name: str = ""
    subject: str = ""
    resources: tuple[str, ...] = ()


class TargetAdapter(Protocol):
    """Delivers messages to the targets of one service."""

    def may_deliver(self, target_arn: str, source: EventSource) -> bool:
        """Return whether the target exists and its policy allows the source to post to it."""

    async def deliver(self, target_arn: str, message: Message) -> str:
        """Return a request id once the message is durable at the target. Raises AwsError."""


class LocalPostOffice:
    """Delivers through the adapter of the target's service (``lambda``, ``s3`` …)."""

    def __init__(self) -> None:
        self._adapters: dict[str, TargetAdapter] = {}

    def add(self, service: str, adapter: TargetAdapter) -> None:
        """Deliver to the service's targets through the adapter from now on."""
        self._adapters[service] = adapter

    def can_deliver(self, target_arn: str) -> bool:
        return self._find(target_arn) is not None

    def may_deliver(self, target_arn: str, source: EventSource) -> bool:
        adapter = self._find(target_arn)
        return adapter is not None and adapter.may_deliver(target_arn, source)

    async def deliver(self, target_arn: str, event: bytes, source: EventSource) -> str:
        return await self.send(target_arn, event, source, {})

    async def send(
        self,
        target_arn: str,
        event: bytes,
        source: EventSource,
        attributes: Mapping[str, MessageAttribute],
        *,
        name: str = "",
        subject: str = "",
        resources: tuple[str, ...] = (),
    ) -> str:
        """Deliver an event with further members of a ``Message``."""
        adapter = self._find(target_arn)
        if adapter is None:
            raise AwsError(
                "InvalidParameterValueException",
                f"Nothing here delivers events to {target_arn} yet.",
                400,
            )
        return await adapter.deliver(
            target_arn, Message(event, source, attributes, name, subject, resources)
        )

    def _find(self, target_arn: str) -> TargetAdapter | None:
        try:
            return self._adapters.get(Arn.parse(target_arn).service)
        except ValueError:
            return None
