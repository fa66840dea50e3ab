"""Refusals of signatures: codes, statuses and words by family of services."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.compat import get_current_datetime
from botocore.credentials import Credentials

from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.principal import root_of
from boda.gateway.dialect import JSON, QUERY
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing import sigv4
from boda.gateway.signing.authentication import Authenticator
from boda.gateway.signing.claim import MalformedClaim, hinted_scope, read_claim
from boda.gateway.signing.identity import Credential
from boda.services.s3.dialect import DIALECT as S3

EMPTY = sigv4.EMPTY_SHA256
BAD_URL = "AuthorizationQueryParametersError"
INCOMPLETE = "IncompleteSignatureException"


class Directory:
    generation = 1

    def __init__(self, **changes: Any) -> None:
        given = {"session_token": "", "expires_at": None, "active": True} | changes
        self.key = Credential("AKID", "secret", root_of(), **given)

    def credential(self, access_key_id: str) -> Credential | None:
        return self.key if access_key_id == "AKID" else None

    def permissions(self, principal: Any) -> Any:
        raise AssertionError


RULES = {
    "s3": S3.signatures,
    "query": QUERY.signatures,
    "json": JSON.signatures,
}


def signed(style: str = "json", *, path: str = "/path", query: str = "", method: str = "GET",
           token: str | None = None, presign_s: int | None = None, key: str = "AKID",
           secret: str = "secret", headers: dict[str, str] | None = None
           ) -> WireRequest:  # fmt: skip
    """Signed by botocore, now."""
    credentials = Credentials(key, secret, token)
    made = AWSRequest(method, f"http://host{path}{'?' + query if query else ''}", headers or {})
    service = {"s3": "s3", "query": "sts", "json": "lambda"}[style]
    if presign_s is not None:
        kind = S3SigV4QueryAuth if style == "s3" else SigV4QueryAuth
        kind(credentials, service, "us-east-1", expires=presign_s).add_auth(made)
    else:
        (S3SigV4Auth if style == "s3" else SigV4Auth)(credentials, service, "us-east-1").add_auth(
            made
        )
    target = made.url.removeprefix("http://host")
    there, _, question = target.partition("?")
    sent = {name.lower(): value for name, value in made.headers.items()} | {"host": "host"}
    return WireRequest(method, there, question, sent, b"", "host")


def check(request: WireRequest, style: str, clock: ManualClock | None = None,
          **changes: Any) -> None:  # fmt: skip
    clock = clock or ManualClock(get_current_datetime().timestamp())
    authenticator = Authenticator(Directory(**changes), clock)
    try:
        claim = read_claim(request)
    except MalformedClaim as problem:
        raise problem.error(RULES[style]) from None
    assert claim is not None
    credential = authenticator.credential(claim, request, RULES[style])
    payload = EMPTY
    if style == "s3":
        payload = (
            sigv4.UNSIGNED if claim.signatory.presigned else request.headers["x-amz-content-sha256"]
        )
    authenticator.verify(claim, credential, request, payload, RULES[style])


def refused(request: WireRequest, style: str, **given: Any) -> AwsError:
    with pytest.raises(AwsError) as raised:
        check(request, style, **given)
    return raised.value


@pytest.mark.parametrize("style", ["s3", "query", "json"])
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/", ""),
        ("/a/b", "x=1&a=2&A=3&empty=&bare"),
        ("/a%20b/%C3%BC%2B", "k=a%20b%2B%C3%BC"),
        ("/2015-03-31/functions/arn%3Aaws%3Alambda/x", "Qualifier=%24LATEST"),
    ],
)
def test_accepts_what_botocore_signs(style: str, path: str, query: str) -> None:
    check(signed(style, path=path, query=query), style)
    check(signed(style, path=path, query=query, presign_s=60), style)


def test_s3_keys_are_not_normalised() -> None:
    for path in ("/b//a", "/b/../a", "/b/./a/", "/b/(x)!*'~"):
        check(signed("s3", path=path), "s3")
    moved = signed("s3", path="/b/../a")
    moved.path = "/a"
    assert refused(moved, "s3").code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("style", "code", "status"),
    [
        ("s3", "SignatureDoesNotMatch", 403),
        ("query", "SignatureDoesNotMatch", 403),
        ("json", "InvalidSignatureException", 403),
    ],
)
def test_anything_changed_is_refused(style: str, code: str, status: int) -> None:
    for change in (
        {"method": "POST"},
        {"path": "/other"},
        {"query": "x=2"},
        {"headers": {"host": "other"}},
    ):
        request = signed(style, query="x=1")
        for name, value in change.items():
            if isinstance(value, dict):
                request.headers = {**request.headers, **value}
            else:
                setattr(request, name, value)
        error = refused(request, style)
        assert (error.code, error.status) == (code, status)
    error = refused(signed(style, secret="wrong"), style)
    assert error.code == code
    if style == "s3":
        assert error.fields["AWSAccessKeyId"] == "AKID"
        assert error.fields["StringToSign"].startswith("AWS4-HMAC-SHA256\n")
        assert "secret" not in str(error.fields).replace("wrong", "")


@pytest.mark.parametrize(
    ("style", "code", "status"),
    [
        ("s3", "InvalidAccessKeyId", 403),
        ("query", "InvalidClientTokenId", 403),
        ("json", "UnrecognizedClientException", 403),
    ],
)
def test_unknown_and_disabled_keys(style: str, code: str, status: int) -> None:
    error = refused(signed(style, key="OTHER"), style)
    assert (error.code, error.status) == (code, status)
    error = refused(signed(style), style, active=False)
    assert (error.code, error.status) == (code, status)


@pytest.mark.parametrize(
    ("style", "wrong", "late"),
    [
        ("s3", "InvalidToken", "ExpiredToken"),
        ("query", "InvalidClientTokenId", "ExpiredToken"),
        ("json", "UnrecognizedClientException", "ExpiredTokenException"),
    ],
)
def test_session_tokens(style: str, wrong: str, late: str) -> None:
    check(signed(style, token="t"), style, session_token="t")
    check(signed(style, token="t", presign_s=9), style, session_token="t")
    for token in ("other", "tt", "ü"):
        assert refused(signed(style, token=token), style, session_token="t").code == wrong
    missing = "InvalidAccessKeyId" if style == "s3" else wrong
    assert refused(signed(style), style, session_token="t").code == missing
    assert refused(signed(style, token="t"), style).code == wrong
    expired = refused(signed(style, token="t"), style, session_token="t", expires_at=1.0)
    assert expired.code == late


@pytest.mark.parametrize(("style", "minutes"), [("s3", 15), ("query", 5), ("json", 5)])
def test_clock_skew(style: str, minutes: int) -> None:
    now = int(get_current_datetime().timestamp())
    request = signed(style)
    for offset in (-minutes * 60 + 2, minutes * 60 - 2):
        check(request, style, ManualClock(now + offset))
    late = refused(request, style, clock=ManualClock(now + minutes * 60 + 2))
    early = refused(request, style, clock=ManualClock(now - minutes * 60 - 2))
    assert late.status == early.status == 403
    if style == "s3":
        assert late.code == early.code == "RequestTimeTooSkewed"
        assert late.fields["MaxAllowedSkewMilliseconds"] == "900000"
        return
    stamp = request.headers["x-amz-date"]
    assert late.message.startswith(f"Signature expired: {stamp} is now earlier than ")
    assert late.message.endswith(f" - {minutes} min.)")
    assert early.message.startswith(f"Signature not yet current: {stamp} is still later than ")
    assert early.message.endswith(f" + {minutes} min.)")


def test_presigned_urls_expire() -> None:
    now = int(get_current_datetime().timestamp())
    request = signed("s3", presign_s=60)
    check(request, "s3", ManualClock(now + 55))
    error = refused(request, "s3", clock=ManualClock(now + 62))
    assert (error.code, error.status) == ("AccessDenied", 403)
    assert error.message == "Request has expired"
    assert error.fields["X-Amz-Expires"] == "60"
    assert {"Expires", "ServerTime"} <= error.fields.keys()
    early = refused(request, "s3", clock=ManualClock(now - 1000))
    assert early.message == "Request is not valid yet"
    late = refused(signed("query", presign_s=60), "query", clock=ManualClock(now + 62))
    assert (late.code, late.status) == ("SignatureDoesNotMatch", 403)
    assert late.message.startswith("Signature expired: ")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("X-Amz-Expires=60", "X-Amz-Expires=604801", BAD_URL),
        ("X-Amz-Expires=60", "X-Amz-Expires=-1", BAD_URL),
        ("X-Amz-Expires=60", "X-Amz-Expires=soon", BAD_URL),
        ("X-Amz-Expires=60", "X-Amz-Expires=" + "9" * 30, BAD_URL),
        ("X-Amz-Expires=60&", "", BAD_URL),
        ("X-Amz-Signature=", "X-Amz-Nothing=", BAD_URL),
        ("X-Amz-Date=", "X-Amz-Date=x", BAD_URL),
        ("%2Faws4_request", "", BAD_URL),
        ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60", BAD_URL),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=md5", BAD_URL),
        ("=AWS4-HMAC-SHA256", "=AWS4-ECDSA-P256-SHA256", "NotImplemented"),
    ],
)  # fmt: skip
def test_malformed_presigned_urls(old: str, new: str, code: str) -> None:
    request = signed("s3", presign_s=60)
    assert old in request.query
    request.query = request.query.replace(old, new)
    assert refused(request, "s3").code == code


GOOD = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0"  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("authorization", "date", "code"),
    [
        ("", "20260101T000000Z", INCOMPLETE),
        ("Bearer abc", "20260101T000000Z", INCOMPLETE),
        ("AWS AKID:abc", "20260101T000000Z", INCOMPLETE),
        ("AWS4-HMAC-SHA256", "20260101T000000Z", INCOMPLETE),
        ("AWS4-HMAC-SHA256 ,,,=,", "20260101T000000Z", INCOMPLETE),
        (GOOD.replace("Signature=0", "Signature="), "20260101T000000Z", INCOMPLETE),
        (GOOD.replace("SignedHeaders=host, ", ""), "20260101T000000Z", INCOMPLETE),
        (GOOD + ", Signature=1", "20260101T000000Z", INCOMPLETE),
        (GOOD.replace("/lambda", ""), "20260101T000000Z", INCOMPLETE),
        (GOOD.replace("us-east-1", "../etc"), "20260101T000000Z", INCOMPLETE),
        (GOOD.replace("us-east-1", "US EAST"), "20260101T000000Z", INCOMPLETE),
        (GOOD.replace("aws4_request", "aws5"), "20260101T000000Z", "InvalidSignatureException"),
        (GOOD, "20260102T000000Z", "InvalidSignatureException"),
        (GOOD, "", INCOMPLETE),
        (GOOD, "yesterday", INCOMPLETE),
        (GOOD, "20261301T000000Z", INCOMPLETE),
        (GOOD, "2026010１T000000Z", INCOMPLETE),
        (GOOD.replace("HMAC", "ECDSA-P256"), "20260101T000000Z", "NotImplemented"),
    ],
)  # fmt: skip
def test_malformed_headers(authorization: str, date: str, code: str) -> None:
    headers = {"authorization": authorization, "host": "h"} | ({"x-amz-date": date} if date else {})
    error = refused(WireRequest("GET", "/", "", headers), "json")
    assert error.code == code
    assert error.status in (400, 403, 501)


def test_a_date_header_will_do() -> None:
    headers = {"authorization": GOOD, "date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    claim = read_claim(WireRequest("GET", "/", "", headers))
    assert claim is not None and claim.timestamp == "20260101T000000Z"
    for wrong in ("Thu, 01 Jan 1812 00:00:00 GMT", "x", "Thu, 01 Jan 2026"):
        with pytest.raises(MalformedClaim):
            read_claim(WireRequest("GET", "/", "", headers | {"date": wrong}))


def test_host_and_s3_headers_must_be_signed() -> None:
    request = signed("json")
    request.headers = dict(request.headers)
    request.headers["authorization"] = request.headers["authorization"].replace(
        "SignedHeaders=host;", "SignedHeaders="
    )
    assert "'Host' or ':authority' must be a 'SignedHeader'" in refused(request, "json").message
    put = signed("s3", method="PUT", headers={"x-amz-meta-a": "1"})
    put.headers = {**put.headers, "x-amz-meta-wrong": "2"}
    error = refused(put, "s3")
    assert (error.code, error.status) == ("AccessDenied", 403)
    assert error.message == "There were headers present in the request which were not signed"
    assert error.fields["HeadersNotSigned"] == "x-amz-meta-wrong"


def test_only_one_mechanism() -> None:
    request = signed("s3", presign_s=60)
    request.headers = {**request.headers, "authorization": GOOD}
    assert refused(request, "s3").code == "InvalidArgument"


def test_a_new_secret_counts_at_once() -> None:
    """A derived key that is kept does not outlive its secret."""
    directory = Directory()
    authenticator = Authenticator(directory, ManualClock(get_current_datetime().timestamp()))
    request = signed("json")
    claim = read_claim(request)
    assert claim is not None
    authenticator.verify(claim, directory.key, request, EMPTY, RULES["json"])
    changed = Credential("AKID", "another", root_of())
    with pytest.raises(AwsError):
        authenticator.verify(claim, changed, request, EMPTY, RULES["json"])


def test_a_hint_is_read_from_what_cannot_be_believed() -> None:
    headers = {"authorization": "AWS4-HMAC-SHA256 Credential=test/2/eu-west-1/sqs/aws4_request"}
    assert hinted_scope(WireRequest("GET", "/", "", headers)) == ("test", "eu-west-1", "sqs")
    query = "X-Amz-Credential=k%2F2%2Fus-west-2%2Fs3%2Faws4_request&X-Amz-Expires=9"
    assert hinted_scope(WireRequest("GET", "/", query, {})) == ("k", "us-west-2", "s3")
    assert hinted_scope(WireRequest("GET", "/", "", {"authorization": "Basic eA=="})) is None
