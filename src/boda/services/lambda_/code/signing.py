"""Code signing configs, the functions that have one, and the check of packages against them.

There is no signing service here, so no package carries a signature that could be verified: under
``Enforce`` every upload is refused, under ``Warn`` it is taken and counted
(``SignatureValidationErrors``). Source: Lambda developer guide, "configuration-codesigning".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from boda.core.arn import Arn, build
from boda.core.errors import AwsError
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.paging import Listing, Paged, RowList
from boda.invoke.function_table import LATEST
from boda.services.lambda_ import condition_keys
from boda.services.lambda_.access import on_account, on_arn, on_function
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import conflict, resource_not_found
from boda.services.lambda_.identifiers import Identifier, other_region
from boda.services.lambda_.records import Function
from boda.services.lambda_.rows_resources import Place
from boda.services.lambda_.settings import answers, rules
from boda.services.lambda_.shelf import Document, Shelf

KIND = "code-signing-config"
_ID_LENGTH = 17
_PAGED = Paged(size=10_000, most=10_000)


class CodeSigning:
    """The configs, and their decisions on packages. count: counts a metric of a function."""

    def __init__(self, core: LambdaCore, count: Callable[[Identifier, str], None]) -> None:
        self.shelf = Shelf(core, KIND)
        self._count = count

    def config(self, arn: str) -> Document | None:
        place, id_ = _place(arn)
        return self.shelf.find(place, id_)

    def attachable(self, arn: str) -> None:
        """Raises AwsError CodeSigningConfigNotFoundException unless a function may have the
        config."""
        if self.config(arn) is None:
            raise AwsError(
                "CodeSigningConfigNotFoundException",
                "The code signing configuration cannot be found. Check that the provided "
                f"configuration is not deleted: {arn}.",
                404,
                Type="User",
            )

    def check(self, identifier: Identifier, arn: str) -> None:
        """Check a package that is about to become the function's code. Raises AwsError if it is
        refused."""
        config = self.config(arn) if arn else None
        if config is None:
            return
        if config["CodeSigningPolicies"]["UntrustedArtifactOnDeployment"] == "Enforce":
            raise AwsError(
                "CodeVerificationFailedException",
                "Lambda cannot deploy the function. The function or layer might be signed using a "
                "signature that the client is not configured to accept. Check the provided "
                f"signature for {identifier.name}.",
                400,
                Type="User",
            )
        self._count(identifier, "SignatureValidationErrors")


def attached_arn(function: Function) -> str:
    """Return the ARN of the function's code signing config, or ""."""
    arn: str = function.attached.get(KIND, {}).get(LATEST, {}).get("Arn", "")
    return arn


