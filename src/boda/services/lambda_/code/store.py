"""Functions' code on disk, by the digest of its package.

    <code>/<sha256>/code.zip   the package as it was uploaded
    <code>/<sha256>/task/      unpacked, seen by an environment at /var/task
    <code>/.new-<hex>/         incomplete; removed at the next start
    <code>/.key                signs download addresses, mode 0600

A folder with a digest for a name is complete: it is made under another name, flushed to the disk
and then renamed. It is removed only a while after the last function stopped referring to it,
because environments of an older revision may still be running from it. One that no function refers
to at a start goes to lost+found.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.health import log_damage
from boda.core.ids import Ids
from boda.core.locks import Locks
from boda.services.lambda_.code import inspection
from boda.services.lambda_.code.package import unpack
from boda.services.lambda_.errors import entity_too_large, invalid
from boda.services.lambda_.quotas import Quotas
from boda.storage.deletion_lock import DeletionLock
from boda.storage.durable import replace_durably, sync_below, sync_folder
from boda.storage.lost import LostAndFound, missing_contents

_GRACE_S = 1200.0
"""Longer than any invocation of an older revision may still run."""

_LINK_LIFE_S = 600
_UNPACKERS = 2


@dataclass(frozen=True, slots=True)
class Package:
    """sha256: hexadecimal, of the zip. code_bytes: of the zip. unzipped_bytes: of its files."""

    sha256: str
    code_bytes: int
    unzipped_bytes: int


class CodeStore:
    """Keeps packages. ``open`` before use."""

    def __init__(
        self,
        root: Path,
        quotas: Quotas,
        clock: Clock,
        ids: Ids,
        referenced: Callable[[str], bool],
        lost: LostAndFound,
        damaged: Callable[[str], None] = log_damage,
    ) -> None:
        self._root = root
        self._quotas = quotas
        self._clock = clock
        self._ids = ids
        self._referenced = referenced
        self._lost = lost
        self._deletions = DeletionLock.beside(root)
        self.report_damage = damaged
        self._verified: set[str] = set()
        self._verifying: Locks[str] = Locks()
        self._slots = asyncio.Semaphore(_UNPACKERS)
        self._pins: Counter[str] = Counter()
        self._doubtful: dict[str, float] = {}
        self._key = b""

    def open(self, *, needed: bool = False) -> None:
        """Make the folder and its key, remove incomplete packages, set unreferenced ones aside.
        Blocking.

        needed: functions refer to packages; raises PlatformError if the folder has been removed.
        """
        if needed and not (self._root.is_dir() and any(os.scandir(self._root))):
            raise missing_contents(self._root, "functions' code")
        self._root.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._key = _private_key(self._root / ".key", self._ids)
        with self._deletions.deleting() as allowed:
            for entry in list(os.scandir(self._root)):
                if entry.name.startswith(".new-"):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path, ignore_errors=True)
                    else:
                        os.unlink(entry.path)
                elif allowed and len(entry.name) == 64 and not self._referenced(entry.name):
                    self._lost.keep(Path(entry.path), "code")

    def task(self, sha256: str) -> Path:
        """Return the folder of a package's unpacked code."""
        return self._root / sha256 / "task"

    def archive(self, sha256: str) -> Path:
        """Return the file of a package."""
        return self._root / sha256 / "code.zip"

    def has(self, sha256: str) -> bool:
        return self.task(sha256).is_dir()

    @asynccontextmanager
    async def from_bytes(self, content: bytes) -> AsyncIterator[Package]:
        """Take a package sent with the request; keep it while the context lasts. Raises
        AwsError."""
        if len(content) > self._quotas.zipped_bytes:
            raise entity_too_large(self._quotas.zipped_bytes)
        with self._folder() as new:
            await asyncio.to_thread((new / "code.zip").write_bytes, content)
            async with self._admitted(new) as package:
                yield package

    @asynccontextmanager
    async def from_chunks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Package]:
        """Take a package that comes in pieces, as from S3. Raises AwsError."""
        with self._folder() as new:
            total = 0
            with (new / "code.zip").open("wb") as file:
                async for chunk in chunks:
                    total += len(chunk)
                    if total > self._quotas.unzipped_bytes:
                        limit = self._quotas.unzipped_bytes
                        raise invalid(f"Unzipped size must be smaller than {limit} bytes")
                    await asyncio.to_thread(file.write, chunk)
            async with self._admitted(new) as package:
                yield package

    async def restore(self, sha256: str) -> None:
        """Unpack the kept package again if the code is missing or damaged. Raises AwsError,
        OSError.

        The old code goes to lost+found. The package itself stays in its place all the time, so that
        an interrupted call can be repeated at the next start.
        """
        with self._folder() as new:
            async with self._slots:
                await asyncio.to_thread(self._unpack_again, sha256, new)

    async def check(self, sha256: str, name: str) -> None:
        """Return when the unpacked code is verified against the package.

        It is verified once in the life of a process, at its first use. Damage is reported and the
        package unpacked again; raises AwsError if that fails. name: of the function or layer that
        uses it.
        """
        if sha256 in self._verified:
            return
        async with self._verifying.of(sha256):
            if sha256 in self._verified:
                return
            folder = self._root / sha256
            package = await asyncio.to_thread(inspection.package_fault, folder)
            code = await asyncio.to_thread(inspection.code_fault, folder)
            for fault in filter(None, (package, code)):
                self.report_damage(f"code of {name}: {fault}")
            if code:  # a damaged package alone keeps no function from running
                try:
                    await self.restore(sha256)
                except (OSError, AwsError) as error:
                    raise AwsError(
                        "InvalidZipFileException",
                        "The code of the function is damaged and cannot be unpacked again.",
                        502,
                        Type="Service",
                    ) from error
            self._verified.add(sha256)

    def retire(self, sha256: str) -> None:
        """Report that a function no longer refers to the package."""
        if sha256 and not self._referenced(sha256):
            self._doubtful.setdefault(sha256, self._clock.monotonic())

    async def sweep(self) -> None:
        """Remove packages that have been unreferenced for long enough, except during a backup."""
        if not self._doubtful:
            return
        with self._deletions.deleting() as allowed:
            graves = self._bury() if allowed else []
        for grave in graves:
            await asyncio.to_thread(shutil.rmtree, grave, ignore_errors=True)

    def _bury(self) -> list[Path]:
        """Rename the packages to remove, so that one of the same digest can come back meanwhile."""
        now = self._clock.monotonic()
        graves = []
        for sha256, since in list(self._doubtful.items()):
            if self._referenced(sha256) or self._pins[sha256]:
                del self._doubtful[sha256]
            elif now - since >= _GRACE_S:
                del self._doubtful[sha256]
                grave = self._root / f".new-{self._ids.hex(16)}"
                self._verified.discard(sha256)
                with suppress(FileNotFoundError):
                    (self._root / sha256).rename(grave)
                    graves.append(grave)
        return graves

    def sign(self, sha256: str) -> str:
        """Return the path under which the package can be fetched for ten minutes, without
        credentials."""
        expires = int(self._clock.now()) + _LINK_LIFE_S
        return f"/_boda/code/{sha256}?expires={expires}&signature={self._mac(sha256, expires)}"

    def verify(self, sha256: str, expires: str, signature: str) -> bool:
        """Return whether such a path was signed here and has not expired."""
        if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
            return False
        moment = int(expires)
        good = hmac.compare_digest(self._mac(sha256, moment).encode(), signature.encode())
        return good and moment >= self._clock.now() and self.archive(sha256).is_file()

    def _mac(self, sha256: str, expires: int) -> str:
        return hmac.new(self._key, f"{sha256}\n{expires}".encode(), hashlib.sha256).hexdigest()

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        new = self._root / f".new-{self._ids.hex(16)}"
        new.mkdir(mode=0o755)
        try:
            yield new
        finally:
            shutil.rmtree(new, ignore_errors=True)

    @asynccontextmanager
    async def _admitted(self, new: Path) -> AsyncIterator[Package]:
        async with self._slots:
            sha256 = await asyncio.to_thread(_digest, new / "code.zip")
            self._pins[sha256] += 1
            try:
                package = await asyncio.to_thread(self._settle, new, sha256)
            except BaseException:
                self._unpin(sha256)
                raise
        try:
            yield package
        finally:
            self._unpin(sha256)

    def _unpin(self, sha256: str) -> None:
        self._pins[sha256] -= 1
        if not self._pins[sha256]:
            del self._pins[sha256]
        self.retire(sha256)  # in case the request failed

    def _unpack_again(self, sha256: str, new: Path) -> None:
        """Unpack a package into the folder ``new``. Blocking."""
        archive, task = self.archive(sha256), new / "task"
        if _digest(archive) != sha256:
            raise OSError(f"the package kept for {sha256} is damaged")
        task.mkdir(mode=0o755)
        unpack(archive, task, self._quotas)
        sync_below(new)
        old = self.task(sha256)
        if old.exists() and not self._lost.keep(old, f"code/{sha256}"):
            raise OSError(f"the damaged code of {sha256} cannot be set aside")
        task.rename(old)
        sync_folder(old.parent)

    def _settle(self, new: Path, sha256: str) -> Package:
        """Check, unpack, flush and name the package in ``new``. Blocking."""
        archive, task = new / "code.zip", new / "task"
        size = archive.stat().st_size
        if self.has(sha256):  # the same bytes were checked when they came first
            return Package(sha256, size, _size(self.task(sha256)))
        task.mkdir(mode=0o755)
        package = Package(sha256, size, unpack(archive, task, self._quotas))
        if not self.has(sha256):
            sync_below(new)
            try:
                new.rename(self._root / sha256)
            except OSError:
                if not self.has(sha256):  # else another request brought the same package meanwhile
                    raise
            sync_folder(self._root)
            self._verified.add(sha256)
        return package


def _size(folder: Path) -> int:
    """Return the bytes of the files and links below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(place, name)).st_size for name in names)
    return total


def _digest(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _private_key(path: Path, ids: Ids) -> bytes:
    with suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == 32:
            return key
    key = ids.bytes(32)
    replace_durably(path, key)
    return key
