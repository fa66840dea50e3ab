"""Validate requests against the model, with AWS's messages.

    2 validation errors detected: Value 'x!' at 'qualifier' failed to satisfy constraint: Member
    must satisfy regular expression pattern: [a-z]+; Value null at 'role' failed to …

Most services check required members, enums, patterns, lengths and ranges at any depth, and answer
ValidationException, or ValidationError if their protocol is or was query. A service that differs
declares it in its dialect (``dialect.Validation``).

A checker first answers yes or no, which costs an Invoke a few microseconds; only a request that is
refused is checked again for its messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape

from boda.core.errors import AwsError
from boda.gateway.calling.patterns import matcher
from boda.gateway.dialect import USUAL_VALIDATION, Validation

_NULL = "Member must not be null"
_AFTER_BODY = {"header": 1, "headers": 1, "querystring": 1, "uri": 2}

_MOST_SHOWN = 4096
"""Characters of a value in a message."""
_MOST_SENTENCES = 100

Ok = Callable[[Any], bool]
Explain = Callable[[Any, str, list[str]], None]


class _ShapeRule:
    """The constraints of a shape. ok: whether a value satisfies them. explain: appends the
    sentences."""

    __slots__ = ("explain", "ok")

    def __init__(self, ok: Ok, explain: Explain) -> None:
        self.ok = ok
        self.explain = explain


def validate(params: Mapping[str, Any], shape: Shape) -> None:
    """Check parameters against a shape on its own; a Validator does so faster and by service."""
    rule = _ShapeCompiler(USUAL_VALIDATION).rule(shape)
    if rule is not None and not rule.ok(params):
        sentences: list[str] = []
        rule.explain(params, "", sentences)
        _refuse(sentences, "ValidationException")


class Validator:
    """Checks the requests of one service; caches compiled shapes."""

    def __init__(self, service: ServiceModel, words: Validation = USUAL_VALIDATION) -> None:
        self._words = words
        self._compiler = _ShapeCompiler(words)
        self._queries = service.is_query_compatible or service.resolved_protocol == "query"
        self._rules: dict[str, _ShapeRule | None] = {}
        self._head_rules: dict[str, _ShapeRule | None] = {}

    def check(self, op: OperationModel, params: Mapping[str, Any]) -> None:
        """Check parameters against the operation's model. Raises AwsError (400)."""
        self._check(self.prepare(op), op, params)

    def check_head(self, op: OperationModel, params: Mapping[str, Any]) -> None:
        """Check the parameters that are in path, query string and headers."""
        try:
            rule = self._head_rules[op.name]
        except KeyError:
            rule = self._head_rules[op.name] = self._rule(op, head_only=True)
        self._check(rule, op, params)

    def prepare(self, op: OperationModel) -> _ShapeRule | None:
        """Compile the rule of the operation's parameters, once."""
        try:
            return self._rules[op.name]
        except KeyError:
            rule = self._rules[op.name] = self._rule(op)
            return rule

    def _check(
        self, rule: _ShapeRule | None, op: OperationModel, params: Mapping[str, Any]
    ) -> None:
        if rule is None:
            return
        try:
            if rule.ok(params):
                return
            sentences: list[str] = []
            rule.explain(params, "", sentences)
        except (TypeError, AttributeError, ValueError):
            # Parameters of a call in process have met no parser yet.
            raise AwsError("SerializationException", "A parameter is of the wrong type") from None
        except RecursionError:
            raise AwsError("SerializationException", "A parameter is nested too deeply") from None
        if sentences:
            _refuse(sentences, self._code(op))

    def _rule(self, op: OperationModel, *, head_only: bool = False) -> _ShapeRule | None:
        shape = op.input_shape
        if shape is None:
            return None
        members = [
            (name, member)
            for name, member in shape.members.items()
            if not head_only or member.serialization.get("location")
        ]
        # Recorded: errors of the body come before those of the query string, and those before the
        # path's.
        members.sort(key=lambda pair: _AFTER_BODY.get(pair[1].serialization.get("location"), 0))
        prefix = self._words.prefix(op.name) if self._words.prefix is not None else ""
        return self._compiler.structure(shape, members, prefix)

    def _code(self, op: OperationModel) -> str:
        if self._queries:
            return "ValidationError"
        return self._words.code(op) if self._words.code is not None else "ValidationException"


