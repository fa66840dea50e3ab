"""What every group of Lambda operations shares: the functions in memory and how they change.

Law of this file: rows first, memory after the commit, and both under the function's own lock, in
a task that the caller's going away does not interrupt. Reading never waits.
"""

from __future__ import annotations

import asyncio
import dataclasses
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from boda.core import resource_policy
from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.locks import Locks
from boda.core.resource_policy import Statement
from boda.core.settling import Settling
from boda.core.tasks import Tasks
from boda.gateway.calling.operation import Context
from boda.invoke.function_table import LATEST, FunctionTable
from boda.runtime.function import FunctionVersion
from boda.services.lambda_ import records, rows
from boda.services.lambda_.code.store import CodeStore
from boda.services.lambda_.errors import not_found
from boda.services.lambda_.identifiers import Identifier, parse
from boda.services.lambda_.quotas import Quotas
from boda.services.lambda_.records import Alias, Function, Key, Version
from boda.storage.rows import Rows, Tx
from boda.telemetry.contract import MeteredUrlRequest

T = TypeVar("T")


class Reservations(Protocol):
    """Where reserved concurrency takes effect: the invoke path's own table."""

    def reserve(self, account: str, region: str, function: str, count: int | None) -> None:
        """Set, or with None drop, a function's reserved concurrent executions."""

    def provision(
        self,
        account: str,
        region: str,
        function: str,
        version: str,
        count: int,
        named: tuple[str, ...] = (),
    ) -> None:
        """Set so many concurrent executions aside for one version; 0: none. named: the
        qualifiers that ask for them."""


class Signing(Protocol):
    """Checks packages against code signing configs."""

    def attachable(self, arn: str) -> None:
        """Raises AwsError unless a function may have the config."""

    def check(self, identifier: Identifier, arn: str) -> None:
        """Raises AwsError where a package may not become the code of a function with this."""


class PackagedVersion(Protocol):
    """What was made of a package: a version of a function or of a layer."""

    @property
    def code_bytes(self) -> int: ...

    @property
    def unzipped_bytes(self) -> int: ...


