"""The keys of a function's role, as AWS's container credential provider reads them.

Functions with SnapStart get no keys in their variables, since what is initialised once serves for
long: ``AWS_CONTAINER_CREDENTIALS_FULL_URI`` names this resource of the Runtime API's listener and
``AWS_CONTAINER_AUTHORIZATION_TOKEN`` the token that goes with it, so that every SDK asks again
when the keys it holds come near their end (Lambda developer guide, "snapstart-activate"; Runtime
Interface Emulator, "credentials"). The environment is known by its socket; the token only keeps
out whoever makes the function fetch an address.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import orjson

PATH = "/2021-04-23/credentials"
LONG_S = 12 * 3600.0
"""What is said of keys that never lapse."""


class RoleCredential(Protocol):
    """Short-lived keys of a function's role. expires_at: epoch seconds; None: never."""

    @property
    def access_key_id(self) -> str: ...
    @property
    def secret(self) -> str: ...
    @property
    def session_token(self) -> str: ...
    @property
    def expires_at(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class ContainerCredentials:
    """What one environment is given. current: the keys as they are now; may raise AwsError.

    now: epoch seconds. longest_s: keys are said to lapse after so long at most. botocore asks
    again for keys that lapse within ten minutes before each use, so a template is given less:
    then whatever is made of it fetches keys of its own at once.
    """

    token: str
    current: Callable[[], RoleCredential]
    now: Callable[[], float]
    longest_s: float = LONG_S

    def fits(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def document(self) -> bytes:
        """The JSON answer."""
        keys = self.current()
        until = self.now() + self.longest_s
        if keys.expires_at is not None:
            until = min(until, keys.expires_at)
        return orjson.dumps(
            {
                "AccessKeyId": keys.access_key_id,
                "SecretAccessKey": keys.secret,
                "Token": keys.session_token,
                "Expiration": datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
