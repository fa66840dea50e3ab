"""S3's rules that need no rows: names, ranges, conditions, checksums, tags, filters, policies."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest

from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.services.s3 import names, tags
from boda.services.s3.access.public import is_public
from boda.services.s3.buckets import cors
from boda.services.s3.notifications import rules as notifications
from boda.services.s3.notifications.rules import Rule
from boda.services.s3.objects import checksums, ranges, words
from boda.services.s3.objects.checksums import ClaimedChecksum, Digest, combined, composite
from boda.services.s3.objects.preconditions import ReadConditions
from boda.services.s3.rows import ObjectVersion
from boda.services.s3.sequence import Sequence, sequencer


@pytest.mark.parametrize("name", ["abc", "my-bucket.eu", "a1b", "x" * 63, "1.2.3"])
def test_good_bucket_names(name: str) -> None:
    names.check_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    ["ab", "x" * 64, "Upper", "a_b", "-ab", "ab-", "a..b", "192.168.5.4", "xn--a", "a-s3alias",
     "..", "a/b", "a b", "sthree-x", "b\n", "ünï"],
)  # fmt: skip
def test_bad_bucket_names(name: str) -> None:
    with pytest.raises(AwsError, match="InvalidBucketName"):
        names.check_bucket_name(name)


def test_keys() -> None:
    assert names.check_key("a/..//b/../ü ") == "a/..//b/../ü ".encode()
    assert len(names.check_key("ü" * 512)) == 1024
    with pytest.raises(AwsError, match="KeyTooLongError"):
        names.check_key("ü" * 512 + "x")
    with pytest.raises(AwsError, match="InvalidURI"):
        names.check_key("\udcff")


@pytest.mark.parametrize(
    "key", ["..", "../a", "a/../../b", "./..", "//..", "a/../..", "a/b/../../.."]
)
def test_a_key_climbs_no_further_than_it_went_down(key: str) -> None:
    with pytest.raises(AwsError, match="InvalidURI"):
        names.check_key(key)


@pytest.mark.parametrize(
    ("given", "kept", "shown"),
    [
        ("plain \t!~", "plain \t!~", "plain \t!~"),
        ("=?UTF-8?B?YWJj?=", "abc", "abc"),
        ("=?utf-8?q?a=5Fb_c?=", "a_b c", "a_b c"),
        ("ÄMÄZÕÑ S3".encode().decode("latin-1"), "ÄMÄZÕÑ S3",
         "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
        ("ÄMÄZÕÑ S3", "ÄMÄZÕÑ S3", "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
        ("test_—_file%E2%80%94_é_2?.pdf", "test_—_file%E2%80%94_é_2?.pdf",
         "=?UTF-8?Q?test=5F=E2=80=94=5Ffile%E2%80%94=5F=C3=A9=5F2=3F.pdf?="),
        ("=?UTF-8?B?AAECAw==?=", "\0\1\2\3", "=?UTF-8?B?AAECAw==?="),
        ("=?UTF-8?B?/2H/?=", "\ufffda\ufffd", "=?UTF-8?B?77+9Ye+/vQ==?="),
        ("=?UTF-8?B?YW?=", "a", "a"),
        ("=?ISO-8859-1?Q?a?=", "=?ISO-8859-1?Q?a?=", "=?ISO-8859-1?Q?a?="),
        ("", "", ""),
    ],
)  # fmt: skip
def test_metadata_that_is_not_ascii(given: str, kept: str, shown: str) -> None:
    assert words.decoded(given) == kept
    assert words.encoded(kept) == shown


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("b/k", ("b", "k", None)),
        ("/b/a%2Fb%20c%3Fd", ("b", "a/b c?d", None)),
        ("b/k?versionId=v", ("b", "k", "v")),
        ("b//k", ("b", "/k", None)),
    ],
)
def test_copy_sources(source: str, found: tuple[str, str, str | None]) -> None:
    assert names.parse_copy_source(source) == found


@pytest.mark.parametrize("source", ["", "b", "b/", "/", "/b", "b/%FF"])
def test_bad_copy_sources(source: str) -> None:
    with pytest.raises(AwsError, match="InvalidArgument"):
        names.parse_copy_source(source)


@pytest.mark.parametrize(
    ("header", "size", "span"),
    [
        ("bytes=0-4", 10, (0, 5)),
        ("bytes=9-", 10, (9, 1)),
        ("bytes=-3", 10, (7, 3)),
        ("bytes=-99", 10, (0, 10)),
        ("bytes=3-99", 10, (3, 7)),
        ("bytes=5-4", 10, None),
        ("bytes=a-b", 10, None),
        ("bits=0-1", 10, None),
        ("bytes=0-1,2-3", 10, None),
        ("bytes=" + "9" * 5000 + "-", 10, None),
        (None, 10, None),
    ],
)
def test_ranges(header: str | None, size: int, span: tuple[int, int] | None) -> None:
    found = ranges.parse(header, size)
    assert (found and (found.start, found.length)) == span


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_unsatisfiable_ranges(header: str) -> None:
    with pytest.raises(AwsError, match="InvalidRange") as caught:
        ranges.parse(header, 10)
    assert caught.value.status == 416
    assert caught.value.fields == {"RangeRequested": header, "ActualObjectSize": "10"}


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(
    ("conditions", "answer"),
    [
        ({}, 200),
        ({"if_match": '"e"'}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": '"x", "e"'}, 200),
        ({"if_match": '"x"'}, 412),
        # A tag that matches outweighs a date that does not.
        ({"if_match": "e", "if_unmodified_since": at(50)}, 200),
        ({"if_unmodified_since": at(99)}, 412),
        ({"if_unmodified_since": at(100)}, 200),
        ({"if_none_match": '"e"'}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_none_match": '"x"', "if_modified_since": at(150)}, 200),
        ({"if_none_match": '"e"', "if_modified_since": at(50)}, 304),
        ({"if_modified_since": at(99)}, 200),
        ({"if_modified_since": at(100)}, 304),
        ({"if_modified_since": at(1000)}, 200),
        ({"if_match": '"x"', "if_none_match": '"e"'}, 412),
    ],
)
def test_conditions_and_their_precedence(conditions: dict[str, Any], answer: int) -> None:
    version = ObjectVersion("b", b"k", 1, "null", False, 100, etag="e")
    try:
        found = 200 if ReadConditions(**conditions).check(version, now=500) else 304
    except AwsError as error:
        found = error.status
    assert found == answer


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_combined_checksums_are_those_of_the_whole(algorithm: str) -> None:
    chance = random.Random(7)
    data = [chance.randbytes(size) for size in (1, 5000, 0, 70_001, 3)]

    def one(each: bytes) -> str:
        digest = Digest([algorithm])
        digest.update(each)
        return digest.checksum(algorithm)

    assert combined(algorithm, [(one(each), len(each)) for each in data]) == one(b"".join(data))


def test_digests_against_the_standard_library() -> None:
    digest = Digest(["CRC32", "SHA256"])
    for piece in (b"hello ", b"world"):
        digest.update(piece)
    assert digest.etag == hashlib.md5(b"hello world").hexdigest()
    crc = zlib.crc32(b"hello world").to_bytes(4, "big")
    assert digest.checksum("CRC32") == base64.b64encode(crc).decode()
    sha = base64.b64encode(hashlib.sha256(b"hello world").digest()).decode()
    assert digest.checksum("SHA256") == sha
    parts = base64.b64encode(hashlib.sha256(base64.b64decode(sha) * 2).digest()).decode()
    assert composite("SHA256", [sha, sha]) == f"{parts}-2"


def test_claims() -> None:
    claim_of = checksums.claim_of
    assert claim_of({}, {}) is None
    assert claim_of({"CRC32": "AAAAAA=="}, {}) == ClaimedChecksum("CRC32", "AAAAAA==")
    trailer = claim_of({}, {"x-amz-trailer": "x-amz-checksum-sha256"})
    assert trailer == ClaimedChecksum("SHA256", trailer=True)
    trailer.check("right", {"x-amz-checksum-sha256": "right"})
    with pytest.raises(AwsError, match="BadDigest"):
        trailer.check("right", {"x-amz-checksum-sha256": "wrong"})
    with pytest.raises(AwsError, match="Expecting a single"):
        claim_of({"CRC32": "AAAAAA==", "SHA1": "x"}, {})
    for bad in ("AAAA", "!", "AAAAAAAAAAA="):
        with pytest.raises(AwsError, match="header is invalid"):
            claim_of({"CRC32": bad}, {})


@pytest.mark.parametrize(
    ("algorithm", "wanted", "found"),
    [
        ("CRC32", None, "COMPOSITE"),
        ("CRC32", "FULL_OBJECT", "FULL_OBJECT"),
        ("CRC64NVME", None, "FULL_OBJECT"),
        ("SHA1", None, "COMPOSITE"),
        ("SHA256", "FULL_OBJECT", None),
        ("CRC64NVME", "COMPOSITE", None),
        ("CRC32", "OTHER", None),
    ],
)
def test_checksum_types(algorithm: str, wanted: str | None, found: str | None) -> None:
    if found is None:
        with pytest.raises(AwsError, match="InvalidRequest"):
            checksums.multipart_type(algorithm, wanted)
    else:
        assert checksums.multipart_type(algorithm, wanted) == found


def test_tags_in_headers() -> None:
    assert tags.header_tags("a=1&b=&c") == {"a": "1", "b": "", "c": ""}
    assert tags.header_tags("a%2Fb=%C3%BC") == {"a/b": "ü"}
    with pytest.raises(AwsError, match="without tag name duplicates"):
        tags.header_tags("a=1&a=2")
    with pytest.raises(AwsError, match="cannot be greater than 10"):
        tags.header_tags("&".join(f"k{i}=v" for i in range(11)))
    with pytest.raises(AwsError, match="TagValue"):
        tags.header_tags("a=" + "x" * 257)


def rule(*events: str, prefix: str = "", suffix: str = "") -> Rule:
    return Rule("r", "arn", frozenset(f"s3:{event}" for event in events), prefix, suffix)


def test_rules_pick() -> None:
    photos = rule("ObjectCreated:*", prefix="in/", suffix=".jpg")
    assert photos.picks("s3:ObjectCreated:Put", "in/a.jpg")
    assert not photos.picks("s3:ObjectCreated:Put", "in/a.png")
    assert not photos.picks("s3:ObjectRemoved:Delete", "in/a.jpg")
    assert rule("ObjectCreated:Put").picks("s3:ObjectCreated:Put", "x")
    assert not rule("ObjectCreated:Put").picks("s3:ObjectCreated:Copy", "x")


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (rule("ObjectCreated:Put"), rule("ObjectCreated:*"), True),
        (rule("ObjectCreated:Put"), rule("ObjectCreated:Copy"), False),
        (rule("ObjectCreated:*", prefix="a/"), rule("ObjectCreated:*", prefix="b/"), False),
        (rule("ObjectCreated:*", prefix="a/"), rule("ObjectCreated:*", prefix="a/b"), True),
        (
            rule("ObjectCreated:*", prefix="a/", suffix=".jpg"),
            rule("ObjectCreated:*", prefix="a/b", suffix=".png"),
            False,
        ),
        (rule("ObjectCreated:*", suffix=".jpg"), rule("ObjectCreated:*", suffix="jpg"), True),
    ],
)
def test_rules_overlap(one: Rule, other: Rule, overlap: bool) -> None:
    assert one.overlaps(other) is overlap
    assert other.overlaps(one) is overlap


def test_filter_names_are_kept_as_s3_writes_them() -> None:
    rules = [{"Name": "PREFIX", "Value": "a"}, {"Name": "suffix", "Value": ""}]
    given = {
        "QueueConfigurations": [
            {
                "QueueArn": "arn:aws:sqs:us-east-1:1:q",
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": rules}},
            }
        ]
    }
    (kept,) = notifications.validated(given, Ids(1))["QueueConfigurations"]
    written = kept["Filter"]["Key"]["FilterRules"]
    assert [(r["Name"], r["Value"]) for r in written] == [("Prefix", "a"), ("Suffix", "")]
    assert kept["Id"]
    del rules[0]["Value"]
    with pytest.raises(AwsError, match="MalformedXML"):
        notifications.validated(given, Ids(1))


def policy(**statement: Any) -> str:
    base = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [{**base, **statement}]})


@pytest.mark.parametrize(
    ("document", "public"),
    [
        (policy(), True),
        (policy(Principal={"AWS": "*"}), True),
        (policy(Principal={"AWS": "arn:aws:iam::1:root"}), False),
        (policy(Effect="Deny"), False),
        (policy(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), False),
        (policy(Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), True),
        (policy(Condition={"StringLike": {"aws:PrincipalOrgID": "*"}}), True),
        (policy(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}}), False),
        (policy(Condition={"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}), True),
        (policy(Condition={"StringEquals": {"s3:prefix": "x"}}), True),
        (policy(Principal={"Service": "s3.amazonaws.com"}), False),
        # What a request without the key passes too binds nobody.
        (policy(Condition={"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}}), True),
        (policy(Condition={"IpAddressIfExists": {"aws:SourceIp": "10.0.0.0/8"}}), True),
        (policy(Condition={"ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-1"}}), True),
        (policy(Condition={"ForAnyValue:StringEquals": {"aws:PrincipalOrgID": "o-1"}}), False),
        (policy(Condition={"Null": {"aws:PrincipalOrgID": "true"}}), True),
        # Everywhere in pieces is everywhere.
        (policy(Condition={"IpAddress": {"aws:SourceIp": ["0.0.0.0/1", "128.0.0.0/1"]}}), True),
        (policy(Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}), True),
        (policy(Condition={"IpAddress": {"aws:SourceIp": ["::/1", "8000::/1"]}}), True),
        (policy(Condition={"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}), False),
        (
            policy(Condition={"IpAddress": {"aws:SourceIp": [f"{n}.0.0.0/8" for n in range(256)]}}),
            True,
        ),
        (
            policy(
                Condition={"IpAddress": {"aws:SourceIp": [f"{n}.0.0.0/8" for n in range(0, 64, 2)]}}
            ),
            True,
        ),
        (policy(Condition={"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "10.0.0.0/8"]}}), False),
        (policy(Condition={"StringLike": {"aws:SourceIp": "1*"}}), True),
        (policy(Condition={"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}), True),
        # An ARN is fixed by its account, or whole.
        (policy(Condition={"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}}), True),
        (policy(Condition={"ArnLike": {"aws:SourceArn": "arn:aws:s3:::b"}}), False),
        (policy(Condition={"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::1:role/*"}}), False),
        (policy(Condition={"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/x"}}), True),
        (policy(Condition={"StringLike": {"aws:PrincipalArn": "arn:*:1:*"}}), True),
        (policy(Condition={"StringEquals": {"aws:PrincipalArn": "${aws:PrincipalArn}"}}), True),
    ],
)
def test_public_policies(document: str, public: bool) -> None:
    assert is_public(document) is public


def test_two_statements_may_make_up_everywhere_together() -> None:
    halves = [
        json.loads(policy(Condition={"IpAddress": {"aws:SourceIp": half}}))["Statement"][0]
        for half in (["0.0.0.0/8", "2.0.0.0/7"], ["1.0.0.0/8"])
    ]
    assert is_public({"Version": "2012-10-17", "Statement": halves})


def test_cors_headers() -> None:
    rules = [
        {"AllowedOrigins": ["https://*.example.com"], "AllowedMethods": ["PUT"],
         "AllowedHeaders": ["x-amz-*", "content-type"]},
        {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]},
    ]  # fmt: skip

    def answer(origin: str, method: str, *asked: str) -> dict[str, str] | None:
        found = cors.headers_for(rules, origin, method, asked)
        return None if found is None else dict(found)

    mine = answer("https://a.example.com", "PUT", "X-Amz-Date", "Content-Type")
    assert mine is not None
    assert mine["Access-Control-Allow-Origin"] == "https://a.example.com"
    assert mine["Access-Control-Allow-Headers"] == "x-amz-date, content-type"
    assert answer("https://a.example.com", "PUT", "authorization") is None
    assert answer("https://example.org", "PUT") is None
    anyone = answer("https://example.org", "GET")
    assert anyone is not None
    assert anyone["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in anyone


def test_sequence_grows_though_the_clock_does_not() -> None:
    clock = ManualClock(100.0)
    sequence = Sequence(clock)
    first, second = sequence.next(), sequence.next()
    assert second > first
    assert sequence.next(above=second + 1000) == second + 1001
    late = Sequence(ManualClock(50.0))
    late.raise_to(second)
    assert late.next() > second
    assert sequencer(255) < sequencer(256)
    assert len(sequencer(1)) == len(sequencer(2**60))
