"""How many members and values a request body may have before its parser stops.

Law of this file: a parser builds nothing beyond its bounds, so that what a body costs is known
before it is read. Bounds are wider than what an operation accepts: what is a little too long is
parsed and refused by validation, in AWS's words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from botocore.model import OperationModel, Shape

from boda.gateway.protocols.scalars import Malformed

_UNTOLD = 10_000
"""The longest list that the model does not bound."""
_LEAST, _MOST = 1_000, 20_000
_VALUES_EACH = 16


class Bounds(NamedTuple):
    """members: of one list, map or structure. values: of all together, keys not counted."""

    members: int = _UNTOLD
    values: int = _UNTOLD * _VALUES_EACH

    def exceeded(self) -> Malformed:
        return Malformed("The request body has more members than the operation takes")


DEFAULT = Bounds()


def of_list(longest: int) -> Bounds:
    """The bounds of an operation that takes lists of up to ``longest`` members."""
    members = min(max(2 * longest, _LEAST), _MOST)
    return Bounds(members, members * _VALUES_EACH)


def of_operation(op: OperationModel) -> Bounds:
    """The bounds that the longest list or map of the operation's input asks for."""
    if op.input_shape is None:
        return of_list(0)
    return of_list(max(_lengths(op.input_shape, set()), default=0))


def _lengths(shape: Shape, seen: set[str]) -> Iterator[int]:
    if shape.name in seen:
        return
    seen.add(shape.name)
    if shape.type_name in ("list", "map"):
        yield int(shape.metadata.get("max", _UNTOLD // 2))
        if shape.type_name == "list":
            yield from _lengths(shape.member, seen)
        else:
            yield from _lengths(shape.value, seen)
    elif shape.type_name == "structure":
        for member in shape.members.values():
            yield from _lengths(member, seen)
