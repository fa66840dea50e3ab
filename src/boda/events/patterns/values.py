"""The values that a field of an event pattern accepts: exact ones and operators. Compiled once,
pure.

Values are compared with their JSON type: ``"1"`` is not ``1``, and ``true`` is neither. Numbers
compare by value. Strings that are IP addresses compare as addresses.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from boda.events.patterns import wildcards

Accept = Callable[[Any], bool]

_IPV4 = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_IPV6 = re.compile(r"[0-9a-fA-F:]*:[0-9a-fA-F:]*")


class AddressError(ValueError):
    """The text is no block of addresses. The message has AWS's words."""


@dataclass(frozen=True, slots=True)
class _Address:
    width: int
    value: int


@dataclass(slots=True)
class FieldTest:
    """The alternatives of one field; a value is accepted if one of them accepts it.

    absent: whether the field may be missing. present: whether any value is accepted.
    wildcards: the parsed wildcard texts, for their complexity.
    """

    strings: set[str] = field(default_factory=set)
    addresses: set[_Address] = field(default_factory=set)
    numbers: set[float] = field(default_factory=set)
    literals: set[bool | None] = field(default_factory=set)
    operators: list[Accept] = field(default_factory=list)
    wildcards: list[tuple[str, ...]] = field(default_factory=list)
    present: bool = False
    absent: bool = False

    def add_string(self, text: str) -> None:
        self.strings.add(text)
        address = _address(text)
        if address is not None:
            self.addresses.add(address)

    def accepts(self, value: Any) -> bool:
        """Return whether a string, number, boolean or null is accepted."""
        if self.present:
            return True
        kind = type(value)
        if kind is str:
            if value in self.strings or (self.addresses and _address(value) in self.addresses):
                return True
        elif kind is bool or value is None:
            if value in self.literals:
                return True
        elif value in self.numbers:
            return True
        return any(accept(value) for accept in self.operators)


def number(text: str) -> float:
    """Return the value of a JSON number; an int stays one."""
    return int(text) if len(text) < 19 and text.lstrip("-").isdigit() else float(text)


def prefix(text: str) -> Accept:
    return lambda value: type(value) is str and value.startswith(text)


def suffix(text: str) -> Accept:
    return lambda value: type(value) is str and value.endswith(text)


def equal_ignoring_case(text: str) -> Accept:
    """Accept a string that differs in case only.

    Each character stands for its lower and its upper case, which may be longer: ``ß`` accepts
    ``SS`` and not ``ss``.
    """
    match = re.compile(_cases(text)).fullmatch
    return lambda value: type(value) is str and match(value) is not None


def prefix_ignoring_case(text: str) -> Accept:
    match = re.compile(_cases(text)).match
    return lambda value: type(value) is str and match(value) is not None


def suffix_ignoring_case(text: str) -> Accept:
    match = re.compile(_cases(text, backwards=True)).match
    return lambda value: type(value) is str and match(value[::-1]) is not None


def _cases(text: str, backwards: bool = False) -> str:
    step = -1 if backwards else 1
    cases = (sorted({each.lower()[::step], each.upper()[::step]}) for each in text[::step])
    return "".join(f"(?:{'|'.join(map(re.escape, case))})" for case in cases)


def wildcard(pieces: tuple[str, ...]) -> Accept:
    return lambda value: type(value) is str and wildcards.matches(pieces, value)


def number_range(low: float, open_low: bool, high: float, open_high: bool) -> Accept:
    def accept(value: Any) -> bool:
        if type(value) is not int and type(value) is not float:
            return False
        above = low < value if open_low else low <= value
        return above and (value < high if open_high else value <= high)

    return accept


def equal_number(wanted: float) -> Accept:
    return number_range(wanted, False, wanted, False)


def neither(values: Iterable[str | float]) -> Accept:
    """Accept values other than the strings, or than the numbers; values of other types, too."""
    excluded = frozenset(values)
    return lambda value: type(value) is bool or value not in excluded


def none_of(operators: Sequence[Accept]) -> Accept:
    return lambda value: not any(accept(value) for accept in operators)


def block(text: str) -> Accept:
    """Accept strings that are addresses within ``a.b.c.d/n`` or an IPv6 block.

    Raises AddressError in AWS's words.
    """
    parts = text.split("/")
    while parts and not parts[-1]:
        parts.pop()
    if len(parts) != 2:
        raise AddressError("Malformed CIDR, one '/' required")
    given, mask = parts
    if re.fullmatch(r"[+-]?[0-9]{1,10}", mask, re.ASCII) is None or abs(int(mask)) >= 1 << 31:
        raise AddressError("Malformed CIDR, mask bits must be an integer")
    bits = int(mask)
    if bits < 0:
        raise AddressError("Malformed CIDR, mask bits must not be negative")
    address = _address(given)
    if address is None:
        looks_right = _IPV4.fullmatch(given) or _IPV6.fullmatch(given)
        raise AddressError(f"{'Invalid' if looks_right else 'Nonstandard'} IP address: {given}")
    if bits >= address.width:
        family = "IPv4" if address.width == 32 else "IPv6"
        raise AddressError(f"{family} mask bits must be < {address.width}")
    shift = address.width - bits
    network = address.value >> shift

    def accept(value: Any) -> bool:
        other = _address(value)
        return (
            other is not None and other.width == address.width and other.value >> shift == network
        )

    return accept


def _address(text: Any) -> _Address | None:
    """Read an IPv4 or IPv6 address. None if a value is none."""
    if type(text) is not str or len(text) > 64:
        return None
    if _IPV4.fullmatch(text):
        octets = [int(each) for each in text.split(".")]
        return _Address(32, int.from_bytes(octets, "big")) if max(octets) < 256 else None
    if ":" in text and _IPV6.fullmatch(text):
        try:
            return _Address(128, int.from_bytes(socket.inet_pton(socket.AF_INET6, text), "big"))
        except OSError:
            return None
    return None
