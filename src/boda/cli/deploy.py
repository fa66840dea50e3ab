"""``boda deploy``: a folder becomes a function."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import Console

from boda.cli.client import Connection, connect
from boda.cli.options import DataDir, Json, Region, data_dir
from boda.cli.output import print_json
from boda.cli.packing import install, pack
from boda.core.arn import DEFAULT_REGION
from boda.core.errors import PlatformError

EXAMPLES = ("boda deploy hello",)
_ROLE = "boda-deploy"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
_BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
_MAX_DIRECT_BYTES = 50 * 1024 * 1024
"""A larger zip goes by way of a bucket, as on AWS."""
_NAME = re.compile(r"[a-zA-Z0-9-_]{1,64}")


def deploy(
    directory: Annotated[Path, typer.Argument(help="Folder with the function's code.")],
    name: Annotated[
        str | None, typer.Option(help="The folder's name by default.", show_default=False)
    ] = None,
    handler: Annotated[
        str | None,
        typer.Option(help="module.function; found in the folder by default.", show_default=False),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="By default what the function has, or the newest Python here.",
            show_default=False,
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(help="ARN of the execution role; by default one that may write logs."),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(min=128, max=10240, help="MB; 128 for a new function.", show_default=False),
    ] = None,
    timeout: Annotated[
        int | None,
        typer.Option(min=1, max=900, help="Seconds; 3 for a new function.", show_default=False),
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option("--env", help="NAME=VALUE; may be given again.")
    ] = None,
    region: Region = None,
    folder: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create or update a function from a folder.

    What an update does not name stays as it is.
    """
    directory = directory.expanduser().absolute()
    if not directory.is_dir():
        raise PlatformError(f"{directory} is not a folder.")
    name = name or directory.resolve().name
    if _NAME.fullmatch(name) is None:
        raise PlatformError(
            f"{name!r} cannot be a function's name: that is up to 64 of a-z, A-Z, 0-9, - and _. "
            "Choose one with --name."
        )
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    connection = connect(data_dir(folder), region)
    client = connection.client("lambda")
    present = _present(client, name)
    offered = connection.client("boda").list_runtimes()["Runtimes"]
    chosen = _choose_runtime(offered, runtime or (present or {}).get("Runtime"))
    settings: dict[str, Any] = {
        "Runtime": chosen["Name"],
        "Handler": handler or _find_handler(directory),
        "MemorySize": memory,
        "Timeout": timeout,
        "Role": role,
    }
    variables = _variables(variable or [])
    if variables:
        settings["Environment"] = {"Variables": variables}

    with (
        tempfile.TemporaryDirectory(prefix="boda-deploy-") as build,
        tempfile.TemporaryFile() as package,
    ):
        requirements = directory / "requirements.txt"
        if requirements.exists():
            console.print(f"Installing {requirements.name} for {chosen['Name']} …")
            install(chosen["Interpreter"], requirements, Path(build))
        console.print(f"Packing {directory.name} …")
        pack([Path(build), directory], package, console)
        size = package.tell()
        console.print(f"Uploading {_amount(size)} …")
        if present is None:
            settings["Role"] = role or _ensure_role(connection.client("iam"))
        with _uploaded(connection, name, package, size) as code:
            _create_or_update(client, name, code, settings, new=present is None)
    answer = client.get_function_configuration(FunctionName=name)
    if as_json:
        print_json(
            {
                "FunctionArn": answer["FunctionArn"],
                "Created": present is None,
                "Runtime": answer["Runtime"],
                "Handler": answer["Handler"],
                "CodeSize": answer["CodeSize"],
            }
        )
        return
    console.print(f"{'Created' if present is None else 'Updated'} {answer['FunctionArn']}")
    print(f'Call it:       boda invoke {name} \'{{"hello": "world"}}\'')
    print(f"See its log:   boda logs {name} --follow")


def _present(client: Any, name: str) -> dict[str, Any] | None:
    """The function's configuration, if there is one of that name."""
    try:
        found: dict[str, Any] = client.get_function_configuration(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        return None
    return found


def _choose_runtime(offered: list[dict[str, Any]], wanted: str | None) -> dict[str, Any]:
    names = [one["Name"] for one in offered]
    if wanted is None:
        pythons = [one for one in offered if one["Name"].startswith("python3.")]
        if not pythons:
            raise PlatformError("boda found no Python runtime here; see `boda runtimes`.")
        return max(pythons, key=lambda one: int(one["Name"].removeprefix("python3.")))
    for one in offered:
        if one["Name"] == wanted:
            return one
    raise PlatformError(f"The runtime {wanted} is not offered here; there are {', '.join(names)}.")


def _find_handler(directory: Path) -> str:
    """The handler by the usual names: ``lambda_function.lambda_handler`` first."""
    for module in ("lambda_function", "handler", "app", "main", "index"):
        source = directory / f"{module}.py"
        if not source.exists():
            continue
        text = source.read_text("utf-8", "replace")
        for function in ("lambda_handler", "handler", "main"):
            if f"def {function}(" in text:
                return f"{module}.{function}"
    raise PlatformError(
        f"No handler was found in {directory}; name it with --handler module.function."
    )


def _variables(pairs: list[str]) -> dict[str, str]:
    variables = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise PlatformError(f"--env takes NAME=VALUE, not {pair!r}.")
        variables[name] = value
    return variables


def _amount(size: int) -> str:
    return f"{size / 1048576:.1f} MB" if size >= 104858 else f"{size / 1024:.1f} KB"


@contextmanager
def _uploaded(
    connection: Connection, name: str, package: IO[bytes], size: int
) -> Iterator[dict[str, Any]]:
    """Where Lambda finds the package, for as long as it needs to read it."""
    package.seek(0)
    if size <= _MAX_DIRECT_BYTES:
        yield {"ZipFile": package.read()}
        return
    s3, bucket, key = connection.client("s3"), f"boda-deploy-{connection.region}", f"{name}.zip"
    try:
        s3.head_bucket(Bucket=bucket)
    except s3.exceptions.ClientError:
        place = {"LocationConstraint": connection.region}
        elsewhere = {} if connection.region == DEFAULT_REGION else place
        s3.create_bucket(
            Bucket=bucket, **({"CreateBucketConfiguration": elsewhere} if elsewhere else {})
        )
    s3.put_object(Bucket=bucket, Key=key, Body=package)
    try:
        yield {"S3Bucket": bucket, "S3Key": key}
    finally:
        s3.delete_object(Bucket=bucket, Key=key)


def _ensure_role(client: Any) -> str:
    try:
        return str(client.get_role(RoleName=_ROLE)["Role"]["Arn"])
    except client.exceptions.NoSuchEntityException:
        made = client.create_role(RoleName=_ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))
        client.attach_role_policy(RoleName=_ROLE, PolicyArn=_BASIC)
        return str(made["Role"]["Arn"])


def _create_or_update(
    client: Any, name: str, code: dict[str, Any], settings: dict[str, Any], *, new: bool
) -> None:
    """Return when calls run the new code. settings: None leaves one as it is."""
    given = {key: value for key, value in settings.items() if value is not None}
    delay = {"Delay": 1, "MaxAttempts": 60}
    if new:
        client.create_function(FunctionName=name, Code=code, **given)
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=delay)
        return
    waiter = client.get_waiter("function_updated_v2")
    client.update_function_code(FunctionName=name, **code)
    waiter.wait(FunctionName=name, WaiterConfig=delay)
    client.update_function_configuration(FunctionName=name, **given)
    waiter.wait(FunctionName=name, WaiterConfig=delay)
