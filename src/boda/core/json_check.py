"""Validate large JSON without holding the interpreter's lock.

SQLite's ``json_valid`` parses as RFC 8259 says, in C, and Python's module lets other threads run
meanwhile. A parser that holds the lock stops the event loop for the length of six megabytes of
empty lists; this one does not. The rules that SQLite does not check are checked here: UTF-8, NUL
bytes, and lone surrogates.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

_WINDOW = 64 * 1024
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_ESCAPED = 6
"""Bytes of an escaped surrogate."""


def is_json(document: bytes) -> bool:
    """Return whether a document is JSON. To be called in a thread."""
    if b"\0" in document or (b"\\u" in document and _has_lone_half(document)):
        return False
    try:
        text = document.decode()
    except UnicodeDecodeError:
        return False
    with closing(sqlite3.connect(":memory:")) as database:
        (valid,) = database.execute("SELECT json_valid(?)", (text,)).fetchone()
    return bool(valid)


def _has_lone_half(document: bytes) -> bool:
    # An unpaired backslash begins an escape.
    document = document.replace(rb"\\", b"  ")
    for start in range(0, len(document), _WINDOW):
        stop = start + _WINDOW
        # An escape that begins in the window is checked with the bytes that follow it.
        found = _LONE.search(document, start, stop + 2 * _ESCAPED - 1)
        if found is not None and found.start() < stop:
            return True
    return False
