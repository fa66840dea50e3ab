"""JSON tokens with the positions and the words of the reader that AWS runs.

AWS checks patterns with a streaming reader (Jackson's, over text) and puts its position into each
error. Three habits of that reader decide the column, and are kept here: a text value is read up to
its opening quote until its content is asked for; a field's name is read together with the first
token of its value; an unexpected character is reported at itself, everything else behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn

END: Final = ""
NAME: Final = "name"
STRING: Final = "string"
NUMBER: Final = "number"
LITERALS: Final = ("true", "false", "null")

_DEEPEST = 200
_SHOWN_CHARACTERS = 500
_SHOWN_TOKEN = 256
_VALUES = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
_BLANKS = re.compile(r"[ \t\r\n]*")
_ROW_END = re.compile(r"\r\n|\r|\n")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_CONTROL = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ESCAPES = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}


class JsonSyntaxError(ValueError):
    """The text is no JSON, or is refused by the reader of its tokens.

    The message ends with the place: `` at [Source: (String)"…"; line: 1, column: 5]``.
    """


@dataclass(slots=True)
class _Scope:
    """An object or array that is open. start: the index of its bracket. values: read so far."""

    kind: str
    start: int
    values: int = 0


_ROOT = "root"
_TYPES = {"{": "Object", "[": "Array", _ROOT: _ROOT}


class JsonTokens:
    """Reads a text token by token.

    ``advance`` returns the next token: one of ``{ } [ ]``, NAME, STRING, NUMBER, a literal's own
    text, or END. ``name`` is the last field's name. ``shown`` says whether errors show the text.
    """

    def __init__(self, text: str, *, shown: bool = True) -> None:
        self.name = ""
        self._text = text
        self._shown = shown
        self._at = 0
        self._token = END
        self._ahead: str | None = None  # the value's token, read together with its field's name
        self._unread = False  # a text value whose content was not read yet
        self._value = ""
        self._scopes = [_Scope(_ROOT, 0)]

    def advance(self) -> str:
        """Return the next token. Raises JsonSyntaxError if the text is malformed."""
        if self._ahead is not None:
            self._token, self._ahead = self._ahead, None
            return self._open(self._token)
        if self._unread:
            self.text()
        character = self._next_character()
        scope = self._scopes[-1]
        if character is None:
            if scope.kind != _ROOT:
                self._fail_at_end(
                    f": expected close marker for {_TYPES[scope.kind]} "
                    f"(start marker at {self._place(scope.start)})"
                )
            self._token = END
            return END
        if character in "]}":
            return self._close(character)
        if scope.values and scope.kind != _ROOT:
            character = self._skip_comma(character, scope)
        scope.values += 1
        if scope.kind == "{":
            self._read_name(character)
            self._ahead = self._read_value(self._skip_colon())
            self._token = NAME
            return NAME
        self._token = self._read_value(character)
        return self._open(self._token)

    def text(self) -> str:
        """Return the current token's text: a string's content, or the token as it is written."""
        if self._unread:
            self._value = self._read_string(": was expecting closing quote for a string value")
            self._unread = False
        return self._value if self._token in (STRING, NUMBER) else self._token

    def error(self, message: str) -> JsonSyntaxError:
        """Return an error with the message and the place that was read up to."""
        return self._error_at(message, self._at)

    def _open(self, token: str) -> str:
        if token in ("{", "["):
            if len(self._scopes) > _DEEPEST:
                raise self.error(
                    f"Document nesting depth ({_DEEPEST + 1}) exceeds the maximum allowed "
                    f"({_DEEPEST})"
                )
            self._scopes.append(_Scope(token, self._at - 1))
        return token

    def _close(self, character: str) -> str:
        scope = self._scopes[-1]
        if scope.kind != ("{" if character == "}" else "["):
            expected = "}" if character == "]" else "]"
            raise self.error(
                f"Unexpected close marker '{character}': expected '{expected}' "
                f"(for {_TYPES[scope.kind]} starting at {self._place(scope.start)})"
            )
        self._scopes.pop()
        self._token = character
        return character

    def _next_character(self) -> str | None:
        """Skip blanks and consume one character. None at the end of the text."""
        found = _BLANKS.match(self._text, self._at)
        self._at = found.end() if found else self._at
        if self._at >= len(self._text):
            return None
        self._at += 1
        return self._text[self._at - 1]

    def _skip_comma(self, character: str, scope: _Scope) -> str:
        kind = _TYPES[scope.kind]
        if character != ",":
            raise self._unexpected(character, f"was expecting comma to separate {kind} entries")
        after = self._next_character()
        if after is None:
            self._fail_at_end(f" within/between {kind} entries")
        return after

    def _skip_colon(self) -> str:
        character = self._next_character()
        if character is not None and character != ":":
            raise self._unexpected(
                character, "was expecting a colon to separate field name and value"
            )
        after = self._next_character()
        if character is None or after is None:
            self._fail_at_end(" within/between Object entries")
        return after

    def _read_name(self, character: str) -> None:
        if character != '"':
            raise self._unexpected(character, "was expecting double-quote to start field name")
        self.name = self._read_string(" in field name")

    def _read_value(self, character: str) -> str:
        """Read the token that begins with a character, a string's opening quote alone."""
        if character == '"':
            self._unread = True
            return STRING
        if character in "{[":
            return character
        if character in "-0123456789":
            return self._read_number(character)
        for literal in LITERALS:
            if literal[0] == character:
                return self._read_literal(literal)
        if character == "}":
            raise self._unexpected(character, "expected a value")
        if character.isidentifier() or character == "$":
            raise self._unrecognized(character)
        raise self._unexpected(character, f"expected a valid value {_VALUES}")

    def _read_literal(self, literal: str) -> str:
        matched = 1
        while matched < len(literal) and self._text[self._at : self._at + 1] == literal[matched]:
            matched += 1
            self._at += 1
        following = self._text[self._at : self._at + 1]
        if matched < len(literal) or _is_identifier_part(following):
            raise self._unrecognized(literal[:matched])
        return literal

    def _read_number(self, character: str) -> str:
        start = self._at - 1
        found = _NUMBER.match(self._text, start)
        if found is None:
            self._at += 1
            raise self._unexpected(
                self._text[self._at - 1 : self._at],
                "expected digit (0-9) to follow minus sign, for valid numeric value",
                " in numeric value",
            )
        self._at = found.end()
        following = self._text[self._at : self._at + 1]
        if following.isdigit():
            raise self.error("Invalid numeric value: Leading zeroes not allowed")
        if following in tuple(".eE"):
            what = "Decimal point" if following == "." else "Exponent indicator"
            self._at += 2
            raise self._unexpected(
                self._text[self._at - 1 : self._at],
                f"{what} not followed by a digit",
                " in numeric value",
            )
        self._value = found.group()
        return NUMBER

    def _read_string(self, missing: str) -> str:
        """Read up to the closing quote. missing: what an error says if the text ends before it."""
        parts: list[str] = []
        while True:
            found = _PLAIN.match(self._text, self._at)
            assert found is not None
            parts.append(found.group())
            self._at = found.end() + 1
            character = self._text[found.end() : self._at]
            if character == '"':
                return _joined(parts)
            if not character:
                self._at = len(self._text)
                self._fail_at_end(missing)
            if character != "\\":
                raise self.error(
                    f"Illegal unquoted character ({_described(character)}): has to be escaped "
                    "using backslash to be included in string value"
                )
            parts.append(self._read_escape())

    def _read_escape(self) -> str:
        character = self._text[self._at : self._at + 1]
        self._at += 1
        if character == "u":
            digits = self._text[self._at : self._at + 4]
            if re.fullmatch("[0-9a-fA-F]{4}", digits) is None:
                raise self.error("expected a hex-digit for character escape sequence")
            self._at += 4
            return chr(int(digits, 16))
        plain = _ESCAPES.get(character)
        if plain is None:
            raise self.error(f"Unrecognized character escape {_described(character)}")
        return plain

    def _unexpected(self, character: str, comment: str, where: str = "") -> JsonSyntaxError:
        if not character:
            return self.error(f"Unexpected end-of-input{where}")
        message = f"Unexpected character ({_described(character)}){where}: {comment}"
        return self._error_at(message, self._at - 1)

    def _unrecognized(self, matched: str) -> JsonSyntaxError:
        """Return the error for a word that is no literal, having read it to its end."""
        word = matched
        while len(word) < _SHOWN_TOKEN and _is_identifier_part(self._text[self._at : self._at + 1]):
            word += self._text[self._at]
            self._at += 1
        if len(word) >= _SHOWN_TOKEN:
            word += "..."
        return self.error(f"Unrecognized token '{word}': was expecting {_VALUES}")

    def _fail_at_end(self, message: str) -> NoReturn:
        raise self.error(f"Unexpected end-of-input{message}")

    def _error_at(self, message: str, at: int) -> JsonSyntaxError:
        return JsonSyntaxError(f"{message}\n at {self._place(at)}")

    def _place(self, at: int) -> str:
        """Return ``[Source: …; line: 1, column: 5]`` for an index; columns are UTF-16 units."""
        row, start = 1, 0
        for end in _ROW_END.finditer(self._text, 0, at):
            row, start = row + 1, end.end()
        column = _units(self._text[start:at]) + 1
        return f"[Source: {self._source()}; line: {row}, column: {column}]"

    def _source(self) -> str:
        if not self._shown:
            return "REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)"
        start = self._text[:_SHOWN_CHARACTERS]
        hidden = _units(self._text[_SHOWN_CHARACTERS:])
        shown = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04X}", start)
        return f'(String)"{shown}"' + (f"[truncated {hidden} chars]" if hidden else "")


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _is_identifier_part(character: str) -> bool:
    return bool(character) and (character == "$" or f"a{character}".isidentifier())


def _described(character: str) -> str:
    code = ord(character) if character else 0
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"(CTRL-CHAR, code {code})"
    wide = f" / 0x{code:x}" if code > 0xFF else ""
    return f"'{character}' (code {code}{wide})"


def _joined(parts: list[str]) -> str:
    """Join pieces of a string and make pairs of escaped surrogates characters again."""
    text = "".join(parts)
    if any("\ud800" <= part[:1] <= "\udfff" for part in parts):
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text
