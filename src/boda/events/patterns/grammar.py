"""Compile the text of an event pattern, or raise the error in AWS's words.

The checks and their order are those of the compiler that EventBridge runs (event-ruler's): a token
at a time, so that an error names the first wrong token. Two of its habits show: inside a list of
``anything-but`` an error has its place twice, and errors about addresses and about numbers that
cannot be compared have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NoReturn

from boda.events.patterns import values, wildcards
from boda.events.patterns.json_tokens import (
    LITERALS,
    NAME,
    NUMBER,
    STRING,
    JsonSyntaxError,
    JsonTokens,
)
from boda.events.patterns.matching import EventPattern, compiled
from boda.events.patterns.values import Accept, AddressError, FieldTest
from boda.events.patterns.wildcards import WildcardError

_MOST_ALTERNATIVES = 1_000
_TOO_COMPLEX = (
    "Rule is too complex - try using fewer wildcard characters or fewer repeating character "
    "sequences after a wildcard character"
)
_ONE_KEY = "Only one key allowed in match expression"
_TOO_MANY = "Too many elements in numeric expression"
_LITERALS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}

# Names that no field inside ``$or`` may have, so that operators can be told from fields.
_RESERVED_IN_OR = frozenset(
    (
        "exactly",
        "equals-ignore-case",
        "prefix",
        "suffix",
        "anything-but",
        "exists",
        "wildcard",
        "numeric",
        "cidr",
        "=",
        "<",
        "<=",
        ">",
        ">=",
        "regex",
        "not-wildcard",
        "not-equals-ignore-case",
        "date-after",
        "date-on-or-after",
        "date-before",
        "date-on-or-before",
        "in-date-range",
        "ip-address-in-range",
        "ip-address-not-in-range",
    )
)


class PatternError(ValueError):
    """A text is no event pattern. The message is AWS's reason, with the place if AWS gives one."""


_Alternative = dict[str, FieldTest]


def compile_pattern(text: str, refused: Collection[str] = ()) -> EventPattern:
    """Compile the text of an event pattern. Raises PatternError in AWS's words.

    refused: operators that the dialect lacks.

    A ``$or`` that is no list of at least two objects is an ordinary field's name, if the pattern is
    valid with it as such.
    """
    try:
        alternatives = _compile(text, refused, with_or=True)
    except _BadOr as bad:
        try:
            alternatives = _compile(text, refused, with_or=False)
        except PatternError:
            raise PatternError(str(bad)) from None
    if _is_too_complex(alternatives):
        raise PatternError(_TOO_COMPLEX)
    return compiled(alternatives)


class _BadOr(PatternError):
    """A ``$or`` is not the operator."""


def _compile(text: str, refused: Collection[str], *, with_or: bool) -> list[_Alternative]:
    try:
        return _PatternCompiler(JsonTokens(text), refused, with_or).compile()
    except (JsonSyntaxError, AddressError, _NumberError) as error:
        raise PatternError(str(error)) from None


class _NumberError(ValueError):
    """A number is beyond what can be compared."""


