"""AWS Signature Version 4, pure: from a request to the bytes that are signed.

Law of this file: it has no keys and no callers, reads no clock and raises no AwsError. The meaning
of a request is signed, so it must be read here as the rest of the gateway reads it: the query is
decoded with ``+`` as a space, repeated headers are joined with commas.

Source: AWS, "Create a signed AWS API request"; "Signature calculations … using chunked upload".
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
ALGORITHM_V4A = "AWS4-ECDSA-P256-SHA256"
TERMINATOR = "aws4_request"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def canonical_uri(path: str) -> str:
    """Return the path for every service but S3: dot segments and doubled slashes resolved, then
    encoded again."""
    if "//" in path or "/." in path:
        path = _without_dots(path)
    return quote(path or "/", safe="/~")


def canonical_uri_s3(path: str) -> str:
    """Return the path for S3, whose key is kept: decoded once, encoded once, never normalised."""
    return quote(unquote_to_bytes(path), safe="/~") if path else "/"


def canonical_query(query: str, without: str = "") -> str:
    """Return all names and values decoded, encoded and sorted; ``without`` names one to leave
    out."""
    if not query:
        return ""
    pairs = []
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        name = _encoded(name)
        if without and name == without:
            continue
        pairs.append((name, _encoded(value)))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """Return the text to sign. scope: ``date/region/service/aws4_request``."""
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


class Signer:
    """Signs with one key of at most 64 bytes, which is hashed once.

    HMAC by hand (RFC 2104): ``hmac.digest`` would look its algorithm up in OpenSSL each time, which
    in a process with several threads takes ten times as long as the hashing, and ``hmac.HMAC`` is
    copied in Python.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block)).copy
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block)).copy

    def sign(self, text: str) -> str:
        inner = self._inner()
        inner.update(text.encode("utf-8", "surrogateescape"))
        outer = self._outer()
        outer.update(inner.digest())
        return outer.hexdigest()


class Canonical:
    """Canonical requests that differ only in their headers' values and payload.

    uris: the forms in which clients may sign their path.
    """

    __slots__ = ("_forms", "_names")

    def __init__(
        self, method: str, uris: Iterable[str], query: str, signed: Collection[str]
    ) -> None:
        names = [name.replace("%", "%%") for name in signed]
        headers = "".join([f"{name}:%s\n" for name in names])
        rest = f"{headers}\n{';'.join(names)}\n%s"
        befores = [f"{method}\n{uri}\n{query}\n".replace("%", "%%") for uri in uris]
        self._forms = tuple(before + rest for before in befores)
        self._names = tuple(signed)

    def requests(self, headers: Mapping[str, str], payload_hash: str) -> list[str]:
        """Return one canonical request for each form of the path.

        headers: their values ``trimmed``. Raises KeyError for a signed one that is absent.
        """
        values = (*map(headers.__getitem__, self._names), payload_hash)
        return [form % values for form in self._forms]


def trimmed(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the values of headers as they are signed; empty for absent ones."""
    return {name: _trimmed(headers.get(name, "")) for name in names}


class ChunkSignatures:
    """The chain of signatures over the chunks of a streamed upload.

    seed: the request's own signature, from which the chain starts.
    """

    __slots__ = ("_prefix", "_previous", "_signer")

    def __init__(self, signer: Signer, timestamp: str, scope: str, seed: str) -> None:
        self._signer = signer
        self._prefix = f"{timestamp}\n{scope}\n"
        self._previous = seed

    def chunk(self, sha256: str, claimed: str) -> bool:
        """Return whether the next chunk, whose data has that hash, is signed as claimed."""
        return self._next(
            f"AWS4-HMAC-SHA256-PAYLOAD\n{self._prefix}{self._previous}\n{EMPTY_SHA256}\n{sha256}",
            claimed,
        )

    def trailer(self, sha256: str, claimed: str) -> bool:
        """Return whether the trailing headers, whose canonical lines have that hash, are signed as
        claimed."""
        return self._next(
            f"AWS4-HMAC-SHA256-TRAILER\n{self._prefix}{self._previous}\n{sha256}", claimed
        )

    def _next(self, text: str, claimed: str) -> bool:
        self._previous = self._signer.sign(text)
        return hmac.compare_digest(self._previous.encode(), claimed.encode("utf-8", "replace"))


@lru_cache(maxsize=256)
def seconds(timestamp: str) -> int:
    """Convert ``20150830T123600Z`` to seconds since the epoch. Raises ValueError if it is no such
    time."""
    if len(timestamp) != 16 or timestamp[8] != "T" or timestamp[15] != "Z":
        raise ValueError(timestamp)
    digits = timestamp[:8] + timestamp[9:15]
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(timestamp)
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
    hour, minute, second = int(digits[8:10]), int(digits[10:12]), int(digits[12:14])
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(timestamp)
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError(timestamp)
    return calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))


def timestamp_of_date(value: str) -> str:
    """Convert a ``Date`` header, in either of its forms, to a timestamp. Raises ValueError."""
    try:
        seconds(value)
    except ValueError:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        value = moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        seconds(value)
    return value


def _trimmed(value: str) -> str:
    if "  " in value or "\t" in value or "\n" in value:
        return " ".join(value.split())
    return value.strip()


def _encoded(text: str) -> str:
    if text.isalnum() and text.isascii():
        return text
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="")


def _without_dots(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment and segment != ".":
            kept.append(segment)
    tail = "/" if path.endswith("/") and kept else ""
    return "/" + "/".join(kept) + tail
