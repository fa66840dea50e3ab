"""Metadata that is not ASCII: encoded words, as in headers (RFC 2047). Pure.

Recorded from S3: words that arrive encoded are stored decoded; a value that cannot stand in a
header as it is leaves as one encoded word, in Q if most of its characters are printable ASCII, in B
otherwise.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import quopri
import re

_WORD = re.compile(r"=\?utf-8\?([bq])\?([^? ]*)\?=", re.IGNORECASE)
_SPECIAL = frozenset(b"=_?")


def decoded(value: str) -> str:
    """Return a header's value as text: raw UTF-8 read as such, encoded words decoded.

    value: one character for each byte of the header, as HTTP heads are read.
    """
    if not value.isascii():
        # Text already, from a query string, and bytes that are no UTF-8 stay as they are.
        with contextlib.suppress(UnicodeError):
            value = value.encode("latin-1").decode()
    return _WORD.sub(_decode, value) if "=?" in value else value


def _decode(word: re.Match[str]) -> str:
    coding, text = word[1].lower(), word[2]
    if coding == "q":
        raw = quopri.decodestring(text.encode(), header=True)
    else:
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            return word[0]
    return raw.decode(errors="replace")


def encoded(value: str) -> str:
    """Return the value in the form of an answer's header."""
    plain = sum(map(_is_plain, value))
    if plain == len(value):
        return value
    raw = value.encode(errors="replace")
    if plain <= len(value) - plain:
        return f"=?UTF-8?B?{base64.b64encode(raw).decode()}?="
    return f"=?UTF-8?Q?{''.join(map(_quoted, raw))}?="


def _is_plain(character: str) -> bool:
    return " " <= character <= "~" or character == "\t"


def _quoted(byte: int) -> str:
    if byte == 0x20:
        return "_"
    if 0x21 <= byte <= 0x7E and byte not in _SPECIAL:
        return chr(byte)
    return f"={byte:02X}"
