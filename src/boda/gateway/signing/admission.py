"""Decide on callers before their signature is compared, as functions of data.

Law of this file: it reads no clock and queries no directory; the caller brings the time, the
claimed key, and the facts about the request's head. The general way and the fast path call the same
``admit``, so that a rule is written once. The signature itself is compared afterwards, in
``authentication``.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

from boda.gateway.dialect import Signatures
from boda.gateway.signing.claim import INCOMPLETE_QUERY, Claim, Flaw
from boda.gateway.signing.identity import Credential

_UNSIGNED_PRESIGNED_EXPIRES_S = 900


def place_flaw(region: str, host: str, page: str) -> Flaw | None:
    """Return an objection to a request that holds wherever its signature comes from; None if there
    is none.

    region: why the region that it is signed for is refused, "" if it is valid. host: the name by
    which it calls the platform, "" if it is one of the platform's. page: the origin of another
    site's page that makes a browser send it, "" for none.
    """
    if region:
        return Flaw("region", region)
    if host:
        return Flaw("foreign-host", host)
    return Flaw("foreign-page", page) if page else None


def admit(
    against: Flaw | None,
    claim: Claim,
    rules: Signatures,
    headers: Iterable[str],
    key: Credential | None,
    now: float,
) -> Flaw | None:
    """Return why a claim is refused before its signature is compared; None if it is not.

    against: an earlier objection to the request. rules: the service's. headers: the names of the
    request's headers. key: the one that the claim names, None if there is none. now: seconds since
    the epoch.
    """
    if against is not None:
        return against
    signatory = claim.signatory
    if signatory.until and not rules.old:
        return Flaw("mechanism", "HMAC-SHA1")
    if key is None or not key.active:
        return Flaw("key", AWSAccessKeyId=signatory.access_key_id)
    if key.session_token and not claim.token and rules.token_with_key:
        return Flaw("key", AWSAccessKeyId=signatory.access_key_id)
    if (claim.token or key.session_token) and not hmac.compare_digest(
        claim.token.encode("utf-8", "replace"), key.session_token.encode()
    ):
        return Flaw("token")
    if key.expires_at is not None and now >= key.expires_at:
        return Flaw("token-expired")
    if signatory.until:
        until = int(signatory.until)
        return (
            Flaw("url-expired", Expires=_extended(until), ServerTime=_extended(now))
            if (now > until)
            else None
        )
    flaw = None
    if signatory.presigned:
        flaw = _of_url(claim, rules, now)
    elif abs(now - claim.signed_at) > rules.skew_s:
        flaw = _of_time(claim, rules, now)
    if flaw is not None:
        return flaw
    if "host" not in signatory.signed:
        return Flaw(
            "host", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        )
    return _of_headers(claim, headers) if rules.every_amz_header else None


def _of_url(claim: Claim, rules: Signatures, now: float) -> Flaw | None:
    """Check the time of a presigned URL."""
    expires_s, signed_at = claim.signatory.expires_s, claim.signed_at
    if expires_s is None:
        if rules.expires_required:
            return Flaw("incomplete-query", INCOMPLETE_QUERY)
        expires_s = _UNSIGNED_PRESIGNED_EXPIRES_S
    if now > signed_at + expires_s:
        return Flaw(
            "url-expired",
            f"Signature expired: {claim.timestamp} is now earlier than "
            f"{_basic(now - expires_s)} ({_basic(now)} - {expires_s // 60} min.)",
            **{
                "X-Amz-Expires": str(expires_s),
                "Expires": _extended(signed_at + expires_s),
                "ServerTime": _extended(now),
            },
        )
    skew_s = rules.skew_s
    return Flaw("url-early", _early(claim, now, skew_s)) if signed_at > now + skew_s else None


def _of_time(claim: Claim, rules: Signatures, now: float) -> Flaw:
    skew_s = rules.skew_s
    if claim.signed_at > now:
        detail = _early(claim, now, skew_s)
    else:
        detail = (
            f"Signature expired: {claim.timestamp} is now earlier than "
            f"{_basic(now - skew_s)} ({_basic(now)} - {skew_s // 60} min.)"
        )
    return Flaw(
        "skew",
        detail,
        RequestTime=claim.timestamp,
        ServerTime=_extended(now),
        MaxAllowedSkewMilliseconds=str(skew_s * 1000),
    )


def _of_headers(claim: Claim, headers: Iterable[str]) -> Flaw | None:
    """Check that every ``x-amz-*`` header is signed."""
    signed = claim.signatory.signed
    left_out = [name for name in headers if name.startswith("x-amz-") and name not in signed]
    if claim.signatory.presigned and "x-amz-content-sha256" in left_out:
        # It only adds a check of the body; presigning clients send it without signing it.
        left_out.remove("x-amz-content-sha256")
    if not left_out:
        return None
    return Flaw("unsigned-headers", HeadersNotSigned=", ".join(sorted(left_out)))


def _early(claim: Claim, now: float, skew_s: int) -> str:
    return (
        f"Signature not yet current: {claim.timestamp} is still later than "
        f"{_basic(now + skew_s)} ({_basic(now)} + {skew_s // 60} min.)"
    )


def _basic(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H%M%SZ")


def _extended(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
