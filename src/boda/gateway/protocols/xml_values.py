"""XML: a parser that expands nothing, and the shapes' readers and writers over it.

The parser refuses every document type declaration, so that neither entities nor external documents
are ever read, and it bounds the depth. Namespaces are not resolved: AWS's services match local
names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.parsers import expat

from botocore.model import Shape

from boda.core.bounds import DEFAULT, Bounds
from boda.core.errors import MalformedInput
from boda.gateway.protocols.scalars import (
    blob_from_text,
    blob_to_text,
    boolean_from_text,
    float_from_text,
    float_to_text,
    integer_from_text,
    moment_from_text,
    moment_to_text,
    timestamp_form,
)

_MAX_DEPTH = 128
_STEP = 64 * 1024
_ESCAPED = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}

ReadNode = Callable[["Node"], Any]
ReadText = Callable[[str], Any]
Emit = Callable[[list[str], str, Any], None]
"""Writes one element: the parts to append to, its name, its value."""


class Node:
    """An element: its name without prefix, attributes as written, children and text."""

    __slots__ = ("attributes", "children", "name", "parts")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Node] = []
        self.parts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def named(self, name: str) -> Node | None:
        return next((child for child in self.children if child.name == name), None)


def parse(document: bytes, bounds: Bounds = DEFAULT) -> Node:
    """Return the document's root element. Raises MalformedInput.

    The document is fed in steps, so that other threads run in between, and no further than its
    bounds; a tag or comment that is longer than two steps is refused.
    """
    stack: list[Node] = [Node("", {})]
    left = bounds.values

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal left
        if len(stack) > _MAX_DEPTH:
            raise MalformedInput("The document is nested too deeply")
        node = Node(name.rpartition(":")[2], attributes)
        siblings = stack[-1].children
        left -= 1
        if left < 0 or len(siblings) >= bounds.members:
            raise bounds.exceeded()
        siblings.append(node)
        stack.append(node)

    def end(_: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].parts.append(data)

    def refuse(*_: Any) -> None:
        raise MalformedInput("Document type declarations are not allowed")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        for at in range(0, len(document), _STEP):
            parser.Parse(document[at : at + _STEP], False)
            if at - parser.CurrentByteIndex > _STEP:
                raise MalformedInput("The document has a tag that is too long")
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError):
        raise MalformedInput("The document is not well-formed") from None
    return stack[0].children[0]


def escape(text: str) -> str:
    """Return text for content or attribute; control characters as references, as S3 writes them."""
    return _ESCAPED.sub(lambda found: _NAMED.get(found[0]) or f"&#x{ord(found[0]):x};", text)


def text_reader(shape: Shape, default_timestamp: str = "iso8601") -> ReadText:
    """Return a reader of one scalar's text. It raises MalformedInput."""
    kind = shape.type_name
    if kind in ("integer", "long", "short", "byte"):
        return lambda text: integer_from_text(text, kind)
    if kind in ("float", "double"):
        return float_from_text
    if kind == "boolean":
        return boolean_from_text
    if kind == "blob":
        return blob_from_text
    if kind == "timestamp":
        form = timestamp_form(shape, default_timestamp)
        return lambda text: moment_from_text(text, form)
    return lambda text: text


def text_writer(
    shape: Shape, default_timestamp: str = "iso8601", *, millis: bool = False
) -> Callable[[Any], str]:
    kind = shape.type_name
    if kind in ("integer", "long", "short", "byte"):
        return lambda value: str(int(value))
    if kind in ("float", "double"):
        return float_to_text
    if kind == "boolean":
        return lambda value: "true" if value else "false"
    if kind == "blob":
        return blob_to_text
    if kind == "timestamp":
        form = timestamp_form(shape, default_timestamp)
        return lambda value: moment_to_text(value, form, millis=millis)
    return str


