"""Convert numbers, booleans, blobs and timestamps between their wire forms and Python.

Readers raise MalformedInput, whose reason each protocol puts into AWS's words and codes.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from boda.core.errors import MalformedInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\Z")
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?"
    r"(?:([Zz])|([+-])(\d\d):?(\d\d))?\Z",
    re.ASCII,
)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_BITS = {"byte": 8, "short": 16, "integer": 32, "long": 64}
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def timestamp_form(shape: Any, default: str) -> str:
    """Return the form of the shape's timestamps: ``iso8601``, ``rfc822`` or ``unixtimestamp``."""
    form: str = shape.serialization.get("timestampFormat", default)
    return form.lower()


def in_range(value: int, type_name: str) -> int:
    """Return the value. Raises MalformedInput if it exceeds the model's integer type."""
    limit = 1 << (_BITS.get(type_name, 64) - 1)
    if -limit <= value < limit:
        return value
    name = "Long" if type_name == "long" else "Integer"
    raise MalformedInput(f"NUMBER_VALUE cannot be converted to {name}", value=str(value)[:64])


def integer_from_text(text: str, type_name: str = "long") -> int:
    text = text.strip()
    if not _INTEGER.match(text):
        name = "Long" if type_name == "long" else "Integer"
        raise MalformedInput(f"STRING_VALUE cannot be converted to {name}", value=text[:64])
    return in_range(int(text), type_name)


def float_from_text(text: str) -> float:
    text = text.strip()
    special = _SPECIAL.get(text)
    if special is not None:
        return special
    if not _FLOAT.match(text):
        raise MalformedInput("STRING_VALUE cannot be converted to Double", value=text[:64])
    return float(text)


def float_to_text(value: float) -> str:
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def boolean_from_text(text: str) -> bool:
    folded = text.strip().lower()
    if folded == "true":
        return True
    if folded == "false":
        return False
    raise MalformedInput("STRING_VALUE cannot be converted to Boolean", value=text[:64])


def blob_from_text(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.strip(), strict_mode=True)
    except (binascii.Error, ValueError):
        raise MalformedInput("Invalid Base64 encoding: the value can not be decoded") from None


def blob_from_pieces(pieces: Iterable[str]) -> bytes:
    """Decode a text that is too long to be decoded at once. Raises MalformedInput."""
    decoded: list[bytes] = []
    kept = ""
    for piece in pieces:
        kept += piece
        # Only the last four characters may be padding: they wait for the next piece.
        whole = max(0, len(kept) - len(kept) % 4 - 4)
        if "=" in kept[:whole]:
            break
        decoded.append(blob_from_text(kept[:whole]))
        kept = kept[whole:]
    decoded.append(blob_from_text(kept))
    return b"".join(decoded)


def blob_to_text(value: Any) -> str:
    if isinstance(value, str):
        value = value.encode()
    return base64.b64encode(value).decode("ascii")


def moment_from_number(value: float) -> datetime:
    """Convert seconds since the epoch, with a fraction, to a datetime in UTC."""
    try:
        return _EPOCH + timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise MalformedInput(f"{str(value)[:40]} can not be converted to a timestamp") from None


def moment_from_text(text: str, form: str) -> datetime:
    """Parse a timestamp. form: ``iso8601``, ``rfc822`` or ``unixtimestamp``, as the model's
    timestampFormat."""
    text = text.strip()
    if form == "unixtimestamp":
        return moment_from_number(float_from_text(text))
    if form == "rfc822":
        return _moment_from_http_date(text)
    return _moment_from_iso(text)


def _moment_from_http_date(text: str) -> datetime:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError, IndexError):
        return _moment_from_iso(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _moment_from_iso(text: str) -> datetime:
    match = _ISO.match(text)
    if not match:
        raise MalformedInput(f"{text[:40]} can not be converted to a timestamp", value=text[:64])
    year, month, day, hour, minute, second, fraction, _, sign, away_h, away_m = match.groups()
    try:
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            min(int(second or 0), 59),  # a leap second has no datetime
            int((fraction or "0").ljust(6, "0")[:6]),
            tzinfo=UTC,
        )
        if sign:
            away = timedelta(hours=int(away_h), minutes=int(away_m))
            moment = moment - away if sign == "+" else moment + away
    except (ValueError, OverflowError):
        raise MalformedInput(f"{text[:40]} can not be converted to a timestamp") from None
    return moment


def as_moment(value: Any) -> datetime:
    """Convert an operation's timestamp: a datetime (naive means UTC) or epoch seconds."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, str):
        return _moment_from_iso(value)
    return _EPOCH + timedelta(seconds=value)


def moment_to_number(value: Any) -> int | float:
    """Return seconds since the epoch, as int if whole, else to the millisecond."""
    seconds = (as_moment(value) - _EPOCH).total_seconds()
    return int(seconds) if seconds.is_integer() else round(seconds, 3)


def moment_to_text(value: Any, form: str, *, millis: bool = False) -> str:
    """Format a timestamp. millis: always write milliseconds in ISO 8601, as S3 does."""
    if form == "unixtimestamp":
        return str(moment_to_number(value))
    if form == "rfc822":
        if isinstance(value, str):
            return value  # kept as the client wrote it: S3's Expires may be any text
        at = as_moment(value)
        day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
        return f"{day}, {at.day:02} {month} {at.year:04} {_clock(at)} GMT"
    at = as_moment(value)
    text = f"{at.year:04}-{at.month:02}-{at.day:02}T{_clock(at)}"
    if at.microsecond or millis:
        text += f".{at.microsecond // 1000:03}"
    return text + "Z"


def _clock(at: datetime) -> str:
    return f"{at.hour:02}:{at.minute:02}:{at.second:02}"  # strftime takes five times as long
