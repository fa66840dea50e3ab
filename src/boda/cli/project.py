"""The facts about a function that its folder shows."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import IO, Any

from boda.cli.requirements import project_of
from boda.core.errors import PlatformError

CUSTOM = "provided.al2023"
BOOTSTRAP = "bootstrap"
_MODULES = ("lambda_function", "handler", "app", "main", "index")
_FUNCTIONS = ("lambda_handler", "handler", "main")


def is_custom(folder: Path) -> bool:
    """Return whether the folder is a custom runtime: it has the program that Lambda starts then."""
    return (folder / BOOTSTRAP).is_file()


def choose_runtime(
    offered: list[dict[str, Any]], wanted: str | None, present: str | None, folder: Path
) -> dict[str, Any]:
    """Return one of ListRuntimes' entries: the one wanted, else the function's present one, else
    one that fits the folder.

    Raises PlatformError if the platform does not offer it.
    """
    by_name = {one["Name"]: one for one in offered}
    if wanted is None and present is None:
        if is_custom(folder):
            wanted = CUSTOM
            _refuse_unexecutable(folder / BOOTSTRAP)
        else:
            return _newest_python(offered, str(project_of(folder).get("requires-python", "")))
    name = wanted or present or ""
    if name in by_name:
        return by_name[name]
    whose = "" if wanted else "The function was made for it; choose another with --runtime. "
    raise PlatformError(f"The runtime {name} is not offered here. {whose}{_instead(name, by_name)}")


def _refuse_unexecutable(bootstrap: Path) -> None:
    if not bootstrap.stat().st_mode & 0o111:
        raise PlatformError(
            f"{bootstrap} cannot be executed, as the program of a custom runtime must: "
            f"chmod +x {BOOTSTRAP}."
        )


def _newest_python(offered: list[dict[str, Any]], requires: str) -> dict[str, Any]:
    from boda.runtime.catalogue import satisfies

    pythons = [one for one in offered if one["Name"].startswith("python3.")]
    fitting = [one for one in pythons if satisfies(_numbers(one["Version"]), requires)]
    if not pythons:
        raise PlatformError(
            "boda found no Python where it runs; install python3 there and start it again."
        )
    if not fitting:
        names = ", ".join(one["Name"] for one in pythons)
        raise PlatformError(
            f"pyproject.toml requires Python {requires}, and boda offers {names}. Install one that "
            "fits where boda runs and start it again, or choose with --runtime."
        )
    return max(fitting, key=lambda one: _numbers(one["Version"]))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _instead(name: str, offered: dict[str, Any]) -> str:
    there = f"There are {', '.join(offered)}."
    if re.fullmatch(r"python3\.\d+", name):
        version = name.removeprefix("python")
        return (
            f"{there} To add it, install Python {version} where boda runs "
            f"(uv python install {version}, pyenv, a package of the system) and start boda again."
        )
    return f"{there} A program in any language runs as the {BOOTSTRAP} of {CUSTOM}."


def find_handler(folder: Path, present: str | None) -> str:
    """Return the present handler while its file exists, else one by the usual names.

    Raises PlatformError if none is found.
    """
    if is_custom(folder):
        return present or BOOTSTRAP
    if present and _file_of(folder, present).is_file():
        return present
    for module in _MODULES:
        source = folder / f"{module}.py"
        if not source.is_file():
            continue
        text = source.read_text("utf-8", "replace")
        for function in _FUNCTIONS:
            if re.search(rf"^(?:(?:async )?def {function}\(|{function}\s*[:=])", text, re.M):
                return f"{module}.{function}"
    if present:
        return present  # of a package or a layer
    raise PlatformError(
        f"No handler was found in {folder}: none of {', '.join(f'{one}.py' for one in _MODULES)} "
        f"defines {', '.join(_FUNCTIONS)}. Name it with --handler module.function."
    )


def refuse_absent(handler: str, package: IO[bytes], folder: Path) -> None:
    """Raise PlatformError if no module of the package, a zip, is the handler's."""
    module, _, function = handler.rpartition(".")
    if not module or not function:
        raise PlatformError(f"A handler is module.function, not {handler}; choose it by --handler.")
    path = module.replace(".", "/")
    wanted = re.compile(rf"{re.escape(path)}(?:/__init__)?\.(?:pyc?|(?:[\w-]+\.)?so)")
    with zipfile.ZipFile(package) as archive:
        if not any(map(wanted.fullmatch, archive.namelist())):
            raise PlatformError(
                f"The handler {handler} needs {path}.py, which neither {folder} nor its "
                "requirements have."
            )


def _file_of(folder: Path, handler: str) -> Path:
    return folder / (handler.rpartition(".")[0].replace(".", "/") + ".py")
