"""Make src/boda/services/iam/managed_policies.zip from the list that the package moto carries.

python scripts/managed_policies.py WHEEL     (pip download --no-deps moto)

moto's authors read the list from AWS with their own account; it is data only, and nothing of moto
is run but the literal that holds it.
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from pathlib import Path

SOURCE = "moto/iam/aws_managed_policies.py"
TARGET = Path(__file__).resolve().parents[1] / "src/boda/services/iam/managed_policies.zip"


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tree = ast.parse(archive.read(SOURCE))
    (literal,) = (
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    )
    policies = json.loads(literal)
    index = [
        [name, found["Path"], found["CreateDate"], found["UpdateDate"], found["DefaultVersionId"]]
        for name, found in sorted(policies.items())
    ]
    with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        _add(archive, "index", index)
        for name, found in sorted(policies.items()):
            _add(archive, name, found["Document"])
    print(f"{len(index)} policies, {TARGET.stat().st_size} bytes")


def _add(archive: zipfile.ZipFile, name: str, content: object) -> None:
    # With the format's first date, so that the same list gives the same file.
    archive.writestr(
        zipfile.ZipInfo(f"{name}.json"),
        json.dumps(content, separators=(",", ":")),
        zipfile.ZIP_DEFLATED,
        compresslevel=9,
    )


if __name__ == "__main__":
    main(sys.argv[1])
