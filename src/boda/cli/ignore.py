"""Patterns of files to leave out, in the syntax of .gitignore."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _IgnoreRule:
    """One line. wanted: it began with ``!``. folders: it ended with ``/``."""

    pattern: re.Pattern[str]
    wanted: bool
    folders: bool


class IgnoreFile:
    """The lines of one file, of which the last that matches a path counts."""

    def __init__(self, lines: Iterable[str]) -> None:
        found = [_rule(line) for line in lines]
        self._rules = [rule for rule in reversed(found) if rule is not None]

    def matches(self, path: str, *, folder: bool) -> bool:
        """Return whether the path, relative and with ``/``, is left out.

        Not called for paths in a folder that is left out: they are left out with it.
        """
        for rule in self._rules:
            if (folder or not rule.folders) and rule.pattern.fullmatch(path):
                return not rule.wanted
        return False


def _rule(line: str) -> _IgnoreRule | None:
    """Parse a line. None for empty lines, comments and patterns that cannot match."""
    line = line.rstrip("\r\n")
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    if not line or line.startswith("#"):
        return None
    wanted = line.startswith("!")
    line = line[wanted:]
    folders = line.endswith("/")
    line = line.rstrip("/") if folders else line
    if not line:
        return None
    anchored = "/" in line
    expression = _expression(line.lstrip("/"))
    if expression is None:
        return None
    beginning = "" if anchored else "(?:.*/)?"
    return _IgnoreRule(re.compile(beginning + expression, re.S), wanted, folders)


def _expression(pattern: str) -> str | None:
    """Convert to a regular expression; None for an unclosed bracket or a backslash at the end."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        rest = pattern[at:]
        at_beginning = at == 0 or pattern[at - 1] == "/"
        if at_beginning and rest.startswith("**/"):
            parts.append("(?:.*/)?")
            at += 3
        elif at_beginning and rest == "**":
            parts.append(".+")
            at += 2
        elif rest[0] == "*":
            parts.append("[^/]*")
            at += len(rest) - len(rest.lstrip("*"))
        elif rest[0] == "?":
            parts.append("[^/]")
            at += 1
        elif rest[0] == "[":
            found = _set(rest)
            if found is None:
                return None
            expression, length = found
            parts.append(expression)
            at += length
        elif rest[0] == "\\":
            if len(rest) == 1:
                return None
            parts.append(re.escape(rest[1]))
            at += 2
        else:
            parts.append(re.escape(rest[0]))
            at += 1
    return "".join(parts)


def _set(rest: str) -> tuple[str, int] | None:
    """Return the expression and the length of ``[a-z]`` at the beginning; None if it is not
    closed."""
    at = 1
    negated = rest[at : at + 1] in ("!", "^")
    at += negated
    members: list[str] = []
    first = True
    while at < len(rest) and (rest[at] != "]" or first):
        first = False
        at += rest[at] == "\\"
        if at >= len(rest):
            return None
        low = rest[at]
        at += 1
        if rest[at : at + 1] == "-" and rest[at + 1 : at + 2] not in ("]", ""):
            at += 1
            at += rest[at] == "\\"
            if at >= len(rest):
                return None
            high = rest[at]
            at += 1
            if low <= high:
                members.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            members.append(re.escape(low))
    if at >= len(rest):
        return None
    inside = "".join(members)
    if not inside:
        return ("[^/]" if negated else "(?!)"), at + 1
    return (f"(?!/)[{'^' if negated else ''}{inside}]"), at + 1
