"""The composition root: builds the rooms in order, stops them in reverse.

Rooms do not know each other beyond their contracts; what one needs of another is handed over
here, and only here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import uvloop

from boda import __version__, check, delivery, telemetry
from boda.core import descriptors
from boda.core import log as log_to
from boda.core.arn import DEFAULT_ACCOUNT, DEFAULT_REGION
from boda.core.clock import SystemClock
from boda.core.descriptors import Descriptors
from boda.core.errors import AwsError, PlatformError
from boda.core.health import Health, log_damage
from boda.core.heap import give_back_large
from boda.core.ids import Ids
from boda.core.regions import Regions
from boda.core.tasks import Tasks
from boda.core.urls import InsideEndpoint, PublicUrl, in_url
from boda.fleet.fleet import Fleet
from boda.fleet.settings import FleetSettings
from boda.gateway.gateway import Gateway
from boda.gateway.http.hosts import Hosts
from boda.gateway.http.limits import Limits
from boda.gateway.server import HttpServer, bind
from boda.gateway.signing.identity import Credential
from boda.invoke.concurrency import Concurrency
from boda.invoke.function_table import FunctionTable
from boda.invoke.gauges import Gauges
from boda.invoke.path import Invoker
from boda.plug import Compute, FunctionKeeper, Host, House
from boda.runtime.catalogue import RuntimeCatalogue
from boda.runtime.library import RuntimeLibrary
from boda.sandbox.contract import SandboxError
from boda.sandbox.doctor.examine import examine
from boda.sandbox.doctor.findings import (
    Finding,
    can_isolate,
    can_start,
    missing,
    remedies,
    strong_enough,
)
from boda.sandbox.linux import LinuxSandboxes
from boda.sandbox.plan import RUNTIME_API_PORT
from boda.sandbox.reach import NOTHING, Reach
from boda.scrub import Scrub
from boda.services import iam, lambda_, logs, platform, s3, sts
from boda.services.absent import LACKING
from boda.storage import disk
from boda.storage.blobs import BlobStore
from boda.storage.folder import DataFolder, RootKeys
from boda.storage.lost import LostAndFound
from boda.storage.rows import Rows, RowsError
from boda.storage.sqlite_rows import SqliteRows
from boda.telemetry.monitor import HealthMonitor

log = logging.getLogger("boda")

PLUGS = (iam.PLUG, sts.PLUG, lambda_.PLUG, s3.PLUG, logs.PLUG, platform.PLUG)
"""The services, in the order in which they are built: identities come first."""

SCHEMAS = (
    telemetry.metadata,
    delivery.metadata,
    *(schema for one in PLUGS for schema in one.tables),
)
"""The tables of every room and service."""

GRACE_S = 900.0
"""How long running invocations may take to finish after a signal to stop: none runs longer."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `boda up` was told."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 4566
    auth: Literal["sigv4", "open"] = "sigv4"
    isolation: Literal["full", "process"] = "full"
    network: bool = True
    reach: Reach = NOTHING
    grace_s: float = GRACE_S
    quotas: lambda_.Quotas = lambda_.Quotas()  # noqa: RUF009 (frozen)
    reserve_mb: int | None = None
    overcommit: float = math.inf
    account: str = DEFAULT_ACCOUNT
    log_level: log_to.Level = "info"
    log_format: log_to.Form = "text"
    regions: tuple[str, ...] = ()
    """Names of regions beside AWS's."""
    server_names: tuple[str, ...] = ()
    public_url: PublicUrl | None = None

    def names(self) -> tuple[str, ...]:
        """Host names beside those that every platform has."""
        public = self.public_url
        if public is None or ":" in public.host:
            return self.server_names
        below = (f"*.{public.host}",) if public.address is None else ()
        return (*self.server_names, public.host, *below)

    def fleet(self, endpoint_url: str) -> FleetSettings:
        """What of the fleet follows from these."""
        chosen = FleetSettings(
            endpoint_url=endpoint_url,
            scale_rate=self.quotas.scale_rate,
            tenant_environments=self.quotas.concurrent_executions * 5 // 2,
            overcommit=self.overcommit,
        )
        if self.reserve_mb is None:
            return chosen
        return dataclasses.replace(chosen, reserve_mb=self.reserve_mb)


