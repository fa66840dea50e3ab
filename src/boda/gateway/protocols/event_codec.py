"""Convert events of a model's event streams to messages, and messages to events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from botocore.model import Shape

from boda.core.errors import AwsError, MalformedInput
from boda.gateway.http.wire import StreamingBody
from boda.gateway.protocols import event_stream
from boda.gateway.protocols.event_stream import EventStreamMessage, SizedInteger
from boda.gateway.protocols.scalars import as_moment

_WIDTHS = {"byte": 1, "short": 2, "integer": 4, "long": 8}


class EventCodec:
    """Writes and reads the bodies of events in one protocol.

    encode: members of a structure to its bytes. decode: bytes to members; raises MalformedInput.
    """

    def __init__(
        self,
        content_type: str,
        encode: Callable[[Shape, Mapping[str, Any], list[str]], bytes],
        decode: Callable[[Shape, bytes], dict[str, Any]],
    ) -> None:
        self.content_type = content_type
        self.encode = encode
        self.decode = decode

    async def messages(
        self, events: AsyncIterator[Mapping[str, Any]], union: Shape, initial: bytes | None
    ) -> AsyncIterator[bytes]:
        """Yield the stream's bytes. initial: the ``initial-response`` event's body, if it has one.

        An AwsError of the source becomes the stream's last message, since the answer's status and
        headers were sent long before. The source is closed when the client leaves.
        """
        try:
            if initial is not None:
                yield event_stream.encode(self._headers("initial-response"), initial)
            async for event in events:
                for name, members in event.items():
                    yield self.message(name, members, union)
        except AwsError as error:
            yield self._error(error, union)
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()

    def message(self, name: str, members: Mapping[str, Any], union: Shape) -> bytes:
        """Return one event of the stream."""
        shape = union.members[name]
        kind = "exception" if shape.metadata.get("exception") else "event"
        headers = {":message-type": kind, f":{kind}-type": name}
        payload_member = None
        body_members = []
        for member, part in shape.members.items():
            if part.serialization.get("eventheader"):
                if members.get(member) is not None:
                    headers[member] = _header_value(part, members[member])
            elif part.serialization.get("eventpayload"):
                payload_member = member
            else:
                body_members.append(member)
        if payload_member is not None:
            content_type, payload = self._payload(
                shape.members[payload_member], members, payload_member
            )
        elif body_members or not shape.members:
            content_type, payload = self.content_type, self.encode(shape, members, body_members)
        else:
            content_type, payload = "", b""
        if content_type:
            headers[":content-type"] = content_type
        return event_stream.encode(headers, payload)

    async def events(
        self, body: StreamingBody | bytes, union: Shape
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events a client sends, as ``{"EventName": {members}}``.

        Raises AwsError if a frame is damaged. Signed frames are unwrapped; the caller verifies
        their chain of signatures.
        """
        decoder = event_stream.Decoder()
        try:
            if isinstance(body, bytes):
                for message in decoder.feed(body):
                    for event in self._events_of(message, union):
                        yield event
            else:
                async for chunk in body:
                    for message in decoder.feed(chunk):
                        for event in self._events_of(message, union):
                            yield event
        except event_stream.CorruptMessage as error:
            raise AwsError(
                "SerializationException", f"The event stream is damaged: {error}"
            ) from None
        except MalformedInput as error:
            raise AwsError("SerializationException", error.reason) from None
        if decoder.pending:
            raise AwsError("SerializationException", "The event stream ended within a message")

    def _events_of(self, message: EventStreamMessage, union: Shape) -> list[dict[str, Any]]:
        name = message.headers.get(":event-type")
        if name is None and ":date" in message.headers and ":chunk-signature" in message.headers:
            inner = event_stream.Decoder()
            found = [
                event
                for one in inner.feed(message.payload)
                for event in self._events_of(one, union)
            ]
            if inner.pending:
                raise event_stream.CorruptMessage("a signed message holds half a message")
            return found
        shape = union.members.get(name)
        if name is None or shape is None:
            return []
        members: dict[str, Any] = {}
        payload_member = None
        for member, part in shape.members.items():
            if part.serialization.get("eventheader") and member in message.headers:
                members[member] = message.headers[member]
            elif part.serialization.get("eventpayload"):
                payload_member = member
        if payload_member is None:
            return [
                {name: members | (self.decode(shape, message.payload) if message.payload else {})}
            ]
        part = shape.members[payload_member]
        if part.type_name == "blob":
            members[payload_member] = message.payload
        elif part.type_name == "string":
            members[payload_member] = message.payload.decode("utf-8", "replace")
        else:
            members[payload_member] = self.decode(part, message.payload)
        return [{name: members}]

    def _headers(self, event_type: str) -> dict[str, Any]:
        return {
            ":message-type": "event",
            ":event-type": event_type,
            ":content-type": self.content_type,
        }

    def _payload(self, part: Shape, members: Mapping[str, Any], member: str) -> tuple[str, bytes]:
        value = members.get(member)
        if part.type_name == "blob":
            data = value.encode() if isinstance(value, str) else bytes(value or b"")
            return "application/octet-stream", data
        if part.type_name == "string":
            return "text/plain", str(value or "").encode()
        return self.content_type, self.encode(part, value or {}, list(part.members))

    def _error(self, error: AwsError, union: Shape) -> bytes:
        for name, shape in union.members.items():
            if shape.metadata.get("exception") and error.code in (name, shape.name):
                members = dict(error.fields)
                for member in shape.members:
                    if member.lower() == "message":
                        members[member] = error.message
                return self.message(name, members, union)
        return event_stream.encode(
            {
                ":message-type": "error",
                ":error-code": error.code,
                ":error-message": error.message[:8000],
            }
        )


def _header_value(part: Shape, value: Any) -> Any:
    width = _WIDTHS.get(part.type_name)
    if width is not None:
        return SizedInteger(int(value), width)
    if part.type_name == "timestamp":
        return as_moment(value)
    return value
