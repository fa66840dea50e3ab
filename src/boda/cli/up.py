"""``boda up``: run the platform in the foreground."""

from __future__ import annotations

import math
import sys
from enum import StrEnum
from typing import Annotated

import typer

from boda.cli.detach import detach
from boda.cli.options import AllowHost, DataDir, NetworkAllow, data_dir, option, reach_of
from boda.core.arn import DEFAULT_ACCOUNT

EXAMPLES = (
    "boda up",
    "boda up --detach                  returns once it is ready",
    "boda up --port 8000 --host 0.0.0.0",
    "boda up --allow-region moon-1",
    "boda up --log-level warning --log-format json",
    "boda up --allow-host 127.0.0.1:5432",
    "boda up --quota concurrent_executions=50 --quota scale_rate=0",
)


class AuthMode(StrEnum):
    sigv4 = "sigv4"
    open = "open"


class LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class LogFormat(StrEnum):
    text = "text"
    json = "json"


class Isolation(StrEnum):
    full = "full"
    process = "process"


def up(
    detached: Annotated[
        bool,
        typer.Option(
            "--detach",
            "-d",
            help="Go on in the background, with the log in the data folder; return once ready.",
        ),
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            envvar="BODA_PORT", min=0, max=65535, help="Port to listen on; 0 takes a free one."
        ),
    ] = 4566,
    host: Annotated[
        str, typer.Option(envvar="BODA_HOST", help="Address to listen on.")
    ] = "127.0.0.1",
    folder: DataDir = None,
    auth: Annotated[
        AuthMode,
        typer.Option(envvar="BODA_AUTH", help="`open` accepts any key: for tests only."),
    ] = AuthMode.sigv4,
    account: Annotated[
        str,
        typer.Option(
            envvar="BODA_ACCOUNT", metavar="ID", help="The account that all this belongs to."
        ),
    ] = DEFAULT_ACCOUNT,
    server_name: Annotated[
        list[str] | None,
        typer.Option(
            envvar="BODA_SERVER_NAMES",
            metavar="NAME",
            help="Another name that clients call boda by, or `*.NAME` for all below; may be given "
            "several times.",
        ),
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option(
            envvar="BODA_PUBLIC_URL",
            metavar="URL",
            help="The URL by which clients call boda, on other machines too; functions use the "
            "same one.",
        ),
    ] = None,
    isolation: Annotated[
        Isolation,
        typer.Option(
            envvar="BODA_ISOLATION",
            help="`process` runs functions with whatever isolation this machine allows.",
        ),
    ] = Isolation.full,
    network: Annotated[
        bool, typer.Option(help="Let functions reach the internet where the machine permits it.")
    ] = True,
    network_allow: NetworkAllow = None,
    allow_host: AllowHost = None,
    grace: Annotated[
        float,
        typer.Option(
            envvar="BODA_GRACE",
            min=0,
            metavar="SECONDS",
            help="How long running invocations may take to finish when boda is stopped.",
        ),
    ] = 900,
    reserve_memory: Annotated[
        int | None,
        typer.Option(
            envvar="BODA_RESERVE_MEMORY",
            min=0,
            metavar="MIB",
            help="Memory of the machine that functions leave free; a tenth, at most 512.",
        ),
    ] = None,
    overcommit: Annotated[
        float | None,
        typer.Option(
            envvar="BODA_OVERCOMMIT",
            min=0.1,
            metavar="FACTOR",
            help="How many times the memory there is environments may be promised; no bound.",
        ),
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(
            envvar="BODA_QUOTAS",
            metavar="NAME=VALUE",
            help="Another quota than AWS's; may be given several times.",
        ),
    ] = None,
    allow_region: Annotated[
        list[str] | None,
        typer.Option(
            envvar="BODA_ALLOW_REGIONS",
            metavar="NAME",
            help="Take this region, too, which AWS lacks; may be given several times.",
        ),
    ] = None,
    log_level: Annotated[
        LogLevel,
        typer.Option(
            envvar="BODA_LOG_LEVEL",
            help="What boda's own log holds: `info` has a line for each refused request.",
        ),
    ] = LogLevel.info,
    log_format: Annotated[
        LogFormat,
        typer.Option(envvar="BODA_LOG_FORMAT", help="`json` writes one object a line."),
    ] = LogFormat.text,
) -> None:
    """Run boda, until interrupted or in the background."""
    if detached:
        detach(data_dir(folder))
    # The platform's imports are heavy; no other command should load them.
    from boda.app import Settings, run
    from boda.core.regions import Regions
    from boda.core.urls import PublicUrl
    from boda.gateway.http.hosts import Hosts
    from boda.services.lambda_ import adjusted

    with option("--quota"):
        quotas = adjusted(quota or [])
    with option("--allow-region"):
        regions = Regions(allow_region or ()).allowed
    if not (len(account) == 12 and account.isascii() and account.isdecimal()):
        raise typer.BadParameter("An account is a number of 12 digits.", param_hint="--account")
    names = tuple(server_name or ())
    with option("--server-name"):
        Hosts(host, names)
    reach = reach_of(network_allow, allow_host)
    if reach and not network:
        raise typer.BadParameter(
            "Without a network nothing can be opened to functions: leave out --no-network, or "
            "--network-allow and --allow-host."
        )
    with option("--public-url"):
        public = PublicUrl.parse(public_url) if public_url else None
    settings = Settings(
        data_dir=data_dir(folder),
        host=host,
        port=port,
        auth=auth.value,
        isolation=isolation.value,
        network=network,
        reach=reach,
        grace_s=grace,
        quotas=quotas,
        reserve_mb=reserve_memory,
        overcommit=math.inf if overcommit is None else overcommit,
        regions=regions,
        account=account,
        server_names=names,
        log_level=log_level.value,
        log_format=log_format.value,
        public_url=public,
    )
    sys.exit(run(settings))
