"""The layers of one platform, in memory, and which of them a function may use."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence

from boda.core import resource_policy
from boda.core.arn import Arn, is_arn, split_version
from boda.core.errors import AwsError
from boda.core.locks import Locks
from boda.core.policy import Policy
from boda.core.resource_policy import Statement
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Context
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import invalid
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.layers import records as layer_records
from boda.services.lambda_.layers.records import Layer, LayerVersion, layer_arn
from boda.services.lambda_.records import Key, LayerUse
from boda.storage.rows import Tx

_ACTION = "lambda:GetLayerVersion"


class Layers:
    """Layers and how they change: rows first, memory after the commit."""

    def __init__(self, core: LambdaCore) -> None:
        self._core = core
        self._layers: dict[Key, Layer] = {}
        core.layer_packages = self._of_account
        self._locks: Locks[Key] = Locks()

    async def load(self) -> None:
        """Read every layer; their packages are needed from then on."""
        self._layers = await self._core.rows.read(layer_records.load)
        for version in self.all():
            self._core.refer([version.sha256])

    def all(self) -> Iterable[LayerVersion]:
        for layer in self._layers.values():
            yield from layer.versions.values()

    def lock(self, key: Key) -> asyncio.Lock:
        """Held by whoever changes the layer."""
        return self._locks.of(key)

    def of(self, account: str, region: str) -> list[tuple[str, list[LayerVersion]]]:
        """An account's layers in a region by name, the newest version of each first."""
        return [
            (key[2], self.versions(key))
            for key in sorted(self._layers)
            if key[:2] == (account, region)
        ]

    def versions(self, key: Key) -> list[LayerVersion]:
        """A layer's versions, the newest first; none where there is no such layer."""
        layer = self._layers.get(key)
        if layer is None:
            return []
        return [layer.versions[number] for number in sorted(layer.versions, reverse=True)]

    def version(self, key: Key, number: int) -> LayerVersion | None:
        layer = self._layers.get(key)
        return layer.versions.get(number) if layer is not None else None

    def next_number(self, key: Key) -> int:
        layer = self._layers.get(key)
        return 1 if layer is None else layer.last + 1

    async def put(self, version: LayerVersion) -> None:
        """Add or replace a version. Call under the layer's lock."""
        key = (version.account, version.region, version.name)
        last = max(version.number, self.next_number(key) - 1)

        def work(tx: Tx) -> None:
            layer_records.put_layer(tx, key, last)
            layer_records.put_version(tx, version)

        await self._core.write(work)
        layer = self._layers.setdefault(key, Layer())
        if version.number not in layer.versions:
            self._core.refer([version.sha256])
        layer.last = last
        layer.versions[version.number] = version

    async def set_policy(
        self, version: LayerVersion, statements: Sequence[Statement]
    ) -> LayerVersion:
        """Replace a version's policy; the version as it is then. Call under the layer's lock."""
        revision = self._core.ids.uuid() if statements else ""
        changed = dataclasses.replace(
            version, statements=list(statements), policy_revision=revision
        )
        await self.put(changed)
        return changed

    async def drop(self, version: LayerVersion) -> None:
        """Delete a version; functions that have it keep it. Call under the layer's lock."""
        await self._core.write(lambda tx: layer_records.delete_version(tx, version))
        del self._layers[version.account, version.region, version.name].versions[version.number]
        self._core.unrefer([version.sha256])

    async def used(
        self, ctx: Context, function: Identifier, arns: Sequence[str]
    ) -> tuple[LayerUse, ...]:
        """What a function gets that is to have these layers. AwsError."""
        limit = self._core.quotas.layers
        if len(arns) > limit:
            raise invalid(f"Cannot reference more than {limit} layers.")
        seen: dict[str, str] = {}
        found = []
        for arn in arns:
            found.append(await self._usable(ctx, function, arn))
            base, _ = split_version(arn)
            if base in seen:
                raise invalid(
                    "Two different versions of the same layer are not allowed to be referenced in "
                    f"the same function. {seen[base]} and {arn} are versions of the same layer."
                )
            seen[base] = arn
        return tuple(found)

    def _of_account(self, account: str, region: str) -> Iterable[LayerVersion]:
        return (
            version
            for version in self.all()
            if (version.account, version.region) == (account, region)
        )

    def refuse_gone(self, layers: Iterable[LayerUse]) -> None:
        """Raises AwsError where a layer version was deleted while the request was on its way."""
        for layer in layers:
            if self._by_arn(layer.arn) is None:
                raise _absent(layer.arn)

    async def _usable(self, ctx: Context, function: Identifier, arn: str) -> LayerUse:
        named = Arn.read(arn)
        if named is None or _number(named) is None:
            raise _absent(arn)  # a layer of AWS's own, of which there are none here
        version = self._by_arn(arn)
        if named.account == function.account and named.region != function.region:
            raise invalid(
                "Layers are not in the same region as the function. Layers are expected to be in "
                f"region {function.region}."
            )
        if version is None and named.account == function.account:
            raise _absent(arn)
        await ctx.authorize(
            Need(
                _ACTION,
                arn,
                policy(version) if version is not None else None,
                account=named.account,
            )
        )
        if version is None or named.region != function.region:
            raise _absent(arn)
        return LayerUse(version.arn, version.code_bytes, version.unzipped_bytes, version.sha256)

    def _by_arn(self, arn: str) -> LayerVersion | None:
        named = Arn.read(arn)
        number = _number(named)
        if named is None or number is None:
            return None
        return self.version((named.account, named.region, named.words[1]), number)


def layer_key(name: str, account: str, region: str) -> Key:
    """The layer that ``LayerName`` means: a name of this account and region, or an ARN."""
    if not is_arn(name):
        return (account, region, name)
    arn = Arn.cut(name)
    return (arn.account, arn.region, arn.name)


def policy(version: LayerVersion) -> Policy | None:
    return resource_policy.stored(version.statements)


def version_arn(key: Key, number: int) -> str:
    return f"{layer_arn(key)}:{number}"


def _number(arn: Arn | None) -> int | None:
    """The number of the layer version that an ARN names, None if it names none."""
    match arn.words if arn is not None and arn.service == "lambda" else ():
        case ["layer", _, number] if number.isascii() and number.isdigit() and len(number) < 19:
            return int(number)
    return None


def _absent(arn: str) -> AwsError:
    return invalid(f"Layer version {arn} does not exist.")
