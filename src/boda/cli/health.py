"""What a running boda says of its state."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def health_of(endpoint: str) -> dict[str, Any] | None:
    """``/_boda/health`` of an endpoint; None where no boda answers."""
    # Of this machine: no proxy leads there, whatever the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{endpoint.rstrip('/')}/_boda/health", timeout=5) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "status" in found else None
