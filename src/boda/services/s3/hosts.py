"""Host names that stand for buckets."""

from __future__ import annotations

# Suffixes under which buckets have host names of their own.
_BUCKET_DOMAINS = (".localhost.localstack.cloud", ".localhost", ".amazonaws.com")


def bucket_of_host(host: str) -> str:
    """Return the bucket that a host name stands for, or "" for path style.

    ``<bucket>.s3.localhost``, ``<bucket>.s3.<region>.localhost``, ``<bucket>.localhost``. A label
    ``s3`` behind other labels marks a bucket under any suffix: its path holds a key, which must
    never be taken for a bucket.
    """
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    for domain in _BUCKET_DOMAINS:
        if name.endswith(domain):
            name = name[: -len(domain)]
            break
    else:
        return name.partition(".s3.")[0] if ".s3." in name else ""
    if name == "s3" or name.startswith(("s3.", "s3-")):
        return ""
    if name.endswith(".s3"):
        return name[:-3]
    bucket, dot, region = name.rpartition(".")
    if dot and bucket.endswith(".s3"):
        return bucket[:-3]
    if dot and region.startswith("s3-"):
        return bucket
    return name
