"""``boda deploy``: a folder becomes a function."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from boda.cli.client import connect
from boda.cli.options import DataDir, Json, data_dir
from boda.cli.output import print_json
from boda.core.errors import PlatformError

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
_LEFT_OUT = {".git", ".hg", ".venv", "venv", "__pycache__", ".mypy_cache", ".ruff_cache"}


def deploy(
    directory: Annotated[Path, typer.Argument(help="Folder with the function's code.")],
    name: Annotated[
        str | None, typer.Option(help="[default: the folder's name]", show_default=False)
    ] = None,
    handler: Annotated[
        str | None, typer.Option(help="[default: found in the folder]", show_default=False)
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="[default: the newest Python here]", show_default=False)
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(help="ARN of the execution role. [default: one that may write logs]"),
    ] = None,
    memory: Annotated[int, typer.Option(min=128, max=10240, help="MB.")] = 128,
    timeout: Annotated[int, typer.Option(min=1, max=900, help="Seconds.")] = 3,
    variable: Annotated[
        list[str] | None, typer.Option("--env", help="NAME=VALUE; may be given again.")
    ] = None,
    folder: DataDir = None,
    as_json: Json = False,
) -> None:
    """Zip a folder with its requirements and create or update the function."""
    directory = directory.expanduser().absolute()
    if not directory.is_dir():
        raise PlatformError(f"{directory} is not a folder.")
    name = name or directory.name
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    connection = connect(data_dir(folder))
    offered = connection.client("boda").list_runtimes()["Runtimes"]
    chosen = _choose_runtime(offered, runtime)
    handler = handler or _find_handler(directory)
    variables = _variables(variable or [])

    with tempfile.TemporaryDirectory(prefix="boda-deploy-") as build:
        requirements = directory / "requirements.txt"
        if requirements.exists():
            console.print(f"Installing {requirements.name} for {chosen['Name']} …")
            _install(chosen["Interpreter"], requirements, Path(build))
        console.print(f"Packing {directory.name} …")
        package = _pack([Path(build), directory])
    console.print(f"Uploading {len(package) / 1048576:.1f} MB …")

    role = role or _ensure_role(connection.client("iam"))
    client = connection.client("lambda")
    settings: dict[str, Any] = {
        "Runtime": chosen["Name"],
        "Role": role,
        "Handler": handler,
        "MemorySize": memory,
        "Timeout": timeout,
    }
    if variables:
        settings["Environment"] = {"Variables": variables}
    created = _create_or_update(client, name, package, settings)
    answer = client.get_function_configuration(FunctionName=name)
    if as_json:
        print_json(
            {
                "FunctionArn": answer["FunctionArn"],
                "Created": created,
                "Runtime": answer["Runtime"],
                "Handler": answer["Handler"],
                "CodeSize": answer["CodeSize"],
            }
        )
        return
    console.print(f"{'Created' if created else 'Updated'} {answer['FunctionArn']}")
    print(f'Call it:       boda invoke {name} \'{{"hello": "world"}}\'')
    print(f"See its log:   boda logs {name} --follow")


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


def _install(interpreter: str, requirements: Path, target: Path) -> None:
    done = subprocess.run(
        [
            *(interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--target", str(target), "--requirement", str(requirements)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"},
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise PlatformError(f"The requirements could not be installed: {reason}")


def _pack(folders: list[Path]) -> bytes:
    """A zip of the folders laid over each other, the later ones winning."""
    files: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if _LEFT_OUT.intersection(relative.parts) or not path.is_file():
                continue
            files[relative.as_posix()] = path
    if not files:
        raise PlatformError(f"{folders[-1]} is empty.")
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (path.stat().st_mode & 0o777 | 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return memory.getvalue()


def _ensure_role(client: Any) -> str:
    try:
        return str(client.get_role(RoleName=_ROLE)["Role"]["Arn"])
    except client.exceptions.NoSuchEntityException:
        made = client.create_role(RoleName=_ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))
        client.attach_role_policy(RoleName=_ROLE, PolicyArn=_BASIC)
        return str(made["Role"]["Arn"])


def _create_or_update(client: Any, name: str, package: bytes, settings: dict[str, Any]) -> bool:
    """True if the function is new. Returns when calls run the new code."""
    try:
        client.get_function_configuration(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        client.create_function(FunctionName=name, Code={"ZipFile": package}, **settings)
        client.get_waiter("function_active_v2").wait(
            FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        return True
    waiter = client.get_waiter("function_updated_v2")
    client.update_function_code(FunctionName=name, ZipFile=package)
    waiter.wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    client.update_function_configuration(FunctionName=name, **settings)
    waiter.wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return False
