"""A function and its versions as the service keeps them: in memory, and as rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from boda.core.policy import Policy
from boda.runtime.function import FunctionVersion, LogSettings
from boda.services.lambda_.identifiers import LATEST

Key = tuple[str, str, str]
"""Account, region, name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user configured, defaults filled in.

    environment: None where none was ever given, which AWS does not echo.
    log_group: "" for the default ``/aws/lambda/NAME``. empty_vpc: an empty ``VpcConfig`` was
    given, which AWS echoes from then on.
    architecture: stored and echoed as on AWS. Code runs on this machine's own architecture, which
    is the same thing for code without machine instructions of its own.
    """

    role: str
    runtime: str
    handler: str
    description: str = ""
    timeout_s: int = 3
    memory_mb: int = 128
    ephemeral_mb: int = 512
    environment: Mapping[str, str] | None = None
    dead_letter_arn: str = ""
    log_format: str = "Text"
    log_group: str = ""
    application_level: str = ""
    system_level: str = ""
    tracing: str = "PassThrough"
    architecture: str = "x86_64"
    empty_vpc: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """A state with the reason given for it."""

    state: str
    reason: str = ""
    code: str = ""


CREATING = "The function is being created."
PENDING = Standing("Pending", CREATING, "Creating")
ACTIVE = Standing("Active")
UPDATING = Standing("InProgress", CREATING, "Creating")
UPDATED = Standing("Successful")
NEVER_UPDATED = Standing("")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a function; changes make a new object.

    revision_id: what callers see; changes with every change, of tags and permissions too.
    build_id: changes only with code or settings; environments belong to it.
    code_sha256: hexadecimal. modified_at: epoch seconds. state, update: State and
    LastUpdateStatus with their reasons.
    """

    account: str
    region: str
    name: str
    version: str
    settings: Settings
    code_sha256: str
    code_bytes: int
    unzipped_bytes: int
    revision_id: str
    build_id: str
    modified_at: float
    state: Standing = PENDING
    update: Standing = NEVER_UPDATED

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"

    @property
    def log_group(self) -> str:
        return self.settings.log_group or f"/aws/lambda/{self.name}"


@dataclass(slots=True)
class Function:
    """A function with all that hangs on it.

    reserved: reserved concurrent executions, or None. policies: statements by qualifier, the
    unqualified function's under ``$LATEST``. attached: what else was configured for it, by kind
    and qualifier, in the members AWS names it by (attached.py).
    """

    account: str
    region: str
    name: str
    versions: dict[str, Version]
    tags: dict[str, str] = field(default_factory=dict)
    reserved: int | None = None
    recursive_loop: Literal["Terminate", "Allow"] = "Terminate"
    policies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    attached: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return (self.account, self.region, self.name)

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"

    @property
    def latest(self) -> Version:
        return self.versions[LATEST]


def hot(function: Function, version: Version, code_dir: Path) -> FunctionVersion:
    """The version as the invoke path and the environments see it."""
    settings = version.settings
    return FunctionVersion(
        account=version.account,
        region=version.region,
        name=version.name,
        version=version.version,
        revision_id=version.build_id,
        role_arn=settings.role,
        runtime=settings.runtime,
        handler=settings.handler,
        code_dir=code_dir,
        code_sha256=version.code_sha256,
        memory_mb=settings.memory_mb,
        timeout_s=settings.timeout_s,
        ephemeral_mb=settings.ephemeral_mb,
        environment=tuple((settings.environment or {}).items()),
        log=LogSettings(
            version.log_group,
            cast(Literal["Text", "JSON"], settings.log_format),
            settings.application_level,
            settings.system_level,
        ),
        tracing=cast(Literal["Active", "PassThrough"], settings.tracing),
        dead_letter_arn=settings.dead_letter_arn,
        recursive_loop=function.recursive_loop,
    )


def document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    """The policy document of some statements, members in the order AWS writes them."""
    return {"Version": "2012-10-17", "Id": "default", "Statement": statements}


def policy(statements: list[dict[str, Any]]) -> Policy | None:
    return Policy.parse(document(statements)) if statements else None
