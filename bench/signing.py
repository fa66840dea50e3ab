"""Raw signed HTTP requests, made before the clock starts."""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def signed(
    url: str,
    method: str,
    body: bytes,
    *,
    service: str,
    key: str,
    secret: str,
    headers: dict[str, str] | None = None,
    region: str = "us-east-1",
) -> bytes:
    """The bytes of one HTTP/1.1 request with a SigV4 authorization header."""
    request = AWSRequest(method, url, headers=dict(headers or {}), data=body)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials(key, secret), service, region).add_auth(request)
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
