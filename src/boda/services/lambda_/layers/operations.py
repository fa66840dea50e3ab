"""Layers: publishing a version, reading, listing and deleting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from boda.core.arn import split_version
from boda.core.errors import not_implemented
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Answer, Authorize, Context, operation
from boda.gateway.calling.paging import READABLE, Listing, Walk
from boda.services.lambda_.access import on_account
from boda.services.lambda_.arn_pages import start
from boda.services.lambda_.code.package_source import PackageSources
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import constraint, invalid, resource_not_found
from boda.services.lambda_.layers.records import LayerVersion, layer_arn
from boda.services.lambda_.layers.store import Layers, layer_key, policy, version_arn
from boda.services.lambda_.records import Key
from boda.services.lambda_.settings import answers, runtimes


def on_layer(action: str) -> Authorize:
    """Authorise an action on the layer, or the version of it, that ``LayerName`` and
    ``VersionNumber`` name."""

    def needs(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        key = layer_key(params["LayerName"], ctx.account, ctx.region)
        number = params.get("VersionNumber")
        if number is None:
            return (Need(action, layer_arn(key), account=key[0]),)
        version = group.layers.version(key, number)
        own = policy(version) if version is not None else None
        return (Need(action, version_arn(key, number), own, account=key[0]),)

    return needs


def on_layer_arn(action: str) -> Authorize:
    """Authorise an action on the layer version of ``Arn``."""

    def needs(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        name, number = split_version(params["Arn"])
        return on_layer(action)(group, ctx, {"LayerName": name, "VersionNumber": _number(number)})

    return needs


class LayerOperations:
    """Layers' versions. location: returns the address of a package."""

    def __init__(
        self,
        core: LambdaCore,
        layers: Layers,
        sources: PackageSources,
        location: Callable[[Context, str], str],
    ) -> None:
        self.core = core
        self.layers = layers
        self._sources = sources
        self._location = location

    @operation("PublishLayerVersion", authorize=on_layer("lambda:PublishLayerVersion"))
    async def publish_layer_version(
        self,
        ctx: Context,
        *,
        layer_name: str,
        content: Mapping[str, Any],
        description: str | None = None,
        compatible_runtimes: list[str] | None = None,
        compatible_architectures: list[str] | None = None,
        license_info: str | None = None,
    ) -> dict[str, Any]:
        key = layer_key(layer_name, ctx.account, ctx.region)
        if key[1] != ctx.region:
            raise resource_not_found(
                f"Layers from '{key[1]}' are not reachable in this region ('{ctx.region}')"
            )
        _check_runtimes(compatible_runtimes or [])
        if content.get("S3ObjectStorageMode") not in (None, "COPY"):
            raise not_implemented("lambda", "PublishLayerVersion", "S3ObjectStorageMode")
        members = {
            "description": description or "",
            "runtimes": compatible_runtimes,
            "architectures": compatible_architectures,
            "license": license_info,
        }
        return await self.core.whole(self._publish(ctx, key, content, members))

    async def _publish(
        self, ctx: Context, key: Key, content: Mapping[str, Any], members: Mapping[str, Any]
    ) -> dict[str, Any]:
        layers = self.layers
        async with self._sources.package(ctx, content) as package, layers.lock(key):
            self.core.refuse_over_storage(key, package.unzipped_bytes)
            version = LayerVersion(
                *key,
                number=layers.next_number(key),
                sha256=package.sha256,
                code_bytes=package.code_bytes,
                unzipped_bytes=package.unzipped_bytes,
                created_at=self.core.clock.now(),
                **members,
            )
            await layers.put(version)
            return self._answer(ctx, version)

    @operation("GetLayerVersion", authorize=on_layer("lambda:GetLayerVersion"))
    async def get_layer_version(
        self, ctx: Context, *, layer_name: str, version_number: int
    ) -> dict[str, Any]:
        _check_number(version_number)
        return self._get(ctx, layer_key(layer_name, ctx.account, ctx.region), version_number)

    @operation("GetLayerVersionByArn", authorize=on_layer_arn("lambda:GetLayerVersion"))
    async def get_layer_version_by_arn(self, ctx: Context, *, arn: str) -> dict[str, Any]:
        name, number = split_version(arn)
        return self._get(ctx, layer_key(name, ctx.account, ctx.region), _number(number))

    def _get(self, ctx: Context, key: Key, number: int) -> dict[str, Any]:
        version = self.layers.version(key, number) if key[1] == ctx.region else None
        if version is None:
            raise resource_not_found("The resource you requested does not exist.")
        return self._answer(ctx, version)

    @operation("ListLayers", authorize=on_account("lambda:ListLayers"), paged=READABLE)
    async def list_layers(
        self,
        ctx: Context,
        *,
        compatible_runtime: str | None = None,
        compatible_architecture: str | None = None,
        marker: str | None = None,
    ) -> Listing:
        """Return layers by name, each with the newest of its versions that fit."""
        _check_runtime(compatible_runtime)
        named = start(marker, layer_arn((ctx.account, ctx.region, "")))
        first = named.partition(":")[0]
        newest = (
            fitting[0]
            for name, versions in self.layers.of(ctx.account, ctx.region)
            if name >= first
            and (fitting := _fitting(versions, compatible_runtime, compatible_architecture))
        )
        return Walk(
            newest,
            lambda version: version.arn,
            lambda version: {
                "LayerName": version.name,
                "LayerArn": version.layer_arn,
                "LatestMatchingVersion": _summary(version),
            },
        )

    @operation("ListLayerVersions", authorize=on_layer("lambda:ListLayerVersions"), paged=READABLE)
    async def list_layer_versions(
        self,
        ctx: Context,
        *,
        layer_name: str,
        compatible_runtime: str | None = None,
        compatible_architecture: str | None = None,
        marker: str | None = None,
    ) -> Listing:
        """Return versions, newest first; none for a missing layer (recorded)."""
        _check_runtime(compatible_runtime)
        key = layer_key(layer_name, ctx.account, ctx.region)
        first = _number(start(marker, f"{layer_arn(key)}:"))
        fitting = _fitting(self.layers.versions(key), compatible_runtime, compatible_architecture)
        return Walk(
            (version for version in fitting if not marker or version.number <= first),
            lambda version: version.arn,
            _summary,
        )

    @operation("DeleteLayerVersion", authorize=on_layer("lambda:DeleteLayerVersion"))
    async def delete_layer_version(
        self, ctx: Context, *, layer_name: str, version_number: int
    ) -> Answer:
        """Delete a version. Functions that have it keep it; deleting a missing one succeeds."""
        _check_number(version_number)
        key = layer_key(layer_name, ctx.account, ctx.region)
        await self.core.whole(self._delete(key, version_number))
        return Answer(status=204)

    async def _delete(self, key: Key, number: int) -> None:
        async with self.layers.lock(key):
            version = self.layers.version(key, number)
            if version is not None:
                await self.layers.drop(version)

    def _answer(self, ctx: Context, version: LayerVersion) -> dict[str, Any]:
        return {
            "Content": {
                "Location": self._location(ctx, version.sha256),
                "CodeSha256": answers.digest(version.sha256),
                "CodeSize": version.code_bytes,
            },
            "LayerArn": version.layer_arn,
            **_summary(version),
        }


