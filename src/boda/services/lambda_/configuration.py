"""UpdateFunctionCode and UpdateFunctionConfiguration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from boda.gateway.service import Context, operation
from boda.services.lambda_ import answers, rules
from boda.services.lambda_.access import on_function
from boda.services.lambda_.core import Core
from boda.services.lambda_.errors import invalid, stale_revision, update_in_progress
from boda.services.lambda_.identifiers import LATEST, Identifier
from boda.services.lambda_.records import UPDATING, Function
from boda.services.lambda_.roles import RoleCheck
from boda.services.lambda_.sources import Sources
from boda.services.lambda_.states import Transitions, busy

FUNCTIONS_ONLY = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support "
    "this operation. Please specify either a function name or an unqualified function ARN."
)


class ConfigurationOperations:
    """Changes of code and settings; each starts a new build of ``$LATEST``."""

    def __init__(
        self, core: Core, sources: Sources, roles: RoleCheck, transitions: Transitions
    ) -> None:
        self.core = core
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
        identifier = self._latest(ctx, function_name)
        code = {
            "ZipFile": zip_file,
            "S3Bucket": s3_bucket,
            "S3Key": s3_key,
            "S3ObjectVersion": s3_object_version,
            "S3ObjectStorageMode": s3_object_storage_mode,
            "ImageUri": image_uri,
            "SourceKMSKeyArn": source_kms_key_arn,
        }
        rules.refuse_unsupported("UpdateFunctionCode", {**code, "Publish": publish})
        self._changeable(identifier, revision_id)  # before a package is fetched for nothing
        return await self.core.whole(
            self._new_code(ctx, identifier, code, architectures, bool(dry_run), revision_id)
        )

    async def _new_code(
        self,
        ctx: Context,
        identifier: Identifier,
        code: Mapping[str, Any],
        architectures: list[str] | None,
        dry_run: bool,
        revision_id: str | None,
    ) -> dict[str, Any]:
        core = self.core
        async with self._sources.package(ctx, code) as package, core.lock(identifier.key):
            function = self._changeable(identifier, revision_id)
            before = function.latest
            core.refuse_over_storage(identifier, package.unzipped_bytes - before.unzipped_bytes)
            settings = rules.merge(before.settings, {"Architectures": architectures}, core.quotas)
            changes: dict[str, Any] = {
                "settings": settings,
                "code_sha256": package.sha256,
                "code_bytes": package.code_bytes,
                "unzipped_bytes": package.unzipped_bytes,
            }
            if dry_run:  # everything is checked by now, and nothing is kept
                return answers.configuration(dataclasses.replace(before, **changes))
            return await self._begin(function, **changes)

    @operation(
        "UpdateFunctionConfiguration",
        authorize=on_function("lambda:UpdateFunctionConfiguration"),
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
        identifier = self._latest(ctx, function_name)
        unsupported = {
            "VpcConfig": vpc_config,
            "KMSKeyArn": kms_key_arn,
            "Layers": layers,
            "FileSystemConfigs": file_system_configs,
            "ImageConfig": image_config,
            "SnapStart": snap_start,
        }
        rules.refuse_unsupported("UpdateFunctionConfiguration", unsupported)
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
            "TracingConfig": tracing_config,
            "EphemeralStorage": ephemeral_storage,
            "LoggingConfig": logging_config,
        }
        function = self._changeable(identifier, revision_id)
        rules.merge(function.latest.settings, params, self.core.quotas)
        if role is not None:
            self._roles.check(ctx, role, identifier.account)
        return await self.core.whole(self._new_settings(identifier, params, revision_id))

    async def _new_settings(
        self, identifier: Identifier, params: Mapping[str, Any], revision_id: str | None
    ) -> dict[str, Any]:
        async with self.core.lock(identifier.key):
            function = self._changeable(identifier, revision_id)
            settings = rules.merge(function.latest.settings, params, self.core.quotas)
            return await self._begin(function, settings=settings)

    async def _begin(self, function: Function, **changes: Any) -> dict[str, Any]:
        """Store the new build and let it take effect. Call under the function's lock."""
        core = self.core
        version = core.revised(
            function.latest,
            build_id=core.ids.uuid(),
            modified_at=core.clock.now(),
            update=UPDATING,
            **changes,
        )
        await core.put(function, version)
        self._transitions.begin(version)
        return answers.configuration(version)

    def _latest(self, ctx: Context, function_name: str) -> Identifier:
        identifier = self.core.identify(ctx, function_name)
        if identifier.qualifier not in (None, LATEST):
            raise invalid(FUNCTIONS_ONLY)
        return identifier

    def _changeable(self, identifier: Identifier, revision_id: str | None) -> Function:
        function = self.core.function(identifier)
        if busy(function):
            raise update_in_progress(function.arn)
        if revision_id and revision_id != function.latest.revision_id:
            raise stale_revision()
        return function
