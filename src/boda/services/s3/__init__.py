"""Amazon S3: buckets, objects and what happens when they change.

s3 = build(database, blobs, post, clock, ids)      metadata: its tables
"""

from boda.services.s3.dialect import DIALECT
from boda.services.s3.inspection import keep_crcs
from boda.services.s3.rows import metadata
from boda.services.s3.service import S3, Fetched, build

__all__ = ["DIALECT", "S3", "Fetched", "build", "keep_crcs", "metadata"]
