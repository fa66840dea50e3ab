"""The credentials endpoint: the keys of a function's role for AWS's container credential provider.

Functions with SnapStart get no keys in their variables, since they are initialised once for a long
time: ``AWS_CONTAINER_CREDENTIALS_FULL_URI`` names this resource of the Runtime API's listener and
``AWS_CONTAINER_AUTHORIZATION_TOKEN`` the token that goes with it, so that every SDK asks again
when the keys it holds come near their end (Lambda developer guide, "snapstart-activate"; Runtime
Interface Emulator, "credentials"). The environment is known by its socket; the token only keeps
out attackers that make the function fetch an address.
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
"""The expiration that is sent for keys that never expire."""


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
    """The endpoint's document for one environment.

    current: returns the role's keys now; may raise AwsError. now: returns epoch seconds. longest_s:
    the latest expiration that is sent. botocore fetches keys anew, before each use, if they expire
    within ten minutes; a template's are sent with less, so that its forks fetch keys at once.
    """

    token: str
    current: Callable[[], RoleCredential]
    now: Callable[[], float]
    longest_s: float = LONG_S

    def fits(self, token: str) -> bool:
        """Whether a request with this token may read it."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def document(self) -> bytes:
        """Return the JSON of the response."""
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