class _PatternCompiler:
    """Compiles one text. Each method reads on from the position of the one before."""

    def __init__(self, tokens: JsonTokens, refused: Collection[str], with_or: bool) -> None:
        self._tokens = tokens
        self._with_or = with_or
        operators: Mapping[str, Callable[[FieldTest], None]] = {
            "exactly": self._exactly,
            "prefix": self._prefix,
            "suffix": self._suffix,
            "numeric": self._numeric,
            "anything-but": self._anything_but,
            "exists": self._exists,
            "cidr": self._cidr,
            "equals-ignore-case": self._equals_ignore_case,
            "wildcard": self._wildcard,
        }
        self._operators = {name: read for name, read in operators.items() if name not in refused}

    def compile(self) -> list[_Alternative]:
        if self._tokens.advance() != "{":
            self._fail("Filter is not an object")
        return self._object([{}], "", inside_or=False)

    def _object(
        self, alternatives: list[_Alternative], path: str, *, inside_or: bool
    ) -> list[_Alternative]:
        """Read an object's fields into alternatives, and return what they became."""
        fields = 0
        while self._tokens.advance() != "}":
            fields += 1
            name = self._tokens.name
            if name == "$or" and self._with_or:
                alternatives = self._or(alternatives, path)
                continue
            if inside_or and name in _RESERVED_IN_OR:
                self._fail_or(
                    f"{name} is Ruler reserved fieldName which cannot be used inside $or."
                )
            inner = f"{path}.{name}" if path else name
            kind = self._tokens.advance()
            if kind == "{":
                alternatives = self._object(alternatives, inner, inside_or=inside_or)
            elif kind == "[":
                test = self._leaf()
                for alternative in alternatives:
                    alternative[inner] = test
            else:
                self._fail(f'"{name}" must be an object or an array')
        if not fields:
            self._fail("Empty objects are not allowed")
        return alternatives

    def _or(self, alternatives: list[_Alternative], path: str) -> list[_Alternative]:
        """Fork the alternatives for each object of a ``$or``."""
        if self._tokens.advance() != "[":
            self._fail_or("It must be an Array followed with $or.")
        forked: list[_Alternative] = []
        objects = 0
        while (kind := self._tokens.advance()) != "]":
            objects += 1
            if kind != "{":
                self._fail_or("Only JSON object is allowed in array of $or relationship.")
            copies = [dict(each) for each in alternatives]
            forked += self._object(copies, path, inside_or=True)
            if len(forked) > _MOST_ALTERNATIVES:
                raise PatternError(
                    f"Event pattern contains more than {_MOST_ALTERNATIVES} rule combinations"
                )
        if objects < 2:
            self._fail_or("There must have at least 2 Objects in $or relationship.")
        return forked

    def _leaf(self) -> FieldTest:
        test = FieldTest()
        read = 0
        while (kind := self._tokens.advance()) != "]":
            read += 1
            if kind == "{":
                self._operator(test)
            elif kind == STRING:
                test.add_string(self._tokens.text())
            elif kind == NUMBER:
                test.numbers.add(values.number(self._tokens.text()))
            elif kind in LITERALS:
                test.literals.add(_LITERALS[kind])
            else:
                self._fail("Match value must be String, number, true, false, or null")
        if not read:
            self._fail("Empty arrays are not allowed")
        return test

    def _operator(self, test: FieldTest) -> None:
        if self._tokens.advance() != NAME:
            self._fail("Match expression name not found")
        operator = self._operators.get(self._tokens.name)
        if operator is None:
            self._fail(f"Unrecognized match type {self._tokens.name}")
        operator(test)

    def _exactly(self, test: FieldTest) -> None:
        test.strings.add(self._only_string("exact match pattern must be a string"))

    def _prefix(self, test: FieldTest) -> None:
        self._affix("prefix", values.prefix, values.prefix_ignoring_case, test)

    def _suffix(self, test: FieldTest) -> None:
        self._affix("suffix", values.suffix, values.suffix_ignoring_case, test)

    def _affix(
        self,
        name: str,
        exact: Callable[[str], Accept],
        ignoring_case: Callable[[str], Accept],
        test: FieldTest,
    ) -> None:
        kind = self._tokens.advance()
        if kind != "{":
            test.operators.append(
                exact(self._string(kind, f"{name} match pattern must be a string"))
            )
        else:
            if self._tokens.advance() != NAME:
                self._fail(f"{name.capitalize()} expression name not found")
            if self._tokens.name != "equals-ignore-case":
                self._fail(f"Unsupported {name} pattern: {self._tokens.name}")
            text = self._only_string("equals-ignore-case match pattern must be a string")
            test.operators.append(ignoring_case(text))
        self._end(_ONE_KEY)

    def _equals_ignore_case(self, test: FieldTest) -> None:
        text = self._only_string("equals-ignore-case match pattern must be a string")
        test.operators.append(values.equal_ignoring_case(text))

    def _wildcard(self, test: FieldTest) -> None:
        kind = self._tokens.advance()
        text = self._string(kind, "wildcard match pattern must be a string")
        test.operators.append(values.wildcard(self._pieces(text, test)))
        self._end(_ONE_KEY)

    def _exists(self, test: FieldTest) -> None:
        kind = self._tokens.advance()
        if kind == "true":
            test.present = True
        elif kind == "false":
            test.absent = True
        else:
            self._fail("exists match pattern must be either true or false.")
        self._end(_ONE_KEY)

    def _cidr(self, test: FieldTest) -> None:
        kind = self._tokens.advance()
        # AWS's own words say prefix.
        test.operators.append(
            values.block(self._string(kind, "prefix match pattern must be a string"))
        )
        self._end(_ONE_KEY)

    def _numeric(self, test: FieldTest) -> None:
        if self._tokens.advance() != "[":
            self._fail("Value of numeric must be an array.")
        try:
            test.operators.append(self._range())
        except _NumberError as error:
            self._fail(str(error))
        self._end(_TOO_MANY)

    def _range(self) -> Accept:
        """Read ``"=", 1]``, ``"<", 1]`` or ``">=", 1, "<", 5]``."""
        if self._tokens.advance() != STRING:
            self._fail(f"Invalid member in numeric match: {self._tokens.text()}")
        operator = self._tokens.text()
        kind = self._tokens.advance()
        if operator not in ("=", ">=", ">", "<=", "<"):
            self._fail(f"Unrecognized numeric range operator: {operator}")
        bound = self._bound(kind, "equals" if operator == "=" else operator)
        following = self._tokens.advance()
        if operator in (">", ">="):
            if following != "]":
                return self._upper(following, bound, operator == ">")
            return values.number_range(bound, operator == ">", math.inf, False)
        if following != "]":
            self._fail(_TOO_MANY)
        if operator == "=":
            return values.equal_number(bound)
        return values.number_range(-math.inf, False, bound, operator == "<")

    def _upper(self, kind: str, bottom: float, open_bottom: bool) -> Accept:
        if kind != STRING:
            self._fail(f"Bad value in numeric range: {self._tokens.text()}")
        operator = self._tokens.text()
        if operator not in ("<", "<="):
            self._fail(f"Bad numeric range operator: {operator}")
        top = self._bound(self._tokens.advance(), operator)
        if self._tokens.advance() != "]":
            self._fail("Too many terms in numeric range expression")
        if not bottom < top:
            self._fail("Bottom must be less than top")
        return values.number_range(bottom, open_bottom, top, operator == "<")

    def _bound(self, kind: str, operator: str) -> float:
        if kind != NUMBER:
            self._fail(f"Value of {operator} must be numeric")
        return self._finite()

    def _finite(self) -> float:
        text = self._tokens.text()
        found = values.number(text)
        if math.isinf(found):
            raise _NumberError(f"Cannot compare number : {text}")
        return found

    def _anything_but(self, test: FieldTest) -> None:
        kind = self._tokens.advance()
        name = ""
        if kind == "{":
            if self._tokens.advance() != NAME:
                self._fail("Anything-But expression name not found")
            name = self._tokens.name
            if name not in _EXCLUSIONS:
                self._fail(f"Unsupported anything-but pattern: {name}")
            kind = self._tokens.advance()
        if kind not in ("[", STRING, NUMBER):
            self._fail("Value of anything-but must be an array or single string/number value.")
        if kind == "[":
            texts, numbers = self._excluded_list(name)
        elif name:
            texts, numbers = [self._excluded_text(name, kind)], []
        elif kind == STRING:
            texts, numbers = [self._tokens.text()], []
        else:
            texts, numbers = [], [self._finite()]
        test.operators.append(self._exclusion(name, texts, numbers, test))
        for _ in range(2 if name else 1):
            self._end(_TOO_MANY)

    def _excluded_list(self, name: str) -> tuple[list[str], list[float]]:
        texts: list[str] = []
        numbers: list[float] = []
        try:
            while (kind := self._tokens.advance()) != "]":
                if name:
                    texts.append(self._excluded_text(name, kind))
                elif kind == STRING:
                    texts.append(self._tokens.text())
                elif kind == NUMBER:
                    numbers.append(self._finite())
                else:
                    self._fail("Inside anything but list, start|null|boolean is not supported.")
        except (JsonSyntaxError, _NumberError) as error:
            self._fail(str(error))
        if name and not texts:
            # AWS answers with an internal failure. Nothing excluded would be everything accepted.
            self._fail("Empty arrays are not allowed")
        if not name and bool(texts) == bool(numbers):
            self._fail(
                "Inside anything but list, either all values are number or string, "
                "mixed type is not supported"
            )
        return texts, numbers

    def _excluded_text(self, name: str, kind: str) -> str:
        if kind != STRING:
            self._fail(_EXCLUSIONS[name])
        text = self._tokens.text()
        if not text and name in ("prefix", "suffix"):
            self._fail("Null prefix/suffix not allowed")
        return text

    def _exclusion(
        self, name: str, texts: Sequence[str], numbers: Sequence[float], test: FieldTest
    ) -> Accept:
        if not name:
            return values.neither((*texts, *numbers))
        if name == "wildcard":
            return values.none_of([values.wildcard(self._pieces(each, test)) for each in texts])
        make = {
            "prefix": values.prefix,
            "suffix": values.suffix,
            "equals-ignore-case": values.equal_ignoring_case,
        }[name]
        return values.none_of([make(each) for each in texts])

    def _pieces(self, text: str, test: FieldTest) -> tuple[str, ...]:
        try:
            pieces = wildcards.parse(text)
        except WildcardError as error:
            self._fail(str(error))
        test.wildcards.append(pieces)
        return pieces

    def _only_string(self, otherwise: str) -> str:
        """Read a string that is an operator's whole operand."""
        text = self._string(self._tokens.advance(), otherwise)
        self._end(_ONE_KEY)
        return text

    def _string(self, kind: str, otherwise: str) -> str:
        if kind != STRING:
            self._fail(otherwise)
        return self._tokens.text()

    def _end(self, otherwise: str) -> None:
        if self._tokens.advance() != "}":
            self._fail(otherwise)

    def _fail(self, message: str) -> NoReturn:
        raise self._tokens.error(message)

    def _fail_or(self, message: str) -> NoReturn:
        raise _BadOr(str(self._tokens.error(message)))


# The operands of anything-but, and the errors for those that are no strings.
_EXCLUSIONS: Mapping[str, str] = {
    "prefix": "prefix/suffix match pattern must be a string",
    "suffix": "prefix/suffix match pattern must be a string",
    "equals-ignore-case": (
        "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported."
    ),
    "wildcard": "wildcard match pattern must be a string",
}


def _is_too_complex(alternatives: Sequence[_Alternative]) -> bool:
    """Return whether a field's wildcards are too complex.

    Alternatives that agree in all fields before it share a field's automaton, as AWS's do.
    """
    together: dict[object, list[tuple[str, ...]]] = {}
    for alternative in alternatives:
        before: tuple[object, ...] = ()
        for path, test in sorted(alternative.items()):
            if test.wildcards:
                together.setdefault((before, path), []).extend(test.wildcards)
            before = (*before, path, id(test))
    return any(wildcards.is_too_complex(texts) for texts in together.values())