def _refuse(sentences: list[str], code: str) -> None:
    count = len(sentences)
    plural = "error" if count == 1 else "errors"
    raise AwsError(code, f"{count} validation {plural} detected: {'; '.join(sentences)}")


class _ShapeCompiler:
    """Compiles shapes into rules; None for a shape without constraints."""

    def __init__(self, words: Validation) -> None:
        self._words = words
        self._required_only = words.required_only
        self._rules: dict[str, _ShapeRule | None] = {}

    def rule(self, shape: Shape) -> _ShapeRule | None:
        name = shape.name
        if name in self._rules:
            return self._rules[name]
        # A recursive shape finds this rule while its own is being made.
        rule = self._rules[name] = _ShapeRule(
            lambda value: self._final(name).ok(value),
            lambda value, path, out: self._final(name).explain(value, path, out),
        )
        made = self._compile(shape)
        if made is None and rule is self._rules[name]:
            self._rules[name] = None
        else:
            self._rules[name] = made
        return self._rules[name]

    def _final(self, name: str) -> _ShapeRule:
        rule = self._rules[name]
        if rule is None:
            return _ShapeRule(lambda _: True, lambda *_: None)
        return rule

    def _compile(self, shape: Shape) -> _ShapeRule | None:
        kind = shape.type_name
        if getattr(shape, "is_document_type", False) or shape.serialization.get("eventstream"):
            return None
        if kind == "structure":
            return self.structure(shape, list(shape.members.items()))
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        return None if self._required_only else self._scalar(shape)

    # structures

    def structure(
        self, shape: Shape, members: list[tuple[str, Shape]], body_prefix: str = ""
    ) -> _ShapeRule | None:
        required = set(shape.required_members)
        checks: list[tuple[str, str, Shape, _ShapeRule | None, bool]] = []
        for name, part in members:
            rule = None
            if not (part.serialization.get("streaming") or part.serialization.get("eventstream")):
                rule = self.rule(part)
            if rule is not None or name in required:
                place = part.serialization.get("location")
                path = _lower(name) if place else body_prefix + _lower(name)
                checks.append((name, path, part, rule, name in required))
        if not checks:
            return None
        always = [name for name, _, _, _, must in checks if must]
        tests = [(name, rule.ok) for name, _, _, rule, _ in checks if rule is not None]

        def ok(value: Any) -> bool:
            for name in always:
                if value.get(name) is None:
                    return False
            for name, test in tests:
                item = value.get(name)
                if item is not None and not test(item):
                    return False
            return True

        def explain(value: Any, path: str, out: list[str]) -> None:
            for name, step, part, rule, must in checks:
                here = f"{path}.{step}" if path else step
                item = value.get(name)
                if item is None:
                    if must:
                        self._missing(here, name, part, out)
                elif rule is not None:
                    rule.explain(item, here, out)

        return _ShapeRule(ok, explain)

    def _missing(self, path: str, name: str, part: Shape, out: list[str]) -> None:
        if self._words.missing is not None:
            raise self._words.missing(name, part)
        out.append(f"Value null at '{path}' failed to satisfy constraint: {_NULL}")

    # lists and maps

    def _list(self, shape: Shape) -> _ShapeRule | None:
        member = shape.member
        own = [] if self._required_only else self._sizes(shape)
        inner = self.rule(member)
        if _is_scalar(member):
            return self._scalars(shape, own, inner)
        test = inner.ok if inner is not None else None

        def fine(value: Any) -> bool:
            return all(item is not None and (test is None or test(item)) for item in value)

        def ok(value: Any) -> bool:
            return all(holds(value) for holds, _ in own) and fine(value)

        def explain(value: Any, path: str, out: list[str]) -> None:
            self._say(shape, value, path, own, out)
            for number, item in enumerate(value, 1):
                if len(out) >= _MOST_SENTENCES:
                    return
                here = f"{path}.{number}.member"
                if item is None:
                    out.append(f"Value null at '{here}' failed to satisfy constraint: {_NULL}")
                elif inner is not None:
                    inner.explain(item, here, out)

        return _ShapeRule(ok, explain)

    def _scalars(self, shape: Shape, own: list[Any], inner: _ShapeRule | None) -> _ShapeRule | None:
        """Return the rule of a list of scalars, which is reported whole, with all constraints of
        its members."""
        test = inner.ok if inner is not None else None

        def fine(value: Any) -> bool:
            return all(item is not None and (test is None or test(item)) for item in value)

        sentence = f"Member must satisfy constraint: [{', '.join(self._held(shape.member))}]"
        checks = [*own, (fine, sentence)]
        return self._checked(shape, checks)

    def _map(self, shape: Shape) -> _ShapeRule | None:
        own = [] if self._required_only else self._sizes(shape)
        keys = self.rule(shape.key)
        values = self.rule(shape.value)
        if keys is not None:
            test_key = keys.ok
            sentence = f"Map keys must satisfy constraint: [{', '.join(self._held(shape.key))}]"
            own.append((lambda value: all(test_key(key) for key in value), sentence))
        scalar = _is_scalar(shape.value)
        test = values.ok if values is not None else None

        def fine(value: Any) -> bool:
            return all(item is not None and (test is None or test(item)) for item in value.values())

        if scalar:
            sentence = f"Map value must satisfy constraint: [{', '.join(self._held(shape.value))}]"
            return self._checked(shape, [*own, (fine, sentence)])

        def ok(value: Any) -> bool:
            return all(holds(value) for holds, _ in own) and fine(value)

        def explain(value: Any, path: str, out: list[str]) -> None:
            self._say(shape, value, path, own, out)
            for key, item in value.items():
                if len(out) >= _MOST_SENTENCES:
                    return
                here = f"{path}.{_cut(key)}.member"
                if item is None:
                    out.append(f"Value null at '{here}' failed to satisfy constraint: {_NULL}")
                elif values is not None:
                    values.explain(item, here, out)

        return _ShapeRule(ok, explain)

    # scalars

    def _scalar(self, shape: Shape) -> _ShapeRule | None:
        if shape.type_name in ("boolean", "timestamp"):
            return None
        if shape.type_name in ("string", "blob"):
            sizes = self._sizes(shape)
            pattern = self._pattern(shape)
            checks = sizes + pattern if self._words.sizes_first else pattern + sizes
            checks += self._enum(shape)
        else:
            checks = self._range(shape)
        return self._checked(shape, checks) if checks else None

    def _sizes(self, shape: Shape) -> list[tuple[Ok, str]]:
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if shape.name in self._words.open_lengths:
            high = None
        checks: list[tuple[Ok, str]] = []
        if high is not None:
            most = int(high)
            sentence = f"Member must have length less than or equal to {most}"
            checks.append((lambda value: len(value) <= most, sentence))
        if low is not None and int(low) > 0:
            least = int(low)
            sentence = f"Member must have length greater than or equal to {least}"
            checks.append((lambda value: len(value) >= least, sentence))
        return checks

    def _range(self, shape: Shape) -> list[tuple[Ok, str]]:
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if shape.name in self._words.open_lengths:
            high = None
        checks: list[tuple[Ok, str]] = []
        if high is not None:
            sentence = f"Member must have value less than or equal to {high}"
            checks.append((lambda value: value <= high, sentence))
        if low is not None:
            sentence = f"Member must have value greater than or equal to {low}"
            checks.append((lambda value: value >= low, sentence))
        return checks

    def _pattern(self, shape: Shape) -> list[tuple[Ok, str]]:
        text = shape.metadata.get("pattern")
        matches = matcher(text) if text and shape.type_name == "string" else None
        if matches is None:
            return []
        return [(matches, f"Member must satisfy regular expression pattern: {text}")]

    def _enum(self, shape: Shape) -> list[tuple[Ok, str]]:
        values = shape.metadata.get("enum")
        if not values or shape.name in self._words.open_enums:
            return []
        return [(frozenset(values).__contains__, self._enum_sentence(values, alone=True))]

    def _enum_sentence(self, values: list[str], *, alone: bool) -> str:
        shown = self._words.enums.get(frozenset(values))
        if shown is None:
            in_order = alone and self._words.hashed_enums
            shown = ", ".join(_hash_set_order(values) if in_order else values)
        return f"Member must satisfy enum value set: [{shown}]"

    def _asked(self, shape: Shape) -> list[str]:
        """Return all constraints of a list's or map's members, in the order of the message."""
        if self._required_only or not _is_scalar(shape):
            return []
        if shape.type_name not in ("string", "blob"):
            return [sentence for _, sentence in self._range(shape)]
        asked = [sentence for _, sentence in self._sizes(shape)]
        if shape.metadata.get("min") == 0:
            asked.append("Member must have length greater than or equal to 0")
        asked += [sentence for _, sentence in self._pattern(shape)]
        if shape.metadata.get("enum"):
            asked.append(self._enum_sentence(shape.metadata["enum"], alone=False))
        return asked

    def _held(self, shape: Shape) -> list[str]:
        """Return the same, including the constraint against null where the service lists it too.

        Most services do if there is no other constraint.
        """
        asked = self._asked(shape)
        return [*asked, _NULL] if self._words.null_listed or not asked else asked

    def _checked(self, shape: Shape, checks: list[tuple[Ok, str]]) -> _ShapeRule:
        tests = [holds for holds, _ in checks]

        def ok(value: Any) -> bool:
            for holds in tests:  # noqa: SIM110 - a generator costs more than what it asks
                if not holds(value):
                    return False
            return True

        def explain(value: Any, path: str, out: list[str]) -> None:
            self._say(shape, value, path, checks, out)

        return _ShapeRule(tests[0] if len(tests) == 1 else ok, explain)

    def _say(
        self,
        shape: Shape,
        value: Any,
        path: str,
        checks: list[tuple[Ok, str]],
        out: list[str],
    ) -> None:
        for holds, sentence in checks:
            if not holds(value):
                shown = "" if _is_sensitive(shape) else f" '{show(value, shape)}'"
                out.append(f"Value{shown} at '{path}' failed to satisfy constraint: {sentence}")