class LambdaCore:
    """The functions of one platform."""

    def __init__(
        self,
        rows: Rows,
        hot: FunctionTable,
        reservations: Reservations,
        clock: Clock,
        ids: Ids,
        quotas: Quotas,
    ) -> None:
        self.rows = rows
        self.hot = hot
        self.reservations = reservations
        self.clock = clock
        self.ids = ids
        self.quotas = quotas
        self.code: CodeStore
        self.signing: Signing
        self.on_dropped: list[Callable[[Function, str | None], None]] = []
        """Told of functions that are gone, and with a qualifier of versions and aliases."""
        self.on_routed: list[Callable[[Function], None]] = []
        """Told of functions of which an alias leads elsewhere from now on."""
        self.answered: Callable[[MeteredUrlRequest], None] = lambda answer: None
        """Told of every request to a function URL that is there."""
        self.runnable: Callable[[str], bool] = lambda runtime: True
        """Whether this machine has a runtime."""
        self.layer_packages: Callable[[str, str], Iterable[PackagedVersion]] = (
            lambda account, region: ()
        )
        """The packages of an account's layers in a region."""
        self.resource_tags: Callable[[str], Mapping[str, str]] = lambda arn: {}
        """The tags of what an ARN names: a function, or what stands beside functions."""
        self._functions: dict[tuple[str, str], dict[str, Function]] = {}
        self._names: dict[tuple[str, str], list[str]] = {}
        self._references: Counter[str] = Counter()
        self._locks: Locks[Key] = Locks()
        self.settling = Settling(clock)
        self._changes = Tasks()
        self._waiting = Tasks()

    # Reading

    def identify(self, ctx: Context, text: str, qualifier: str | None = None) -> Identifier:
        """The function a caller means. AwsError."""
        return parse(text, qualifier, ctx.account, ctx.region)

    def find(self, key: Key) -> Function | None:
        return self._functions.get(key[:2], {}).get(key[2])

    def finder(self, key: Key) -> Callable[[], Function | None]:
        """``find`` for whoever asks for the same key again and again."""
        return partial(self._functions.setdefault(key[:2], {}).get, key[2])

    def function(self, identifier: Identifier) -> Function:
        """AwsError ResourceNotFoundException, naming the function as the caller did."""
        found = self.find(identifier.key)
        if found is None:
            raise not_found(identifier.named_arn)
        return found

    def version(self, identifier: Identifier) -> Version:
        """The version the identifier names, by an alias too. AwsError ResourceNotFoundException."""
        function = self.function(identifier)
        qualifier = identifier.meant
        alias = function.aliases.get(qualifier)
        found = function.versions.get(qualifier if alias is None else alias.version)
        if found is None:
            raise not_found(identifier.named_arn)
        return found

    def functions(self, account: str, region: str) -> list[Function]:
        """All of an account in a region, by name."""
        return list(self.functions_from(account, region))

    def functions_from(self, account: str, region: str, name: str = "") -> Iterator[Function]:
        """The same, beginning with this name or the next there is."""
        held = self._functions.get((account, region), {})
        names = self._names.get((account, region))
        if names is None:
            names = self._names[account, region] = sorted(held)
        for at in range(bisect_left(names, name), len(names)):
            yield held[names[at]]

    def all(self) -> Iterator[Function]:
        for held in self._functions.values():
            yield from held.values()

    def refers(self, sha256: str) -> bool:
        """Whether any function or layer needs this package."""
        return self._references[sha256] > 0

    def refers_to_any(self) -> bool:
        """Whether any package is needed."""
        return bool(self._references)

    # Changing

    def lock(self, key: Key) -> asyncio.Lock:
        """Held by whoever changes the function."""
        return self._locks.of(key)

    async def whole(self, change: Coroutine[Any, Any, T]) -> T:
        """Run a change to its end even if the caller goes away in the middle of it."""
        return await self._changes.finish(change)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that mostly waits; ``stop`` calls it off."""
        self._waiting.spawn(work)

    async def stop(self) -> None:
        """Let changes that have begun finish, call off what only waits."""
        await self._waiting.cancel()
        await self._changes.drain()
        await self.settling.stop()

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Write rows; when the disk refuses, the caller reads a sentence and nothing changed."""
        try:
            return await self.rows.write(work)
        except AwsError:
            raise
        except Exception as error:
            raise storage_failure(error) from error

    async def last_number(self, key: Key) -> int:
        """The highest version number that a function of this name ever had; 0 for none."""
        return await self.rows.read(lambda tx: rows.last_number(tx, key))

    async def add(self, function: Function) -> None:
        """Keep a new function. Call under its lock."""

        def work(tx: Tx) -> None:
            rows.put_function(tx, function)
            rows.put_versions(tx, function.versions.values())
            for kind, held in function.attached.items():
                for qualifier, content in held.items():
                    rows.put_attached(tx, function.key, kind, qualifier, content)

        await self.write(work)
        self.remember(function)

    async def put(self, function: Function, *versions: Version) -> None:
        """Add or replace versions, all or none. Call under the function's lock."""
        numbers = [int(each.version) for each in versions if each.version != LATEST]
        last = max([function.last_version, *numbers])

        def work(tx: Tx) -> None:
            rows.put_versions(tx, versions)
            if last != function.last_version:
                rows.put_function(tx, dataclasses.replace(function, last_version=last))

        await self.write(work)
        function.last_version = last
        for version in versions:
            before = function.versions.get(version.version)
            function.versions[version.version] = version
            self.refer(version.packages)
            if before is not None:
                self.unrefer(before.packages)

    async def put_alias(
        self,
        function: Function,
        alias: Alias,
        attached: tuple[str, dict[str, Any] | None] | None = None,
    ) -> None:
        """Make or replace an alias. Call under the function's lock.

        attached: a kind and what is attached to the alias of it from then on, or None.
        """

        def work(tx: Tx) -> None:
            rows.put_alias(tx, function.key, alias)
            if attached is not None:
                kind, content = attached
                rows.put_attached(tx, function.key, kind, alias.name, content)

        await self.write(work)
        function.aliases[alias.name] = alias
        if attached is not None:
            function.attach(attached[0], alias.name, attached[1])
        self.expose_alias(function, alias)
        for listener in self.on_routed:
            listener(function)

    async def drop_alias(self, function: Function, name: str) -> None:
        """Forget an alias. Call under the function's lock."""
        await self.write(lambda tx: rows.delete_alias(tx, function.key, name))
        del function.aliases[name]
        self.hot.remove(function.arn, name)
        self.forget_qualifier(function, name)

    async def put_whole(self, function: Function, *, revise: bool = False, **changes: Any) -> None:
        """Replace members of the function itself. revise: callers see a new revision then."""
        draft = dataclasses.replace(function, **changes)
        latest = self.revised(function.latest) if revise else function.latest

        def work(tx: Tx) -> None:
            rows.put_function(tx, draft)
            rows.put_version(tx, latest)

        await self.write(work)
        for name, value in changes.items():
            setattr(function, name, value)
        function.versions[LATEST] = latest

    async def put_policy(
        self, function: Function, qualifier: str, statements: Sequence[Statement]
    ) -> None:
        """Replace the policy of a qualifier, with a new revision of the version it names."""
        parsed = resource_policy.parsed(statements)  # before anything is written
        version = function.versions.get(qualifier)
        revised = self.revised(version) if version is not None else None
        alias = function.aliases.get(qualifier)
        if alias is not None:
            alias = dataclasses.replace(alias, revision_id=self.ids.uuid())

        def work(tx: Tx) -> None:
            rows.put_policy(tx, function.key, qualifier, statements)
            if revised is not None:
                rows.put_version(tx, revised)
            if alias is not None:
                rows.put_alias(tx, function.key, alias)

        await self.write(work)
        if statements:
            function.policies[qualifier] = statements
        else:
            function.policies.pop(qualifier, None)
        if revised is not None:
            function.versions[qualifier] = revised
        if alias is not None:
            function.aliases[qualifier] = alias
        self.hot.set_policy(function.arn, qualifier, parsed)

    async def attach(
        self, function: Function, kind: str, qualifier: str, content: dict[str, Any] | None
    ) -> None:
        """Replace, or with None remove, what is attached to a qualifier. Under the lock."""
        await self.write(lambda tx: rows.put_attached(tx, function.key, kind, qualifier, content))
        function.attach(kind, qualifier, content)

    def forget_qualifier(self, function: Function, qualifier: str) -> None:
        """Forget, in memory, what hung on a version or an alias whose rows are gone."""
        function.policies.pop(qualifier, None)
        self.hot.set_policy(function.arn, qualifier, None)
        for held in function.attached.values():
            held.pop(qualifier, None)
        for listener in self.on_dropped:
            listener(function, qualifier)

    async def drop(self, function: Function) -> None:
        """Forget a function altogether. Call under its lock."""
        await self.write(lambda tx: rows.delete_function(tx, function))
        self._functions.get(function.key[:2], {}).pop(function.name, None)
        self._names.pop(function.key[:2], None)
        self.hot.remove(function.arn)
        self.reservations.reserve(*function.key, None)
        for version in function.versions.values():
            self.unrefer(version.packages)
        for listener in self.on_dropped:
            listener(function, None)

    async def drop_version(self, function: Function, version: str) -> None:
        """Forget one version. Call under the function's lock."""
        await self.write(lambda tx: rows.delete_version(tx, function.key, version))
        self.hot.remove(function.arn, version)
        self.unrefer(function.versions.pop(version).packages)
        self.forget_qualifier(function, version)

    def refuse_over_storage(self, owner: Key, more_bytes: int) -> None:
        """Raises CodeStorageExceededException when so many bytes more would be too many.

        owner: the function or layer the bytes are for.
        """
        quota = self.quotas.code_storage_bytes
        if more_bytes > 0 and self.stored_bytes(*owner[:2]) + more_bytes > quota:
            raise AwsError(
                "CodeStorageExceededException", "Code storage limit exceeded.", 400, Type="User"
            )

    def stored_bytes(self, account: str, region: str) -> int:
        """Code of functions' versions and of layers, unpacked."""
        return sum(package.unzipped_bytes for package in self._packages(account, region))

    def package_bytes(self, account: str, region: str) -> int:
        """The same as it was uploaded. Equal packages count for each version that has them."""
        return sum(package.code_bytes for package in self._packages(account, region))

    def _packages(self, account: str, region: str) -> Iterator[PackagedVersion]:
        for function in self._functions.get((account, region), {}).values():
            yield from function.versions.values()
        yield from self.layer_packages(account, region)

    def remember(self, function: Function) -> None:
        """Put a function whose rows exist into memory, but not yet on the invoke path."""
        self._functions.setdefault(function.key[:2], {})[function.name] = function
        self._names.pop(function.key[:2], None)
        for version in function.versions.values():
            self.refer(version.packages)

    def expose(self, function: Function, version: Version) -> None:
        """Let the invoke path see the version as it is now."""
        self.hot.put(function.arn, version.version, self.seen(function, version))

    def expose_later(self, function: Function, version: Version) -> None:
        """The same when the invoke path first asks for it."""
        self.hot.put_later(function.arn, version.version, partial(self.seen, function, version))

    def seen(self, function: Function, version: Version) -> FunctionVersion:
        """The version as the invoke path and the fleet see it."""
        layers = tuple(self.code.task(layer.sha256) for layer in version.settings.layers)
        return records.hot(function, version, self.code.task(version.code_sha256), layers)

    def expose_alias(self, function: Function, alias: Alias) -> None:
        self.hot.put_alias(function.arn, alias.name, alias.version, alias.weights)

    def revised(self, version: Version, **changes: Any) -> Version:
        """The version with changes and a new revision id."""
        return dataclasses.replace(version, revision_id=self.ids.uuid(), **changes)

    def refer(self, packages: Iterable[str]) -> None:
        """Say that something needs these packages from now on."""
        for sha256 in packages:
            self._references[sha256] += 1

    def unrefer(self, packages: Iterable[str]) -> None:
        """Take that back; what nobody needs any more is removed after a while."""
        for sha256 in packages:
            self._references[sha256] -= 1
            if self._references[sha256] <= 0:
                del self._references[sha256]
                self.code.retire(sha256)


def storage_failure(error: BaseException) -> AwsError:
    """The platform's disk refused: the caller may try again, nothing was changed."""
    words = getattr(error, "strerror", None) or str(error).splitlines()[0][:200]
    return AwsError(
        "ServiceException", f"The change could not be stored: {words}", 503, Type="Service"
    )
