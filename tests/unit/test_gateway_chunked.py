"""The aws-chunked decoder, against AWS's published example and against liars."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest

from boda.core.errors import AwsError
from boda.gateway.calling.checksums import ContentMd5, checks_of
from boda.gateway.signing.chunked import AwsChunks
from boda.gateway.signing.sigv4 import ChunkSignatures, Signer, signing_key

# Amazon S3 API Reference, "Example calculations" of chunked uploads: 66,560 bytes of "a".
SIGNER = Signer(
    signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3")
)
SCOPE = "20130524/us-east-1/s3/aws4_request"
SIGNED = (
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
TRAILED = (
    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)
TRAILER_SIGNATURE = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
CRC32C = "x-amz-checksum-crc32c"


def _chain(seed: str) -> ChunkSignatures:
    return ChunkSignatures(SIGNER, "20130524T000000Z", SCOPE, seed)


def _body(signatures: tuple[str, ...], tail: str = "\r\n", fill: bytes = b"a") -> bytes:
    _, first, second, last = signatures
    return b"".join(
        (
            f"10000;chunk-signature={first}\r\n".encode(),
            fill * 65_536,
            f"\r\n400;chunk-signature={second}\r\n".encode(),
            fill * 1024,
            f"\r\n0;chunk-signature={last}\r\n{tail}".encode(),
        )
    )


def _decode(chunks: AwsChunks, data: bytes, step: int = 1 << 20) -> bytes:
    out = []
    for at in range(0, len(data), step):
        out += chunks.feed(data[at : at + step])
    chunks.finish()
    return b"".join(out)


@pytest.mark.parametrize("step", [1 << 20, 7, 8192])
def test_the_published_example(step: int) -> None:
    chunks = AwsChunks(66_560, signatures=_chain(SIGNED[0]))
    assert _decode(chunks, _body(SIGNED), step) == b"a" * 66_560


@pytest.mark.parametrize("blank", ["", "\r\n"])
def test_the_published_example_with_a_trailer(blank: str) -> None:
    chunks = AwsChunks(
        66_560,
        signatures=_chain(TRAILED[0]),
        trailer_names=frozenset((CRC32C,)),
        signed_trailer=True,
    )
    tail = f"{CRC32C}:sOO8/Q==\r\n{blank}x-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n"
    assert _decode(chunks, _body(TRAILED, tail)) == b"a" * 66_560
    assert chunks.trailers == {CRC32C: "sOO8/Q=="}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_body(SIGNED, fill=b"b"), "SignatureDoesNotMatch"),
        (_body((SIGNED[0], SIGNED[1], SIGNED[1], SIGNED[3])), "SignatureDoesNotMatch"),
        (_body(SIGNED).replace(b";chunk-signature", b";other"), "SignatureDoesNotMatch"),
        (_body(SIGNED)[:-100], "IncompleteBody"),
        (b"zz;chunk-signature=0\r\n", "IncompleteBody"),
        (b"-1;chunk-signature=0\r\n", "IncompleteBody"),
        (b"fffffffffffffffff;chunk-signature=0\r\n", "IncompleteBody"),
        (b"ffffffff;chunk-signature=0\r\n", "IncompleteBody"),
        (b"1" * 5000, "IncompleteBody"),
        (b"", "IncompleteBody"),
    ],
)
def test_refuses(data: bytes, code: str) -> None:
    with pytest.raises(AwsError) as raised:
        _decode(AwsChunks(66_560, signatures=_chain(SIGNED[0])), data)
    assert raised.value.code == code


def test_refuses_a_trailer_whose_signature_is_wrong() -> None:
    chunks = AwsChunks(
        66_560,
        signatures=_chain(TRAILED[0]),
        trailer_names=frozenset((CRC32C,)),
        signed_trailer=True,
    )
    tail = f"{CRC32C}:AAAAAA==\r\nx-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n"
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        _decode(chunks, _body(TRAILED, tail))


@pytest.mark.parametrize(
    ("tail", "code"),
    [
        (b"0\r\n\r\n", "MalformedTrailerError"),
        (b"0\r\nx-amz-checksum-crc32\r\n\r\n", "MalformedTrailerError"),
        (b"0\r\nx-other:1\r\n\r\n", "MalformedTrailerError"),
        (b"0\r\nx-amz-checksum-crc32:1\r\nx-amz-checksum-crc32:1\r\n\r\n", "MalformedTrailerError"),
        (b"0\r\n" + b"x" * 2000, "IncompleteBody"),
        (b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\nmore\r\n", "IncompleteBody"),
        (b"", "IncompleteBody"),
    ],
)
def test_refuses_a_trailer(tail: bytes, code: str) -> None:
    chunks = AwsChunks(5, trailer_names=frozenset(("x-amz-checksum-crc32",)))
    with pytest.raises(AwsError) as raised:
        _decode(chunks, b"5\r\nhello\r\n" + tail)
    assert raised.value.code == code


def test_only_the_last_chunk_may_be_small() -> None:
    with pytest.raises(AwsError) as raised:
        _decode(AwsChunks(10), b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n")
    assert raised.value.code == "InvalidChunkSizeError"
    assert raised.value.status == 403


def test_a_body_shorter_than_promised() -> None:
    with pytest.raises(AwsError, match="IncompleteBody"):
        _decode(AwsChunks(6), b"5\r\nhello\r\n0\r\n\r\n")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crc32", zlib.crc32(b"123456789").to_bytes(4, "big")),
        ("crc32c", bytes.fromhex("e3069283")),
        ("crc64nvme", bytes.fromhex("ae8b14860a799888")),
        ("sha1", hashlib.sha1(b"123456789").digest()),
        ("sha256", hashlib.sha256(b"123456789").digest()),
    ],
)
def test_checksums(name: str, value: bytes) -> None:
    """The CRCs of "123456789" are their published check values."""
    (good,) = checks_of({f"x-amz-checksum-{name}": _b64(value)}, frozenset())
    (trailed,) = checks_of({}, frozenset((f"x-amz-checksum-{name}",)))
    for check in (good, trailed):
        check.update(b"12345")
        check.update(b"6789")
    good.finish({})
    trailed.finish({f"x-amz-checksum-{name}": _b64(value)})
    (bad,) = checks_of({f"x-amz-checksum-{name}": _b64(value)}, frozenset())
    bad.update(b"12345678")
    with pytest.raises(AwsError) as raised:
        bad.finish({})
    assert raised.value.code == "BadDigest"
    assert raised.value.message == (
        f"The {name.upper()} you specified did not match the calculated checksum."
    )


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"x-amz-checksum-crc32": "!!"}, "Value for x-amz-checksum-crc32 header is invalid."),
        ({"x-amz-checksum-sha256": "AAAA"}, "Value for x-amz-checksum-sha256 header is invalid."),
        ({"x-amz-checksum-sum": "AAAA"}, "Checksum algorithm provided is unsupported."),
        (
            {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="},
            "Expecting a single x-amz-checksum- header.",
        ),
        (
            {"x-amz-sdk-checksum-algorithm": "CRC32"},
            "x-amz-sdk-checksum-algorithm specified, but no corresponding",
        ),
        (
            {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32c": "AAAAAA=="},
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ),
    ],
)
def test_refuses_checksum_headers(headers: dict[str, str], message: str) -> None:
    with pytest.raises(AwsError) as raised:
        checks_of(headers, frozenset())
    assert raised.value.code == "InvalidRequest"
    assert raised.value.message.startswith(message)


@pytest.mark.parametrize("header", ["not base64", "AAAA", ""])
def test_refuses_a_content_md5_that_is_none(header: str) -> None:
    with pytest.raises(AwsError, match="InvalidDigest"):
        ContentMd5(header)