def show(value: Any, shape: Shape | None = None) -> str:
    """Format a value as a Java service prints it, cut behind ``_MOST_SHOWN`` characters.

    The rest is never built: a list of a million members costs as much as its first few.
    """
    shown = ""
    for part in _parts(value, shape):
        shown += part
        if len(shown) > _MOST_SHOWN:
            return f"{shown[:_MOST_SHOWN]}..."
    return shown


def _parts(value: Any, shape: Shape | None) -> Iterator[str]:
    if value is None:
        yield "null"
    elif value is True or value is False:
        yield "true" if value else "false"
    elif isinstance(value, bytes | bytearray):
        yield f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    elif isinstance(value, list):
        member = shape.member if shape is not None else None
        yield from _joined("[", (("", item, member) for item in value), "]")
    elif isinstance(value, dict):
        if shape is not None and shape.type_name == "structure":
            members = shape.members.items()
            items = ((f"{_lower(name)}=", value.get(name), part) for name, part in members)
            yield from _joined(f"{shape.name}(", items, ")")
        else:
            member = shape.value if shape is not None else None
            pairs = ((f"{_cut(key)}=", item, member) for key, item in value.items())
            yield from _joined("{", pairs, "}")
    else:
        yield _cut(value)


def _joined(
    opening: str, items: Iterable[tuple[str, Any, Shape | None]], closing: str
) -> Iterator[str]:
    yield opening
    for number, (name, item, shape) in enumerate(items):
        yield f", {name}" if number else name
        yield from _parts(item, shape)
    yield closing


def _cut(value: Any) -> str:
    return (value if isinstance(value, str) else str(value))[: _MOST_SHOWN + 1]


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _is_scalar(shape: Shape) -> bool:
    return shape.type_name not in ("structure", "list", "map")


def _is_sensitive(shape: Shape) -> bool:
    """Return whether the value, or a member of a list or map, must not be repeated."""
    if shape.metadata.get("sensitive"):
        return True
    if shape.type_name == "list":
        return _is_scalar(shape.member) and _is_sensitive(shape.member)
    if shape.type_name == "map":
        return any(part.metadata.get("sensitive") for part in (shape.key, shape.value))
    return False


def _hash_set_order(values: list[str]) -> list[str]:
    """Return strings in the order of Java's HashSet, in which some services list them."""
    size = 1
    while len(values) > size * 0.75:
        size *= 2

    def bucket(text: str) -> int:
        code = 0
        for character in text:
            code = (31 * code + ord(character)) & 0xFFFFFFFF
        return (code ^ (code >> 16)) & (size - 1)

    return sorted(values, key=bucket)
