"""Whose host names and origins are this platform's, and who calls where nothing is verified."""

from __future__ import annotations

import pytest

from boda.core.errors import AwsError
from boda.core.principal import Principal, root_of
from boda.gateway.asking.callers import OpenCallers
from boda.gateway.http.hosts import Hosts
from boda.gateway.http.wire import WireRequest
from support.rig import KEY, SESSION_KEY, USER_KEY, Keys

LOCAL = [
    "",
    "localhost",
    "LOCALHOST:4566",
    "localhost.:4566",
    "127.0.0.1:4566",
    "127.1.2.3",
    "[::1]:4566",
    "[::ffff:127.0.0.1]",
    "bucket.s3.localhost:4566",
    "s3.us-east-1.localhost.localstack.cloud:4566",
    "localhost.localstack.cloud",
    "host.docker.internal:4566",
    "bucket.s3.eu-west-1.amazonaws.com",
]
STRANGE = [
    "evil.example",
    "evil.example:4566",
    "localhost.evil.example",
    "notlocalhost",
    "xlocalhost:4566",
    "127.0.0.1.evil.example",
    "evil.example#.localhost",
    "evil.example@localhost",
    "evil.example:80:localhost",
    "localhost.localstack.cloud.evil.example",
    "192.168.1.5",
    "8.8.8.8:4566",
    "[2001:db8::1]",
    "0x7f000001",
    "2130706433",
    "boda",
    ".localhost:x",
    "amazonaws.com.evil.example",
    "evilamazonaws.com",
    ".",
]


@pytest.mark.parametrize("host", LOCAL)
def test_names_of_the_loopback_are_ours(host: str) -> None:
    assert Hosts().ours(host)
    assert Hosts("0.0.0.0").ours(host)


@pytest.mark.parametrize("host", STRANGE)
def test_other_names_are_not(host: str) -> None:
    hosts = Hosts()
    assert not hosts.ours(host)
    assert not hosts.ours(host)  # what is remembered is the same


def test_the_address_listened_on_and_names_that_were_given() -> None:
    assert Hosts("192.168.1.5").ours("192.168.1.5:4566")
    assert not Hosts("192.168.1.5").ours("192.168.1.6:4566")
    assert not Hosts("192.168.1.5").ours("boda")
    everywhere = Hosts("0.0.0.0")
    assert everywhere.ours("192.168.1.6") and everywhere.ours("[2001:db8::1]:4566")
    assert everywhere.ours("boda:4566") and not everywhere.ours("evil.example")
    assert Hosts("boda.lan").ours("BODA.lan:80") and Hosts("boda.lan").ours("10.0.0.1")
    named = Hosts(names=["aws.example.com", "*.dev.example.com"])
    assert named.ours("AWS.example.com:443") and named.ours("a.b.dev.example.com")
    assert not named.ours("dev.example.com") and not named.ours("x.aws.example.com")
    assert not named.ours("xdev.example.com")
    for wrong in ("", "http://a", "a b", "*", "*.", "a:80", "*a.example"):
        with pytest.raises(ValueError, match="host name"):
            Hosts(names=[wrong])


def test_what_strangers_send_is_not_remembered_for_ever() -> None:
    hosts = Hosts()
    for number in range(5000):
        assert not hosts.ours(f"evil{number}.example")
    assert len(hosts._known) <= 1024


def page(host: str = "localhost:4566", **headers: str) -> WireRequest:
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return WireRequest("POST", "/", "", named, b"", host)


@pytest.mark.parametrize(
    "request_",
    [
        page(),
        page(Origin="http://localhost:3000"),
        page(Origin="https://127.0.0.1"),
        page(Origin="http://[::1]:8080"),
        page(Origin="http://app.localhost"),
        page(Origin="capacitor://localhost"),
        page("192.168.1.5:4566", Origin="http://192.168.1.5:4566"),
        page(Origin="https://app.example.com"),
        page(Sec_Fetch_Site="same-origin"),
        page(Sec_Fetch_Site="same-site"),
        page(Sec_Fetch_Site="none"),
    ],
)
def test_pages_of_this_machine(request_: WireRequest) -> None:
    assert Hosts("0.0.0.0", ["app.example.com"]).foreign(request_) == ""


@pytest.mark.parametrize(
    ("request_", "origin"),
    [
        (page(Origin="https://evil.example"), "https://evil.example"),
        (page(Origin="null"), "null"),
        (page(Origin="https://evil.s3.amazonaws.com"), "https://evil.s3.amazonaws.com"),
        (page(Origin=""), "null"),
        (page(Origin="http://localhost.evil.example"), "http://localhost.evil.example"),
        (page(Origin="http://evil.example/localhost"), "http://evil.example/localhost"),
        (page(Origin="http://evil.example:80@localhost"), "http://evil.example:80@localhost"),
        # Another machine may have an address that boda would be called by, too.
        (page(Origin="http://192.168.1.6"), "http://192.168.1.6"),
        (page("192.168.1.5:4566", Origin="http://192.168.1.5"), "http://192.168.1.5"),
        (page(Origin="http://localhost,https://evil.example"), None),
        (page(Sec_Fetch_Site="cross-site"), "cross-site"),
        (page(Origin="https://evil.example", Sec_Fetch_Site="same-origin"), None),
    ],
)
def test_pages_of_others(request_: WireRequest, origin: str | None) -> None:
    found = Hosts("0.0.0.0").foreign(request_)
    assert found == (origin or request_.headers["origin"])


def signed(key: str) -> WireRequest:
    scope = f"{key}/20260101/us-east-1/sts/aws4_request"
    return page(
        Authorization=f"AWS4-HMAC-SHA256 Credential={scope},SignedHeaders=host,Signature=0",
        X_Amz_Date="20260101T000000Z",
    )


@pytest.mark.parametrize(
    ("request_", "caller"),
    [
        (signed(KEY), Keys().known[KEY].principal),
        (signed(USER_KEY), Keys().known[USER_KEY].principal),
        (signed(SESSION_KEY), Keys().known[SESSION_KEY].principal),
        (signed("111111111111"), root_of("111111111111", "111111111111")),
        (signed("anything"), root_of("222222222222", "anything")),
        (signed("1111111111112"), root_of("222222222222", "1111111111112")),
        (page(), root_of("222222222222")),
        (page(Authorization="Basic eA=="), root_of("222222222222")),
        (
            page(Authorization="AWS4-HMAC-SHA256 Credential=333333333333/x/y/logs/aws4_request"),
            root_of("333333333333", "333333333333"),
        ),
    ],
)
def test_who_calls_where_nothing_is_verified(request_: WireRequest, caller: Principal) -> None:
    callers = OpenCallers(Keys(), "222222222222", Hosts())
    assert callers.principal(request_) == caller
    callers.refuse_pages(request_)


def test_pages_call_as_nobody() -> None:
    callers = OpenCallers(Keys(), "222222222222", Hosts())
    with pytest.raises(AwsError, match=r"Pages of https://evil\.example may not call"):
        callers.refuse_pages(page(Origin="https://evil.example"))
