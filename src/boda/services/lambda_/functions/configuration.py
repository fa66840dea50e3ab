"""UpdateFunctionCode and UpdateFunctionConfiguration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from boda.gateway.calling.operation import Context, operation
from boda.services.lambda_ import condition_keys
from boda.services.lambda_.access import on_function
from boda.services.lambda_.code.package_source import PackageSources
from boda.services.lambda_.code.signing import attached_arn
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import stale_revision, update_in_progress
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.layers.store import Layers
from boda.services.lambda_.records import UPDATING, Function
from boda.services.lambda_.settings import answers, rules
from boda.services.lambda_.settings.roles import RoleCheck
from boda.services.lambda_.versions.operations import next_version, unqualified
from boda.services.lambda_.versions.states import Transitions, busy


class ConfigurationOperations:
    """Changes of code and settings; each starts a new build of ``$LATEST``."""

    def __init__(
        self,
        core: LambdaCore,
        sources: PackageSources,
        roles: RoleCheck,
        layers: Layers,
        transitions: Transitions,
    ) -> None:
        self.core = core
        self._layers = layers
        self._sources = sources
        self._roles = roles
        self._transitions = transitions

    @operation("UpdateFunctionCode", authorize=on_function("lambda:UpdateFunctionCode"))
    async def update_function_code(
        self,
        ctx: Context,
        *,
        function_name: str,
        zip_file: bytes | None = None,
        s3_bucket: str | None = None,
        s3_key: str | None = None,
        s3_object_version: str | None = None,
        s3_object_storage_mode: str | None = None,
        image_uri: str | None = None,
        source_kms_key_arn: str | None = None,
        architectures: list[str] | None = None,
        publish: bool | None = None,
        dry_run: bool | None = None,
        revision_id: str | None = None,
    ) -> dict[str, Any]:
        identifier = unqualified(self.core, ctx, function_name)
        code = {
            "ZipFile": zip_file,
            "S3Bucket": s3_bucket,
            "S3Key": s3_key,
            "S3ObjectVersion": s3_object_version,
            "S3ObjectStorageMode": s3_object_storage_mode,
            "ImageUri": image_uri,
        }
        function = self._changeable(identifier, revision_id)  # before a needless fetch
        rules.check_source("UpdateFunctionCode", code, bool(function.latest.settings.image_uri))
        params = {
            "Architectures": architectures,
            "SourceKMSKeyArn": source_kms_key_arn,
            "ImageUri": image_uri,
        }
        return await self.core.whole(
            self._new_code(ctx, identifier, code, params, revision_id, bool(dry_run), bool(publish))
        )

    async def _new_code(
        self,
        ctx: Context,
        identifier: Identifier,
        code: Mapping[str, Any],
        params: Mapping[str, Any],
        revision_id: str | None,
        dry_run: bool,
        publish: bool,
    ) -> dict[str, Any]:
        core = self.core
        async with self._sources.package(ctx, code) as package, core.lock(identifier.key):
            function = self._changeable(identifier, revision_id)
            before = function.latest
            rules.check_source("UpdateFunctionCode", code, bool(before.settings.image_uri))
            core.signing.check(identifier, attached_arn(function))
            core.refuse_over_storage(identifier.key, package.unzipped_bytes - before.unzipped_bytes)
            settings = rules.merge(before.settings, params, core.quotas)
            rules.check_together(settings, package.unzipped_bytes, core.quotas)
            changes: dict[str, Any] = {
                "settings": settings,
                "code_sha256": package.sha256,
                "code_bytes": package.code_bytes,
                "unzipped_bytes": package.unzipped_bytes,
            }
            if dry_run:  # everything is checked by now, and nothing is kept
                return answers.configuration(dataclasses.replace(before, **changes), core.runnable)
            return await self._begin(function, publish, **changes)

    @operation(
        "UpdateFunctionConfiguration",
        authorize=on_function(
            "lambda:UpdateFunctionConfiguration",
            lambda _, identifier, params: condition_keys.of_settings(identifier, params),
        ),
    )
    async def update_function_configuration(
        self,
        ctx: Context,
        *,
        function_name: str,
        role: str | None = None,
        handler: str | None = None,
        description: str | None = None,
        timeout: int | None = None,
        memory_size: int | None = None,
        vpc_config: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
        runtime: str | None = None,
        dead_letter_config: Mapping[str, Any] | None = None,
        kms_key_arn: str | None = None,
        tracing_config: Mapping[str, Any] | None = None,
        revision_id: str | None = None,
        layers: list[str] | None = None,
        file_system_configs: list[Mapping[str, Any]] | None = None,
        image_config: Mapping[str, Any] | None = None,
        ephemeral_storage: Mapping[str, Any] | None = None,
        snap_start: Mapping[str, Any] | None = None,
        logging_config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        identifier = unqualified(self.core, ctx, function_name)
        params = {
            "Role": role,
            "Handler": handler,
            "Description": description,
            "Timeout": timeout,
            "MemorySize": memory_size,
            "VpcConfig": vpc_config,
            "Environment": environment,
            "Runtime": runtime,
            "DeadLetterConfig": dead_letter_config,
            "KMSKeyArn": kms_key_arn,
            "TracingConfig": tracing_config,
            "FileSystemConfigs": file_system_configs,
            "ImageConfig": image_config,
            "EphemeralStorage": ephemeral_storage,
            "SnapStart": snap_start,
            "LoggingConfig": logging_config,
        }
        function = self._changeable(identifier, revision_id)
        settings = rules.merge(function.latest.settings, params, self.core.quotas)
        if role is not None:
            await self._roles.check(ctx, role, identifier)
        if any(given is not None for given in (role, dead_letter_config, vpc_config)):
            self._roles.settings(identifier, settings)
        return await self.core.whole(
            self._new_settings(ctx, identifier, params, layers, revision_id)
        )

    async def _new_settings(
        self,
        ctx: Context,
        identifier: Identifier,
        params: Mapping[str, Any],
        layers: list[str] | None,
        revision_id: str | None,
    ) -> dict[str, Any]:
        core = self.core
        async with core.lock(identifier.key):
            function = self._changeable(identifier, revision_id)
            used = None if layers is None else await self._layers.used(ctx, identifier, layers)
            settings = rules.merge(
                function.latest.settings, {**params, "Layers": used}, core.quotas
            )
            rules.check_together(settings, function.latest.unzipped_bytes, core.quotas)
            return await self._begin(function, settings=settings)

    async def _begin(
        self, function: Function, publish: bool = False, **changes: Any
    ) -> dict[str, Any]:
        """Store the new build and let it take effect. Call under the function's lock.

        Return the new build, or the version published of it.
        """
        core = self.core
        latest = core.revised(
            function.latest,
            build_id=core.ids.uuid(),
            modified_at=core.clock.now(),
            update=UPDATING,
            **changes,
        )
        published = next_version(self._transitions, function, latest) if publish else None
        begun = [latest] if published is None else [latest, published]
        await core.put(function, *begun)
        core.expose(function, latest)
        for version in begun:
            self._transitions.start(version)
        if publish:
            answered = published or function.versions[str(function.last_version)]
            return answers.configuration(answered, core.runnable, qualifier=answered.version)
        return answers.configuration(latest, core.runnable)

    def _changeable(self, identifier: Identifier, revision_id: str | None) -> Function:
        function = self.core.function(identifier)
        if busy(function):
            raise update_in_progress(function.arn)
        if revision_id and revision_id != function.latest.revision_id:
            raise stale_revision()
        return function
