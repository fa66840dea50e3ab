"""Create and change functions, waiting each time until calls run the new version."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from boda.core.errors import PlatformError

_NAME = re.compile(r"[a-zA-Z0-9-_]{1,64}")
POLL_S = 0.03
_PATIENCE_S = 300.0


def check_name(name: str, advice: str) -> None:
    """Raises PlatformError, which ends with the advice, if no function can have this name."""
    if _NAME.fullmatch(name) is None:
        raise PlatformError(
            f"{name!r} cannot be a function's name: that is up to 64 of a-z, A-Z, 0-9, - and _. "
            f"{advice}"
        )


def present(client: Any, name: str) -> dict[str, Any] | None:
    """Return the function's configuration, or None if there is none of that name."""
    try:
        found: dict[str, Any] = client.get_function_configuration(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        return None
    return found


def settled(
    client: Any,
    name: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Return the function's configuration once its last change has taken effect.

    Raises PlatformError if the change failed, or takes longer than five minutes.
    """
    end = monotonic() + _PATIENCE_S
    while True:
        found: dict[str, Any] = client.get_function_configuration(FunctionName=name)
        state, update = found.get("State"), found.get("LastUpdateStatus")
        if "Failed" in (state, update):
            reason = found.get("StateReason") or found.get("LastUpdateStatusReason") or "no reason"
            raise PlatformError(f"{name} could not be brought up to date: {reason}")
        if state != "Pending" and update != "InProgress":
            return found
        if monotonic() > end:
            raise PlatformError(
                f"{name} is still {state} ({update}) after {_PATIENCE_S:.0f} s; see `boda status`."
            )
        sleep(POLL_S)


def create(
    client: Any, name: str, code: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    client.create_function(FunctionName=name, Code=code, **settings)
    return settled(client, name)


def update_code(client: Any, name: str, code: dict[str, Any]) -> dict[str, Any]:
    client.update_function_code(FunctionName=name, **code)
    return settled(client, name)


def update_settings(
    client: Any, name: str, before: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """Change the settings that differ; return the configuration unchanged if none does."""
    changes = {key: value for key, value in settings.items() if _now(before, key) != value}
    if not changes:
        return before
    client.update_function_configuration(FunctionName=name, **changes)
    return settled(client, name)


def _now(configuration: dict[str, Any], key: str) -> Any:
    """Return a setting in the form of a request."""
    value = configuration.get(key)
    if key == "Layers":
        return [layer["Arn"] for layer in value or ()]
    return value