class XmlReader:
    """Compiles shapes into readers of elements. Readers raise MalformedInput."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[Any, ...], ReadNode] = {}

    def reader(self, shape: Shape) -> ReadNode:
        key = (shape.name, shape.serialization.get("timestampFormat"))
        found = self._compiled.get(key)
        if found is None:
            self._compiled[key] = lambda node: self._compiled[key](node)
            found = self._compiled[key] = self._compile(shape)
        return found

    def members(self, members: Iterable[tuple[str, Shape]]) -> ReadNode:
        """Return a reader of an element that takes the given members and ignores all others."""
        fields: dict[str, tuple[str, str, Any]] = {}
        attributes: dict[str, tuple[str, ReadText]] = {}
        for member, shape in members:
            name = shape.serialization.get("name", member)
            if shape.serialization.get("xmlAttribute"):
                attributes[name] = (member, text_reader(shape))
                attributes.setdefault(name.rpartition(":")[2], attributes[name])
            elif shape.serialization.get("flattened") and shape.type_name == "list":
                item = (member, "list", self.reader(shape.member))
                fields[name] = item
                fields.setdefault(flat_name(member, shape), item)
            elif shape.serialization.get("flattened") and shape.type_name == "map":
                fields[name] = (member, "map", self._entry(shape))
            else:
                fields[name] = (member, "one", self.reader(shape))
                if name == own_traits(shape).get("name"):
                    # The shape's own name, meant for a document's root: some clients use it
                    # for the element, others the member's name.
                    fields.setdefault(member, fields[name])

        def read(node: Node) -> dict[str, Any]:
            output: dict[str, Any] = {}
            for name, text in node.attributes.items():
                attribute = attributes.get(name) or attributes.get(name.rpartition(":")[2])
                if attribute is not None:
                    output[attribute[0]] = attribute[1](text)
            for child in node.children:
                field = fields.get(child.name)
                if field is None:
                    continue
                member, how, convert = field
                try:
                    if how == "one":
                        output[member] = convert(child)
                    elif how == "list":
                        output.setdefault(member, []).append(convert(child))
                    else:
                        key, value = convert(child)
                        output.setdefault(member, {})[key] = value
                except MalformedInput as error:
                    error.place = error.place or child.name
                    raise
            return output

        return read

    def _compile(self, shape: Shape) -> ReadNode:
        kind = shape.type_name
        if kind == "structure":
            return self.members(shape.members.items())
        if kind == "list":
            item = self.reader(shape.member)
            return lambda node: [item(child) for child in node.children]
        if kind == "map":
            entry = self._entry(shape)
            return lambda node: dict(entry(child) for child in node.children)
        read = text_reader(shape)
        return lambda node: read(node.text)

    def _entry(self, shape: Shape) -> Callable[[Node], tuple[str, Any]]:
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        read = self.reader(shape.value)

        def entry(node: Node) -> tuple[str, Any]:
            key, value = node.named(key_name), node.named(value_name)
            if key is None or value is None:
                raise MalformedInput("A map entry needs a key and a value", node.name)
            return key.text, read(value)

        return entry


class XmlWriter:
    """Compiles shapes into writers of elements.

    millis: timestamps always have milliseconds.
    """

    def __init__(self, *, millis: bool = False) -> None:
        self._millis = millis
        self._compiled: dict[tuple[Any, ...], Emit] = {}

    def writer(self, shape: Shape) -> Emit:
        traits = shape.serialization
        key = (
            shape.name,
            traits.get("timestampFormat"),
            traits.get("flattened"),
            _namespace(shape),
        )
        found = self._compiled.get(key)
        if found is None:
            self._compiled[key] = lambda parts, name, value: self._compiled[key](parts, name, value)
            found = self._compiled[key] = self._compile(shape)
        return found

    def members(self, members: Iterable[tuple[str, Shape]]) -> Callable[[list[str], Any], None]:
        """Return a writer of the given members' elements, without an element around them."""
        fields = [
            (member, flat_name(member, shape), self.writer(shape))
            for member, shape in members
            if not shape.serialization.get("xmlAttribute")
        ]

        def write(parts: list[str], value: Any) -> None:
            for member, name, emit in fields:
                item = value.get(member)
                if item is not None:
                    emit(parts, name, item)

        return write

    def _compile(self, shape: Shape) -> Emit:
        kind = shape.type_name
        if kind == "structure":
            return self._structure(shape)
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        convert = text_writer(shape, millis=self._millis)
        opening = _namespace(shape)

        def emit(parts: list[str], name: str, value: Any) -> None:
            parts.append(f"<{name}{opening}>{escape(convert(value))}</{name}>")

        return emit

    def _structure(self, shape: Shape) -> Emit:
        opening = _namespace(shape)
        attributes = [
            (member, part.serialization.get("name", member), text_writer(part))
            for member, part in shape.members.items()
            if part.serialization.get("xmlAttribute")
        ]
        inner = self.members(shape.members.items())

        def emit(parts: list[str], name: str, value: Any) -> None:
            head = f"<{name}{opening}"
            for member, attribute, convert in attributes:
                if value.get(member) is not None:
                    head += f' {attribute}="{escape(convert(value[member]))}"'
            parts.append(head + ">")
            inner(parts, value)
            parts.append(f"</{name}>")

        return emit

    def _list(self, shape: Shape) -> Emit:
        item = self.writer(shape.member)
        if shape.serialization.get("flattened"):

            def emit_flat(parts: list[str], name: str, value: Any) -> None:
                for one in value:
                    item(parts, name, "" if one is None else one)

            return emit_flat
        opening = _namespace(shape)
        inner = shape.member.serialization.get("name", "member")

        def emit(parts: list[str], name: str, value: Any) -> None:
            parts.append(f"<{name}{opening}>")
            for one in value:
                item(parts, inner, "" if one is None else one)
            parts.append(f"</{name}>")

        return emit

    def _map(self, shape: Shape) -> Emit:
        flat = shape.serialization.get("flattened")
        opening = _namespace(shape)
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        write_key = self.writer(shape.key)
        write_value = self.writer(shape.value)

        def emit(parts: list[str], name: str, value: Any) -> None:
            if not flat:
                parts.append(f"<{name}{opening}>")
            for key, one in value.items():
                parts.append(f"<{name}{opening}>" if flat else "<entry>")
                write_key(parts, key_name, key)
                write_value(parts, value_name, "" if one is None else one)
                parts.append(f"</{name}>" if flat else "</entry>")
            if not flat:
                parts.append(f"</{name}>")

        return emit


def own_traits(shape: Shape) -> Mapping[str, Any]:
    """Return the traits of the shape itself, without those that the referring member adds."""
    traits: Mapping[str, Any] = shape._shape_resolver.get_shape_by_name(shape.name).serialization
    return traits


def flat_name(member: str, shape: Shape) -> str:
    """Return the name of a member's element.

    A list whose shape (not the member) is flattened is named by its items, as in old models:
    ``AttributeName`` for ``AttributeNames``.
    """
    name: str = shape.serialization.get("name", member)
    if shape.type_name == "list" and own_traits(shape).get("flattened"):
        name = shape.member.serialization.get("name", name)
    return name


def _namespace(shape: Shape) -> str:
    space = shape.serialization.get("xmlNamespace")
    return namespace_attribute(space) if space else ""


def namespace_attribute(space: Mapping[str, str] | str) -> str:
    if isinstance(space, str):
        space = {"uri": space}
    prefix = f":{space['prefix']}" if space.get("prefix") else ""
    return f' xmlns{prefix}="{escape(space["uri"])}"'
