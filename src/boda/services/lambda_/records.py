"""A function and its versions as the service keeps them: in memory, and as rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import orjson

from boda.core.arn import function_arn
from boda.core.resource_policy import Statement
from boda.invoke.function_table import LATEST
from boda.runtime.function import FunctionVersion, LogSettings

Key = tuple[str, str, str]
"""Account, region, name."""


class LayerUse(NamedTuple):
    """A layer version as a function has it: all that is needed once the version is deleted.

    code_bytes: of the zip. sha256: hexadecimal, of the package.
    """

    arn: str
    code_bytes: int
    unzipped_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """The user's settings, defaults filled in.

    runtime, handler: "" for a function of an image. environment: None if none was ever given, which
    AWS does not echo.
    log_group: "" for the default ``/aws/lambda/NAME``. vpc: the ``VpcConfig``, None if none was
    ever given; once given, an emptied one is echoed too. file_systems, image_config: with the
    model's names. kms_key_arn, source_kms_key_arn: stored and echoed; there is no key service here,
    and nothing is encrypted with them.
    snap_start: ``ApplyOn``.
    layers: in merge order. image_uri: of a function of an image, else "". tenancy: "" or
    ``PER_TENANT``.
    architecture: a function for another kind of machine is stored, and refused when it is invoked
    (``sandbox/architectures.py``).
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
    vpc: Mapping[str, Any] | None = None
    file_systems: Sequence[Mapping[str, Any]] = ()
    kms_key_arn: str = ""
    source_kms_key_arn: str = ""
    snap_start: str = "None"
    layers: tuple[LayerUse, ...] = ()
    image_uri: str = ""
    image_config: Mapping[str, Any] | None = None
    tenancy: str = ""


@dataclass(frozen=True, slots=True)
class ReasonedState:
    """A state with the reason for it."""

    state: str
    reason: str = ""
    code: str = ""


CREATING = "The function is being created."
PENDING = ReasonedState("Pending", CREATING, "Creating")
ACTIVE = ReasonedState("Active")
UPDATING = ReasonedState("InProgress", CREATING, "Creating")
UPDATED = ReasonedState("Successful")
NEVER_UPDATED = ReasonedState("")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a function; changes make a new object.

    revision_id: seen by callers; changes with every change, of tags and permissions too.
    build_id: changes only with code or settings; environments belong to it.
    code_sha256: hexadecimal. modified_at: epoch seconds. state, update: State and LastUpdateStatus
    with their reasons. origin: of a published version, the ``fingerprint`` of its source; "" for
    ``$LATEST``. snapshot: whether its init is run once for all its environments; decided at each
    start, since it depends on this machine.
    """

    account: str
    region: str
    name: str
    version: str
    settings: FunctionSettings
    code_sha256: str
    code_bytes: int
    unzipped_bytes: int
    revision_id: str
    build_id: str
    modified_at: float
    state: ReasonedState = PENDING
    update: ReasonedState = NEVER_UPDATED
    origin: str = ""
    snapshot: bool = False

    @property
    def packages(self) -> tuple[str, ...]:
        """The digests of the packages on disk that the version needs."""
        layers = self.settings.layers
        own = () if self.settings.image_uri else (self.code_sha256,)
        return (*own, *(layer.sha256 for layer in layers)) if layers else own

    @property
    def arn(self) -> str:
        return function_arn(self.account, self.region, self.name)

    @property
    def log_group(self) -> str:
        return self.settings.log_group or f"/aws/lambda/{self.name}"


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for a version. weights: the share of calls that goes to another version instead."""

    name: str
    version: str
    description: str
    weights: Mapping[str, float]
    revision_id: str


@dataclass(slots=True)
class Function:
    """A function with everything that belongs to it.

    reserved: reserved concurrent executions, or None. policies: statements by qualifier, the
    unqualified function's under ``$LATEST``. attached: further configs, by kind and qualifier, with
    AWS's member names (rows.put_attached).
    last_version: the highest number ever published; numbers are never used again.
    """

    account: str
    region: str
    name: str
    versions: dict[str, Version]
    tags: dict[str, str] = field(default_factory=dict)
    reserved: int | None = None
    recursive_loop: Literal["Terminate", "Allow"] = "Terminate"
    policies: dict[str, Sequence[Statement]] = field(default_factory=dict)
    attached: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    last_version: int = 0

    @property
    def key(self) -> Key:
        return (self.account, self.region, self.name)

    @property
    def arn(self) -> str:
        return function_arn(self.account, self.region, self.name)

    @property
    def numbered(self) -> list[Version]:
        """Return the versions, ``$LATEST`` first, then by number."""
        numbers = sorted((name for name in self.versions if name != LATEST), key=int)
        return [self.versions[name] for name in (LATEST, *numbers)]

    @property
    def latest(self) -> Version:
        return self.versions[LATEST]

    def revision_of(self, qualifier: str) -> str:
        """Return the revision of an existing version or alias."""
        alias = self.aliases.get(qualifier)
        return self.versions[qualifier].revision_id if alias is None else alias.revision_id

    def names(self, qualifier: str) -> bool:
        """Return whether the qualifier is that of a version or an alias."""
        return qualifier in self.versions or qualifier in self.aliases

    def attach(self, kind: str, qualifier: str, content: dict[str, Any] | None) -> None:
        """Replace a config of a qualifier; None removes it."""
        held = self.attached.setdefault(kind, {})
        if content is None:
            held.pop(qualifier, None)
        else:
            held[qualifier] = content


def fingerprint(version: Version) -> str:
    """Return a digest of code and settings, for comparing with the published ones."""
    content = [version.code_sha256, plain(version.settings)]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def plain(settings: FunctionSettings) -> dict[str, Any]:
    """Return the settings in JSON's types."""
    members = {item.name: getattr(settings, item.name) for item in fields(FunctionSettings)}
    return members | {"layers": [tuple(layer) for layer in settings.layers]}


def hot(
    function: Function, version: Version, code_dir: Path, layer_dirs: tuple[Path, ...] = ()
) -> FunctionVersion:
    """Return the version as the invoke path and the environments see it."""
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
        layer_dirs=layer_dirs,
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
        snap_start=settings.snap_start != "None" and version.version != LATEST,
        tenant_isolation=bool(settings.tenancy),
        file_systems=tuple(system["LocalMountPath"] for system in settings.file_systems),
        architecture=settings.architecture,
        recursive_loop=function.recursive_loop,
    )
