"""An invocation and its outcome, by the names under which the rooms above know them."""

from __future__ import annotations

from boda.runtime.call import Call, Outcome

__all__ = ["Call", "Outcome"]
