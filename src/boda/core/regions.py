"""The regions that AWS has, as botocore lists them, and those that an operator adds."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache

import botocore.loaders

_SHAPE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


class Regions:
    """A set of region names. allowed: names beside AWS's; raises ValueError for a malformed one."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = tuple(dict.fromkeys(allowed))
        for name in self.allowed:
            if _SHAPE.fullmatch(name) is None:
                raise ValueError(
                    f"{name!r} cannot be a region's name, which is up to 64 of a-z, 0-9 and -"
                )
        self._names = aws_regions() | set(self.allowed)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def refusal(self, name: str) -> str:
        """Return a sentence that explains why a name is refused, and the remedy."""
        near = difflib.get_close_matches(name, sorted(self._names), 2)
        meant = f"; did you mean {' or '.join(near)}?" if near else "."
        return (
            f"AWS has no region {name!r}{meant} `boda up --allow-region NAME` takes other names "
            "than AWS's."
        )


@lru_cache(maxsize=1)
def aws_regions() -> frozenset[str]:
    """Return the names of all partitions' regions, from the installed botocore."""
    data = botocore.loaders.Loader().load_data("partitions")
    return frozenset(name for one in data["partitions"] for name in one["regions"])
