"""What every group of Lambda operations shares: the functions in memory and how they change.

Law of this file: rows first, memory after the commit, and both under the function's own lock, in
a task that the caller's going away does not interrupt. Reading never waits.
"""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from sqlalchemy.engine import Connection

from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.gateway.service import Context
from boda.invoke.catalogue import Functions
from boda.services.lambda_ import records, rows
from boda.services.lambda_.code import CodeStore
from boda.services.lambda_.errors import not_found
from boda.services.lambda_.identifiers import LATEST, Identifier, parse
from boda.services.lambda_.quotas import Quotas
from boda.services.lambda_.records import Function, Key, Version
from boda.storage.database import Database

T = TypeVar("T")


class Reservations(Protocol):
    """Where reserved concurrency takes effect: the invoke path's own table."""

    def reserve(self, account: str, region: str, function: str, count: int | None) -> None:
        """Set, or with None drop, a function's reserved concurrent executions."""


class Core:
    """The functions of one platform."""

    def __init__(
        self,
        database: Database,
        hot: Functions,
        reservations: Reservations,
        clock: Clock,
        ids: Ids,
        quotas: Quotas,
    ) -> None:
        self.database = database
        self.hot = hot
        self.reservations = reservations
        self.clock = clock
        self.ids = ids
        self.quotas = quotas
        self.code: CodeStore
        self.on_dropped: list[Callable[[Function, str | None], None]] = []
        """Told of functions that are gone, and with a qualifier of versions and aliases."""
        self._functions: dict[tuple[str, str], dict[str, Function]] = {}
        self._references: Counter[str] = Counter()
        self._locks: weakref.WeakValueDictionary[Key, asyncio.Lock] = weakref.WeakValueDictionary()
        self._changes: set[asyncio.Task[Any]] = set()
        self._waiting: set[asyncio.Task[Any]] = set()

    # Reading

    def identify(self, ctx: Context, text: str, qualifier: str | None = None) -> Identifier:
        """The function a caller means. AwsError."""
        return parse(text, qualifier, ctx.account, ctx.region)

    def find(self, key: Key) -> Function | None:
        return self._functions.get(key[:2], {}).get(key[2])

    def function(self, identifier: Identifier) -> Function:
        """AwsError ResourceNotFoundException, naming the function as the caller did."""
        found = self.find(identifier.key)
        if found is None:
            raise not_found(identifier.named_arn)
        return found

    def version(self, identifier: Identifier) -> Version:
        """The version the identifier names. AwsError ResourceNotFoundException."""
        found = self.function(identifier).versions.get(identifier.qualifier or LATEST)
        if found is None:
            raise not_found(identifier.named_arn)
        return found

    def functions(self, account: str, region: str) -> list[Function]:
        """All of an account in a region, by name."""
        held = self._functions.get((account, region), {})
        return [held[name] for name in sorted(held)]

    def all(self) -> Iterator[Function]:
        for held in self._functions.values():
            yield from held.values()

    def refers(self, sha256: str) -> bool:
        """Whether any function's code is this package."""
        return self._references[sha256] > 0

    # Changing

    def lock(self, key: Key) -> asyncio.Lock:
        """Held by whoever changes the function."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    async def whole(self, change: Coroutine[Any, Any, T]) -> T:
        """Run a change to its end even if the caller goes away in the middle of it."""
        return await asyncio.shield(_keep(self._changes, change))

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that mostly waits; ``stop`` calls it off."""
        _keep(self._waiting, work)

    async def stop(self) -> None:
        """Let changes that have begun finish, call off what only waits."""
        for task in list(self._waiting):
            task.cancel()
        await asyncio.gather(*self._changes, *self._waiting, return_exceptions=True)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Write rows; when the disk refuses, the caller reads a sentence and nothing changed."""
        try:
            return await self.database.write(work)
        except AwsError:
            raise
        except Exception as error:
            raise storage_failure(error) from error

    async def add(self, function: Function) -> None:
        """Keep a new function. Call under its lock."""

        def work(connection: Connection) -> None:
            rows.put_function(connection, function)
            rows.put_versions(connection, function.versions.values())

        await self.write(work)
        self.remember(function)

    async def put(self, function: Function, version: Version) -> None:
        """Replace one version. Call under the function's lock."""
        await self.write(lambda connection: rows.put_version(connection, version))
        before = function.versions.get(version.version)
        function.versions[version.version] = version
        self._references[version.code_sha256] += 1
        if before is not None:
            self._unrefer(before)

    async def put_whole(self, function: Function, *, revise: bool = False, **changes: Any) -> None:
        """Replace members of the function itself. revise: callers see a new revision then."""
        draft = dataclasses.replace(function, **changes)
        latest = self.revised(function.latest) if revise else function.latest

        def work(connection: Connection) -> None:
            rows.put_function(connection, draft)
            rows.put_version(connection, latest)

        await self.write(work)
        for name, value in changes.items():
            setattr(function, name, value)
        function.versions[LATEST] = latest

    async def put_policy(
        self, function: Function, qualifier: str, statements: list[dict[str, Any]]
    ) -> None:
        """Replace the policy of a qualifier, with a new revision of the version it names."""
        parsed = records.policy(statements)  # before anything is written
        version = function.versions.get(qualifier)
        revised = self.revised(version) if version is not None else None

        def work(connection: Connection) -> None:
            rows.put_policy(connection, function.key, qualifier, statements)
            if revised is not None:
                rows.put_version(connection, revised)

        await self.write(work)
        if statements:
            function.policies[qualifier] = statements
        else:
            function.policies.pop(qualifier, None)
        if revised is not None:
            function.versions[qualifier] = revised
        self.hot.set_policy(function.arn, qualifier, parsed)

    async def attach(
        self, function: Function, kind: str, qualifier: str, content: dict[str, Any] | None
    ) -> None:
        """Replace, or with None remove, what is attached to a qualifier. Under the lock."""
        await self.write(
            lambda connection: rows.put_attached(connection, function.key, kind, qualifier, content)
        )
        held = function.attached.setdefault(kind, {})
        if content is None:
            held.pop(qualifier, None)
        else:
            held[qualifier] = content

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
        await self.write(lambda connection: rows.delete_function(connection, function.key))
        self._functions.get(function.key[:2], {}).pop(function.name, None)
        self.hot.remove(function.arn)
        self.reservations.reserve(*function.key, None)
        for version in function.versions.values():
            self._unrefer(version)
        for listener in self.on_dropped:
            listener(function, None)

    async def drop_version(self, function: Function, version: str) -> None:
        """Forget one version. Call under the function's lock."""
        await self.write(lambda connection: rows.delete_version(connection, function.key, version))
        self.hot.remove(function.arn, version)
        self._unrefer(function.versions.pop(version))
        self.forget_qualifier(function, version)

    def refuse_over_storage(self, identifier: Identifier, more_bytes: int) -> None:
        """Raises CodeStorageExceededException when so many bytes more would be too many."""
        used = sum(
            version.unzipped_bytes
            for function in self._functions.get(
                (identifier.account, identifier.region), {}
            ).values()
            for version in function.versions.values()
        )
        if more_bytes > 0 and used + more_bytes > self.quotas.code_storage_bytes:
            raise AwsError(
                "CodeStorageExceededException", "Code storage limit exceeded.", 400, Type="User"
            )

    def remember(self, function: Function) -> None:
        """Put a function whose rows exist into memory, but not yet on the invoke path."""
        self._functions.setdefault(function.key[:2], {})[function.name] = function
        for version in function.versions.values():
            self._references[version.code_sha256] += 1

    def expose(self, function: Function, version: Version) -> None:
        """Let the invoke path see the version as it is now."""
        seen = records.hot(function, version, self.code.task(version.code_sha256))
        self.hot.put(function.arn, version.version, seen)

    def revised(self, version: Version, **changes: Any) -> Version:
        """The version with changes and a new revision id."""
        return dataclasses.replace(version, revision_id=self.ids.uuid(), **changes)

    def _unrefer(self, version: Version) -> None:
        self._references[version.code_sha256] -= 1
        if self._references[version.code_sha256] <= 0:
            del self._references[version.code_sha256]
            self.code.retire(version.code_sha256)


def _keep(tasks: set[asyncio.Task[Any]], work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)

    def forget(done: asyncio.Task[T]) -> None:
        tasks.discard(done)
        if not done.cancelled():
            done.exception()  # whoever awaits the task sees it; nobody else has to

    task.add_done_callback(forget)
    return task


def storage_failure(error: BaseException) -> AwsError:
    """The platform's disk refused: the caller may try again, nothing was changed."""
    words = getattr(error, "strerror", None) or str(error).splitlines()[0][:200]
    return AwsError(
        "ServiceException", f"The change could not be stored: {words}", 503, Type="Service"
    )
