"""``boda deploy``: a folder becomes a function."""

from __future__ import annotations

import base64
import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from boda.cli import interruptible
from boda.cli.options import DataDir, Json, Region, absolute, data_dir, default_cache_dir
from boda.core.arn import Arn, is_arn
from boda.core.errors import PlatformError

EXAMPLES = (
    "boda deploy hello",
    "boda deploy hello --memory 512 --timeout 30 --env STAGE=test",
    "boda deploy hello --url --policy policy.json",
    "boda deploy thumbnails --on s3://photos/incoming/",
    "boda deploy tool --runtime provided.al2023 --layer shared:3",
)
_MAX_DIRECT_BYTES = 50 * 1024 * 1024
"""A larger zip is sent through a bucket, as on AWS."""
_FAST_DIRECT_BYTES = 4 * 1024 * 1024
"""A zip larger than this is faster through a bucket: within a call it is text, a third longer and
read as a whole."""


class UrlAuth(StrEnum):
    none = "none"
    iam = "iam"


def deploy(
    directory: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with the function's code.")
    ],
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
            help="By default what the function has, provided.al2023 for a folder with a "
            "bootstrap, or else the newest Python that fits.",
            show_default=False,
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            metavar="ARN",
            help="The execution role; by default one of the function's own, which may write logs.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|ARN",
            help="What that role may do besides; may be given again. All together replace those "
            "of the last deployment that named any.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARN|NAME[:VERSION]",
            help="A layer; may be given again, in the order that they are laid over each other.",
        ),
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
        list[str] | None,
        typer.Option(
            "--env", metavar="NAME=VALUE", help="An environment variable; may be given again."
        ),
    ] = None,
    url: Annotated[bool, typer.Option("--url", help="Give it a URL.")] = False,
    url_auth: Annotated[
        UrlAuth | None,
        typer.Option(
            help="Who may call the URL: everybody (none, by default) or signed requests (iam).",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="s3://BUCKET/PREFIX",
            help="Call it for each object that comes there; may be given again.",
        ),
    ] = None,
    cache: Annotated[
        bool, typer.Option(help="Use requirements as they were installed before.")
    ] = True,
    region: Region = None,
    folder: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create or update a function from a folder.

    The folder is zipped with its requirements (requirements.txt, or the dependencies of
    pyproject.toml). What an update does not name stays as it is.

    Left out are .env files, node_modules, caches, virtual environments and what version control
    keeps; a file .bodaignore, written like .gitignore, leaves out more, or takes it along again
    (!node_modules/).
    """
    from boda.cli import functions, triggers
    from boda.cli.client import connect
    from boda.cli.output import print_json
    from boda.cli.project import choose_runtime, find_handler, refuse_absent
    from boda.cli.roles import ensure_role, read_policies

    directory = absolute(directory)
    if not directory.is_dir():
        raise PlatformError(f"{directory} is not a folder.")
    name = name or directory.resolve().name
    functions.check_name(name, "Choose one with --name.")
    if role and policy:
        raise PlatformError("--policy is for the role that deploy makes; leave out --role.")
    policies = read_policies(policy) if policy else None
    sources = [triggers.read_source(one) for one in on or ()]
    variables = _variables(variable or [])
    connection = connect(data_dir(folder), region)
    client = connection.client("lambda")
    present = functions.present(client, name)
    before = present or {}
    offered = connection.client("boda").list_runtimes()["Runtimes"]
    chosen = choose_runtime(offered, runtime, before.get("Runtime"), directory)
    settings: dict[str, Any] = {
        "Runtime": chosen["Name"],
        "Handler": handler or find_handler(directory, before.get("Handler")),
        "MemorySize": memory,
        "Timeout": timeout,
        "Role": role,
        "Layers": [_layer(client, one) for one in layer] if layer else None,
        "Environment": {"Variables": variables} if variables else None,
    }
    with (
        interruptible(),
        tempfile.TemporaryDirectory(prefix="boda-deploy-") as build,
        tempfile.TemporaryFile() as package,
    ):
        _pack(directory, chosen, Path(build), package, cache=cache)
        # A handler may stand in a layer, and custom runtimes define its meaning.
        if chosen["Name"].startswith("python") and not (layer or before.get("Layers")):
            refuse_absent(settings["Handler"], package, directory)
        if (present is None and role is None) or policies is not None:
            settings["Role"] = ensure_role(
                connection.client("iam"), name, connection.region, policies
            )
        given = {key: value for key, value in settings.items() if value is not None}
        digest = _digest(package)
        same = digest == before.get("CodeSha256")
        if not same:
            size = package.seek(0, 2)
            _say(f"Uploading {_amount(size)} …")
            with _uploaded(connection, name, package, size) as code:
                if present is None:
                    before = functions.create(client, name, code, given)
                else:
                    before = functions.update_code(client, name, code)
        answer = functions.update_settings(client, name, before, given)
    arn = answer["FunctionArn"]
    for source in sources:
        made = triggers.call_on_objects(connection, name, arn, source)
        _say(f"{'Made the bucket; it' if made else 'It'} is called for objects in {source}")
    kind = {"none": "NONE", "iam": "AWS_IAM", None: None}[url_auth and url_auth.value]
    address = triggers.ensure_url(client, name, kind) if url or url_auth else ""
    changed = not same or answer.get("RevisionId") != (present or {}).get("RevisionId")
    if as_json:
        told = {key: answer[key] for key in ("FunctionArn", "Runtime", "Handler", "Role")}
        told |= {"CodeSize": answer["CodeSize"], "CodeSha256": answer["CodeSha256"]}
        told |= {"Created": present is None, "Changed": changed}
        print_json(told | ({"FunctionUrl": address} if address else {}))
        return
    verb = "Created" if present is None else "Updated" if changed else "Unchanged:"
    _say(f"{verb} {arn}")
    print(f'Call it:       boda invoke {name} \'{{"hello": "world"}}\'')
    print(f"See its log:   boda logs {name} --follow")
    if address:
        print(f"Its URL:       {address}")


def _say(sentence: str) -> None:
    """Print progress on stderr, since stdout is for results."""
    print(sentence, file=sys.stderr, flush=True)


def _pack(
    directory: Path, runtime: dict[str, Any], build: Path, package: IO[bytes], *, cache: bool
) -> None:
    """Write the package: the folder over its requirements, compiled. Raises PlatformError."""
    from boda.cli import packing, requirements
    from boda.cli.compiling import compiled

    files = packing.files_of(directory)
    if not files:
        raise PlatformError(f"{directory} has no file to deploy.")
    if runtime["Name"].startswith("python"):
        files |= compiled(files, runtime["Interpreter"], build / "compiled")
    base = None
    wanted, note = requirements.requirements_of(directory)
    if note:
        _say(f"{note}.")
    if wanted is not None:
        try:
            store = requirements.RequirementStore(default_cache_dir())
        except PlatformError:
            store = requirements.RequirementStore(None)  # there is no home folder to keep them in
        key = requirements.key_of(wanted, runtime)
        base = store.find(key) if cache else None
        if base is None:
            _say(f"Installing {wanted.source} for {runtime['Name']} …")
            base = requirements.install(wanted, runtime, build)
            store.keep(key, base)
        else:
            _say(f"Using {wanted.source} as installed before (--no-cache installs anew).")
    _say(f"Packing {directory.name} …")
    packing.write(files, base, package)


def _variables(pairs: list[str]) -> dict[str, str]:
    variables = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise PlatformError(f"--env takes NAME=VALUE, not {pair!r}.")
        variables[name] = value
    return variables


def _layer(client: Any, word: str) -> str:
    """Return the ARN of a layer's version: the latest one for a name. Raises PlatformError."""
    if is_arn(word):
        layer = Arn.read(word)
        if layer is None or len(layer.words) != 3:
            raise PlatformError(f"--layer: {word} is not the ARN of a layer's version.")
        return word
    name, colon, number = word.partition(":")
    if colon and not number.isdecimal():
        raise PlatformError(f"--layer takes an ARN, a NAME or NAME:VERSION, not {word!r}.")
    if number:
        found = client.get_layer_version(LayerName=name, VersionNumber=int(number))
        return str(found["LayerVersionArn"])
    versions = client.list_layer_versions(LayerName=name, MaxItems=1)["LayerVersions"]
    if not versions:
        raise PlatformError(f"There is no layer {name} in {client.meta.region_name}.")
    return str(versions[0]["LayerVersionArn"])


