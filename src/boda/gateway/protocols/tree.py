"""Parameters and outputs as trees of plain values: the common part of JSON and CBOR.

A shape is compiled once into a function from decoded tree to parameters, or from output to tree;
the differences between the two encodings (blobs, timestamps, special floats) are in the subclasses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from botocore.model import Shape

from boda.core.errors import MalformedInput
from boda.core.large_json import LongText
from boda.gateway.protocols.scalars import float_from_text, in_range

Convert = Callable[[Any], Any]


class InexactInteger(Exception):
    """An integer was decoded into a float and lost digits: decode again, exactly."""


def kind_of(value: Any) -> str:
    """Return Coral's name for a token that it did not expect."""
    if value is True:
        return "TRUE_VALUE"
    if value is False:
        return "FALSE_VALUE"
    if isinstance(value, int | float):
        return "NUMBER_VALUE"
    if isinstance(value, str | LongText):
        return "STRING_VALUE"
    if isinstance(value, bytes):
        return "BINARY_VALUE"
    return "NULL_VALUE" if value is None else "VALUE"


def unexpected(value: Any, wanted: str) -> MalformedInput:
    if isinstance(value, dict):
        return MalformedInput("Start of structure or map found where not expected.")
    if isinstance(value, list):
        return MalformedInput("Start of list found where not expected")
    return MalformedInput(f"{kind_of(value)} cannot be converted to {wanted}")


def wire_name(shape: Shape, member: str) -> str:
    name: str = shape.serialization.get("name", member)
    return name


def is_document(shape: Shape) -> bool:
    return bool(getattr(shape, "is_document_type", False))


class TreeReader:
    """Compiles shapes into readers of decoded trees. Readers raise MalformedInput."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[Any, ...], Convert] = {}

    def reader(self, shape: Shape) -> Convert:
        key = (shape.name, shape.serialization.get("timestampFormat"))
        found = self._compiled.get(key)
        if found is None:
            # A recursive shape reaches itself through this entry while it is being compiled.
            self._compiled[key] = lambda value: self._compiled[key](value)
            found = self._compiled[key] = self._compile(shape)
        return found

    def members(self, members: Iterable[tuple[str, Shape]]) -> Convert:
        """Return a reader of an object that takes the given members and ignores all others."""
        fields = {wire_name(shape, name): (name, self.reader(shape)) for name, shape in members}

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise _not_a_structure(value)
            output = {}
            for wire, item in value.items():
                field = fields.get(wire)
                if field is not None and item is not None:
                    output[field[0]] = field[1](item)
            return output

        return read

    def _compile(self, shape: Shape) -> Convert:
        if is_document(shape):
            return lambda value: value
        kind = shape.type_name
        if kind == "structure":
            return self.members(shape.members.items())
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        if kind in ("integer", "long", "short", "byte"):
            return _integer(kind)
        if kind in ("float", "double"):
            return _float
        if kind == "boolean":
            return _boolean
        if kind == "timestamp":
            return self.timestamp(shape)
        if kind == "blob":
            return self.blob
        return self.text

    def _list(self, shape: Shape) -> Convert:
        item = self.reader(shape.member)

        def read(value: Any) -> list[Any]:
            if type(value) is not list:
                raise _not_a_structure(value)
            return [None if one is None else item(one) for one in value]

        return read

    def _map(self, shape: Shape) -> Convert:
        item = self.reader(shape.value)

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise _not_a_structure(value)
            key_text = self.text
            return {key_text(key): None if one is None else item(one) for key, one in value.items()}

        return read

    def text(self, value: Any) -> str:
        if type(value) is str:
            return value
        raise unexpected(value, "String")

    def timestamp(self, shape: Shape) -> Convert:
        raise NotImplementedError

    def blob(self, value: Any) -> bytes:
        raise NotImplementedError


class TreeWriter:
    """Compiles shapes into writers from outputs to trees. None members are left out."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[Any, ...], Convert] = {}

    def writer(self, shape: Shape) -> Convert:
        key = (shape.name, shape.serialization.get("timestampFormat"))
        found = self._compiled.get(key)
        if found is None:
            self._compiled[key] = lambda value: self._compiled[key](value)
            found = self._compiled[key] = self._compile(shape)
        return found

    def members(self, members: Iterable[tuple[str, Shape]]) -> Convert:
        """Return a writer of the given members of an output; others are not written."""
        fields = [(name, wire_name(shape, name), self.writer(shape)) for name, shape in members]

        def write(value: Any) -> dict[str, Any]:
            tree = {}
            for name, wire, convert in fields:
                item = value.get(name)
                if item is not None:
                    tree[wire] = convert(item)
            return tree

        return write

    def _compile(self, shape: Shape) -> Convert:
        if is_document(shape):
            return lambda value: value
        kind = shape.type_name
        if kind == "structure":
            return self.members(shape.members.items())
        if kind == "list":
            item = self.writer(shape.member)
            return lambda value: [None if one is None else item(one) for one in value]
        if kind == "map":
            item = self.writer(shape.value)
            return lambda value: {
                str(key): None if one is None else item(one) for key, one in value.items()
            }
        if kind in ("integer", "long", "short", "byte"):
            return int
        if kind in ("float", "double"):
            return self.float
        if kind == "boolean":
            return bool
        if kind == "timestamp":
            return self.timestamp(shape)
        if kind == "blob":
            return self.blob
        return str

    def float(self, value: Any) -> Any:
        return float(value)

    def timestamp(self, shape: Shape) -> Convert:
        raise NotImplementedError

    def blob(self, value: Any) -> Any:
        raise NotImplementedError


def _not_a_structure(value: Any) -> MalformedInput:
    if isinstance(value, dict | list):
        return unexpected(value, "")
    return MalformedInput("Unexpected field type")


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise unexpected(value, "Boolean")


def _integer(type_name: str) -> Convert:
    wanted = "Long" if type_name == "long" else "Integer"

    def read(value: Any) -> int:
        if type(value) is int:
            return in_range(value, type_name)
        if type(value) is float and value.is_integer():
            if abs(value) >= 2**53:
                raise InexactInteger
            return in_range(int(value), type_name)
        raise unexpected(value, wanted)

    return read


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise unexpected(value, "Double") from None
    if type(value) is str and value in ("NaN", "Infinity", "-Infinity"):
        return float_from_text(value)
    raise unexpected(value, "Double")
