"""Compile a function's own sources with the interpreter that will run them.

A syntax error is then reported before the upload, and an execution environment, which cannot keep
compiled files, need not compile at each cold start.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from boda.cli.packing import IGNORE_FILE
from boda.core.errors import PlatformError

# Run by the runtime's interpreter, which may be older than this one. Input: the folder to write to,
# and sources by their names in the package. Output: the compiled files by their names in the
# package, and the errors of the others.
_COMPILE = """
import importlib.util, json, os, py_compile, sys, warnings
warnings.simplefilter("ignore")
target, sources = json.load(sys.stdin)
made, wrong = {}, []
for name, path in sources.items():
    place = importlib.util.cache_from_source(name)
    file = os.path.join(target, place)
    try:
        py_compile.compile(path, file, "/var/task/" + name, True, -1,
                           py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError as error:
        found = error.exc_value
        wrong.append([name, getattr(found, "lineno", None) or 0, str(error.exc_type_name),
                      getattr(found, "msg", None) or str(found),
                      getattr(found, "text", None) or ""])
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        wrong.append([name, 0, type(error).__name__, str(error), ""])
    else:
        made[place] = file
json.dump([made, wrong], sys.stdout)
"""


def compiled(files: Mapping[str, Path], interpreter: str, target: Path) -> dict[str, Path]:
    """Compile the ``.py`` files into the folder ``target``; return the results by name in the
    package.

    Raises PlatformError, with file and line, if one cannot be compiled.
    """
    sources = {name: os.fspath(path) for name, path in files.items() if name.endswith(".py")}
    if not sources or not os.access(interpreter, os.X_OK):
        return {}
    try:
        done = subprocess.run(
            [interpreter, "-I", "-X", "utf8", "-c", _COMPILE],
            input=json.dumps([os.fspath(target), sources]),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
        )
        made, wrong = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise PlatformError(f"{interpreter} could not compile the sources: {error}.") from None
    if wrong:
        raise PlatformError(_told(wrong))
    return {name: Path(path) for name, path in made.items()}


def _told(wrong: list[tuple[str, int, str, str, str]]) -> str:
    """Format the first errors, each with its line, and how to leave out a file that is not meant to
    run."""
    name, line, kind, message, text = wrong[0]
    place = f"{name}:{line}" if line else name
    shown = f" in `{text.strip()[:80]}`" if text.strip() else ""
    more = f" ({len(wrong) - 1} more files cannot be compiled.)" if len(wrong) > 1 else ""
    return (
        f"{place}: {kind}: {message}{shown}. Mend it, or leave it out by a line in "
        f"{IGNORE_FILE}.{more}"
    )