def _summary(version: LayerVersion) -> dict[str, Any]:
    answer = {
        "LayerVersionArn": version.arn,
        "Version": version.number,
        "Description": version.description,
        "CreatedDate": answers.timestamp(version.created_at),
    }
    given = {
        "CompatibleRuntimes": version.runtimes,
        "CompatibleArchitectures": version.architectures,
        "LicenseInfo": version.license,
    }
    return answer | {name: value for name, value in given.items() if value is not None}


def _fitting(
    versions: Sequence[LayerVersion], runtime: str | None, architecture: str | None
) -> list[LayerVersion]:
    return [
        version
        for version in versions
        if (runtime is None or runtime in (version.runtimes or ()))
        and (architecture is None or architecture in (version.architectures or ()))
    ]


def _check_runtimes(wanted: Sequence[str]) -> None:
    if any(runtime not in runtimes.KNOWN for runtime in wanted):
        named = ", ".join(sorted(runtimes.KNOWN))
        raise constraint(
            f"[{', '.join(wanted)}]",
            "compatibleRuntimes",
            f"Member must satisfy constraint: [Member must satisfy enum value set: [{named}], "
            "Member must not be null]",
        )


def _check_runtime(wanted: str | None) -> None:
    if wanted is not None and wanted not in runtimes.KNOWN:
        named = ", ".join(sorted(runtimes.KNOWN))
        raise constraint(
            wanted, "compatibleRuntime", f"Member must satisfy enum value set: [{named}]"
        )


def _check_number(number: int) -> None:
    if number < 1:
        raise invalid("Layer Version Cannot be less than 1.")


def _number(text: str) -> int:
    """Return the version in an ARN; 0, which no version has, if it is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
