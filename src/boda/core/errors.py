"""The errors of boda, one tree.

    BodaError
    ├── AwsError            an answer AWS would give, with its code and status
    │     fault "client"      the caller is at fault (4xx)
    │     fault "server"      the platform is at fault (5xx)
    │     ├── Unwritable      the disk or the database refuses a write (503)
    │     └── Unreadable      the database cannot be reached (503)
    └── PlatformError       the platform cannot go on; one clear sentence for the operator

Whoever raises an ``AwsError`` decides code, status and words; the gateway only puts it on the
wire in the form of the protocol the caller speaks.
"""

from __future__ import annotations

from typing import Any

_LONGEST_MESSAGE = 64 * 1024


class BodaError(Exception):
    """The root of every error raised on purpose."""


class AwsError(BodaError):
    """An error that reaches the caller as AWS would send it.

    code: the error's code on the wire, for example ``ResourceNotFoundException``.
    message: the sentence the caller reads; cut if it repeats too much of the request.
    status: the HTTP status, 400 by default.
    fields: further members of the error's shape, by their model names (``Type``, ``Reason`` …).
    headers: further HTTP headers of the answer (``Retry-After`` …).
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int = 400,
        *,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> None:
        if len(message) > _LONGEST_MESSAGE:
            message = message[:_LONGEST_MESSAGE] + "..."
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.fields = fields
        self.headers = headers or {}

    @property
    def fault(self) -> str:
        return "server" if self.status >= 500 else "client"


class Unwritable(AwsError):
    """The disk or the database refused a write, so nothing was changed.

    The gateway gives it the code that the called service has for it.
    """

    def __init__(self, why: str) -> None:
        message = f"The platform cannot write ({why}); nothing was changed."
        super().__init__("ServiceUnavailable", message, 503)
        self.why = why


class Unreadable(AwsError):
    """The database cannot be reached. The gateway gives it the code of the called service."""

    def __init__(self, why: str) -> None:
        super().__init__("ServiceUnavailable", f"The platform cannot read ({why}).", 503)
        self.why = why


def not_implemented(service: str, operation: str, detail: str = "") -> AwsError:
    """Return the error for something that boda lacks, by name and with status 501."""
    what = f"{service}:{operation}" + (f" ({detail})" if detail else "")
    return AwsError("NotImplemented", f"boda does not implement {what} yet.", 501)


def printable(text: str) -> str:
    """Return a caller's text cut and cleaned so that it can be shown in a message."""
    return "".join(letter for letter in text[:128] if letter.isprintable())


class MalformedInput(Exception):
    """A part of a request cannot be read; each protocol reports it in AWS's words and codes.

    reason: a sentence in AWS's style. place: the wire name of the malformed member. value: the
    offending text, shortened. where: ``path``, ``query`` or ``body``.
    """

    def __init__(self, reason: str, place: str = "", value: str = "", where: str = "body") -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place
        self.value = value
        self.where = where


class PlatformError(BodaError):
    """The platform cannot carry out the operator's command.

    The message is one sentence that names the cause and the next step; the command line prints it
    as it is, without a traceback.
    """
