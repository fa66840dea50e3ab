"""The conversation with one runtime process, as a table. Absent means refused.

Both framings, HTTP and frames, go through one state machine per runtime process, so that a process
that uses both at once can neither answer twice nor answer without an invocation.

    initializing ──next──► ready ──invoke──► invoking ──response/error──► answered ──next──► ready
         ├─snapshotted─► snapshotted (a template's)
         └─init_error──► failed                 └─stream──► streaming ──end/error──►▲
                                                             ▲└part┘
"""

from __future__ import annotations

from typing import Final

MOVES: Final[dict[tuple[str, str], str]] = {
    ("initializing", "next"): "ready",
    ("initializing", "init_error"): "failed",
    ("initializing", "snapshotted"): "snapshotted",
    ("ready", "next"): "ready",  # the runtime polls again after its connection broke
    ("ready", "invoke"): "invoking",
    ("invoking", "response"): "answered",
    ("invoking", "error"): "answered",
    ("invoking", "stream"): "streaming",
    ("streaming", "part"): "streaming",
    ("streaming", "end"): "answered",
    ("streaming", "error"): "answered",  # it broke off
    ("answered", "next"): "ready",
}


class ProtocolViolation(Exception):
    """A step that the runtime may not take in the present state."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"{event} is not allowed in state {state}")
        self.state = state
        self.event = event


class Conversation:
    """The state of one runtime process."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = "initializing"

    def move(self, event: str) -> None:
        """Go to the next state. Raises ProtocolViolation, and stays, if the table has none."""
        try:
            self.state = MOVES[self.state, event]
        except KeyError:
            raise ProtocolViolation(self.state, event) from None
