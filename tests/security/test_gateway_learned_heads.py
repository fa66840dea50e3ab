"""What the gateway remembers of a head lets nobody in, and nothing through, that it would refuse.

Each test has a caller whose head is known, as it was let in before, and then changes one thing: in
the request, in the caller's rights, or in the world.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from boda.core.clock import ManualClock
from boda.core.policy import Policy
from boda.core.principal import Principal
from boda.gateway.gateway import Gateway
from boda.gateway.signing.identity import Credential, Permissions
from support.rig import KEY, SESSION_KEY, USER_KEY, Rig, rig
from support.wire import Line, signed

TARGET = "Logs_20140328.DescribeLogGroups"
BODY = b'{"logGroupNamePrefix":"a"}'
LATER = b'{"logGroupNamePrefix":"b"}'
ALLOW = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@dataclasses.dataclass
class Known:
    """A gateway that has learned the head of ``ask``. general: paths that went the general way."""

    up: Rig
    line: Line
    clock: ManualClock
    general: list[str]

    def request(self, body: bytes = BODY, key: str = USER_KEY, **others: Any) -> bytes:
        headers = {"X-Amz-Target": TARGET, "Content-Type": "application/x-amz-json-1.1"}
        headers |= others.pop("headers", {})
        others = {"at": self.clock.now(), "service": "logs", "also": ("x-amz-target",)} | others
        return signed(self.up.keys.known[key], "/", body, headers=headers, **others)

    async def ask(self, data: bytes) -> bytes:
        return await self.line.ask(data)

    async def refused(self, data: bytes, code: str, status: int = 400) -> None:
        answer = await self.ask(data)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert code.encode() in answer

    async def let_in(self, data: bytes | None = None, *, fast: bool = True) -> bytes:
        self.general.clear()
        answer = await self.ask(self.request() if data is None else data)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert not fast or self.general == []
        return answer

    def permit(self, *statements: dict[str, Any]) -> None:
        """Give the user a policy, from now on."""
        policy = Policy.parse({"Version": "2012-10-17", "Statement": list(statements)})

        def permissions(principal: Principal) -> Permissions:
            return Permissions([policy] if principal.kind != "root" else [])

        self.up.keys.permissions = permissions  # type: ignore[method-assign]
        self.up.keys.generation += 1


@pytest.fixture
async def known(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Known]:
    clock = ManualClock()
    async with rig(clock=clock) as up:
        general: list[str] = []
        answer = Gateway.answer

        async def watched(self: Gateway, request: Any, inbound: Any) -> Any:
            general.append(request.path)
            return await answer(self, request, inbound)

        monkeypatch.setattr(Gateway, "answer", watched)
        found = Known(up, await Line.open(up.server.port), clock, general)
        found.permit(ALLOW)
        for _ in range(2):
            await found.let_in()
        assert len(up.gateway.fast_path._known) == 1
        yield found
        found.line.close()


async def test_the_body_is_its_own(known: Known) -> None:
    assert b'"b-us-east-1"' in await known.let_in(known.request(LATER))
    assert b'"a-us-east-1"' in await known.let_in()


async def test_another_signature(known: Known) -> None:
    good = known.request()
    for signature in ("0" * 64, "", good[-64:].hex(), "Signature=", "é"):
        before, _, rest = good.partition(b"Signature=")
        forged = before + b"Signature=" + signature.encode() + rest[64:]
        await known.refused(forged, "Signature", 400 if not signature else 403)
    wrong = hashlib.sha256(LATER).hexdigest()
    await known.refused(known.request(payload_hash=wrong), "Signature", 403)
    other = dataclasses.replace(known.up.keys.known[USER_KEY], secret="guessed")
    known.up.keys.known["guess"] = other
    await known.refused(known.request(key="guess"), "InvalidSignatureException", 403)


async def test_a_signature_of_another_body(known: Known) -> None:
    assert len(LATER) == len(BODY)
    await known.refused(known.request().replace(BODY, LATER), "InvalidSignatureException", 403)
    declared = {"X-Amz-Content-Sha256": hashlib.sha256(BODY).hexdigest()}
    good = known.request(headers=declared)
    await known.let_in(good)
    await known.refused(good.replace(BODY, LATER), "XAmzContentSHA256Mismatch")


async def test_what_is_signed_and_was_changed(known: Known) -> None:
    good = known.request()
    stamp = good.split(b"X-Amz-Date: ")[1][:16]
    later = b"%d" % (int(stamp[9:15]) + 1)
    for data in (
        good.replace(stamp, stamp[:9] + later.zfill(6) + b"Z"),
        good.replace(TARGET.encode(), TARGET.replace("Groups", "Streams").encode()),
        good.replace(b"host;", b"hos;"),
        good.replace(b"POST / ", b"POST /?a=b "),
        good.replace(b"POST / ", b"PUT / "),
    ):
        answer = await known.ask(data)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 ")), answer
        assert b"logGroups" not in answer


async def test_a_key_that_is_no_more(known: Known) -> None:
    keys = known.up.keys.known
    good, mine = known.request(), keys[USER_KEY]
    for gone in (None, dataclasses.replace(mine, active=False)):
        keys.pop(USER_KEY, None)
        if gone is not None:
            keys[USER_KEY] = gone
        await known.refused(good, "UnrecognizedClientException", 403)
    keys[USER_KEY] = dataclasses.replace(mine, secret="another")
    await known.refused(good, "InvalidSignatureException", 403)
    await known.let_in()
    keys[USER_KEY] = mine
    await known.let_in(good)


async def test_a_key_that_has_become_another_users(known: Known) -> None:
    """Rights are those of its owner now."""
    keys = known.up.keys.known
    mine, root = keys[USER_KEY], keys[KEY].principal
    known.permit({**ALLOW, "Action": "s3:*"})
    await known.refused(known.request(), "AccessDeniedException")
    keys[USER_KEY] = dataclasses.replace(mine, principal=root)
    await known.let_in()
    keys[USER_KEY] = mine
    await known.refused(known.request(), "AccessDeniedException")


async def test_a_session(known: Known) -> None:
    keys = known.up.keys.known
    mine = keys[SESSION_KEY]
    for _ in range(2):
        await known.let_in(known.request(key=SESSION_KEY), fast=False)
    await known.let_in(known.request(key=SESSION_KEY))
    for token in ("", "another"):
        keys["forged"] = dataclasses.replace(mine, session_token=token)
        await known.refused(known.request(key="forged"), "UnrecognizedClientException", 403)
    keys["forged"] = dataclasses.replace(keys[USER_KEY], session_token="a")
    await known.refused(known.request(key="forged"), "UnrecognizedClientException", 403)
    keys[SESSION_KEY] = dataclasses.replace(mine, expires_at=known.clock.now() + 10)
    await known.let_in(known.request(key=SESSION_KEY))
    await known.clock.advance(11)
    await known.refused(known.request(key=SESSION_KEY), "ExpiredTokenException", 403)


async def test_a_policy_that_changed(known: Known) -> None:
    denied = {"Effect": "Deny", "Action": "logs:DescribeLogGroups", "Resource": "*"}
    for _ in range(2):
        known.permit(ALLOW, denied)
        await known.refused(known.request(), "AccessDeniedException")
        known.permit(ALLOW)
        await known.let_in()
        known.permit({**ALLOW, "Action": "s3:*"})
        await known.refused(known.request(), "AccessDeniedException")
        known.permit(ALLOW)
        await known.let_in()


def denied_if(operator: str, key: str, value: str) -> dict[str, Any]:
    return {**ALLOW, "Effect": "Deny", "Condition": {operator: {key: value}}}


async def test_a_deny_on_the_time(known: Known) -> None:
    """It comes into force amid the requests of one head."""
    now = f"{known.clock.now():.0f}"
    known.permit(ALLOW, denied_if("NumericGreaterThan", "aws:EpochTime", now))
    good = known.request()
    for _ in range(3):
        await known.let_in(good)
    await known.clock.advance(2)
    await known.refused(good, "AccessDeniedException")
    await known.refused(known.request(), "AccessDeniedException")


async def test_a_deny_on_what_each_request_says(known: Known) -> None:
    for key, header, value in (
        ("aws:UserAgent", "User-Agent", "curl/1"),
        ("aws:Referer", "Referer", "http://a/"),
    ):
        known.permit(ALLOW, denied_if("StringEquals", key, value))
        for _ in range(2):
            await known.let_in()
            await known.let_in(known.request(headers={header: f"{value}2"}))
            await known.refused(known.request(headers={header: value}), "AccessDeniedException")


@contextlib.contextmanager
def bound() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening


async def test_a_deny_on_the_address(known: Known) -> None:
    """Environments have addresses of their own, whatever bytes they send."""
    outside = {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    known.permit(ALLOW, {**ALLOW, "Effect": "Deny", "Condition": outside})
    with bound() as listening:
        port = listening.getsockname()[1]
        endpoint = known.up.server.serve_socket(listening, "env-1")
        inside = await Line.open(port)
        for _ in range(2):
            good = known.request()
            await known.let_in(good)
            assert b"AccessDeniedException" in await inside.ask(good)
        inside.close()
        endpoint.close()


async def test_a_moment_that_is_past(known: Known) -> None:
    good = known.request()
    await known.clock.advance(300)
    await known.let_in(good)
    await known.clock.advance(1)
    await known.refused(good, "Signature expired", 403)
    await known.let_in()
    early = known.request(at=known.clock.now() + 301)
    await known.refused(early, "Signature not yet current", 403)
    await known.clock.advance(1)
    await known.let_in(early)


async def test_a_clock_that_leaps(known: Known) -> None:
    good = known.request()
    for leap_s, words in ((-400, "not yet current"), (86_400, "expired"), (10**9, "expired")):
        began = known.clock.now()
        known.clock._now += leap_s  # type: ignore[attr-defined]
        await known.refused(good, words, 403)
        known.clock._now = began  # type: ignore[attr-defined]
        await known.let_in(good)


async def test_another_days_scope(known: Known) -> None:
    """The head of a day is not good for another, however the clock stands."""
    day = known.request().split(b"/")[3][:8]
    await known.clock.advance(86_400)
    await known.refused(known.request(date=day.decode()), "Date in Credential scope", 403)
    await known.let_in(fast=False)


async def test_another_scope(known: Known) -> None:
    answer = await known.let_in(known.request(region="eu-west-1"), fast=False)
    assert b'"a-eu-west-1"' in answer and b'"a-us-east-1"' in await known.let_in()
    await known.refused(known.request(region="mars-1"), "valid region", 403)
    for service in ("sts", "lambda", "dynamodb", ""):
        answer = await known.ask(known.request(service=service))
        assert not answer.startswith(b"HTTP/1.1 200 ") and b"logGroups" not in answer, answer


async def test_another_host(known: Known) -> None:
    await known.refused(known.request(host="evil.example"), "is no name of this platform", 403)
    good = known.request()
    for host in (b"evil.example", b"127.0.0.2", b"localhost"):
        answer = await known.ask(good.replace(b"Host: 127.0.0.1", b"Host: " + host))
        assert answer.startswith(b"HTTP/1.1 403 ") and b"logGroups" not in answer
    await known.let_in(known.request(host="localhost"), fast=False)
    # Where a host name does not say otherwise, one that is signed for S3 is a bucket's.
    unsigned = known.request(also=())
    await known.refused(unsigned.replace(b"host;", b""), "Signature", 403)


@pytest.mark.parametrize(
    "line",
    [
        b"Host: 127.0.0.1",
        b"X-Amz-Target: Logs_20140328.DeleteLogGroup",
        b"x-amz-target: Logs_20140328.DeleteLogGroup",
        b"X-Amz-Date: 20200101T000000Z",
        b"X-Amz-Security-Token: a",
        b"Authorization: AWS4-HMAC-SHA256 Credential=a",
        b"authorization: Basic YTpi",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"Content-Encoding: gzip",
        b"Smithy-Protocol: rpc-v2-cbor",
        b"X-Amz-Target : Logs_20140328.DeleteLogGroup",
        b" X-Amz-Target: Logs_20140328.DeleteLogGroup",
        b"X-A: b\rX-Amz-Target: Logs_20140328.DeleteLogGroup",
        b"X-A: b\nX-Amz-Target: Logs_20140328.DeleteLogGroup",
        b"X-A: b\0",
    ],
)
async def test_a_header_that_is_smuggled_in(known: Known, line: bytes) -> None:
    """Before and behind what stands there: whoever might read it in two ways has the parser of the
    general way read it, or nobody."""
    good = known.request()
    first, rest = good.split(b"\r\n", 1)
    head, body = good.split(b"\r\n\r\n")
    for data in (
        b"\r\n".join((first, line, rest)),
        b"\r\n".join((head, line)) + b"\r\n\r\n" + body,
    ):
        here = await Line.open(known.up.server.port)
        known.general.clear()
        answer = await here.ask(data)
        here.close()
        assert known.general != [] or answer.startswith(b"HTTP/1.1 400 Bad Request"), answer
        assert b"DeleteLogGroup" not in answer
    await known.let_in()


async def test_a_header_that_means_another_operation(known: Known) -> None:
    """It need not be signed; what is then meant is asked for and run, and nothing else."""
    unsigned = known.request(also=())
    for _ in range(3):
        await known.let_in(unsigned, fast=False)
    other = unsigned.replace(TARGET.encode(), b"Logs_20140328.DeleteLogGroup")
    denied = {**ALLOW, "Effect": "Deny", "Action": "logs:DescribeLogGroups"}
    known.permit(ALLOW, denied)
    for _ in range(3):
        await known.refused(other, "logs:DeleteLogGroup", 501)
        await known.refused(unsigned, "logs:DescribeLogGroups on resource")


def upload(known: Known, body: bytes, **others: Any) -> bytes:
    digest = others.pop("digest", hashlib.sha256(body).hexdigest())
    headers = {"X-Amz-Content-Sha256": digest, **others.pop("headers", {})}
    also = ("x-amz-content-sha256", *others.pop("also", ()))
    key: Credential = known.up.keys.known[KEY]
    given = {"at": known.clock.now(), "service": "s3", "method": "PUT"} | others
    return signed(key, "/b/k", body, headers=headers, also=also, payload_hash=digest, **given)


async def test_an_upload(known: Known) -> None:
    """Its digest stands for its body in the signature, and is compared with what comes."""
    kept = known.up.objects.kept
    for _ in range(2):
        await known.let_in(upload(known, b"one"), fast=False)
    await known.let_in(upload(known, b"two"))
    assert kept["b", "k"] == b"two"
    await known.refused(upload(known, b"one").replace(b"one", b"six"), "XAmzContentSHA256Mismatch")
    await known.refused(upload(known, b"one", digest="0"), "InvalidArgument")
    forged = upload(known, b"one", digest=hashlib.sha256(b"six").hexdigest())
    await known.refused(forged, "XAmzContentSHA256Mismatch")
    unsigned = upload(known, b"six", headers={"X-Amz-Meta-A": "b"})
    await known.refused(unsigned, "AccessDenied", 403)
    copied = upload(known, b"", headers={"X-Amz-Copy-Source": "/b/k"}, also=("x-amz-copy-source",))
    await known.refused(copied, "s3:CopyObject", 501)
    assert kept["b", "k"] == b"two"
    nothing = upload(known, b"").replace(b"Content-Length: 0\r\n", b"")
    await known.refused(nothing, "MissingContentLength", 411)


async def test_nothing_is_learned_of_strangers(known: Known) -> None:
    fast = known.up.gateway.fast_path
    before = dict(fast._known)
    strange = Credential("AKIASTRANGE", "s", known.up.keys.known[KEY].principal)
    known.up.keys.known["strange"] = strange
    for number in range(20):
        await known.refused(
            known.request(key="strange", region="eu-west-1", headers={"A": f"{number}"}),
            "UnrecognizedClientException",
            403,
        )
        forged = known.request(region="eu-west-2").replace(b"Signature=", b"Signature=0")
        await known.refused(forged, "InvalidSignatureException", 403)
    assert fast._known == before


async def test_what_is_learned_is_bounded(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boda.gateway.fast_path._MOST_KNOWN", 8)
    fast = known.up.gateway.fast_path
    for number in range(40):
        query = f"a={number}"
        await known.let_in(known.request(query=query), fast=False)
        assert len(fast._known) <= 8
    held = len(fast._known)
    for _ in range(3):
        await known.let_in(known.request(query=f"a={'x' * 5000}"), fast=False)
    assert len(fast._known) <= max(held, 8)
    assert all(len(key[1]) < 5000 for key in fast._known)
