"""The condition keys that tags make: those of the resource, and those that a request brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Keys = dict[str, str | Sequence[str]]


def of_resource(tags: Mapping[str, str]) -> Keys:
    """Return ``aws:ResourceTag/KEY`` for each tag of the resource."""
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def of_request(tags: Mapping[str, str], removed: Iterable[str] = ()) -> Keys:
    """Return ``aws:RequestTag/KEY`` for each tag of the request, and ``aws:TagKeys``.

    removed: keys of tags that the request removes; they are only among the ``aws:TagKeys``.
    """
    keys = [*tags, *removed]
    if not keys:
        return {}
    return {
        **{f"aws:RequestTag/{key}": value for key, value in tags.items()},
        "aws:TagKeys": keys,
    }
