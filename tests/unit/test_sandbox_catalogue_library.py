"""The folder functions see as /var/runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boda.core.errors import PlatformError
from boda.runtime.library import RuntimeLibrary
from support.sandbox_snippets import ThisPython


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = os.umask(0o077)  # an operator's umask must not shut functions out
    try:
        library = RuntimeLibrary(tmp_path_factory.mktemp("libraries"))
        library.finish(ThisPython())
        return library.prepare(ThisPython())
    finally:
        os.umask(before)


def test_it_holds_boto3_and_all_that_needs(library: Path) -> None:
    show = (
        "import boto3, botocore, s3transfer, jmespath, dateutil, six, urllib3, sys\n"
        "from importlib.metadata import version\n"
        "client = boto3.client('s3', region_name='eu-west-1', aws_access_key_id='a', "
        "aws_secret_access_key='b')\n"
        "print(boto3.__file__, version('boto3'), client.meta.endpoint_url)"
    )
    done = subprocess.run(
        [ThisPython().interpreter, "-S", "-c", show],
        env={"PYTHONPATH": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, version, url = done.stdout.split()
    assert where == str(library / "boto3" / "__init__.py")
    import boto3

    assert version == boto3.__version__
    assert url.startswith("https://s3")


def test_everybody_may_read_it_and_it_is_compiled(library: Path) -> None:
    for path in library.rglob("[!.]*"):
        mode = path.stat().st_mode & 0o777
        assert mode & 0o005 == 0o005 if path.is_dir() else mode & 0o004, path
    tag = sys.implementation.cache_tag
    for package in ("boto3", "botocore", "_boda"):
        assert list((library / package / "__pycache__").glob(f"*.{tag}.pyc"))
    assert not list(library.rglob("boto3/../../bin"))


def test_the_same_versions_make_the_same_folder_and_others_another(tmp_path: Path) -> None:
    guest = tmp_path / "guest"
    guest.mkdir()
    (guest / "__init__.py").write_text("")
    (guest / "bootstrap.py").write_text("A = 1")
    library = RuntimeLibrary(tmp_path / "libraries", guest=guest)
    first = library.prepare(ThisPython())
    assert library.prepare(ThisPython()) == first
    (guest / "bootstrap.py").write_text("A = 2")
    second = library.prepare(ThisPython())
    assert second != first and first.is_dir()
    assert (second / "_boda" / "bootstrap.py").read_text() == "A = 2"
    assert sorted(path.name for path in (tmp_path / "libraries").iterdir()) == sorted(
        [first.name, second.name]
    )


def test_an_interpreter_that_cannot_compile_it_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no >&2; exit 1\n")
    broken.chmod(0o755)
    guest = tmp_path / "guest"
    guest.mkdir()
    runtime = ThisPython(interpreter=broken)
    with pytest.raises(PlatformError, match=f"{broken} cannot compile"):
        RuntimeLibrary(tmp_path / "libraries", guest=guest).prepare(runtime)
