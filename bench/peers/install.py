"""Where the servers live and how they come there: from hashed locks, without install scripts.

The index is the one that pip and npm are configured with; no lock names one.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / ".bench" / "node"
SOURCES = ROOT / "bench" / "peers"
NODE_MAJOR = 18


class Missing(RuntimeError):
    """Cannot be had here; the message says why and, where there is one, the remedy."""


class PythonHome:
    """A virtual environment of its own, of the very interpreter that boda runs on.

    name: of the lock in `requirements` and of the folder in `.bench`.
    """

    def __init__(self, name: str) -> None:
        self.lock = ROOT / "requirements" / f"{name}.txt"
        self.venv = ROOT / ".bench" / name

    def command(self, name: str) -> str:
        """Return the path of one of its commands."""
        return str(self.venv / "bin" / name)

    def install(self) -> None:
        stamp = self.venv / ".ready"
        wanted = f"{sys.base_prefix} {sys.version}\n{self.lock.read_text()}"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        _run([sys.executable, "-m", "venv", "--clear", str(self.venv)])
        _run(
            [
                *(self.command("pip"), "install", "-q", "--disable-pip-version-check"),
                *("--require-hashes", "-r", str(self.lock)),
            ]
        )
        stamp.write_text(wanted)

    def prepare(self, folder: Path) -> Path:
        """The folder to run a server in: handlers beside each other, bytecode thrown away."""
        return _copied(SOURCES / "python", folder / "peers-python")

    def versions(self) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", self.lock.read_text(), re.MULTILINE))


class NodeHome:
    """A `node_modules` of its own. Node itself is the machine's: boda does not need it."""

    lock = SOURCES / "node" / "package-lock.json"

    def install(self) -> None:
        check_node()
        stamp = NODE / ".ready"
        if not (stamp.exists() and stamp.read_text() == self.lock.read_text()):
            shutil.rmtree(NODE, ignore_errors=True)
            self.prepare(NODE)
            _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NODE)
            stamp.write_text(self.lock.read_text())

    def prepare(self, folder: Path) -> Path:
        """Beside `node_modules`, since that is where Node and serverless look for packages."""
        return _copied(SOURCES / "node", NODE)

    def versions(self) -> dict[str, str]:
        packages = json.loads(self.lock.read_text())["packages"]
        return {
            name.removeprefix("node_modules/"): about["version"]
            for name, about in packages.items()
            if name
        }


PYTHON, NODE_HOME = PythonHome("bench"), NodeHome()
# Alone: it wants another botocore than boda's.
MINISTACK_HOME = PythonHome("ministack")
Home = PythonHome | NodeHome


def check_node() -> None:
    remedy = f"install Node {NODE_MAJOR} or newer with npm (on Debian: apt-get install nodejs npm)"
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise Missing(f"{tool} was not found: {remedy}")
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    found = re.fullmatch(r"v(\d+)\.\S+", told.stdout.strip())
    if found is None or int(found[1]) < NODE_MAJOR:
        raise Missing(f"node is {told.stdout.strip() or 'broken'}: {remedy}")


def workerd_binary() -> Path:
    """Of the platform's own package: the wrapper beside it is there for install scripts."""
    names = {"x86_64": "linux-64", "aarch64": "linux-arm64"}
    name = names.get(platform.machine(), "")
    path = NODE / "node_modules" / "@cloudflare" / f"workerd-{name}" / "bin" / "workerd"
    if not path.exists():
        raise Missing(f"workerd is not published for {platform.system()} {platform.machine()}")
    return path


def _copied(source: Path, target: Path) -> Path:
    shutil.copytree(
        source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    return target


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines()]
        errors = [line for line in lines if re.match(r"(npm )?error", line, re.IGNORECASE)]
        why = (errors or [line for line in lines if line] or ["no reason given"])[0]
        raise Missing(f"{Path(command[0]).name} failed: {why}")
