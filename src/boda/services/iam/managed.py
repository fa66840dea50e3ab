"""AWS's own managed policies, from ``managed_policies.json`` beside this file.

Each entry: name, path, created (the policy's creation or, where only that is published, its
current version's), version, document. ``subset`` marks one whose real document names thousands of
actions of services that boda does not have; the entry keeps those of the services it has, so that
it never allows more than AWS's.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from importlib.resources import files

from boda.services.iam.entities import Document, ManagedPolicy, Version


def aws_managed() -> list[ManagedPolicy]:
    text = files("boda.services.iam").joinpath("managed_policies.json").read_text("utf-8")
    found = []
    for entry in json.loads(text):
        name, created = entry["name"], datetime.fromisoformat(entry["created"]).timestamp()
        number = entry["version"]
        document = Document.read(json.dumps(entry["document"], indent=4))
        # The real ids are not published; these are made from the name so that they stay the same.
        digest = hashlib.sha256(name.encode()).hexdigest().upper()
        found.append(
            ManagedPolicy(
                "aws",
                name,
                entry["path"],
                "ANPA" + digest[:17],
                created,
                created,
                (Version(number, document, created),),
                f"v{number}",
                number,
                entry.get("description", ""),
            )
        )
    return found
