"""boda as somebody without root's powers: an ordinary user, perhaps without user namespaces.

Everything is made by a short script that starts as root in a mount namespace of its own: what the
user must be able to read is shown below one folder, and then the powers are given up. Nothing of
it outlives the process.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from bench.host import Boda

import boda
from boda.sandbox.cgroups.absent import AbsentHierarchy
from boda.sandbox.cgroups.discovery import open_hierarchy

PERSON = 65534
PYTHON = "/usr/bin/python3"
TESTS = Path(__file__).parent.parent

# sys.argv: what to be as JSON, then the command.
_BECOME = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
order, command = json.loads(sys.argv[1]), sys.argv[2:]

def must(result):
    if result != 0:
        print("refused:", os.strerror(ctypes.get_errno()))
        os._exit(77)

def mount(source, target, flags):
    must(libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None))

for group in order["cgroups"]:
    with open(group + "/cgroup.procs", "w") as file:
        file.write("0")
must(libc.unshare(0x20000))
mount("none", "/", 0x4000 | 0x40000)
for source, target in order["shown"]:
    mount(source, target, 0x1000 | 0x4000)
if order["ids"]:
    asked, asks = os.pipe()
    done, tells = os.pipe()
    if os.fork() == 0:
        os.read(asked, 1)
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{os.getppid()}/{name}", "w") as file:
                file.write("".join(f"{each} {each} 1\\n" for each in order["ids"]))
        os.write(tells, b".")
        os._exit(0)
    must(libc.unshare(0x10000000))
    os.write(asks, b".")
    os.read(done, 1)
    os.wait()
    if not order["namespaces"]:
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")
if order["uid"]:
    os.setgroups([])
    os.setresgid(*[order["uid"]] * 3)
    os.setresuid(*[order["uid"]] * 3)
os.chdir(order["home"])
os.execve(command[0], command, order["environ"])
"""


class Person:
    """Somebody on this machine. home: a folder of their own, removed afterwards.

    uid: 0 stays root, in a user namespace that has no other id. namespaces: whether user
    namespaces can be made. cgroups: those to start in.
    """

    def __init__(
        self,
        top: Path,
        *,
        uid: int = PERSON,
        namespaces: bool = True,
        cgroups: tuple[str, ...] = (),
    ) -> None:
        self.home = top / "home"
        shown = [(str(Path(boda.__file__).parent.parent), str(top / "src"))]
        packages = [path for path in site.getsitepackages() if Path(path).is_dir()]
        shown += [(path, str(top / f"packages{n}")) for n, path in enumerate(packages)]
        shown.append((str(TESTS), str(top / "tests")))
        for _, target in shown:
            Path(target).mkdir(exist_ok=True)
        self.data = self.home / "data"
        (self.home / "tmp").mkdir(parents=True)
        for path in (self.home, self.home / "tmp"):
            os.chown(path, uid, uid)
        ids = [0] if uid == 0 else [] if namespaces else [0, uid]
        self._order: dict[str, Any] = {
            "shown": shown,
            "cgroups": cgroups,
            "ids": ids,
            "namespaces": namespaces,
            "uid": uid,
            "home": str(self.home),
            "environ": {
                "HOME": str(self.home),
                "TMPDIR": str(self.home / "tmp"),
                "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "PYTHONPATH": ":".join(target for _, target in shown),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        }

    @property
    def environ(self) -> dict[str, str]:
        """What this person's commands find in their environment, to be changed."""
        found: dict[str, str] = self._order["environ"]
        return found

    def command(self, *words: str) -> list[str]:
        """What root runs so that this person runs Python with these words."""
        order = json.dumps(self._order)
        return [sys.executable, "-I", "-S", "-c", _BECOME, order, PYTHON, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``boda`` with these words and this person's data folder."""
        return subprocess.run(
            self.command("-m", "boda", *words, "--data-dir", str(self.data)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def doctor(self) -> tuple[int, dict[str, Any]]:
        """Its exit code, and its findings by name."""
        done = self.run("doctor", "--json")
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        return done.returncode, {one["Name"]: one for one in _findings(done.stdout)}

    def boda(self, *options: str) -> Boda:
        return _PersonsBoda(self, *options)


def _findings(text: str) -> list[dict[str, Any]]:
    answer = json.loads(text)
    return [{key.title(): value for key, value in one.items()} for one in answer["Findings"]]


class _PersonsBoda(Boda):
    """`boda up` of somebody; clients of it are root's, who may read the keys."""

    def __init__(self, person: Person, *options: str) -> None:
        super().__init__(person.data, *options)
        self._person = person
        self.log = person.home.parent / "up.log"

    def start(self, timeout_s: float = 60) -> float:
        begin = time.perf_counter()
        words = ("-m", "boda", "up", "--port", "0", "--data-dir", str(self.folder))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._person.command(*words, *self.options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while True:
            text = self.log.read_text()
            if found := re.search(r"boda is ready at (http://\S+:(\d+))", text):
                self.port = int(found[2])
                return time.perf_counter() - begin
            if self.process.poll() is not None or time.perf_counter() - begin > timeout_s:
                raise RuntimeError(f"boda did not start:\n{text}")
            time.sleep(0.005)

    def runtime(self) -> str:
        """Of the Python that everybody may run, which is of the tests' version."""
        return f"python{sys.version_info[0]}.{sys.version_info[1]}"


@contextmanager
def person(**options: Any) -> Iterator[Person]:
    """See ``Person``. Not below pytest's folders, which nobody else may enter."""
    top = Path(tempfile.mkdtemp(prefix="boda-person-"))
    try:
        top.chmod(0o755)
        yield Person(top, **options)
    finally:
        shutil.rmtree(top)


@contextmanager
def delegated(uid: int = PERSON) -> Iterator[tuple[str, ...]]:
    """A cgroup that belongs to somebody, as systemd delegates one; empty where there are none."""
    hierarchy = open_hierarchy(f"person{os.getpid()}")
    if isinstance(hierarchy, AbsentHierarchy):
        yield ()
        return
    groups = [Path(path) / "person" for path in hierarchy.paths]
    try:
        for group in groups:
            group.mkdir()
            os.chown(group, uid, uid)
            for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "tasks"):
                if (group / name).exists():
                    os.chown(group / name, uid, uid)
        yield tuple(str(group) for group in groups)
    finally:
        for group in groups:
            for folder in sorted(group.rglob("*"), reverse=True):
                if folder.is_dir():
                    folder.rmdir()
            group.rmdir()
        assert hierarchy.close()


@cache
def why_no_person() -> str:
    """Empty, or why these tests cannot be made here."""
    if os.geteuid() != 0:
        return "becomes another user, which takes root"
    if not Path(PYTHON).exists():
        return f"there is no {PYTHON} that everybody may run"
    version = subprocess.check_output([PYTHON, "-c", "import sys; print(sys.version_info[:2])"])
    if version.decode().strip() != str(sys.version_info[:2]):
        return f"{PYTHON} is of another version than the tests' Python"
    with person(namespaces=False) as somebody:
        done = subprocess.run(somebody.command("-c", ""), capture_output=True, text=True)
        if done.returncode == 77:
            return f"mount and user namespaces are {done.stdout.strip()}"
    return ""


@cache
def why_no_namespaces() -> str:
    """Empty, or why an ordinary user cannot isolate anything here."""
    if why_no_person():
        return why_no_person()
    words = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
        "raise SystemExit(libc.unshare(0x10000000) and ctypes.get_errno())"
    )
    with person() as somebody:
        done = subprocess.run(somebody.command("-c", words), capture_output=True)
    return "unprivileged user namespaces are off here" if done.returncode else ""
