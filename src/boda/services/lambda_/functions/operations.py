"""CreateFunction, GetFunction, GetFunctionConfiguration, ListFunctions, DeleteFunction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from boda.core.arn import function_arn
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.paging import READABLE, Listing, RowList, Walk
from boda.invoke.function_table import LATEST
from boda.services.lambda_.access import on_account, on_function, on_new_function
from boda.services.lambda_.arn_pages import start
from boda.services.lambda_.code import signing as code_signing
from boda.services.lambda_.code.package_source import PackageSources
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import conflict, constraint, invalid
from boda.services.lambda_.identifiers import Identifier, is_alias
from boda.services.lambda_.layers.store import Layers
from boda.services.lambda_.records import PENDING, Function, FunctionSettings, Version
from boda.services.lambda_.settings import answers, rules
from boda.services.lambda_.settings.roles import RoleCheck
from boda.services.lambda_.versions.operations import next_version, order
from boda.services.lambda_.versions.states import Transitions


class FunctionOperations:
    """A function's life. location: returns the address of a package."""

    def __init__(
        self,
        core: LambdaCore,
        sources: PackageSources,
        roles: RoleCheck,
        layers: Layers,
        transitions: Transitions,
        location: Callable[[Context, str], str],
    ) -> None:
        self.core = core
        self._sources = sources
        self._roles = roles
        self._layers = layers
        self._transitions = transitions
        self._location = location

    @operation("CreateFunction", authorize=on_new_function("lambda:CreateFunction"))
    async def create_function(
        self,
        ctx: Context,
        *,
        function_name: str,
        role: str,
        code: Mapping[str, Any],
        runtime: str | None = None,
        handler: str | None = None,
        description: str | None = None,
        timeout: int | None = None,
        memory_size: int | None = None,
        publish: bool | None = None,
        vpc_config: Mapping[str, Any] | None = None,
        package_type: str | None = None,
        dead_letter_config: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
        kms_key_arn: str | None = None,
        tracing_config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        layers: list[str] | None = None,
        file_system_configs: list[Mapping[str, Any]] | None = None,
        image_config: Mapping[str, Any] | None = None,
        architectures: list[str] | None = None,
        ephemeral_storage: Mapping[str, Any] | None = None,
        snap_start: Mapping[str, Any] | None = None,
        logging_config: Mapping[str, Any] | None = None,
        tenancy_config: Mapping[str, Any] | None = None,
        code_signing_config_arn: str | None = None,
    ) -> dict[str, Any]:
        identifier = self._new_name(ctx, function_name)
        rules.check_source("CreateFunction", code, package_type == "Image")
        params = {
            "Role": role,
            "Runtime": runtime,
            "Handler": handler,
            "Description": description,
            "Timeout": timeout,
            "MemorySize": memory_size,
            "VpcConfig": vpc_config,
            "DeadLetterConfig": dead_letter_config,
            "Environment": environment,
            "KMSKeyArn": kms_key_arn,
            "TracingConfig": tracing_config,
            "FileSystemConfigs": file_system_configs,
            "ImageConfig": image_config,
            "ImageUri": code.get("ImageUri"),
            "SourceKMSKeyArn": code.get("SourceKMSKeyArn"),
            "Architectures": architectures,
            "EphemeralStorage": ephemeral_storage,
            "SnapStart": snap_start,
            "LoggingConfig": logging_config,
            "TenancyConfig": tenancy_config,
        }
        params["Layers"] = await self._layers.used(ctx, identifier, layers or [])
        settings = rules.create(params, self.core.quotas)
        wanted_tags = rules.tags(tags, self.core.quotas)
        self._refuse_existing(identifier)
        await self._roles.check(ctx, role, identifier)
        self._roles.settings(identifier, settings)
        signing = code_signing_config_arn or ""
        if signing:
            self.core.signing.attachable(signing)
        return await self.core.whole(
            self._create(ctx, identifier, settings, code, wanted_tags, bool(publish), signing)
        )

    async def _create(
        self,
        ctx: Context,
        identifier: Identifier,
        settings: FunctionSettings,
        code: Mapping[str, Any],
        tags: dict[str, str],
        publish: bool,
        signing: str,
    ) -> dict[str, Any]:
        core = self.core
        async with (
            self._sources.package(ctx, code) as package,
            core.lock(identifier.key),
        ):
            self._refuse_existing(identifier)
            core.signing.check(identifier, signing)
            core.refuse_over_storage(identifier.key, package.unzipped_bytes)
            rules.check_together(settings, package.unzipped_bytes, core.quotas)
            self._layers.refuse_gone(settings.layers)
            version = Version(
                *identifier.key,
                version=LATEST,
                settings=settings,
                code_sha256=package.sha256,
                code_bytes=package.code_bytes,
                unzipped_bytes=package.unzipped_bytes,
                revision_id=core.ids.uuid(),
                build_id=core.ids.uuid(),
                modified_at=core.clock.now(),
                state=PENDING,
            )
            function = Function(
                *identifier.key,
                versions={LATEST: version},
                tags=tags,
                last_version=await core.last_number(identifier.key),
            )
            if signing:
                function.attached[code_signing.KIND] = {LATEST: {"Arn": signing}}
            published = next_version(self._transitions, function, version) if publish else None
            if published is not None:
                function.versions[published.version] = published
                function.last_version = int(published.version)
            await core.add(function)
            for begun in function.versions.values():
                self._transitions.start(begun, new=True)
            # Recorded: the ARN of a version published here is the function's, without the number.
            return answers.configuration(published or version, core.runnable)

    def _new_name(self, ctx: Context, text: str) -> Identifier:
        identifier = self.core.identify(ctx, text)
        longest = self.core.quotas.function_name_length
        qualifier = identifier.qualifier
        own = identifier.name if qualifier is None else f"{identifier.name}:{qualifier}"
        if len(own) > longest:
            rule = f"Member must have length less than or equal to {longest}"
            raise invalid(constraint(text, "functionName", rule).message)
        if qualifier not in (None, LATEST):
            raise invalid(f"A function cannot be created with the qualifier {qualifier}.")
        return Identifier(*identifier.key)

    def _refuse_existing(self, identifier: Identifier) -> None:
        if self.core.find(identifier.key) is not None:
            raise conflict(f"Function already exist: {identifier.name}")

    @operation("GetFunction", authorize=on_function("lambda:GetFunction"))
    async def get_function(
        self, ctx: Context, *, function_name: str, qualifier: str | None = None
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name, qualifier)
        version = self.core.version(identifier)
        function = self.core.function(identifier)
        answer: dict[str, Any] = {
            "Configuration": answers.configuration(
                version, self.core.runnable, qualifier=identifier.qualifier
            ),
            "Code": answers.code(version, self._location(ctx, version.code_sha256)),
        }
        if function.tags:
            answer["Tags"] = dict(function.tags)
        if function.reserved is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved}
        return answer

    @operation("GetFunctionConfiguration", authorize=on_function("lambda:GetFunctionConfiguration"))
    async def get_function_configuration(
        self, ctx: Context, *, function_name: str, qualifier: str | None = None
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name, qualifier)
        version = self.core.version(identifier)
        return answers.configuration(version, self.core.runnable, qualifier=identifier.qualifier)

    @operation("ListFunctions", authorize=on_account("lambda:ListFunctions"), paged=READABLE)
    async def list_functions(
        self,
        ctx: Context,
        *,
        master_region: str | None = None,
        function_version: str | None = None,
        marker: str | None = None,
    ) -> Listing:
        if master_region is not None and function_version != "ALL":
            raise invalid("FunctionVersion must be set to ALL when MasterRegion is given.")
        if master_region not in (None, "ALL", ctx.region):
            return RowList([], str)  # functions are masters where they live
        first = start(marker, function_arn(ctx.account, ctx.region, ""))
        return Walk(
            self._listed(ctx, first, everything=function_version == "ALL"),
            lambda item: item[0].arn + (f":{item[1]}" if item[1] else ""),
            lambda item: answers.summary(item[0], qualifier=item[1]),
        )

    def _listed(
        self, ctx: Context, first: str, *, everything: bool
    ) -> Iterator[tuple[Version, str | None]]:
        """Yield versions in the order of the list. first: a name, or name and qualifier."""
        name, _, qualifier = first.partition(":")
        for function in self.core.functions_from(ctx.account, ctx.region, name):
            if not everything:
                yield function.latest, None
                continue
            lowest = order(qualifier) if function.name == name else 0
            for version in function.numbered:
                if order(version.version) >= lowest:
                    yield version, version.version

    @operation("DeleteFunction", authorize=on_function("lambda:DeleteFunction"))
    async def delete_function(
        self, ctx: Context, *, function_name: str, qualifier: str | None = None
    ) -> Answer:
        """Delete the whole function; with a version's number only that version, if it exists."""
        identifier = self.core.identify(ctx, function_name, qualifier)
        named = identifier.qualifier
        if named is not None and is_alias(named):
            raise invalid("Deletion of aliases is not currently supported.")
        if named == LATEST:
            raise invalid("$LATEST version cannot be deleted without deleting the function.")
        await self.core.whole(self._delete(Identifier(*identifier.key), named))
        return Answer(status=204)

    async def _delete(self, identifier: Identifier, version: str | None) -> None:
        async with self.core.lock(identifier.key):
            function = self.core.function(identifier)
            if version is None:
                await self.core.drop(function)
            elif version in function.versions:
                aliases = sorted(
                    alias.name
                    for alias in function.aliases.values()
                    if version in (alias.version, *alias.weights)
                )
                if aliases:
                    raise conflict(
                        "Unable to delete version because the following aliases reference it: "
                        f"[{', '.join(aliases)}]"
                    )
                await self.core.drop_version(function, version)
