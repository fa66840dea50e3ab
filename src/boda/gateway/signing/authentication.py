"""Verify the claim of a request.

``Authenticator.credential`` refuses a request, if it can, before a byte of the body is read
(``admission``); ``Authenticator.verify`` compares the signature once the payload's hash is known.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from boda.core.clock import Clock
from boda.core.errors import printable
from boda.gateway.dialect import Signatures
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing import sigv2, sigv4
from boda.gateway.signing.admission import admit
from boda.gateway.signing.claim import Claim, Flaw, Signatory
from boda.gateway.signing.identity import Credential, Directory

_MAX_CACHED_KEYS = 4096


class Authenticator:
    """Verifies claims; refusals are in the service's words.

    Derived keys are cached per key, day, region and service: at most a few thousand.
    """

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._signers: dict[tuple[str, str, str, str], tuple[str, sigv4.Signer]] = {}

    def credential(
        self, claim: Claim, request: WireRequest, rules: Signatures, against: Flaw | None = None
    ) -> Credential:
        """Return the claimed key, if everything but the signature itself is in order. Raises
        AwsError.

        against: an earlier objection to the request.
        """
        key = self._directory.credential(claim.signatory.access_key_id)
        flaw = admit(against, claim, rules, request.headers, key, self._clock.now())
        if flaw is None:
            assert key is not None
            return key
        if flaw.why == "key":
            # As much work as for an existing key, so that the time does not reveal which ones
            # exist.
            texts = canonical_of(request, claim.signatory, rules).requests(
                sigv4.trimmed(request.headers, claim.signatory.signed), sigv4.EMPTY_SHA256
            )
            matching(self.signer(None, claim.signatory), claim, claim.signatory.scope, texts)
        raise flaw.error(rules)

    def verify(
        self,
        claim: Claim,
        credential: Credential,
        request: WireRequest,
        payload_hash: str,
        rules: Signatures,
    ) -> sigv4.ChunkSignatures:
        """Compare the signature. Raises AwsError if it is not the one this key makes.

        Return the chain for the chunks of a streamed upload.
        """
        signatory = claim.signatory
        signer, scope = self.signer(credential, signatory), signatory.scope
        texts = canonical_of(request, signatory, rules).requests(
            sigv4.trimmed(request.headers, signatory.signed), payload_hash
        )
        made = matching(signer, claim, scope, texts)
        if made:
            return sigv4.ChunkSignatures(signer, claim.timestamp, scope, made)
        canonical = texts[-1]
        to_sign = sigv4.string_to_sign(claim.timestamp, scope, canonical)
        raise rules.refusal(
            "mismatch",
            AWSAccessKeyId=signatory.access_key_id,
            StringToSign=to_sign,
            SignatureProvided=claim.signature,
            StringToSignBytes=to_sign.encode("utf-8", "replace").hex(" "),
            CanonicalRequest=canonical,
            CanonicalRequestBytes=canonical.encode("utf-8", "replace").hex(" "),
        )

    @staticmethod
    def verify_old(
        claim: Claim,
        credential: Credential,
        request: WireRequest,
        resource: str,
        rules: Signatures,
    ) -> None:
        """Compare the signature of a URL presigned the old way. Raises AwsError.

        request: with the headers that the URL carries. resource: the path with its bucket.
        """
        surplus = sigv2.unsigned_parameter(request.query)
        if surplus:
            raise rules.refusal(
                "incomplete-query", f"The signature does not cover {printable(surplus)}."
            )
        to_sign = sigv2.string_to_sign(
            request.method, resource, request.query, request.headers, claim.signatory.until
        )
        made = sigv2.signature(credential.secret, to_sign)
        if not hmac.compare_digest(made.encode(), claim.signature.encode("utf-8", "replace")):
            raise rules.refusal(
                "mismatch",
                AWSAccessKeyId=claim.signatory.access_key_id,
                StringToSign=to_sign,
                SignatureProvided=claim.signature,
                StringToSignBytes=to_sign.encode("utf-8", "replace").hex(" "),
            )

    def signer(self, credential: Credential | None, signatory: Signatory) -> sigv4.Signer:
        """Return a signer with the key for the signatory's day, region and service."""
        secret = credential.secret if credential is not None else "no such key"
        key_id = credential.access_key_id if credential is not None else ""
        place = (key_id, signatory.date, signatory.region, signatory.service)
        kept = self._signers.get(place)
        if kept is not None and kept[0] == secret:
            return kept[1]
        signer = sigv4.Signer(sigv4.signing_key(secret, *place[1:]))
        if len(self._signers) >= _MAX_CACHED_KEYS:
            del self._signers[next(iter(self._signers))]
        self._signers[place] = (secret, signer)
        return signer


def canonical_of(request: WireRequest, signatory: Signatory, rules: Signatures) -> sigv4.Canonical:
    """Return the signed parts of a request, without its headers' values and its payload."""
    path = request.path
    # A path that is not normalised is signed as it is or encoded again, depending on the client.
    uris = (
        dict.fromkeys((path, sigv4.canonical_uri_s3(path)))
        if rules.raw_path
        else (sigv4.canonical_uri(path),)
    )
    query = sigv4.canonical_query(request.query, "X-Amz-Signature" if signatory.presigned else "")
    return sigv4.Canonical(request.method, uris, query, signatory.signed)


def matching(signer: sigv4.Signer, claim: Claim, scope: str, texts: Iterable[str]) -> str:
    """Return the claimed signature if it is that of one of the canonical requests, else ""."""
    claimed = claim.signature.encode("utf-8", "replace")
    for text in texts:
        made = signer.sign(sigv4.string_to_sign(claim.timestamp, scope, text))
        if hmac.compare_digest(made.encode(), claimed):
            return made
    return ""
