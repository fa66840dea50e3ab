"""The life of an execution environment, as a table. Absent means refused.

    starting ──started──► init ──ready──► idle ◄──finish── busy
                           │               └───assign──────►▲│
                           └──fail──► stopping ◄────────fail─┘
                                         │
                                      stopped
                                         ▼
                        resetting ◄─assign─ cold ◄──exit── idle
                           ├──ready──► busy
                           └──fail──► stopping

``cold``: the sandbox lives, the runtime in it does not; the next invocation initialises it again
and pays for that, which AWS calls a reset with suppressed init. ``dead`` is final and reached
from everywhere.
"""

from __future__ import annotations

from typing import Final, Literal

State = Literal["starting", "init", "idle", "busy", "stopping", "cold", "resetting", "dead"]

MOVES: Final[dict[tuple[State, str], State]] = {
    ("starting", "started"): "init",
    ("init", "ready"): "idle",
    ("init", "fail"): "stopping",
    ("idle", "assign"): "busy",
    ("idle", "exit"): "cold",
    ("busy", "finish"): "idle",
    ("busy", "fail"): "stopping",
    ("stopping", "stopped"): "cold",
    ("cold", "assign"): "resetting",
    ("resetting", "ready"): "busy",
    ("resetting", "fail"): "stopping",
}
_ALIVE: tuple[State, ...] = (
    "starting", "init", "idle", "busy", "stopping", "cold", "resetting",
)  # fmt: skip
MOVES.update({(state, "destroy"): "dead" for state in _ALIVE})

AVAILABLE: Final = frozenset(("idle", "cold"))
"""States in which an environment may take an invocation."""


class IllegalMove(Exception):
    """The platform tried what the table does not have: a defect."""


def move(state: State, event: str) -> State:
    """The state after the event. IllegalMove."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalMove(f"{event} in state {state}") from None