def run(settings: Settings) -> int:
    """Run until SIGINT or SIGTERM; returns the exit code. Raises PlatformError."""
    log_to.configure(settings.log_level, settings.log_format)
    give_back_large()
    return uvloop.run(_run(settings))


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    platform = Platform(settings)

    def interrupted() -> None:
        if stop.is_set():
            platform.hurry()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    try:
        gc.disable()  # a start makes much and drops little; looking for garbage takes long
        await platform.start()
        # Nothing made so far is ever garbage: collections need not look at it again.
        gc.collect()
        gc.freeze()
        # A request makes some hundred objects and no cycles: looking for them a hundred times a
        # second is enough. The second number bounds how many objects one collection looks at that
        # is not of all: the event loop waits for it.
        gc.set_threshold(10_000, 4, 100)
        gc.enable()
        print(f"boda is ready at {platform.endpoint}", flush=True)
        await stop.wait()
        busy = platform.running()
        if busy:
            print(
                f"boda: waiting up to {settings.grace_s:.0f} s for {busy} running "
                f"invocation{'s' if busy > 1 else ''}; interrupt again to end them now.",
                file=sys.stderr,
                flush=True,
            )
    finally:
        await platform.stop()
    return 0


class Platform:
    """Every room of one boda, put together. ``start`` and ``stop`` once each.

    gateway, invoker, endpoint: after ``start``. health: where faults are reported.
    """

    gateway: Gateway
    invoker: Invoker
    _server: HttpServer

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = DataFolder(settings.data_dir)
        self._clock = SystemClock()
        self.health = Health(self._clock.monotonic, log.warning)
        self._ids = Ids()
        # What has been started, to be stopped in reverse.
        self._stops: list[tuple[str, Callable[[], Awaitable[object]]]] = []
        self._background = Tasks()
        self._house: House | None = None
        self._fleet: Fleet | None = None
        self.endpoint = ""

    async def start(self) -> None:
        """Raises PlatformError; what was started by then is for ``stop`` to end."""
        try:
            await self._start()
        except OSError as error:
            where = Path(os.fsdecode(error.filename or self._folder.path))
            reason = f"boda cannot start ({error.strerror or error}: {where})"
            if where.is_relative_to(self._folder.path):
                reason += "; put that right or choose another folder with --data-dir"
            raise PlatformError(f"{reason}.") from None
        except SandboxError as error:
            raise PlatformError(f"boda cannot start: {error}.") from None
        except (ValueError, LookupError, TypeError, RowsError) as error:
            # Rows are read whole at every start; which of them is damaged is asked only then.
            fault = await asyncio.to_thread(check.first_damaged_row, self._folder)
            if not fault:
                raise
            raise PlatformError(
                f"The database {self._folder.database} is damaged ({fault}); restore it from a "
                "backup or choose another --data-dir; `boda check` names all that is damaged."
            ) from error
        except AwsError as error:  # what is written at every start met a full disk
            raise PlatformError(f"boda cannot start. {error.message}") from None

    async def _start(self) -> None:
        settings, clock = self._settings, self._clock
        shares = Descriptors.of(descriptors.take())
        self._folder.take()
        self._later("folder", self._release_folder)
        catalogue, findings = await asyncio.gather(
            asyncio.to_thread(RuntimeCatalogue.discover), self._check_isolation()
        )
        rows, recorder = await self._open_rows()
        bound = bind(settings.host, settings.port)
        self._later("address", lambda: _close(bound))
        inside = self._inside(bound)
        library = RuntimeLibrary(self._folder.library)
        sandboxes = await self._open_sandboxes(catalogue, library, findings, inside)
        compute, post_office = self._compute(
            rows, recorder, sandboxes, catalogue, _within(settings.fleet(inside.url), shares)
        )
        hosts = Hosts(settings.host, settings.names())
        host = Host(
            rows,
            BlobStore(self._folder.blobs, health=self.health),
            self._folder.code,
            clock,
            self._ids,
            post_office.post,
            recorder,
            account=settings.account,
            damaged=self._damaged(recorder),
            open_mode=settings.auth == "open",
            hosts=hosts,
            regions=Regions(settings.regions),
            quotas={"lambda": settings.quotas},
            compute=compute,
        )
        house = self._house = House(PLUGS, host)
        await house.load()
        self._keep_root_keys(host.identities.root_credential())
        gateway = self.gateway = Gateway(
            house.services,
            house.models,
            host.identities,
            host.authorizer,
            clock,
            self._ids,
            auth=settings.auth,
            health=lambda: {
                **self.health.members(),
                "version": __version__,
                "isolation": settings.isolation,
                "isolation_missing": missing(findings),
            },
            sites=house.sites,
            limits=Limits(connections=shares.clients, endpoints_connections=shares.endpoints),
            regions=host.regions,
            account=settings.account,
            hosts=hosts,
            public_url=settings.public_url,
            lacking=LACKING,
            secret=host.identities.root_credential().secret.encode(),
        )
        host.call = gateway.call
        server = self._server = HttpServer(gateway, settings.host, settings.port, bound=bound)
        # A function that was just made will soon be called: have its interpreter ready.
        compute.functions.on_named(
            lambda version: self._warm(
                sandboxes, catalogue, [version.runtime], version.code_dir, version.layer_dirs
            )
        )
        for name, service in house.running.items():
            self._later(name, service.stop)
            await service.start()
        await server.start()

        async def stop_server() -> None:
            recorder.end_subscriptions()
            await server.stop(settings.grace_s)

        self._later("server", stop_server)
        await post_office.start()
        self._later("delivery", lambda: post_office.stop(settings.grace_s))
        self._watch(host, post_office)
        self.endpoint = f"http://{in_url(settings.host)}:{server.port}"
        self._folder.write_address(
            self.endpoint, settings.regions, str(settings.public_url or self.endpoint)
        )
        self._warm(sandboxes, catalogue, sorted(self._functions.runtimes))
        self._lay_out(library)
        self._warn(findings)

    async def _open_rows(self) -> tuple[Rows, telemetry.Recorder]:
        rows = SqliteRows(
            self._folder.database,
            SCHEMAS,
            generation=check.generation_of(self._folder, self._ids),
            health=self.health,
        )
        self._later("database", lambda: asyncio.to_thread(rows.close))
        recorder = telemetry.build(rows, self._clock, lambda: disk.why_reserved(self._folder.path))
        await recorder.start()
        self._later("telemetry", recorder.stop)
        return rows, recorder

    def _inside(self, bound: list[socket.socket]) -> InsideEndpoint:
        """Where functions reach boda. Raises PlatformError if that was opened to something else."""
        settings = self._settings
        inside = InsideEndpoint.of(
            bound[0].getsockname()[1], settings.public_url, taken=RUNTIME_API_PORT
        )
        clash = settings.reach.within("127.0.0.1", RUNTIME_API_PORT) or settings.reach.within(
            inside.address, inside.port
        )
        if clash:
            raise PlatformError(
                f"{clash} cannot be opened to functions: it is what they reach boda itself by. "
                "Let boda or the other server listen on another port."
            )
        return inside

    async def _open_sandboxes(
        self,
        catalogue: RuntimeCatalogue,
        library: RuntimeLibrary,
        findings: list[Finding],
        inside: InsideEndpoint,
    ) -> LinuxSandboxes:
        settings = self._settings
        sandboxes = LinuxSandboxes(
            self._folder.sandbox,
            catalogue,
            library,
            plain=not can_isolate(findings),
            network=settings.network,
            reach=settings.reach,
            instance=str(self._folder.path),
            clock=self._clock,
            endpoint=inside,
        )
        self._later("sandboxes", sandboxes.close)
        await sandboxes.open()
        if settings.reach and sandboxes.network_missing:
            raise PlatformError(
                f"{settings.reach} cannot be opened to functions, which have no network here: "
                f"{sandboxes.network_missing}. Start without --network-allow and --allow-host."
            )
        return sandboxes

    def _compute(
        self,
        rows: Rows,
        recorder: telemetry.Recorder,
        sandboxes: LinuxSandboxes,
        catalogue: RuntimeCatalogue,
        settings: FleetSettings,
    ) -> tuple[Compute, delivery.Delivery]:
        """What runs functions, at once and later. Who keeps them is asked when one is to run."""
        clock, quotas = self._clock, self._settings.quotas
        functions = FunctionTable()
        concurrency = Concurrency(
            quotas.concurrent_executions,
            requests_per_unit=quotas.requests_per_environment,
            monotonic=clock.monotonic,
        )
        Gauges(concurrency, recorder, clock)
        fleet = self._fleet = Fleet(
            sandboxes,
            recorder,
            clock,
            self._ids,
            credentials=lambda version: self._functions.credentials(version),
            serve_endpoint=lambda listening, environment: self._server.serve_socket(
                listening, environment
            ),
            settings=settings,
            on_shortage=self._memory_is_short,
            verify=lambda version: self._functions.verify(version),
        )
        self._later("fleet", lambda: fleet.close(self._settings.grace_s))
        invoker = self.invoker = Invoker(fleet, concurrency, functions, recorder)
        post_office = delivery.build(
            rows,
            functions,
            invoker,
            recorder,
            clock,
            self._ids,
            boot=_boot(),
            reserved=concurrency.reserved,
            rules=lambda version, qualifier: self._functions.async_rules(version, qualifier),
            role=lambda version: self._functions.principal(version),
        )
        compute = Compute(functions, invoker, post_office.queue, concurrency, fleet, catalogue)
        return compute, post_office

    @property
    def _functions(self) -> FunctionKeeper:
        assert self._house is not None and self._house.functions is not None
        return self._house.functions

    def _watch(self, host: Host, post_office: delivery.Delivery) -> None:
        """Begin what looks after the data in the background."""
        rows, recorder, clock = host.rows, host.telemetry, self._clock
        scrub = Scrub(
            lambda: check.contents(rows.read_now, self._folder, partial(_keep, rows)),
            LostAndFound.beside(self._folder.blobs, clock),
            clock,
            host.damaged,
            lambda: self.health.clear("damage"),
        )
        scrub.start()
        self._later("scrub", scrub.stop)
        monitor = HealthMonitor(
            self.health,
            self._folder.path,
            rows,
            clock,
            late=post_office.queue.late_s,
            dropped={
                "log events": lambda: recorder.dropped_log_events,
                "metric samples": lambda: recorder.dropped_metric_samples,
            },
        )
        monitor.start()
        self._later("monitor", monitor.stop)
        upkeep = Tasks()
        upkeep.spawn(rows.upkeep(clock), name="upkeep")
        self._later("upkeep", upkeep.cancel)

    async def stop(self) -> None:
        """Stop in reverse what was started; one failure does not keep the rest from stopping."""
        while self._stops:
            name, stop = self._stops.pop()
            try:
                await stop()
            except Exception:
                log.exception("%s did not stop cleanly", name)

    def running(self) -> int:
        """How many environments are at work."""
        found = self._fleet.environments() if self._fleet is not None else []
        return sum(one.state in ("busy", "resetting") for one in found)

    def hurry(self) -> None:
        """While ``stop`` waits: running invocations end now, so that nothing waits any more."""
        if self._fleet is not None:
            self._background.spawn(self._fleet.close())

    def _later(self, name: str, stop: Callable[[], Awaitable[object]]) -> None:
        self._stops.append((name, stop))

    def _warm(
        self,
        sandboxes: LinuxSandboxes,
        catalogue: RuntimeCatalogue,
        runtimes: Iterable[str],
        code_dir: Path | None = None,
        layer_dirs: Sequence[Path] = (),
    ) -> None:
        """Begin to have ready what environments are forked from."""

        async def work() -> None:
            for runtime in runtimes:
                if runtime not in catalogue:
                    continue
                try:
                    await sandboxes.warm(runtime, code_dir, layer_dirs)
                except SandboxError as error:
                    log.warning("the runtime %s could not be prepared: %s", runtime, error)

        self._background.spawn(work())

    def _lay_out(self, library: RuntimeLibrary) -> None:
        """In a new data folder: have what functions find beside their code there before the
        first of them."""

        async def work() -> None:
            with contextlib.suppress(OSError, PlatformError):  # told when a function needs it
                await asyncio.to_thread(library.lay_out)

        self._background.spawn(work())

    def _memory_is_short(self) -> None:
        self.health.report(
            "memory",
            "the kernel ended an execution environment that was below its own limit; for ten "
            "minutes after the last one new ones are counted with their whole MemorySize",
            FleetSettings().caution_s,
        )

    def _damaged(self, recorder: telemetry.Recorder) -> Callable[[str], None]:
        """Where it is said, from any thread, that something stored is not what it was."""
        loop = asyncio.get_running_loop()

        def report(sentence: str) -> None:
            log_damage(sentence)
            self.health.report("damage", sentence)
            recorder.metric(self._settings.account, DEFAULT_REGION, "boda", "Damaged", 1.0)

        def from_any_thread(sentence: str) -> None:
            loop.call_soon_threadsafe(report, sentence)

        return from_any_thread

    async def _release_folder(self) -> None:
        self._folder.release()

    async def _check_isolation(self) -> list[Finding]:
        """Refuse to start where isolation is weaker than promised, unless told otherwise."""
        findings = await asyncio.to_thread(
            examine,
            self._folder.sandbox,
            network=self._settings.network,
            reach=self._settings.reach,
            thorough=False,
        )
        if self._settings.isolation == "process":
            if not can_start(findings):
                raise PlatformError(
                    f"No function can be run on this machine ({findings[0].missing}); see "
                    "`boda doctor`."
                )
            if not self._settings.network and not can_isolate(findings):
                raise PlatformError(
                    "Functions are plain processes on this machine, which nothing can keep from "
                    "its network; start without --no-network if they may use it."
                )
        elif not strong_enough(findings):
            raise PlatformError(
                "This machine does not give all the isolation that boda promises (missing: "
                f"{missing(findings)}): {'; '.join(remedies(findings))}; or, for code that you "
                "trust, start with --isolation process."
            )
        return findings

    def _keep_root_keys(self, root: Credential) -> None:
        """The file and the rows hold the same key pair; the file is what people read."""
        keys = RootKeys(root.access_key_id, root.secret)
        held = self._folder.root_keys() if self._folder.has_root_keys() else None
        if held != keys:
            if held is not None:
                log.warning("root.json held other keys than the database, and is written anew")
            self._folder.write_root_keys(keys)

    def _warn(self, findings: list[Finding]) -> None:
        settings = self._settings
        if settings.auth == "open":
            print(
                "boda: WARNING: --auth open: any key is accepted and nothing is verified. "
                "For tests only.",
                file=sys.stderr,
            )
        if settings.isolation == "process":
            lacking = missing(findings)
            print(
                "boda: WARNING: --isolation process: "
                + (
                    f"missing on this machine: {lacking}. Run only code that you trust; "
                    "`boda doctor` says how to get the rest."
                    if lacking
                    else "nothing is missing on this machine now, but boda would start without it."
                ),
                file=sys.stderr,
            )
        if settings.host not in ("127.0.0.1", "localhost", "::1"):
            print(
                f"boda: WARNING: listening on {settings.host} without TLS; put a proxy in front.",
                file=sys.stderr,
            )


def _within(settings: FleetSettings, shares: Descriptors) -> FleetSettings:
    """No more environments and connections than there are descriptors for."""
    return dataclasses.replace(
        settings,
        max_environments=min(settings.max_environments, shares.environments),
        runtime_connections=shares.runtimes,
    )


def _keep(rows: Rows, content: str, crcs: bytes) -> None:
    """Store what an older blob is verified by."""
    rows.write_now(lambda tx: s3.keep_crcs(tx, content, crcs))


async def _close(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


def _boot() -> str:
    """A name of the machine's run, new with each; "" where the kernel tells none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
