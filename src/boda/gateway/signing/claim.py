"""The signer that a request claims, before verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_letters, digits
from urllib.parse import parse_qsl, unquote

from boda.core.arn import DEFAULT_REGION
from boda.core.errors import AwsError, not_implemented, printable
from boda.gateway.dialect import Signatures
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing import sigv4

MAX_EXPIRES_S = 604_800
_NAME_CHARACTERS = frozenset(f"{ascii_letters}{digits}-._")
_MAX_SIGNED_HEADERS = 512
_REMEMBERED_CHARACTERS = 512

INCOMPLETE_QUERY = (
    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
    "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
)


class Flaw:
    """The reason why a request is refused; ``error`` words it once the service is known.

    Requests keep this, not the exception: an exception's traceback refers to the frame that holds
    the request, and so would keep its body until the next collection of garbage.

    fields: members that are shown only by a service that explains its refusals.
    """

    __slots__ = ("detail", "fields", "why")

    def __init__(self, why: str, detail: str = "", **fields: str) -> None:
        self.why = why
        self.detail = detail
        self.fields = fields

    def error(self, words: Signatures) -> AwsError:
        if self.why == "sigv4a":
            return not_implemented(
                "signing", sigv4.ALGORITHM_V4A, f"SigV4A; sign with {sigv4.ALGORITHM}"
            )
        if self.why in _OF_PLACES:
            return AwsError("AccessDenied", _OF_PLACES[self.why].format(self.detail), 403)
        return words.refusal(self.why, self.detail, **self.fields)


_OF_PLACES = {
    "foreign-host": (
        "{} is no name of this platform. If it should be one, start boda with --server-name."
    ),
    "foreign-page": "Pages of {} may not call this platform from a browser.",
}
"""AWS has no words for these, since it is called by its own names only."""


class MalformedClaim(Exception):
    """A claim that cannot be read."""

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(detail or why)
        self.flaw = Flaw(why, detail)

    def error(self, words: Signatures) -> AwsError:
        return self.flaw.error(words)


@dataclass(frozen=True, slots=True, eq=False)
class Signatory:
    """The part of a claim that a client repeats in all its requests to one service on one day.

    date, region, service: of the credential scope; service is a signing name.
    signed: the names of the headers that are signed, in their order.
    expires_s: the life of a presigned URL; None if it states none, or for a header.
    until: of a URL presigned the old way (``sigv2``), the time at which it lapses, as signed.
    """

    access_key_id: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...] = ()
    presigned: bool = False
    expires_s: int | None = None
    until: str = ""

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{sigv4.TERMINATOR}"


class Claim:
    """The signer that a request claims, before verification.

    timestamp, signed_at: the time of signing, as signed and in seconds since the epoch.
    token: the session token, or "".
    """

    __slots__ = ("signatory", "signature", "signed_at", "timestamp", "token")

    def __init__(
        self, signatory: Signatory, signature: str, timestamp: str, signed_at: int, token: str
    ) -> None:
        self.signatory = signatory
        self.signature = signature
        self.timestamp = timestamp
        self.signed_at = signed_at
        self.token = token


def read_claim(request: WireRequest) -> Claim | None:
    """Return the claim of a request, None if it has none. Raises MalformedClaim."""
    authorization = request.headers.get("authorization")
    query = request.query
    in_query = bool(query) and ("X-Amz-" in query or "AWSAccessKeyId=" in query)
    if authorization is None:
        return _claim_of_query(query) if in_query else None
    if in_query and "X-Amz-Signature=" in query:
        raise MalformedClaim("two")
    return _claim_of_header(authorization, request.headers)


def hinted_scope(request: WireRequest) -> tuple[str, str, str] | None:
    """Return access key id, region and service of a malformed claim, which are not to be trusted.

    They select the words of the refusal, and, if signatures are not verified, the destination.
    """
    _, found, rest = request.headers.get("authorization", "").partition("Credential=")
    if not found:
        _, found, rest = unquote(request.query).partition("X-Amz-Credential=")
    parts = rest.split(",", 1)[0].split("&", 1)[0].split("/")
    if len(parts) < 4 or not parts[2] or not parts[3]:
        return None
    if not _NAME_CHARACTERS.issuperset(parts[2] + parts[3]):
        return None
    return parts[0].strip(), parts[2], parts[3]


def _claim_of_header(authorization: str, headers: Mapping[str, str]) -> Claim:
    """Read the header of a claim. The part before its signature is the same all day, and is
    cached."""
    before, found, signature = authorization.rpartition("Signature=")
    if found and signature.isalnum() and len(before) <= _REMEMBERED_CHARACTERS:
        signatory = _signatory(before)
        claim = claim_of(signatory, signature, headers) if signatory is not None else None
        if claim is not None:
            return claim
    return _read_header(authorization, headers)  # which reports a flaw, if there is one


def claim_of(signatory: Signatory, signature: str, headers: Mapping[str, str]) -> Claim | None:
    """Return the claim of a request with that Authorization header.

    None if its ``X-Amz-Date`` is absent, malformed, or of another day.
    """
    timestamp = headers.get("x-amz-date", "")
    if timestamp[:8] != signatory.date:
        return None
    try:
        signed_at = sigv4.seconds(timestamp)
    except ValueError:
        return None
    token = headers.get("x-amz-security-token", "")
    return Claim(signatory, signature, timestamp, signed_at, token)


@lru_cache(maxsize=1024)
def _signatory(before: str) -> Signatory | None:
    """Return the signatory of an Authorization header up to its signature; None if it has none."""
    date = before.partition("/")[2][:8]
    try:
        return _read_header(f"{before}Signature=0", {"x-amz-date": f"{date}T000000Z"}).signatory
    except MalformedClaim:
        return None


def _read_header(authorization: str, headers: Mapping[str, str]) -> Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != sigv4.ALGORITHM:
        if algorithm == sigv4.ALGORITHM_V4A:
            raise MalformedClaim("sigv4a")
        raise MalformedClaim("mechanism", printable(algorithm))
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in parts:
            raise MalformedClaim(
                "incomplete",
                f"'{printable(name)}' is not a valid key=value pair (missing equal-sign) in "
                "Authorization header.",
            )
        parts[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not parts.get(name):
            raise MalformedClaim("incomplete", f"Authorization header requires '{name}' parameter.")
    timestamp = headers.get("x-amz-date", "")
    try:
        timestamp = timestamp or sigv4.timestamp_of_date(headers.get("date", ""))
        signed_at = sigv4.seconds(timestamp)
    except (ValueError, TypeError):
        if timestamp or headers.get("date"):
            raise MalformedClaim(
                "date",
                "Date must be in ISO-8601 'basic format'. Got "
                f"'{printable(timestamp or headers['date'])}'.",
            ) from None
        raise MalformedClaim(
            "date",
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        ) from None
    return _claim(
        parts["Credential"],
        parts["SignedHeaders"],
        parts["Signature"],
        timestamp,
        signed_at,
        headers.get("x-amz-security-token", ""),
        None,
    )


_OLD_NAMES = frozenset(
    {
        *("AWSAccessKeyId", "Signature", "Expires", "x-amz-security-token"),
        *("SignatureVersion", "SignatureMethod"),
    }
)
_QUERY_NAMES = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
)


def _claim_of_query(query: str) -> Claim | None:
    found: dict[str, str] = {}
    old: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.startswith("X-Amz-"):
            if name in found:
                raise MalformedClaim("incomplete-query", f"Duplicate {printable(name)} parameter.")
            found[name] = value
        elif name in _OLD_NAMES:
            if name in old:
                raise MalformedClaim("incomplete-query", f"Duplicate {printable(name)} parameter.")
            old[name] = value
    if "AWSAccessKeyId" in old:
        return _old_claim(old, found)
    if not any(name in found for name in _QUERY_NAMES):
        return None
    if not all(found.get(name) for name in _QUERY_NAMES):
        raise MalformedClaim("incomplete-query", INCOMPLETE_QUERY)
    if found["X-Amz-Algorithm"] != sigv4.ALGORITHM:
        if found["X-Amz-Algorithm"] == sigv4.ALGORITHM_V4A:
            raise MalformedClaim("sigv4a")
        raise MalformedClaim(
            "incomplete-query", 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and '
            'AWS4-ECDSA-P256-SHA256"'
        )  # fmt: skip
    timestamp = found["X-Amz-Date"]
    try:
        signed_at = sigv4.seconds(timestamp)
    except ValueError:
        raise MalformedClaim(
            "incomplete-query",
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
        ) from None
    return _claim(
        found["X-Amz-Credential"],
        found["X-Amz-SignedHeaders"],
        found["X-Amz-Signature"],
        timestamp,
        signed_at,
        found.get("X-Amz-Security-Token", ""),
        _expires(found.get("X-Amz-Expires")),
        presigned=True,
    )


def _old_claim(old: Mapping[str, str], new: Mapping[str, str]) -> Claim:
    """Read a claim without a service; ``SignatureVersion`` is how query services spelled theirs."""
    if new:
        raise MalformedClaim("two")
    if "SignatureVersion" in old:
        raise MalformedClaim("mechanism", printable(old.get("SignatureMethod", "HmacSHA1")))
    if not all(old.get(name) for name in ("AWSAccessKeyId", "Signature", "Expires")):
        raise MalformedClaim("old-incomplete")
    until = old["Expires"]
    if not (until.isascii() and until.isdecimal()) or len(until) > 12:
        raise MalformedClaim("old-expires", printable(until))
    signatory = Signatory(
        old["AWSAccessKeyId"], "", DEFAULT_REGION, "", presigned=True, until=until
    )
    return Claim(signatory, old["Signature"], "", 0, old.get("x-amz-security-token", ""))


def _expires(text: str | None) -> int | None:
    if text is None:
        return None
    if text.startswith("-") and text[1:].isdecimal():
        raise MalformedClaim("incomplete-query", "X-Amz-Expires must be non-negative")
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise MalformedClaim("incomplete-query", "X-Amz-Expires should be a number")
    expires_s = int(text)
    if expires_s > MAX_EXPIRES_S:
        raise MalformedClaim(
            "incomplete-query",
            "X-Amz-Expires must be less than a week (in seconds); that is, the given "
            f"X-Amz-Expires must be less than {MAX_EXPIRES_S} seconds",
        )
    return expires_s


def _claim(
    credential: str,
    signed: str,
    signature: str,
    timestamp: str,
    signed_at: int,
    token: str,
    expires_s: int | None,
    *,
    presigned: bool = False,
) -> Claim:
    why = "incomplete-query" if presigned else "incomplete"
    parts = credential.split("/")
    if len(parts) != 5 or not all(parts) or not _NAME_CHARACTERS.issuperset(parts[2] + parts[3]):
        expected = '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        if presigned:
            raise MalformedClaim(
                why,
                "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; "
                f"expecting {expected}",
            )
        raise MalformedClaim(why, f"the Credential is mal-formed; expecting {expected}")
    access_key_id, date, region, service, terminator = parts
    if terminator != sigv4.TERMINATOR:
        raise MalformedClaim(
            "scope",
            "Credential should be scoped with a valid terminator: 'aws4_request', not "
            f"'{printable(terminator)}'.",
        )
    if date != timestamp[:8]:
        raise MalformedClaim(
            "scope",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: '{printable(date)}' != '{timestamp[:8]}', from '{timestamp}'.",
        )
    names = signed.split(";", _MAX_SIGNED_HEADERS)
    if len(names) > _MAX_SIGNED_HEADERS:
        raise MalformedClaim(why, "Too many SignedHeaders.")
    signatory = Signatory(access_key_id, date, region, service, tuple(names), presigned, expires_s)
    return Claim(signatory, signature, timestamp, signed_at, token)
