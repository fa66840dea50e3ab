"""No head can mean one thing to the fast path and another to the parser of the general way.

Whatever the fast path reads of arbitrary bytes, llhttp reads just so; whatever it does not read,
llhttp decides alone.
"""

from __future__ import annotations

import httptools
from hypothesis import example, given, settings
from hypothesis import strategies as st

from boda.gateway.http.heads import Heads, request_line


class Seen:
    """What the parser of the general way makes of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.complete = 0
        self.body = b""
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)
        self.method = parser.get_method().decode()
        self.version = parser.get_http_version()
        self.keep_alive = parser.should_keep_alive()
        self.upgrade = parser.should_upgrade()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


WORDS = st.sampled_from(
    [
        *(b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"A", b"Upgrade"),
        *(b": ", b":", b" : ", b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b"\x0b", b"\x80", b","),
        *(b"chunked", b"close", b"keep-alive", b"0", b"5", b"1e1", b"x", b"/", b"//", b"?", b"#"),
        *(b"GET", b"POST", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"%00", b"http://h", b"*"),
    ]
)
NAMES = st.sampled_from([b"A", b"Host", b"Content-Length", b"Connection", b"X-Amz-Date", b"tE"])
VALUES = st.one_of(WORDS, st.binary(max_size=6), st.just(b"keep-alive"), st.just(b"0"))
LINES = st.one_of(
    st.tuples(NAMES, VALUES).map(lambda pair: pair[0] + b": " + pair[1]),
    st.lists(WORDS, max_size=5).map(b"".join),
    st.binary(max_size=12),
)
FIRST = st.one_of(
    st.just(b"POST /a?b HTTP/1.1"),
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"PUT", b"Get"]),
        st.lists(WORDS, max_size=4).map(lambda words: b"/" + b"".join(words)),
    ).map(lambda pair: pair[0] + b" " + pair[1] + b" HTTP/1.1"),
    st.binary(max_size=20).map(lambda more: b"GET /" + more + b" HTTP/1.1"),
)


@settings(max_examples=1500, deadline=None)
@given(FIRST, st.lists(LINES, max_size=5))
@example(b"POST /a HTTP/1.1", [b"Content-Length: 0", b"content-length: 0"])
@example(b"POST /a HTTP/1.1", [b"Transfer-Encoding: chunked"])
@example(b"POST /a HTTP/1.1", [b"Connection: upgrade", b"Upgrade: h2c"])
def test_both_read_the_same(first: bytes, lines: list[bytes]) -> None:
    data = b"\r\n".join([first, *lines]) + b"\r\n\r\n"
    end = data.find(b"\r\n\r\n")
    first, *lines = data[:end].split(b"\r\n")
    asked, headers = request_line(first), Heads().read(lines)
    if asked is None or headers is None:
        return
    size = int(headers.get("content-length", 0))
    if size > 1000:
        return
    seen = Seen(data[: end + 4] + b"x" * size)
    url = httptools.parse_url(seen.url)
    assert asked == (seen.method, url.path.decode(), (url.query or b"").decode())
    assert headers == dict(seen.headers) and len(headers) == len(seen.headers)
    assert (seen.complete, seen.body, seen.version) == (1, b"x" * size, "1.1")
    assert seen.keep_alive and not seen.upgrade
    assert "transfer-encoding" not in headers and "expect" not in headers


def test_lines_that_come_again_are_read_the_same() -> None:
    heads = Heads()
    lines = [b"Host: a", b"X-B:  c"]
    assert heads.read([b"Host: a"]) == heads.read([b"Host: a"]) == {"host": "a"}
    assert heads.read(lines) is None and heads.read(lines) is None
    assert heads.read([b"Host: a", b"Host: a"]) is None
    assert heads.read([]) == {}
