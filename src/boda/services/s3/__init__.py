"""Amazon S3: buckets, objects and what happens when they change."""

from boda.plug import Plug
from boda.services.s3.dialect import DIALECT
from boda.services.s3.inspection import keep_crcs
from boda.services.s3.rows import metadata
from boda.services.s3.service import build

__all__ = ["PLUG", "keep_crcs"]

PLUG = Plug("s3", build, dialect=DIALECT, tables=(metadata,))