class CodeSigningOperations:
    def __init__(self, core: LambdaCore, signing: CodeSigning) -> None:
        self.core = core
        self._signing = signing
        self._shelf = signing.shelf

    @operation("CreateCodeSigningConfig", authorize=on_account("lambda:CreateCodeSigningConfig"))
    async def create_code_signing_config(
        self,
        ctx: Context,
        *,
        allowed_publishers: Mapping[str, Any],
        description: str | None = None,
        code_signing_policies: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        policy = (code_signing_policies or {}).get("UntrustedArtifactOnDeployment") or "Warn"
        document: Document = {
            "AllowedPublishers": dict(allowed_publishers),
            "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": policy},
            "Tags": rules.tags(tags, self.core.quotas),
        }
        if description is not None:
            document["Description"] = description
        id_ = "csc-" + self.core.ids.hex(_ID_LENGTH)
        await self.core.whole(self._store((ctx.account, ctx.region), id_, document))
        place = (ctx.account, ctx.region)
        return {"CodeSigningConfig": self._answer(place, id_)}

    @operation("GetCodeSigningConfig", authorize=on_arn("lambda:GetCodeSigningConfig"))
    async def get_code_signing_config(
        self, ctx: Context, *, code_signing_config_arn: str
    ) -> dict[str, Any]:
        place, id_ = self._find(ctx, code_signing_config_arn)
        return {"CodeSigningConfig": self._answer(place, id_)}

    @operation("UpdateCodeSigningConfig", authorize=on_arn("lambda:UpdateCodeSigningConfig"))
    async def update_code_signing_config(
        self,
        ctx: Context,
        *,
        code_signing_config_arn: str,
        description: str | None = None,
        allowed_publishers: Mapping[str, Any] | None = None,
        code_signing_policies: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        self._find(ctx, code_signing_config_arn)
        changes: Document = {}
        if description is not None:
            changes["Description"] = description
        if allowed_publishers is not None:
            changes["AllowedPublishers"] = dict(allowed_publishers)
        if code_signing_policies:
            changes["CodeSigningPolicies"] = dict(code_signing_policies)
        return await self.core.whole(self._update(ctx, code_signing_config_arn, changes))

    async def _update(self, ctx: Context, arn: str, changes: Document) -> dict[str, Any]:
        async with self._shelf.lock(_place(arn)[0]):
            place, id_ = self._find(ctx, arn)
            present = self._shelf.find(place, id_) or {}
            changed = {**present, **changes}
            if changed != present:
                changed["LastModified"] = self.core.clock.now()
                await self._shelf.put(place, id_, changed)
            return {"CodeSigningConfig": self._answer(place, id_)}

    @operation("DeleteCodeSigningConfig", authorize=on_arn("lambda:DeleteCodeSigningConfig"))
    async def delete_code_signing_config(
        self, ctx: Context, *, code_signing_config_arn: str
    ) -> Answer:
        await self.core.whole(self._delete(ctx, code_signing_config_arn))
        return Answer(status=204)

    async def _delete(self, ctx: Context, arn: str) -> None:
        async with self._shelf.lock(_place(arn)[0]):
            place, id_ = self._find(ctx, arn)
            if self._functions(place, arn):
                raise conflict(
                    "The code signing configuration cannot be deleted because it is attached to "
                    "one or more functions."
                )
            await self._shelf.drop(place, id_)

    @operation(
        "ListCodeSigningConfigs",
        authorize=on_account("lambda:ListCodeSigningConfigs"),
        paged=_PAGED,
    )
    async def list_code_signing_configs(self, ctx: Context) -> Listing:
        place = (ctx.account, ctx.region)
        ids = [id_ for id_, _ in self._shelf.all(place)]
        return RowList(ids, str, lambda id_: self._answer(place, id_))

    @operation(
        "ListFunctionsByCodeSigningConfig",
        authorize=on_arn("lambda:ListFunctionsByCodeSigningConfig"),
        paged=_PAGED,
    )
    async def list_functions_by_code_signing_config(
        self, ctx: Context, *, code_signing_config_arn: str
    ) -> Listing:
        place, _ = self._find(ctx, code_signing_config_arn)
        return RowList(self._functions(place, code_signing_config_arn), str)

    # Functions

    @operation(
        "PutFunctionCodeSigningConfig",
        authorize=on_function(
            "lambda:PutFunctionCodeSigningConfig",
            lambda _, identifier, params: condition_keys.of_settings(identifier, params),
        ),
    )
    async def put_function_code_signing_config(
        self, ctx: Context, *, function_name: str, code_signing_config_arn: str
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name)
        self._signing.attachable(code_signing_config_arn)  # recorded: before the function's
        self.core.function(identifier)
        await self.core.whole(self._attach(identifier, code_signing_config_arn))
        return {"CodeSigningConfigArn": code_signing_config_arn, "FunctionName": identifier.name}

    @operation(
        "GetFunctionCodeSigningConfig", authorize=on_function("lambda:GetFunctionCodeSigningConfig")
    )
    async def get_function_code_signing_config(
        self, ctx: Context, *, function_name: str
    ) -> dict[str, Any]:
        """Return an empty answer for a function without one."""
        function = self.core.function(self.core.identify(ctx, function_name))
        arn = attached_arn(function)
        return {"CodeSigningConfigArn": arn, "FunctionName": function.name} if arn else {}

    @operation(
        "DeleteFunctionCodeSigningConfig",
        authorize=on_function("lambda:DeleteFunctionCodeSigningConfig"),
    )
    async def delete_function_code_signing_config(
        self, ctx: Context, *, function_name: str
    ) -> Answer:
        await self.core.whole(self._attach(self.core.identify(ctx, function_name), ""))
        return Answer(status=204)

    async def _attach(self, identifier: Identifier, arn: str) -> None:
        async with self.core.lock(identifier.key):
            if not arn:
                function = self.core.function(identifier)
                if attached_arn(function):
                    await self.core.attach(function, KIND, LATEST, None)
                return
            async with self._shelf.lock(_place(arn)[0]):  # it must not be deleted meanwhile
                self._signing.attachable(arn)
                function = self.core.function(identifier)
                await self.core.attach(function, KIND, LATEST, {"Arn": arn})

    def _functions(self, place: Place, arn: str) -> list[str]:
        functions = self.core.functions(*place)
        return [function.arn for function in functions if attached_arn(function) == arn]

    async def _store(self, place: Place, id_: str, document: Document) -> None:
        async with self._shelf.lock(place):
            stored = {**document, "LastModified": self.core.clock.now()}
            await self._shelf.put(place, id_, stored)

    def _find(self, ctx: Context, arn: str) -> tuple[Place, str]:
        place, id_ = _place(arn)
        if place[1] != ctx.region:
            raise other_region(place[1], ctx.region)
        if self._shelf.find(place, id_) is None:
            raise resource_not_found(
                f"The Lambda code signing configuration {arn} can not be found."
            )
        return place, id_

    def _answer(self, place: Place, id_: str) -> dict[str, Any]:
        document = self._shelf.find(place, id_) or {}
        answer = {
            "CodeSigningConfigId": id_,
            "CodeSigningConfigArn": build("lambda", place[1], place[0], f"{KIND}:{id_}"),
            "LastModified": answers.timestamp(document["LastModified"]),
        }
        for name in ("Description", "AllowedPublishers", "CodeSigningPolicies"):
            if name in document:
                answer[name] = document[name]
        return answer


def _place(text: str) -> tuple[Place, str]:
    """Return account, region and id of the config of an ARN, which the model has validated."""
    arn = Arn.cut(text)
    return (arn.account, arn.region), arn.name
