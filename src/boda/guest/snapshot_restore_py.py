"""Hooks around the snapshot of a function with SnapStart, by the interface of AWS's module of this
name: each registers a function, with arguments for it, and can be used as a decorator.

What is registered before the snapshot runs in the reverse order, what is registered after the
restore in the order of registration (Lambda developer guide, "snapstart-runtime-hooks-python").
"""

from typing import Any

__all__ = ["register_after_restore", "register_before_snapshot"]

_before_snapshot: list[tuple[Any, ...]] = []
_after_restore: list[tuple[Any, ...]] = []


def register_before_snapshot(func, *args, **kwargs):
    """Run a function when init is done, before the snapshot is taken."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Run a function in each environment, before its first invocation."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    """What the runtime takes from the end, one by one."""
    return _before_snapshot


def get_after_restore():
    return _after_restore
