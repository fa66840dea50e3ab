"""An event against compiled alternatives, with the semantics of EventBridge's ruler.

An event is flattened: the values of all paths that the pattern names, each with the arrays that
it lies in and its index in each. Fields are taken in the order of their paths. All values that
are chosen for one alternative must lie in the same element of each array that they share
("array consistency"); plain values in an array choose no element of it. A field that must be
absent is so if no value of it is consistent with the elements chosen by the fields before it.

Law of this file: the work grows with the event, not with the combinations of its elements. What
fields chose is forgotten as soon as no later field lies in the same array.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boda.events.patterns.values import FieldTest

# Keys with dots can name one path in two places of an event, which can be made to multiply. No more
# choices than this are followed; matches beyond them are missed.
_MOST_CHOICES = 100_000

# The arrays around a value, from the outside in: an array's number and the index in it.
_Chain = tuple[tuple[int, int], ...]
# The element that was chosen in each array so far.
_Choice = dict[int, int]
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Alternative:
    """Fields that must all be accepted, by path, in the order of their paths."""

    fields: tuple[tuple[str, FieldTest], ...]

    def refuses_top(self, event: Mapping[str, Any]) -> bool:
        """Return whether a top-level field alone already fails. Cheap: flattens nothing."""
        for path, test in self.fields:
            if "." not in path:
                value = event.get(path, _MISSING)
                if value is _MISSING or type(value) is dict:
                    if not test.absent:
                        return True
                elif type(value) is not list and not test.accepts(value):
                    return True
        return False

    def accepts(self, fields: _Fields) -> bool:
        """Return whether the fields of a flattened event are accepted."""
        steps: list[tuple[set[_Chain], set[_Chain] | None]] = []
        for path, test in self.fields:
            found = fields.values.get(path)
            if found is None:
                if not test.absent:
                    return False
                continue
            accepted = {chain for value, chain in found if test.accepts(value)}
            if not accepted and not test.absent:
                return False
            if test.absent or accepted != {()}:
                steps.append((accepted, {chain for _, chain in found} if test.absent else None))
        return _are_consistent(steps, fields.parents)


@dataclass(frozen=True, slots=True)
class _Fields:
    """A flattened event: values by path, and the array around each array."""

    values: Mapping[str, Sequence[tuple[Any, _Chain]]]
    parents: Mapping[int, int | None]


@dataclass(frozen=True, slots=True)
class EventPattern:
    """A compiled event pattern."""

    alternatives: tuple[Alternative, ...]
    prefixes: frozenset[str]

    def matches(self, event: Any) -> bool:
        """Return whether an event, as parsed JSON, matches. Only objects ever do."""
        if not isinstance(event, dict):
            return False
        fields: _Fields | None = None
        for alternative in self.alternatives:
            if alternative.refuses_top(event):
                continue
            if fields is None:
                fields = self._flatten(event)
            if alternative.accepts(fields):
                return True
        return False

    def _flatten(self, event: Mapping[str, Any]) -> _Fields:
        values: dict[str, list[tuple[Any, _Chain]]] = defaultdict(list)
        parents: dict[int, int | None] = {}
        pending: list[tuple[str, Any, _Chain]] = [("", event, ())]
        while pending:
            path, value, chain = pending.pop()
            if type(value) is dict:
                for key, member in value.items():
                    longer = f"{path}.{key}" if path else key
                    if longer in self.prefixes:
                        pending.append((longer, member, chain))
            elif type(value) is list:
                number = len(parents)
                parents[number] = chain[-1][0] if chain else None
                for index, element in enumerate(value):
                    if type(element) is dict or type(element) is list:
                        pending.append((path, element, (*chain, (number, index))))
                    else:
                        values[path].append((element, chain))
            else:
                values[path].append((value, chain))
        return _Fields(values, parents)


def compiled(alternatives: Iterable[Mapping[str, FieldTest]]) -> EventPattern:
    """Make a pattern of alternatives, each a test by path."""
    made = tuple(Alternative(tuple(sorted(each.items()))) for each in alternatives)
    prefixes: set[str] = set()
    for alternative in made:
        for path, _ in alternative.fields:
            steps = path.split(".")
            prefixes.update(".".join(steps[:count]) for count in range(1, len(steps) + 1))
    return EventPattern(made, frozenset(prefixes))


def _are_consistent(
    steps: Sequence[tuple[set[_Chain], set[_Chain] | None]], parents: Mapping[int, int | None]
) -> bool:
    """Return whether one value of each step can be chosen so that no two elements conflict.

    A step is the chains of its accepted values, and those of all values if absence is accepted.
    """
    arrays = [
        {number for chain in (*accepted, *(every or ())) for number, _ in chain}
        for accepted, every in steps
    ]
    choices: list[_Choice] = [{}]
    for position, (accepted, every) in enumerate(steps):
        needed: set[int] = set().union(*arrays[position:])
        choices = _distinct(_kept(choice, needed) for choice in choices)
        later: set[int] = set().union(*arrays[position + 1 :])
        merged = (
            _kept({**choice, **dict(chain)}, later)
            for choice, chain in _pairs(choices, accepted, parents)
        )
        following = _distinct(merged)
        if every is not None:
            met = {id(choice) for choice, _ in _pairs(choices, every, parents)}
            missing = (_kept(each, later) for each in choices if id(each) not in met)
            following = _distinct((*following, *missing))
        if not following:
            return False
        choices = following
    return True


def _pairs(
    choices: Sequence[_Choice], chains: Iterable[_Chain], parents: Mapping[int, int | None]
) -> Iterator[tuple[_Choice, _Chain]]:
    """Yield each choice with each chain that is consistent with it.

    A choice is looked up by the innermost element that it shares with the chain, and must not
    have chosen in the next array inwards.
    """
    by_element: dict[tuple[int, int] | None, list[_Choice]] = defaultdict(list)
    inner: Counter[tuple[tuple[int, int] | None, int]] = Counter()
    for choice in choices:
        by_element[None].append(choice)
        for number, index in choice.items():
            by_element[number, index].append(choice)
            parent = parents[number]
            inner[None if parent is None else (parent, choice[parent]), number] += 1
    for chain in chains:
        below: int | None = None
        for element in (*reversed(chain), None):
            group = by_element.get(element, ())
            if below is None or inner[element, below] < len(group):
                for choice in group:
                    if below not in choice:
                        yield choice, chain
            below = element[0] if element else None


def _kept(choice: _Choice, numbers: set[int]) -> _Choice:
    return {number: index for number, index in choice.items() if number in numbers}


def _distinct(choices: Iterable[_Choice]) -> list[_Choice]:
    found: dict[frozenset[tuple[int, int]], _Choice] = {}
    for choice in choices:
        found.setdefault(frozenset(choice.items()), choice)
        if len(found) >= _MOST_CHOICES:
            break
    return list(found.values())
