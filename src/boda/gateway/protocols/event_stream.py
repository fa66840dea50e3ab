"""``application/vnd.amazon.eventstream``: the framing of messages, pure.

    total length (4) | headers' length (4) | CRC-32 of these eight bytes (4)
    headers | payload | CRC-32 of everything before (4)

All numbers are big-endian. A header is its name's length (1), its name, its type (1) and its
value. https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"
MAX_MESSAGE_BYTES = 24 * 1024 * 1024
MAX_HEADERS_BYTES = 128 * 1024
_OVERHEAD = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBERS = {2: (">b", 1), 3: (">h", 2), 4: (">i", 4), 5: (">q", 8)}


class CorruptMessage(ValueError):
    """The bytes are not a message: a length or checksum is wrong."""


@dataclass(frozen=True, slots=True)
class SizedInteger:
    """An integer header of a given width: 1, 2, 4 or 8 bytes; a plain int is written in 4."""

    value: int
    width: int


@dataclass(slots=True)
class EventStreamMessage:
    """headers: bool, int, bytes, str, datetime or UUID by name."""

    headers: dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""


def encode(headers: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """Return one message. Raises ValueError if it would be larger than the format allows."""
    block = b"".join(_encode_header(name, value) for name, value in headers.items())
    total = _OVERHEAD + len(block) + len(payload)
    if total > MAX_MESSAGE_BYTES or len(block) > MAX_HEADERS_BYTES:
        raise ValueError(f"an event of {total} bytes is larger than {MAX_MESSAGE_BYTES}")
    prelude = struct.pack(">II", total, len(block))
    head = prelude + struct.pack(">I", crc32(prelude)) + block
    return b"".join((head, payload, struct.pack(">I", crc32(payload, crc32(head)))))


class Decoder:
    """Takes bytes as they arrive and returns whole messages. Raises CorruptMessage."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """The bytes of an incomplete message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[EventStreamMessage]:
        self._buffer += data
        while len(self._buffer) >= 12:
            total, headers_length, checksum = struct.unpack_from(">III", self._buffer)
            if crc32(self._buffer[:8]) != checksum:
                raise CorruptMessage("the prelude's checksum does not match")
            if headers_length > MAX_HEADERS_BYTES or not (
                _OVERHEAD + headers_length <= total <= MAX_MESSAGE_BYTES
            ):
                raise CorruptMessage("the prelude's lengths are not possible")
            if len(self._buffer) < total:
                return
            message = bytes(self._buffer[:total])
            del self._buffer[:total]
            yield _decode(message, headers_length)


def _decode(message: bytes, headers_length: int) -> EventStreamMessage:
    (checksum,) = struct.unpack_from(">I", message, len(message) - 4)
    if crc32(message[:-4]) != checksum:
        raise CorruptMessage("the message's checksum does not match")
    payload_at = 12 + headers_length
    return EventStreamMessage(_decode_headers(message[12:payload_at]), message[payload_at:-4])


def _encode_header(name: str, value: Any) -> bytes:
    encoded = name.encode()
    if not 1 <= len(encoded) <= 255:
        raise ValueError("a header's name has 1 to 255 bytes")
    return bytes((len(encoded),)) + encoded + _encode_value(value)


def _encode_value(value: Any) -> bytes:
    if value is True or value is False:
        return b"\x00" if value else b"\x01"
    if isinstance(value, SizedInteger):
        code = {1: 2, 2: 3, 4: 4, 8: 5}[value.width]
        return bytes((code,)) + struct.pack(_NUMBERS[code][0], value.value)
    if isinstance(value, int):
        return b"\x04" + struct.pack(">i", value)
    if isinstance(value, bytes | str):
        data = value.encode() if isinstance(value, str) else value
        return (
            (b"\x07" if isinstance(value, str) else b"\x06") + struct.pack(">H", len(data)) + data
        )
    if isinstance(value, datetime):
        return b"\x08" + struct.pack(">q", (value - _EPOCH) // timedelta(milliseconds=1))
    if isinstance(value, uuid.UUID):
        return b"\x09" + value.bytes
    raise TypeError(f"{type(value).__name__} is no header value")


def _decode_headers(block: bytes) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    at = 0
    try:
        while at < len(block):
            length = block[at]
            name = block[at + 1 : at + 1 + length].decode()
            value, at = _decode_value(block, at + 1 + length)
            headers[name] = value
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError):
        raise CorruptMessage("a header can not be read") from None
    if at != len(block):
        raise CorruptMessage("a header can not be read")
    return headers


def _decode_value(block: bytes, at: int) -> tuple[Any, int]:
    code = block[at]
    at += 1
    if code in (0, 1):
        return code == 0, at
    if code in _NUMBERS:
        form, width = _NUMBERS[code]
        return struct.unpack_from(form, block, at)[0], at + width
    if code in (6, 7):
        (length,) = struct.unpack_from(">H", block, at)
        data = block[at + 2 : at + 2 + length]
        return (data if code == 6 else data.decode()), at + 2 + length
    if code == 8:
        (millis,) = struct.unpack_from(">q", block, at)
        return _EPOCH + timedelta(milliseconds=millis), at + 8
    if code == 9:
        if at + 16 > len(block):
            raise CorruptMessage("a header can not be read")
        return uuid.UUID(bytes=block[at : at + 16]), at + 16
    raise CorruptMessage(f"{code} is no header type")
