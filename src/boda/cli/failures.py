"""The message of a failed command: one sentence for each kind of error."""

from __future__ import annotations

import os
import re
import traceback
from urllib.parse import urlsplit

from boda.core.arn import Arn
from boda.core.errors import PlatformError

TRACEBACK = "BODA_TRACEBACK"
"""The environment variable that shows the traceback of an unexpected error."""

_WRONG_KEYS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_ABSENT_FUNCTION = re.compile(r"Function not found: (\S+)")


def sentence(error: Exception) -> str:
    """Return the text to print for an error; with BODA_TRACEBACK set, behind its traceback."""
    if os.environ.get(TRACEBACK):
        return "".join(traceback.format_exception(error)) + _sentence(error)
    return _sentence(error)


def _sentence(error: Exception) -> str:
    if isinstance(error, PlatformError):
        return str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return f"{reason} ({os.fsdecode(error.filename)})." if error.filename else f"{reason}."
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object!r} cannot be sent: it is not UTF-8 text."
    if type(error).__module__.startswith("botocore."):
        return _of_client(error)
    return (
        f"An unexpected {type(error).__name__}: {error}. Set {TRACEBACK}=1 to see where it comes "
        "from, and report it."
    )


def _of_client(error: Exception) -> str:
    """Word errors of calls to the platform. Imports late, since few commands fail so."""
    import botocore.exceptions as errors
    from botocore.parsers import ResponseParserError

    if isinstance(error, errors.ClientError):
        return _of_answer(error.response.get("Error", {}), str(error))
    if isinstance(error, errors.SSLError):
        return f"{error}."
    if isinstance(error, errors.ConnectionError):
        place = urlsplit(str(error.kwargs.get("endpoint_url", "")))
        return (
            f"boda does not answer at {place.scheme}://{place.netloc}. Is it running? `boda up` "
            "starts it."
        )
    if isinstance(error, ResponseParserError):
        return "What answers there is not boda: its answer cannot be read. See `boda status`."
    if isinstance(error, errors.HTTPClientError):
        return f"{error}. See `boda status`."
    return str(error).replace("\n", " ")


def _of_answer(found: dict[str, str], otherwise: str) -> str:
    code, message = found.get("Code", "Error"), found.get("Message") or otherwise
    told = f"{code}: {message}"
    if code in _WRONG_KEYS and "valid region" not in message:
        return f'{told} Are these the keys of this boda? `eval "$(boda env)"` sets them.'
    absent = _ABSENT_FUNCTION.search(message)
    arn = Arn.read(absent[1]) if absent is not None else None
    if arn is not None:
        return f"{told}. That is region {arn.region}; for another say --region."
    return told
