"""Who signed a request: the claim it makes, and whether the claim holds.

``read_claim`` only reads; ``Authenticator.credential`` refuses what can be refused before a byte
of the body is read (unknown key, wrong time, wrong token, headers left out of the signature);
``Authenticator.verify`` compares the signature once the payload's hash is known.

The words of a refusal are the service's (``dialect.Signatures``).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from string import ascii_letters, digits
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from boda.core.arn import DEFAULT_REGION
from boda.core.clock import Clock
from boda.core.errors import AwsError, not_implemented, printable
from boda.gateway.dialect import Signatures
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing import sigv2, sigv4
from boda.gateway.signing.identity import Credential, Directory

MAX_EXPIRES_S = 604_800
_UNSIGNED_PRESIGNED_EXPIRES_S = 900
_NAME_CHARACTERS = frozenset(f"{ascii_letters}{digits}-._")
_MAX_CACHED_KEYS = 4096
_MAX_SIGNED_HEADERS = 512
_REMEMBERED_CHARACTERS = 512

_INCOMPLETE_QUERY = (
    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
    "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
)


class Flaw(NamedTuple):
    """Why a claim cannot be read; ``error`` words it once the service is known.

    Requests keep this, not the exception: an exception's traceback leads back to the frame that
    holds the request, and so would keep its body until the next collection of garbage.
    """

    why: str
    detail: str

    def error(self, words: Signatures) -> AwsError:
        if self.why == "sigv4a":
            return not_implemented(
                "signing", sigv4.ALGORITHM_V4A, f"SigV4A; sign with {sigv4.ALGORITHM}"
            )
        return words.refusal(self.why, self.detail)


class Malformed(Exception):
    """A claim that cannot be read."""

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(detail or why)
        self.flaw = Flaw(why, detail)

    def error(self, words: Signatures) -> AwsError:
        return self.flaw.error(words)


@dataclass(slots=True)
class Claim:
    """What a request says about its signer, read and not yet believed.

    date, region, service: of the credential scope; service is a signing name.
    timestamp, signed_at: the moment of signing, as signed and in seconds since the epoch.
    token: the session token, or "".
    expires_s: how long a presigned URL holds; None when it does not say, or for a header.
    until: of a URL presigned the old way (``sigv2``), the moment it lapses, as signed.
    """

    access_key_id: str
    date: str
    region: str
    service: str
    signed: list[str]
    signature: str
    timestamp: str
    signed_at: int
    token: str
    presigned: bool = False
    expires_s: int | None = None
    until: str = ""

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{sigv4.TERMINATOR}"


def read_claim(request: WireRequest) -> Claim | None:
    """The claim of a request, None when it makes none; raises Malformed."""
    authorization = request.headers.get("authorization")
    query = request.query
    in_query = bool(query) and ("X-Amz-" in query or "AWSAccessKeyId=" in query)
    if authorization is None:
        return _claim_of_query(query) if in_query else None
    if in_query and "X-Amz-Signature=" in query:
        raise Malformed("two")
    return _claim_of_header(authorization, request.headers)


def hinted_scope(request: WireRequest) -> tuple[str, str, str] | None:
    """Access key id, region and service of a claim that cannot be read, trusted for nothing.

    It tells whose words to refuse it in, and, where signatures are not checked, what was meant.
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
    """What a client sends before its signature is the same all day: it is read once."""
    before, found, signature = authorization.rpartition("Signature=")
    timestamp = headers.get("x-amz-date", "")
    if found and signature.isalnum() and len(before) <= _REMEMBERED_CHARACTERS:
        known = _signer(before)
        if known is not None and known.date == timestamp[:8]:
            try:
                signed_at = sigv4.seconds(timestamp)
            except ValueError:
                return _read_header(authorization, headers)  # which says what is wrong
            return Claim(
                known.access_key_id,
                known.date,
                known.region,
                known.service,
                known.signed,
                signature,
                timestamp,
                signed_at,
                headers.get("x-amz-security-token", ""),
            )
    return _read_header(authorization, headers)


@lru_cache(maxsize=1024)
def _signer(before: str) -> Claim | None:
    """The claim of an Authorization header up to its signature; None where it has none."""
    date = before.partition("/")[2][:8]
    try:
        return _read_header(before + "Signature=0", {"x-amz-date": f"{date}T000000Z"})
    except Malformed:
        return None


