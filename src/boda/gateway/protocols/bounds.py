"""How many members and values the body of an operation may have before its parser stops.

Bounds are wider than the limits of an operation: a body that is a little too long is parsed and
refused by validation, in AWS's words.
"""

from __future__ import annotations

from collections.abc import Iterator

from botocore.model import OperationModel, Shape

from boda.core.bounds import UNTOLD, VALUES_EACH, Bounds

_LEAST, _MOST = 1_000, 20_000


def of_list(longest: int) -> Bounds:
    """Return the bounds of an operation that takes lists of up to ``longest`` members."""
    members = min(max(2 * longest, _LEAST), _MOST)
    return Bounds(members, members * VALUES_EACH)


def of_operation(op: OperationModel) -> Bounds:
    """Return the bounds for the longest list or map of the operation's input."""
    if op.input_shape is None:
        return of_list(0)
    return of_list(max(_lengths(op.input_shape, set()), default=0))


def _lengths(shape: Shape, seen: set[str]) -> Iterator[int]:
    if shape.name in seen:
        return
    seen.add(shape.name)
    if shape.type_name in ("list", "map"):
        yield int(shape.metadata.get("max", UNTOLD // 2))
        if shape.type_name == "list":
            yield from _lengths(shape.member, seen)
        else:
            yield from _lengths(shape.value, seen)
    elif shape.type_name == "structure":
        for member in shape.members.values():
            yield from _lengths(member, seen)
