"""The URLs under which the platform is reached."""

from __future__ import annotations

import pytest

from boda.core.urls import InsideEndpoint, PublicUrl


@pytest.mark.parametrize(
    ("text", "shown", "port"),
    [
        ("http://boda.example:4566", "http://boda.example:4566", 4566),
        ("http://Boda.Example/", "http://boda.example", 80),
        ("https://boda.example", "https://boda.example", 443),
        ("http://10.0.0.7:80", "http://10.0.0.7", 80),
        ("http://[2001:db8::7]:4566", "http://[2001:db8::7]:4566", 4566),
    ],
)
def test_a_public_url(text: str, shown: str, port: int) -> None:
    url = PublicUrl.parse(text)
    assert (str(url), url.port) == (shown, port)


@pytest.mark.parametrize(
    "text",
    ["", "boda.example", "boda.example:4566", "ftp://boda.example", "http://", "http://:80",
     "http://a:b", "http://a:99999", "http://a:0", "http://u@a", "http://a/path", "http://a?q",
     "http://a#f", "http://[::1", "http://a b", "http://-*-"],
)  # fmt: skip
def test_what_is_no_public_url_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no URL like|says more than|is not a host name"):
        PublicUrl.parse(text)


@pytest.mark.parametrize(
    ("port", "public", "inside"),
    [
        (4566, None, InsideEndpoint()),
        (8080, None, InsideEndpoint("http://127.0.0.1:8080", "127.0.0.1", 8080)),
        (8080, "http://boda.example",
         InsideEndpoint("http://boda.example", "127.0.0.1", 80, "boda.example")),
        (8080, "http://10.0.0.7:4566", InsideEndpoint("http://10.0.0.7:4566", "10.0.0.7", 4566)),
        # No TLS and no IPv6 inside.
        (8080, "https://boda.example", InsideEndpoint("http://127.0.0.1:8080", "127.0.0.1", 8080)),
        (8080, "http://[::7]", InsideEndpoint("http://127.0.0.1:8080", "127.0.0.1", 8080)),
        # The Runtime API has its port to itself.
        (9001, None, InsideEndpoint()),
        (8080, "http://boda.example:9001",
         InsideEndpoint("http://127.0.0.1:8080", "127.0.0.1", 8080)),
    ],
)  # fmt: skip
def test_where_functions_find_aws(port: int, public: str | None, inside: InsideEndpoint) -> None:
    url = PublicUrl.parse(public) if public else None
    assert InsideEndpoint.of(port, url, taken=9001) == inside
