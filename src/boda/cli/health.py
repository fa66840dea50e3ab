"""The health that a running boda reports."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def health_of(endpoint: str) -> dict[str, Any] | None:
    """Return ``/_boda/health`` of an endpoint; None if no boda answers."""
    # This machine's own address: no proxy of the environment reaches it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{endpoint.rstrip('/')}/_boda/health", timeout=5) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "status" in found else None
