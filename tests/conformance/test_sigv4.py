"""The Signature Version 4 suite: canonical request, string to sign, authorization header."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from boda.core.principal import root_of
from boda.gateway.dialect import JSON
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing import sigv4
from boda.gateway.signing.authentication import Authenticator, canonical_of
from boda.gateway.signing.claim import read_claim
from boda.gateway.signing.identity import Credential
from support.golden import cases, golden

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def _folders() -> list[Path]:
    return sorted(path.parent for path in golden("sigv4").rglob("*.req"))


class _OneKey:
    generation = 1

    def __init__(self, token: str) -> None:
        self.key = Credential("AKIDEXAMPLE", SECRET, root_of(), token)

    def credential(self, access_key_id: str) -> Credential | None:
        return self.key if access_key_id == "AKIDEXAMPLE" else None


class _Then:
    """The suite's moment."""

    def now(self) -> float:
        return float(sigv4.seconds("20150830T123600Z"))


def _request(text: str) -> WireRequest:
    head, _, body = text.partition("\n\n")
    lines = head.split("\n")
    method, rest = lines[0].split(" ", 1)
    target = rest.rsplit(" ", 1)[0]
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    last = ""
    for line in lines[1:]:
        if line.startswith(" "):
            headers[last] += "\n" + line
            continue
        name, _, value = line.partition(":")
        last = name.lower()
        headers[last] = f"{headers[last]},{value.strip()}" if last in headers else value.strip()
    return WireRequest(method, path, query, headers, body.encode())


@pytest.mark.parametrize("case", cases(_folders), ids=lambda path: path.name)
def test_suite(case: Path) -> None:
    def text(kind: str) -> str:
        return (case / f"{case.name}.{kind}").read_text().replace("\r", "")

    request = _request(text("sreq"))
    # One case signs differently in its request than in its expected header; the header counts.
    request.headers["authorization"] = text("authz")
    claim = read_claim(request)
    assert claim is not None
    assert isinstance(request.body, bytes)
    payload = hashlib.sha256(request.body).hexdigest()
    signatory = claim.signatory
    signed = sigv4.trimmed(request.headers, signatory.signed)
    (canonical,) = canonical_of(request, signatory, JSON.signatures).requests(signed, payload)
    assert canonical == text("creq")
    to_sign = sigv4.string_to_sign(claim.timestamp, signatory.scope, canonical)
    assert to_sign == text("sts")
    key = sigv4.signing_key(SECRET, signatory.date, signatory.region, signatory.service)
    signature = sigv4.Signer(key).sign(to_sign)
    assert (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{signatory.scope}, "
        f"SignedHeaders={';'.join(signatory.signed)}, Signature={signature}"
    ) == text("authz")
    directory = _OneKey(claim.token)
    authenticator = Authenticator(directory, _Then())  # type: ignore[arg-type]
    credential = authenticator.credential(claim, request, JSON.signatures)
    authenticator.verify(claim, credential, request, payload, JSON.signatures)


def test_the_suite_is_whole() -> None:
    assert len(_folders()) >= 34
