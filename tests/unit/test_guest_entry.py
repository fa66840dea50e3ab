"""What the runtime process finds in its environment."""

from __future__ import annotations

import pytest

from boda.guest.entry import with_ports

LISTENING = [("127.0.0.1", 41001), ("127.0.0.1", 41002)]


@pytest.mark.parametrize(
    ("url", "given", "found"),
    [
        ("http://127.0.0.1:4566", "127.0.0.1:9001", "127.0.0.1:41001"),
        ("http://127.0.0.1:4566", "http://127.0.0.1:4566", "http://127.0.0.1:41002"),
        ("http://127.0.0.1:4566", "http://127.0.0.1:4566/a", "http://127.0.0.1:41002/a"),
        ("http://127.0.0.1:4566", "http://127.0.0.1:45660", "http://127.0.0.1:45660"),
        ("http://127.0.0.1:4566", "127.0.0.1:90010", "127.0.0.1:90010"),
        ("http://localhost", "localhost:5432", "localhost:5432"),
        ("http://localhost", "http://localhost:5432", "http://localhost:5432"),
        ("http://localhost", "http://localhost.example", "http://localhost.example"),
        ("http://localhost", "http://localhost/x", "http://127.0.0.1:41002/x"),
    ],
)
def test_only_whole_addresses_are_replaced(url: str, given: str, found: str) -> None:
    assert with_ports({"V": given}, ["127.0.0.1:9001", url], LISTENING) == {"V": found}
