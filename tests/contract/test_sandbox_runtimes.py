"""Every Python found on this machine, with boto3, in a real sandbox."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from boda.runtime.catalogue import RuntimeCatalogue
from boda.runtime.library import RuntimeLibrary
from boda.sandbox.contract import SandboxSpec
from boda.sandbox.linux import LinuxSandboxes
from support.person import person, why_no_namespaces
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
    catalogue = RuntimeCatalogue.discover()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "uses.py").write_text("import boto3\n")
    (tmp_path / "plain").mkdir()
    (tmp_path / "bootstrap.py").write_text(BOOTSTRAP)
    library = RuntimeLibrary(tmp_path / "library", bootstrap=tmp_path / "bootstrap.py")
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
        # Where nothing speaks of boto3 it is not loaded, and there all the same.
        plain = SandboxSpec("plain", pythons[-1].name, tmp_path / "plain")
        sandbox = await sandboxes.start(plain)
        assert await run(sandbox, "import sys; answer = 'boto3' in sys.modules") is False
        assert (await run(sandbox, LOOK))[2] == "/var/runtime/boto3/__init__.py"
        await sandbox.destroy()
    finally:
        await sandboxes.close()


UNPRIVILEGED = """
import asyncio, sys
from pathlib import Path
from boda.sandbox.contract import SandboxSpec
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


asyncio.run(main())
print("kept")
"""


@pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces() or "no")
def test_without_root_in_an_unprivileged_user_namespace() -> None:
    with person() as user:
        folder = user.home
        for name in ("code", "a", "b"):
            (folder / name).mkdir()
        for name in "ab":
            (folder / name / f"in_{name}").touch()
        (folder / "script.py").write_text(UNPRIVILEGED.format(folder=str(folder)))
        done = subprocess.run(
            user.command(str(folder / "script.py")),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout.strip() == "kept", done.stderr[-2000:]
        assert list((folder / "state").iterdir()) == []


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
