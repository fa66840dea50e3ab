"""Every Python found on this machine, with boto3, in a real sandbox."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import boda
from boda.runtime.catalogue import Catalogue
from boda.runtime.library import Library
from boda.sandbox.contract import SandboxSpec
from boda.sandbox.linux import LinuxSandboxes
from support.sandbox_snippets import BOOTSTRAP, run, why_not_root

LOOK = (
    "import boto3, sys, time; began = time.monotonic()\n"
    "boto3.client('s3', region_name='us-east-1', aws_access_key_id='a', "
    "aws_secret_access_key='b')\n"
    "answer = ['.'.join(map(str, sys.version_info[:3])), sys.prefix, boto3.__file__, "
    "boto3.DEFAULT_SESSION is not None, time.monotonic() - began]"
)


@pytest.mark.skipif(bool(why_not_root()), reason=why_not_root() or "root")
async def test_each_runs_with_boto3_ready(tmp_path: Path) -> None:
    catalogue = Catalogue.discover()
    (tmp_path / "code").mkdir()
    (tmp_path / "bootstrap.py").write_text(BOOTSTRAP)
    library = Library(tmp_path / "library", bootstrap=tmp_path / "bootstrap.py")
    sandboxes = LinuxSandboxes(
        tmp_path / "state", catalogue, library, network=False, instance=f"all-{tmp_path}"
    )
    try:
        pythons = [one for one in catalogue.runtimes() if one.kind == "python"]
        assert pythons
        for runtime in pythons:
            await sandboxes.warm(runtime.name)
            spec = SandboxSpec(f"env-{runtime.name}", runtime.name, tmp_path / "code")
            sandbox = await sandboxes.start(spec)
            assert not await run(sandbox, "import boto3; answer = boto3.DEFAULT_SESSION")
            version, prefix, where, _, seconds = await run(sandbox, LOOK)
            assert (version, prefix) == (runtime.version, "/var/lang")
            assert where == "/var/runtime/boto3/__init__.py"
            assert seconds < 2
            twice = (
                "import botocore.session; a, b = (botocore.session.Session().get_component("
                "'data_loader').load_service_model('s3', 'service-2') for _ in 'ab'); "
                "answer = [a is b]"
            )
            assert await run(sandbox, twice) == [True]  # parsed once, in the zygote
            await sandbox.destroy()
    finally:
        await sandboxes.close()


UNPRIVILEGED = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from boda.sandbox.contract import SandboxSpec
from boda.sandbox.doctor import examine
from boda.sandbox.linux import LinuxSandboxes
from support.sandbox_snippets import SnippetLibrary, ThisPython, run

folder = Path({folder!r})


async def main():
    python = ThisPython()
    sandboxes = LinuxSandboxes(folder / "state", {{"python": python}},
                               SnippetLibrary(folder / "library"), instance="unprivileged")
    sandbox = await sandboxes.start(
        SandboxSpec("env", "python", folder / "code", layer_dirs=(folder / "a", folder / "b")))
    await run(sandbox, "import os, subprocess")
    assert await run(sandbox, "answer = os.getuid()") == 993
    assert sorted(await run(sandbox, "answer = os.listdir('/opt')")) == ["in_a", "in_b"]
    assert not await run(sandbox, "answer = os.access('/var/task', os.W_OK)")
    assert await run(sandbox, "answer = sorted(n for n in os.listdir('/proc') if n.isdigit())"
                     ) == ["1", "2"]
    assert await run(sandbox, "answer = os.path.exists('/etc/shadow')") is False
    await run(sandbox, "open('/tmp/kept', 'w'); subprocess.Popen(['sleep', '1000'])")
    sandbox.freeze()
    sandbox.thaw()
    await sandbox.restart({{}})
    assert await run(sandbox, "import os; answer = os.listdir('/tmp')") == ["kept"]
    await sandbox.destroy()
    await sandboxes.close()


findings = examine(folder, thorough=False)
if any(finding.name == "sandbox" for finding in findings):
    print("unavailable:", findings[0].missing)
else:
    assert strong_enough(findings), [one for one in findings if not one.ok]
    asyncio.run(main())
    print("kept")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
def test_without_root_in_an_unprivileged_user_namespace(tmp_path: Path) -> None:
    setpriv, python = shutil.which("setpriv"), Path("/usr/bin/python3")
    if setpriv is None or not python.exists():
        pytest.skip("needs setpriv and a Python that everybody may run")
    version = subprocess.check_output([python, "-c", "import sys; print(sys.version_info[:2])"])
    if version.decode().strip() != str(sys.version_info[:2]):
        pytest.skip("the system's Python is of another version than the tests'")
    folder = Path(f"/tmp/boda-unprivileged-{os.getpid()}")
    for name in ("", "code", "a", "b"):
        (folder / name).mkdir()
    for name in "ab":
        (folder / name / f"in_{name}").touch()
    paths = [str(Path(boda.__file__).parent.parent), str(Path(__file__).parent.parent)]
    # The libraries of the tests' environment, copied to where another user can read them.
    script = UNPRIVILEGED.format(folder=str(folder), paths=paths)
    try:
        (folder / "script.py").write_text(script)
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, 65534, 65534)
        words = ["--reuid=65534", "--regid=65534", "--clear-groups", str(python)]
        done = subprocess.run(
            [setpriv, *words, str(folder / "script.py")],
            env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if "PermissionError" in done.stderr and str(paths[0]) in done.stderr:
            pytest.skip("the checkout is not readable for other users")
        if done.stdout.startswith("unavailable"):
            pytest.skip(done.stdout.strip())
        assert done.stdout.strip().endswith("kept"), done.stderr[-2000:]
        assert list((folder / "state").iterdir()) == []
    finally:
        shutil.rmtree(folder)
        shutil.rmtree("/tmp/boda-65534", ignore_errors=True)


async def test_a_runtime_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    from boda.sandbox.contract import SandboxError
    from support.sandbox_snippets import SnippetLibrary, ThisPython

    gone = ThisPython(interpreter=tmp_path / "bin" / "python9", prefix=tmp_path)
    sandboxes = LinuxSandboxes(
        tmp_path / "state",
        {"python": gone},
        SnippetLibrary(tmp_path / "library"),
        plain=True,
        instance=f"gone-{tmp_path}",
    )
    try:
        with pytest.raises(SandboxError, match="python9"):
            await asyncio.wait_for(sandboxes.start(SandboxSpec("env", "python", tmp_path)), 20)
    finally:
        await sandboxes.close()
