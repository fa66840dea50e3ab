"""The source of a function's code: the request itself, or an object in a bucket."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

from boda.core.errors import AwsError
from boda.gateway.calling.operation import Context
from boda.plug import Host
from boda.services.lambda_.code.store import CodeStore, Package
from boda.services.lambda_.core import storage_failure
from boda.services.lambda_.errors import invalid

_DIGEST = re.compile(r"@sha256:([0-9a-f]{64})$")


def image_digest(uri: str) -> str:
    """Return the digest in an image's address, hexadecimal. A tag is not resolved: its digest is
    made of the address itself."""
    named = _DIGEST.search(uri)
    return named[1] if named else hashlib.sha256(uri.encode()).hexdigest()


class PackageSources:
    """Receives the package that a request names."""

    def __init__(self, code: CodeStore, host: Host) -> None:
        self._code = code
        self._host = host

    @asynccontextmanager
    async def package(self, ctx: Context, code: Mapping[str, Any]) -> AsyncIterator[Package]:
        """Validate, unpack and keep the package while the context lasts. code: a FunctionCode.

        Of an image only the address is used. Raises AwsError.
        """
        if code.get("ImageUri"):
            yield Package(image_digest(code["ImageUri"]), 0, 0)
            return
        try:
            async with self._taken(ctx, code) as package:
                yield package
        except OSError as error:
            raise storage_failure(error) from error

    def _taken(self, ctx: Context, code: Mapping[str, Any]) -> AbstractAsyncContextManager[Package]:
        bucket, key, version = (code.get(name) for name in ("S3Bucket", "S3Key", "S3ObjectVersion"))
        content = code.get("ZipFile")
        if content is not None:
            if bucket or key or version:
                raise invalid(
                    "Please do not provide other FunctionCode parameters when providing a ZipFile."
                )
            return self._code.from_bytes(bytes(content))
        if not bucket or not key:
            raise invalid(
                "Please provide a source for your uploaded file: ZipFile, or S3Bucket and S3Key."
            )
        return self._code.from_chunks(self._fetched(ctx, bucket, key, version))

    async def _fetched(
        self, ctx: Context, bucket: str, key: str, version: str | None
    ) -> AsyncIterator[bytes]:
        try:
            params = {"Bucket": bucket, "Key": key}
            if version is not None:
                params["VersionId"] = version
            answer = await self._host.call(
                "s3", "GetObject", params, ctx.principal, region=ctx.region, forwarded=ctx
            )
            body = answer["Body"]
            if isinstance(body, bytes):
                yield body
                return
            async with aclosing(body.chunks) as chunks:
                async for chunk in chunks:
                    yield chunk
        except AwsError as error:
            if error.status == 403:
                raise AwsError(
                    "AccessDeniedException",
                    "Your access has been denied by S3, please make sure your request credentials "
                    f"have permission to GetObject for {bucket}/{key}. S3 Error Code: "
                    f"{error.code}. S3 Error Message: {error.message}",
                    403,
                ) from None
            raise invalid(
                f"Error occurred while GetObject. S3 Error Code: {error.code}. "
                f"S3 Error Message: {error.message}"
            ) from None
