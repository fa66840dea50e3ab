"""Tags: their forms in requests, their rules, adding and removing. Pure.

The rules are AWS's; limits and words are each service's own, given as data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from boda.core.errors import AwsError

LIMIT = 50
_KEY_LENGTH = 128
_VALUE_LENGTH = 256
_TEXT = re.compile(r"[\w\s.:/=+\-@]*")

Refusal = Callable[[str, str], AwsError]
"""Makes the error for a tag, given its key and its value."""


@dataclass(frozen=True, slots=True)
class TagRules:
    """The rules for the tags of a resource.

    The errors; None for those that the service's model raises or that cannot occur:
    reserved: a key begins with ``aws:``. too_many: there are more tags than the limit. repeated: a
    list has a key twice. bad_key, bad_value: of a wrong length or character.

    same: maps keys that count as the same to one value, for example ``str.lower``.
    """

    reserved: Refusal
    too_many: Callable[[], AwsError] | None = None
    repeated: Refusal | None = None
    bad_key: Refusal | None = None
    bad_value: Refusal | None = None
    limit: int = LIMIT
    same: Callable[[str], str] = str

    def read(self, given: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return the tags of a request. Raises AwsError."""
        tags: dict[str, str] = {}
        seen: set[str] = set()
        for key, value in given:
            if self.bad_key is not None and not (key and _fits(key, _KEY_LENGTH)):
                raise self.bad_key(key, value)
            if self.bad_value is not None and not _fits(value, _VALUE_LENGTH):
                raise self.bad_value(key, value)
            if self.repeated is not None and self.same(key) in seen:
                raise self.repeated(key, value)
            if key.lower().startswith("aws:"):
                raise self.reserved(key, value)
            seen.add(self.same(key))
            tags[key] = value
        return self._counted(tags)

    def add(self, present: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
        """Return the tags of a resource after adding some, which replace those of the same keys.

        Raises AwsError if they are too many then.
        """
        new = {self.same(key): (key, value) for key, value in given.items()}
        kept = [new.pop(self.same(key), (key, value)) for key, value in present.items()]
        return self._counted(dict([*kept, *new.values()]))

    def remove(self, present: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
        """Return the tags of a resource without those of some keys."""
        gone = {self.same(key) for key in keys}
        return {key: value for key, value in present.items() if self.same(key) not in gone}

    def _counted(self, tags: dict[str, str]) -> dict[str, str]:
        if self.too_many is not None and len(tags) > self.limit:
            raise self.too_many()
        return tags


def pairs(
    listed: Iterable[Mapping[str, str]], key: str = "Key", value: str = "Value"
) -> list[tuple[str, str]]:
    """Return the tags of a list, whose members have these names."""
    return [(tag[key], tag[value]) for tag in listed]


def as_list(
    tags: Mapping[str, str], key: str = "Key", value: str = "Value"
) -> list[dict[str, str]]:
    """Return tags as a list whose members have these names."""
    return [{key: name, value: text} for name, text in tags.items()]


def _fits(text: str, length: int) -> bool:
    return len(text) <= length and _TEXT.fullmatch(text) is not None
