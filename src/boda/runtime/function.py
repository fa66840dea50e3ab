"""A function version as the hot path sees it: immutable, complete, in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from boda.core.arn import build, function_arn
from boda.sandbox.architectures import own
from boda.telemetry.contract import StreamKey

Initialization = Literal["on-demand", "provisioned-concurrency", "snap-start"]
"""The purpose of an environment's init (``AWS_LAMBDA_INITIALIZATION_TYPE``)."""


VersionKey = tuple[str, str, str, str, str]
"""Account, region, name, version and revision."""


def runtime_arn(region: str, runtime: str, architecture: str) -> str:
    """Return the ARN of a runtime's version, the same for a runtime and architecture."""
    digest = hashlib.sha256(f"{runtime}/{architecture}".encode()).hexdigest()
    return build("lambda", region, "", f"runtime:{digest}")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log group, format and levels of a function. Levels are "" in the Text format."""

    group: str
    format: Literal["Text", "JSON"] = "Text"
    application_level: str = ""
    system_level: str = ""


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """One function version in one configuration revision.

    Two objects with the same ``key`` may share environments; any change of code or configuration
    makes a new ``revision_id`` and so a new key.

    version: ``$LATEST`` or a number. arn: without qualifier.
    code_dir: the unpacked code on this machine, read-only. layer_dirs: in merge order.
    runtime: "" for an image. file_systems: the mount paths of file systems. environment: the user's
    variables. memory_mb, ephemeral_mb: MiB.
    """

    account: str
    region: str
    name: str
    version: str
    revision_id: str
    role_arn: str
    runtime: str
    handler: str
    code_dir: Path
    code_sha256: str = ""
    layer_dirs: tuple[Path, ...] = ()
    memory_mb: int = 128
    timeout_s: int = 3
    ephemeral_mb: int = 512
    environment: tuple[tuple[str, str], ...] = ()
    log: LogSettings = field(default_factory=lambda: LogSettings("/aws/lambda/unnamed"))
    tracing: Literal["Active", "PassThrough"] = "PassThrough"
    dead_letter_arn: str = ""
    snap_start: bool = False
    tenant_isolation: bool = False
    file_systems: tuple[str, ...] = ()
    architecture: str = field(default_factory=own)
    recursive_loop: Literal["Terminate", "Allow"] = "Terminate"

    @property
    def arn(self) -> str:
        return function_arn(self.account, self.region, self.name)

    @property
    def qualified_arn(self) -> str:
        return f"{self.arn}:{self.version}"

    def log_stream(self, name: str) -> StreamKey:
        """Return the key of a stream of its log group."""
        return StreamKey(self.account, self.region, self.log.group, name)

    @property
    def key(self) -> VersionKey:
        """The identity of a version in one revision, to which environments belong."""
        return (self.account, self.region, self.name, self.version, self.revision_id)
