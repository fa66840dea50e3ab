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

``cold``: the sandbox lives without a runtime process; the next invocation initialises it again and
is billed for that, which AWS calls a reset with suppressed init. ``dead`` is final and reached from
every state.
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
    """The platform tried a move that is not in the table: a defect."""


def move(state: State, event: str) -> State:
    """Return the state after an event. Raises IllegalMove."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalMove(f"{event} in state {state}") from None
