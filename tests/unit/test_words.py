"""One word for one idea: names of classes and files, and the glossary of ARCHITECTURE.md."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from support.specification import ROOT

SOURCE = ROOT / "src" / "boda"

EVERYWHERE = frozenset({"__init__.py", "__main__.py"})
OF_A_SERVICE = frozenset(
    {
        "absent.py",
        "access.py",
        "condition_keys.py",
        "core.py",
        "dialect.py",
        "errors.py",
        "inspection.py",
        "names.py",
        "operations.py",
        "permissions.py",
        "policies.py",
        "protocol.py",
        "records.py",
        "roles.py",
        "rows.py",
        "rules.py",
        "service.py",
        "store.py",
        "tags.py",
    }
)
"""Files that services have alike, and their namesakes in the rooms that services stand on."""

SHARED_IDEAS = {
    "bounds.py": "how large a document may be",
    "call.py": "an invocation",
    "checksums.py": "digests of content",
    "concurrency.py": "how many invocations run at once",
    "contract.py": "a room as those above see it",
    "descriptors.py": "open files",
    "hosts.py": "host names",
    "identity.py": "who callers are",
    "messages.py": "HTTP requests and answers of functions",
    "metering.py": "sums of what ran",
    "provisioned.py": "provisioned concurrency",
    "refusals.py": "errors of calls that are refused",
    "stream.py": "a streamed answer of a function",
    "streaming.py": "invocations with a streamed answer",
}
"""Ideas that several rooms have a part of, under the idea's own name."""

NAMED_AFTER_OTHERS = (
    "cli",  # a file is named after its command
    "sandbox/doctor",  # after what is examined
    "guest",  # the other side of the platform's file of that name, or a module of AWS's
)

RETIRED = frozenset(
    {
        *("Short", "Brief", "Warm", "Letter", "Carrier", "Trash", "Beside"),
        *("Manager", "Helper", "Helpers", "Util", "Utils", "Misc", "Common"),
    }
)
"""Words that had no meaning of their own, or have another word now."""


def _files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _classes(file: Path) -> list[str]:
    return [
        node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)
    ]


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)


def test_a_class_name_is_defined_once() -> None:
    defined = defaultdict(list)
    for file in _files():
        for name in _classes(file):
            defined[name].append(str(file.relative_to(SOURCE)))
    assert len(defined) > 500
    assert {name: files for name, files in defined.items() if len(files) > 1} == {}


def test_a_file_name_stands_for_one_idea() -> None:
    allowed = EVERYWHERE | OF_A_SERVICE | SHARED_IDEAS.keys()
    named = defaultdict(list)
    for file in _files():
        path = str(file.relative_to(SOURCE))
        if not path.startswith(tuple(f"{folder}/" for folder in NAMED_AFTER_OTHERS)):
            named[file.name].append(path)
    several = {name: paths for name, paths in named.items() if len(paths) > 1}
    assert {name: paths for name, paths in several.items() if name not in allowed} == {}
    assert SHARED_IDEAS.keys() - several.keys() == set(), "shared no more"


def test_no_name_has_a_retired_word() -> None:
    found = [
        f"{file.relative_to(SOURCE)}: {name}"
        for file in _files()
        for name in (*_classes(file), "".join(part.title() for part in file.stem.split("_")))
        if RETIRED & set(_words(name)) and not name.startswith("DeadLetter")
    ]
    assert found == []


def test_the_glossary_has_each_word_once_and_each_is_in_use() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text().split("## Words\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    words = [word for row, _ in rows[1:] for word in row.strip().split(", ")]
    assert len(words) > 25
    assert sorted(set(words)) == sorted(words)
    source = "\n".join(file.read_text().lower() for file in _files())
    for word in words:
        pattern = re.sub(r"[ -]", "[ _-]?", re.escape(word).replace("\\", ""))
        assert re.search(pattern, source), f"no file has the word {word}"
    assert not {word.lower() for word in RETIRED} & set(words)