def _read_header(authorization: str, headers: Mapping[str, str]) -> Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != sigv4.ALGORITHM:
        if algorithm == sigv4.ALGORITHM_V4A:
            raise Malformed("sigv4a")
        raise Malformed("mechanism", printable(algorithm))
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in parts:
            raise Malformed(
                "incomplete",
                f"'{printable(name)}' is not a valid key=value pair (missing equal-sign) in "
                "Authorization header.",
            )
        parts[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not parts.get(name):
            raise Malformed("incomplete", f"Authorization header requires '{name}' parameter.")
    timestamp = headers.get("x-amz-date", "")
    try:
        timestamp = timestamp or sigv4.timestamp_of_date(headers.get("date", ""))
        signed_at = sigv4.seconds(timestamp)
    except (ValueError, TypeError):
        if timestamp or headers.get("date"):
            raise Malformed(
                "date",
                "Date must be in ISO-8601 'basic format'. Got "
                f"'{printable(timestamp or headers['date'])}'.",
            ) from None
        raise Malformed(
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
                raise Malformed("incomplete-query", f"Duplicate {printable(name)} parameter.")
            found[name] = value
        elif name in _OLD_NAMES:
            if name in old:
                raise Malformed("incomplete-query", f"Duplicate {printable(name)} parameter.")
            old[name] = value
    if "AWSAccessKeyId" in old:
        return _old_claim(old, found)
    if not any(name in found for name in _QUERY_NAMES):
        return None
    if not all(found.get(name) for name in _QUERY_NAMES):
        raise Malformed("incomplete-query", _INCOMPLETE_QUERY)
    if found["X-Amz-Algorithm"] != sigv4.ALGORITHM:
        if found["X-Amz-Algorithm"] == sigv4.ALGORITHM_V4A:
            raise Malformed("sigv4a")
        raise Malformed(
            "incomplete-query", 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and '
            'AWS4-ECDSA-P256-SHA256"'
        )  # fmt: skip
    timestamp = found["X-Amz-Date"]
    try:
        signed_at = sigv4.seconds(timestamp)
    except ValueError:
        raise Malformed(
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
    """The claim names no service; ``SignatureVersion`` is how query services spelled theirs."""
    if new:
        raise Malformed("two")
    if "SignatureVersion" in old:
        raise Malformed("mechanism", printable(old.get("SignatureMethod", "HmacSHA1")))
    if not all(old.get(name) for name in ("AWSAccessKeyId", "Signature", "Expires")):
        raise Malformed("old-incomplete")
    until = old["Expires"]
    if not (until.isascii() and until.isdecimal()) or len(until) > 12:
        raise Malformed("old-expires", printable(until))
    return Claim(
        old["AWSAccessKeyId"],
        "",
        DEFAULT_REGION,
        "",
        [],
        old["Signature"],
        "",
        0,
        old.get("x-amz-security-token", ""),
        presigned=True,
        until=until,
    )


def _expires(text: str | None) -> int | None:
    if text is None:
        return None
    if text.startswith("-") and text[1:].isdecimal():
        raise Malformed("incomplete-query", "X-Amz-Expires must be non-negative")
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise Malformed("incomplete-query", "X-Amz-Expires should be a number")
    expires_s = int(text)
    if expires_s > MAX_EXPIRES_S:
        raise Malformed(
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
            raise Malformed(
                why,
                "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; "
                f"expecting {expected}",
            )
        raise Malformed(why, f"the Credential is mal-formed; expecting {expected}")
    access_key_id, date, region, service, terminator = parts
    if terminator != sigv4.TERMINATOR:
        raise Malformed(
            "scope",
            "Credential should be scoped with a valid terminator: 'aws4_request', not "
            f"'{printable(terminator)}'.",
        )
    if date != timestamp[:8]:
        raise Malformed(
            "scope",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: '{printable(date)}' != '{timestamp[:8]}', from '{timestamp}'.",
        )
    names = signed.split(";", _MAX_SIGNED_HEADERS)
    if len(names) > _MAX_SIGNED_HEADERS:
        raise Malformed(why, "Too many SignedHeaders.")
    return Claim(
        access_key_id,
        date,
        region,
        service,
        names,
        signature,
        timestamp,
        signed_at,
        token,
        presigned,
        expires_s,
    )


class Authenticator:
    """Believes a claim, or says in the service's words why not.

    Derived keys are kept per key, day, region and service: at most a few thousand.
    """

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._signers: dict[tuple[str, str, str, str], tuple[str, sigv4.Signer]] = {}

    def credential(self, claim: Claim, request: WireRequest, rules: Signatures) -> Credential:
        """The claimed key, if everything but the signature itself is in order."""
        known = self._directory.credential(claim.access_key_id)
        if known is not None and known.session_token and not claim.token and rules.token_with_key:
            known = None
        if known is None or not known.active:
            # As much work as for a key that exists, so that time does not tell which ones do.
            self.verify(claim, None, request, sigv4.EMPTY_SHA256, rules)
            raise rules.refusal("key", AWSAccessKeyId=claim.access_key_id)
        if not hmac.compare_digest(
            claim.token.encode("utf-8", "replace"), known.session_token.encode()
        ):
            raise rules.refusal("token")
        now = self._clock.now()
        if known.expires_at is not None and now >= known.expires_at:
            raise rules.refusal("token-expired")
        if claim.until:
            if now > int(claim.until):
                raise rules.refusal(
                    "url-expired",
                    Expires=_extended(int(claim.until)),
                    ServerTime=_extended(now),
                )
            return known
        self._check_time(claim, now, rules)
        if "host" not in claim.signed:
            raise rules.refusal(
                "host",
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            )
        if rules.every_amz_header:
            self._check_signed_headers(claim, request, rules)
        return known

    def verify(
        self,
        claim: Claim,
        credential: Credential | None,
        request: WireRequest,
        payload_hash: str,
        rules: Signatures,
    ) -> sigv4.ChunkSignatures | None:
        """Raises the refusal when the signature is not the one this key makes.

        Returns the chain for the chunks of a streamed upload; None without a credential.
        """
        signer = self._signer(credential, claim)
        query = sigv4.canonical_query(request.query, "X-Amz-Signature" if claim.presigned else "")
        scope = claim.scope
        path = request.path
        uris = (
            {path: None, sigv4.canonical_uri_s3(path): None}
            if rules.raw_path
            else (sigv4.canonical_uri(path),)
        )
        canonical = to_sign = ""
        for uri in uris:
            canonical = sigv4.canonical_request(
                request.method, uri, query, request.headers, claim.signed, payload_hash
            )
            to_sign = sigv4.string_to_sign(claim.timestamp, scope, canonical)
            made = signer.sign(to_sign)
            if hmac.compare_digest(made.encode(), claim.signature.encode("utf-8", "replace")):
                return sigv4.ChunkSignatures(signer, claim.timestamp, scope, made)
        if credential is None:
            return None
        raise rules.refusal(
            "mismatch",
            AWSAccessKeyId=claim.access_key_id,
            StringToSign=to_sign,
            SignatureProvided=claim.signature,
            StringToSignBytes=to_sign.encode("utf-8", "replace").hex(" "),
            CanonicalRequest=canonical,
            CanonicalRequestBytes=canonical.encode("utf-8", "replace").hex(" "),
        )

    def acquaint(
        self, claim: Claim, credential: Credential, request: WireRequest, rules: Signatures
    ) -> KnownCaller:
        """For the next requests of a caller whose claim was just believed."""
        return KnownCaller(
            self._directory,
            self._clock,
            self._signer(credential, claim),
            claim,
            credential,
            request,
            rules.skew_s,
        )

    @staticmethod
    def verify_old(
        claim: Claim,
        credential: Credential,
        request: WireRequest,
        resource: str,
        rules: Signatures,
    ) -> None:
        """The same for a URL presigned the old way.

        request: with the headers that the URL carries. resource: the path with its bucket.
        """
        surplus = sigv2.unsigned_parameter(request.query)
        if surplus:
            raise rules.refusal(
                "incomplete-query", f"The signature does not cover {printable(surplus)}."
            )
        to_sign = sigv2.string_to_sign(
            request.method, resource, request.query, request.headers, claim.until
        )
        made = sigv2.signature(credential.secret, to_sign)
        if not hmac.compare_digest(made.encode(), claim.signature.encode("utf-8", "replace")):
            raise rules.refusal(
                "mismatch",
                AWSAccessKeyId=claim.access_key_id,
                StringToSign=to_sign,
                SignatureProvided=claim.signature,
                StringToSignBytes=to_sign.encode("utf-8", "replace").hex(" "),
            )

    def _signer(self, credential: Credential | None, claim: Claim) -> sigv4.Signer:
        secret = credential.secret if credential is not None else "no such key"
        key_id = credential.access_key_id if credential is not None else ""
        place = (key_id, claim.date, claim.region, claim.service)
        kept = self._signers.get(place)
        if kept is not None and kept[0] == secret:
            return kept[1]
        signer = sigv4.Signer(sigv4.signing_key(secret, claim.date, claim.region, claim.service))
        if len(self._signers) >= _MAX_CACHED_KEYS:
            del self._signers[next(iter(self._signers))]
        self._signers[place] = (secret, signer)
        return signer

    def _check_time(self, claim: Claim, now: float, rules: Signatures) -> None:
        signed_at = claim.signed_at
        skew_s = rules.skew_s
        if claim.presigned:
            expires_s = claim.expires_s
            if expires_s is None:
                if rules.expires_required:
                    raise rules.refusal("incomplete-query", _INCOMPLETE_QUERY)
                expires_s = _UNSIGNED_PRESIGNED_EXPIRES_S
            if now > signed_at + expires_s:
                raise rules.refusal(
                    "url-expired",
                    f"Signature expired: {claim.timestamp} is now earlier than "
                    f"{_basic(now - expires_s)} ({_basic(now)} - {expires_s // 60} min.)",
                    **{
                        "X-Amz-Expires": str(expires_s),
                        "Expires": _extended(signed_at + expires_s),
                        "ServerTime": _extended(now),
                    },
                )
            if signed_at > now + skew_s:
                raise rules.refusal("url-early", _early(claim.timestamp, now, skew_s))
            return
        if abs(now - signed_at) <= skew_s:
            return
        if signed_at > now:
            detail = _early(claim.timestamp, now, skew_s)
        else:
            detail = (
                f"Signature expired: {claim.timestamp} is now earlier than "
                f"{_basic(now - skew_s)} ({_basic(now)} - {skew_s // 60} min.)"
            )
        raise rules.refusal(
            "skew",
            detail,
            RequestTime=claim.timestamp,
            ServerTime=_extended(now),
            MaxAllowedSkewMilliseconds=str(skew_s * 1000),
        )

    @staticmethod
    def _check_signed_headers(claim: Claim, request: WireRequest, rules: Signatures) -> None:
        left_out = [
            name
            for name in request.headers
            if name.startswith("x-amz-") and name not in claim.signed
        ]
        if claim.presigned and "x-amz-content-sha256" in left_out:
            # It only adds a check of the body; presigning clients send it without signing it.
            left_out.remove("x-amz-content-sha256")
        if left_out:
            raise rules.refusal("unsigned-headers", HeadersNotSigned=", ".join(sorted(left_out)))


class KnownCaller:
    """Verifies what a caller sends to the same place again: the same key, scope, names of signed
    headers, method, path and query; all of which its first request was checked for.

    The time, the token, that the key is still the same, and the signature over headers and
    payload are checked each time.
    """

    __slots__ = (
        *("_canonical", "_clock", "_date", "_directory"),
        *("_expires_at", "_scope", "_signer", "_skew_s", "_token", "credential"),
    )

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        signer: sigv4.Signer,
        claim: Claim,
        credential: Credential,
        request: WireRequest,
        skew_s: int,
    ) -> None:
        self.credential = credential
        self._skew_s = skew_s
        self._directory = directory
        self._clock = clock
        self._signer = signer
        self._date = claim.date
        self._scope = claim.scope
        self._token = credential.session_token.encode()
        self._expires_at = (
            credential.expires_at if credential.expires_at is not None else float("inf")
        )
        self._canonical = sigv4.Canonical(
            request.method,
            sigv4.canonical_uri(request.path),
            sigv4.canonical_query(request.query),
            claim.signed,
        )

    def believes(self, headers: Mapping[str, str], payload_hash: str, signature: bytes) -> bool:
        """headers: values trimmed, without runs of spaces. False says nothing of why."""
        credential = self.credential
        timestamp = headers.get("x-amz-date", "")
        if timestamp[:8] != self._date:
            return False
        now = self._clock.now()
        try:
            signed_at = sigv4.seconds(timestamp)
            canonical = self._canonical.request(headers, payload_hash)
        except (ValueError, KeyError):
            return False
        if abs(now - signed_at) > self._skew_s or now >= self._expires_at:
            return False
        if self._directory.credential(credential.access_key_id) is not credential:
            return False
        token = headers.get("x-amz-security-token", "")
        if not hmac.compare_digest(token.encode(), self._token):
            return False
        made = self._signer.sign(sigv4.string_to_sign(timestamp, self._scope, canonical))
        return hmac.compare_digest(made.encode(), signature)


def _early(timestamp: str, now: float, skew_s: int) -> str:
    return (
        f"Signature not yet current: {timestamp} is still later than {_basic(now + skew_s)} "
        f"({_basic(now)} + {skew_s // 60} min.)"
    )


def _basic(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H%M%SZ")


def _extended(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
