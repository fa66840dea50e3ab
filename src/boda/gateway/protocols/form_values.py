"""Query-protocol forms: ``Filter.1.Value.2=x`` as parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_plus

from botocore.model import Shape

from boda.core.bounds import DEFAULT, Bounds
from boda.core.errors import MalformedInput
from boda.gateway.protocols.xml_values import text_reader

_MAX_DEPTH = 64

ReadForm = Callable[["FormNode"], Any]


class FormNode:
    """A node of the tree that dotted names span: its own value, if any, and its children."""

    __slots__ = ("children", "value")

    def __init__(self) -> None:
        self.value: str | None = None
        self.children: dict[str, FormNode] = {}

    def numbered(self) -> list[FormNode]:
        """Return the children ``1``, ``2`` … in the order of their numbers."""
        numbers = [(int(name), child) for name, child in self.children.items() if _number(name)]
        return [child for _, child in sorted(numbers, key=lambda pair: pair[0])]


def pairs(text: str, bounds: Bounds = DEFAULT) -> list[tuple[str, str]]:
    """Return the fields of ``a=1&b=2``, percent-decoded. Raises MalformedInput."""
    if text.count("&") >= bounds.values:
        raise bounds.exceeded()
    decoded = []
    for field in text.split("&"):
        if field:
            name, _, value = field.partition("=")
            decoded.append((_decoded(name), _decoded(value)))
    return decoded


def tree(fields: Iterable[tuple[str, str]], bounds: Bounds = DEFAULT) -> FormNode:
    """Return the tree that the fields' names span. Raises MalformedInput."""
    root = FormNode()
    left = bounds.values
    for name, value in fields:
        node = root
        steps = name.split(".", _MAX_DEPTH + 1)
        if len(steps) > _MAX_DEPTH:
            raise MalformedInput("A parameter's name is nested too deeply", name[:64])
        for step in steps:
            child = node.children.get(step)
            if child is None:
                left -= 1
                if left < 0 or len(node.children) >= bounds.members:
                    raise bounds.exceeded()
                child = node.children[step] = FormNode()
            node = child
        node.value = value
    return root


class FormReader:
    """Compiles shapes into readers of forms. Readers raise MalformedInput."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[Any, ...], ReadForm] = {}

    def reader(self, shape: Shape) -> ReadForm:
        traits = shape.serialization
        key = (shape.name, traits.get("timestampFormat"), self.is_flat(shape))
        found = self._compiled.get(key)
        if found is None:
            self._compiled[key] = lambda form: self._compiled[key](form)
            found = self._compiled[key] = self._compile(shape)
        return found

    def members(self, members: Iterable[tuple[str, Shape]]) -> ReadForm:
        fields: dict[str, tuple[str, ReadForm]] = {}
        for member, shape in members:
            for name in self.names(member, shape):
                fields.setdefault(name, (member, self.reader(shape)))

        def read(form: FormNode) -> dict[str, Any]:
            output: dict[str, Any] = {}
            for name, child in form.children.items():
                field = fields.get(name)
                if field is None:
                    continue
                try:
                    output[field[0]] = field[1](child)
                except MalformedInput as error:
                    error.place = f"{name}.{error.place}" if error.place else name
                    raise
            return output

        return read

    def names(self, member: str, shape: Shape) -> list[str]:
        """Return the wire names under which a member may come."""
        name = shape.serialization.get("name", member)
        if shape.type_name == "list" and self.is_flat(shape):
            # Old models name a flattened list by its items' name, and so do clients.
            return [name, shape.member.serialization.get("name", name)]
        return [name]

    def is_flat(self, shape: Shape) -> bool:
        return bool(shape.serialization.get("flattened"))

    def _compile(self, shape: Shape) -> ReadForm:
        kind = shape.type_name
        if kind == "structure":
            return self.members(shape.members.items())
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        convert = text_reader(shape)

        def read(form: FormNode) -> Any:
            if form.value is None:
                raise MalformedInput("Start of structure or map found where not expected.")
            return convert(form.value)

        return read

    def _list(self, shape: Shape) -> ReadForm:
        item = self.reader(shape.member)
        inner = None if self.is_flat(shape) else shape.member.serialization.get("name", "member")

        def read(form: FormNode) -> list[Any]:
            holder = form.children.get(inner, form) if inner is not None else form
            return [item(child) for child in holder.numbered()]

        return read

    def _map(self, shape: Shape) -> ReadForm:
        flat = self.is_flat(shape)
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        convert = self.reader(shape.value)

        def read(form: FormNode) -> dict[str, Any]:
            holder = form if flat else form.children.get("entry", form)
            output = {}
            for entry in holder.numbered():
                key, value = entry.children.get(key_name), entry.children.get(value_name)
                if key is None or key.value is None:
                    raise MalformedInput("A map entry needs a key", key_name)
                output[key.value] = None if value is None else convert(value)
            return output

        return read


class Ec2FormReader(FormReader):
    """EC2's names: queryName, or the capitalised wire name; every list is flat."""

    def names(self, member: str, shape: Shape) -> list[str]:
        query_name = shape.serialization.get("queryName")
        if query_name:
            return [query_name]
        name = shape.serialization.get("name", member)
        return [name[:1].upper() + name[1:]]

    def is_flat(self, shape: Shape) -> bool:
        return shape.type_name == "list" or super().is_flat(shape)


def _number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 9


def _decoded(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise MalformedInput("The request's parameters are not UTF-8") from None