def _digest(package: IO[bytes]) -> str:
    """Return the package's digest in the form of CodeSha256."""
    package.seek(0)
    return base64.b64encode(hashlib.file_digest(package, "sha256").digest()).decode()  # type: ignore[arg-type]


def _amount(size: int) -> str:
    return f"{size / 1048576:.1f} MB" if size >= 104858 else f"{size / 1024:.1f} KB"


@contextmanager
def _uploaded(
    connection: Any, name: str, package: IO[bytes], size: int
) -> Iterator[dict[str, Any]]:
    """Yield the parameters of the package; its upload is kept for as long as Lambda reads it."""
    from boda.cli.triggers import ensure_bucket

    package.seek(0)
    if size <= _FAST_DIRECT_BYTES:
        yield {"ZipFile": package.read()}
        return
    s3, bucket, key = connection.client("s3"), f"boda-deploy-{connection.region}", f"{name}.zip"
    try:
        ensure_bucket(connection, s3, bucket)
        s3.put_object(Bucket=bucket, Key=key, Body=package)
    except s3.exceptions.ClientError as error:
        denied = error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        if not denied or size > _MAX_DIRECT_BYTES:
            raise
        package.seek(0)
        yield {"ZipFile": package.read()}  # for callers who may call Lambda and not S3
        return
    try:
        yield {"S3Bucket": bucket, "S3Key": key}
    finally:
        s3.delete_object(Bucket=bucket, Key=key)
