"""Raw signed HTTP requests, made before the clock starts."""

from __future__ import annotations

import hashlib
import hmac
import time
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


class Signer:
    """Many signed POSTs of JSON to one URL, quickly: what does not change is made once.

    The same signature as botocore's, which takes some hundred microseconds for each.
    """

    def __init__(
        self, url: str, key: str, secret: str, *, service: str = "lambda", region: str = "us-east-1"
    ) -> None:
        self.parts = urlsplit(url)
        self.key, self.secret, self.service, self.region = key, secret, service, region

    def requests(self, bodies: list[bytes], at: float | None = None) -> list[bytes]:
        """at: seconds since 1970, now unless given."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        signing = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            signing = hmac.digest(signing, part.encode(), "sha256")
        host, path = self.parts.netloc, self.parts.path
        canonical = f"POST\n{path}\n\nhost:{host}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nX-Amz-Date: {stamp}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={self.key}/{scope}, "
            "SignedHeaders=host;x-amz-date, Signature="
        )
        found = []
        for body in bodies:
            digest = hashlib.sha256(body).hexdigest()
            request = hashlib.sha256((canonical + digest).encode()).hexdigest()
            signature = hmac.digest(signing, (to_sign + request).encode(), "sha256").hex()
            end = f"{signature}\r\nContent-Length: {len(body)}\r\n\r\n"
            found.append((head + end).encode() + body)
        return found
