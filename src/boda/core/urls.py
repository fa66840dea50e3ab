"""How a host is spelled in a URL."""

from __future__ import annotations


def in_url(host: str) -> str:
    """The host as others reach it and as a URL spells it."""
    if host in ("0.0.0.0", ""):  # noqa: S104
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
