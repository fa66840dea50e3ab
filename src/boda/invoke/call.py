"""Calls of functions, as the rooms above make them."""

from __future__ import annotations

from typing import Protocol

from boda.runtime.call import Call, Done, Outcome

__all__ = ["Call", "Done", "InvokePath", "Outcome"]


class InvokePath(Protocol):
    """Runs calls."""

    async def invoke(self, call: Call) -> Outcome:
        """Return the outcome, a function's own failure included. Raises AwsError if the call could
        not be run."""
