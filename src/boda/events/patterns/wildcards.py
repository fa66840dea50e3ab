"""Texts with ``*`` in event patterns: parsed, matched, and weighed as AWS weighs them.

Law of this file: matching never backtracks. A wildcard text is cut at its stars, and the leftmost
place of each piece is always the right one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# A pattern is too complex if an event's value could be within more than this many of its wildcard
# prefixes at once. AWS does not publish the number; this one agrees with every accepted and
# refused pattern that is known.
_MOST_PREFIXES = 10
_MOST_STEPS = 20_000  # of the search for the worst value

_STAR = -1
_OTHER = -2  # any byte that no pattern expects where it stands
_QUOTE = 0x22


class WildcardError(ValueError):
    """The text is no wildcard text. The message has AWS's words."""


def parse(text: str) -> tuple[str, ...]:
    r"""Cut a wildcard text at its stars; ``\*`` and ``\\`` are the characters themselves.

    Raises WildcardError if two stars are adjacent or another character is escaped. Positions are
    bytes of the quoted text: the opening quote is 0.
    """
    pieces: list[str] = []
    literal: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        if character == "*":
            if text.startswith("*", at + 1):
                raise WildcardError(f"Consecutive wildcard characters at pos {_byte(text, at)}")
            pieces.append("".join(literal))
            literal = []
        elif character == "\\":
            at += 1
            if text[at : at + 1] not in ("*", "\\"):
                raise WildcardError(f"Invalid escape character at pos {_byte(text, at - 1)}")
            literal.append(text[at])
        else:
            literal.append(character)
        at += 1
    return (*pieces, "".join(literal))


def matches(pieces: Sequence[str], value: str) -> bool:
    """Return whether a value matches a parsed wildcard text."""
    first, *middle = pieces
    if not middle:
        return value == first
    last = middle.pop()
    if len(value) < len(first) + len(last):
        return False
    if not (value.startswith(first) and value.endswith(last)):
        return False
    at, end = len(first), len(value) - len(last)
    for piece in middle:
        found = value.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def is_too_complex(texts: Iterable[Sequence[str]]) -> bool:
    """Return whether the parsed wildcard texts of one field are too complex together.

    Searches for a value that is within the most prefixes at once, as AWS's evaluator does: the
    texts are one automaton over bytes, quotes included; each state counts once for each text.
    """
    chains = [_symbols(pieces) for pieces in dict.fromkeys(map(tuple, texts))]
    starts = frozenset((number, 0) for number in range(len(chains)))
    pending, seen, steps = [starts], {starts}, 0
    while pending:
        states = pending.pop()
        expected = {_next_byte(chains[number], at) for number, at in states} - {None}
        for byte in (*expected, _OTHER):
            following = _step(chains, states, byte)
            if len(following) > _MOST_PREFIXES or steps > _MOST_STEPS:
                return True
            steps += len(following)
            if following and following not in seen:
                seen.add(following)
                pending.append(following)
    return False


_State = tuple[int, int]  # the text's number, and the symbols that were read


def _step(
    chains: Sequence[Sequence[int]], states: frozenset[_State], byte: int | None
) -> frozenset[_State]:
    """Return the states after one more byte.

    A star that may be empty counts as reached with the symbol before it.
    """
    following: set[_State] = set()
    for number, at in states:
        chain = chains[number]
        if at and chain[at - 1] == _STAR:
            following.add((number, at))
        if _next_byte(chain, at) == byte:
            read = at + (2 if chain[at] == _STAR else 1)
            following.add((number, read))
            if read < len(chain) and chain[read] == _STAR:
                following.add((number, read + 1))
    return frozenset(following)


def _next_byte(chain: Sequence[int], at: int) -> int | None:
    """Return the byte that leads on from a state. None at the end."""
    if at < len(chain) and chain[at] == _STAR:
        at += 1
    return chain[at] if at < len(chain) else None


def _symbols(pieces: Sequence[str]) -> list[int]:
    symbols = [_QUOTE]
    for number, piece in enumerate(pieces):
        if number:
            symbols.append(_STAR)
        symbols.extend(piece.encode("utf-8", "replace"))
    return [*symbols, _QUOTE]


def _byte(text: str, at: int) -> int:
    return len(text[:at].encode("utf-8", "replace")) + 1
