"""Plain, whole HTTP/1.1 requests, read straight from the bytes of one read of the socket.

Law of this file: the result is always that of the general way's parser (llhttp). A head that could
be read in two ways, or requests more than an answer (``Expect``, ``Upgrade``, chunks, folded lines,
a header twice …), is left to that parser, so that the same bytes never mean two requests.
"""

from __future__ import annotations

import re

MAX_HEAD = 16_384
"""The largest head that is read here, in bytes."""

_REQUEST_LINE = re.compile(
    rb"(DELETE|GET|PATCH|POST|PUT) "
    rb"(/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)"
    rb"(?:\?([A-Za-z0-9._~!$&'()*+,;=:@%/?-]+))? HTTP/1\.1"
)
_VALUE = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
_LINE = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+): (" + _VALUE.pattern + rb")")
_LENGTH = re.compile(r"[0-9]{1,7}")
# Of the connection or of the transfer; and of a protocol whose operation is in its path.
_ELSEWHERE = frozenset(
    {
        *("content-encoding", "expect", "http2-settings", "keep-alive", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
        "smithy-protocol",
    }
)
_REMEMBERED_LINES = 4096
_REMEMBERED_BYTES = 256

Headers = dict[str, str]


def request_line(line: bytes) -> tuple[str, str, str] | None:
    """Return method, raw path and raw query; None if the line is for the general way."""
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        return None
    return found[1].decode(), found[2].decode(), (found[3] or b"").decode()


class Heads:
    """Reads the lines of heads; caches lines that come repeatedly."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, str]] = {}

    def read(self, lines: list[bytes]) -> Headers | None:
        """Return headers by lower-case name; None if one of them is for the general way.

        lines: of a head, without the request line.
        """
        known, learn = self._known, self._learn
        pairs = [known.get(line) or learn(line) for line in lines]
        if None in pairs:
            return None
        headers: Headers = dict(pairs)  # type: ignore[arg-type]
        return headers if len(headers) == len(pairs) else None

    @staticmethod
    def value(line: bytes) -> str | None:
        """Return the value of a line that is a header; None if it is for the general way."""
        if _VALUE.fullmatch(line) is None or b"  " in line:
            return None
        return line.decode("ascii")

    def _learn(self, line: bytes) -> tuple[str, str] | None:
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        name, value = found[1].decode().lower(), found[2].decode()
        if name in _ELSEWHERE or "  " in value:
            return None
        if name == "connection" and value.lower() != "keep-alive":
            return None
        if name == "content-length" and _LENGTH.fullmatch(value) is None:
            return None
        if len(line) <= _REMEMBERED_BYTES:
            if len(self._known) >= _REMEMBERED_LINES:
                # Clients can send lines that never come again.
                self._known.clear()
            self._known[line] = (name, value)
        return name, value
